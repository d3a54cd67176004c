//! The core model: tasks, messages and artifacts as A2A 1.0 has them.
//!
//! What a caller sends is kept as JSON text ([`Parts`], [`Json`]): exactly, with its numbers, and at the cost of its
//! bytes. What is shared between a task, its log and its readers lies behind an [`Arc`], so that reading never copies it.

use crate::{Json, Parts};
use jiff::Timestamp;
use std::sync::Arc;

/// What an agent was asked to do, and what came of it. It is the fold of its events ([`Task::apply`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Unique for its owner.
    pub id: String,
    /// The conversation that it belongs to.
    pub context_id: String,
    /// The current status.
    pub status: TaskStatus,
    /// The messages, oldest first.
    pub history: Vec<Arc<Message>>,
    /// The results, in the order of their first chunks.
    pub artifacts: Vec<Arc<Artifact>>,
    /// Metadata: a JSON object.
    pub metadata: Option<Json>,
}

/// The status of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskStatus {
    /// The state.
    pub state: TaskState,
    /// What the agent says about it: a question, a failure, progress.
    pub message: Option<Arc<Message>>,
    /// Since when.
    pub timestamp: Timestamp,
}

/// The states of A2A 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// Accepted, not begun.
    Submitted,
    /// Begun.
    Working,
    /// Ended with a result.
    Completed,
    /// Ended without a result.
    Failed,
    /// Ended at its caller's request.
    Canceled,
    /// Refused by the agent.
    Rejected,
    /// Waits for another message.
    InputRequired,
    /// Waits for an authorisation.
    AuthRequired,
}

impl TaskState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Submitted,
        Self::Working,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
        Self::Rejected,
        Self::InputRequired,
        Self::AuthRequired,
    ];

    /// Whether nothing can change any more.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled | Self::Rejected)
    }

    /// Whether it is worked on, or will be.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Submitted | Self::Working)
    }

    /// Whether it waits for its caller.
    #[must_use]
    pub fn is_interrupted(self) -> bool {
        matches!(self, Self::InputRequired | Self::AuthRequired)
    }
}

/// The author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The caller.
    User,
    /// The agent.
    Agent,
    /// Not in A2A 1.0, where it is shown as the user's; Python Bindu's callers may send it.
    System,
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its id, chosen by its author.
    pub id: String,
    /// The conversation; empty in a message that begins one.
    pub context_id: String,
    /// The task; empty in a message that begins one.
    pub task_id: String,
    /// The author.
    pub role: Role,
    /// The content.
    pub parts: Parts,
    /// Metadata: a JSON object.
    pub metadata: Option<Json>,
    /// Extension URIs: a JSON list of strings.
    pub extensions: Option<Json>,
    /// Ids of other tasks that are meant: a JSON list of strings.
    pub reference_task_ids: Option<Json>,
}

/// A result. A result that is streamed is put together from its chunks, which stay apart: appending copies nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// Its id, unique within its task.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its description, for a person.
    pub description: Option<String>,
    /// The content: the parts of each chunk.
    pub chunks: Vec<Arc<Parts>>,
    /// Metadata: a JSON object.
    pub metadata: Option<Json>,
    /// Extension URIs: a JSON list of strings.
    pub extensions: Option<Json>,
}

impl Task {
    /// The bytes of its messages, and of its artifacts if they count.
    #[must_use]
    pub fn content_bytes(&self, with_artifacts: bool) -> usize {
        let artifacts = self.artifacts.iter().map(|artifact| artifact.bytes());
        let artifacts: usize = if with_artifacts { artifacts.sum() } else { 0 };
        artifacts + self.history.iter().map(|message| message.bytes()).sum::<usize>()
    }
}

impl Message {
    /// A message of the agent's about a task.
    #[must_use]
    pub fn of_agent(task_id: &str, context_id: &str, parts: Parts) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            context_id: context_id.to_owned(),
            task_id: task_id.to_owned(),
            role: Role::Agent,
            parts,
            metadata: None,
            extensions: None,
            reference_task_ids: None,
        }
    }

    /// The bytes that keeping it costs, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let json = |json: &Option<Json>| json.as_ref().map_or(0, |json| json.text().len());
        size_of::<Self>()
            + self.id.len()
            + self.context_id.len()
            + self.task_id.len()
            + self.parts.text().len()
            + json(&self.metadata)
            + json(&self.extensions)
            + json(&self.reference_task_ids)
    }
}

impl Artifact {
    /// The bytes that keeping it costs, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let json = |json: &Option<Json>| json.as_ref().map_or(0, |json| json.text().len());
        let texts: usize = [&self.name, &self.description].into_iter().flatten().map(String::len).sum();
        let chunks: usize = self.chunks.iter().map(|parts| parts.text().len()).sum();
        size_of::<Self>() + self.id.len() + texts + chunks + json(&self.metadata) + json(&self.extensions)
    }

    /// Its parts, chunk after chunk.
    pub fn parts(&self) -> impl Iterator<Item = crate::Part<'_>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}
