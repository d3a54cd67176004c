//! The seam to the network: "send this to that URL".

use bindu_a2a::{call::PushAuthentication, dialect::Dialect};
use futures_util::future::BoxFuture;
use std::{fmt, sync::Arc};
use url::Url;

/// One event for one receiver.
#[derive(Clone)]
pub struct Delivery {
    /// Where to.
    pub url: Url,
    /// The receiver's dialect.
    pub dialect: Dialect,
    /// The body: JSON.
    pub body: String,
    /// Sent along, so that the receiver knows its own; a secret.
    pub token: Option<Arc<str>>,
    /// How we authenticate.
    pub authentication: Option<Arc<PushAuthentication>>,
}

/// Why an event was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotDelivered {
    /// Nothing may be sent to where the URL leads now. Tried again: names change.
    #[error("{0}")]
    Refused(String),
    /// The configuration's secrets were sealed with a key that is not in the key ring. Tried again: a replica that has just
    /// rotated may be ahead of this one.
    #[error("its secrets were sealed with a key that is not in the key ring; its owner can set it again")]
    Sealed,
    /// The receiver wants nothing more (HTTP 410): the configuration is given up.
    #[error("the receiver wants no more")]
    Gone,
    /// No answer, or one that says that it failed. Tried again.
    #[error("{0}")]
    Failed(String),
}

/// What became of a delivery, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushOutcome {
    /// The receiver has it.
    Delivered,
    /// It has not; it is tried again.
    Failed,
    /// Nothing may be sent there; it is tried again.
    Refused,
    /// Its secrets cannot be opened; it is tried again.
    Sealed,
    /// The configuration was given up, with what was due to it.
    GivenUp,
}

/// Sends events to receivers.
///
/// A sender connects only to where it may: a URL is a caller's text, and its host may resolve to something else at each use.
/// It follows no redirect. The deliverer bounds the time of a call by dropping its future; then the receiver may have the
/// event nevertheless, and gets it again.
pub trait PushSender: Send + Sync + 'static {
    /// Whether events may be sent to a URL, as far as can be said without looking its host up.
    ///
    /// # Errors
    /// What is wrong with it, for its caller.
    fn check(&self, url: &Url) -> Result<(), String>;

    /// Sends an event. Done once the receiver has answered that it has it.
    fn send(&self, delivery: Delivery) -> BoxFuture<'_, Result<(), NotDelivered>>;

    /// Is told of each delivery.
    fn observe(&self, _outcome: PushOutcome) {}

    /// Is told how many configurations are claimed by this process and wait for their turn or their receiver.
    fn backlog(&self, _claimed: usize) {}
}

impl PushOutcome {
    /// A label, from a closed set.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Sealed => "sealed",
            Self::GivenUp => "given_up",
        }
    }
}

impl fmt::Debug for Delivery {
    /// Without secrets: a URL may hold one as well.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("host", &self.url.host_str())
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}
