//! The heart as one machine: events in, effects out. Pure: no network, no file, no clock, no randomness.
//!
//! It knows keys by their public halves; the driver holds the private ones, carries the effects out and
//! has no decision of its own. A start and a running agent are two phases of the same machine. It asks for one thing at a
//! time: the last effect of each answer is the one whose outcome is the next event.
//!
//! ```text
//! Start:    Observe -> (ReadHistory) -> plan -> write, disk, Hold -> client -> Started
//! Running:  Observe -> (ReadHistory) -> plan -> write, disk, Hold -> HearHydra -> client -> Report -> Wait -> again
//! ```
//!
//! The tables that decide are in [`plan`](crate::plan). The model check (`tests/model`) runs this very machine.

mod client_work;
mod effect;
mod repairs;
mod running;
mod start;

pub use effect::{
    Credentials, CredentialsWrite, DiskSeen, Effect, Event, HydraClient, Member, Observation, Proven, Slot,
    Trial, Verdict, WriteFailure,
};

use crate::{
    Reason,
    held::Source,
    plan::{
        Policy,
        keys::{Acknowledged, Local, Plan},
    },
};
use bindu_identity::{Lineage, PublicKey};
use bindu_store::Version;
pub use bindu_time::Pause;
pub(crate) use start::{Chosen, Seen, held_on_disk, would_hold};

use client_work::ClientWork;
use running::Running;
use start::Start;
use std::time::Duration;

/// What the machine must know of its agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Config {
    /// The operator's word.
    pub policy: Policy,
    /// If a Hydra is configured, and the DID can be addressed there.
    pub hydra: HydraConfig,
    /// If the store is the data directory itself.
    pub store_is_local: bool,
    /// How long a start waits for an unavailable store.
    pub start_deadline: Duration,
    /// How often all is compared again.
    pub reconcile_interval: Duration,
    /// What forbids a new identity under this name, if anything does.
    pub name_problem: Option<String>,
}

/// Hydra, from the machine's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HydraConfig {
    /// If there is one in the settings.
    pub is_configured: bool,
    /// If a client of this DID can be addressed there.
    pub is_addressable: bool,
    /// If a missing client may be registered.
    pub auto_register: bool,
}

/// The key that the agent works with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Held {
    /// Its public half.
    pub key: PublicKey,
    /// Its past.
    pub lineage: Lineage,
    /// The store's acknowledgement of it.
    pub acknowledged: Option<Acknowledged>,
    /// The record's version that it is from, if it is.
    pub version: Option<Version>,
    /// If it was made while the store could not be asked.
    pub provisional: bool,
    /// Where this process has it from.
    pub source: Source,
    /// The keys beside it: the prepared one, and the replaced one during the overlap.
    pub next: Option<PublicKey>,
    /// See `next`.
    pub previous: Option<PublicKey>,
}

impl Held {
    /// The held key as the table sees a running agent's.
    fn as_local(&self) -> Local {
        Local::Present { key: self.key, acknowledged: self.acknowledged, lineage: self.lineage.clone() }
    }

    /// If an agent that holds this can sign with that key.
    #[must_use]
    pub fn has(&self, key: &PublicKey) -> bool {
        self.key == *key || self.next == Some(*key) || self.previous == Some(*key)
    }
}

/// One agent's start and life.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Machine {
    config: Config,
    phase: Phase,
    held: Option<Held>,
    /// If writing to Hydra and the store is allowed.
    sure: bool,
    /// If this process has had an answer of the store about its key.
    heard_store: bool,
    client: Option<ClientWork>,
}

/// The time of an event, and what is to be done about it.
pub(crate) struct Turn {
    now: Duration,
    effects: Vec<Effect>,
}

impl Turn {
    fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    Start(Box<Start>),
    Running(Box<Running>),
    Ended,
}

impl Machine {
    /// A machine that has not begun; its first event is [`Event::Begin`].
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            phase: Phase::Start(Box::default()),
            held: None,
            sure: false,
            heard_store: false,
            client: None,
        }
    }

    /// A machine of an agent that holds a key already and works only on its client, for commands.
    #[must_use]
    pub fn holding(config: Config, held: Held, sure: bool) -> Self {
        Self {
            phase: Phase::Running(Box::new(Running::new(sure, &config.policy))),
            config,
            held: Some(held),
            sure,
            heard_store: true,
            client: None,
        }
    }

    /// The key that the agent works with.
    #[must_use]
    pub fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// If writing to Hydra and the store is allowed.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.sure
    }

    /// If the agent serves: its start went well.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running(_))
    }

    /// If nothing that it remembers depends on how much time has passed. For model checks: such a machine is the same at any
    /// time.
    #[must_use]
    pub fn is_timeless(&self) -> bool {
        match &self.phase {
            Phase::Start(_) => false,
            Phase::Running(running) => running.is_timeless(),
            Phase::Ended => true,
        }
    }

    /// Takes an event at a time (since the process began), and answers with what is to be done, in this order.
    pub fn handle(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        let mut turn = Turn { now, effects: Vec::new() };
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Start(start) => self.phase = self.start(*start, event, &mut turn),
            Phase::Running(running) => self.phase = self.run(running, event, &mut turn),
            Phase::Ended => {}
        }
        turn.effects
    }

    /// A machine of the same agent that has seen nothing yet and is sure of nothing, for a reconciler that is begun again: to
    /// it, what happened since is what happens to a replica that slept. A consent is not given again.
    pub(crate) fn again(&self) -> Self {
        let mut config = self.config.clone();
        config.policy.take_over = crate::plan::TakeOver::No;
        Self {
            phase: Phase::Running(Box::new(Running::new(false, &config.policy))),
            config,
            held: self.held.clone(),
            sure: false,
            heard_store: self.heard_store,
            client: None,
        }
    }

    /// The work on the client that a start would do, for a look.
    pub(crate) fn client_to_look_at(&mut self, seen: &Seen, plan: &Plan) -> Option<ClientWork> {
        self.held = Some(would_hold(plan, seen)?.held);
        let running = Running::new(plan.sure, &self.config.policy);
        let occasion = self.occasion(seen, plan.sure, &running, None)?;
        Some(ClientWork::new(seen.credentials.clone(), occasion))
    }
}

/// If nothing but a person's hand will change it: no reason to ask every few seconds.
fn waits_for_a_person(reason: Reason) -> bool {
    match reason {
        Reason::Foreign
        | Reason::RolledBack
        | Reason::RecordDeleted
        | Reason::RecordMalformed
        | Reason::RecordLocked
        | Reason::StoreDenied
        | Reason::ClientOfAnotherKey
        | Reason::ClientUnaddressable
        | Reason::ClientDiffers
        | Reason::CredentialsMalformed
        | Reason::CredentialsRolledBack
        | Reason::ContestedClient => true,
        Reason::StoreUnavailable
        | Reason::RecordMissing
        | Reason::ProvisionalKey
        | Reason::KeySuperseded
        | Reason::ClientPending
        | Reason::CredentialsMissing
        | Reason::HydraUnavailable
        | Reason::ClientMissing
        | Reason::ClientRefused
        | Reason::DirectoryNotWritable
        | Reason::DirectoryOfAnotherAgent
        | Reason::ClockSkew
        | Reason::BackgroundWorkFailed
        | Reason::ReconcilerStalled
        | Reason::StorageUnavailable => false,
    }
}
