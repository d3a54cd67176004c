//! What can happen, how often, and what it changes.

use super::{Bug, Clock, Credential, Record, Replica, Version, World, public};
use crate::process::{Process, Step};
use bindu_keeper::plan::TakeOver;

/// How much may go wrong in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Budget {
    pub(crate) crashes: u8,
    pub(crate) outages: u8,
    pub(crate) lost_answers: u8,
    /// Reads that a lagging standby answers with the version before.
    pub(crate) stale_reads: u8,
    /// Steps of a rotation by an operator.
    pub(crate) rotations: u8,
    /// Deletions and destructions of the record.
    pub(crate) deletions: u8,
    /// Records of a Python pod with a key of its own, or without our fields.
    pub(crate) rogues: u8,
    /// Keys that somebody writes to Hydra's admin port.
    pub(crate) attacks: u8,
    /// The store brought back to its first versions.
    pub(crate) restores: u8,
    /// Keys that are withdrawn because somebody else has them.
    pub(crate) withdrawals: u8,
    /// Secrets that an operator begins to rotate.
    pub(crate) secrets: u8,
    /// Clocks that jump ahead or back.
    pub(crate) clocks: u8,
    /// Disks that can't be read any more.
    pub(crate) disks: u8,
    /// Clients whose authentication method somebody changes.
    pub(crate) methods: u8,
    /// Starts of an operator who consents to take the client over.
    pub(crate) consents: u8,
}

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
    /// The next effect of a replica's machine.
    Step(usize, Fate),
    /// The same, read from a standby that lags behind.
    Stale(usize),
    Start(usize),
    Crash(usize),
    LoseDisk(usize),
    StoreFails,
    StoreReturns,
    HydraFails,
    HydraReturns,
    Prepare,
    Activate,
    Undo,
    Delete,
    Destroy,
    /// The oldest version goes, as KV prunes.
    Prune,
    /// The record goes wholly, with its history.
    Wipe,
    /// A Python pod writes a key of its own.
    Rogue,
    /// A Python pod writes the same key without our fields.
    Rewrite,
    Attack,
    Restore,
    /// The first write of `identity rotate --compromised`; the second is `Activate`, by the command or by a replica.
    Withdraw,
    /// The first write of `hydra rotate-secret`: the replicas do the rest.
    RotateSecret,
    ClockJumps(usize, Clock),
    /// The files of a replica get another owner.
    LockDisk(usize),
    /// Somebody changes the client's authentication method.
    ChangeMethod,
    /// An operator who sees the hint of a replica that holds the right key starts it again with `BINDU_TAKE_OVER`.
    Consent(usize),
}

impl World {
    pub(crate) fn actions(&self, actions: &mut Vec<Action>) {
        let budget = &self.budget;
        for (index, replica) in self.replicas.iter().enumerate() {
            match &replica.process {
                None => actions.push(Action::Start(index)),
                Some(process) => {
                    actions.push(Action::Step(index, Fate::Answered));
                    match process.next() {
                        Step::Write if budget.lost_answers > 0 => {
                            actions.push(Action::Step(index, Fate::AnswerLost));
                            actions.push(Action::Step(index, Fate::NeverDone));
                        }
                        Step::ReadStore
                            if budget.stale_reads > 0
                                && (self.keys.len() > 1 || self.credentials.len() > 1) =>
                        {
                            actions.push(Action::Stale(index));
                        }
                        _ => {}
                    }
                    if budget.crashes > 0 {
                        actions.extend([Action::Crash(index), Action::LoseDisk(index)]);
                    }
                }
            }
        }
        for (is_up, fails, returns) in [
            (self.store_is_up, Action::StoreFails, Action::StoreReturns),
            (self.hydra_is_up, Action::HydraFails, Action::HydraReturns),
        ] {
            match is_up {
                true if budget.outages > 0 => actions.push(fails),
                true => {}
                false => actions.push(returns),
            }
        }
        if budget.rotations > 0
            // The command refuses while a Python pod rewrites the record.
            && let Some(record) = self.live().filter(|record| Some(record.key) == self.right && record.has_lineage)
        {
            actions.push(if record.next.is_some() { Action::Activate } else { Action::Prepare });
            if record.previous.is_some() {
                actions.push(Action::Undo);
            }
        }
        if budget.withdrawals > 0
            && self.live().is_some_and(|record| Some(record.key) == self.right && record.has_lineage)
        {
            actions.push(Action::Withdraw);
        }
        if budget.secrets > 0 && self.credentials.last().is_some_and(|last| last.next.is_none()) {
            actions.push(Action::RotateSecret);
        }
        for (index, replica) in self.replicas.iter().enumerate() {
            if budget.clocks > 0 && replica.clock == Clock::Right {
                actions.extend([Clock::Ahead, Clock::Behind].map(|clock| Action::ClockJumps(index, clock)));
            }
            if budget.disks > 0 && replica.disk.record.is_some() && !replica.disk.is_unreadable {
                actions.push(Action::LockDisk(index));
            }
        }
        if budget.methods > 0 && self.client.is_some_and(|client| !client.is_of_another_method) {
            actions.push(Action::ChangeMethod);
        }
        if budget.consents > 0 {
            actions.extend(self.asking_for_consent().map(Action::Consent));
        }
        if budget.deletions > 0 && self.live().is_some() {
            actions.extend([Action::Delete, Action::Destroy, Action::Wipe]);
        }
        if budget.deletions > 0 && self.keys.len() > 1 {
            actions.push(Action::Prune);
        }
        if budget.rogues > 0
            && let Some(record) = self.live()
        {
            actions.push(Action::Rogue);
            // `rotate` refuses beside a Python pod: none begins to rewrite the record in the middle of a withdrawal.
            if !record.is_compromised && !record.revokes_tokens {
                actions.push(Action::Rewrite);
            }
        }
        if budget.attacks > 0 && self.client.is_some() {
            actions.push(Action::Attack);
        }
        if budget.restores > 0 && self.keys.len() > 1 {
            actions.push(Action::Restore);
        }
    }

