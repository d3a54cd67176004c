//! Why something was refused, in words for the person who reads them at night.

use std::fmt;

/// The exit code's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitClass {
    /// 1: refused or failed.
    Failed,
    /// 64: usage or configuration.
    Usage,
    /// 69: a dependency stayed unavailable past the deadline.
    Unavailable,
    /// 70: a bug.
    Bug,
    /// 77: denied.
    Denied,
}

impl ExitClass {
    /// The code, from `sysexits.h`.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Bug => 70,
            Self::Denied => 77,
        }
    }
}

/// A command or a start that did not happen. Nothing was changed, unless the message says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The exit code's meaning.
    pub class: ExitClass,
    /// What is the matter: a lower-case sentence without a full stop.
    pub message: String,
    /// Causes, outermost first.
    pub causes: Vec<String>,
    /// The command or the setting that fixes it.
    pub hint: String,
}

impl Refusal {
    /// A refusal without further causes.
    pub fn new(class: ExitClass, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { class, message: message.into(), causes: Vec::new(), hint: hint.into() }
    }

    /// Adds a cause.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Adds all sources of an error, which is the refusal's own message.
    #[must_use]
    pub fn because_source(self, error: &dyn std::error::Error) -> Self {
        match error.source() {
            Some(source) => self.because_of(source),
            None => self,
        }
    }

    /// Adds an error and all its sources.
    #[must_use]
    pub fn because_of(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}
