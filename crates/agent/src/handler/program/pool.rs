//! The programs of one agent: who waits for them, and the workers that hold them.

use super::{
    CommandSettings, orphans,
    process::{Guards, Program, Spawner, Template},
    schedule::{Schedule, Whereabouts},
};
use crate::handler::{
    HandlerError, HandlerTask, Reply,
    event::{HandlerEvent, WAITING},
};
use bindu_tasks::fair::Party;
use futures_util::future::join_all;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
};

/// A task on its way to a program.
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) task: HandlerTask,
    pub(super) reply: oneshot::Sender<Answered>,
    pub(super) events: mpsc::Sender<HandlerEvent>,
}

/// What became of a task.
pub(super) struct Answered {
    /// What was said before the end and could not be handed on yet.
    pub(super) rest: VecDeque<HandlerEvent>,
    pub(super) result: Result<Reply, HandlerError>,
}

impl From<Result<Reply, HandlerError>> for Answered {
    fn from(result: Result<Reply, HandlerError>) -> Self {
        Self { rest: VecDeque::new(), result }
    }
}

/// What a worker is told.
pub(super) enum Order {
    /// Do this.
    Work(Box<Job>),
    /// Nobody waits for this any more.
    Cancel(u64),
    /// The agent is ending.
    Close,
}

/// What runs a place: its number, the pool, and what it is told.
pub(super) type SpawnWorker = fn(usize, Arc<Pool>, mpsc::UnboundedReceiver<Order>) -> JoinHandle<()>;

/// All that a [`super::CommandHandler`] is.
pub(super) struct Pool {
    pub(super) settings: CommandSettings,
    template: Template,
    spawn_worker: SpawnWorker,
    schedule: Mutex<Schedule<Job>>,
    /// Since the first task: there is no runtime before.
    open: OnceLock<Open>,
    /// The schedule has another moment to wait for.
    changed: Notify,
    is_closing: AtomicBool,
}

struct Open {
    workers: Vec<mpsc::UnboundedSender<Order>>,
    ends: Mutex<Vec<JoinHandle<()>>>,
    /// What goes on until the pool is closed.
    background: Vec<JoinHandle<()>>,
    spawner: Result<Spawner, String>,
}

impl Pool {
    pub(super) fn new(settings: CommandSettings, spawn_worker: SpawnWorker) -> Self {
        let template = Template {
            command: settings.command.clone(),
            hidden_variables: settings.hidden_variables.clone(),
            errors: settings.errors,
            // The server raises the agent's own later, for its connections.
            files: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        };
        Self {
            schedule: Mutex::new(Schedule::new(settings.workers.max(1))),
            template,
            spawn_worker,
            settings,
            open: OnceLock::new(),
            changed: Notify::new(),
            is_closing: AtomicBool::new(false),
        }
    }

    /// Has a task answered. Dropped, the task is taken back.
    pub(super) async fn answer(self: Arc<Self>, task: HandlerTask) -> Result<Reply, HandlerError> {
        self.open();
        let party = Party::of(&task.caller, &task.context_id);
        let (reply, mut answered) = oneshot::channel();
        let (sender, mut events) = mpsc::channel(WAITING);
        let told = task.clone();
        let task_id = task.task_id.clone();
        let id = {
            let mut schedule = self.schedule();
            // Under the lock: `close` takes out what waits once this is set.
            if self.is_closing.load(Ordering::Relaxed) {
                return Err(ending());
            }
            schedule.push(party.clone(), &task_id, Instant::now(), |id| Job {
                id,
                task,
                reply,
                events: sender,
            })
        };
        let _withdrawn = Withdraw { pool: Arc::clone(&self), party, id };
        self.dispatch();
        let answered = loop {
            tokio::select! {
                biased;
                // At once: a program is told that its work is not wanted, and has its own time to end it.
                () = told.canceled.cancelled() => return Err(HandlerError::new("it was cancelled")),
                Some(event) = events.recv() => say(&told, event).await?,
                answered = &mut answered => break answered,
            }
        };
        let answered = answered.unwrap_or_else(|_| Err(HandlerError::new("the agent program failed")).into());
        while let Ok(event) = events.try_recv() {
            say(&told, event).await?;
        }
        for event in answered.rest {
            say(&told, event).await?;
        }
        answered.result
    }

