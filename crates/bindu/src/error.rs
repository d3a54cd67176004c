//! Why an agent did not start, for a program.

use crate::{ExitClass, Refusal};
use std::{error::Error, fmt};

/// Why an agent did not start, or had to end. Nothing was changed, unless its text says so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentError {
    /// The settings or the place can't be used: a wrong directory or password, a port in use.
    Configuration(Refusal),
    /// A server that is needed stayed unavailable past the deadline.
    Unavailable(Refusal),
    /// A server denies what is needed.
    Denied(Refusal),
    /// The identity is malformed, another agent's or contested; or something failed.
    Refused(Refusal),
    /// A bug of the library's.
    Bug(Refusal),
}

impl AgentError {
    /// The command or the setting that fixes it.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.refusal().hint
    }

    /// The causes, outermost first.
    #[must_use]
    pub fn causes(&self) -> &[String] {
        &self.refusal().causes
    }

    fn refusal(&self) -> &Refusal {
        match self {
            Self::Configuration(refusal)
            | Self::Unavailable(refusal)
            | Self::Denied(refusal)
            | Self::Refused(refusal)
            | Self::Bug(refusal) => refusal,
        }
    }
}

impl From<Refusal> for AgentError {
    fn from(refusal: Refusal) -> Self {
        match refusal.class {
            ExitClass::Usage => Self::Configuration(refusal),
            ExitClass::Unavailable => Self::Unavailable(refusal),
            ExitClass::Denied => Self::Denied(refusal),
            ExitClass::Failed => Self::Refused(refusal),
            ExitClass::Bug => Self::Bug(refusal),
        }
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.refusal().message)
    }
}

impl Error for AgentError {}
