//! What Hydra holds: the client.

use super::{Key, Secret};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    pub(crate) secret: Secret,
    pub(crate) key: Key,
    /// If the statements of all rotations so far are there.
    pub(crate) has_statements: bool,
    /// If somebody has changed how it authenticates.
    pub(crate) is_of_another_method: bool,
}
