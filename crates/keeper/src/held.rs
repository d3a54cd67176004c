//! The identity that a running agent holds.

use bindu_identity::{AgentId, Did, Fingerprint, PublicKey, SigningKey};
use bindu_store::Version;
use secrecy::SecretString;
use std::sync::{Arc, PoisonError, RwLock};

/// A checked identity: who the agent is and the key that proves it.
#[derive(Debug)]
pub struct Identity {
    /// The DID.
    pub did: Did,
    /// The agent's id.
    pub id: AgentId,
    /// The private key.
    pub signing_key: Arc<SigningKey>,
    /// The private key as it lies in the store, encrypted where it is so there.
    pub(crate) private_pem: SecretString,
    /// Its public half.
    pub public_key: PublicKey,
    /// When the key was made or first met, RFC 3339.
    pub created_at: String,
    /// At which version the store holds it, as far as is known.
    pub version: Option<Version>,
    /// The keys that this one rotates, newest first.
    pub replaces: Vec<Fingerprint>,
    /// Whether it was made while the store could not be asked, and yields to the store's.
    pub provisional: bool,
    /// Where this process has it from.
    pub source: Source,
}

/// Where a process has its key from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The store held it.
    Store,
    /// The data directory held it, and the store has not confirmed it.
    Directory,
    /// It was made by this start.
    Created,
}

impl Source {
    /// A label, from a closed set.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Directory => "directory",
            Self::Created => "created",
        }
    }
}

/// The identity in use. A rotation replaces it while requests are running; each takes a snapshot.
#[derive(Debug)]
pub struct HeldIdentity(RwLock<Arc<Identity>>);

impl HeldIdentity {
    /// Holds an identity.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self(RwLock::new(Arc::new(identity)))
    }

    /// The identity as of now.
    #[must_use]
    pub fn current(&self) -> Arc<Identity> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace(&self, identity: Identity) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(identity);
    }
}
