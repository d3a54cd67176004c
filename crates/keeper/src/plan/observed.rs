//! What is observed of the keys: the store's answer, its history, the directory, Hydra. The table decides by it.

use super::TakenOver;
use bindu_identity::{Lineage, PublicKey};
use bindu_store::{OutageReason, Version};
use std::time::Duration;

/// What was observed of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observed {
    /// The store's answer.
    pub store: Store,
    /// What the data directory holds.
    pub local: Local,
    /// What Hydra's client of this DID says.
    pub hydra: HydraNames,
    /// If this is a running agent (its local key is the one in memory), else a start.
    pub running: bool,
    /// For how long the same has been observed, by fresh reads.
    pub seen_for: Duration,
    /// What earlier versions of the record prove.
    pub earlier: Earlier,
    /// If a create of ours has met another writer's: there is a record, even if none is seen yet.
    pub lost: bool,
    /// If this process has had an answer of the store about its key before.
    pub heard_store: bool,
    /// An earlier consent, noted in the credentials record.
    pub taken_over: TakenOver,
    /// How long ago the record was written, by its own time.
    pub age: Option<Duration>,
    /// If the local key was made while the store could not be asked.
    pub provisional: bool,
    /// What forbids a new identity under this name, if anything does.
    pub name_problem: Option<String>,
}

/// The store's answer about the keys record.
#[allow(clippy::large_enum_variant, reason = "one is alive at a time")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Store {
    /// A key.
    Present(Stored),
    /// Positively nothing.
    Absent,
    /// There was something.
    Deleted {
        /// The version that was deleted.
        version: Version,
        /// For ever.
        destroyed: bool,
    },
    /// A record that holds no key pair.
    Malformed(String),
    /// The record of this path names another agent's DID.
    OfAnotherAgent(String),
    /// An encrypted key, and no password or the wrong one.
    Locked(String),
    /// We may not read it.
    Denied,
    /// No answer that can be believed.
    Unavailable(OutageReason),
}

/// A record that holds a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stored {
    /// The public half of the current key.
    pub key: PublicKey,
    /// The record's version.
    pub version: Version,
    /// The key's past; if this version lacks it, that of the latest earlier one with this key.
    pub lineage: Lineage,
    /// If this version itself says so: Python Bindu's rewrites drop it.
    pub has_lineage: bool,
    /// The other keys of the ring, and their times.
    pub ring: Ring,
    /// `reconcile_interval`, in seconds.
    pub interval: Option<u64>,
}

impl Stored {
    /// If the record's key replaces this one.
    #[must_use]
    pub fn replaces(&self, key: &PublicKey) -> bool {
        self.lineage.replaces_key(key)
    }
}

/// What the data directory (or the running agent) holds.
#[allow(clippy::large_enum_variant, reason = "one is alive at a time")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Local {
    /// A key.
    Present {
        /// Its public half.
        key: PublicKey,
        /// If the store ever held it: where, and if Hydra named it then.
        acknowledged: Option<Acknowledged>,
        /// The key's past.
        lineage: Lineage,
    },
    /// Nothing, and no memory of anything.
    None,
    /// Traces of a key whose private half is gone.
    Unusable(String),
    /// Files that can't be read: a key may be there.
    Unreadable(String),
    /// An encrypted key, and no password or the wrong one.
    Locked(String),
}

impl Local {
    /// If there is no key to work with, whatever lies there.
    pub(super) fn is_bare(&self) -> bool {
        matches!(self, Self::None | Self::Unusable(_) | Self::Unreadable(_))
    }

    /// If the key was read from the store, or written to it, by us or an earlier process.
    pub(super) fn is_acknowledged(&self) -> bool {
        matches!(self, Self::Present { acknowledged: Some(_), .. })
    }
}

/// That the store held a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Acknowledged {
    /// At which version.
    pub version: Version,
    /// If Hydra named this key then.
    pub named: bool,
}

