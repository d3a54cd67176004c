//! The heart: keeps one agent's identity and OAuth client what they are.
//!
//! [`plan`] holds the decision tables as pure functions, row by row those of DESIGN.md. [`machine`] is the whole heart as
//! one pure state machine: events in, effects out, at a start and for as long as the agent lives. The driver carries the
//! effects out: it reads, writes and waits, and decides nothing about an identity. [`StartError`] and [`Advice`] say what is
//! wrong, typed; which command or setting fixes it is said by the program around.

mod advice;
mod audit;
mod credentials;
mod driver;
mod held;
pub mod machine;
pub mod plan;
mod registration;
mod start_error;
mod status;

pub use advice::Advice;
pub use driver::{
    Applied, ClientLook, HistoryLook, KeepStep, KeyLook, RingLook, Started, StartedWork, StepError,
    VersionLook,
};
pub use held::{HeldIdentity, Identity, Source};
pub use plan::ring::{RingError, RingStep, RingWish};
pub use start_error::{MissingRight, NamedKey, OtherDid, Problem, StartError};
pub use status::{Reason, Status, StatusSnapshot};

use bindu_hydra::{ClientRegistry, ProvenToken};
use bindu_identity::{AgentId, AgentName, Did};
use bindu_store::{DataDirectory, RecordName, SecretStore};
use bindu_time::{Clock, Jitter};
use plan::Policy;
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};

/// Everything the keeper works with.
pub struct Keeper {
    /// The agent.
    pub agent: AgentProfile,
    /// Where the records are.
    pub store: Arc<dyn SecretStore>,
    /// Which kind of store that is.
    pub store_kind: StoreKind,
    /// The data directory, unless it belongs to another agent.
    pub directory: Option<Arc<DataDirectory>>,
    /// Hydra and the client we want there, where authentication is on.
    pub hydra: Option<(Arc<dyn ClientRegistry>, ClientProfile)>,
    /// What the operator has said.
    pub policy: Policy,
    /// Opens an encrypted private key.
    pub key_password: Option<SecretString>,
    /// How long a start waits for an unavailable store.
    pub start_deadline: Duration,
    /// How often all is compared again.
    pub reconcile_interval: Duration,
    /// For how long a replaced key stays valid beside its successor.
    pub rotation_overlap: Duration,
    /// Where the outcome is told.
    pub status: Arc<Status>,
    /// The token that has proved our secret last.
    pub proven: Arc<ProvenToken>,
    /// Says how to fix what is degraded, for the log: the commands and settings are those of the program, not ours.
    pub hint: fn(&Advice) -> String,
    /// The time of day, for what is written and compared with what others have written.
    pub clock: Clock,
    /// Draws the pauses.
    pub jitter: Jitter,
}

/// Who the agent is.
#[derive(Debug, Clone)]
pub struct AgentProfile {
    /// Its DID.
    pub did: Did,
    /// Its id.
    pub id: AgentId,
    /// Author and name, as written.
    pub name: AgentName,
}

/// Where the records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// In the data directory alone.
    File,
    /// In Vault or OpenBao; the data directory is a cache.
    Vault,
}

impl StoreKind {
    /// As `identity.json` and the metrics call it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Vault => "vault",
        }
    }
}

/// The OAuth client that we want in Hydra.
#[derive(Debug, Clone)]
pub struct ClientProfile {
    /// Scopes to register.
    pub scopes: Vec<String>,
    /// Audiences to register.
    pub audiences: Vec<String>,
    /// The agent's URL, for `metadata.agent_url`.
    pub agent_url: String,
    /// Whether that URL was set by the operator; a default is registered, but never written over another.
    pub agent_url_is_explicit: bool,
    /// If a missing client may be registered.
    pub auto_register: bool,
}

impl Keeper {
    /// The name of the agent's keys record.
    #[must_use]
    pub fn keys_record(&self) -> RecordName {
        RecordName::Keys(self.agent.id)
    }

    /// The name of its OAuth client's credentials record.
    #[must_use]
    pub fn credentials_record(&self) -> RecordName {
        RecordName::Credentials(self.agent.did.clone())
    }
}
