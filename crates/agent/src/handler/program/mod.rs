//! A handler that is a program in any language: JSON lines on its stdin and stdout (docs/HANDLERS.md).
//!
//! Owns the programs' lives: they are started when they are needed, and ended and started again when they crash, hang or
//! say what nobody has asked for. Whatever a program does, no caller gets another's answer, and none waits for what
//! another has broken.
//!
//! A task's way: [`pool`] takes it, [`schedule`] says where it goes and when, a [`worker`] speaks with the program by
//! its [`lines`] through the pipes of its [`process`], which a [`guard`] ends with all that it has started.

mod guard;
mod lines;
mod orphans;
mod pool;
mod process;
mod relay;
mod schedule;
mod worker;

pub use guard::guard_or_continue;

use super::{Handler, HandlerError, HandlerTask, Reply};
use futures_util::future::BoxFuture;
use std::{sync::Arc, time::Duration};

/// Which program, and how it is run.
///
/// Programs are started through this same executable: its `main` begins with [`guard_or_continue`].
#[derive(Debug, Clone)]
pub struct CommandSettings {
    /// The program and its arguments; not empty.
    pub command: Vec<String>,
    /// How long it may take for one task.
    pub timeout: Duration,
    /// How many of it run at the same time.
    pub workers: usize,
    /// The variables of the agent's environment that it does not get: those that hold secrets.
    pub hidden_variables: Vec<String>,
    /// Takes each line that the program writes to stderr, its line feed included, and does not wait for anything; without it
    /// stderr is this process's own.
    pub errors: Option<fn(&[u8])>,
    /// Whether this process has no children but these programs, so that all orphans that come to it can be reaped.
    pub owns_process: bool,
}

/// Answers tasks by a program.
pub struct CommandHandler {
    pool: Arc<pool::Pool>,
}

impl CommandHandler {
    /// A handler that starts its program with the first task. To be made before the server raises the limit on open
    /// files: programs get the limit of this moment.
    #[must_use]
    pub fn new(settings: CommandSettings) -> Self {
        Self { pool: Arc::new(pool::Pool::new(settings, worker::spawn)) }
    }
}

impl Handler for CommandHandler {
    fn handle(&self, task: HandlerTask) -> BoxFuture<'static, Result<Reply, HandlerError>> {
        Box::pin(Arc::clone(&self.pool).answer(task))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.pool.close())
    }
}

/// Reads a program's line as both protocols do.
#[cfg(fuzzing)]
pub(crate) fn fuzz(line: &[u8]) {
    let _ = (lines::hello(line), lines::answer(line), lines::event(line), lines::shown(line));
}
