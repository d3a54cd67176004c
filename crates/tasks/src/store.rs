//! The seam to where tasks are kept. The docs of [`TaskStore`] are its contract; `conformance` tests it.

use crate::{Figures, Owner};
use async_trait::async_trait;
use bindu_a2a::{
    Json,
    call::PushConfig,
    event::TaskEvent,
    model::{Message, Task, TaskState},
};
use jiff::Timestamp;
use std::sync::Arc;
use tokio::sync::watch;

/// A task's key: an id means something only together with its owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TaskKey {
    /// The owner.
    pub owner: Owner,
    /// The id.
    pub id: String,
}

/// One run of the handler on a task. What a run says after it was superseded, cancelled or taken over does not count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunKey {
    /// The task.
    pub task: TaskKey,
    /// The run's number, counted from 1 for each task.
    pub run: u64,
}

/// What must not be done twice: the hash of a signed request (32 bytes), and until when it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReplayKey {
    /// SHA-256 of DID and signed payload.
    pub hash: [u8; 32],
    /// When it may be forgotten.
    pub until: Timestamp,
}

/// A message to be kept.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Whose.
    pub owner: Owner,
    /// The message, with the ids of its task and its conversation, which the service has chosen if the caller did not.
    pub message: Arc<Message>,
    /// Whether the task may be new. If not, an unknown one is [`StoreError::NotFound`].
    pub may_begin: bool,
    /// SHA-256 of the message's content: the same messageId with the same hash is the same message; with another one it
    /// is another message. `None` with authentication off, where every message is new.
    pub content: Option<[u8; 32]>,
    /// The signed request that it came in, if it was signed.
    pub replay: Option<ReplayKey>,
    /// Where to send the task's events from now on.
    pub push: Option<PushConfig>,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The task with the message in it.
    pub task: Snapshot,
    /// The run that has to work on it: whoever gets it is the only one who does. `None` if this very message is here already and
    /// its run was given to somebody.
    pub run: Option<RunKey>,
    /// The run that it supersedes, whose handler is to be stopped.
    pub superseded: Option<RunKey>,
}

/// A task as it is after some event.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The task.
    pub task: Task,
    /// The number of the last event in it.
    pub number: u64,
}

/// An event with its number: 1, 2, 3 ... for each task, without gaps.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbered {
    /// The number.
    pub number: u64,
    /// The event.
    pub event: TaskEvent,
}

/// A task that was cancelled.
#[derive(Debug, Clone, PartialEq)]
pub struct Canceled {
    /// The task.
    pub task: Snapshot,
    /// The run whose handler is to be stopped, if there is one.
    pub run: Option<RunKey>,
}

/// Which tasks of an owner.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListQuery {
    /// Only this conversation's.
    pub context_id: Option<String>,
    /// Only in this state.
    pub state: Option<TaskState>,
    /// Only those whose status changed at this time or later.
    pub changed_since: Option<Timestamp>,
    /// At most so many, at least 1.
    pub page_size: usize,
    /// Where the last page ended: a cursor of this store's. Empty for the first page.
    pub page_token: String,
    /// Whether with artifacts.
    pub with_artifacts: bool,
    /// A page ends before it has more than so many bytes of content, but not before its first task. Nothing for any.
    pub page_bytes: Option<usize>,
    /// A store that would copy more than so many bytes for the page answers with [`StoreError::Heavy`]. Nothing for any.
    pub light: Option<usize>,
}

/// A page of tasks, newest status first. A task that changes while pages are read may be missed or come twice; none that
/// does not change is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// The cursor of the next page; empty if there is none.
    pub next_page_token: String,
    /// How many there are in all.
    pub total_size: usize,
}

/// A conversation of an owner's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub id: String,
    /// The ids of its tasks, oldest first.
    pub tasks: Vec<String>,
    /// When the status of one of them changed last.
    pub changed: Timestamp,
}

/// A run that nobody works on any more: its lease has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Abandoned {
    /// A new run of the task, which is the taker's; the old one counts no more.
    pub run: RunKey,
    /// The task.
    pub task: Snapshot,
}

