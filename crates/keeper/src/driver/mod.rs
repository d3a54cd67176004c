//! The driver: carries the machine's effects out, and tells it what came of them.
//!
//! It holds the private halves of the keys, the connections and the files. It decides nothing about an identity: what it
//! reads is turned into the machine's terms, what it is told to write is written.

mod client;
mod keys;
mod look;
mod observe;
mod ring;

pub use look::{ClientLook, HistoryLook, KeyLook, VersionLook};
pub use ring::{Applied, KeepStep, RingLook, StepError};

use crate::{
    Advice, HeldIdentity, Keeper, Reason, StartError,
    held::KeyRing,
    machine::{Config, Credentials, Effect, Event, HydraConfig, Machine, Pause, Slot},
    plan::keys::{Acknowledged, Observed, Plan},
    start_error::{Heard, Place},
};
use bindu_hydra::{HydraError, OAuthClient};
use bindu_identity::{Lineage, PublicKey};
use bindu_store::{CredentialRecord, Fields, Outage, Version};
use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::Instant};

/// A pause that a machine which asks for nothing is given: a guard, no part of any plan.
const IDLE: Duration = Duration::from_secs(5);

/// Looks that others ask for are this far apart: who refuses our signatures decides when they do.
const ASKED_APART: Duration = Duration::from_secs(1);

/// A start that went well.
#[derive(Debug)]
pub struct Started {
    held: Arc<HeldIdentity>,
    work: StartedWork,
}

impl Started {
    /// The identity to serve with, and what is left to the reconciler.
    #[must_use]
    pub fn split(self) -> (Arc<HeldIdentity>, StartedWork) {
        (self.held, self.work)
    }
}

/// What a start hands to the reconciler.
#[derive(Debug)]
pub struct StartedWork {
    machine: Machine,
    driver: Driver,
}

impl StartedWork {
    /// The same for a reconciler that is begun again, which looks at everything anew.
    #[must_use]
    pub fn again(&self) -> Self {
        let driver = Driver { held: self.driver.held.clone(), ..Driver::new() };
        Self { machine: self.machine.again(), driver }
    }
}

/// A key pair and what lay beside it.
#[derive(Debug, Clone)]
pub(crate) struct FoundKey {
    pub(crate) ring: KeyRing,
    pub(crate) created_at: Option<String>,
    pub(crate) lineage: Lineage,
    /// If the record (or file) says so itself.
    pub(crate) has_lineage: bool,
    pub(crate) version: Option<Version>,
    /// When this version was written, by the store's clock.
    pub(crate) written_at: Option<String>,
    pub(crate) interval: Option<u64>,
    /// If the prepared key takes the place of one that is in somebody else's hands.
    pub(crate) next_is_compromised: bool,
    /// If the client's tokens are still to be revoked.
    pub(crate) revokes_tokens: bool,
    /// The record as it was read, with fields that we don't know.
    pub(crate) fields: Option<Fields>,
}

impl FoundKey {
    pub(crate) fn public_key(&self) -> PublicKey {
        self.ring.current.public_key()
    }
}

/// What the driver holds between two effects.
#[derive(Debug)]
pub(crate) struct Driver {
    began: Instant,
    held: Option<Arc<HeldIdentity>>,
    /// The store's acknowledgement of the held key: nothing before Hydra has been heard.
    acknowledged: Option<Acknowledged>,
    store: Option<FoundKey>,
    local: Option<FoundKey>,
    earlier: HashMap<Version, FoundKey>,
    new: Option<FoundKey>,
    /// The record of the client's credentials, as it was read.
    record: Option<(CredentialRecord, Fields)>,
    /// The directory's copy.
    copy: Option<CredentialRecord>,
    hydra: HydraAnswer,
    /// Why Hydra gave no usable answer, as it was last told.
    hydra_told: Option<String>,
    /// What an unavailable store said.
    outage: Option<Outage>,
    /// What the store said of a write that it refused.
    refused: Option<String>,
    /// When somebody's wish for a look was last granted.
    asked: Option<Instant>,
}

/// Hydra's answer about our client: there, still coming, or not asked for.
#[derive(Debug)]
enum HydraAnswer {
    None,
    Coming(AbortOnDrop<ClientAnswer>),
    There(ClientAnswer),
}

pub(crate) type ClientAnswer = Result<Option<OAuthClient>, HydraError>;

/// What came of an effect.
enum Done {
    Nothing,
    Event(Box<Event>),
    Started,
    Refused(Box<StartError>),
    PassEnded,
}

fn event(event: Event) -> Done {
    Done::Event(Box::new(event))
}

/// Why a drive came to its end.
enum End {
    Started,
    Refused(Box<StartError>),
    PassEnded,
}

