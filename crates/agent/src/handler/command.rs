//! A handler that is a program in any language: one JSON line in for each task, one JSON line out
//! (`docs/HANDLERS.md`).
//!
//! Owns the program's life: it is started when it is needed, gets one task at a time, and is ended and started again,
//! with back-off, when it crashes, hangs or answers with something that is no JSON. Whatever it does, that task fails
//! and no other.

use super::{Handler, HandlerError, HandlerTask, Reply, ReplyState};
use futures_util::future::{BoxFuture, join_all};
use rustix::process::Pid;
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::HashSet,
    process::Stdio,
    sync::{
        Arc, Mutex as StdMutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
    time::timeout,
};

/// The pauses before a program that fails again and again is started once more.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The longest line that is read from the program, in bytes: the usual limit of a request's body.
const LONGEST_LINE: u64 = 2 * 1024 * 1024;

/// How long a program may take to end by itself when its input ends.
const FAREWELL: Duration = Duration::from_secs(3);

/// Which program, and how it is run.
#[derive(Debug, Clone)]
pub struct CommandSettings {
    /// The program and its arguments; not empty.
    pub command: Vec<String>,
    /// How long it may take for one task.
    pub timeout: Duration,
    /// How many of it run at the same time.
    pub workers: usize,
}

/// Answers tasks by a program.
pub struct CommandHandler {
    pool: Arc<Pool>,
}

struct Pool {
    settings: CommandSettings,
    workers: Vec<Mutex<Worker>>,
    turns: tokio::sync::Semaphore,
    next: AtomicUsize,
    /// For `close`, which must not wait for a task's turn.
    closing: StdMutex<bool>,
    /// The process groups that are running, for `close` to end those of busy workers.
    groups: Groups,
}

/// The process groups of running programs.
type Groups = Arc<StdMutex<HashSet<Pid>>>;

/// One place for a running program.
#[derive(Default)]
struct Worker {
    program: Option<Program>,
    failures: u32,
    /// Not before this moment.
    rest_until: Option<Instant>,
}

struct Program {
    child: Child,
    /// Closed when the program is to end.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    started: Instant,
    group: Option<Pid>,
    groups: Groups,
}

/// A line of the program's.
#[derive(Deserialize)]
struct Answer {
    content: String,
    #[serde(default)]
    state: String,
    /// Where it is there, it must be the task's.
    task_id: Option<String>,
}

impl CommandHandler {
    /// A handler that starts its program with the first task.
    #[must_use]
    pub fn new(settings: CommandSettings) -> Self {
        let workers = settings.workers.max(1);
        Self {
            pool: Arc::new(Pool {
                workers: (0..workers).map(|_| Mutex::default()).collect(),
                turns: tokio::sync::Semaphore::new(workers),
                next: AtomicUsize::new(0),
                closing: StdMutex::new(false),
                groups: Groups::default(),
                settings,
            }),
        }
    }
}

impl Handler for CommandHandler {
    fn handle(&self, task: HandlerTask) -> BoxFuture<'static, Result<Reply, HandlerError>> {
        let pool = Arc::clone(&self.pool);
        Box::pin(async move { pool.answer(task).await })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            *self.pool.closing.lock().unwrap_or_else(PoisonError::into_inner) = true;
            // Idle programs may end by themselves, all at the same time.
            let idle = self.pool.workers.iter().filter_map(|worker| worker.try_lock().ok()?.program.take());
            join_all(idle.map(Program::end)).await;
            // Those that are still busy may not.
            for group in self.pool.groups.lock().unwrap_or_else(PoisonError::into_inner).drain() {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
        })
    }
}

impl Pool {
    async fn answer(&self, task: HandlerTask) -> Result<Reply, HandlerError> {
        let failed = |text: &str| HandlerError(text.to_owned());
        let _turn = self.turns.acquire().await.map_err(|_| failed("the agent is ending"))?;
        let mut worker = self.free_worker().await;
        if *self.closing.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(failed("the agent is ending"));
        }
        // Taken out: where this future is dropped on the way (a cancelled task), the program goes with it, since what
        // it says next would be taken for the answer to the next task.
        // One that has ended in between, or has said more than was asked, is of no use: what it has said would be taken
        // for the answer to this task.
        let program = worker.program.take().and_then(|mut program| program.is_usable().then_some(program));
        let rest = worker.rest_until.map(|until| until.saturating_duration_since(Instant::now()));
        let program = match program {
            Some(program) => Ok(program),
            None => {
                tokio::time::sleep(rest.unwrap_or_default()).await;
                Program::start(&self.settings.command, &self.groups)
            }
        };
        let problem = match program {
            Err(error) => format!("the program could not be started: {error}"),
            Ok(mut program) => match timeout(self.settings.timeout, program.ask(&task)).await {
                Ok(Ok(reply)) => {
                    worker.failures = 0;
                    worker.program = Some(program);
                    return Ok(reply);
                }
                Ok(Err(problem)) => program.fail(problem).await,
                Err(_) => program.fail("the program gave no answer in time".to_owned()).await,
            },
        };
        worker.rest();
        tracing::error!(task = task.task_id, problem, failures = worker.failures, "the agent program failed");
        Err(failed("the agent program failed"))
    }

    async fn free_worker(&self) -> tokio::sync::MutexGuard<'_, Worker> {
        for worker in &self.workers {
            if let Ok(worker) = worker.try_lock() {
                return worker;
            }
        }
        // Turns are as many as workers, so one is about to be free.
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        match self.workers.get(next) {
            Some(worker) => worker.lock().await,
            None => unreachable!("a remainder is smaller than its divisor"),
        }
    }
}

