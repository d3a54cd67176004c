//! A process: the shipped machine, and a driver that carries its effects out in the world, one at a time.

mod disk;
mod hydra;
mod vault;

use crate::world::{Bug, Client, Credential, Fate, Key, Record, World, number, public};
use bindu_keeper::{
    Reason,
    machine::{Config, Effect, Event, HydraConfig, Machine, Slot, Trial},
    plan::{Policy, TakeOver, ring::RingStep},
};
use bindu_store::Expected;
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
        Self::with(TakeOver::No)
    }

    /// One whose operator consents to take the client over.
    pub(crate) fn with(take_over: TakeOver) -> Self {
        let config = Config {
            policy: Policy { take_over, ..Policy::default() },
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

    /// If it says that another key is named in Hydra, with the hint to consent.
    pub(crate) fn asks_for_consent(&self) -> bool {
        self.machine.is_running()
            && [self.keys_reason, self.client_reason].contains(&Some(Reason::ClientOfAnotherKey))
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
}
