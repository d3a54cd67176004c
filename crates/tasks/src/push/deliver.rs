//! Delivers events to where callers have asked for them: at least once, in order for each configuration, by one process at a
//! time.
//!
//! A claim of the store's is one batch of events for one configuration. Batches wait for their turn by owner, so one slow
//! receiver holds up nobody else's; a claim that cannot be worked on before its lease ends is left to it.

use super::{NotDelivered, PushOutcome, PushSender, backoff, payload, sender::Delivery};
use crate::{Limits, Numbered, Owner, Pushed, StoreError, TaskKey, TaskStore, fair::Party, turns::Turns};
use bindu_a2a::{
    call::PushConfig,
    dialect::Dialect,
    event::TaskEvent,
    model::{Task, TaskState},
};
use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use url::Url;

/// How often the store is asked for what is due, if nothing happens here: events of other replicas, and waits that end.
const POLL: Duration = Duration::from_secs(1);

/// The lease of a claim, by the contract of [`TaskStore::due_pushes`], and what is kept of it for noting the outcome.
const LEASE: Duration = Duration::from_secs(60);
const MARGIN: Duration = Duration::from_secs(10);

/// How many configurations are claimed at once, how many at most are held, and how many of them may be one party's.
const CLAIMED_AT_ONCE: usize = 64;
const CLAIMED: usize = 1_024;
const CLAIMED_OF_ONE: usize = 128;

/// How many deliveries run at a time, and how many of them for one party.
const AT_ONCE: usize = 64;
const AT_ONCE_OF_ONE: usize = 8;

/// How many events one claim delivers.
const EVENTS: usize = 16;

/// A task whose log is longer is not folded again for its receivers: they are sent it as it is now.
const FOLDED: u64 = 64;

/// How many tasks are known to have receivers; those beyond are found by polling.
const KNOWN: usize = 10_000;

/// The tasks that are known here to have receivers.
#[derive(Debug, Default)]
pub(crate) struct Pushing {
    tasks: Mutex<HashSet<TaskKey>>,
    wake: Notify,
}

impl Pushing {
    /// A task has a receiver.
    pub(crate) fn knows(&self, task: &TaskKey) {
        let mut tasks = self.tasks();
        if tasks.len() < KNOWN {
            tasks.insert(task.clone());
        }
    }

    /// A task has new events.
    pub(crate) fn changed(&self, task: &TaskKey) {
        if self.tasks().contains(task) {
            self.wake.notify_one();
        }
    }

    fn forget(&self, task: &TaskKey) {
        self.tasks().remove(task);
    }

    fn tasks(&self) -> MutexGuard<'_, HashSet<TaskKey>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What delivers.
pub(crate) struct Deliveries {
    store: Arc<dyn TaskStore>,
    sender: Arc<dyn PushSender>,
    limits: Arc<Limits>,
    turns: Turns,
}

/// How a batch has gone: the number up to which its receiver knows all, and why it knows no more.
struct Batch {
    told: u64,
    failed: Option<NotDelivered>,
    has_ended: bool,
}

impl Deliveries {
    pub(crate) fn new(store: Arc<dyn TaskStore>, sender: Arc<dyn PushSender>, limits: Arc<Limits>) -> Self {
        Self { store, sender, limits, turns: Turns::new(AT_ONCE, AT_ONCE_OF_ONE) }
    }

    pub(crate) fn sender(&self) -> &dyn PushSender {
        &*self.sender
    }

    /// Delivers what is due, for ever. Dropped, it leaves claims to the end of their leases.
    pub(crate) async fn run(self: &Arc<Self>, pushing: &Arc<Pushing>) {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut jobs, mut held) = (JoinSet::new(), HashMap::<Party, usize>::new());
        loop {
            let mut may_be_more = false;
            if jobs.len() < CLAIMED {
                let limit = CLAIMED_AT_ONCE.min(CLAIMED - jobs.len());
                let claimed = Instant::now();
                match self.store.due_pushes(limit).await {
                    Ok(due) => {
                        may_be_more = due.len() >= limit;
                        for pushed in due {
                            self.begin(pushed, claimed, pushing, (&mut jobs, &mut held));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "due deliveries could not be claimed");
                        tokio::time::sleep(POLL).await;
                    }
                }
            }
            while let Some(done) = jobs.try_join_next() {
                release(done, &mut held);
            }
            self.sender.backlog(jobs.len());
            if may_be_more {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                () = pushing.wake.notified() => {}
                _ = ticks.tick() => {}
                Some(done) = jobs.join_next() => release(done, &mut held),
            }
        }
    }