impl Keeper {
    /// What the machine must know of this agent.
    pub(crate) fn config(&self) -> Config {
        Config {
            policy: self.policy.clone(),
            hydra: HydraConfig {
                is_configured: self.hydra.is_some(),
                is_addressable: self.agent.did.is_addressable(),
                auto_register: self.hydra.as_ref().is_some_and(|(_, profile)| profile.auto_register),
            },
            store_is_local: self.store_kind == crate::StoreKind::File,
            start_deadline: self.start_deadline.min(MAX_DEADLINE),
            reconcile_interval: self.reconcile_interval,
            name_problem: self.agent.name.problem().map(|problem| problem.to_string()),
        }
    }

    /// Brings the agent to its identity, or says why not.
    ///
    /// # Errors
    /// Why it can't have one.
    pub async fn start(&self) -> Result<Started, StartError> {
        let (mut machine, mut driver) = (Machine::new(self.config()), Driver::new());
        match driver.drive(self, &mut machine, Event::Begin, |end| !matches!(end, End::PassEnded)).await {
            End::Refused(refusal) => Err(*refusal),
            End::Started | End::PassEnded => match driver.held.clone() {
                Some(held) => Ok(Started { held, work: StartedWork { machine, driver } }),
                None => Err(StartError::bug("the machine serves without a key")),
            },
        }
    }

    /// Keeps identity and client in step with the store and Hydra, until `shutdown` is ready.
    pub async fn reconcile(&self, started: StartedWork, shutdown: impl Future<Output = ()>) {
        let StartedWork { mut machine, mut driver } = started;
        tokio::select! {
            () = shutdown => {}
            _ = driver.drive(self, &mut machine, Event::Begin, |_| false) => {}
        }
    }
}

/// A deadline that is longer than this is as good as none.
const MAX_DEADLINE: Duration = Duration::from_secs(365 * 24 * 3600);

impl Driver {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            held: None,
            acknowledged: None,
            store: None,
            local: None,
            earlier: HashMap::new(),
            new: None,
            record: None,
            copy: None,
            hydra: HydraAnswer::None,
            hydra_told: None,
            outage: None,
            refused: None,
            asked: None,
        }
    }

    /// Feeds the machine and carries out what it asks for, until an end that `stops`.
    async fn drive(
        &mut self,
        keeper: &Keeper,
        machine: &mut Machine,
        first: Event,
        stops: impl Fn(&End) -> bool,
    ) -> End {
        let mut event = first;
        loop {
            let effects = machine.handle(self.began.elapsed(), event);
            let (mut next, mut end) = (None, None);
            for effect in effects {
                match self.carry_out(keeper, effect).await {
                    Done::Nothing => {}
                    Done::Event(event) => next = Some(*event),
                    Done::Started => end = Some(End::Started),
                    Done::Refused(refusal) => end = Some(End::Refused(refusal)),
                    Done::PassEnded => {
                        end = Some(End::PassEnded);
                        if end.as_ref().is_some_and(&stops) {
                            return End::PassEnded;
                        }
                    }
                }
            }
            match end {
                Some(end) if stops(&end) => return end,
                _ => {}
            }
            event = match next {
                Some(event) => event,
                None => {
                    tokio::time::sleep(IDLE).await;
                    Event::Elapsed
                }
            };
        }
    }

    /// Carries one effect out.
    async fn carry_out(&mut self, keeper: &Keeper, effect: Effect) -> Done {
        match effect {
            Effect::ReadDisk => return event(Event::Disk(Box::new(self.read_disk(keeper)))),
            Effect::Observe { store, hydra } => {
                let observation = self.observe(keeper, store, hydra).await;
                return event(Event::Observed(Box::new(observation)));
            }
            Effect::ReadHistory { versions, within } => {
                return event(Event::History(self.read_history(keeper, versions, within).await));
            }
            Effect::MakeKey => return event(self.make_key(keeper)),
            Effect::WriteKeys { slot, expected } => {
                return event(self.write_keys(keeper, slot, expected).await);
            }
            Effect::WriteRing { step, over, lineage } => {
                return event(self.write_ring(keeper, step, over, lineage).await);
            }
            Effect::WriteDisk { slot, acknowledged, provisional } => {
                if let Some(found) = self.slot(slot) {
                    keeper.put_on_disk(found, acknowledged, provisional);
                }
            }
            Effect::Remember { slot, acknowledged } => {
                if let Some(found) = self.slot(slot) {
                    keeper.remember(found, acknowledged, false);
                }
            }
            Effect::RestorePublicKey => {
                if let Some(found) = self.slot(Slot::Local) {
                    keeper.restore_public_key(found);
                }
            }
            Effect::Hold { slot, held, row } => self.hold(keeper, slot, *held, row),
            Effect::SignWith(key) => {
                if self.held.as_ref().is_some_and(|held| held.sign_with(&key)) {
                    tracing::info!(key = %key.fingerprint(), "signing with the key that Hydra names");
                }
            }
            Effect::HearHydra { within } => return event(self.hear_hydra(keeper, within).await),
            Effect::AskHydra { within } => return event(self.ask_hydra(keeper, within).await),
            Effect::TrySecret { within } => return event(self.try_secret(keeper, within).await),
            Effect::WriteCredentials { write, expected } => {
                return event(self.write_credentials(keeper, write, expected).await);
            }
            Effect::ReadCredentials => return event(self.read_credentials(keeper).await),
            Effect::Register { within } => return event(self.register(keeper, within).await),
            Effect::Patch { members, within } => {
                return event(self.patch(keeper, &members, within).await);
            }
            Effect::RevokeTokens { within } => {
                return event(Event::TokensRevoked(self.revoke_tokens(keeper, within).await));
            }
            Effect::CacheCredentials { proven } => self.cache_credentials(keeper, proven),
            Effect::ReportKeys { plan, seen } => keeper.report_keys(&plan, &seen, self.outage.as_ref()),
            Effect::ReportClient(reason) => keeper.status.update(|state| state.client = reason),
            Effect::PassEnded { pending } => {
                keeper.status.update(|state| if pending { state.passes.1 += 1 } else { state.passes.0 += 1 });
                return Done::PassEnded;
            }
            Effect::MendDirectory { sure } => self.mend_directory(keeper, sure),
            Effect::Started => return Done::Started,
            Effect::Refuse { verdict, seen } => {
                let error = StartError::new(verdict, seen.as_deref(), self.heard(), keeper.place());
                return Done::Refused(Box::new(error));
            }
            Effect::Wait(pause) => return event(self.wait(keeper, pause).await),
        }
        Done::Nothing
    }

    /// Waits, unless somebody asks for a look.
    async fn wait(&mut self, keeper: &Keeper, pause: Pause) -> Event {
        let pause = pause.draw(keeper.jitter);
        if let (None, Some(outage)) = (&self.held, &self.outage) {
            tracing::warn!(detail = outage.detail, "waiting for the store");
        }
        match &self.held {
            None => tokio::time::sleep(pause).await,
            Some(held) => tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = asked_to_look(held, self.asked) => self.asked = Some(Instant::now()),
            },
        }
        Event::Elapsed
    }

    /// The key pair in a slot.
    fn slot(&self, slot: Slot) -> Option<&FoundKey> {
        match slot {
            Slot::Store => self.store.as_ref(),
            Slot::Local => self.local.as_ref(),
            Slot::Earlier(version) => self.earlier.get(&version),
            Slot::New => self.new.as_ref(),
        }
    }

    /// The store's own last words.
    fn heard(&self) -> Heard<'_> {
        Heard { outage: self.outage.as_ref(), refused: self.refused.as_deref() }
    }

    /// What was read of the credentials, in the machine's terms.
    fn credentials(&self, store: crate::plan::client::Store) -> Credentials {
        Credentials { store, local: self.copy.as_ref().map(|copy| copy.generation) }
    }
}

