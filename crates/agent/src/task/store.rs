//! The tasks in memory. Each belongs to its caller: another's task is not there.
//!
//! Bounded in number and size: the oldest finished tasks are forgotten first.

use super::{Artifact, Message, Task, TaskState, TaskStatus};
use crate::{caller::Owner, clock};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// How many tasks are kept, and how much their messages and artifacts may hold together.
const MOST_TASKS: usize = 10_000;
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// A task's key: an id means something only together with its owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TaskKey {
    /// Whose.
    pub owner: Owner,
    /// Which.
    pub id: String,
}

/// Why a task could not be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// There is none for this caller.
    #[error("task not found")]
    NotFound,
    /// It has ended.
    #[error("the task has ended")]
    Ended(TaskState),
    /// There are too many unfinished tasks.
    #[error("too many unfinished tasks")]
    Full,
}

/// All tasks of an agent.
#[derive(Debug, Default)]
pub struct Tasks(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tasks: HashMap<TaskKey, Entry>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    task: Task,
    /// Order of creation.
    number: u64,
    bytes: usize,
}

impl Tasks {
    /// Adds a message: to the unfinished task that it names, or to a new one. Returns the task as it is now.
    ///
    /// # Errors
    /// [`TaskError::Ended`] for a finished task, [`TaskError::Full`] where no task can be forgotten.
    pub fn submit(&self, key: &TaskKey, mut message: Message) -> Result<Task, TaskError> {
        let inner = &mut *self.lock();
        let status = TaskStatus { state: TaskState::Submitted, timestamp: clock::timestamp() };
        let bytes = size_of_message(&message);
        if let Some(entry) = inner.tasks.get(key)
            && entry.task.status.state.is_terminal()
        {
            return Err(TaskError::Ended(entry.task.status.state));
        }
        let new_tasks = usize::from(!inner.tasks.contains_key(key));
        inner.make_room(new_tasks, bytes)?;
        if let Some(entry) = inner.tasks.get_mut(key) {
            // What belongs to a task belongs to its conversation.
            message.context_id.clone_from(&entry.task.context_id);
            entry.task.status = status;
            entry.task.history.push(message);
            entry.bytes += bytes;
            let task = entry.task.clone();
            inner.bytes += bytes;
            return Ok(task);
        }
        let task = Task {
            id: key.id.clone(),
            context_id: message.context_id.clone(),
            status,
            history: vec![message],
            artifacts: Vec::new(),
        };
        let number = inner.next;
        inner.next += 1;
        inner.bytes += bytes;
        inner.tasks.insert(key.clone(), Entry { task: task.clone(), number, bytes });
        Ok(task)
    }

    /// A task.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], for another's task too.
    pub fn read(&self, key: &TaskKey) -> Result<Task, TaskError> {
        self.lock().tasks.get(key).map(|entry| entry.task.clone()).ok_or(TaskError::NotFound)
    }

    /// A caller's tasks, oldest first.
    #[must_use]
    pub fn list(&self, owner: &Owner) -> Vec<Task> {
        let inner = self.lock();
        let mut entries: Vec<&Entry> =
            inner.tasks.iter().filter(|(key, _)| key.owner == *owner).map(|(_, entry)| entry).collect();
        entries.sort_by_key(|entry| entry.number);
        entries.into_iter().map(|entry| entry.task.clone()).collect()
    }

    /// Cancels a task.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], or [`TaskError::Ended`].
    pub fn cancel(&self, key: &TaskKey) -> Result<Task, TaskError> {
        let mut inner = self.lock();
        let entry = inner.tasks.get_mut(key).ok_or(TaskError::NotFound)?;
        if entry.task.status.state.is_terminal() {
            return Err(TaskError::Ended(entry.task.status.state));
        }
        entry.task.status = TaskStatus { state: TaskState::Canceled, timestamp: clock::timestamp() };
        Ok(entry.task.clone())
    }

    /// Notes that work has begun; `None` where there is nothing to work on any more.
    pub(crate) fn begin(&self, key: &TaskKey) -> Option<Task> {
        let mut inner = self.lock();
        let entry = inner.tasks.get_mut(key).filter(|entry| entry.task.status.state.is_active())?;
        entry.task.status = TaskStatus { state: TaskState::Working, timestamp: clock::timestamp() };
        Some(entry.task.clone())
    }

    /// Notes what the work has brought, unless the task was cancelled or continued in between.
    pub(crate) fn end(&self, key: &TaskKey, state: TaskState, message: Message, artifact: Option<Artifact>) {
        let mut inner = self.lock();
        let Some(entry) = inner.tasks.get_mut(key) else { return };
        if entry.task.status.state != TaskState::Working {
            return;
        }
        let bytes = size_of_message(&message) + artifact.as_ref().map_or(0, |artifact| size(&artifact.parts));
        entry.task.status = TaskStatus { state, timestamp: clock::timestamp() };
        entry.task.history.push(message);
        entry.task.artifacts.extend(artifact);
        entry.bytes += bytes;
        inner.bytes += bytes;
    }

