//! The executor's steps, as `observe.rs`, `apply.rs`, `client.rs` and `reconcile.rs` take them: what is decided comes from
//! the tables themselves, what is written where is repeated here.

use crate::world::{Bug, Client, Fate, Key, Secret, World};
use bindu_identity::{PublicKey, SigningKey};
use bindu_keeper::plan::{
    Policy, TakeOver, TakenOver,
    client::{self, ClientPolicy},
    keys::{self, DOUBT, Earlier, HydraNames},
};
use bindu_store::OutageReason;
use std::{sync::LazyLock, time::Duration};

static KEYS: LazyLock<Vec<(PublicKey, String)>> = LazyLock::new(|| {
    let keys = (0..64).map(|seed| SigningKey::from_seed(&[seed + 1; 32]).public_key());
    keys.map(|key| (key, key.to_string())).collect()
});

/// A process, from one step to the next.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) enum Process {
    #[default]
    Down,
    /// It reads; a start or a pass.
    Observing(Seen),
    /// A new key is made and to be written.
    Creating { key: Key, seen: Seen },
    /// The disk's key is to be written.
    BackingUp { key: Key, seen: Seen },
    /// The key is to be written to the disk: the pair, then the acknowledgement.
    ToDisk { mind: Mind, seen: Seen, pair_is_there: bool },
    /// Works on the client.
    AtClient(Work),
    /// Serves, until the next pass.
    Idle(Mind),
}

/// What a running agent holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Mind {
    pub(crate) key: Key,
    pub(crate) version: Option<u64>,
    pub(crate) sure: bool,
    /// Made by this start.
    pub(crate) is_new: bool,
    /// The last pass left nothing to do.
    pub(crate) is_done: bool,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Seen {
    pub(crate) running: Option<Mind>,
    pub(crate) store: Option<StoreSeen>,
    pub(crate) hydra: Option<Option<Option<Client>>>,
    /// The same was seen before, long ago.
    pub(crate) doubted: bool,
    pub(crate) lost: bool,
}