impl Keeper {
    /// Whose keys record it is, and where.
    fn place(&self) -> Place {
        let records = [self.keys_record(), self.credentials_record()];
        Place {
            did: self.agent.did.clone(),
            path: self.store.locate(&self.keys_record()),
            kind: self.store_kind,
            policy: records.iter().map(|record| self.store.policy_path(record)).collect(),
        }
    }

    /// What a plan leaves to a person, if anything.
    #[must_use]
    pub fn advice(&self, plan: &Plan, seen: &Observed) -> Option<Advice> {
        Advice::new(plan, seen, self.place())
    }

    /// Tells what a plan says of the keys, and what a person must do, once.
    fn report_keys(&self, plan: &Plan, seen: &Observed, outage: Option<&Outage>) {
        if plan.degraded.is_some() && self.status.snapshot().keys != plan.degraded {
            let detail = outage.map(|outage| outage.detail.as_str());
            tracing::warn!(row = plan.row.explain(), detail, "the keys are not as they should be");
            if let Some(advice) = self.advice(plan, seen) {
                let hint = (self.hint)(&advice);
                tracing::warn!(hint, "this needs a person");
            }
        }
        self.status.update(|state| {
            state.keys = plan.degraded;
            state.is_unproven = plan.unready;
        });
    }

    /// With a store, a directory that can't be written is no reason not to start. Always false.
    pub(crate) fn directory_failed(&self, error: &bindu_store::DirectoryError) -> bool {
        tracing::warn!(error = %error, cause = %error.source, "the data directory could not be used");
        let reason = match error.kind {
            bindu_store::DirectoryErrorKind::OfAnotherAgent => Reason::DirectoryOfAnotherAgent,
            _ => Reason::DirectoryNotWritable,
        };
        self.status.update(|state| state.directory = Some(reason));
        false
    }
}

/// Waits until somebody asks for a look, and then as long as wishes must be apart.
async fn asked_to_look(held: &HeldIdentity, before: Option<Instant>) {
    held.asked_to_look().await;
    if let Some(before) = before {
        tokio::time::sleep_until(before + ASKED_APART).await;
    }
}

/// A task that ends with whoever waits for it.
#[derive(Debug)]
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