impl Worker {
    fn rest(&mut self) {
        let pause = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(self.failures)).min(LONGEST_PAUSE);
        self.failures += 1;
        self.rest_until = Some(Instant::now() + pause);
    }
}

impl Program {
    fn start(command: &[String], groups: &Groups) -> std::io::Result<Self> {
        let (name, arguments) =
            command.split_first().ok_or_else(|| std::io::Error::other("the command is empty"))?;
        let mut command = Command::new(name);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        // A group of its own: a Ctrl-C at the terminal ends the agent, and the agent ends its program.
        command.process_group(0);
        // Our secrets are none of its business.
        for secret in ["VAULT__TOKEN", "VAULT_TOKEN"] {
            command.env_remove(secret);
        }
        let mut child = command.spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        match (input, output) {
            (Some(input), Some(output)) => {
                tracing::info!(program = name, pid = child.id(), "started the agent program");
                let group = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
                groups.lock().unwrap_or_else(PoisonError::into_inner).extend(group);
                Ok(Self {
                    child,
                    input: Some(input),
                    output: BufReader::new(output),
                    started: Instant::now(),
                    group,
                    groups: Arc::clone(groups),
                })
            }
            _ => Err(std::io::Error::other("its input and output could not be connected")),
        }
    }

    fn is_usable(&mut self) -> bool {
        self.output.buffer().is_empty() && matches!(self.child.try_wait(), Ok(None))
    }

    async fn ask(&mut self, task: &HandlerTask) -> Result<Reply, String> {
        let mut line = json!({
            "task_id": task.task_id,
            "context_id": task.context_id,
            "messages": task.messages,
            "caller": task.caller.to_json(),
        })
        .to_string();
        line.push('\n');
        let broken = |error: std::io::Error| format!("the program ended: {error}");
        let input = self.input.as_mut().ok_or("its input is closed")?;
        input.write_all(line.as_bytes()).await.map_err(broken)?;
        input.flush().await.map_err(broken)?;

        let mut answer = Vec::new();
        let mut limited = (&mut self.output).take(LONGEST_LINE);
        limited.read_until(b'\n', &mut answer).await.map_err(broken)?;
        if answer.last() != Some(&b'\n') {
            return Err(if answer.len() as u64 == LONGEST_LINE {
                "its answer is longer than 2 MiB".to_owned()
            } else {
                "it ended without an answer".to_owned()
            });
        }
        let answer: Answer = serde_json::from_slice(&answer)
            .map_err(|error| format!("its answer is not a line of JSON: {error}"))?;
        if answer.task_id.as_ref().is_some_and(|id| *id != task.task_id) {
            return Err("its answer is to another task".to_owned());
        }
        let state = match answer.state.as_str() {
            "" | "completed" => ReplyState::Completed,
            "input-required" => ReplyState::InputRequired,
            "auth-required" => ReplyState::AuthRequired,
            "failed" => ReplyState::Failed,
            other => return Err(format!("its answer has the unknown state `{other}`")),
        };
        Ok(Reply { content: answer.content, state })
    }

    /// Ends a program that failed, and says how it ended if it did so by itself.
    async fn fail(mut self, problem: String) -> String {
        // It may be about to end: its exit status says more than a broken pipe.
        let ended = timeout(Duration::from_millis(200), self.child.wait()).await;
        let lived = self.started.elapsed();
        match ended {
            Ok(Ok(status)) => format!("{problem} ({status} after {} s)", lived.as_secs()),
            // What is left of it goes when it is dropped.
            _ => problem,
        }
    }

    /// Lets the program end by itself; what does not is killed when it is dropped.
    async fn end(mut self) {
        drop(self.input.take());
        let _ = timeout(FAREWELL, self.child.wait()).await;
    }
}

impl Drop for Program {
    /// The whole group: what the program has started itself goes with it.
    fn drop(&mut self) {
        let Some(group) = self.group else { return };
        let is_listed = self.groups.lock().unwrap_or_else(PoisonError::into_inner).remove(&group);
        // Once its leader was waited for, the number may be somebody else's.
        if is_listed && self.child.id().is_some() {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}
