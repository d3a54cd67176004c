//! Reading and writing the store. Each write is compared with what it must not do.

use super::Process;
use crate::world::{Bug, Client, Credential, Fate, Key, Record, Version, World, public};
use bindu_keeper::{
    machine::{Credentials, CredentialsWrite, Event, Observation, WriteFailure},
    plan::{
        client,
        history::Past,
        keys::{HydraNames, Store, Stored},
    },
};
use bindu_store::{Expected, OutageReason};

impl World {
    pub(super) fn observe(
        &self,
        index: usize,
        process: &mut Process,
        is_stale: bool,
        bug: Option<Bug>,
    ) -> Event {
        process.hydra = self.hydra_is_up.then_some(self.client);
        let length = self.keys.len() - usize::from(is_stale && self.keys.len() > 1);
        let version = u64::try_from(length).unwrap_or(u64::MAX);
        process.store = None;
        process.waits_for_the_store = !self.store_is_up;
        let store = match (self.store_is_up, length.checked_sub(1).map(|last| &self.keys[last])) {
            (false, _) => Store::Unavailable(OutageReason::Unreachable),
            (true, None) => Store::Absent,
            (true, Some(Version::Deleted(_))) => Store::Deleted { version, destroyed: false },
            (true, Some(Version::Destroyed)) => Store::Deleted { version, destroyed: true },
            (true, Some(Version::Live(record))) => {
                process.store = Some(record.clone());
                Store::Present(Stored {
                    key: public(record.key),
                    version,
                    lineage: record.lineage.clone(),
                    has_lineage: record.has_lineage,
                    ring: self.seen_ring(index, record),
                    interval: Some(60),
                })
            }
        };
        let hydra = match (process.hydra, bug) {
            (None, Some(Bug::SilenceIsConsent)) => HydraNames::NoClient,
            (None, _) => HydraNames::Unknown,
            (Some(None), _) => HydraNames::NoClient,
            (Some(Some(client)), _) => HydraNames::Key {
                key: Some(public(client.key)),
                text: public(client.key).to_string(),
                after_store: match bug {
                    Some(Bug::NameProvesRollback) => Some(99),
                    _ => self.chain(process.store.as_ref(), &client),
                },
                after_local: match bug {
                    Some(Bug::NameSupersedes) => Some(99),
                    _ => self.chain(process.local.as_ref(), &client),
                },
            },
        };
        let credentials = match self.store_is_up {
            true => self.read_credentials(process, is_stale),
            false => client::Store::Unavailable,
        };
        Event::Observed(Box::new(Observation {
            store,
            hydra,
            proven: Default::default(),
            credentials: Credentials {
                store: credentials,
                local: process.copy.map(|(_, generation)| generation),
            },
            age: None,
            retry_after: None,
        }))
    }

    pub(super) fn history(
        &self,
        process: &mut Process,
        versions: std::ops::RangeInclusive<u64>,
        bug: Option<Bug>,
    ) -> Event {
        if !self.store_is_up {
            return Event::History(Err(OutageReason::Unreachable));
        }
        process.earlier.clear();
        let mut past = Vec::new();
        for version in versions.rev() {
            let index = usize::try_from(version).unwrap_or(usize::MAX) - 1;
            past.push((
                version,
                match self.keys.get(index) {
                    Some(Version::Live(record)) => {
                        process.earlier.push((version, record.clone()));
                        Past::Key {
                            key: public(record.key),
                            lineage: record.has_lineage.then(|| record.lineage.clone()),
                            has_next: record.next.is_some() && bug != Some(Bug::PreparedIsForgotten),
                        }
                    }
                    _ if bug == Some(Bug::UnreadableIsRead) => {
                        Past::Key { key: public(39), lineage: None, has_next: false }
                    }
                    _ => Past::Unreadable,
                },
            ));
        }
        Event::History(Ok(past))
    }

    pub(super) fn write_keys(
        &mut self,
        record: Record,
        expected: Expected,
        is_new: bool,
        fate: Fate,
        bug: Option<Bug>,
    ) -> Result<u64, WriteFailure> {
        let unavailable = WriteFailure::Unavailable { reason: OutageReason::TimedOut, retry_after: None };
        if !self.store_is_up || fate == Fate::NeverDone {
            return match bug {
                Some(Bug::UndecidedIsDone) if self.store_is_up => Ok(1),
                _ => Err(unavailable),
            };
        }
        let length = u64::try_from(self.keys.len()).unwrap_or(u64::MAX);
        let is_as_expected = match expected {
            Expected::Absent => length == 0 || bug == Some(Bug::BlindWrite),
            Expected::Version(version) => version == length && length > 0,
        };
        if !is_as_expected {
            return Err(WriteFailure::Conflict);
        }
        self.check_write(&record, is_new);
        self.keys.push(Version::Live(record));
        match fate {
            Fate::AnswerLost => Err(unavailable),
            _ => Ok(length + 1),
        }
    }

