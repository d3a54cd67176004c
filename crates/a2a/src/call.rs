//! What can be asked of an agent, and what it answers, whatever the dialect and the binding.

use crate::{
    Json,
    dialect::Dialect,
    event::ArtifactChunk,
    model::{Message, Task, TaskState, TaskStatus},
};
use jiff::Timestamp;
use std::sync::Arc;

/// A call.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// A message, answered by its task or by a message.
    Send(Box<SendRequest>),
    /// The same, answered by a stream.
    Stream(Box<SendRequest>),
    /// A task.
    Get {
        /// Which.
        task_id: String,
        /// How many messages of its history; all, if it does not say.
        history_length: Option<usize>,
    },
    /// The caller's tasks.
    List(ListRequest),
    /// Cancels a task.
    Cancel {
        /// Which.
        task_id: String,
        /// Metadata: a JSON object.
        metadata: Option<Json>,
    },
    /// The rest of a task's stream.
    Subscribe {
        /// Which.
        task_id: String,
        /// The number of the last event that the caller has (SSE's `Last-Event-ID`); without it the current task comes first.
        after: Option<u64>,
    },
    /// Sets a push configuration.
    CreatePush(PushConfig),
    /// Reads one.
    GetPush {
        /// The task.
        task_id: String,
        /// The configuration; the first one, if the dialect lets callers leave it out.
        id: Option<String>,
    },
    /// Reads all of a task.
    ListPush {
        /// The task.
        task_id: String,
        /// At most so many.
        page_size: Option<usize>,
        /// The cursor of the page.
        page_token: String,
    },
    /// Deletes one.
    DeletePush {
        /// The task.
        task_id: String,
        /// The configuration; all of the task's, if the dialect lets callers leave it out.
        id: Option<String>,
    },
    /// The card for authenticated callers.
    ExtendedCard,
    /// A conversation's tasks, as Python Bindu lists them.
    ListContexts {
        /// At most so many.
        length: Option<usize>,
    },
    /// Forgets a conversation and its tasks.
    ClearContext {
        /// Which.
        context_id: String,
    },
    /// A caller's judgement on a task.
    Feedback {
        /// Which.
        task_id: String,
        /// What the caller says: a JSON object.
        feedback: Json,
    },
}

impl Call {
    /// Whether it changes nothing.
    #[must_use]
    pub fn reads(&self) -> bool {
        matches!(
            self,
            Self::Get { .. }
                | Self::List(_)
                | Self::Subscribe { .. }
                | Self::GetPush { .. }
                | Self::ListPush { .. }
                | Self::ExtendedCard
                | Self::ListContexts { .. }
        )
    }

    /// Whether its answer is a stream.
    #[must_use]
    pub fn streams(&self) -> bool {
        matches!(self, Self::Stream(_) | Self::Subscribe { .. })
    }
}

/// A message for the agent.
#[derive(Debug, Clone, PartialEq)]
pub struct SendRequest {
    /// The message. Without a task id it begins a task.
    pub message: Message,
    /// The media types that the caller takes; empty for any.
    pub accepted_output_modes: Vec<String>,
    /// How many messages of the history the answer has; all, if it does not say.
    pub history_length: Option<usize>,
    /// Whether the answer waits until the task has ended or waits for its caller.
    pub is_blocking: bool,
    /// Where to send the task's events.
    pub push: Option<PushConfig>,
    /// Metadata of the request: a JSON object.
    pub metadata: Option<Json>,
    /// What a task id means that the caller has no task of.
    pub unknown_task: UnknownTask,
    /// The extensions that the call activates, by their URIs. The binding's headers say so, not the message.
    pub extensions: Vec<String>,
}

impl SendRequest {
    /// A request that says nothing but its message, as A2A 1.0 has it: its answer waits for the task.
    #[must_use]
    pub fn of(message: Message) -> Self {
        Self {
            message,
            accepted_output_modes: Vec::new(),
            history_length: None,
            is_blocking: true,
            push: None,
            metadata: None,
            unknown_task: UnknownTask::IsNotFound,
            extensions: Vec::new(),
        }
    }
}

/// What a message's task id means that its caller has no task of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownTask {
    /// A new task of this id (Python Bindu: callers choose the ids).
    IsNew,
    /// A mistake (A2A: the agent chooses the ids).
    IsNotFound,
}

/// Which tasks, and how much of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListRequest {
    /// Only this conversation's.
    pub context_id: Option<String>,
    /// Only in this state.
    pub state: Option<TaskState>,
    /// Only those whose status changed at this time or later.
    pub changed_since: Option<Timestamp>,
    /// At most so many; the default, if it does not say.
    pub page_size: Option<usize>,
    /// Where the last page ended; empty for the first one.
    pub page_token: String,
    /// How many messages of each history.
    pub history_length: Option<usize>,
    /// Whether with artifacts.
    pub include_artifacts: bool,
}

