//! Runs the worker on what was submitted, and stores what it tells.
//!
//! A run waits for its turn, then its worker tells events through an [`Outlet`]; they are stored as they come, as many at a
//! time as have come meanwhile. What a superseded, cancelled or lost run tells is refused by the store.

use crate::{
    Abandoned, Caller, Job, Limits, Outlet, RunKey, Snapshot, StoreError, TaskKey, TaskStore, Watch, Worker,
    fair::Party, push::Pushing, takeover, takeover::Takeover, turns::Turns, unread::Unread,
};
use bindu_a2a::{
    Json, Parts,
    event::TaskEvent,
    model::{Message, Task, TaskState, TaskStatus},
};
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use jiff::Timestamp;
use serde_json::json;
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU32, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinHandle},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How many events wait to be stored before the worker waits, and how many are stored at a time.
const BUFFERED: usize = 64;

/// For how long a run that has told nothing counts as not begun: one that ends within it is stored at once, with its
/// beginning.
const BEGINS: Duration = Duration::from_millis(20);

/// After a worker has computed for longer than [`BEGINS`] where its caller waited, or panicked, so many runs begin in tasks of
/// their own.
const APART: u32 = 1_000;

/// How long a store that is away is given between two attempts.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// How many abandoned runs are taken at a time.
const ABANDONED: usize = 64;

/// How many tasks are told at a time that the agent ends.
const LAST_WORDS_AT_ONCE: usize = 64;

/// What is behind all runs.
pub(crate) struct Runner {
    pub(crate) store: Arc<dyn TaskStore>,
    worker: Arc<dyn Worker>,
    limits: Arc<Limits>,
    turns: Turns,
    /// How many runs still begin in tasks of their own.
    apart: AtomicU32,
    running: Mutex<HashMap<TaskKey, Running>>,
    /// Whether it takes no more work.
    pub(crate) is_ending: AtomicBool,
    /// How many messages are followed up of which it is not known whether they are stored.
    pub(crate) followed_up: AtomicUsize,
    pub(crate) unread: Unread,
    pub(crate) pushing: Arc<Pushing>,
}

struct Running {
    run: u64,
    canceled: CancellationToken,
}

/// What a run is to work on.
pub(crate) struct Asked {
    pub(crate) message: Arc<Message>,
    /// How many times it has been worked on, with this one.
    pub(crate) attempt: u32,
    /// What the call has activated, as long as there is a call.
    pub(crate) extensions: Option<Vec<String>>,
}

/// Why nothing more of a run is stored.
struct Gone;

/// How a worker's future has ended.
enum Ended {
    Well,
    Panicked,
}

/// Polls a future once; whoever polls it next is woken.
fn poll_once<F: Future + ?Sized>(work: Pin<&mut F>) -> Poll<F::Output> {
    work.poll(&mut Context::from_waker(Waker::noop()))
}

impl Runner {
    pub(crate) fn new(store: Arc<dyn TaskStore>, worker: Arc<dyn Worker>, limits: Arc<Limits>) -> Self {
        let turns = Turns::new(limits.runs, limits.runs_of_one);
        Self {
            store,
            worker,
            limits,
            turns,
            apart: AtomicU32::new(0),
            running: Mutex::default(),
            is_ending: AtomicBool::new(false),
            followed_up: AtomicUsize::new(0),
            unread: Unread::default(),
            pushing: Arc::default(),
        }
    }