/// A push configuration with what is due to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    /// The task.
    pub task: TaskKey,
    /// The configuration.
    pub config: PushConfig,
    /// Whether its secrets are in it. If not, they are sealed with a key that this process does not have, and nothing may be
    /// sent.
    pub is_open: bool,
    /// The number of the last event that was delivered.
    pub delivered: u64,
    /// How often the next one was tried in vain.
    pub failures: u32,
}

/// The kinds of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageKind {
    /// The memory of this process.
    Memory,
    /// A file of SQLite.
    Sqlite,
    /// A database of PostgreSQL.
    Postgres,
}

impl StorageKind {
    /// The name in `/health`: Python Bindu's, if it has the same kind of store.
    #[must_use]
    pub fn backend(self) -> &'static str {
        match self {
            Self::Memory => "InMemoryStorage",
            Self::Sqlite => "SqliteStorage",
            Self::Postgres => "PostgresStorage",
        }
    }

    /// The label in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    /// Whether the store is a server, which may be away while this process runs.
    #[must_use]
    pub fn is_remote(self) -> bool {
        self == Self::Postgres
    }
}

/// Told of the number of a task's last event whenever there is a new one; it may be told late, and of several at once.
pub type Watch = watch::Receiver<u64>;

/// Why a store did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The owner has no such task (or the task no such configuration).
    #[error("not found")]
    NotFound,
    /// The task has ended.
    #[error("the task has ended")]
    Ended(TaskState),
    /// The run counts no more: superseded, cancelled, taken over, or its task is forgotten.
    #[error("the run counts no more")]
    Superseded,
    /// The task's last event has another number than was said.
    #[error("the task's last event has the number {0}")]
    Moved(u64),
    /// The signed request was done before, for this task.
    #[error("the request was done before")]
    Replayed(TaskKey),
    /// It would never fit.
    #[error("longer than what is kept for one owner")]
    TooLarge,
    /// The owner has too many unfinished tasks.
    #[error("too many unfinished tasks of this owner")]
    TooMany,
    /// The owner has too many signed requests that are remembered.
    #[error("too many signed requests of this owner")]
    TooManyRemembered,
    /// There are too many unfinished tasks in all, or no room in memory.
    #[error("no room for more unfinished tasks")]
    Full,
    /// The disk or the file is full. Nothing was changed: the same call again is safe, and succeeds when there is room.
    #[error("the task store's disk is full")]
    NoSpace,
    /// It has so many bytes, about, and not that many were asked for: they would be copied.
    #[error("it has {0} bytes")]
    Heavy(usize),
    /// The cursor is not one of this store's.
    #[error("the page token is not valid")]
    BadPageToken,
    /// The store does not answer. Whether it did what it was asked to is not known: the same call again is safe for each
    /// method that says so.
    #[error("the task store is unavailable: {0}")]
    Unavailable(String),
}

