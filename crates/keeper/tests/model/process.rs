//! A process: the shipped machine, and a driver that carries its effects out in the world, one at a time.

use crate::world::{Bug, Client, Clock, Credential, Disk, Fate, Key, Record, Version, World, number, public};
use bindu_keeper::{
    Reason,
    machine::{
        Config, Credentials, CredentialsWrite, DiskSeen, Effect, Event, HydraClient, HydraConfig, Machine,
        Member, Observation, Slot, Trial, WriteFailure,
    },
    plan::{
        Policy,
        client::{self, Authentication, Secret},
        history::Past,
        keys::{Acknowledged, HydraNames, Local, Store, Stored},
        ring::{Next, Previous, Ring, RingStep},
    },
};
use bindu_store::{Expected, OutageReason};
use std::{collections::VecDeque, time::Duration};

/// Far enough for every doubt to be over at the second look.
const LONG: Duration = Duration::from_secs(4);

/// A process between two effects.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    machine: Machine,
    todo: VecDeque<Effect>,
    now: Duration,
    store: Option<Record>,
    local: Option<Record>,
    earlier: Vec<(u64, Record)>,
    new: Option<Key>,
    /// Hydra's last answer: silent, no client, or a client.
    hydra: Option<Option<Client>>,
    secret: Option<Credential>,
    copy: Option<(u8, u64)>,
    keys_reason: Option<Reason>,
    client_reason: Option<Reason>,
    has_ended_a_pass: bool,
    waits_for_the_store: bool,
}

/// What the next effect touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    ReadStore,
    Write,
    Other,
}

impl Process {
    pub(crate) fn new() -> Self {
        let config = Config {
            policy: Policy::default(),
            hydra: HydraConfig { is_configured: true, is_addressable: true, auto_register: true },
            store_is_local: false,
            start_deadline: Duration::from_secs(3600),
            reconcile_interval: Duration::from_secs(60),
            name_problem: None,
        };
        let mut process = Self {
            machine: Machine::new(config),
            todo: VecDeque::new(),
            now: Duration::ZERO,
            store: None,
            local: None,
            earlier: Vec::new(),
            new: None,
            hydra: None,
            secret: None,
            copy: None,
            keys_reason: None,
            client_reason: None,
            has_ended_a_pass: false,
            waits_for_the_store: false,
        };
        process.tell(Event::Begin);
        process
    }

    fn tell(&mut self, event: Event) {
        // Time is told in steps of what matters, so that the world stays small.
        self.todo.extend(self.machine.handle(self.now, event));
    }

    pub(crate) fn next(&self) -> Step {
        match self.todo.front() {
            Some(Effect::Observe { .. } | Effect::ReadHistory { .. }) => Step::ReadStore,
            Some(
                Effect::WriteKeys { .. }
                | Effect::WriteRing { .. }
                | Effect::WriteCredentials { .. }
                | Effect::Register { .. }
                | Effect::RevokeTokens { .. }
                | Effect::Patch { .. },
            ) => Step::Write,
            _ => Step::Other,
        }
    }

    pub(crate) fn key(&self) -> Option<Key> {
        self.machine.held().map(|held| number(&held.key))
    }

    /// If it serves, is sure, and has nothing to complain of.
    pub(crate) fn is_well(&self) -> bool {
        self.machine.is_running()
            && self.machine.is_sure()
            && self.has_ended_a_pass
            && self.keys_reason.is_none()
            && self.client_reason.is_none()
    }

    fn slot(&self, slot: Slot) -> Option<Record> {
        match slot {
            Slot::Store => self.store.clone(),
            Slot::Local => self.local.clone(),
            Slot::Earlier(version) => {
                self.earlier.iter().find(|(known, _)| *known == version).map(|(_, record)| record.clone())
            }
            Slot::New => self.new.map(Record::of),
        }
    }
}

/// If the dates in a record are past: that of a prepared key, and the end of an overlap.
#[derive(Debug, Clone, Copy)]
struct Dates {
    is_due: bool,
    is_over: bool,
}