    /// Begins a run. Returns at once, unless somebody waits for the run all the same
    /// (`is_awaited`): then what the worker does without waiting is done here, which saves two changes of threads.
    pub(crate) fn start(
        self: &Arc<Self>,
        run: RunKey,
        task: &Snapshot,
        Asked { message, attempt, extensions }: Asked,
        (caller, is_awaited): (&Caller, bool),
    ) {
        let canceled = CancellationToken::new();
        let entry = Running { run: run.run, canceled: canceled.clone() };
        // Held until the run is known: one that ends at once finds its own entry.
        let mut running = self.running();
        match running.get(&run.task) {
            // Two messages came at once, and this is the earlier one: what it would say is out of date.
            Some(later) if later.run > run.run => return,
            Some(earlier) => earlier.canceled.cancel(),
            None => {}
        }
        running.insert(run.task.clone(), entry);
        drop(running);
        let turn = self.turns.take(Party::of(caller, &task.task.context_id));
        let job = Job {
            task: task.task.clone(),
            message,
            attempt,
            extensions,
            caller: caller.clone(),
            canceled: canceled.clone(),
            store: Arc::clone(&self.store),
            run: run.clone(),
        };
        let (runner, number) = (Arc::clone(self), task.number);
        let apart = |left: u32| left.checked_sub(1);
        let is_awaited = is_awaited && self.apart.fetch_update(Relaxed, Relaxed, apart).is_err();
        let mut work = Box::pin(async move {
            let _entry = Entry { runner: &runner, run: &run };
            let turn = tokio::select! {
                turn = turn => turn,
                () = canceled.cancelled() => return,
            };
            let log = Log { runner: &runner, run: &run, canceled: &canceled, number };
            log.work(job, is_awaited).await;
            drop(turn);
        });
        // What is polled here first is polled again by its own task, and wakes that from then on.
        if !(is_awaited && poll_once(work.as_mut()).is_ready()) {
            tokio::spawn(work);
        }
    }