    /// How many tasks are being worked on, or will be.
    #[must_use]
    pub fn active(&self) -> usize {
        self.lock().tasks.values().filter(|entry| entry.task.status.state.is_active()).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Forgets the oldest tasks that nobody works on until so many more tasks of so many bytes fit.
    fn make_room(&mut self, tasks: usize, bytes: usize) -> Result<(), TaskError> {
        let fits =
            |inner: &Self| inner.tasks.len() + tasks <= MOST_TASKS && inner.bytes + bytes <= MOST_BYTES;
        if fits(self) {
            return Ok(());
        }
        let mut finished: Vec<((bool, u64), TaskKey)> = self
            .tasks
            .iter()
            .filter(|(_, entry)| !entry.task.status.state.is_active())
            // Those that wait for their caller go after those that have ended.
            .map(|(key, entry)| ((!entry.task.status.state.is_terminal(), entry.number), key.clone()))
            .collect();
        finished.sort_by_key(|(order, _)| *order);
        // A tenth at a time, so that a full store doesn't sort itself at each new task.
        let least = MOST_TASKS / 10;
        for (forgotten, (_, key)) in finished.into_iter().enumerate() {
            if fits(self) && forgotten >= least {
                break;
            }
            if let Some(entry) = self.tasks.remove(&key) {
                self.bytes -= entry.bytes;
            }
        }
        if fits(self) { Ok(()) } else { Err(TaskError::Full) }
    }
}

/// All that a message makes us keep.
fn size_of_message(message: &Message) -> usize {
    let texts = message.reference_task_ids.iter().chain(&message.extensions).map(String::len).sum::<usize>();
    let metadata = message.metadata.as_ref().map_or(0, size_of_metadata);
    size(&message.parts) + texts + metadata
}

fn size_of_metadata(metadata: &serde_json::Map<String, serde_json::Value>) -> usize {
    metadata.iter().map(|(name, value)| name.len() + value.to_string().len()).sum()
}

fn size(parts: &[super::Part]) -> usize {
    const OVERHEAD: usize = 512;
    let content = |part: &super::Part| match &part.content {
        super::Content::Text(text) | super::Content::Raw(text) | super::Content::Url(text) => text.len(),
        super::Content::Data(value) => value.to_string().len(),
    };
    let around = |part: &super::Part| {
        let texts = [&part.caption, &part.media_type, &part.filename].into_iter().flatten().map(String::len);
        OVERHEAD + texts.sum::<usize>() + part.metadata.as_ref().map_or(0, size_of_metadata)
    };
    OVERHEAD + parts.iter().map(|part| content(part) + around(part)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Part, Role};

    fn key(owner: &str, id: &str) -> TaskKey {
        TaskKey { owner: Owner::named(owner), id: id.to_owned() }
    }

    fn message(text: &str) -> Message {
        Message {
            id: "m".to_owned(),
            context_id: "c".to_owned(),
            task_id: "t".to_owned(),
            role: Role::User,
            parts: vec![Part::text(text)],
            metadata: None,
            reference_task_ids: Vec::new(),
            extensions: Vec::new(),
        }
    }

    #[test]
    fn anothers_task_is_not_there() {
        let tasks = Tasks::default();
        tasks.submit(&key("alice", "1"), message("hi")).expect("submitted");
        assert_eq!(tasks.read(&key("bob", "1")), Err(TaskError::NotFound));
        assert_eq!(tasks.cancel(&key("bob", "1")), Err(TaskError::NotFound));
        assert!(tasks.list(&Owner::named("bob")).is_empty());
        // The same id is free for another caller, and changes nothing of the first one's.
        tasks.submit(&key("bob", "1"), message("other")).expect("submitted");
        assert_eq!(tasks.read(&key("alice", "1")).expect("there").history[0].as_text(), "hi");
    }

    #[test]
    fn a_cancelled_task_stays_cancelled() {
        let tasks = Tasks::default();
        tasks.submit(&key("alice", "1"), message("hi")).expect("submitted");
        tasks.begin(&key("alice", "1")).expect("begun");
        tasks.cancel(&key("alice", "1")).expect("cancelled");
        tasks.end(&key("alice", "1"), TaskState::Completed, message("late"), None);
        let task = tasks.read(&key("alice", "1")).expect("there");
        assert_eq!((task.status.state, task.history.len()), (TaskState::Canceled, 1));
        assert_eq!(
            tasks.submit(&key("alice", "1"), message("more")),
            Err(TaskError::Ended(TaskState::Canceled))
        );
    }

    #[test]
    fn memory_is_bounded_and_unfinished_tasks_are_kept() {
        let tasks = Tasks::default();
        tasks.submit(&key("alice", "open"), message("hi")).expect("submitted");
        for number in 0..MOST_TASKS + 100 {
            let key = key("alice", &number.to_string());
            tasks.submit(&key, message("hi")).expect("submitted");
            tasks.cancel(&key).expect("cancelled");
        }
        assert!(tasks.list(&Owner::named("alice")).len() <= MOST_TASKS);
        assert!(tasks.read(&key("alice", "open")).is_ok());
        assert!(tasks.read(&key("alice", "0")).is_err(), "the oldest finished one was forgotten");
    }

    #[test]
    fn unfinished_tasks_alone_fill_the_store() {
        let tasks = Tasks::default();
        for number in 0..MOST_TASKS {
            tasks.submit(&key("alice", &number.to_string()), message("hi")).expect("submitted");
        }
        assert_eq!(tasks.submit(&key("alice", "more"), message("hi")), Err(TaskError::Full));
    }
}
