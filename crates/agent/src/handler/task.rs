//! What a handler gets.

use super::{
    Content, HandlerError,
    speech::{RESULT, Speech},
};
use bindu_a2a::{
    Json, Part,
    model::{Message, Role},
};
use bindu_client::AgentClient;
use bindu_tasks::{Caller, Job, OutletClosed};
use serde::Serialize;
use std::{
    fmt,
    sync::{Arc, OnceLock},
};
use tokio_util::sync::CancellationToken;

/// What a handler gets: the message to answer, and what there is around it; and the means to say something before the answer.
/// Clones are about the same task.
#[derive(Clone)]
pub struct HandlerTask {
    /// The task's id.
    pub task_id: String,
    /// The conversation.
    pub context_id: String,
    /// The message, as A2A has it.
    pub message: Arc<Message>,
    /// The messages of this task, oldest first; `message` is the last one.
    pub history: Vec<Arc<Message>>,
    /// How many times the message has been handled, with this one: more than 1 where the agent's process has ended meanwhile and the
    /// handler is resumable.
    pub attempt: u32,
    /// The caller. Without the token's scopes if `attempt` is more than 1.
    pub caller: Caller,
    /// Calls other agents, as this one.
    pub agent: AgentClient,
    /// Cancelled when the answer is not wanted any more: the task was cancelled, or another message came. A handler that goes on
    /// is dropped after 5 s.
    pub canceled: CancellationToken,
    /// Once somebody has asked for it.
    text: Arc<OnceLock<String>>,
    job: Job,
    speech: Arc<Speech>,
}

/// A message as a language model wants it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatMessage {
    /// `user`, `agent` or `system`.
    pub role: String,
    /// The message's parts as one text.
    pub content: String,
    /// The parts as A2A 1.0 has them, unless all of them are texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<Json>,
}

/// The answer is not wanted any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task is not worked on any more")]
pub struct Canceled;

impl From<OutletClosed> for Canceled {
    fn from(_: OutletClosed) -> Self {
        Self
    }
}

impl HandlerTask {
    pub(super) fn new(job: Job, agent: AgentClient, speech: Arc<Speech>) -> Self {
        Self {
            task_id: job.task.id.clone(),
            context_id: job.task.context_id.clone(),
            text: Arc::default(),
            message: Arc::clone(&job.message),
            history: job.task.history.clone(),
            attempt: job.attempt,
            caller: job.caller.clone(),
            agent,
            canceled: job.canceled.clone(),
            speech,
            job,
        }
    }

    /// The message as text: one part a line.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.get_or_init(|| self.message.parts.as_text())
    }

    /// The parts of the message: texts, files and data.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.message.parts.iter()
    }

    /// The messages of this task as a language model wants them, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<ChatMessage> {
        self.history.iter().map(|message| ChatMessage::of(message)).collect()
    }

    /// The messages of the whole conversation, earlier tasks included, oldest first.
    ///
    /// # Errors
    /// If the task store is unavailable.
    pub async fn conversation(&self) -> Result<Vec<ChatMessage>, HandlerError> {
        let earlier = self.job.conversation().await?;
        let messages = earlier.iter().flat_map(|task| &task.history).chain(&self.history);
        Ok(messages.map(|message| ChatMessage::of(message)).collect())
    }

    /// Says how far it is, for a person.
    ///
    /// # Errors
    /// [`Canceled`].
    pub async fn progress(&self, text: &str) -> Result<(), Canceled> {
        Ok(self.speech.progress(text).await?)
    }

    /// Writes a piece of the result's text, for callers that read as it comes. If the reply is [`super::Reply::done`], the
    /// pieces are the result; a reply with content takes their place.
    ///
    /// # Errors
    /// [`Canceled`].
    pub async fn write(&self, text: &str) -> Result<(), Canceled> {
        self.write_to(RESULT, text).await
    }

    /// The same for an artifact of another name.
    ///
    /// # Errors
    /// [`Canceled`].
    pub async fn write_to(&self, artifact: &str, text: &str) -> Result<(), Canceled> {
        Ok(self.speech.write(artifact, text).await?)
    }

    /// Gives a whole artifact, signed.
    ///
    /// # Errors
    /// [`Canceled`].
    pub async fn artifact(&self, name: &str, content: impl Into<Content>) -> Result<(), Canceled> {
        Ok(self.speech.artifact(name, &content.into()).await?)
    }
}

impl fmt::Debug for HandlerTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerTask").field("task_id", &self.task_id).finish_non_exhaustive()
    }
}

impl ChatMessage {
    fn of(message: &Message) -> Self {
        let role = match message.role {
            Role::User => "user",
            Role::Agent => "agent",
            Role::System => "system",
        };
        let is_text = |part: Part<'_>| matches!(part.content, bindu_a2a::Content::Text(_));
        let parts = (!message.parts.iter().all(is_text)).then(|| message.parts.json().clone());
        Self { role: role.to_owned(), content: message.parts.as_text(), parts }
    }
}