    /// Does what a worker does without waiting; its future if there is more to do. A worker that computes for long or panics would hold
    /// up whoever polls it: then the next ones are not polled here.
    fn begin(&self, work: impl FnOnce() -> BoxFuture<'static, ()>) -> Result<BoxFuture<'static, ()>, Ended> {
        let begun = Instant::now();
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let mut work = work();
            let polled = poll_once(work.as_mut());
            (work, polled)
        }));
        if begun.elapsed() > BEGINS || polled.is_err() {
            self.apart.store(APART, Relaxed);
        }
        match polled {
            Ok((work, Poll::Pending)) => Ok(work),
            Ok((_, Poll::Ready(()))) => Err(Ended::Well),
            Err(_) => Err(Ended::Panicked),
        }
    }

    /// Stops a run: what it says does not count any more.
    pub(crate) fn stop(&self, run: &RunKey) {
        if let Some(entry) = self.running().get(&run.task).filter(|entry| entry.run == run.run) {
            entry.canceled.cancel();
        }
    }

    /// How many runs there are here, those that wait for their turn too.
    pub(crate) fn active(&self) -> usize {
        self.running().len()
    }

    /// Stops the runs here that count no more, of tasks that were forgotten for example; whether the leases of the others were
    /// renewed.
    pub(crate) async fn stop_forgotten(&self) -> bool {
        match self.store.renew(&self.runs()).await {
            Ok(lost) => lost.iter().for_each(|run| self.stop(run)),
            Err(error) => {
                tracing::warn!(%error, "the leases of running tasks could not be renewed");
                return false;
            }
        }
        true
    }

    /// Renews the leases of the runs here, and looks for runs whose process is gone: they run again, or their tasks fail. Never
    /// ends.
    pub(crate) async fn maintain(self: &Arc<Self>) {
        let mut ticks = tokio::time::interval(self.limits.lease_renewal);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !self.stop_forgotten().await {
                // Its own runs would be among those whose leases have ended.
                continue;
            }
            if let Err(error) = self.take_over().await {
                tracing::warn!(%error, "abandoned tasks could not be looked for");
            }
        }
    }

    async fn take_over(self: &Arc<Self>) -> Result<(), StoreError> {
        // An agent that ends leaves them to others, and to the next start.
        while !self.is_ending.load(SeqCst) {
            let abandoned = self.store.take_abandoned(ABANDONED).await?;
            let is_last = abandoned.len() < ABANDONED;
            for one in abandoned {
                match self.take_over_one(&one).await {
                    // Somebody has gone on with it meanwhile.
                    Ok(()) | Err(StoreError::Superseded | StoreError::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
            if is_last {
                break;
            }
        }
        Ok(())
    }

    async fn take_over_one(self: &Arc<Self>, one: &Abandoned) -> Result<(), StoreError> {
        let Abandoned { run, task } = one;
        let takeover = if self.worker.is_resumable() {
            let after = task.number.saturating_sub(takeover::LOOKED_AT as u64);
            takeover::decide(&self.store.events(&run.task, after, takeover::LOOKED_AT).await?)
        } else {
            Takeover::Fail
        };
        match takeover {
            Takeover::Again { message, attempt } => {
                let number = self.store.append(run, vec![status(TaskState::Submitted)]).await?;
                let mut task = Snapshot { number, ..task.clone() };
                task.task.status = TaskStatus { state: TaskState::Submitted, ..task.task.status };
                tracing::warn!(
                    task = run.task.id,
                    attempt,
                    "the process that worked on a task is gone: it runs again"
                );
                let caller = Caller::of(&run.task.owner);
                let asked = Asked { message, attempt, extensions: None };
                self.start(run.clone(), &task, asked, (&caller, false));
            }
            Takeover::Fail => {
                self.store.append(run, vec![interrupted(&task.task)]).await?;
                tracing::warn!(
                    task = run.task.id,
                    "the process that worked on a task is gone: the task has failed"
                );
            }
        }
        self.pushing.changed(&run.task);
        Ok(())
    }

    /// Takes no more runs over.
    pub(crate) fn drain(&self) {
        self.is_ending.store(true, SeqCst);
    }

    /// Ends what the worker has running. Tasks that are worked on here run again elsewhere, or at the next start, if the worker
    /// can do that; else they fail with the same reason as if the process had crashed. No caller waits for a lease to end. The
    /// store is given so much time for all of them together; what it has not done then is found when the leases have ended.
    pub(crate) async fn close(&self, within: Duration) {
        self.drain();
        let runs = self.runs();
        if self.worker.is_resumable() && self.store.lasts() {
            runs.iter().for_each(|run| self.stop(run));
            match timeout(within, self.store.release(&runs)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "running tasks could not be given up: they run again when their leases have ended");
                }
                Err(_) => tracing::warn!(
                    "the task store does not answer: running tasks run again when their leases have ended"
                ),
            }
            return self.worker.close().await;
        }
        self.worker.close().await;
        let last_words =
            stream::iter(runs.clone()).for_each_concurrent(LAST_WORDS_AT_ONCE, |run| async move {
                if let Ok(Snapshot { task, .. }) = self.store.read(&run.task).await
                    && task.status.state.is_active()
                {
                    let _ = self.store.append(&run, vec![interrupted(&task)]).await;
                }
                self.stop(&run);
            });
        if timeout(within, last_words).await.is_err() {
            tracing::warn!("the task store does not answer: running tasks fail when their leases have ended");
            runs.iter().for_each(|run| self.stop(run));
        }
    }

    fn runs(&self) -> Vec<RunKey> {
        let running = self.running();
        running.iter().map(|(task, entry)| RunKey { task: task.clone(), run: entry.run }).collect()
    }

    fn running(&self) -> MutexGuard<'_, HashMap<TaskKey, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run's entry, taken out when the run has ended.
struct Entry<'a> {
    runner: &'a Runner,
    run: &'a RunKey,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let mut running = self.runner.running();
        // A later message may have put its own run there.
        if running.get(&self.run.task).is_some_and(|entry| entry.run == self.run.run) {
            running.remove(&self.run.task);
        }
    }
}

/// One run, and where its log is.
struct Log<'a> {
    runner: &'a Runner,
    run: &'a RunKey,
    canceled: &'a CancellationToken,
    /// The number of the last event that is stored.
    number: u64,
}

