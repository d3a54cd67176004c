//! One place for a program: starts it when there is work, speaks with it, ends it.
//!
//! # How nobody gets another's answer
//!
//! In the first protocol a line says nothing about whose answer it is, so a line counts only if it can't be anything
//! else. A task's line is sent without its end ([`HELD_BACK`]) while nothing is unread in the program's stdout. Once the
//! program has read all of it, it waits for the end, and has said whatever it was still to say about earlier tasks: its
//! stdout is looked at once more, and only then the end is sent. What comes before that, or while no task is with the
//! program, or behind an answer, is surplus, and ends the program. A program that echoes `task_id` must go on doing so.
//!
//! In the second protocol the id says it; two tasks of one id are never in a program at the same time.

mod ends;
mod speech;
mod timer;

use super::{
    lines,
    pool::{Answered, Job, Order, Pool},
    process::{Happening, Program},
};
use crate::handler::{
    HandlerError, Reply,
    event::{Fold, Teller},
};
use futures_util::FutureExt as _;
use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use timer::Timer;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// The end of a task's line that is held back until the program waits for it: not only the line feed, since without it
/// a program may take the end of its input for the end of the line.
const HELD_BACK: usize = 2;

/// How long a program of the first protocol may go on with a task that was cancelled, before it is ended: its answer is
/// thrown away, and the next task finds it running.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// How long a program of the second protocol may take to give up a task that was cancelled or has timed out, before it counts
/// as stuck.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How often it is looked whether the program has read its task: soon, since one that waits for it needs some 30 us, then
/// less and less often.
const FIRST_POLL: Duration = Duration::from_micros(25);
const LAST_POLL: Duration = Duration::from_millis(20);

/// How often that is looked at of a program that has begun a line: for as long as it likes, so not too often.
const POLL_OF_HALF_A_LINE: Duration = Duration::from_millis(1);

/// Runs a place of the pool until it is told that the agent is ending. A worker that panics goes on, without its program.
pub(super) fn spawn(place: usize, pool: Arc<Pool>, orders: mpsc::UnboundedReceiver<Order>) -> JoinHandle<()> {
    let mut worker = Worker::new(place, pool, orders);
    tokio::spawn(async move {
        while AssertUnwindSafe(worker.work()).catch_unwind().await.is_err() {
            worker.recover().await;
        }
    })
}

/// A place, with its program.
pub(super) struct Worker {
    pub(super) place: usize,
    pub(super) pool: Arc<Pool>,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    running: Option<Running>,
    runs: Vec<Run>,
    timer: Timer,
    is_closing: bool,
}

/// A program, and what is known of it.
pub(super) struct Running {
    program: Program,
    speaks: Protocol,
    /// Whether it has answered anything.
    has_answered: bool,
    /// Whether it says whose answers its answers are.
    echoes: bool,
    useless_lines: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// It has not said anything yet.
    NotKnown,
    One,
    Two,
}

/// A task that is with the program.
pub(super) struct Run {
    job: u64,
    task_id: String,
    line: String,
    /// `None` once nobody waits for it.
    reply: Option<oneshot::Sender<Answered>>,
    phase: Phase,
    fold: Fold,
    teller: Teller,
    deadline: Instant,
    /// Until when a task that is not wanted any more may go on.
    grace_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The line was sent but for its end.
    Offered { since: Instant, poll_at: Instant },
    /// The program has the whole line.
    Asked,
}

enum Step {
    Order(Option<Order>),
    Happening(Happening),
    Moment,
}

impl Worker {
    fn new(place: usize, pool: Arc<Pool>, orders: mpsc::UnboundedReceiver<Order>) -> Self {
        Self { place, pool, orders, running: None, runs: Vec::new(), timer: Timer::new(), is_closing: false }
    }

    /// Works until it is told that the agent is ending.
    async fn work(&mut self) {
        while !self.is_closing {
            self.end_if_stuck().await;
            let moment = self.next_moment();
            let step = tokio::select! {
                order = self.orders.recv() => Step::Order(order),
                happening = happening(&mut self.running) => Step::Happening(happening),
                () = sleep_until(&self.timer, moment) => Step::Moment,
            };
            match step {
                Step::Order(Some(Order::Work(job))) => self.take(*job).await,
                Step::Order(Some(Order::Cancel(job))) => self.cancel(job),
                Step::Order(Some(Order::Close) | None) => self.is_closing = true,
                Step::Happening(Happening::Read) => self.read().await,
                Step::Happening(Happening::Ended) => self.ended().await,
                Step::Moment => self.on_time().await,
            }
        }
        self.close().await;
    }