    fn begin(
        self: &Arc<Self>,
        pushed: Pushed,
        claimed: Instant,
        pushing: &Arc<Pushing>,
        (jobs, held): (&mut JoinSet<Party>, &mut HashMap<Party, usize>),
    ) {
        let party = party(&pushed);
        let of_one = held.entry(party.clone()).or_default();
        if *of_one >= CLAIMED_OF_ONE {
            // It comes again when its lease has ended; meanwhile others are found.
            return;
        }
        *of_one += 1;
        pushing.knows(&pushed.task);
        let (deliveries, pushing) = (Arc::clone(self), Arc::clone(pushing));
        jobs.spawn(async move {
            let work = deliveries.deliver(&pushed, claimed, &pushing, party.clone());
            // A panic must not lose the party's count.
            if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                tracing::error!(task = pushed.task.id, "a delivery panicked");
            }
            party
        });
    }

    /// Works on one claim.
    async fn deliver(&self, pushed: &Pushed, claimed: Instant, pushing: &Pushing, party: Party) {
        if !pushed.is_open {
            self.sender.observe(PushOutcome::Sealed);
            let noted = self.failed(pushed, &NotDelivered::Sealed).await;
            return report_unnoted(noted, pushed);
        }
        let Some(_turn) = self.turns.take(party).await else { return };
        let batch = match self.batch(pushed, claimed).await {
            Ok(batch) => batch,
            Err(StoreError::NotFound) => return pushing.forget(&pushed.task),
            Err(error) => {
                tracing::warn!(%error, task = pushed.task.id, "events could not be read for a receiver");
                return;
            }
        };
        let noted = match &batch.failed {
            Some(problem) if batch.told <= pushed.delivered => self.failed(pushed, problem).await,
            // What failed is tried again at once, and then waits.
            _ if batch.told > pushed.delivered => {
                self.store.note_push(&pushed.task, &pushed.config.id, Ok(batch.told)).await
            }
            // No time was left for it: its lease ends.
            _ => Ok(()),
        };
        if batch.has_ended && batch.failed.is_none() {
            pushing.forget(&pushed.task);
        }
        report_unnoted(noted, pushed);
    }

    async fn failed(&self, pushed: &Pushed, problem: &NotDelivered) -> Result<(), StoreError> {
        let Pushed { task, config, .. } = pushed;
        let failures = pushed.failures.saturating_add(1);
        let host = host(config);
        if *problem == NotDelivered::Gone || backoff::is_given_up(failures, self.limits.push_gives_up) {
            self.sender.observe(PushOutcome::GivenUp);
            tracing::warn!(
                task = task.id, config = config.id, host, failures, %problem,
                "a push configuration is given up: its receiver takes no events"
            );
            return self.store.delete_push(task, &config.id).await;
        }
        let wait = backoff::wait(failures, &format!("{}\n{}", task.id, config.id));
        // What was refused first may be something else than what nobody can open now.
        if pushed.failures == 0 || *problem == NotDelivered::Sealed {
            tracing::warn!(task = task.id, config = config.id, host, %problem, "an event was not delivered yet");
        }
        let due = Timestamp::now() + SignedDuration::try_from(wait).unwrap_or_default();
        self.store.note_push(task, &config.id, Err(due)).await
    }

    /// Delivers events until all are, one fails, or the claim's time is over.
    async fn batch(&self, pushed: &Pushed, claimed: Instant) -> Result<Batch, StoreError> {
        let Pushed { task: key, delivered, .. } = pushed;
        // The last one that is known is read as well: it tells whether the receiver has been sent the task.
        let events = self.store.events(key, delivered.saturating_sub(1), EVENTS + 1).await?;
        let mut receiver =
            Receiver { deliveries: self, pushed, claimed, context_id: String::new(), told: *delivered };
        let (mut owes_task, mut has_ended) = (false, false);
        for Numbered { number, event } in events {
            let is_submitted =
                matches!(&event, TaskEvent::Status(status) if status.state == TaskState::Submitted);
            has_ended |= matches!(&event, TaskEvent::Status(status) if status.state.is_terminal());
            if number <= receiver.told {
                owes_task |= is_submitted && number == *delivered;
                continue;
            }
            let sent = match &event {
                TaskEvent::Message(_) => Ok(()),
                // The first event of a turn is preceded by the task as it was then.
                TaskEvent::Status(_) if is_submitted && pushed.config.dialect == Dialect::V1 => {
                    owes_task = true;
                    Ok(())
                }
                _ => receiver.send(number, event, std::mem::take(&mut owes_task)).await?,
            };
            match sent {
                Ok(()) => receiver.told = receiver.told.max(number),
                Err(failed) => return Ok(Batch { told: receiver.told, failed, has_ended }),
            }
        }
        Ok(Batch { told: receiver.told, failed: None, has_ended })
    }
}

