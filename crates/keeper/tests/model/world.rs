//! The world of the model: a store, a Hydra, disks and processes; what can happen, and what must hold.

use crate::steps::Process;

pub(crate) type Key = u8;
pub(crate) type Secret = u8;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// The versions of the keys record.
    pub(crate) keys: Vec<Key>,
    /// The versions of the credentials record.
    pub(crate) credentials: Vec<Secret>,
    /// Hydra's client of the DID.
    pub(crate) client: Option<Client>,
    pub(crate) store_is_up: bool,
    pub(crate) hydra_is_up: bool,
    pub(crate) replicas: Vec<Replica>,
    /// The keys that a listening agent has shown, as bits.
    pub(crate) shown: u64,
    /// The number of the next key or secret that is made.
    pub(crate) next: u8,
    pub(crate) budget: Budget,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    pub(crate) secret: Secret,
    pub(crate) key: Key,
    pub(crate) key_version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Replica {
    pub(crate) disk: Disk,
    pub(crate) process: Process,
}

/// A data directory: the pair is written before `identity.json` says that it was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Disk {
    pub(crate) key: Option<Key>,
    pub(crate) acknowledged: Option<u64>,
    pub(crate) secret: Option<Secret>,
}

/// How much may go wrong in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) crashes: u8,
    pub(crate) outages: u8,
    pub(crate) lost_answers: u8,
}

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    /// Done, and the answer is lost.
    AnswerLost,
    /// Lost on its way.
    NeverDone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    ReadStore(usize),
    ReadHydra(usize),
    /// The next step of the executor, which writes nothing to a server.
    Step(usize),
    /// The next step of the executor, which does.
    Write(usize, Fate),
    Crash(usize),
    /// The node is lost: the next start finds an empty disk.
    LoseDisk(usize),
    StoreFails,
    StoreReturns,
    HydraFails,
    HydraReturns,
}

/// What a keeper could do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Hydra hears of a secret before the store has it.
    HydraFirst,
    /// A write whose answer is lost counts as done.
    UndecidedIsDone,
    /// A create does not look whether there is something.
    BlindWrite,
    /// A new key is used before its write is answered.
    UsedBeforeStored,
    /// Who has lost a race goes on with its own key.
    LoserKeepsItsKey,
}

impl World {
    pub(crate) fn new(replicas: usize, budget: Budget) -> Self {
        Self {
            keys: Vec::new(),
            credentials: Vec::new(),
            client: None,
            store_is_up: true,
            hydra_is_up: true,
            replicas: vec![Replica::default(); replicas],
            shown: 0,
            next: 0,
            budget,
        }
    }

    pub(crate) fn actions(&self, actions: &mut Vec<Action>) {
        for (index, replica) in self.replicas.iter().enumerate() {
            match &replica.process {
                Process::Observing(seen) => {
                    if seen.store.is_none() {
                        actions.push(Action::ReadStore(index));
                    }
                    if seen.hydra.is_none() {
                        actions.push(Action::ReadHydra(index));
                    }
                }
                process if process.writes() => {
                    actions.push(Action::Write(index, Fate::Answered));
                    if self.budget.lost_answers > 0 {
                        actions.push(Action::Write(index, Fate::AnswerLost));
                        actions.push(Action::Write(index, Fate::NeverDone));
                    }
                }
                _ => actions.push(Action::Step(index)),
            }
            if self.budget.crashes > 0 && replica.process != Process::Down {
                actions.extend([Action::Crash(index), Action::LoseDisk(index)]);
            }
        }
        let fails = self.budget.outages > 0;
        match self.store_is_up {
            true if fails => actions.push(Action::StoreFails),
            true => {}
            false => actions.push(Action::StoreReturns),
        }
        match self.hydra_is_up {
            true if fails => actions.push(Action::HydraFails),
            true => {}
            false => actions.push(Action::HydraReturns),
        }
    }

    pub(crate) fn act(&mut self, action: Action, bug: Option<Bug>) {
        match action {
            Action::ReadStore(index) => self.read_store(index),
            Action::ReadHydra(index) => self.read_hydra(index),
            Action::Step(index) => self.step(index),
            Action::Write(index, fate) => {
                if fate != Fate::Answered {
                    self.budget.lost_answers -= 1;
                }
                self.write(index, fate, bug);
            }
            Action::Crash(index) => {
                self.budget.crashes -= 1;
                self.replicas[index].process = Process::Down;
            }
            Action::LoseDisk(index) => {
                self.budget.crashes -= 1;
                self.replicas[index] = Replica::default();
            }
            Action::StoreFails => (self.store_is_up, self.budget.outages) = (false, self.budget.outages - 1),
            Action::StoreReturns => self.store_is_up = true,
            Action::HydraFails => (self.hydra_is_up, self.budget.outages) = (false, self.budget.outages - 1),
            Action::HydraReturns => self.hydra_is_up = true,
        }
    }

    pub(crate) fn make(&mut self) -> u8 {
        self.next += 1;
        self.next - 1
    }

    /// Invariant 1: what was shown, what runs, what Hydra names and what the store holds is one key.
    pub(crate) fn has_one_identity(&self) -> bool {
        let running = self.replicas.iter().filter_map(|replica| replica.process.key());
        let all = running.fold(self.shown, |all, key| all | 1u64 << key);
        let all = self.client.map_or(all, |client| all | 1u64 << client.key);
        all.count_ones() <= 1 && (all == 0 || self.keys.first().is_some_and(|key| all == 1u64 << key))
    }

    /// Invariant 2: the client's secret was in the store before Hydra heard of it, and is the one in it.
    pub(crate) fn has_one_client(&self) -> bool {
        self.client.is_none_or(|client| self.credentials.contains(&client.secret))
    }

    /// Invariant 3: no version holds anything else than the first; nobody has asked for a rotation.
    pub(crate) fn has_overwritten_nothing(&self) -> bool {
        self.keys.windows(2).all(|pair| pair[0] == pair[1])
            && self.credentials.windows(2).all(|pair| pair[0] == pair[1])
    }

    pub(crate) fn all_run(&self) -> bool {
        self.replicas.iter().all(|replica| replica.process.key().is_some())
    }

    /// Lets the faults end and everybody go on for a while: whether all is right then.
    pub(crate) fn recovers(mut self, bug: Option<Bug>) -> bool {
        (self.store_is_up, self.hydra_is_up) = (true, true);
        // Whoever waits for another one needs a second pass, whoever starts anew a third.
        for _ in 0..8 {
            for index in 0..self.replicas.len() {
                self.pass(index, bug);
            }
            if self.is_right() {
                return true;
            }
        }
        false
    }

    /// One replica goes on until it has ended a pass.
    fn pass(&mut self, index: usize, bug: Option<Bug>) {
        // No pass takes more steps than this, a start with two lost races included.
        for _ in 0..40 {
            match &self.replicas[index].process {
                Process::Observing(seen) if seen.store.is_none() => self.read_store(index),
                Process::Observing(_) => self.read_hydra(index),
                process if process.writes() => self.write(index, Fate::Answered, bug),
                _ => self.step(index),
            }
            if matches!(self.replicas[index].process, Process::Idle(_)) {
                return;
            }
        }
    }

    fn is_right(&self) -> bool {
        let all_idle = self.replicas.iter().all(|replica| replica.process.is_idle_and_sure());
        let client = self.client.zip(self.keys.last()).zip(self.credentials.last());
        all_idle
            && self.has_one_identity()
            && client.is_some_and(|((client, key), secret)| client.key == *key && client.secret == *secret)
    }
}