    /// Invariants 1 and 3, at the moment of a write.
    pub(super) fn check_write(&mut self, record: &Record, is_new: bool) {
        // With the record and its history gone, and Hydra silent, there is positively nothing.
        if is_new && self.right.is_some() && !self.was_wiped {
            self.broken = Some("a second key is made");
        }
        if self
            .live()
            .is_some_and(|live| live.key != record.key && !record.lineage.replaces_key(&public(live.key)))
        {
            self.broken = Some("a live record is overwritten by another key");
        }
        if self.retired & (1 << record.key) != 0 && !self.is_beyond_proof() {
            self.broken = Some("a retired key comes back into the store");
        }
        // Its successor was in the store, whatever Hydra knew of it, and is deleted, not gone.
        let is_replaced = Some(record.key) != self.right && self.past.replaces_key(&public(record.key));
        let is_ours_alone =
            !(self.rogue_was_here || self.attacker_was_here || self.was_restored || self.was_wiped);
        if is_replaced && is_ours_alone && self.live().is_none() {
            self.broken = Some("a replaced key takes the place of its deleted successor");
        }
        if let Some(live) = self.live().cloned() {
            if live.is_compromised && live.next == Some(record.key) && record.previous.is_some() {
                self.broken = Some("a withdrawn key stays for an overlap");
            }
            if record.revokes_tokens && !live.revokes_tokens {
                self.withdraws(live.key);
            }
            if live.key != record.key && Some(record.key) != self.right {
                self.right = Some(record.key);
                self.past.clone_from(&record.lineage);
            }
        }
    }

    pub(super) fn read_credentials(&self, process: &mut Process, is_stale: bool) -> client::Store {
        process.secret = None;
        if !self.store_is_up {
            return client::Store::Unavailable;
        }
        let length = self.credentials.len();
        let seen = length - usize::from(is_stale && length > 1);
        match seen.checked_sub(1).map(|last| self.credentials[last]) {
            None => client::Store::Absent,
            Some(known) => {
                process.secret = Some(known);
                client::Store::Present {
                    version: u64::try_from(seen).unwrap_or(u64::MAX),
                    taken_over: known.taken_over.map(|key| public(key).fingerprint().to_string()),
                    has_next: known.next.is_some(),
                    generation: known.generation,
                }
            }
        }
    }

    pub(super) fn write_credentials(
        &mut self,
        process: &mut Process,
        write: &CredentialsWrite,
        expected: Expected,
        fate: Fate,
        bug: Option<Bug>,
    ) -> Result<u64, WriteFailure> {
        let unavailable = WriteFailure::Unavailable { reason: OutageReason::TimedOut, retry_after: None };
        let read = process.secret;
        let known = match write {
            CredentialsWrite::New => {
                Credential { secret: self.make(), next: None, generation: 0, taken_over: None }
            }
            CredentialsWrite::Local => {
                let (secret, generation) = process.copy.expect("a local secret");
                Credential { secret, next: None, generation, taken_over: None }
            }
            CredentialsWrite::Promoted => {
                let known = read.expect("a record that was read");
                let secret = known.next.expect("a prepared secret");
                Credential { secret, next: None, generation: known.generation + 1, ..known }
            }
            CredentialsWrite::Same => read.expect("a record that was read"),
            CredentialsWrite::Consent { key } => {
                let is_meant = |known: &Key| public(*known).fingerprint().as_str() == key;
                let taken_over = (0..self.next).find(is_meant);
                Credential { taken_over, ..read.expect("a record that was read") }
            }
        };
        if bug == Some(Bug::HydraFirst) && *write == CredentialsWrite::New && self.client.is_none() {
            let key = process.key().expect("a held key");
            let secret = known.secret;
            self.client = Some(Client { secret, key, has_statements: true, is_of_another_method: false });
        }
        if !self.store_is_up || fate == Fate::NeverDone {
            return Err(unavailable);
        }
        let length = u64::try_from(self.credentials.len()).unwrap_or(u64::MAX);
        let is_as_expected = match expected {
            Expected::Absent => length == 0,
            Expected::Version(version) => version == length && length > 0,
        };
        match (is_as_expected, bug, expected) {
            (true, _, _) => {}
            (false, Some(Bug::FenceIsOpen), Expected::Version(version)) => return Ok(version + 1),
            (false, _, _) => return Err(WriteFailure::Conflict),
        }
        if let (CredentialsWrite::Promoted, Some(read)) = (write, read) {
            self.retired_secrets |= 1 << read.secret;
        }
        self.credentials.push(known);
        process.secret = Some(known);
        match fate {
            Fate::AnswerLost => Err(unavailable),
            _ => Ok(length + 1),
        }
    }
}