    /// After a panic: as if the program had broken.
    async fn recover(&mut self) {
        self.broke("the agent has a fault of its own; please report it").await;
    }

    async fn take(&mut self, job: Job) {
        let Job { id, task, reply, events } = job;
        if reply.is_closed() {
            self.pool.schedule().done(self.place, id);
            return self.pool.dispatch();
        }
        let now = Instant::now();
        self.runs.push(Run {
            job: id,
            line: lines::task(
                (&task.task_id, &task.context_id),
                &task.messages(),
                &task.caller,
                task.attempt,
            ),
            task_id: task.task_id,
            reply: Some(reply),
            phase: Phase::Asked,
            fold: Fold::default(),
            teller: Teller::new(events),
            deadline: now + self.pool.settings.timeout,
            grace_until: None,
        });
        self.offer().await;
    }

    /// Gives the program the task that came last.
    async fn offer(&mut self) {
        if self.running.is_none()
            && let Err(problem) = self.start().await
        {
            return self.not_started(&problem).await;
        }
        let (Some(running), Some(run)) = (&mut self.running, self.runs.last_mut()) else { return };
        let now = Instant::now();
        run.deadline = now + self.pool.settings.timeout;
        if running.speaks == Protocol::Two {
            running.program.send(run.line.as_bytes());
            return;
        }
        let most = run.line.len().saturating_sub(HELD_BACK);
        running.program.send(run.line.as_bytes().get(..most).unwrap_or_default());
        run.phase = Phase::Offered { since: now, poll_at: now + FIRST_POLL };
    }

    async fn start(&mut self) -> Result<(), String> {
        let program = self
            .pool
            .program()
            .await
            .map_err(|error| format!("the program could not be started: {error}"))?;
        let name = self.pool.settings.command.first();
        tracing::info!(program = name, pid = program.pid(), "started the agent program");
        self.running = Some(Running {
            program,
            speaks: Protocol::NotKnown,
            has_answered: false,
            echoes: false,
            useless_lines: 0,
        });
        self.pool.schedule().up(self.place, 1);
        Ok(())
    }

    fn cancel(&mut self, job: u64) {
        let Some(run) = self.runs.iter_mut().find(|run| run.job == job) else { return };
        run.reply = None;
        match &mut self.running {
            // Not the task's own deadline: a caller who leaves tasks hanging would keep the program's places for so long.
            Some(running) if running.speaks == Protocol::Two => {
                running.program.send(lines::cancel(&run.task_id).as_bytes());
                run.grace_until = Some(Instant::now() + STOP_GRACE);
            }
            _ => run.grace_until = Some((Instant::now() + CANCEL_GRACE).min(run.deadline)),
        }
    }

    async fn close(&mut self) {
        self.orders.close();
        if let Some(running) = self.running.take() {
            // An idle one may end by itself.
            if self.runs.is_empty() { running.program.end().await } else { running.program.kill().await }
        }
        for run in self.runs.drain(..) {
            run.answer(Err(HandlerError::new("the agent is ending")));
        }
    }
}

impl Run {
    fn answer(self, result: Result<Reply, HandlerError>) {
        if let Some(reply) = self.reply {
            let _ = reply.send(Answered { rest: self.teller.rest(), result });
        }
    }
}

fn failed() -> Result<Reply, HandlerError> {
    Err(HandlerError::new("the agent program failed"))
}

async fn happening(running: &mut Option<Running>) -> Happening {
    match running {
        Some(running) => running.program.happening().await,
        None => std::future::pending().await,
    }
}

/// When to look again whether a program has read its task that it has had for so long: each time after half of that, up to a
/// millisecond; later after an eighth.
fn next_poll(since: Duration) -> Duration {
    let soon = (since / 2).min(Duration::from_millis(1));
    soon.max(since / 8).clamp(FIRST_POLL, LAST_POLL)
}

async fn sleep_until(timer: &Timer, moment: Option<Instant>) {
    match moment {
        Some(moment) => timer.sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
