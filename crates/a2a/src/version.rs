//! Version negotiation: the header or query parameter `A2A-Version`, on every binding (A2A 1.0, 3.6).

use crate::{A2aError, dialect::Dialect};

/// The name of the HTTP header, of the query parameter, and (in lower case) of gRPC's metadata.
pub const NAME: &str = "A2A-Version";

/// How much of a version that is not supported is shown to its sender.
const MAX_SHOWN: usize = 32;

/// A version of the protocol that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// 0.3.
    V03,
    /// 1.0.
    V1,
}

impl Version {
    /// Reads a version. `1`, any `1.x` and patch releases of it count as 1.0; `0.3` and patch releases of it as 0.3. `None`
    /// for an empty one.
    ///
    /// # Errors
    /// [`A2aError::VersionNotSupported`].
    pub fn parse(text: &str) -> Result<Option<Self>, A2aError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let mut numbers = text.split('.');
        let mut next = || numbers.next();
        let version = match (next(), next(), next(), next()) {
            (Some("1"), minor, patch, None) if [minor, patch].into_iter().flatten().all(is_number) => {
                Self::V1
            }
            (Some("0"), Some("3"), patch, None) if patch.is_none_or(is_number) => Self::V03,
            _ => return Err(A2aError::VersionNotSupported(text.chars().take(MAX_SHOWN).collect())),
        };
        Ok(Some(version))
    }
}

fn is_number(text: &str) -> bool {
    (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The dialect of a call of JSON-RPC. Method names of 1.0 and of 0.3 are disjoint, so a name alone nearly says it: without
/// a version `SendMessage` is 1.0 (the specification's "empty is 0.3" would make it an unknown method), and `message/send`
/// is Python Bindu's, whose callers send no version. With a version, what it does not have is an unknown method there.
pub(crate) fn dialect(method: &str, version: Option<&str>) -> Result<Dialect, A2aError> {
    let version = Version::parse(version.unwrap_or_default())?;
    match (Dialect::of_method(method), version) {
        (_, Some(Version::V1)) | (Dialect::V1, None) => Ok(Dialect::V1),
        (_, Some(Version::V03)) => Ok(Dialect::V03),
        (_, None) => Ok(Dialect::Bindu),
    }
}

/// Checks the version of a call of the HTTP+JSON or the gRPC binding, which are spoken in 1.0 only. Without one the call is
/// 1.0's: its paths and services are not those of 0.3.
///
/// # Errors
/// [`A2aError::VersionNotSupported`].
pub fn check_v1(version: Option<&str>) -> Result<(), A2aError> {
    match Version::parse(version.unwrap_or_default())? {
        None | Some(Version::V1) => Ok(()),
        Some(Version::V03) => Err(A2aError::VersionNotSupported("0.3".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialect_comes_from_name_and_version() {
        let (v1, v03, bindu) = (Ok(Dialect::V1), Ok(Dialect::V03), Ok(Dialect::Bindu));
        let not = |version: &str| Err(A2aError::VersionNotSupported(version.to_owned()));
        for (method, version, want) in [
            ("SendMessage", None, v1.clone()),
            ("SendMessage", Some(""), v1.clone()),
            ("SendMessage", Some(" "), v1.clone()),
            ("SendMessage", Some("1.0"), v1.clone()),
            ("SendMessage", Some("1"), v1.clone()),
            ("SendMessage", Some("1.0.1"), v1.clone()),
            ("SendMessage", Some("1.7"), v1.clone()),
            ("SendMessage", Some("0.3"), v03.clone()),
            ("message/send", Some("1.0"), v1.clone()),
            ("nonexistent", Some("1.0"), v1.clone()),
            ("SendMessage", Some("2.0"), not("2.0")),
            ("SendMessage", Some("1.x"), not("1.x")),
            ("SendMessage", Some("1.0.0.0"), not("1.0.0.0")),
            ("SendMessage", Some("1."), not("1.")),
            ("SendMessage", Some("v1"), not("v1")),
            ("message/send", None, bindu.clone()),
            ("message/send", Some(""), bindu.clone()),
            ("unknown", None, bindu.clone()),
            ("TASKS/LIST", None, bindu),
            ("message/send", Some("0.3"), v03.clone()),
            ("message/send", Some("0.3.0"), v03),
            ("message/send", Some("0.2"), not("0.2")),
            ("message/send", Some("garbage"), not("garbage")),
        ] {
            assert_eq!(Dialect::of(method, version), want, "{method} {version:?}");
        }
        let long = Dialect::of("SendMessage", Some(&"9".repeat(1000)));
        assert_eq!(long, not(&"9".repeat(MAX_SHOWN)));
        assert_eq!(
            (Dialect::refusing("message/send"), Dialect::refusing("SendMessage")),
            (Dialect::V03, Dialect::V1)
        );
        assert!(check_v1(None).is_ok() && check_v1(Some("1.0")).is_ok() && check_v1(Some("0.3")).is_err());
    }
}
