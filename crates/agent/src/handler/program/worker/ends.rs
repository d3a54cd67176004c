//! How a program ends, by itself or because its time is over, and what becomes of its tasks.

use super::{Order, POLL_OF_HALF_A_LINE, Phase, Protocol, Run, STOP_GRACE, Worker, failed, next_poll};
use crate::handler::program::{lines, pool::Job, schedule::Schedule};
use std::time::{Duration, Instant};

/// How long a program that waits for its first task may leave its first line without an end.
const HALF_A_LINE: Duration = Duration::from_secs(5);

impl Worker {
    /// Ends the program; a task that it has not seen wholly goes to the next one.
    pub(super) async fn anew(&mut self) {
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
    pub(super) async fn ended(&mut self) {
        // What it has said last.
        self.read().await;
        let Some(running) = self.running.take() else { return };
        let has_answered = running.has_answered;
        let ended = running.program.fail().await;
        let problem = match &ended {
            Some(status) => format!("it ended without an answer ({status})"),
            None => "it closed its stdout without an answer".to_owned(),
        };
        if self.runs.iter().any(|run| run.phase == Phase::Asked) {
            return self.broke(&problem).await;
        }
        if !self.runs.is_empty() && !has_answered {
            return self.not_started(&problem).await;
        }
        // It was idle, or as good as that.
        tracing::info!(status = ended, "the agent program has ended between two tasks");
        self.again_or_down().await;
    }

    /// The program has failed with the tasks that it has.
    pub(super) async fn broke(&mut self, problem: &str) {
        self.fail(problem).await;
        self.is_gone(|schedule, place| schedule.broke(place, Instant::now()));
    }

    /// The program has failed by itself.
    pub(super) async fn not_started(&mut self, problem: &str) {
        self.fail(problem).await;
        self.is_gone(|schedule, place| schedule.not_started(place, Instant::now()));
    }

    /// There is no program here any more, and no task. Those that are on their way here go back to where they came from:
    /// they were never in the program.
    pub(super) fn is_gone(&mut self, tell: impl FnOnce(&mut Schedule<Job>, usize)) {
        let mut schedule = self.pool.schedule();
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Work(job) => schedule.give_back(self.place, job.id, *job),
                // What is meant has failed already, or waits again; there it is found to be unwanted when it comes back.
                Order::Cancel(_) => {}
                Order::Close => self.is_closing = true,
            }
        }
        tell(&mut schedule, self.place);
        drop(schedule);
        self.pool.dispatch();
    }

    pub(super) async fn fail(&mut self, problem: &str) {
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
    pub(super) async fn on_time(&mut self) {
        let now = Instant::now();
        self.poll_whether_it_reads(now).await;
        let Some(running) = &self.running else { return };
        if running.speaks == Protocol::Two {
            return self.stop_what_is_late(now);
        }
        let Some(run) = self.runs.first() else { return };
        if run.deadline <= now && run.reply.is_some() {
            return match (run.phase, running.has_answered) {
                (Phase::Offered { .. }, false) => self.not_started("it has not read its task in time").await,
                _ => self.broke("the program gave no answer in time").await,
            };
        }
        if run.grace_until.is_some_and(|until| until <= now) {
            tracing::info!(
                task = run.task_id,
                "a cancelled task goes on for too long: the program is started anew"
            );
            self.broke("it was cancelled").await;
        }
    }

    /// Fails the tasks whose time is over, and asks a program of the second protocol to stop them.
    fn stop_what_is_late(&mut self, now: Instant) {
        let Some(running) = &mut self.running else { return };
        let mut late = Vec::new();
        for run in &mut self.runs {
            if run.deadline <= now && run.grace_until.is_none() {
                tracing::error!(
                    task = run.task_id,
                    problem = "no answer in time",
                    "the agent program failed"
                );
                if let Some(reply) = run.reply.take() {
                    let _ = reply.send(failed().into());
                    running.program.send(lines::cancel(&run.task_id).as_bytes());
                }
                run.grace_until = Some(now + STOP_GRACE);
                late.push(run.job);
            }
        }
        for job in late {
            self.pool.schedule().strike(self.place, job, now);
        }
    }

    /// Ends a program of the second protocol in which nothing is left but what it was told to stop.
    pub(super) async fn end_if_stuck(&mut self) {
        let now = Instant::now();
        let is_stuck = |run: &Run| run.grace_until.is_some_and(|until| until <= now);
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
    async fn poll_whether_it_reads(&mut self, now: Instant) {
        let Some(running) = &mut self.running else { return };
        let Some(run) = self.runs.last_mut() else { return };
        let Phase::Offered { since, poll_at } = run.phase else { return };
        if poll_at > now {
            return;
        }
        if running.program.is_deaf() {
            let problem = "it has closed its stdin, from which it reads its tasks";
            return match running.has_answered {
                false => self.not_started(problem).await,
                true => {
                    tracing::warn!(problem, "the agent program is started anew");
                    self.anew().await;
                }
            };
        }
        if !running.program.has_read_everything() {
            let next = next_poll(now.saturating_duration_since(since));
            run.phase = Phase::Offered { since, poll_at: now + next };
            return;
        }
        // In this order: what it has said before it read is in the pipe now.
        if running.program.has_said_something() {
            self.read().await;
            // The beginning of its first line: the rest of it will come. If not, it is a prompt.
            let waits = |run: &&Run| matches!(run.phase, Phase::Offered { .. });
            let Some(run) = self.runs.iter().find(waits) else { return };
            let Phase::Offered { since, .. } = run.phase else { return };
            match &self.running {
                Some(running) if now.saturating_duration_since(since) > HALF_A_LINE => {
                    let problem = format!(
                        "it has written to stdout before it was asked anything, and no end of the line: {}",
                        lines::shown(running.program.said())
                    );
                    self.not_started(&problem).await;
                }
                _ => self.poll_again(now),
            }
            return;
        }
        self.complete();
    }

    fn poll_again(&mut self, now: Instant) {
        for run in &mut self.runs {
            if let Phase::Offered { poll_at, .. } = &mut run.phase {
                *poll_at = now + POLL_OF_HALF_A_LINE;
            }
        }
    }

    /// When to look again though nothing happens.
    pub(super) fn next_moment(&self) -> Option<Instant> {
        let now = Instant::now();
        let moment = |run: &Run| match (run.phase, run.grace_until) {
            (Phase::Offered { poll_at, .. }, _) => Some(poll_at),
            // One that is stuck waits for the others in its program.
            (Phase::Asked, Some(until)) => (until > now || self.runs.len() == 1).then_some(until),
            (Phase::Asked, None) => Some(run.deadline),
        };
        self.runs.iter().filter_map(moment).min()
    }
}
