//! The identity that a running agent holds: its key ring.

use bindu_identity::{AgentId, DerivedKey, Did, Lineage, PublicKey, RotationStatement, SigningKey};
use bindu_store::Version;
use secrecy::SecretString;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Notify;

/// A checked identity: who the agent is, and the keys that prove it. Nothing else holds a signing key.
#[derive(Debug)]
pub struct Identity {
    /// The DID.
    pub did: Did,
    /// The agent's id.
    pub id: AgentId,
    /// The private key to sign with: the one of the ring that Hydra names, or the current one.
    pub signing_key: Arc<SigningKey>,
    /// The public half of the current key.
    pub public_key: PublicKey,
    /// The current key, and the keys beside it.
    pub(crate) ring: KeyRing,
    /// When the current key was made or first met, RFC 3339.
    pub created_at: String,
    /// At which version the store holds it, as far as is known.
    pub version: Option<Version>,
    /// The key's past.
    pub lineage: Lineage,
    /// If it was made while the store could not be asked, and yields to the store's.
    pub provisional: bool,
    /// Where this process has it from.
    pub source: Source,
}

/// The current key, `next` while one is prepared, `previous` until a date.
#[derive(Debug, Clone)]
pub(crate) struct KeyRing {
    pub(crate) current: RingKey,
    pub(crate) next: Option<RingKey>,
    pub(crate) previous: Option<RingKey>,
}

/// A key of the ring.
#[derive(Debug, Clone)]
pub(crate) struct RingKey {
    pub(crate) signing_key: Arc<SigningKey>,
    /// As it was found, encrypted or not.
    pub(crate) private_pem: SecretString,
    /// When a prepared key becomes the current one; until when a replaced one counts. RFC 3339; empty for the current one.
    pub(crate) at: String,
}

impl RingKey {
    pub(crate) fn public_key(&self) -> PublicKey {
        self.signing_key.public_key()
    }
}

impl KeyRing {
    /// The current key alone.
    pub(crate) fn of(signing_key: Arc<SigningKey>, private_pem: SecretString) -> Self {
        Self { current: RingKey { signing_key, private_pem, at: String::new() }, next: None, previous: None }
    }

    fn beside(&self) -> impl Iterator<Item = &RingKey> {
        [&self.next, &self.previous].into_iter().flatten()
    }

    /// The key of the ring with this public half.
    pub(crate) fn with(&self, key: &PublicKey) -> Option<&RingKey> {
        std::iter::once(&self.current).chain(self.beside()).find(|held| held.public_key() == *key)
    }
}

impl Identity {
    /// All keys of the ring that are not the current one: documents, JWKS and card list them beside it.
    #[must_use]
    pub fn keys_beside(&self) -> Vec<PublicKey> {
        self.ring.beside().map(RingKey::public_key).collect()
    }

    /// The second keys of the keys beside the current one.
    #[must_use]
    pub fn second_keys_beside(&self) -> Vec<PublicKey> {
        self.ring.beside().map(|key| DerivedKey::of(&key.signing_key).public_key()).collect()
    }

    /// The second key of the current key.
    #[must_use]
    pub fn second_key(&self) -> PublicKey {
        DerivedKey::of(&self.ring.current.signing_key).public_key()
    }

    /// The rotation statements that callers may follow, newest first: not those of keys that were withdrawn at once.
    #[must_use]
    pub fn public_statements(&self) -> Vec<&RotationStatement> {
        self.lineage.statements.iter().filter(|statement| statement.at != statement.until).collect()
    }

    /// The private halves of the ring, the one to sign with first.
    #[must_use]
    pub fn signing_keys(&self) -> Vec<Arc<SigningKey>> {
        let others = std::iter::once(&self.ring.current).chain(self.ring.beside());
        let others = others.filter(|key| key.public_key() != self.signing_key.public_key());
        std::iter::once(Arc::clone(&self.signing_key))
            .chain(others.map(|key| Arc::clone(&key.signing_key)))
            .collect()
    }

    /// The private half of the current key, for what must not depend on Hydra.
    #[must_use]
    pub fn current_signing_key(&self) -> &Arc<SigningKey> {
        &self.ring.current.signing_key
    }

    /// Until when the replaced key counts, RFC 3339, during an overlap.
    #[must_use]
    pub fn overlap_until(&self) -> Option<&str> {
        self.ring.previous.as_ref().map(|previous| previous.at.as_str())
    }

    fn signing_with(&self, key: &PublicKey) -> Option<Self> {
        let key = self.ring.with(key).filter(|_| self.signing_key.public_key() != *key)?;
        Some(Self { signing_key: Arc::clone(&key.signing_key), ..self.copy() })
    }

    pub(crate) fn copy(&self) -> Self {
        Self {
            did: self.did.clone(),
            id: self.id,
            signing_key: Arc::clone(&self.signing_key),
            public_key: self.public_key,
            ring: self.ring.clone(),
            created_at: self.created_at.clone(),
            version: self.version,
            lineage: self.lineage.clone(),
            provisional: self.provisional,
            source: self.source,
        }
    }
}

/// Where a process has its key from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
pub struct HeldIdentity {
    identity: RwLock<Arc<Identity>>,
    /// Wakes the reconciler.
    look_again: Notify,
}

impl HeldIdentity {
    /// Holds an identity.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self { identity: RwLock::new(Arc::new(identity)), look_again: Notify::new() }
    }

    /// The identity as of now.
    #[must_use]
    pub fn current(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for a look at the store and Hydra now: somebody has refused a signature of ours.
    pub fn look_again(&self) {
        self.look_again.notify_one();
    }

    /// Waits until somebody asks for a look.
    pub(crate) async fn asked_to_look(&self) {
        self.look_again.notified().await;
    }

    pub(crate) fn replace(&self, identity: Identity) {
        *self.identity.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(identity);
    }

    /// Signs with this key of the ring from now on.
    pub(crate) fn sign_with(&self, key: &PublicKey) -> bool {
        let mut held = self.identity.write().unwrap_or_else(PoisonError::into_inner);
        match held.signing_with(key) {
            Some(identity) => {
                *held = Arc::new(identity);
                true
            }
            None => false,
        }
    }
}
