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

mod bugs;
mod disks;
mod events;
mod hydra;
mod judgement;
mod vault;

pub(crate) use bugs::Bug;
pub(crate) use disks::{Clock, Disk, Replica};
pub(crate) use events::{Action, Budget, Fate};
pub(crate) use hydra::Client;
pub(crate) use vault::{Credential, Record, Version};

use crate::process::Process;
use bindu_identity::{Lineage, PublicKey, SigningKey};
use std::sync::LazyLock;

pub(crate) type Key = u8;
pub(crate) type Secret = u8;

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
}
