//! Handlers: what answers a task. A Rust closure, or any program that speaks JSON lines.

mod content;
mod event;
mod program;
mod reply;
mod speech;
mod task;
mod worker;

pub use content::Content;
#[cfg(fuzzing)]
pub(crate) use program::fuzz;
pub use program::{CommandHandler, CommandSettings, guard_or_continue};
pub use reply::{HandlerError, Reply, ReplyState};
pub use task::{Canceled, ChatMessage, HandlerTask};
pub use worker::HandlerWorker;

use futures_util::future::BoxFuture;
use std::future::Future;

/// Answers tasks. Called for many tasks at the same time.
///
/// When the task is cancelled, its token is; 5 s later the future is dropped. Nothing that it says after that counts.
pub trait Handler: Send + Sync + 'static {
    /// Answers one task. A panic fails that task only.
    fn handle(&self, task: HandlerTask) -> BoxFuture<'static, Result<Reply, HandlerError>>;

    /// Whether a message may be handled again that was being handled when the agent's process ended: by another replica, or at the
    /// next start, where the task store lasts. Say so if doing it twice does no harm. Otherwise its task fails, with the reason
    /// `interrupted`. The setting `resumable` says it for any handler.
    fn is_resumable(&self) -> bool {
        false
    }

    /// Ends whatever the handler has running, at the agent's end.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

impl<F, Answer, R> Handler for F
where
    F: Fn(HandlerTask) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<R, HandlerError>> + Send + 'static,
    R: Into<Reply>,
{
    fn handle(&self, task: HandlerTask) -> BoxFuture<'static, Result<Reply, HandlerError>> {
        let answer = self(task);
        Box::pin(async move { answer.await.map(Into::into) })
    }
}

/// Says back what it is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct EchoHandler;

impl Handler for EchoHandler {
    fn handle(&self, task: HandlerTask) -> BoxFuture<'static, Result<Reply, HandlerError>> {
        Box::pin(async move { Ok(Reply::from(task.text())) })
    }

    fn is_resumable(&self) -> bool {
        true
    }
}