impl World {
    /// What a replica makes of the dates. An overlap is over once no more rotations are to come: undo needs it.
    fn dates(&self, index: usize, record: &Record) -> Dates {
        let is_late = self.budget.rotations == 0;
        let is_past = match self.replicas[index].clock {
            Clock::Right => is_late,
            Clock::Ahead => true,
            Clock::Behind => false,
        };
        // Without clocks a key is activated by the operator; a withdrawal is finished by whoever comes first.
        Dates { is_due: is_past && (self.has_clocks || record.is_compromised), is_over: is_past }
    }

    fn seen_ring(&self, index: usize, record: &Record) -> Ring {
        let Dates { is_due, is_over } = self.dates(index, record);
        Ring {
            next: record.next.map(|key| Next {
                key: public(key),
                is_due,
                is_compromised: record.is_compromised,
            }),
            previous: record.previous.map(|key| Previous { key: public(key), is_over }),
            revokes_tokens: record.revokes_tokens,
        }
    }
}

impl World {
    /// Carries the next effect of a replica out; whether its pass (or its start) has ended with it.
    pub(crate) fn step(&mut self, index: usize, fate: Fate, is_stale: bool, bug: Option<Bug>) -> bool {
        let Some(mut process) = self.replicas[index].process.take() else { return true };
        let Some(effect) = process.todo.pop_front() else {
            // A machine that asks for nothing while it lives is stuck.
            self.broken = Some("a machine asks for nothing");
            return true;
        };
        let mut ended = false;
        let mut lives = true;
        let event = match effect {
            Effect::ReadDisk => Some(self.read_disk(index, &mut process, bug)),
            Effect::Observe { .. } => Some(self.observe(index, &mut process, is_stale, bug)),
            Effect::ReadHistory { versions, .. } => Some(self.history(&mut process, versions, bug)),
            Effect::RevokeTokens { .. } => {
                Some(Event::TokensRevoked(self.revoke(fate) || bug == Some(Bug::RevocationIsNoted)))
            }
            Effect::MakeKey => {
                if self.replicas[index].disk.record.is_some() {
                    self.broken = Some("a key is made beside one on the same disk");
                }
                let key = self.make();
                process.new = Some(key);
                Some(Event::KeyMade(Some(public(key))))
            }
            Effect::WriteKeys { slot, expected } => {
                let record = process.slot(slot).expect("a key that is held");
                Some(Event::KeysWritten(self.write_keys(record, expected, slot == Slot::New, fate, bug)))
            }
            Effect::WriteRing { step, over, lineage } => {
                let read = process.store.clone().expect("a record that was read");
                let record = Record { lineage, ..read };
                let record = match (step, record.next) {
                    (RingStep::Activate { compromised }, Some(next)) => {
                        if compromised != record.is_compromised {
                            self.broken =
                                Some("a key is withdrawn that nobody has stolen, or the other way round");
                        }
                        match compromised && bug != Some(Bug::WithdrawnIsKept) {
                            true => record.withdrawn(next),
                            false => record.rotated(next),
                        }
                    }
                    (RingStep::Revoke, _) => {
                        if self.has_stolen_tokens {
                            self.broken = Some("tokens are noted as revoked that are alive");
                        }
                        Record { revokes_tokens: false, ..record }
                    }
                    (RingStep::PutBack | RingStep::Note, _) => Record { has_lineage: true, ..record },
                    (RingStep::Retire, _) => {
                        let named = self.client.map(|client| client.key);
                        let is_there = usize::try_from(over).is_ok_and(|over| over == self.keys.len());
                        if named.is_some() && named == record.previous && is_there && !self.attacker_was_here
                        {
                            self.broken = Some("a key that Hydra names is retired");
                        }
                        Record { previous: None, ..record }
                    }
                    (step, _) => panic!("nobody has asked for {step:?}"),
                };
                Some(Event::KeysWritten(self.write_keys(record, Expected::Version(over), false, fate, bug)))
            }
            Effect::WriteDisk { slot, acknowledged, .. } | Effect::Remember { slot, acknowledged } => {
                let record = process.slot(slot);
                let disk = &mut self.replicas[index].disk;
                // As the driver does it: what can't be read is not written, either.
                if !disk.is_unreadable {
                    disk.record = record.map(|record| match bug {
                        Some(Bug::LineageIsForgotten) => Record::of(record.key),
                        _ => record,
                    });
                    disk.acknowledged = acknowledged.map(|known| (known.version, known.named));
                }
                None
            }
            Effect::Hold { slot, held, .. } => {
                let record =
                    process.slot(slot).map(|record| Record { lineage: held.lineage.clone(), ..record });
                process.local = record;
                let key = number(&held.key);
                if self.right.is_none() && self.live().is_some_and(|live| live.key == key) {
                    self.right = Some(key);
                }
                None
            }
            Effect::HearHydra { .. } | Effect::AskHydra { .. } => {
                process.hydra = self.hydra_is_up.then_some(self.client);
                Some(Event::Hydra(self.hydra(&process, bug)))
            }
            Effect::TrySecret { .. } => {
                Some(Event::SecretTried(Trial { secret: self.try_secret(&process, bug), is_refused: false }))
            }
            Effect::WriteCredentials { write, expected } => {
                if !process.machine.is_sure() {
                    self.broken = Some("who is not sure writes credentials");
                }
                Some(Event::CredentialsWritten(self.write_credentials(
                    &mut process,
                    &write,
                    expected,
                    fate,
                    bug,
                )))
            }
            Effect::ReadCredentials => {
                Some(Event::CredentialsRead(self.read_credentials(&mut process, false)))
            }
            Effect::Register { .. } => Some(Event::Registered(self.register(&process, fate))),
            Effect::Patch { members, .. } => Some(Event::Patched(self.patch(&process, &members, fate))),
            Effect::CacheCredentials { proven } => {
                let disk = &mut self.replicas[index].disk;
                let known = process.secret.map(|known| (known.secret, known.generation));
                if known.is_some() && (proven || disk.secret.is_none()) && !disk.is_unreadable {
                    disk.secret = known;
                }
                None
            }
            Effect::ReportKeys { plan, .. } => {
                let named = self.client.map(|client| public(client.key));
                let is_older = named.is_some_and(|named| self.past.replaces_key(&named));
                if plan.degraded == Some(Reason::KeySuperseded) && process.key() == self.right && is_older {
                    self.broken = Some("the right key is called superseded by one that it replaces");
                }
                process.keys_reason = plan.degraded;
                None
            }
            Effect::ReportClient(reason) => {
                process.client_reason = reason;
                None
            }
            Effect::PassEnded { .. } => {
                (ended, process.has_ended_a_pass) = (true, true);
                None
            }
            Effect::Started => Some(Event::Begin),
            Effect::Refuse { .. } => {
                (ended, lives) = (true, false);
                None
            }
            Effect::Wait(_) => {
                // Waiting for a server changes nothing by itself; else every doubt is over at the second look.
                if process.machine.is_timeless() {
                    process.now = Duration::ZERO;
                } else if !process.waits_for_the_store {
                    process.now += LONG;
                }
                Some(Event::Elapsed)
            }
            Effect::RestorePublicKey | Effect::SignWith(_) | Effect::MendDirectory { .. } => None,
        };
        if let Some(event) = event {
            process.tell(event);
        }
        self.replicas[index].process = lives.then_some(process);
        self.learn();
        ended
    }

