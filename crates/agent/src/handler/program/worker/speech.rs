//! What a program says, and what it means for the tasks that are with it.

use super::{HELD_BACK, Phase, Protocol, STOP_GRACE, Worker, failed};
use crate::handler::{
    HandlerError, Reply,
    program::{lines, process::TooLong, schedule::Schedule},
};
use std::time::Instant;

/// How many useless lines of one program are told in the log.
const TOLD_LINES: u32 = 10;

impl Worker {
    /// Sends the end of a line that is held back.
    pub(super) fn complete(&mut self) {
        let Some(running) = &mut self.running else { return };
        for run in &mut self.runs {
            if matches!(run.phase, Phase::Offered { .. }) {
                let end = run.line.len().saturating_sub(HELD_BACK);
                running.program.send(run.line.as_bytes().get(end..).unwrap_or_default());
                run.phase = Phase::Asked;
            }
        }
    }

    /// Reads what the program has said.
    pub(super) async fn read(&mut self) {
        while let Some(running) = &mut self.running {
            match running.program.take_line() {
                Ok(Some(line)) => self.line(&line).await,
                Ok(None) => break,
                Err(TooLong(begun)) => {
                    if let Some(problem) = self.too_long(&begun) {
                        return self.broke(problem).await;
                    }
                }
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
                Ok(Some(concurrency)) => return self.greeted(concurrency),
                Err(problem) => return self.not_started(&problem).await,
            }
        }
        match running.speaks {
            Protocol::Two => self.event(line),
            _ => self.answer(line).await,
        }
    }

    /// The program speaks the second protocol.
    fn greeted(&mut self, concurrency: usize) {
        self.complete();
        let Some(running) = &mut self.running else { return };
        running.speaks = Protocol::Two;
        // What was cancelled so far was to end by itself.
        for run in self.runs.iter_mut().filter(|run| run.reply.is_none()) {
            run.grace_until = Some(Instant::now() + STOP_GRACE);
            running.program.send(lines::cancel(&run.task_id).as_bytes());
        }
        self.pool.schedule().up(self.place, concurrency);
        self.pool.dispatch();
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
        match lines::answer(line) {
            Err(problem) => self.broke(&problem).await,
            Ok(answer) if answer.task_id.as_ref().is_some_and(|id| *id != run.task_id) => {
                let problem = format!("its answer is to another task: {}", lines::shown(line));
                self.answered_for_another(&problem).await;
            }
            Ok(answer) if answer.task_id.is_none() && running.echoes => {
                let problem =
                    format!("its answer lacks the `task_id` of its earlier ones: {}", lines::shown(line));
                self.answered_for_another(&problem).await;
            }
            Ok(answer) => {
                running.echoes = answer.task_id.is_some();
                self.finish(0, Ok(Reply { content: answer.content, state: answer.state }));
            }
        }
    }

    /// A line that belongs to another task has come for this one, which nobody is to blame for who asks now.
    async fn answered_for_another(&mut self, problem: &str) {
        if self.running.as_ref().is_some_and(|running| running.has_answered) {
            self.fail(problem).await;
            self.is_gone(Schedule::down);
        } else {
            self.not_started(problem).await;
        }
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
        let told = event.as_ref().ok().filter(|event| event.is_told()).cloned();
        match event.and_then(|event| run.fold.take(event)) {
            Ok(None) => {
                if let Some(told) = told.filter(|_| run.reply.is_some()) {
                    run.teller.tell(told);
                }
            }
            Ok(Some(reply)) => self.finish(position, Ok(reply)),
            Err(problem) => {
                tracing::error!(task = task_id, problem, "the agent program failed");
                self.finish(position, failed());
            }
        }
    }

    /// A line that is too long fails its own task, in the second protocol; what is the matter where it can't be told which.
    fn too_long(&mut self, begun: &[u8]) -> Option<&'static str> {
        let speaks_two = self.running.as_ref().is_some_and(|running| running.speaks == Protocol::Two);
        let position = lines::begun_about(begun)
            .filter(|_| speaks_two)
            .and_then(|task_id| self.runs.iter().position(|run| run.task_id == task_id));
        let problem = "its line is longer than 2 MiB";
        let Some(position) = position else { return Some(problem) };
        if let Some(run) = self.runs.get(position) {
            tracing::error!(task = run.task_id, problem, "the agent program failed");
        }
        self.finish(position, failed());
        None
    }

    /// A task has its answer.
    pub(super) fn finish(&mut self, position: usize, result: Result<Reply, HandlerError>) {
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
    pub(super) async fn surplus(&mut self, said: &[u8]) {
        tracing::warn!(
            line = lines::shown(said),
            "the agent program wrote more than was asked: it is started anew"
        );
        self.anew().await;
    }
}