/// Where to send a task's events.
#[derive(Clone, PartialEq)]
pub struct PushConfig {
    /// Its id, unique within the task; empty until one is chosen.
    pub id: String,
    /// The task; empty in one that comes with a task's first message.
    pub task_id: String,
    /// The URL.
    pub url: String,
    /// Sent along, so that the receiver knows its own; a secret.
    pub token: Option<String>,
    /// How we authenticate.
    pub authentication: Option<PushAuthentication>,
    /// The dialect of the caller that has set it: its receiver is told events in the same one.
    pub dialect: Dialect,
}

/// How we authenticate to the receiver of events.
#[derive(Clone, PartialEq)]
pub struct PushAuthentication {
    /// An HTTP authentication scheme, `Bearer` for example.
    pub scheme: String,
    /// What comes behind it; a secret.
    pub credentials: Option<String>,
}

impl std::fmt::Debug for PushConfig {
    /// Without its secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushConfig")
            .field("id", &self.id)
            .field("task_id", &self.task_id)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PushAuthentication {
    /// Without its secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushAuthentication").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// An answer that is not a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The task of a message that was sent. (A2A 1.0 shows it otherwise than a task that was asked for.)
    Sent(TaskView),
    /// A task that was asked for, or cancelled.
    Found(TaskView),
    /// A message in place of a task.
    Message(Arc<Message>),
    /// Some of the caller's tasks.
    Tasks(TaskPage),
    /// A push configuration.
    Push(PushConfig),
    /// A task's push configurations.
    Pushes {
        /// The page.
        configs: Vec<PushConfig>,
        /// The cursor of the next one; empty if there is none.
        next_page_token: String,
    },
    /// It was deleted.
    Deleted,
    /// A card, ready to be sent.
    Card(Json),
    /// What a method of Python Bindu's answers, in its own form.
    Bindu(Json),
}

/// A task as its caller asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskView {
    /// The task.
    pub task: Task,
    /// How many messages of its history are shown, counted from the newest; all, if `None`.
    pub history_length: Option<usize>,
    /// Whether its artifacts are shown.
    pub with_artifacts: bool,
}

/// A page of tasks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskPage {
    /// The tasks, newest status first.
    pub tasks: Vec<TaskView>,
    /// The cursor of the next page; empty if there is none.
    pub next_page_token: String,
    /// The size that was used.
    pub page_size: usize,
    /// How many tasks there are in all.
    pub total_size: usize,
}

/// One thing in a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamItem {
    /// The number of the task's event that it comes from, or up to which it tells.
    pub number: u64,
    /// What it says.
    pub event: StreamEvent,
}

/// What one thing in a stream says.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamEvent {
    /// The whole task, as it is now.
    Task(Task),
    /// A message in place of a task; nothing follows.
    Message(Arc<Message>),
    /// A new status.
    Status {
        /// The task.
        task_id: String,
        /// Its conversation.
        context_id: String,
        /// The status.
        status: TaskStatus,
        /// Whether nothing follows.
        is_final: bool,
    },
    /// A result, or a chunk of one.
    Artifact {
        /// The task.
        task_id: String,
        /// Its conversation.
        context_id: String,
        /// The chunk.
        chunk: Arc<ArtifactChunk>,
    },
}

impl TaskView {
    /// All of a task.
    #[must_use]
    pub fn whole(task: Task) -> Self {
        Self { task, history_length: None, with_artifacts: true }
    }

    /// The messages that are shown.
    #[must_use]
    pub fn history(&self) -> &[Arc<Message>] {
        let hidden = self.history_length.map_or(0, |length| self.task.history.len().saturating_sub(length));
        self.task.history.get(hidden..).unwrap_or_default()
    }
}

impl Answer {
    /// The bytes of its JSON, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Sent(view) | Self::Found(view) => view.bytes(),
            Self::Message(message) => message.bytes(),
            Self::Tasks(page) => page.tasks.iter().map(TaskView::bytes).sum(),
            Self::Card(json) | Self::Bindu(json) => json.text().len(),
            Self::Push(_) | Self::Pushes { .. } | Self::Deleted => 0,
        }
    }
}

impl TaskView {
    fn bytes(&self) -> usize {
        let history: usize = self.history().iter().map(|message| message.bytes()).sum();
        let artifacts = if self.with_artifacts { self.task.artifacts.as_slice() } else { &[] };
        history + artifacts.iter().map(|artifact| artifact.bytes()).sum::<usize>() + self.task.outline()
    }
}

impl Task {
    /// The bytes of what is beside history and artifacts, about.
    fn outline(&self) -> usize {
        let message = self.status.message.as_ref().map_or(0, |message| message.bytes());
        size_of::<Self>() + message + self.metadata.as_ref().map_or(0, |metadata| metadata.text().len())
    }
}

impl StreamEvent {
    /// The bytes of its JSON, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Task(task) => {
                let history: usize = task.history.iter().map(|message| message.bytes()).sum();
                history
                    + task.artifacts.iter().map(|artifact| artifact.bytes()).sum::<usize>()
                    + task.outline()
            }
            Self::Message(message) => message.bytes(),
            Self::Status { status, .. } => 256 + status.message.as_ref().map_or(0, |message| message.bytes()),
            Self::Artifact { chunk, .. } => 256 + chunk.bytes(),
        }
    }
}
