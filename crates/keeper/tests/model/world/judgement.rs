//! What must hold in every state, and the way back to health from it.

use super::{Budget, Bug, Client, Clock, Credential, Fate, Record, Replica, Version, World, public};
use crate::process::Process;

impl World {
    /// Invariant 1: while only ours have written, all who are sure hold the right key, or one that it replaces.
    pub(crate) fn has_one_identity(&self) -> bool {
        // A record that is wholly gone while Hydra is silent is positively nothing, too.
        let is_forgotten = self.was_wiped && self.hydra_was_away;
        if self.rogue_was_here || self.was_restored || self.attacker_was_here || is_forgotten {
            return true;
        }
        let Some(right) = self.right else { return true };
        let past = &self.past;
        self.replicas.iter().filter_map(|replica| replica.process.as_ref()?.key()).all(|key| {
            // An undo makes a replaced key the right one again: the one before it is replaced then.
            key == right || past.replaces_key(&public(key))
        })
    }

    /// Invariant 2: the client's secret was in the store before Hydra heard of it.
    pub(crate) fn has_one_client(&self) -> bool {
        let is_stored = |secret| {
            self.credentials.iter().any(|known| known.secret == secret || known.next == Some(secret))
        };
        self.client.is_none_or(|client| is_stored(client.secret))
    }

    /// If recovery is tried from this state: from each eighth, by its hash.
    pub(crate) fn is_sampled(&self) -> bool {
        let mut hasher = std::hash::DefaultHasher::new();
        std::hash::Hash::hash(self, &mut hasher);
        std::hash::Hasher::finish(&hasher).is_multiple_of(8)
    }

    /// Lets the servers return and everybody go on; then the operator follows the hints: whether all is well in the end.
    pub(crate) fn recovers(mut self, bug: Option<Bug>) -> bool {
        let Some(right) = self.right.or_else(|| self.live().map(|record| record.key)) else {
            return self.clone().settles(bug);
        };
        if self.clone().settles(bug) {
            return true;
        }
        // An attacker at Hydra alone, rotations, crashes and outages need nobody's hand (but for a client that somebody has kept from
        // proving by its secret whose it is: that one needs consent); nor does a record that is wholly gone,
        // while a disk holds the right key, and Hydra names it and was never away.
        let is_held = self.replicas.iter().any(|replica| {
            replica.disk.acknowledged.is_some()
                && replica.disk.record.as_ref().is_some_and(|record| record.key == right)
        });
        let is_named = self.client.is_some_and(|client| client.key == right) && !self.hydra_was_away;
        let is_lost = self.was_wiped && !(is_held && is_named);
        let is_locked = self.replicas.iter().any(|replica| replica.disk.is_unreadable);
        // `chown`, as the error says.
        for replica in &mut self.replicas {
            replica.disk.is_unreadable = false;
        }
        if is_locked && self.clone().settles(bug) {
            return true;
        }
        if self.clone().settles_by_consent(bug) {
            return true;
        }
        if !self.rogue_was_here && !self.was_restored && !self.was_deleted && !is_lost {
            return false;
        }
        // `identity keep`, `vault kv rollback`, `undelete`: the right key goes back into the store.
        (self.store_is_up, self.hydra_is_up) = (true, true);
        let lineage = self.past.clone();
        let revokes_tokens = self.has_stolen_tokens;
        self.keys.push(Version::Live(Record { lineage, revokes_tokens, ..Record::of(right) }));
        if let Some(client) = &mut self.client {
            client.key = right;
        }
        if self.clone().settles(bug) {
            return true;
        }
        // A start without the data directory takes the store's.
        for replica in &mut self.replicas {
            *replica = Replica::default();
        }
        self.settles(bug)
    }

    /// The same, and then somebody who sees a replica ask for consent gives it.
    fn settles_by_consent(mut self, bug: Option<Bug>) -> bool {
        self.settle(bug);
        let Some(index) = self.asking_for_consent().next() else { return false };
        self.consents(index, bug);
        self.settle(bug)
    }

    fn settles(mut self, bug: Option<Bug>) -> bool {
        self.settle(bug)
    }

    /// The servers are there and everybody goes on; whether all is well then.
    fn settle(&mut self, bug: Option<Bug>) -> bool {
        (self.store_is_up, self.hydra_is_up) = (true, true);
        self.budget = Budget::default();
        for replica in &mut self.replicas {
            replica.clock = Clock::Right;
        }
        for _ in 0..8 {
            for index in 0..self.replicas.len() {
                if self.replicas[index].process.is_none() {
                    self.replicas[index].process = Some(Process::new());
                }
                self.pass(index, bug);
            }
            if self.is_healthy() {
                return true;
            }
        }
        false
    }

    /// One replica goes on until it has ended a pass, or its start was refused.
    pub(super) fn pass(&mut self, index: usize, bug: Option<Bug>) {
        // No pass takes more steps than this, a start with two lost races and its doubts included.
        for _ in 0..120 {
            if self.replicas[index].process.is_none() {
                return;
            }
            if self.step(index, Fate::Answered, false, bug) {
                return;
            }
        }
    }

    pub(crate) fn is_healthy(&self) -> bool {
        let Some(record) = self.live() else { return false };
        let all = self.replicas.iter().all(|replica| {
            replica.process.as_ref().is_some_and(|process| {
                process.is_well() && process.key().is_some_and(|key| key == record.key)
            })
        });
        let client = self.client.zip(self.credentials.last());
        let fits = |(client, known): (Client, &Credential)| {
            let is_open = known.next.is_some() || client.is_of_another_method;
            !is_open && client.key == record.key && client.secret == known.secret
        };
        all && !self.has_stolen_tokens && !record.revokes_tokens && client.is_some_and(fits)
    }
}
