//! One start: observe, plan, apply, until an identity is held or refused.

use crate::{
    ExitClass, HeldIdentity, Keeper, Reason, Refusal,
    apply::{Applied, is_local, may_pass},
    client::Occasion,
    observe::{ClientObservation, KeyObservation, Patience},
    plan::keys::{self, HydraNames, Local, Plan, Step, Store},
};
use bindu_store::{Outage, WriteError};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long a start waits for the store where the directory holds a key, and for Hydra where it holds none.
const SHORT_WAIT: Duration = Duration::from_secs(3);

/// The first and the longest pause between two observations of an outage; each is drawn from zero up to its bound
/// (full jitter), so that a fleet does not come back in step.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A deadline that is longer than this is as good as none.
const LONGEST_DEADLINE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A raft standby shows a write about 0.1 s late (FACTS §2.6): who has lost a race looks for the winner after this.
const STANDBY_LAG: Duration = Duration::from_millis(200);

/// The pause between two observations of a doubt.
const DOUBT_PAUSE: Duration = Duration::from_millis(400);

/// A start that went well.
#[derive(Debug)]
pub struct Started {
    /// The identity.
    pub held: HeldIdentity,
    /// Whether writing is allowed.
    pub(crate) sure: bool,
    /// What was seen of the client, for the reconciler's first pass.
    pub(crate) client: Option<ClientObservation>,
}

impl Keeper {
    /// Observes and plans without changing anything, for `bindu identity plan`.
    pub async fn look(&self) -> (KeyObservation, Plan) {
        let ((plan, observation), _) = self.look_at_both().await;
        (observation, plan)
    }

    /// The identity that a start would come to with a key that is there already, without changing anything.
    ///
    /// # Errors
    /// What an unavailable store said, where that is why there is none; else `None`: a start would make one, or refuse.
    pub async fn look_at_identity(&self) -> Result<crate::Identity, Option<Outage>> {
        let ((plan, observation), _) = self.look_at_both().await;
        let outage = observation.outage.clone();
        self.identity_of(&plan, observation).ok_or(outage)
    }

    /// Observes keys and client, and plans for the keys.
    pub(crate) async fn look_at_both(&self) -> ((Plan, KeyObservation), ClientObservation) {
        let (observation, client) =
            self.observe(self.observe_local(), patience(&Local::None, SHORT_WAIT), false).await;
        let plan = keys::plan(&observation.seen, &self.policy);
        ((plan, observation), client)
    }

    /// Brings the agent to its identity, or says why not.
    ///
    /// # Errors
    /// A [`Refusal`] with its exit code and the hint that mends it.
    pub async fn start(&self) -> Result<Started, Refusal> {
        let began = Instant::now();
        let deadline = began + self.start_deadline.min(LONGEST_DEADLINE);
        let mut pause = FIRST_PAUSE;
        let mut doubt: Option<(Store, Local, Instant)> = None;
        let mut lost = false;
        // A key that Hydra has named once stays named: a Hydra that does not answer the next time takes nothing back.
        let mut named: Option<HydraNames> = None;
        loop {
            let local = self.observe_local();
            let left = deadline.saturating_duration_since(Instant::now()).max(SHORT_WAIT);
            let patience = patience(&local.0, left);
            let (mut observation, client) = self.observe(local, patience, false).await;
            match (&observation.seen.hydra, &named) {
                (HydraNames::Key { .. }, _) => named = Some(observation.seen.hydra.clone()),
                (HydraNames::Unknown, Some(known)) => observation.seen.hydra = known.clone(),
                _ => {}
            }
            let since = match &doubt {
                Some((store, local, since))
                    if (store, local) == (&observation.seen.store, &observation.seen.local) =>
                {
                    *since
                }
                _ => Instant::now(),
            };
            observation.seen.lost = lost;
            doubt = Some((observation.seen.store.clone(), observation.seen.local.clone(), since));
            // At the deadline every doubt has lasted long enough.
            let is_late = Instant::now() >= deadline;
            observation.seen.seen_for = if is_late { keys::DOUBT } else { since.elapsed() };
            let plan = keys::plan(&observation.seen, &self.policy);
            tracing::debug!(row = ?plan.row, step = ?plan.step, "planned");
            match plan.step {
                Step::Refuse => return Err(self.refusal(plan.row, &observation)),
                Step::LookAgain { at_most: Some(_) } => sleep(DOUBT_PAUSE).await,
                // A quick error of Hydra's is no reason to make a key without having asked it.
                Step::Generate
                    if observation.seen.hydra == HydraNames::Unknown && began.elapsed() < SHORT_WAIT =>
                {
                    sleep(DOUBT_PAUSE).await;
                }
                // A provisional key, too, is a last resort.
                Step::LookAgain { at_most: None } | Step::GenerateProvisional
                    if Instant::now() < deadline =>
                {
                    let outage = observation.outage.as_ref();
                    tracing::warn!(
                        detail = outage.map_or("", |outage| outage.detail.as_str()),
                        "waiting for the store"
                    );
                    pause = self.pause(pause, outage.and_then(|outage| outage.retry_after), deadline).await;
                }
                Step::LookAgain { at_most: None } => return Err(self.refusal(plan.row, &observation)),
                _ => {
                    let detail = observation.outage.as_ref().map(|outage| outage.detail.clone());
                    let hint = self.hint(&plan, &observation.seen);
                    let store_was_absent = observation.seen.store == Store::Absent;
                    match self.apply(&plan, observation).await {
                        Applied::Held(identity) => {
                            crate::audit::identity(&identity, plan.row.explain());
                            tracing::info!(row = plan.row.explain(), detail, "identity");
                            if let Some(hint) = hint {
                                tracing::warn!(hint, "this needs a person");
                            }
                            self.status.update(|state| state.keys = plan.degraded);
                            return Ok(self.first_client_work(*identity, plan.sure, client).await);
                        }
                        Applied::FromDisk(identity, reason) => {
                            crate::audit::identity(&identity, plan.row.explain());
                            tracing::info!(row = plan.row.explain(), "identity, from disk");
                            self.status.update(|state| state.keys = Some(reason));
                            return Ok(self.first_client_work(*identity, false, client).await);
                        }
                        Applied::LookAgain(error) => {
                            if let Some(refusal) =
                                self.write_refusal(error.as_ref(), store_was_absent, deadline)
                            {
                                return Err(refusal);
                            }
                            let wish = match &error {
                                Some(WriteError::Unavailable(outage)) => outage.retry_after,
                                Some(WriteError::Conflict | WriteError::Denied) => {
                                    (lost, doubt) = (true, None);
                                    Some(STANDBY_LAG)
                                }
                                _ => None,
                            };
                            pause = self.pause(pause, wish, deadline).await;
                        }
                    }
                }
            }
        }
    }

