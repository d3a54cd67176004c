//! What the store holds: versions of the keys record and of the credentials, and the steps of a rotation on them.

use super::{Action, Key, Secret, World, public};
use bindu_identity::Lineage;

/// A version of the credentials record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Credential {
    pub(crate) secret: Secret,
    pub(crate) next: Option<Secret>,
    pub(crate) generation: u64,
    /// The key whose take-over somebody has consented to.
    pub(crate) taken_over: Option<Key>,
}

/// A version of the keys record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Version {
    Live(Record),
    Deleted(Record),
    Destroyed,
}

/// The content of the keys record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) key: Key,
    pub(crate) lineage: Lineage,
    pub(crate) has_lineage: bool,
    pub(crate) next: Option<Key>,
    pub(crate) previous: Option<Key>,
    /// If the current key gives way to the prepared one because somebody else has it.
    pub(crate) is_compromised: bool,
    /// If the client's tokens are still to be revoked.
    pub(crate) revokes_tokens: bool,
}

impl Record {
    pub(crate) fn of(key: Key) -> Self {
        Self {
            key,
            lineage: Lineage::default(),
            has_lineage: true,
            next: None,
            previous: None,
            is_compromised: false,
            revokes_tokens: false,
        }
    }

    /// The record after a withdrawn key has given way to the prepared one: nothing is left of it but its name.
    pub(crate) fn withdrawn(&self, to: Key) -> Self {
        Self { previous: None, revokes_tokens: true, ..self.rotated(to) }
    }

    /// The record after the prepared (or replaced) key has become the current one.
    pub(crate) fn rotated(&self, to: Key) -> Self {
        Self {
            key: to,
            lineage: self.lineage.after(&public(self.key), &public(to), None),
            has_lineage: true,
            next: None,
            previous: Some(self.key),
            is_compromised: false,
            revokes_tokens: self.revokes_tokens,
        }
    }
}

impl World {
    pub(crate) fn live(&self) -> Option<&Record> {
        match self.keys.last() {
            Some(Version::Live(record)) => Some(record),
            _ => None,
        }
    }

    /// A step of a rotation by an operator's command: by compare-and-set on what is there.
    pub(super) fn rotate(&mut self, action: Action) {
        let Some(record) = self.live().cloned() else { return };
        let record = match (action, record.next, record.previous) {
            (Action::Activate, Some(next), _) if record.is_compromised => {
                self.withdraws(record.key);
                record.withdrawn(next)
            }
            (Action::Activate, Some(next), _) => record.rotated(next),
            // Whoever has the current key may have read the prepared one: another is made.
            (Action::Withdraw, _, _) => {
                Record { next: Some(self.make()), previous: None, is_compromised: true, ..record }
            }
            (Action::Undo, _, Some(previous)) => record.rotated(previous),
            _ => Record { next: Some(self.make()), previous: None, ..record },
        };
        self.right = Some(record.key);
        self.past.clone_from(&record.lineage);
        self.keys.push(Version::Live(record));
    }

    /// A key gives way because somebody else has it, and perhaps tokens.
    pub(crate) fn withdraws(&mut self, key: Key) {
        self.withdrawn |= 1 << key;
        self.has_stolen_tokens = true;
    }

    /// Notes what everybody can know now.
    pub(crate) fn learn(&mut self) {
        let Some(record) = self.live().cloned() else { return };
        if self.client.is_some_and(|client| client.key == record.key && Some(record.key) == self.right) {
            for old in 0..self.next {
                if record.lineage.replaces_key(&public(old)) {
                    self.retired |= 1 << old;
                }
            }
            self.retired &= !(1 << record.key);
        }
    }
}