/// The store's two answers; `None` is an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StoreSeen {
    keys: Option<Option<(Key, u64)>>,
    credentials: Option<Option<(Secret, u64)>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Work {
    mind: Mind,
    credentials: Option<Option<(Secret, u64)>>,
    hydra: Option<Option<Client>>,
    proof: Proof,
    fenced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Proof {
    Untested,
    Works,
    Wrong,
    Unknown,
}

impl Process {
    pub(crate) fn key(&self) -> Option<Key> {
        match self {
            Self::AtClient(Work { mind, .. }) | Self::Idle(mind) => Some(mind.key),
            Self::Observing(seen) => seen.running.map(|mind| mind.key),
            _ => None,
        }
    }

    pub(crate) fn is_idle_and_sure(&self) -> bool {
        matches!(self, Self::Idle(mind) if mind.sure && mind.is_done)
    }

    pub(crate) fn writes(&self) -> bool {
        matches!(self, Self::Creating { .. } | Self::BackingUp { .. } | Self::AtClient(_))
    }
}

impl World {
    pub(crate) fn read_store(&mut self, index: usize) {
        let version = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let seen = StoreSeen {
            keys: self.store_is_up.then(|| self.keys.last().map(|key| (*key, version(self.keys.len())))),
            credentials: self
                .store_is_up
                .then(|| self.credentials.last().map(|secret| (*secret, version(self.credentials.len())))),
        };
        if let Process::Observing(observation) = &mut self.replicas[index].process {
            observation.store = Some(seen);
        }
        self.decide(index);
    }

    pub(crate) fn read_hydra(&mut self, index: usize) {
        let answer = self.hydra_is_up.then_some(self.client);
        if let Process::Observing(observation) = &mut self.replicas[index].process {
            observation.hydra = Some(answer);
        }
        self.decide(index);
    }

    /// Once both have answered, the table decides.
    fn decide(&mut self, index: usize) {
        let Process::Observing(seen) = self.replicas[index].process.clone() else { return };
        let (Some(store), Some(hydra)) = (seen.store, seen.hydra) else { return };
        let disk = self.replicas[index].disk;
        let held = match seen.running {
            Some(mind) => Some((mind.key, mind.version)),
            None => disk.key.map(|key| (key, disk.acknowledged)),
        };
        let names = match hydra {
            None => HydraNames::Unknown,
            Some(None) => HydraNames::NoClient,
            Some(Some(client)) => HydraNames::Key {
                key: KEYS[usize::from(client.key)].1.clone(),
                version: Some(client.key_version),
            },
        };
        let observed = keys::Observed {
            store: match store.keys {
                None => keys::Store::Unavailable(OutageReason::TimedOut),
                Some(None) => keys::Store::Absent,
                Some(Some((key, version))) => {
                    keys::Store::Present { key: KEYS[usize::from(key)].0, version, replaces: Vec::new() }
                }
            },
            local: match held {
                None => keys::Local::None,
                Some((key, acknowledged)) => {
                    keys::Local::Present { key: KEYS[usize::from(key)].0, acknowledged }
                }
            },
            hydra: names,
            running: seen.running.is_some(),
            seen_for: if seen.doubted { DOUBT } else { Duration::ZERO },
            earlier: Earlier::Read { named: None, whole: true },
            lost: seen.lost,
            age: None,
            provisional: false,
            taken_over: TakenOver::Nothing,
            name_problem: None,
        };
        let plan = keys::plan(&observed, &Policy::default());
        let again = Seen { running: seen.running, doubted: true, lost: seen.lost, ..Seen::default() };
        let mind = |key, version, sure| Mind { key, version, sure, is_new: false, is_done: false };
        self.replicas[index].process = match (plan.step, held, store.keys.flatten()) {
            (keys::Step::UseLocal, Some((key, acknowledged)), stored) => {
                let version = stored.map(|(_, version)| version).filter(|_| plan.sure).or(acknowledged);
                let is_new = seen.running.is_some_and(|mind| mind.is_new);
                let mind = Mind { is_new, ..mind(key, version, plan.sure) };
                if plan.sure && disk.acknowledged != version {
                    Process::ToDisk { mind, seen, pair_is_there: disk.key == Some(key) }
                } else {
                    self.at_client(mind, &seen)
                }
            }
            (keys::Step::UseStore, _, Some((key, version))) => {
                Process::ToDisk { mind: mind(key, Some(version), true), seen, pair_is_there: false }
            }
            (keys::Step::BackUp { .. }, Some((key, _)), _) => Process::BackingUp { key, seen },
            (keys::Step::Generate, ..) => {
                let key = self.make();
                Process::Creating { key, seen }
            }
            (keys::Step::LookAgain { .. }, ..) => Process::Observing(again),
            // A refusal: the supervisor starts it again.
            _ => Process::Down,
        };
    }

    /// From here on it listens: the key is shown.
    fn at_client(&mut self, mind: Mind, seen: &Seen) -> Process {
        self.shown |= 1u64 << mind.key;
        Process::AtClient(Work {
            mind,
            credentials: seen.store.and_then(|store| store.credentials),
            hydra: seen.hydra.flatten(),
            proof: Proof::Untested,
            fenced: false,
        })
    }

    /// A step that writes to no server.
    pub(crate) fn step(&mut self, index: usize) {
        let process = std::mem::take(&mut self.replicas[index].process);
        let disk = &mut self.replicas[index].disk;
        let next = match process {
            Process::Down => Process::Observing(Seen::default()),
            Process::Idle(mind) => Process::Observing(Seen { running: Some(mind), ..Seen::default() }),
            Process::ToDisk { mind, seen, pair_is_there: false } => {
                (disk.key, disk.acknowledged) = (Some(mind.key), None);
                Process::ToDisk { mind, seen, pair_is_there: true }
            }
            Process::ToDisk { mind, seen, pair_is_there: true } => {
                disk.acknowledged = mind.version;
                self.at_client(mind, &seen)
            }
            other => other,
        };
        self.replicas[index].process = next;
    }

    /// A step that writes to a server, or asks it for a proof.
    pub(crate) fn write(&mut self, index: usize, fate: Fate, bug: Option<Bug>) {
        let process = std::mem::take(&mut self.replicas[index].process);
        let next = match process {
            Process::Creating { key, seen } => self.create(index, (key, seen), fate, bug),
            Process::BackingUp { key, seen } => self.back_up(index, (key, seen), fate),
            Process::AtClient(work) => self.client_step(index, work, fate, bug),
            other => other,
        };
        self.replicas[index].process = next;
    }

    fn create(&mut self, index: usize, (key, seen): (Key, Seen), fate: Fate, bug: Option<Bug>) -> Process {
        if bug == Some(Bug::UsedBeforeStored) {
            self.shown |= 1u64 << key;
        }
        let own = Mind { key, version: Some(1), sure: true, is_new: true, is_done: false };
        match self.put_key(key, fate, bug == Some(Bug::BlindWrite)) {
            Put::Done(version) => {
                self.replicas[index].disk.acknowledged = None;
                let mind = Mind { version: Some(version), ..own };
                Process::ToDisk { mind, seen, pair_is_there: false }
            }
            Put::Undecided if bug == Some(Bug::UndecidedIsDone) => self.at_client(own, &seen),
            Put::Conflict if bug == Some(Bug::LoserKeepsItsKey) => self.at_client(own, &seen),
            Put::Conflict => Process::Observing(Seen { lost: true, ..Seen::default() }),
            Put::Undecided => Process::Observing(Seen::default()),
        }
    }

    fn back_up(&mut self, index: usize, (key, seen): (Key, Seen), fate: Fate) -> Process {
        let acknowledged = self.replicas[index].disk.acknowledged;
        let mind = |version, sure| Mind { key, version, sure, is_new: false, is_done: false };
        match self.put_key(key, fate, false) {
            Put::Done(version) => {
                Process::ToDisk { mind: mind(Some(version), true), seen, pair_is_there: true }
            }
            Put::Conflict => {
                Process::Observing(Seen { running: seen.running, lost: true, ..Seen::default() })
            }
            // From disk, not sure.
            Put::Undecided => self.at_client(mind(acknowledged, false), &seen),
        }
    }

    /// A create by compare-and-set.
    fn put_key(&mut self, key: Key, fate: Fate, blind: bool) -> Put {
        if fate == Fate::NeverDone || !self.store_is_up {
            return Put::Undecided;
        }
        let is_free = self.keys.is_empty() || blind;
        if is_free {
            self.keys.push(key);
        }
        match fate {
            Fate::AnswerLost => Put::Undecided,
            _ if is_free => Put::Done(u64::try_from(self.keys.len()).unwrap_or(u64::MAX)),
            _ => Put::Conflict,
        }
    }

    fn put_secret(&mut self, secret: Secret, at: usize, fate: Fate) -> Put {
        if fate == Fate::NeverDone || !self.store_is_up {
            return Put::Undecided;
        }
        let is_expected = self.credentials.len() == at;
        if is_expected {
            self.credentials.push(secret);
        }
        match fate {
            Fate::AnswerLost => Put::Undecided,
            _ if is_expected => Put::Done(u64::try_from(self.credentials.len()).unwrap_or(u64::MAX)),
            _ => Put::Conflict,
        }
    }

    /// One step of the client's table.
    fn client_step(&mut self, index: usize, mut work: Work, fate: Fate, bug: Option<Bug>) -> Process {
        let disk_secret = self.replicas[index].disk.secret;
        let policy = ClientPolicy { auto_register: true, take_over: TakeOver::No };
        let step = client::plan(&work.observed(disk_secret), &policy);
        let end = |work: &Work, is_done| Process::Idle(Mind { is_done, ..work.mind });
        let in_hand = work.credentials.flatten().map(|(secret, _)| secret).or(disk_secret);
        match step {
            client::Step::Done => {
                self.replicas[index].disk.secret = work.credentials.flatten().map(|(secret, _)| secret);
                return end(&work, true);
            }
            client::Step::Leave(_) | client::Step::Describe => return end(&work, false),
            client::Step::ProveSecret => {
                work.proof = match (self.hydra_is_up && fate == Fate::Answered, self.client, in_hand) {
                    (false, ..) => Proof::Unknown,
                    (true, Some(client), Some(secret)) if client.secret == secret => Proof::Works,
                    (true, ..) => Proof::Wrong,
                };
            }
            client::Step::CreateSecret { .. } | client::Step::AdoptLocal { .. } => {
                let is_new = matches!(step, client::Step::CreateSecret { .. });
                let secret = in_hand.filter(|_| !is_new).unwrap_or_else(|| self.make());
                if bug == Some(Bug::HydraFirst) && self.client.is_none() && self.hydra_is_up {
                    self.client = Some(work.client(secret));
                }
                match self.put_secret(secret, 0, fate) {
                    Put::Done(version) => work.credentials = Some(Some((secret, version))),
                    Put::Conflict if self.store_is_up => self.read_credentials(&mut work),
                    _ => return end(&work, false),
                }
                work.proof = Proof::Untested;
            }
            client::Step::Fence | client::Step::TakeOver { .. } => {
                let Some((secret, version)) = work.credentials.flatten() else { return end(&work, false) };
                match self.put_secret(secret, usize::try_from(version).unwrap_or(usize::MAX), fate) {
                    Put::Done(version) => {
                        (work.credentials, work.fenced) = (Some(Some((secret, version))), true);
                    }
                    Put::Conflict if self.store_is_up => {
                        self.read_credentials(&mut work);
                        work.hydra = self.hydra_is_up.then_some(self.client);
                    }
                    _ => return end(&work, false),
                }
            }
            client::Step::Register | client::Step::Repair => {
                let Some((secret, _)) = work.credentials.flatten() else { return end(&work, false) };
                if fate == Fate::NeverDone || !self.hydra_is_up {
                    return end(&work, false);
                }
                if step == client::Step::Repair || self.client.is_none() {
                    self.client = Some(work.client(secret));
                }
                if fate == Fate::AnswerLost {
                    return end(&work, false);
                }
                (work.hydra, work.proof) = (Some(self.client), Proof::Untested);
            }
        }
        Process::AtClient(work)
    }

    fn read_credentials(&self, work: &mut Work) {
        let version = u64::try_from(self.credentials.len()).unwrap_or(u64::MAX);
        work.credentials = Some(self.credentials.last().map(|secret| (*secret, version)));
        work.proof = Proof::Untested;
    }
}

enum Put {
    Done(u64),
    Conflict,
    Undecided,
}

impl Work {
    fn client(&self, secret: Secret) -> Client {
        Client { secret, key: self.mind.key, key_version: self.mind.version.unwrap_or_default() }
    }

    fn observed(&self, disk_secret: Option<Secret>) -> client::Observed {
        client::Observed {
            store: match self.credentials {
                None => client::Store::Unavailable,
                Some(None) => client::Store::Absent,
                Some(Some((_, version))) => client::Store::Present { version, taken_over: None },
            },
            local: if disk_secret.is_some() { client::Local::Present } else { client::Local::None },
            hydra: match self.hydra {
                None => client::Client::Unavailable,
                Some(None) => client::Client::Absent,
                Some(Some(client)) if client.key == self.mind.key => client::Client::OfOurKey,
                Some(Some(client)) => client::Client::OfAnotherKey(KEYS[usize::from(client.key)].1.clone()),
            },
            secret: match self.proof {
                Proof::Untested => client::Secret::Untested,
                Proof::Works => client::Secret::Works,
                Proof::Wrong => client::Secret::Wrong,
                Proof::Unknown => client::Secret::Unknown,
            },
            sure: self.mind.sure,
            fenced: self.fenced,
            key_is_doubtful: self.mind.is_new,
            description_differs: false,
        }
    }
}