/// One receiver's batch.
struct Receiver<'a> {
    deliveries: &'a Deliveries,
    pushed: &'a Pushed,
    claimed: Instant,
    /// Read when it is needed.
    context_id: String,
    /// Up to which number it knows all.
    told: u64,
}

/// An event was not sent: it failed, or there was no time left.
type NotSent = Option<NotDelivered>;

impl Receiver<'_> {
    /// Sends an event, after the task as it was before it if that is owed.
    async fn send(
        &mut self,
        number: u64,
        event: TaskEvent,
        owes_task: bool,
    ) -> Result<Result<(), NotSent>, StoreError> {
        let dialect = self.pushed.config.dialect;
        let whole = match dialect {
            Dialect::V1 if owes_task => Some(number - 1),
            Dialect::V03 => Some(number),
            Dialect::V1 | Dialect::Bindu => None,
        };
        if let Some(whole) = whole {
            let (task, known) = self.task_at(whole).await?;
            if let Err(not_sent) = self.post(payload::task(dialect, task, known)).await {
                return Ok(Err(not_sent));
            }
            self.told = self.told.max(known);
            if known >= number {
                return Ok(Ok(()));
            }
        }
        if self.context_id.is_empty() {
            self.context_id = self.context_id().await?;
        }
        let key = (&self.pushed.task, self.context_id.as_str());
        match payload::event(dialect, key, number, event) {
            Some(body) => Ok(self.post(body).await),
            None => Ok(Ok(())),
        }
    }

    async fn post(&self, body: String) -> Result<(), NotSent> {
        let (deliveries, config) = (self.deliveries, &self.pushed.config);
        let limit = deliveries.limits.push_timeout;
        if self.claimed.elapsed() + limit + MARGIN > LEASE {
            return Err(None);
        }
        let Ok(url) = Url::parse(&config.url) else { return Err(Some(NotDelivered::Gone)) };
        let delivery = Delivery {
            url,
            dialect: config.dialect,
            body,
            token: config.token.as_deref().map(Arc::from),
            authentication: config.authentication.clone().map(Arc::new),
        };
        let sent = match timeout(limit, deliveries.sender.send(delivery)).await {
            Ok(sent) => sent,
            Err(_) => Err(NotDelivered::Failed("no answer in time".to_owned())),
        };
        deliveries.sender.observe(match &sent {
            Ok(()) => PushOutcome::Delivered,
            Err(NotDelivered::Refused(_)) => PushOutcome::Refused,
            Err(_) => PushOutcome::Failed,
        });
        sent.map_err(Some)
    }

    /// The task after this event; as it is now if its log is long. With the number of the last event in it.
    async fn task_at(&self, number: u64) -> Result<(Task, u64), StoreError> {
        let (store, key) = (&self.deliveries.store, &self.pushed.task);
        if number > FOLDED {
            let snapshot = store.read(key).await?;
            return Ok((snapshot.task, snapshot.number));
        }
        let events = store.events(key, 0, usize::try_from(number).unwrap_or(1)).await?;
        let mut task = payload::empty_task(&key.id, context_of(&events));
        events.iter().for_each(|numbered| task.apply(&numbered.event));
        Ok((task, number))
    }

    async fn context_id(&self) -> Result<String, StoreError> {
        let events = self.deliveries.store.events(&self.pushed.task, 0, 1).await?;
        Ok(context_of(&events).to_owned())
    }
}

/// A task's log begins with its first message.
fn context_of(events: &[Numbered]) -> &str {
    match events.first().map(|first| &first.event) {
        Some(TaskEvent::Message(message)) => &message.context_id,
        _ => "",
    }
}

fn report_unnoted(noted: Result<(), StoreError>, pushed: &Pushed) {
    match noted {
        // Deleted meanwhile.
        Ok(()) | Err(StoreError::NotFound) => {}
        Err(error) => tracing::warn!(%error, task = pushed.task.id, "a delivery could not be noted"),
    }
}

/// Who waits in turn: the owner, or the receiver if callers cannot be told apart.
fn party(pushed: &Pushed) -> Party {
    match &pushed.task.owner {
        Owner::Everybody => Party::Receiver(host(&pushed.config)),
        owner => Party::Owner(owner.clone()),
    }
}

/// A receiver's host, for people: the rest of a URL may be a secret.
fn host(config: &PushConfig) -> String {
    Url::parse(&config.url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

fn release(done: Result<Party, tokio::task::JoinError>, held: &mut HashMap<Party, usize>) {
    let Ok(party) = done else { return };
    if let Some(count) = held.get_mut(&party) {
        *count -= 1;
        if *count == 0 {
            held.remove(&party);
        }
    }
}