    pub(crate) fn act(&mut self, action: Action, bug: Option<Bug>) {
        match action {
            Action::Step(index, fate) => {
                if fate != Fate::Answered {
                    self.budget.lost_answers -= 1;
                }
                self.step(index, fate, false, bug);
            }
            Action::Stale(index) => {
                self.budget.stale_reads -= 1;
                self.step(index, Fate::Answered, true, bug);
            }
            Action::Start(index) => self.replicas[index].process = Some(Process::new()),
            Action::Crash(index) => {
                self.budget.crashes -= 1;
                self.replicas[index].process = None;
            }
            Action::LoseDisk(index) => {
                self.budget.crashes -= 1;
                self.replicas[index] = Replica::default();
            }
            Action::StoreFails => (self.store_is_up, self.budget.outages) = (false, self.budget.outages - 1),
            Action::StoreReturns => self.store_is_up = true,
            Action::HydraFails => {
                self.budget.outages -= 1;
                (self.hydra_is_up, self.hydra_was_away) = (false, true);
            }
            Action::HydraReturns => self.hydra_is_up = true,
            Action::Prepare | Action::Activate | Action::Undo => {
                self.budget.rotations -= 1;
                self.rotate(action);
            }
            Action::Withdraw => {
                self.budget.withdrawals -= 1;
                self.rotate(action);
            }
            Action::RotateSecret => {
                self.budget.secrets -= 1;
                let next = Some(self.make());
                let last = self.credentials.last().copied();
                self.credentials.extend(last.map(|last| Credential { next, ..last }));
            }
            Action::ClockJumps(index, clock) => {
                self.budget.clocks -= 1;
                self.replicas[index].clock = clock;
            }
            Action::LockDisk(index) => {
                self.budget.disks -= 1;
                self.replicas[index].disk.is_unreadable = true;
            }
            Action::ChangeMethod => {
                self.budget.methods -= 1;
                if let Some(client) = &mut self.client {
                    client.is_of_another_method = true;
                }
            }
            Action::Consent(index) => {
                self.budget.consents -= 1;
                self.consents(index, bug);
            }
            Action::Delete | Action::Destroy => {
                self.budget.deletions -= 1;
                self.was_deleted = true;
                let last = self.keys.pop();
                self.keys.extend(last.map(|version| match (version, action) {
                    (Version::Live(record), Action::Delete) => Version::Deleted(record),
                    _ => Version::Destroyed,
                }));
            }
            Action::Wipe => {
                self.budget.deletions -= 1;
                self.was_wiped = true;
                self.keys.clear();
            }
            Action::Prune => {
                self.budget.deletions -= 1;
                self.was_deleted = true;
                let last = self.keys.len() - 1;
                if let Some(oldest) =
                    self.keys[..last].iter_mut().find(|version| !matches!(version, Version::Destroyed))
                {
                    *oldest = Version::Destroyed;
                }
            }
            Action::Rogue => {
                self.budget.rogues -= 1;
                self.rogue_was_here = true;
                let key = self.make();
                self.keys.push(Version::Live(Record { has_lineage: false, ..Record::of(key) }));
            }
            Action::Rewrite => {
                self.budget.rogues -= 1;
                let Some(record) = self.live().cloned() else { return };
                self.keys.push(Version::Live(Record { has_lineage: false, ..Record::of(record.key) }));
            }
            Action::Attack => {
                self.budget.attacks -= 1;
                self.attacker_was_here = true;
                let key = self.make();
                if let Some(client) = &mut self.client {
                    client.key = key;
                }
            }
            Action::Restore => {
                self.budget.restores -= 1;
                self.was_restored = true;
                self.keys.truncate(1);
            }
        }
    }

    /// The replicas that hold the right key and ask for consent: whoever follows a hint looks first which key is the right one.
    pub(super) fn asking_for_consent(&self) -> impl Iterator<Item = usize> {
        let asks = |replica: &Replica| {
            replica
                .process
                .as_ref()
                .is_some_and(|process| process.asks_for_consent() && process.key() == self.right)
        };
        self.replicas.iter().enumerate().filter(move |(_, replica)| asks(replica)).map(|(index, _)| index)
    }

    /// A start with consent, for this once: to any key, or, if there was a consent before, to the one that is named.
    pub(super) fn consents(&mut self, index: usize, bug: Option<Bug>) {
        let before = self.credentials.last().and_then(|last| last.taken_over);
        let named = self.client.map(|client| public(client.key).fingerprint());
        let take_over = match (before, named) {
            _ if bug == Some(Bug::ConsentIsLost) => TakeOver::No,
            (Some(_), Some(named)) => TakeOver::Key(named),
            _ => TakeOver::Any,
        };
        self.replicas[index].process = Some(Process::with(take_over));
    }
}