/// Where tasks are kept.
///
/// Each method is atomic: it is done wholly or not at all, and what has returned `Ok` is there for every later call, of any
/// process that shares the store, and after a crash if the store is durable. A future that is dropped has done all or
/// nothing; which of the two is not known. No method holds a lock while it copies, serialises or waits for its caller.
/// Another owner's task is not there: the answer is [`StoreError::NotFound`], exactly as for an unknown id.
#[async_trait]
pub trait TaskStore: Send + Sync + 'static {
    /// Keeps a message: it begins a task or continues one, whose state becomes submitted; a new run is numbered, an unfinished
    /// earlier one is superseded; messageId, replay key and push configuration are kept in the same commit.
    ///
    /// Safe to repeat with the same message if `content` is there: the second call changes nothing and gives no run, unless that is
    /// nobody's.
    ///
    /// A run is given once. If the answer to a commit is lost ([`StoreError::Unavailable`]), or the future is dropped in the middle, the
    /// message may be stored and its run is nobody's. As long as its lease lasts and nothing has happened to it, this process (and no
    /// other: the lease is its own) gives it to the first call with the same message, or to [`TaskStore::recover`]. Another
    /// process gets the task without a run. If nobody asks here, the run is abandoned when its lease has ended.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Ended`], [`StoreError::Replayed`], [`StoreError::TooLarge`],
    /// [`StoreError::TooMany`], [`StoreError::TooManyRemembered`], [`StoreError::Full`], [`StoreError::NoSpace`],
    /// [`StoreError::Unavailable`].
    async fn submit(&self, submission: Submission) -> Result<Submitted, StoreError>;

    /// What has become of a message whose submission here was answered with [`StoreError::Unavailable`]: the stored task, with its
    /// run if that is nobody's; nothing if it is sure that this attempt has stored nothing. Safe to repeat: the run is given once.
    /// A store that answers at once or not at all has lost no answer.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it is not known yet: a commit on its way may be done at any later time.
    async fn recover(&self, _submission: &Submission) -> Result<Option<Submitted>, StoreError> {
        Ok(None)
    }

    /// Adds events of a run, all or none, and gives the number of the last one. A run whose task has ended is superseded: a
    /// terminal status can only be the last of the events. After a status that waits for the caller the run still counts, without a
    /// lease. The store's own clock renews the run's lease.
    ///
    /// Safe to repeat with `after`, the number of the task's last event so far: an attempt whose answer was lost may be stored
    /// at any later time, and [`TaskStore::read`] cannot tell. Nobody else adds events while a run counts, so
    /// [`StoreError::Moved`] with the number that is expected says that an earlier attempt was stored.
    ///
    /// # Errors
    /// [`StoreError::Superseded`], also for a terminal status that is not the last event; [`StoreError::Moved`];
    /// [`StoreError::TooLarge`] if there is no room for a result (a failure without content always fits);
    /// [`StoreError::NoSpace`] if the disk is full; [`StoreError::Unavailable`].
    async fn append_after(
        &self,
        run: &RunKey,
        after: Option<u64>,
        events: Vec<TaskEvent>,
    ) -> Result<u64, StoreError>;

    /// Adds events of a run, whatever the last one's number is. Not safe to repeat.
    ///
    /// # Errors
    /// As [`TaskStore::append_after`].
    async fn append(&self, run: &RunKey, events: Vec<TaskEvent>) -> Result<u64, StoreError> {
        self.append_after(run, None, events).await
    }

    /// Cancels a task that has not ended: its status becomes canceled, its run counts no more. Safe to repeat: then it is
    /// [`StoreError::Ended`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Ended`], [`StoreError::Unavailable`].
    async fn cancel(&self, task: &TaskKey) -> Result<Canceled, StoreError>;

    /// A task as it is now. A store that forgets ended tasks for want of room forgets those first that were read.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unavailable`].
    async fn read(&self, task: &TaskKey) -> Result<Snapshot, StoreError>;

    /// The same, if it need not copy more than so many bytes. A store that shares its contents copies none.
    ///
    /// # Errors
    /// [`StoreError::Heavy`], and those of [`TaskStore::read`].
    async fn read_light(&self, task: &TaskKey, _light: usize) -> Result<Snapshot, StoreError> {
        self.read(task).await
    }

    /// The conversation that a task belongs to.
    ///
    /// # Errors
    /// As [`TaskStore::read`].
    async fn context_id(&self, task: &TaskKey) -> Result<String, StoreError> {
        Ok(self.read(task).await?.task.context_id)
    }

    /// A page of an owner's tasks.
    ///
    /// # Errors
    /// [`StoreError::BadPageToken`], [`StoreError::Unavailable`].
    async fn list(&self, owner: &Owner, query: &ListQuery) -> Result<TaskPage, StoreError>;

    /// A task's events with numbers above `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unavailable`].
    async fn events(&self, task: &TaskKey, after: u64, limit: usize) -> Result<Vec<Numbered>, StoreError>;

    /// Those of them that are statuses.
    ///
    /// # Errors
    /// As [`TaskStore::events`].
    async fn statuses(&self, task: &TaskKey, after: u64, limit: usize) -> Result<Vec<Numbered>, StoreError> {
        let mut events = self.events(task, after, limit).await?;
        let is_status = |event: &Numbered| matches!(event.event, TaskEvent::Status(_));
        // The last one tells how far it was looked.
        let last = events.last().map(|event| event.number);
        events.retain(|event| is_status(event) || Some(event.number) == last);
        Ok(events)
    }

    /// Is told when a task has new events. For a task that is not there it is never told.
    fn watch(&self, task: &TaskKey) -> Watch;

    /// Renews the leases of runs that are worked on here; gives those that are lost, whose handlers are to be stopped.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn renew(&self, runs: &[RunKey]) -> Result<Vec<RunKey>, StoreError>;

    /// Gives up the leases of runs, so that they are taken over at once. What is not theirs any more is left alone.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn release(&self, runs: &[RunKey]) -> Result<(), StoreError>;

    /// Takes over runs whose lease has ended, at most `limit`. Each is given to exactly one caller.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn take_abandoned(&self, limit: usize) -> Result<Vec<Abandoned>, StoreError>;

    /// Notes a signed request that changes something else than a message would, before it is done; the task may be unknown.
    /// Not safe to repeat: that is what it is for.
    ///
    /// # Errors
    /// [`StoreError::Replayed`] with the task that was noted first, [`StoreError::TooManyRemembered`],
    /// [`StoreError::Unavailable`].
    async fn remember(&self, task: &TaskKey, replay: &ReplayKey) -> Result<(), StoreError>;

    /// Keeps a caller's judgement on a task: a JSON object. A later one takes its place.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::TooLarge`], [`StoreError::Unavailable`].
    async fn put_feedback(&self, task: &TaskKey, feedback: Json) -> Result<(), StoreError>;

    /// Keeps a push configuration under its id, in place of an earlier one. Its deliveries begin with what comes next; of a task
    /// that has ended, with its last event. Safe to repeat.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::TooMany`], [`StoreError::Unavailable`].
    async fn put_push(&self, task: &TaskKey, config: PushConfig) -> Result<(), StoreError>;

    /// A task's push configurations, in the order of their ids. One whose secrets can no longer be opened comes without them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unavailable`].
    async fn pushes(&self, task: &TaskKey) -> Result<Vec<PushConfig>, StoreError>;

    /// Deletes a push configuration. Safe to repeat: then it is [`StoreError::NotFound`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unavailable`].
    async fn delete_push(&self, task: &TaskKey, id: &str) -> Result<(), StoreError>;

    /// Claims configurations to which something is due, at most `limit`, those first that
    /// have been due for longest, for one lease (a minute): no other caller gets them meanwhile. A claim of which nothing is noted
    /// comes again when its lease has ended.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn due_pushes(&self, limit: usize) -> Result<Vec<Pushed>, StoreError>;

    /// Notes the outcome of a delivery: delivered up to this event, or failed once more and due again at that time. A
    /// configuration whose task has ended and that is delivered wholly is forgotten.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unavailable`].
    async fn note_push(
        &self,
        task: &TaskKey,
        id: &str,
        outcome: Result<u64, Timestamp>,
    ) -> Result<(), StoreError>;

    /// An owner's conversations, the one that changed last first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn contexts(&self, owner: &Owner, limit: usize) -> Result<Vec<Conversation>, StoreError>;

    /// Forgets an owner's conversation with all of its tasks; how many. Runs of them count no more.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unavailable`].
    async fn forget_context(&self, owner: &Owner, context_id: &str) -> Result<usize, StoreError>;

    /// Whether what it keeps outlives the process.
    fn lasts(&self) -> bool;

    /// The kind of store.
    fn kind(&self) -> StorageKind;

    /// Figures for metrics, if the store counts any. Never waits.
    fn figures(&self) -> Option<Figures> {
        None
    }

    /// Which history of the store events are read from: another one after a failover, where the last events of the one before may be
    /// lost and their numbers given again. Never waits: it is as the store was found when it was asked last.
    fn timeline(&self) -> u64 {
        0
    }

    /// One setting or command that helps against what makes the store unavailable, if that is known. Never waits.
    fn hint(&self) -> Option<String> {
        None
    }

    /// Whether the store can be reached, for `/health` and `/readyz`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn check(&self) -> Result<(), StoreError>;
}
