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

use super::{
    lines,
    pool::{Job, Pool},
    process::{Happening, Program},
    schedule::Schedule,
};
use crate::handler::{HandlerError, Reply, event::Fold};
use std::{
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

/// The end of a task's line that is held back until the program waits for it: not only the line feed, since without it
/// a program may take the end of its input for the end of the line.
const HELD_BACK: usize = 2;

/// How long a program of the first protocol may go on with a task that was cancelled, before it is ended: its answer is
/// thrown away, and the next task finds it running.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// How long a program of the second protocol may take to give up a task that has timed out, before it counts as stuck.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How often it is looked whether the program has read its task: soon, then less and less often.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(20);

/// How many useless lines of one program are told in the log.
const TOLD_LINES: u32 = 10;

/// What a worker is told.
pub(super) enum Order {
    /// Do this.
    Work(Job),
    /// Nobody waits for this any more.
    Cancel(u64),
    /// The agent is ending.
    Close,
}

/// A place, with its program.
pub(super) struct Worker {
    pub(super) place: usize,
    pub(super) pool: Arc<Pool>,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    running: Option<Running>,
    runs: Vec<Run>,
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
    reply: Option<oneshot::Sender<Result<Reply, HandlerError>>>,
    phase: Phase,
    fold: Fold,
    deadline: Instant,
    /// Until when a task that is not wanted any more is borne.
    bear_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The line was sent but for its end.
    Offered { since: Instant, look_at: Instant },
    /// The program has the whole line.
    Asked,
}

enum Step {
    Order(Option<Order>),
    Happening(Happening),
    Moment,
}

impl Worker {
    pub(super) fn new(place: usize, pool: Arc<Pool>, orders: mpsc::UnboundedReceiver<Order>) -> Self {
        Self { place, pool, orders, running: None, runs: Vec::new(), is_closing: false }
    }

    /// Works until it is told that the agent is ending.
    pub(super) async fn work(&mut self) {
        while !self.is_closing {
            self.end_if_stuck().await;
            let moment = self.next_moment();
            let step = tokio::select! {
                order = self.orders.recv() => Step::Order(order),
                happening = happening(&mut self.running) => Step::Happening(happening),
                () = sleep_until(moment) => Step::Moment,
            };
            match step {
                Step::Order(Some(Order::Work(job))) => self.take(job).await,
                Step::Order(Some(Order::Cancel(job))) => self.cancel(job),
                Step::Order(Some(Order::Close) | None) => self.is_closing = true,
                Step::Happening(Happening::Read) => self.read().await,
                Step::Happening(Happening::Ended(status)) => self.ended(status).await,
                Step::Moment => self.on_time().await,
            }
        }
        self.close().await;
    }

    /// After a panic: as if the program had broken.
    pub(super) async fn recover(&mut self) {
        self.broke("the agent has a fault of its own; please report it").await;
    }

    async fn take(&mut self, job: Job) {
        let Job { id, task, reply } = job;
        if reply.is_closed() {
            self.pool.schedule().done(self.place, id);
            return self.pool.dispatch();
        }
        let now = Instant::now();
        self.runs.push(Run {
            job: id,
            line: lines::task(&task.task_id, &task.context_id, &task.messages, &task.caller),
            task_id: task.task_id,
            reply: Some(reply),
            phase: Phase::Asked,
            fold: Fold::default(),
            deadline: now + self.pool.settings.timeout,
            bear_until: None,
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
        run.phase = Phase::Offered { since: now, look_at: now };
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

    /// Sends the end of the line that is held back.
    fn complete(&mut self) {
        let Some(running) = &mut self.running else { return };
        for run in &mut self.runs {
            if matches!(run.phase, Phase::Offered { .. }) {
                let end = run.line.len().saturating_sub(HELD_BACK);
                running.program.send(run.line.as_bytes().get(end..).unwrap_or_default());
                run.phase = Phase::Asked;
                if run.reply.is_none() && running.speaks == Protocol::Two {
                    running.program.send(lines::cancel(&run.task_id).as_bytes());
                }
            }
        }
    }

    fn cancel(&mut self, job: u64) {
        let Some(run) = self.runs.iter_mut().find(|run| run.job == job) else { return };
        run.reply = None;
        match &mut self.running {
            // It has the task's own deadline to say that it has stopped.
            Some(running) if running.speaks == Protocol::Two => {
                running.program.send(lines::cancel(&run.task_id).as_bytes());
            }
            _ => run.bear_until = Some((Instant::now() + CANCEL_GRACE).min(run.deadline)),
        }
    }

    /// Reads what the program has said.
    async fn read(&mut self) {
        while let Some(running) = &mut self.running {
            match running.program.take_line() {
                Ok(Some(line)) => self.line(&line).await,
                Ok(None) => break,
                Err(problem) => return self.broke(&problem).await,
            }
        }
        // The beginning of a line is surplus as well, where a whole one would be. Not of a program that has said nothing
        // yet: that may become its greeting.
        if let Some(running) = &self.running
            && running.speaks == Protocol::One
            && !running.program.said().is_empty()
            && !self.runs.iter().any(|run| run.phase == Phase::Asked)
        {
            let said = running.program.said().to_vec();
            self.surplus(&said).await;
        }
    }

    async fn line(&mut self, line: &[u8]) {
        let Some(running) = &mut self.running else { return };
        if running.speaks == Protocol::NotKnown {
            match lines::hello(line) {
                Ok(None) => running.speaks = Protocol::One,
                Ok(Some(concurrency)) => {
                    running.speaks = Protocol::Two;
                    self.pool.schedule().up(self.place, concurrency);
                    self.complete();
                    return self.pool.dispatch();
                }
                Err(problem) => return self.not_started(&problem).await,
            }
        }
        match running.speaks {
            Protocol::Two => self.event(line),
            _ => self.answer(line).await,
        }
    }

    /// A line of the first protocol.
    async fn answer(&mut self, line: &[u8]) {
        let (Some(running), Some(run)) = (&mut self.running, self.runs.first()) else {
            return self.surplus(line).await;
        };
        if run.phase != Phase::Asked {
            if running.has_answered {
                return self.surplus(line).await;
            }
            let problem = format!(
                "it has written to stdout before it was asked anything, and stdout is for answers: {}",
                lines::shown(line)
            );
            return self.not_started(&problem).await;
        }
        let problem = match lines::answer(line) {
            Err(problem) => problem,
            Ok(answer) if answer.task_id.as_ref().is_some_and(|id| *id != run.task_id) => {
                format!("its answer is to another task: {}", lines::shown(line))
            }
            Ok(answer) if answer.task_id.is_none() && running.echoes => {
                format!("its answer has no `task_id`, which its answers before had: {}", lines::shown(line))
            }
            Ok(answer) => {
                (running.has_answered, running.echoes) = (true, answer.task_id.is_some());
                return self.finish(0, Ok(Reply { content: answer.content, state: answer.state }));
            }
        };
        self.broke(&problem).await;
    }

    /// A line of the second protocol.
    fn event(&mut self, line: &[u8]) {
        let (task_id, event) = match lines::event(line) {
            Ok((task_id, event)) => (task_id, Ok(event)),
            Err(lines::BadLine { task_id: Some(task_id), problem }) => (task_id, Err(problem)),
            Err(lines::BadLine { task_id: None, problem }) => return self.useless(&problem),
        };
        let Some(position) = self.runs.iter().position(|run| run.task_id == task_id) else {
            return self
                .useless(&format!("its line is about a task that it does not have: {}", lines::shown(line)));
        };
        let Some(run) = self.runs.get_mut(position) else { return };
        match event.and_then(|event| run.fold.take(event)) {
            Ok(None) => {}
            Ok(Some(reply)) => self.finish(position, Ok(reply)),
            Err(problem) => {
                tracing::error!(task = task_id, problem, "the agent program failed");
                self.finish(position, failed());
            }
        }
    }

    /// A task has its answer.
    fn finish(&mut self, position: usize, result: Result<Reply, HandlerError>) {
        if position >= self.runs.len() {
            return;
        }
        let run = self.runs.swap_remove(position);
        if let Some(running) = &mut self.running {
            running.has_answered = true;
        }
        self.pool.schedule().done(self.place, run.job);
        run.answer(result);
        self.pool.dispatch();
    }

    /// A line that nobody can use: told, and nothing else, since in the second protocol it can't be mistaken.
    fn useless(&mut self, problem: &str) {
        let Some(running) = &mut self.running else { return };
        running.useless_lines = running.useless_lines.saturating_add(1);
        if running.useless_lines <= TOLD_LINES {
            tracing::warn!(
                problem,
                lines = running.useless_lines,
                "the agent program wrote a line that is not used"
            );
        }
    }

    /// The program has said more than was asked. Its next line could be taken for an answer: it is ended, and a task that
    /// it has not seen wholly goes to the next one.
    async fn surplus(&mut self, said: &[u8]) {
        tracing::warn!(
            line = lines::shown(said),
            "the agent program wrote more than was asked: it is started anew"
        );
        if let Some(running) = self.running.take() {
            running.program.kill().await;
        }
        self.again_or_down().await;
    }

    /// Without a program: offers the task that the old one had not seen wholly.
    async fn again_or_down(&mut self) {
        if self.runs.last().is_some_and(|run| run.reply.is_some()) {
            return self.offer().await;
        }
        // Nobody waits for anything.
        self.runs.clear();
        self.is_gone(Schedule::down);
    }

    /// The program is gone, or has closed its stdout.
    async fn ended(&mut self, status: Option<ExitStatus>) {
        // What it has said last.
        self.read().await;
        let Some(running) = &self.running else { return };
        let has_the_line = self.runs.iter().any(|run| run.phase == Phase::Asked);
        let problem = if status.is_some() { "it ended without an answer" } else { "it closed its stdout" };
        if has_the_line {
            return self.broke(problem).await;
        }
        if !self.runs.is_empty() && !running.has_answered {
            return self.not_started(problem).await;
        }
        // It was idle, or as good as that.
        if let Some(running) = self.running.take() {
            let status = running.program.fail().await;
            tracing::info!(status, "the agent program has ended between two tasks");
        }
        self.again_or_down().await;
    }

    /// The program has failed with the tasks that it has.
    async fn broke(&mut self, problem: &str) {
        self.fail(problem).await;
        self.is_gone(|schedule, place| schedule.broke(place, Instant::now()));
    }

    /// The program has failed by itself.
    async fn not_started(&mut self, problem: &str) {
        self.fail(problem).await;
        self.is_gone(|schedule, place| schedule.not_started(place, Instant::now()));
    }

    /// There is no program here any more, and no task. Those that are on their way here go back to where they came from:
    /// they were never in the program.
    fn is_gone(&mut self, tell: impl FnOnce(&mut Schedule<Job>, usize)) {
        let mut schedule = self.pool.schedule();
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Work(job) => schedule.give_back(self.place, job.id, job),
                // What is meant has failed already, or waits again; there it is found to be unwanted when it comes back.
                Order::Cancel(_) => {}
                Order::Close => self.is_closing = true,
            }
        }
        tell(&mut schedule, self.place);
        drop(schedule);
        self.pool.dispatch();
    }

    async fn fail(&mut self, problem: &str) {
        let status = match self.running.take() {
            Some(running) => running.program.fail().await,
            None => None,
        };
        for run in self.runs.drain(..) {
            if run.reply.is_some() {
                tracing::error!(task = run.task_id, problem, status, "the agent program failed");
            }
            run.answer(failed());
        }
    }

    /// A moment has come that was waited for.
    async fn on_time(&mut self) {
        let now = Instant::now();
        self.look_whether_it_reads(now).await;
        let Some(running) = &mut self.running else { return };
        if running.speaks != Protocol::Two {
            let Some(run) = self.runs.first() else { return };
            if run.deadline <= now && run.reply.is_some() {
                return match (run.phase, running.has_answered) {
                    (Phase::Offered { .. }, false) => {
                        self.not_started("it has not read its task in time").await
                    }
                    _ => self.broke("the program gave no answer in time").await,
                };
            }
            if run.bear_until.is_some_and(|until| until <= now) {
                tracing::info!(
                    task = run.task_id,
                    "a cancelled task goes on for too long: the program is started anew"
                );
                self.broke("it was cancelled").await;
            }
            return;
        }
        let mut late = Vec::new();
        for run in &mut self.runs {
            if run.deadline <= now && run.bear_until.is_none() {
                tracing::error!(
                    task = run.task_id,
                    problem = "no answer in time",
                    "the agent program failed"
                );
                if let Some(reply) = run.reply.take() {
                    let _ = reply.send(failed());
                    running.program.send(lines::cancel(&run.task_id).as_bytes());
                }
                run.bear_until = Some(now + STOP_GRACE);
                late.push(run.job);
            }
        }
        for job in late {
            self.pool.schedule().strike(self.place, job, now);
        }
    }

    /// Ends a program of the second protocol in which nothing is left but what it was told to stop.
    async fn end_if_stuck(&mut self) {
        let now = Instant::now();
        let is_stuck = |run: &Run| run.bear_until.is_some_and(|until| until <= now);
        let is_two = self.running.as_ref().is_some_and(|running| running.speaks == Protocol::Two);
        if !is_two || self.runs.is_empty() || !self.runs.iter().all(is_stuck) {
            return;
        }
        tracing::warn!("the agent program does not stop what it was told to stop: it is started anew");
        if let Some(running) = self.running.take() {
            running.program.kill().await;
        }
        self.runs.clear();
        self.is_gone(Schedule::down);
    }

    /// Whether the program waits for the end of its line now; if so, it gets it.
    async fn look_whether_it_reads(&mut self, now: Instant) {
        let Some(running) = &mut self.running else { return };
        let Some(run) = self.runs.last_mut() else { return };
        let Phase::Offered { since, look_at } = run.phase else { return };
        if look_at > now {
            return;
        }
        if !running.program.has_read_everything() {
            let next = (now.saturating_duration_since(since) / 8).clamp(FIRST_LOOK, LAST_LOOK);
            run.phase = Phase::Offered { since, look_at: now + next };
            return;
        }
        // In this order: what it has said before it read is in the pipe now.
        if running.program.has_said_something() {
            self.read().await;
            // The beginning of its first line: the rest of it will come.
            if self.runs.iter().any(|run| matches!(run.phase, Phase::Offered { .. })) {
                self.look_again(now);
            }
            return;
        }
        self.complete();
    }

    fn look_again(&mut self, now: Instant) {
        for run in &mut self.runs {
            if let Phase::Offered { look_at, .. } = &mut run.phase {
                *look_at = now + FIRST_LOOK;
            }
        }
    }

    /// When to look again though nothing happens.
    fn next_moment(&self) -> Option<Instant> {
        let now = Instant::now();
        let moment = |run: &Run| match (run.phase, run.bear_until) {
            (Phase::Offered { look_at, .. }, _) => Some(look_at),
            // One that is stuck waits for the others in its program.
            (Phase::Asked, Some(until)) => (until > now || self.runs.len() == 1).then_some(until),
            (Phase::Asked, None) => Some(run.deadline),
        };
        self.runs.iter().filter_map(moment).min()
    }

    async fn close(&mut self) {
        self.orders.close();
        if let Some(running) = self.running.take() {
            // An idle one may end by itself.
            if self.runs.is_empty() { running.program.end().await } else { running.program.kill().await }
        }
        for run in self.runs.drain(..) {
            run.answer(Err(HandlerError("the agent is ending".to_owned())));
        }
    }
}

impl Run {
    fn answer(self, result: Result<Reply, HandlerError>) {
        if let Some(reply) = self.reply {
            let _ = reply.send(result);
        }
    }
}

fn failed() -> Result<Reply, HandlerError> {
    Err(HandlerError("the agent program failed".to_owned()))
}

async fn happening(running: &mut Option<Running>) -> Happening {
    match running {
        Some(running) => running.program.happening().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
