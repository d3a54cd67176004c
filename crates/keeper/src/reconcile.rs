//! Keeping identity and client in step with the store and Hydra for as long as the agent runs.
//!
//! One pass observes, plans and applies, as a start does, but never makes a key, takes over only what the start has
//! consented to, and where it may not write it says so and goes on: a running agent outlives its dependencies.

use crate::{
    HeldIdentity, Keeper, Reason,
    apply::Applied,
    client::{Occasion, Settled},
    observe::{ClientObservation, FoundKey, KeyObservation, Patience},
    plan::{
        TakeOver,
        client::Store,
        keys::{self, Local, Step},
    },
    repairs::{Repairs, Restraint},
    start::Started,
};
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// The pauses while something is pending or down.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// How long a pass waits for an answer before it settles the keys; a Hydra that is slower is heard out afterwards.
const PATIENCE: Patience = Patience { store: Duration::from_secs(10), hydra: Duration::from_secs(1) };

/// How long a pass waits for Hydra in all.
const HYDRA_PATIENCE: Duration = Duration::from_secs(10);

/// No server may ask for a longer pause than this: it can be wrong about itself.
const LONGEST_WISH: Duration = Duration::from_secs(60);

/// What a pass has found out about the keys.
#[derive(Clone, Copy)]
struct Keys {
    pending: bool,
    sure: bool,
}

/// What is left to do after a pass.
#[derive(Clone, Copy)]
struct Left {
    /// Something is pending or down.
    pending: bool,
    /// How long the servers asked to be left alone.
    wish: Option<Duration>,
}

/// What one reconciler remembers from pass to pass.
struct Memory {
    sure: bool,
    /// The store's last answer about the keys, and since when it has been the same.
    doubt: Option<(keys::Store, Instant)>,
    repairs: Repairs,
    /// Whether Hydra answered too late for the record's earlier versions to be read for the key that it named.
    unread: bool,
    /// Whether the client has been seen to name our key.
    compared: bool,
    /// Whether name, scopes and URL have been compared since the start.
    described: bool,
    /// The start's consent to take the client over, until Hydra and the store have both been heard once.
    consent: TakeOver,
    /// Whether the last pass came to a decision about the keys: sure, or one that waits for a person.
    is_decided: bool,
}

impl Keeper {
    /// Runs until `shutdown` is ready.
    pub async fn reconcile(
        &self,
        held: Arc<HeldIdentity>,
        started: StartedWork,
        shutdown: impl Future<Output = ()>,
    ) {
        tokio::pin!(shutdown);
        let mut memory = Memory {
            sure: started.sure,
            doubt: None,
            repairs: Repairs::new(),
            unread: false,
            compared: false,
            described: false,
            consent: self.policy.take_over.clone(),
            is_decided: started.sure,
        };
        let mut retry = FIRST_RETRY;
        let mut wish: Option<Duration> = None;
        let mut pending = match started.client {
            // What the start has seen needs no second look, except at a Hydra that it did not wait for.
            Some(client) if memory.sure => {
                let client = self.hear_hydra_out(client).await;
                self.reconcile_client(&held, client, &mut memory).await
            }
            Some(_) => true,
            None => self.hydra.is_some() || !memory.sure,
        };
        loop {
            let pause = if pending {
                let pause = retry.mul_f64(0.5 + rand::random::<f64>() / 2.0);
                retry = (retry * 2).min(LONGEST_RETRY);
                pause.max(wish.unwrap_or_default().min(LONGEST_WISH))
            } else {
                retry = FIRST_RETRY;
                self.reconcile_interval.mul_f64(0.9 + rand::random::<f64>() / 5.0)
            };
            tokio::select! {
                () = &mut shutdown => return,
                () = sleep(pause) => {}
            }
            Left { pending, wish } = tokio::select! {
                () = &mut shutdown => return,
                left = self.pass(&held, &mut memory) => left,
            };
            self.status.update(|state| if pending { state.passes.1 += 1 } else { state.passes.0 += 1 });
        }
    }