impl Log<'_> {
    /// Has the worker work, and stores what it tells.
    async fn work(mut self, job: Job, is_awaited: bool) {
        let (sender, mut events) = mpsc::channel(BUFFERED);
        let outlet = Outlet::new(sender, &job.task);
        let (task_id, context_id) = (job.task.id.clone(), job.task.context_id.clone());
        // In a task of its own, but for what it does without waiting for somebody who waits: a worker that panics, or computes for long,
        // holds nobody else up.
        let worker = Arc::clone(&self.runner.worker);
        let (mut batch, mut has_begun, mut settled) = (Vec::new(), false, None);
        let mut problem = NO_ANSWER;
        let begun = match is_awaited {
            true => self.runner.begin(move || worker.work(job, outlet)),
            false => Ok(Box::pin(async move { worker.work(job, outlet).await }) as BoxFuture<'static, ()>),
        };
        let (mut work, mut is_working) = match begun {
            Ok(rest) => (Some(AbortOnDrop(tokio::spawn(rest))), true),
            Err(ended) => {
                events.close();
                if let Ended::Panicked = ended {
                    problem = STOPPED;
                }
                (None, false)
            }
        };
        let mut others = Others { watch: None, seen: 0 };
        let begins = sleep(BEGINS);
        tokio::pin!(begins);
        loop {
            tokio::select! {
                biased;
                () = self.canceled.cancelled() => break,
                received = events.recv_many(&mut batch, BUFFERED) => if received == 0 { break },
                () = &mut begins, if !has_begun => batch.push(working()),
                // One that has ended by then was not worth a look at what others do.
                () = self.is_lost(&mut others), if has_begun && self.runner.store.lasts() => {
                    self.canceled.cancel();
                    break;
                }
                ended = ended(&mut work), if is_working => {
                    is_working = false;
                    // Clones of its outlet may be held by what it has left running.
                    events.close();
                    if ended.is_err() {
                        problem = STOPPED;
                    }
                    continue;
                }
            }
            if !has_begun && batch.first().is_some_and(is_begun_by) {
                batch.insert(0, working());
            }
            has_begun = true;
            if let Some(end) = batch.iter().position(is_end) {
                batch.truncate(end + 1);
            }
            if let Some(state) = batch.iter().rev().find_map(state_of) {
                settled = (!state.is_active()).then_some(state);
            }
            if self.store(std::mem::take(&mut batch)).await.is_err() {
                break;
            }
            if settled.is_some_and(TaskState::is_terminal) {
                break;
            }
        }
        drop(events);
        if settled.is_none() && !self.canceled.is_cancelled() {
            let message = message(&task_id, &context_id, &format!("Task execution failed: {problem}"));
            let _ = self.store(vec![failed(message)]).await;
        }
        if is_working {
            // It sees the token, or that its outlet is closed; then its future is dropped.
            let _ = timeout(self.runner.limits.cancel_grace, ended(&mut work)).await;
        }
    }

    /// Waits until the run counts no more: its task was cancelled, continued or forgotten through another process.
    async fn is_lost(&self, others: &mut Others) {
        let store = &self.runner.store;
        loop {
            let watch = others.watch.get_or_insert_with(|| store.watch(&self.run.task));
            let is_there = watch.changed().await.is_ok();
            let number = *watch.borrow_and_update();
            let is_ours = is_there && number == self.number && number != others.seen;
            others.seen = number;
            if is_ours {
                continue;
            }
            if let Ok(lost) = store.renew(std::slice::from_ref(self.run)).await
                && !lost.is_empty()
            {
                return;
            }
            if !is_there {
                others.watch = None;
                sleep(LAST_RETRY).await;
            }
        }
    }

    /// Stores events. A store that is away is waited for: meanwhile the worker's events are held in its outlet.
    async fn store(&mut self, events: Vec<TaskEvent>) -> Result<(), Gone> {
        let added = events.len() as u64;
        let settles = events.iter().any(|event| settled_by(event).is_some());
        let mut wait = FIRST_RETRY;
        loop {
            match self.runner.store.append_after(self.run, Some(self.number), events.clone()).await {
                Ok(number) => self.number = number,
                // An earlier attempt was stored, and its answer lost: nobody else adds any to this run.
                Err(StoreError::Moved(number)) if number == self.number + added => self.number = number,
                // A full disk is waited for as well: what was worked out is not thrown away for want of room.
                Err(error @ (StoreError::Unavailable(_) | StoreError::NoSpace)) => {
                    tracing::warn!(%error, task = self.run.task.id, "events could not be stored yet");
                    tokio::select! {
                        () = self.canceled.cancelled() => return Err(Gone),
                        () = sleep(wait) => {}
                    }
                    wait = (wait * 2).min(LAST_RETRY);
                    continue;
                }
                Err(StoreError::TooLarge) => {
                    let text = "Task execution failed: there is no room for the result; fetch or cancel other tasks first";
                    let task = &self.run.task;
                    tracing::warn!(task = task.id, owner = %task.owner, "there was no room for a result");
                    let message = message(&task.id, "", text);
                    let failed = vec![failed(message)];
                    let _ = self.runner.store.append(self.run, failed).await;
                    self.runner.pushing.changed(task);
                    self.runner.unread.settled(task);
                    self.canceled.cancel();
                    return Err(Gone);
                }
                Err(_) => {
                    self.canceled.cancel();
                    return Err(Gone);
                }
            }
            self.runner.pushing.changed(&self.run.task);
            if settles {
                self.runner.unread.settled(&self.run.task);
            }
            return Ok(());
        }
    }
}