    /// A first start registers its client before it listens, within a short wait; where record and client are there,
    /// or Hydra is not, all is left to the reconciler.
    async fn first_client_work(
        &self,
        identity: crate::Identity,
        sure: bool,
        client: ClientObservation,
    ) -> Started {
        let held = HeldIdentity::new(identity);
        if self.hydra.is_none() {
            return Started { held, sure, client: None };
        }
        self.status.update(|state| state.client = Some(Reason::ClientPending));
        let is_missing = matches!(client.hydra, Some(Ok(None)))
            || (matches!(client.hydra, Some(Ok(Some(_)))) && client.record.is_none());
        if !sure || !is_missing {
            return Started { held, sure, client: Some(client) };
        }
        let identity = held.current();
        let occasion = Occasion { take_over: self.policy.take_over.clone(), describe: true, compared: false };
        let work = self.settle_client(&identity, sure, client, &occasion);
        let client = match tokio::time::timeout(SHORT_WAIT, work).await {
            Ok(settled) => {
                self.status.update(|state| state.client = settled.reason);
                settled.is_done().then_some(settled.observation)
            }
            Err(_) => None,
        };
        Started { held, sure, client }
    }

    async fn pause(&self, bound: Duration, wish: Option<Duration>, deadline: Instant) -> Duration {
        let drawn = bound.mul_f64(rand::random::<f64>());
        let left = deadline.saturating_duration_since(Instant::now());
        sleep(wish.unwrap_or(drawn).max(drawn).min(left)).await;
        (bound * 2).min(LONGEST_PAUSE)
    }

    /// Whether a write that failed ends the start.
    fn write_refusal(
        &self,
        error: Option<&WriteError>,
        was_absent: bool,
        deadline: Instant,
    ) -> Option<Refusal> {
        let path = self.store.locate(&self.keys_record());
        let late = Instant::now() >= deadline;
        match error {
            Some(WriteError::Refused(words)) => Some(
                Refusal::new(
                    ExitClass::Failed,
                    format!("the store refused the keys record at {path}"),
                    "nothing was changed; see the store's own words above",
                )
                .because(words),
            ),
            Some(WriteError::Denied) if is_local(self.store_kind) => Some(Refusal::new(
                ExitClass::Usage,
                format!("the data directory can't be written: {path}"),
                "make it writable for this user, or choose another with --data-dir or BINDU_DATA_DIR",
            )),
            Some(WriteError::Unavailable(outage)) if is_local(self.store_kind) => Some(
                Refusal::new(
                    ExitClass::Usage,
                    format!("the key can't be kept in {path}, so none was made"),
                    "make the data directory writable, or choose another with --data-dir or BINDU_DATA_DIR",
                )
                .because(&outage.detail),
            ),
            Some(WriteError::Unavailable(outage)) if !may_pass(outage.reason) => {
                Some(self.wrong_mount(outage.detail.as_str()))
            }
            Some(WriteError::Denied) if late => Some(
                Refusal::new(ExitClass::Denied, format!("Vault denies writing {path}"), self.policy_hint())
                    .because(if was_absent {
                        "there is no record, and none may be created"
                    } else {
                        "the record may not be updated"
                    }),
            ),
            Some(error) if late => Some(
                Refusal::new(
                    ExitClass::Unavailable,
                    format!("the keys could not be written to {path} before the start deadline"),
                    "see that Vault answers, or give it longer with BINDU_START_DEADLINE",
                )
                .because_of(error),
            ),
            _ => None,
        }
    }
}

/// With a key on disk nobody is waited for for long; without one, the store is waited for until the deadline.
fn patience(local: &Local, left: Duration) -> Patience {
    match local {
        Local::Present { acknowledged: Some(_), .. } => Patience { store: SHORT_WAIT, hydra: Duration::ZERO },
        // What Hydra names decides about a key that was never in the store.
        Local::Present { acknowledged: None, .. } => Patience { store: SHORT_WAIT, hydra: SHORT_WAIT },
        _ => Patience { store: left, hydra: SHORT_WAIT },
    }
}

/// Now, as Python's `datetime.now(timezone.utc).isoformat()` writes it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}