    /// Waits for the answer of a Hydra that the start did not wait for.
    async fn hear_hydra_out(&self, mut client: ClientObservation) -> ClientObservation {
        if let Some(mut asked) = client.asked.take() {
            let answer = tokio::time::timeout(HYDRA_PATIENCE, &mut asked.0).await;
            client.hydra = answer.ok().and_then(|answer| answer.ok());
        }
        client
    }

    /// One pass; what is left to do.
    async fn pass(&self, held: &HeldIdentity, memory: &mut Memory) -> Left {
        let identity = held.current();
        let local = FoundKey::held(&identity);
        let seen = Local::Present { key: identity.public_key, acknowledged: identity.version };
        let hydra = if memory.unread { HYDRA_PATIENCE } else { PATIENCE.hydra };
        let patience = Patience { hydra, ..PATIENCE };
        let (observation, client) = self.observe((seen, Some(local)), patience, true).await;
        let wish = observation.outage.as_ref().and_then(|outage| outage.retry_after);
        let pending = self.settle_pass(held, memory, observation, client).await;
        self.mend_directory(&held.current(), memory.sure);
        Left { pending, wish }
    }

    /// Plans and applies what a pass has observed; whether something is left to do or down.
    async fn settle_pass(
        &self,
        held: &HeldIdentity,
        memory: &mut Memory,
        mut observation: KeyObservation,
        client: ClientObservation,
    ) -> bool {
        let since = match &memory.doubt {
            Some((store, since)) if *store == observation.seen.store => *since,
            _ => Instant::now(),
        };
        memory.doubt = Some((observation.seen.store.clone(), since));
        observation.seen.seen_for = since.elapsed();
        let plan = keys::plan(&observation.seen, &self.policy);
        if self.status.snapshot().keys != plan.degraded
            && let Some(hint) = self.hint(&plan, &observation.seen)
        {
            tracing::warn!(hint, "this needs a person");
        }
        let in_doubt = Keys { pending: true, sure: false };
        let (degraded, sure) = match plan.step {
            // Nobody generates in here: the table has no such row for a running agent.
            Step::LookAgain { .. }
            | Step::Refuse
            | Step::Generate
            | Step::GenerateProvisional
            | Step::UseEarlier { .. }
            | Step::Rotate { .. } => {
                return self.finish_pass(held, memory, client, in_doubt).await;
            }
            // Nothing new: nothing is written, either.
            Step::UseLocal if memory.sure == plan.sure && !is_news(&plan, &observation) => {
                (plan.degraded, plan.sure)
            }
            Step::UseLocal | Step::UseStore | Step::BackUp { .. } => {
                match self.apply(&plan, observation).await {
                    Applied::Held(identity) => {
                        crate::audit::identity(&identity, plan.row.explain());
                        if self.hydra.is_some() && identity.public_key != held.current().public_key {
                            self.status.update(|state| state.client = Some(Reason::ClientPending));
                        }
                        held.replace(*identity);
                        (plan.degraded, plan.sure)
                    }
                    Applied::FromDisk(_, reason) => (Some(reason), false),
                    Applied::LookAgain(_) => return self.finish_pass(held, memory, client, in_doubt).await,
                }
            }
        };
        memory.sure = sure;
        self.status.update(|state| state.keys = degraded);
        let keys = Keys { pending: degraded.is_some_and(|reason| !waits_for_a_person(reason)), sure };
        self.finish_pass(held, memory, client, keys).await
    }

    async fn finish_pass(
        &self,
        held: &HeldIdentity,
        memory: &mut Memory,
        client: ClientObservation,
        keys: Keys,
    ) -> bool {
        let client_pending = match &self.hydra {
            None => false,
            // In a pass whose keys are in doubt nothing is written about the client either.
            Some(_) => {
                let client = self.hear_hydra_out(client).await;
                let sure = std::mem::replace(&mut memory.sure, keys.sure);
                memory.is_decided = keys.sure || !keys.pending;
                let pending = self.reconcile_client(held, client, memory).await;
                memory.sure = sure;
                pending
            }
        };
        keys.pending || client_pending
    }

