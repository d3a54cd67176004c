//! Handlers: what answers a task. A Rust closure, or any program that speaks JSON lines.

mod event;
mod program;
mod worker;

#[cfg(fuzzing)]
pub(crate) use program::fuzz;
pub use program::{CommandHandler, CommandSettings, guard_or_continue};
pub use worker::HandlerWorker;

use crate::caller::Caller;
use bindu_client::{AgentClient, CallError};
use futures_util::future::BoxFuture;
use serde::Serialize;
use std::future::Future;

/// What a handler gets.
#[derive(Debug, Clone)]
pub struct HandlerTask {
    /// The task's id.
    pub task_id: String,
    /// The conversation.
    pub context_id: String,
    /// What was said in this task, oldest first.
    pub messages: Vec<ChatMessage>,
    /// Who is calling.
    pub caller: Caller,
    /// Calls other agents, as this one.
    pub agent: AgentClient,
}

/// One thing said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatMessage {
    /// `user`, `agent` or `system`.
    pub role: String,
    /// The message's parts as one text.
    pub content: String,
}

/// What a handler answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The text.
    pub content: String,
    /// Where it leaves the task.
    pub state: ReplyState,
}

/// Where an answer leaves a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyState {
    /// Done: the text is the result, signed.
    #[default]
    Completed,
    /// The text is a question.
    InputRequired,
    /// The text says what authorisation is missing.
    AuthRequired,
    /// The text says why there is no result.
    Failed,
}

/// Why a handler has no answer. The text goes to the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HandlerError(pub String);

impl From<CallError> for HandlerError {
    /// Without the particulars: they are for this agent's log, not for its caller.
    fn from(error: CallError) -> Self {
        tracing::warn!(%error, cause = std::error::Error::source(&error), "another agent could not be called");
        Self("another agent that is needed for this could not be called".to_owned())
    }
}

/// Answers tasks. Called for many tasks at the same time.
///
/// A dropped future means that the task was cancelled; nothing that it does afterwards counts.
pub trait Handler: Send + Sync + 'static {
    /// Answers one task. A panic fails that task only.
    fn handle(&self, task: HandlerTask) -> BoxFuture<'static, Result<Reply, HandlerError>>;

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

impl HandlerTask {
    /// The last thing said, or nothing.
    #[must_use]
    pub fn text(&self) -> &str {
        self.messages.last().map_or("", |message| message.content.as_str())
    }
}

impl Reply {
    /// A question back.
    pub fn question(content: impl Into<String>) -> Self {
        Self { content: content.into(), state: ReplyState::InputRequired }
    }

    /// No result, and why.
    pub fn failed(content: impl Into<String>) -> Self {
        Self { content: content.into(), state: ReplyState::Failed }
    }
}

impl<T: Into<String>> From<T> for Reply {
    fn from(content: T) -> Self {
        Self { content: content.into(), state: ReplyState::Completed }
    }
}

/// Says back what it is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct EchoHandler;

impl Handler for EchoHandler {
    fn handle(&self, task: HandlerTask) -> BoxFuture<'static, Result<Reply, HandlerError>> {
        Box::pin(async move { Ok(Reply::from(task.text())) })
    }
}