/// What a run knows of what others do with its task.
struct Others {
    watch: Option<Watch>,
    /// The number that was told last.
    seen: u64,
}

/// Why a task has failed whose worker has told no end.
const NO_ANSWER: &str = "the agent ended its work without an answer";
const STOPPED: &str = "the agent stopped working on it";

/// The end of a worker that runs.
async fn ended(work: &mut Option<AbortOnDrop>) -> Result<(), JoinError> {
    match work {
        Some(work) => (&mut work.0).await,
        None => Ok(()),
    }
}

/// Stops the worker when its run is dropped.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether this first event means that work has begun: not one that says so itself, nor an answer that stands for all.
fn is_begun_by(event: &TaskEvent) -> bool {
    match event {
        TaskEvent::Status(status) => match status.state {
            TaskState::Working | TaskState::Rejected => false,
            _ => answers_in_place(status).is_none(),
        },
        _ => true,
    }
}

/// The message that is the answer in place of a task, if it is one: an agent's, of no task.
pub(crate) fn answers_in_place(status: &TaskStatus) -> Option<&Arc<Message>> {
    let message = status.message.as_ref()?;
    (status.state == TaskState::Completed && message.task_id.is_empty()).then_some(message)
}

fn is_end(event: &TaskEvent) -> bool {
    settled_by(event).is_some_and(TaskState::is_terminal)
}

fn state_of(event: &TaskEvent) -> Option<TaskState> {
    match event {
        TaskEvent::Status(status) => Some(status.state),
        _ => None,
    }
}

/// The state that an event leaves the task in, unless it is worked on.
fn settled_by(event: &TaskEvent) -> Option<TaskState> {
    state_of(event).filter(|state| !state.is_active())
}

fn working() -> TaskEvent {
    status(TaskState::Working)
}

fn status(state: TaskState) -> TaskEvent {
    TaskEvent::Status(TaskStatus { state, message: None, timestamp: Timestamp::now() })
}

fn failed(message: Message) -> TaskEvent {
    TaskEvent::Status(TaskStatus {
        state: TaskState::Failed,
        message: Some(Arc::new(message)),
        timestamp: Timestamp::now(),
    })
}

fn message(task_id: &str, context_id: &str, text: &str) -> Message {
    Message::of_agent(task_id, context_id, Parts::of_text(text))
}

/// What a task is told whose process has ended: its caller can act on the reason.
fn interrupted(task: &Task) -> TaskEvent {
    let text = "The agent ended while it worked on this. Send it again as a new message.";
    let message = message(&task.id, &task.context_id, text);
    failed(Message { metadata: Some(Json::of(&json!({ "reason": "interrupted" }))), ..message })
}