    fn read_disk(&self, index: usize, process: &mut Process, bug: Option<Bug>) -> Event {
        let Disk { record, acknowledged, secret, is_unreadable } = &self.replicas[index].disk;
        if *is_unreadable {
            let local = match bug {
                Some(Bug::UnreadableIsEmpty) => Local::None,
                _ => Local::Unreadable("private.pem".to_owned()),
            };
            return Event::Disk(Box::new(DiskSeen { local, ring: Ring::default(), provisional: false }));
        }
        process.copy = *secret;
        process.local.clone_from(record);
        let local = record.as_ref().map_or(Local::None, |record| Local::Present {
            key: public(record.key),
            acknowledged: acknowledged.map(|(version, named)| Acknowledged {
                // Finding 1, seeded: any deletion looks like one of the version that the disk knows.
                version: match bug {
                    Some(Bug::AnyDeletionIsOurs) => u64::try_from(self.keys.len()).unwrap_or(u64::MAX),
                    _ => version,
                },
                named,
            }),
            lineage: record.lineage.clone(),
        });
        let ring = record.as_ref().map(|record| self.seen_ring(index, record)).unwrap_or_default();
        Event::Disk(Box::new(DiskSeen { local, ring, provisional: false }))
    }

    fn observe(&self, index: usize, process: &mut Process, is_stale: bool, bug: Option<Bug>) -> Event {
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
            credentials: Credentials {
                store: credentials,
                local: process.copy.map(|(_, generation)| generation),
            },
            age: None,
            retry_after: None,
        }))
    }

    /// The generation to which the statements in Hydra lead from a key to the one that it names: an attacker signs none.
    fn chain(&self, from: Option<&Record>, client: &Client) -> Option<u64> {
        let is_right = Some(client.key) == self.right;
        let is_older = self.past.replaces_key(&public(from?.key));
        (client.has_statements && is_right && is_older).then_some(self.past.generation)
    }

    fn history(
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
                            has_next: record.next.is_some(),
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

    fn write_keys(
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
    fn check_write(&mut self, record: &Record, is_new: bool) {
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

    fn hydra(&self, process: &Process, bug: Option<Bug>) -> HydraClient {
        let Some(answer) = process.hydra else { return HydraClient::unavailable() };
        let Some(client) = answer else {
            return HydraClient { client: client::Client::Absent, ..HydraClient::unavailable() };
        };
        let (named, held) = (public(client.key), process.machine.held());
        let after = self.chain(process.local.as_ref(), &client);
        let is_later = |generation: u64| held.is_some_and(|held| generation > held.lineage.generation);
        let whose = match held {
            Some(_) if after.is_some_and(is_later) => client::Client::OfOurNextKey,
            Some(held) if held.key == named => client::Client::OfOurKey,
            Some(held) if held.lineage.replaces_key(&named) => client::Client::OfAnOlderKey,
            Some(held) if held.next == Some(named) => client::Client::OfOurNextKey,
            _ => client::Client::OfAnotherKey(named.to_string()),
        };
        let (authentication, differs) = match client.is_of_another_method {
            true if bug == Some(Bug::MethodIsWrongSecret) => (Authentication::Ours, Vec::new()),
            true => (Authentication::OtherMethod, vec![Member::AuthenticationMethod]),
            false => (Authentication::Ours, Vec::new()),
        };
        HydraClient { client: whose, named: Some(named), follows: false, authentication, differs }
    }

    /// What a token request shows.
    fn try_secret(&self, process: &Process, bug: Option<Bug>) -> Secret {
        let current = process.secret.map(|known| known.secret).or(process.copy.map(|(secret, _)| secret));
        let next = process.secret.and_then(|known| known.next);
        match (self.hydra_is_up, self.client, current) {
            // A method that is not ours gets a 401, whatever the secret.
            (true, Some(client), Some(_)) if client.is_of_another_method => Secret::Wrong,
            (true, Some(client), Some(secret)) if client.secret == secret => Secret::Works,
            (true, Some(client), Some(_))
                if next == Some(client.secret) && bug != Some(Bug::NextSecretIsWrong) =>
            {
                Secret::NextWorks
            }
            (true, _, Some(_)) => Secret::Wrong,
            _ => Secret::Unknown,
        }
    }

    /// All tokens of the client are revoked; if Hydra says so.
    fn revoke(&mut self, fate: Fate) -> bool {
        if !self.hydra_is_up || fate == Fate::NeverDone {
            return false;
        }
        let is_named = self.client.is_some_and(|client| self.withdrawn & (1 << client.key) != 0);
        if is_named && !self.attacker_was_here && !self.rogue_was_here {
            self.broken = Some("tokens are revoked while Hydra names the withdrawn key");
        }
        self.has_stolen_tokens = false;
        fate == Fate::Answered
    }

    fn read_credentials(&self, process: &mut Process, is_stale: bool) -> client::Store {
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
                    taken_over: None,
                    has_next: known.next.is_some(),
                    generation: known.generation,
                }
            }
        }
    }

    fn write_credentials(
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
            CredentialsWrite::New => Credential { secret: self.make(), next: None, generation: 0 },
            CredentialsWrite::Local => {
                let (secret, generation) = process.copy.expect("a local secret");
                Credential { secret, next: None, generation }
            }
            CredentialsWrite::Promoted => {
                let known = read.expect("a record that was read");
                let secret = known.next.expect("a prepared secret");
                Credential { secret, next: None, generation: known.generation + 1 }
            }
            CredentialsWrite::Same | CredentialsWrite::Consent { .. } => {
                read.expect("a record that was read")
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

    fn register(&mut self, process: &Process, fate: Fate) -> Result<bool, Reason> {
        if !process.machine.is_sure() {
            self.broken = Some("who is not sure registers");
        }
        if !self.hydra_is_up || fate == Fate::NeverDone {
            return Err(Reason::HydraUnavailable);
        }
        if self.client.is_some() {
            return Ok(false);
        }
        let (Some(Credential { secret, .. }), Some(key)) = (process.secret, process.key()) else {
            return Err(Reason::CredentialsMissing);
        };
        self.name(key);
        self.client = Some(Client { secret, key, has_statements: true, is_of_another_method: false });
        match fate {
            Fate::AnswerLost => Err(Reason::HydraUnavailable),
            _ => Ok(true),
        }
    }

    fn patch(&mut self, process: &Process, members: &[Member], fate: Fate) -> Result<(), Reason> {
        if !process.machine.is_sure() {
            self.broken = Some("who is not sure changes the client");
        }
        if !self.hydra_is_up || fate == Fate::NeverDone {
            return Err(Reason::HydraUnavailable);
        }
        let Some(mut client) = self.client else { return Err(Reason::ClientMissing) };
        for member in members {
            match member {
                Member::PublicKey => {
                    client.key = process.key().expect("a held key");
                    client.has_statements = true;
                    self.name(client.key);
                }
                Member::Secret => {
                    client.secret = process.secret.expect("a record that was read").secret;
                    if self.retired_secrets & (1 << client.secret) != 0 {
                        self.broken = Some("a secret that was rotated comes back into Hydra");
                    }
                }
                Member::NextSecret => {
                    let known = process.secret.expect("a record that was read");
                    client.secret = known.next.expect("a prepared secret");
                }
                Member::AuthenticationMethod => client.is_of_another_method = false,
                _ => {}
            }
        }
        self.client = Some(client);
        match fate {
            Fate::AnswerLost => Err(Reason::HydraUnavailable),
            _ => Ok(()),
        }
    }

    /// If two of the store's content, its history and Hydra were changed by others: then nothing proves anything.
    fn is_beyond_proof(&self) -> bool {
        [self.was_restored, self.attacker_was_here, self.rogue_was_here].iter().filter(|was| **was).count()
            > 1
    }

    /// A machine writes a key's name to Hydra.
    fn name(&mut self, key: Key) {
        if self.retired & (1 << key) != 0 && !self.is_beyond_proof() {
            self.broken = Some("a retired key comes back into Hydra");
        }
        let is_right = self.right.is_none_or(|right| right == key);
        if !is_right && self.rogue_was_here && !self.is_beyond_proof() {
            self.broken = Some("Hydra is given the key of a rogue");
        }
    }
}
