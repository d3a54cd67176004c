//! The world of the model: a store with versions and deletions, a Hydra, disks and processes that run the shipped
//! [`Machine`]; what can happen, and what must hold.
//!
//! Keys are numbers here, and real public halves for the machine. Bounded, so that a world stays small enough to be looked
//! through:
//! - Time stands still but for waits, which are over at once. What a date in a record has come to is what each replica's own
//!   [`Clock`] makes of it: worse than the shipped driver, which reads such dates by the store's clock.
//! - A Hydra whose database is down is one that is away: the driver, not the machine, asks `/health/ready` before it
//!   believes a negative (its unit tests, and `a_hydra_without_its_database` on real servers).
//! - A history is read whole or not at all; versions are pruned by destroying the oldest.
//! - A backup brings back the keys record only; older credentials are told by their generation alone (unit tests of the
//!   client's table), and nobody but an operator's command changes a secret.
//! - Rows of the issue that are no decision of the machine (whose a directory is, half-written files, a mount's path, pauses of
//!   logins, a full disk) have tests on real servers only.

use crate::process::{Process, Step};
use bindu_identity::{Lineage, PublicKey, SigningKey};
use std::sync::LazyLock;

pub(crate) type Key = u8;
pub(crate) type Secret = u8;

/// A version of the credentials record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Credential {
    pub(crate) secret: Secret,
    pub(crate) next: Option<Secret>,
    pub(crate) generation: u64,
}

/// The public halves, by number.
static KEYS: LazyLock<Vec<PublicKey>> =
    LazyLock::new(|| (1..=40).map(|seed| SigningKey::from_seed(&[seed; 32]).public_key()).collect());

pub(crate) fn public(key: Key) -> PublicKey {
    KEYS[usize::from(key)]
}

pub(crate) fn number(key: &PublicKey) -> Key {
    let found = KEYS.iter().position(|known| known == key).expect("a key of this world");
    Key::try_from(found).expect("few keys")
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    pub(crate) secret: Secret,
    pub(crate) key: Key,
    /// If the statements of all rotations so far are there.
    pub(crate) has_statements: bool,
    /// If somebody has changed how it authenticates.
    pub(crate) is_of_another_method: bool,
}

/// A data directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Disk {
    pub(crate) record: Option<Record>,
    pub(crate) acknowledged: Option<(u64, bool)>,
    /// The copy of a secret, and its generation.
    pub(crate) secret: Option<(Secret, u64)>,
    /// If its owner or its mode is wrong.
    pub(crate) is_unreadable: bool,
}

/// What a replica makes of the dates in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Clock {
    #[default]
    Right,
    /// Each of them is past.
    Ahead,
    /// None is.
    Behind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Replica {
    pub(crate) disk: Disk,
    pub(crate) clock: Clock,
    pub(crate) process: Option<Process>,
}

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
}