/// Which key Hydra's client of this DID names.
#[allow(clippy::large_enum_variant, reason = "one is alive at a time")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HydraNames {
    /// Hydra is not configured, or this DID can't be addressed there.
    NotAsked,
    /// Hydra has not answered (yet).
    Unknown,
    /// There is no client.
    NoClient,
    /// A client that names no key.
    NoKey,
    /// A client that names a key.
    Key {
        /// The key, if it is one.
        key: Option<PublicKey>,
        /// As it stands there.
        text: String,
        /// The generation to which a verified chain of rotation statements there leads from the key that the store holds.
        after_store: Option<u64>,
        /// The same from the key that the directory (or the running agent) holds.
        after_local: Option<u64>,
    },
}

impl HydraNames {
    /// If Hydra has been heard, or there is nothing to hear.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        *self != Self::Unknown
    }

    /// If there is a client that names a key.
    #[must_use]
    pub fn is_key(&self) -> bool {
        matches!(self, Self::Key { .. })
    }

    /// The key that it names, if it names one.
    #[must_use]
    pub fn key(&self) -> Option<PublicKey> {
        match self {
            Self::Key { key, .. } => *key,
            _ => None,
        }
    }

    /// If it names this key.
    #[must_use]
    pub fn names(&self, ours: &PublicKey) -> bool {
        matches!(self, Self::Key { key: Some(key), .. } if key == ours)
    }

    /// The key that it names, if that is neither the store's nor an older one.
    pub(crate) fn other_than_stored(&self, stored: &Stored) -> Option<&str> {
        let Self::Key { after_store, .. } = self else { return None };
        self.another(&stored.key, &stored.lineage, *after_store)
    }

    /// The key that it names, if that is neither the local one nor an older one.
    pub(super) fn other_than_local(&self, ours: &PublicKey, past: &Lineage) -> Option<&str> {
        let Self::Key { after_local, .. } = self else { return None };
        self.another(ours, past, *after_local)
    }

    /// An older key is one that `replaces` lists; but after an undo a key that is listed may be the newer one: then
    /// statements lead to it, beyond our generation.
    fn another(&self, ours: &PublicKey, past: &Lineage, after: Option<u64>) -> Option<&str> {
        let is_later = after.is_some_and(|generation| generation > past.generation);
        match self {
            Self::Key { key: Some(key), .. } if key == ours => None,
            Self::Key { key: Some(key), .. } if !is_later && past.replaces_key(key) => None,
            Self::Key { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// The keys beside the current one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Ring {
    /// The key that a rotation has prepared.
    pub next: Option<Next>,
    /// The key that the last rotation has replaced, during the overlap.
    pub previous: Option<Previous>,
    /// If a key was withdrawn, and the client's tokens are still to be revoked.
    pub revokes_tokens: bool,
}

/// A prepared key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Next {
    /// Its public half.
    pub key: PublicKey,
    /// If the time has come at which it becomes the current one.
    pub is_due: bool,
    /// If the key before it is in somebody else's hands: then there is no overlap, whoever takes the step.
    pub is_compromised: bool,
}

/// A replaced key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Previous {
    /// Its public half.
    pub key: PublicKey,
    /// If the overlap has ended.
    pub is_over: bool,
}

/// An earlier version of the record.
#[allow(clippy::large_enum_variant, reason = "one is alive at a time")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Past {
    /// It holds a key.
    Key {
        /// Its public half.
        key: PublicKey,
        /// The key's past, if this version says so.
        lineage: Option<Lineage>,
        /// If a rotation was prepared in it.
        has_next: bool,
    },
    /// Deleted, destroyed, pruned, malformed, or under another password.
    Unreadable,
}

/// What the earlier versions say. They are read only if a decision depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Earlier {
    /// Nothing depends on it.
    NotRead,
    /// The store did not answer.
    Unknown(OutageReason),
    /// They were read.
    Read {
        /// The latest one that holds the key that Hydra names.
        named: Option<Version>,
        /// The latest one whose key has replaced the current one, by its own lineage.
        retired_by: Option<Version>,
        /// If all of them could be read, back to the first.
        whole: bool,
        /// If each version since the one that we acknowledged holds our key, and no rotation was prepared in it.
        is_ours_since: bool,
    },
}