    /// Sends tasks to the places that may take one.
    pub(super) fn dispatch(&self) {
        let Some(open) = self.open.get() else { return };
        let mut schedule = self.schedule();
        while let Some((place, job)) = schedule.next(Instant::now()) {
            // Under the lock, so that who empties a place sees all that was sent there. A worker that is gone is that
            // of an agent that is ending.
            if let Some(worker) = open.workers.get(place) {
                let _ = worker.send(Order::Work(Box::new(job)));
            }
        }
        drop(schedule);
        self.changed.notify_one();
    }

    pub(super) fn schedule(&self) -> MutexGuard<'_, Schedule<Job>> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a program.
    pub(super) async fn program(&self) -> std::io::Result<Program> {
        match self.open.get().map(|open| &open.spawner) {
            Some(Ok(spawner)) => spawner.program().await,
            Some(Err(problem)) => Err(std::io::Error::other(problem.clone())),
            None => Err(std::io::Error::other("nothing is open")),
        }
    }

    /// Ends all programs.
    pub(super) async fn close(&self) {
        let waiting = {
            let mut schedule = self.schedule();
            self.is_closing.store(true, Ordering::Relaxed);
            schedule.drain()
        };
        for job in waiting {
            let _ = job.reply.send(Err(ending()).into());
        }
        let Some(open) = self.open.get() else { return };
        for worker in &open.workers {
            let _ = worker.send(Order::Close);
        }
        let ends = std::mem::take(&mut *open.ends.lock().unwrap_or_else(PoisonError::into_inner));
        join_all(ends).await;
        open.background.iter().for_each(JoinHandle::abort);
    }

    fn open(self: &Arc<Self>) {
        self.open.get_or_init(|| {
            let guards = Guards::default();
            let mut background = vec![tokio::spawn(Arc::clone(self).keep_time())];
            if self.settings.owns_process {
                background.push(tokio::spawn(orphans::reap(Arc::clone(&guards))));
            }
            let (workers, receivers): (Vec<_>, Vec<_>) =
                (0..self.settings.workers.max(1)).map(|_| mpsc::unbounded_channel()).unzip();
            let worker = |(place, orders)| (self.spawn_worker)(place, Arc::clone(self), orders);
            Open {
                workers,
                ends: Mutex::new(receivers.into_iter().enumerate().map(worker).collect()),
                background,
                spawner: Spawner::start(self.template.clone(), guards).map_err(|error| error.to_string()),
            }
        });
    }

    /// Sends tasks on their way when their time has come though nothing else happens.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let at = self.schedule().wake_at(Instant::now());
            match at {
                None => self.changed.notified().await,
                Some(at) => {
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = tokio::time::sleep_until(at.into()) => self.dispatch(),
                    }
                }
            }
        }
    }
}

/// Tells what a program has said.
async fn say(task: &HandlerTask, event: HandlerEvent) -> Result<(), HandlerError> {
    match event {
        HandlerEvent::Progress(text) => task.progress(&text).await?,
        HandlerEvent::Chunk { artifact, text } => task.write_to(&artifact, &text).await?,
        HandlerEvent::Artifact { name, content } => task.artifact(&name, content).await?,
        HandlerEvent::Ended { .. } | HandlerEvent::Canceled => {}
    }
    Ok(())
}

/// Takes a task back when nobody waits for it any more.
struct Withdraw {
    pool: Arc<Pool>,
    party: Party,
    id: u64,
}

impl Drop for Withdraw {
    fn drop(&mut self) {
        let mut schedule = self.pool.schedule();
        match schedule.withdraw(&self.party, self.id) {
            Whereabouts::Nowhere => {}
            Whereabouts::Withdrawn(job) => {
                drop(schedule);
                drop(job);
            }
            Whereabouts::At(place) => {
                // Under the lock, as in `dispatch`: behind the task that it is about.
                let worker = self.pool.open.get().and_then(|open| open.workers.get(place));
                if let Some(worker) = worker {
                    let _ = worker.send(Order::Cancel(self.id));
                }
            }
        }
    }
}

fn ending() -> HandlerError {
    HandlerError::new("the agent is ending")
}