    /// Settles the client; whether something is left to do or down.
    async fn reconcile_client(
        &self,
        held: &HeldIdentity,
        client: ClientObservation,
        memory: &mut Memory,
    ) -> bool {
        memory.unread = self.is_unread(&client, &held.current());
        if memory.unread {
            return true;
        }
        let now = Instant::now();
        let Restraint { is_contested, is_paused } = memory.repairs.restraint(now);
        let sure = memory.sure && !is_contested && !is_paused;
        let store_is_heard =
            matches!(client.store, Store::Present { .. } | Store::Absent | Store::Deleted { .. });
        let is_heard =
            memory.is_decided && !is_paused && store_is_heard && matches!(client.hydra, Some(Ok(_)));
        let consent = if is_heard { std::mem::take(&mut memory.consent) } else { memory.consent.clone() };
        let occasion =
            Occasion { take_over: consent.clone(), describe: !memory.described, compared: memory.compared };
        let Settled { reason, repairs, is_fenced, .. } =
            self.settle_client(&held.current(), sure, client, &occasion).await;
        if sure && reason.is_some_and(is_unfinished) {
            memory.consent = consent;
        }
        memory.repairs.done(now, repairs);
        match reason {
            None => memory.repairs.all_is_well(),
            Some(_) if is_fenced => memory.repairs.in_vain(now),
            Some(_) => {}
        }
        if is_paused && reason.is_some() {
            // What was said of the repair that came to nothing still holds.
            return false;
        }
        memory.described |= reason.is_none();
        memory.compared |= reason.is_none();
        let reason = if is_contested && reason.is_some() { Some(Reason::ContestedClient) } else { reason };
        self.status.update(|state| state.client = reason);
        // Left alone on purpose: look again at the usual interval.
        let registers = self.hydra.as_ref().is_some_and(|(_, profile)| profile.auto_register);
        reason.is_some_and(|reason| {
            (registers || reason != Reason::ClientMissing)
                && !matches!(
                    reason,
                    Reason::ClientUnaddressable
                        | Reason::ClientDiffers
                        | Reason::ClientOfAnotherKey
                        | Reason::CredentialsMalformed
                        | Reason::ContestedClient
                )
        })
    }
}

/// Whether the record holds our key with something new beside it: it lists other keys, or is of another version.
fn is_news(plan: &keys::Plan, observation: &KeyObservation) -> bool {
    let versions = (&observation.store_key, &observation.local_key);
    plan.sure
        && matches!(versions, (Some(stored), Some(local))
            if stored.version != local.version || stored.replaces != local.replaces)
}

/// Whether the work on the client was broken off, so that it says nothing about whose the client is.
fn is_unfinished(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::HydraUnavailable | Reason::StoreUnavailable | Reason::StoreDenied | Reason::ClientRefused
    )
}

/// Whether nothing but a person's hand will change it: no reason to ask every few seconds.
fn waits_for_a_person(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Foreign
            | Reason::RolledBack
            | Reason::RecordDeleted
            | Reason::RecordMalformed
            | Reason::RecordLocked
            | Reason::StoreDenied
    )
}

/// What a start hands to the reconciler. The default is nothing: for a reconciler that is begun again.
#[derive(Debug, Default)]
pub struct StartedWork {
    sure: bool,
    client: Option<ClientObservation>,
}

impl Started {
    /// The identity to serve with, and what is left to the reconciler.
    #[must_use]
    pub fn split(self) -> (Arc<HeldIdentity>, StartedWork) {
        (Arc::new(self.held), StartedWork { sure: self.sure, client: self.client })
    }
}
