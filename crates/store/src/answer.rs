//! What a store can answer, kept apart because each leads somewhere else.

use crate::{Malformed, Record, Version};
use std::{fmt, time::Duration};

/// The answer to a read.
#[derive(Debug)]
pub enum Answer {
    /// The record's current version.
    Present(Record),
    /// Positively nothing, now and ever.
    Absent,
    /// There was something. A new version needs compare-and-set at this version.
    Deleted {
        /// The version that was deleted.
        version: Version,
        /// Whether it was destroyed: no `undelete` brings it back.
        destroyed: bool,
    },
    /// We are known and may not read this.
    Denied,
    /// No answer that can be believed.
    Unavailable(Outage),
    /// A record of the store's own form, with content that no agent can have written.
    Malformed(Malformed),
}

/// Why a store gave no answer that can be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Outage {
    /// From a closed set, fit for a metric or a public page.
    pub reason: OutageReason,
    /// For people: what was asked and what came back. No secret, no body.
    pub detail: String,
    /// How long the server asked us to wait.
    pub retry_after: Option<Duration>,
}

impl Outage {
    /// An outage without a wish about the next try.
    pub fn new(reason: OutageReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), retry_after: None }
    }
}

/// The kinds of [`Outage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutageReason {
    /// No connection.
    Unreachable,
    /// TLS does not accept the connection: a certificate that is not trusted, on either side.
    Untrusted,
    /// No answer in time.
    TimedOut,
    /// An answer that is not the store's own: a proxy's page, half a body, a redirect.
    NotTheStore,
    /// The mount is missing or not KV v2. Waiting does not mend it.
    WrongMount,
    /// The server is sealed.
    Sealed,
    /// Too many requests, or a standby that has not caught up.
    Busy,
    /// The server failed.
    ServerFailed,
    /// The token or the login does not count (expired, revoked, wrong). Waiting may mend it.
    LoginRejected,
    /// The login is alive, and its policies do not let it ask this.
    NotAllowed,
    /// A file or directory could not be read.
    Unreadable,
}

impl OutageReason {
    /// A label, from a closed set.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Untrusted => "untrusted",
            Self::TimedOut => "timed_out",
            Self::NotTheStore => "not_the_store",
            Self::WrongMount => "wrong_mount",
            Self::Sealed => "sealed",
            Self::Busy => "busy",
            Self::ServerFailed => "server_failed",
            Self::LoginRejected => "login_rejected",
            Self::NotAllowed => "not_allowed",
            Self::Unreadable => "unreadable",
        }
    }
}

impl fmt::Display for OutageReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Why a write did not succeed, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// What is there is not what was expected. Nothing was written.
    #[error("somebody else has written")]
    Conflict,
    /// We may not write this. Under a policy that lets us create but not update, this is also how a lost race looks.
    #[error("the write was denied")]
    Denied,
    /// Undecided: it may or may not have been written.
    #[error("the write got no answer that can be believed")]
    Unavailable(#[source] Outage),
    /// The store refuses this content for ever.
    #[error("the store refused the record: {0}")]
    Refused(String),
}
