//! Keeping identity and client in step with the store and Hydra for as long as the agent runs.
//!
//! One pass observes, plans and applies, as a start does, but never makes a key, never takes over, and where it may not
//! write it says so and goes on: a running agent outlives its dependencies.

use crate::{
    HeldIdentity, Keeper, Reason,
    apply::Applied,
    client::{Occasion, Settled},
    observe::{ClientObservation, FoundKey, Patience},
    plan::{
        TakeOver,
        keys::{self, Local, Step},
    },
    start::Started,
};
use std::{
    collections::VecDeque,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// The pauses while something is pending or down.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// How long a pass waits for an answer.
const PATIENCE: Patience = Patience { store: Duration::from_secs(10), hydra: Duration::from_secs(10) };

/// Our own repair undone this often in this time: somebody else wants it otherwise.
const MOST_REPAIRS: usize = 2;
const REPAIR_WINDOW: Duration = Duration::from_secs(600);

/// What a pass has found out about the keys.
#[derive(Clone, Copy)]
struct Keys {
    pending: bool,
    sure: bool,
}

/// What one reconciler remembers from pass to pass.
struct Memory {
    sure: bool,
    /// The store's last answer about the keys, and since when it has been the same.
    doubt: Option<(keys::Store, Instant)>,
    repairs: VecDeque<Instant>,
    /// Whether name, scopes and URL have been compared since the start.
    described: bool,
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
        let mut memory =
            Memory { sure: started.sure, doubt: None, repairs: VecDeque::new(), described: false };
        let mut retry = FIRST_RETRY;
        let mut pending = match started.client {
            // What the start has seen needs no second look, except at a Hydra that it did not wait for.
            Some(client) if memory.sure => {
                let client = self.hear_hydra_out(client).await;
                self.reconcile_client(&held, client, &mut memory, self.policy.take_over.clone()).await
            }
            Some(_) => true,
            None => self.hydra.is_some() || !memory.sure,
        };
        loop {
            let pause = if pending {
                let pause = retry.mul_f64(0.5 + rand::random::<f64>() / 2.0);
                retry = (retry * 2).min(LONGEST_RETRY);
                pause
            } else {
                retry = FIRST_RETRY;
                self.reconcile_interval.mul_f64(0.9 + rand::random::<f64>() / 5.0)
            };
            tokio::select! {
                () = &mut shutdown => return,
                () = sleep(pause) => {}
            }
            pending = tokio::select! {
                () = &mut shutdown => return,
                pending = self.pass(&held, &mut memory) => pending,
            };
            self.status.update(|state| if pending { state.passes.1 += 1 } else { state.passes.0 += 1 });
        }
    }

    /// Waits for the answer of a Hydra that the start did not wait for.
    async fn hear_hydra_out(&self, mut client: ClientObservation) -> ClientObservation {
        if let Some(mut asked) = client.asked.take() {
            let answer = tokio::time::timeout(PATIENCE.hydra, &mut asked.0).await;
            client.hydra = answer.ok().and_then(|answer| answer.ok());
        }
        client
    }

    /// One pass; whether something is left to do or down.
    async fn pass(&self, held: &HeldIdentity, memory: &mut Memory) -> bool {
        let identity = held.current();
        let local = FoundKey {
            signing_key: Arc::clone(&identity.signing_key),
            private_pem: identity.private_pem.clone(),
            created_at: Some(identity.created_at.clone()),
            version: identity.version,
            replaces: identity.replaces.clone(),
            provisional: identity.provisional,
            public_is_lost: false,
        };
        let seen = Local::Present { key: identity.public_key, acknowledged: identity.version };
        let (mut observation, client) = self.observe((seen, Some(local)), PATIENCE, true).await;
        let since = match &memory.doubt {
            Some((store, since)) if *store == observation.seen.store => *since,
            _ => Instant::now(),
        };
        memory.doubt = Some((observation.seen.store.clone(), since));
        observation.seen.seen_for = since.elapsed();
        let plan = keys::plan(&observation.seen, &self.policy);
        let in_doubt = Keys { pending: true, sure: false };
        let (degraded, sure) = match plan.step {
            // Nobody generates in here: the table has no such row for a running agent.
            Step::LookAgain { .. } | Step::Refuse | Step::Generate | Step::GenerateProvisional => {
                return self.finish_pass(held, memory, client, in_doubt).await;
            }
            // Nothing new: nothing is written, either.
            Step::UseLocal if memory.sure == plan.sure => (plan.degraded, plan.sure),
            Step::UseLocal | Step::UseStore | Step::BackUp { .. } => {
                match self.apply(&plan, observation).await {
                    Applied::Held(identity) => {
                        tracing::info!(target: "audit", row = plan.row.explain(), "identity");
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
        let keys = Keys { pending: degraded.is_some(), sure };
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
                let sure = std::mem::replace(&mut memory.sure, keys.sure);
                let pending = self.reconcile_client(held, client, memory, TakeOver::No).await;
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
        take_over: TakeOver,
    ) -> bool {
        let now = Instant::now();
        memory.repairs.retain(|repair| now.duration_since(*repair) < REPAIR_WINDOW);
        let contested = memory.repairs.len() >= MOST_REPAIRS;
        let sure = memory.sure && !contested;
        let occasion = Occasion { take_over, describe: !memory.described };
        let Settled { reason, repairs, .. } =
            self.settle_client(&held.current(), sure, client, &occasion).await;
        memory.described |= reason.is_none();
        memory.repairs.extend(std::iter::repeat_n(now, repairs));
        let reason = if contested && reason.is_some() { Some(Reason::ContestedClient) } else { reason };
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

/// What a start hands to the reconciler.
#[derive(Debug)]
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