/// What a machine could do wrong: each must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Hydra hears of a secret before the store has it.
    HydraFirst,
    /// A write whose answer is lost counts as done.
    UndecidedIsDone,
    /// A create does not look if there is something.
    BlindWrite,
    /// Finding 1: a deleted record counts as deleted at the version that the disk knows.
    AnyDeletionIsOurs,
    /// Finding 2: earlier versions that cannot be read count as read.
    UnreadableIsRead,
    /// Finding 5: a directory that can't be read counts as empty.
    UnreadableIsEmpty,
    /// Finding 6: another name in Hydra counts as a chain of statements.
    NameProvesRollback,
    /// Finding 7: the directory forgets what its key replaces.
    LineageIsForgotten,
    /// Hydra's silence counts as consent.
    SilenceIsConsent,
    /// Finding 8: any other name in Hydra counts as a newer key than ours while the store is away.
    NameSupersedes,
    /// Finding 10: a 401 under another authentication method counts as a wrong secret.
    MethodIsWrongSecret,
    /// A withdrawn key stays for an overlap.
    WithdrawnIsKept,
    /// Tokens are noted as revoked though Hydra did not do it.
    RevocationIsNoted,
    /// A secret that a rotation has prepared counts as wrong.
    NextSecretIsWrong,
    /// A fence that was lost counts as won.
    FenceIsOpen,
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
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) keys: Vec<Version>,
    pub(crate) credentials: Vec<Credential>,
    pub(crate) client: Option<Client>,
    pub(crate) store_is_up: bool,
    pub(crate) hydra_is_up: bool,
    pub(crate) replicas: Vec<Replica>,
    /// The key that is right: the first that the store held, then what an operator has made of it.
    pub(crate) right: Option<Key>,
    /// The past of the right key.
    pub(crate) past: Lineage,
    /// Keys that a rotation has replaced while the store and Hydra both knew, as bits.
    pub(crate) retired: u64,
    /// Secrets that a rotation has replaced, as bits.
    pub(crate) retired_secrets: u64,
    /// Keys that were withdrawn, as bits.
    pub(crate) withdrawn: u64,
    /// If a withdrawn key's tokens may be alive.
    pub(crate) has_stolen_tokens: bool,
    /// If dates in records come to pass in this world.
    pub(crate) has_clocks: bool,
    /// Who has taken part besides ours, so that the invariants can say what they ask for.
    pub(crate) rogue_was_here: bool,
    pub(crate) attacker_was_here: bool,
    pub(crate) was_restored: bool,
    pub(crate) was_deleted: bool,
    pub(crate) was_wiped: bool,
    pub(crate) hydra_was_away: bool,
    /// What no machine may do, and one has done.
    pub(crate) broken: Option<&'static str>,
    pub(crate) next: u8,
    pub(crate) budget: Budget,
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
            right: None,
            past: Lineage::default(),
            retired: 0,
            retired_secrets: 0,
            withdrawn: 0,
            has_stolen_tokens: false,
            has_clocks: budget.clocks > 0,
            rogue_was_here: false,
            attacker_was_here: false,
            was_restored: false,
            was_deleted: false,
            was_wiped: false,
            hydra_was_away: false,
            broken: None,
            next: 0,
            budget,
        }
    }

    /// A world in which one replica has made the identity, and all run.
    pub(crate) fn settled(replicas: usize, budget: Budget) -> Self {
        let mut world = Self::new(replicas, budget);
        for index in 0..replicas {
            world.replicas[index].process = Some(Process::new());
            world.pass(index, None);
            world.pass(index, None);
        }
        assert!(world.is_healthy(), "{world:?}");
        world
    }

    /// The same, after a rotation through which the last replica slept.
    pub(crate) fn rotated_beside_a_sleeper(replicas: usize, budget: Budget) -> Self {
        let mut world = Self::settled(replicas, Budget { rotations: 2, ..Budget::default() });
        world.replicas[replicas - 1].process = None;
        world.act(Action::Prepare, None);
        world.act(Action::Activate, None);
        for index in 0..replicas - 1 {
            world.pass(index, None);
            world.pass(index, None);
        }
        (world.budget, world.has_clocks) = (budget, budget.clocks > 0);
        assert!(world.client.is_some_and(|client| Some(client.key) == world.right), "{world:?}");
        world
    }

    pub(crate) fn make(&mut self) -> u8 {
        self.next += 1;
        self.next - 1
    }

    pub(crate) fn live(&self) -> Option<&Record> {
        match self.keys.last() {
            Some(Version::Live(record)) => Some(record),
            _ => None,
        }
    }

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

    /// A step of a rotation by an operator's command: by compare-and-set on what is there.
    fn rotate(&mut self, action: Action) {
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
        // An attacker at Hydra alone, rotations, crashes and outages need nobody's hand; nor does a record that is wholly gone,
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

    fn settles(mut self, bug: Option<Bug>) -> bool {
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
    fn pass(&mut self, index: usize, bug: Option<Bug>) {
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
