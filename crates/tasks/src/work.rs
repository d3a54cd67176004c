//! The seam to what answers tasks: a [`Worker`] gets a [`Job`] and tells what comes of it through an [`Outlet`].

use crate::{Caller, ListQuery, RunKey, StoreError, TaskStore};
use bindu_a2a::{
    event::TaskEvent,
    model::{Message, Task, TaskState, TaskStatus},
};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How many earlier tasks of a conversation a worker sees at most.
const MAX_CONVERSATION: usize = 100;

/// Answers tasks. Called for many tasks at the same time.
///
/// The future ends when the work has ended: with a status that is terminal or waits for the caller. One that ends without,
/// or panics, fails its task and no other. When the [`Job`]'s token is cancelled nothing that it says counts any more; it gets a
/// short time to end by itself, then it is dropped.
pub trait Worker: Send + Sync + 'static {
    /// Answers one message.
    fn work(&self, job: Job, outlet: Outlet) -> BoxFuture<'static, ()>;

    /// Whether a message whose run has ended with its process may be worked on again, by another process that shares the store or at
    /// the next start. Otherwise its task fails: what a run has done outside is not known.
    fn is_resumable(&self) -> bool {
        false
    }

    /// Ends whatever the worker has running, at the agent's end.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A message to be answered.
#[derive(Clone)]
pub struct Job {
    /// The run.
    pub run: RunKey,
    /// The task, with the message as the last one of its history.
    pub task: Task,
    /// The message.
    pub message: Arc<Message>,
    /// How many times the message has been worked on, with this one: 1, or more where processes have ended.
    pub attempt: u32,
    /// The extensions of A2A that the call has activated, by their URIs; `None` if the message is worked on again, when the call is over.
    pub extensions: Option<Vec<String>>,
    /// The caller.
    pub caller: Caller,
    /// Cancelled when the task is, when another message supersedes this run, and when its lease is lost.
    pub canceled: CancellationToken,
    pub(crate) store: Arc<dyn TaskStore>,
}

impl Job {
    /// Whether the result is to be as this extension says: the call has activated it, or nobody knows any more.
    #[must_use]
    pub fn may_have_activated(&self, uri: &str) -> bool {
        self.extensions.as_ref().is_none_or(|extensions| extensions.iter().any(|known| known == uri))
    }

    /// The earlier tasks of this conversation, oldest first, at most 100.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn conversation(&self) -> Result<Vec<Task>, StoreError> {
        let query = ListQuery {
            context_id: Some(self.task.context_id.clone()),
            page_size: MAX_CONVERSATION + 1,
            with_artifacts: true,
            ..ListQuery::default()
        };
        let mut tasks = self.store.list(&self.run.task.owner, &query).await?.tasks;
        tasks.retain(|task| task.id != self.task.id);
        tasks.truncate(MAX_CONVERSATION);
        tasks.reverse();
        Ok(tasks)
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("run", &self.run).finish_non_exhaustive()
    }
}

/// Takes what a worker says about its task. Clones say things about the same task.
#[derive(Debug, Clone)]
pub struct Outlet {
    events: mpsc::Sender<TaskEvent>,
    /// The ids of the task and its conversation.
    task_id: Arc<str>,
    context_id: Arc<str>,
    /// The last status that waits for the caller or is terminal.
    settled: Arc<Mutex<Option<TaskState>>>,
}

/// What is said about the task does not count any more: it has ended, was cancelled, or is another run's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task is not worked on here any more")]
pub struct OutletClosed;

impl Outlet {
    pub(crate) fn new(events: mpsc::Sender<TaskEvent>, task: &Task) -> Self {
        let (task_id, context_id) = (task.id.as_str().into(), task.context_id.as_str().into());
        Self { events, task_id, context_id, settled: Arc::default() }
    }

    /// Tells an event. Waits while earlier ones are being stored.
    ///
    /// # Errors
    /// [`OutletClosed`]: the worker may stop.
    pub async fn tell(&self, event: TaskEvent) -> Result<(), OutletClosed> {
        let state = match &event {
            TaskEvent::Status(status) if !status.state.is_active() => Some(status.state),
            _ => None,
        };
        let is_over = || *self.lock();
        if is_over().is_some_and(TaskState::is_terminal) {
            return Err(OutletClosed);
        }
        self.events.send(event).await.map_err(|_| OutletClosed)?;
        if state.is_some() {
            *self.lock() = state;
        }
        Ok(())
    }

    /// Tells a new status, with what the agent says about it.
    ///
    /// # Errors
    /// [`OutletClosed`]: the worker may stop.
    pub async fn status(&self, state: TaskState, message: Option<Message>) -> Result<(), OutletClosed> {
        let message = message.map(Arc::new);
        self.tell(TaskEvent::Status(TaskStatus { state, message, timestamp: Timestamp::now() })).await
    }

    /// Answers with a message in place of a task: what a caller that waits gets, if nothing was told before. The message's
    /// task id is left empty: that is how it is known.
    ///
    /// # Errors
    /// [`OutletClosed`]: the worker may stop.
    pub async fn message(&self, message: Message) -> Result<(), OutletClosed> {
        let message = Message { task_id: String::new(), ..message };
        self.status(TaskState::Completed, Some(message)).await
    }

    /// A message of the agent's about this task.
    #[must_use]
    pub fn of_agent(&self, parts: bindu_a2a::Parts) -> Message {
        Message::of_agent(&self.task_id, &self.context_id, parts)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<TaskState>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
