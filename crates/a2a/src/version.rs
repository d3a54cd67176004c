//! Version negotiation: the header or query parameter `A2A-Version`, on every binding.

use crate::{A2aError, dialect::Dialect};

/// The name of the HTTP header, of the query parameter, and (in lower case) of gRPC's metadata.
pub const NAME: &str = "A2A-Version";

/// A version of the protocol that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// 0.3.
    V03,
    /// 1.0.
    V1,
}

impl Version {
    /// Reads a version. `1.0`, any `1.x` and patch releases of it count as 1.0; `0.3` and patch releases as 0.3. `None` for
    /// an empty one.
    ///
    /// # Errors
    /// [`A2aError::VersionNotSupported`].
    pub fn parse(_text: &str) -> Result<Option<Self>, A2aError> {
        Err(A2aError::Internal)
    }
}

pub(crate) fn dialect(_method: &str, _version: Option<&str>) -> Result<Dialect, A2aError> {
    Err(A2aError::Internal)
}
