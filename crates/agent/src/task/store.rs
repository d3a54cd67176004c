//! The tasks in memory. Each belongs to its caller: another's task is not there.
//!
//! Bounded in number and size: the oldest finished tasks are forgotten first. No caller can fill it alone.

use super::{Artifact, Message, Task, TaskState, TaskStatus};
use crate::{caller::Owner, clock};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How many tasks are kept, and how much their messages and artifacts may hold together.
const MOST_TASKS: usize = 10_000;
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// One caller's share of that, where callers can be told apart: what it is beyond pushes out its own ended tasks, never
/// another's. Unfinished ones keep others' work waiting, so there may be fewer of those.
const MOST_TASKS_OF_ONE: usize = MOST_TASKS / 2;
const MOST_BYTES_OF_ONE: usize = MOST_BYTES / 4;
const MOST_UNFINISHED: usize = MOST_TASKS / 10;

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
    /// It would never fit.
    #[error("the message is longer than what is kept for one caller")]
    TooLarge,
    /// The caller has too many unfinished tasks.
    #[error("too many unfinished tasks of this caller")]
    TooMany,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The task as it is now.
    pub task: Task,
    /// Whether there is work to do; not where the caller has sent this very message before.
    pub is_new: bool,
}

/// All tasks of an agent.
#[derive(Debug, Default)]
pub struct Tasks(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tasks: HashMap<TaskKey, Entry>,
    /// The tasks that messages went to, by their ids.
    messages: HashMap<TaskKey, String>,
    shares: HashMap<Owner, Share>,
    next: u64,
    bytes: usize,
}

/// What one owner has here.
#[derive(Debug, Default)]
struct Share {
    /// The tasks' ids in order of their creation.
    tasks: BTreeMap<u64, String>,
    bytes: usize,
    /// How many are worked on, or will be.
    active: usize,
}

#[derive(Debug)]
struct Entry {
    task: Task,
    /// Order of creation.
    number: u64,
    bytes: usize,
    /// Since when it has an outcome that nobody has fetched.
    unread: Option<Instant>,
}

impl Tasks {
    /// Adds a message: to the unfinished task that it names, or to a new one. A message whose id this caller has used
    /// before is not added again: it is answered with the task that it went to.
    ///
    /// # Errors
    /// [`TaskError::Ended`] for a finished task, [`TaskError::TooMany`] and [`TaskError::Full`] where there is no room.
    pub fn submit(&self, key: &TaskKey, mut message: Message) -> Result<Submitted, TaskError> {
        let inner = &mut *self.lock();
        if let Some(task) = inner.earlier(&key.owner, &message.id) {
            return Ok(Submitted { task, is_new: false });
        }
        let known = inner.tasks.get(key).map(|entry| entry.task.status.state);
        if let Some(state) = known.filter(|state| state.is_terminal()) {
            return Err(TaskError::Ended(state));
        }
        let adds = known.is_none_or(|state| !state.is_active());
        let active = inner.shares.get(&key.owner).map_or(0, |share| share.active);
        if adds && active >= MOST_UNFINISHED && !key.owner.is_everybody() {
            return Err(TaskError::TooMany);
        }
        let bytes = size_of_message(&message);
        inner.make_room(&key.owner, usize::from(known.is_none()), bytes)?;
        // What is remembered of a message is forgotten with its task.
        if !key.owner.is_everybody() {
            let message_key = TaskKey { owner: key.owner.clone(), id: message.id.clone() };
            inner.messages.insert(message_key, key.id.clone());
        }
        inner.add_bytes(&key.owner, bytes);
        // The room that was made may have been this task's, where it waited for its caller.
        if inner.tasks.contains_key(key) {
            let change = |entry: &mut Entry| {
                // What belongs to a task belongs to its conversation.
                message.context_id.clone_from(&entry.task.context_id);
                entry.task.status = status(TaskState::Submitted);
                entry.task.history.push(message);
                entry.bytes += bytes;
                entry.task.clone()
            };
            let task = inner.change(key, change).ok_or(TaskError::NotFound)?;
            return Ok(Submitted { task, is_new: true });
        }
        let task = Task {
            id: key.id.clone(),
            context_id: message.context_id.clone(),
            status: status(TaskState::Submitted),
            history: vec![message],
            artifacts: Vec::new(),
        };
        let number = inner.next;
        inner.next += 1;
        let share = inner.shares.entry(key.owner.clone()).or_default();
        share.tasks.insert(number, key.id.clone());
        share.active += 1;
        inner.tasks.insert(key.clone(), Entry { task: task.clone(), number, bytes, unread: None });
        Ok(Submitted { task, is_new: true })
    }

    /// A task.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], for another's task too.
    pub fn read(&self, key: &TaskKey) -> Result<Task, TaskError> {
        self.lock().tasks.get_mut(key).map(Entry::read).ok_or(TaskError::NotFound)
    }

    /// A caller's tasks, oldest first.
    #[must_use]
    pub fn list(&self, owner: &Owner) -> Vec<Task> {
        let Inner { tasks, shares, .. } = &mut *self.lock();
        let ids = shares.get(owner).into_iter().flat_map(|share| share.tasks.values());
        let keys = ids.map(|id| TaskKey { owner: owner.clone(), id: id.clone() });
        keys.filter_map(|key| tasks.get_mut(&key).map(Entry::read)).collect()
    }

    /// Cancels a task.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], or [`TaskError::Ended`].
    pub fn cancel(&self, key: &TaskKey) -> Result<Task, TaskError> {
        let mut inner = self.lock();
        let state = inner.tasks.get(key).ok_or(TaskError::NotFound)?.task.status.state;
        if state.is_terminal() {
            return Err(TaskError::Ended(state));
        }
        let change = |entry: &mut Entry| {
            entry.task.status = status(TaskState::Canceled);
            entry.task.clone()
        };
        inner.change(key, change).ok_or(TaskError::NotFound)
    }

    /// Notes that work has begun; `None` where there is nothing to work on any more.
    pub(crate) fn begin(&self, key: &TaskKey) -> Option<Task> {
        let mut inner = self.lock();
        let entry = inner.tasks.get_mut(key).filter(|entry| entry.task.status.state.is_active())?;
        entry.task.status = status(TaskState::Working);
        Some(entry.task.clone())
    }

    /// Notes what the work has brought, unless the task was cancelled or continued in between.
    pub(crate) fn end(&self, key: &TaskKey, state: TaskState, message: Message, artifact: Option<Artifact>) {
        let inner = &mut *self.lock();
        let is_working = |entry: &Entry| entry.task.status.state == TaskState::Working;
        if !inner.tasks.get(key).is_some_and(is_working) {
            return;
        }
        let bytes = size_of_message(&message) + artifact.as_ref().map_or(0, |artifact| size(&artifact.parts));
        inner.add_bytes(&key.owner, bytes);
        inner.change(key, |entry| {
            entry.task.status = status(state);
            entry.task.history.push(message);
            entry.task.artifacts.extend(artifact);
            entry.bytes += bytes;
            entry.unread = Some(Instant::now());
        });
        // Results are as long as the handler likes: older ones give way to them.
        let _ = inner.make_room(&key.owner, 0, 0);
    }

    /// How many tasks are being worked on, or will be.
    #[must_use]
    pub fn active(&self) -> usize {
        self.lock().shares.values().map(|share| share.active).sum()
    }

    /// Whether a task has ended within this time, and nobody has fetched what came of it.
    #[must_use]
    pub(crate) fn has_unread(&self, within: Duration) -> bool {
        self.lock().tasks.values().any(|entry| entry.unread.is_some_and(|since| since.elapsed() < within))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The task, for its caller.
    fn read(&mut self) -> Task {
        if !self.task.status.state.is_active() {
            self.unread = None;
        }
        self.task.clone()
    }
}

impl Inner {
    /// The task that a message of this caller's went to.
    fn earlier(&self, owner: &Owner, message_id: &str) -> Option<Task> {
        if owner.is_everybody() {
            return None;
        }
        let key = |id: &str| TaskKey { owner: owner.clone(), id: id.to_owned() };
        let task_id = self.messages.get(&key(message_id))?;
        self.tasks.get(&key(task_id)).map(|entry| entry.task.clone())
    }

    /// Changes a task, and keeps count of who has how many unfinished ones.
    fn change<T>(&mut self, key: &TaskKey, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let entry = self.tasks.get_mut(key)?;
        let before = entry.task.status.state.is_active();
        let changed = change(entry);
        let after = entry.task.status.state.is_active();
        if let Some(share) = self.shares.get_mut(&key.owner) {
            share.active = share.active + usize::from(after) - usize::from(before);
        }
        Some(changed)
    }

    /// Forgets a task that nobody works on, and the messages that went to it.
    fn forget(&mut self, key: &TaskKey) {
        let Some(entry) = self.tasks.remove(key) else { return };
        self.bytes -= entry.bytes;
        if let Some(share) = self.shares.get_mut(&key.owner) {
            share.tasks.remove(&entry.number);
            share.bytes -= entry.bytes;
            if share.tasks.is_empty() {
                self.shares.remove(&key.owner);
            }
        }
        for message in entry.task.history {
            self.messages.remove(&TaskKey { owner: key.owner.clone(), id: message.id });
        }
    }

    fn add_bytes(&mut self, owner: &Owner, bytes: usize) {
        self.bytes += bytes;
        self.shares.entry(owner.clone()).or_default().bytes += bytes;
    }

    /// Makes room for so many more tasks and bytes of an owner: in its share first, then in the whole.
    fn make_room(&mut self, owner: &Owner, tasks: usize, bytes: usize) -> Result<(), TaskError> {
        if bytes > if owner.is_everybody() { MOST_BYTES } else { MOST_BYTES_OF_ONE } {
            return Err(TaskError::TooLarge);
        }
        let fits_share = |inner: &Self| {
            let used = inner.shares.get(owner).map_or((0, 0), |share| (share.tasks.len(), share.bytes));
            used.0 + tasks <= MOST_TASKS_OF_ONE && used.1 + bytes <= MOST_BYTES_OF_ONE
        };
        if !owner.is_everybody() && !self.forget_until(fits_share, Some(owner)) {
            return Err(TaskError::TooMany);
        }
        let fits =
            |inner: &Self| inner.tasks.len() + tasks <= MOST_TASKS && inner.bytes + bytes <= MOST_BYTES;
        if self.forget_until(fits, None) { Ok(()) } else { Err(TaskError::Full) }
    }

    /// Forgets the oldest tasks that nobody works on, of one owner or of all, until it fits; whether it does.
    fn forget_until(&mut self, fits: impl Fn(&Self) -> bool, of: Option<&Owner>) -> bool {
        if fits(self) {
            return true;
        }
        let mut finished: Vec<((bool, u64), TaskKey)> = self
            .tasks
            .iter()
            .filter(|(key, entry)| {
                !entry.task.status.state.is_active() && of.is_none_or(|owner| key.owner == *owner)
            })
            // Those that wait for their caller go after those that have ended.
            .map(|(key, entry)| ((!entry.task.status.state.is_terminal(), entry.number), key.clone()))
            .collect();
        finished.sort_by_key(|(order, _)| *order);
        // A tenth at a time, so that a full store doesn't sort itself at each new task.
        let least = finished.len().min(MOST_TASKS / 10) / 2;
        for (forgotten, (_, key)) in finished.into_iter().enumerate() {
            if fits(self) && forgotten >= least {
                break;
            }
            self.forget(&key);
        }
        fits(self)
    }
}

fn status(state: TaskState) -> TaskStatus {
    TaskStatus { state, timestamp: clock::timestamp() }
}

/// All that a message makes us keep.
fn size_of_message(message: &Message) -> usize {
    let texts = message.reference_task_ids.iter().chain(&message.extensions).map(String::len).sum::<usize>();
    let metadata = message.metadata.as_ref().map_or(0, |metadata| metadata.text().len());
    size(&message.parts) + texts + metadata
}

fn size(parts: &[super::Part]) -> usize {
    const OVERHEAD: usize = 512;
    let content = |part: &super::Part| match &part.content {
        super::Content::Text(text) | super::Content::Raw(text) | super::Content::Url(text) => text.len(),
        super::Content::Data(value) => value.text().len(),
    };
    let around = |part: &super::Part| {
        let texts = [&part.caption, &part.media_type, &part.filename].into_iter().flatten().map(String::len);
        OVERHEAD + texts.sum::<usize>() + part.metadata.as_ref().map_or(0, |metadata| metadata.text().len())
    };
    OVERHEAD + parts.iter().map(|part| content(part) + around(part)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Part, Role};

    fn key(owner: &str, id: &str) -> TaskKey {
        TaskKey { owner: crate::caller::owner_named(owner), id: id.to_owned() }
    }

    /// A message of an id that nobody has used.
    fn message(text: &str) -> Message {
        Message {
            id: uuid::Uuid::new_v4().to_string(),
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
        assert!(tasks.list(&crate::caller::owner_named("bob")).is_empty());
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
        assert!(tasks.list(&crate::caller::owner_named("alice")).len() <= MOST_TASKS);
        assert!(tasks.read(&key("alice", "open")).is_ok());
        assert!(tasks.read(&key("alice", "0")).is_err(), "the oldest finished one was forgotten");
    }

    #[test]
    fn unfinished_tasks_alone_fill_the_store_and_no_caller_does_it_alone() {
        let tasks = Tasks::default();
        for owner in 0..MOST_TASKS / MOST_UNFINISHED {
            let owner = owner.to_string();
            for number in 0..MOST_UNFINISHED {
                tasks.submit(&key(&owner, &number.to_string()), message("hi")).expect("submitted");
            }
            assert_eq!(tasks.submit(&key(&owner, "more"), message("hi")), Err(TaskError::TooMany));
        }
        assert_eq!(tasks.submit(&key("another", "one"), message("hi")), Err(TaskError::Full));
        assert_eq!(tasks.active(), MOST_TASKS);
        tasks.cancel(&key("0", "0")).expect("cancelled");
        assert!(tasks.submit(&key("0", "more"), message("hi")).is_ok(), "one has ended");
        assert_eq!(tasks.active(), MOST_TASKS);
    }

    #[test]
    fn a_caller_pushes_out_its_own_tasks_only() {
        let tasks = Tasks::default();
        tasks.submit(&key("bob", "1"), message("hi")).expect("submitted");
        tasks.cancel(&key("bob", "1")).expect("cancelled");
        let large = "x".repeat(MOST_BYTES_OF_ONE / 4);
        for number in 0..20 {
            let key = key("alice", &number.to_string());
            tasks.submit(&key, message(&large)).expect("submitted");
            tasks.cancel(&key).expect("cancelled");
        }
        assert!(tasks.read(&key("bob", "1")).is_ok() && tasks.list(&crate::caller::owner_named("alice")).len() < 4);
        for number in 0..3 {
            tasks.submit(&key("alice", &format!("open {number}")), message(&large)).expect("submitted");
        }
        let more = tasks.submit(&key("alice", "more"), message(&large));
        assert_eq!(more, Err(TaskError::TooMany), "a share of the bytes, too");
        assert!(tasks.submit(&key("bob", "2"), message(&large)).is_ok());
        let huge = "x".repeat(MOST_BYTES_OF_ONE + 1);
        assert_eq!(tasks.submit(&key("bob", "3"), message(&huge)), Err(TaskError::TooLarge));
        assert!(tasks.read(&key("bob", "1")).is_ok(), "nothing was pushed out for it");
        for number in 0..3 {
            let key = key("alice", &format!("open {number}"));
            tasks.begin(&key);
            tasks.end(&key, TaskState::Completed, message(&large), None);
        }
        let inner = tasks.lock();
        assert!(inner.shares[&crate::caller::owner_named("alice")].bytes <= MOST_BYTES_OF_ONE, "results count, too");
        let sum: usize = inner.shares.values().map(|share| share.bytes).sum();
        assert_eq!(sum, inner.bytes);
    }

    #[test]
    fn a_message_that_comes_again_finds_its_task() {
        let tasks = Tasks::default();
        let first = tasks.submit(&key("alice", "1"), message("hi")).expect("submitted");
        let again = Message { task_id: "2".to_owned(), ..first.task.history[0].clone() };
        let second = tasks.submit(&key("alice", "2"), again.clone()).expect("submitted");
        assert_eq!((second.task.id.as_str(), second.is_new), ("1", false));
        assert!(tasks.submit(&key("bob", "2"), again.clone()).expect("submitted").is_new, "another caller");
        tasks.cancel(&key("alice", "1")).expect("cancelled");
        let ended = tasks.submit(&key("alice", "1"), again).expect("the same, though it has ended");
        assert_eq!(ended.task.status.state, TaskState::Canceled);
    }

    /// What one caller does to a task, by its id.
    #[derive(Debug, Clone, Copy)]
    enum Move {
        Submit,
        Read,
        List,
        Cancel,
        Work,
    }

    fn moves() -> impl proptest::strategy::Strategy<Value = Vec<(u8, u8, Move)>> {
        use proptest::prelude::*;
        let step = prop_oneof![
            Just(Move::Submit),
            Just(Move::Read),
            Just(Move::List),
            Just(Move::Cancel),
            Just(Move::Work)
        ];
        proptest::collection::vec((0..3u8, 0..4u8, step), 1..60)
    }

    proptest::proptest! {
        /// Whatever callers do, each sees what it would see alone: over all operations and all pairs of callers.
        #[test]
        fn callers_never_meet(moves in moves()) {
            let owners = ["alice", "bob", "carol"];
            let together = Tasks::default();
            let alone: Vec<Tasks> = owners.iter().map(|_| Tasks::default()).collect();
            let mut said = 0;
            for (who, id, step) in moves {
                said += 1;
                let (who, id) = (usize::from(who), id.to_string());
                let (owner, mine) = (owners[who], &alone[who]);
                let key = key(owner, &id);
                let message = Message { id: said.to_string(), ..message(&said.to_string()) };
                let states = |tasks: Vec<Task>| {
                    tasks.into_iter().map(|task| (task.id, task.status.state, task.history)).collect::<Vec<_>>()
                };
                match step {
                    Move::Submit => {
                        let state = |done: Result<Submitted, TaskError>| {
                            done.map(|done| (done.task.id, done.task.history, done.is_new))
                        };
                        let one = state(together.submit(&key, message.clone()));
                        proptest::prop_assert_eq!(one, state(mine.submit(&key, message)));
                    }
                    Move::Read => {
                        let state = |task: Result<Task, TaskError>| task.map(|task| states(vec![task]));
                        proptest::prop_assert_eq!(state(together.read(&key)), state(mine.read(&key)));
                    }
                    Move::List => {
                        let list = |tasks: &Tasks| states(tasks.list(&key.owner));
                        proptest::prop_assert_eq!(list(&together), list(mine));
                    }
                    Move::Cancel => {
                        let state = |task: Result<Task, TaskError>| task.map(|task| states(vec![task]));
                        proptest::prop_assert_eq!(state(together.cancel(&key)), state(mine.cancel(&key)));
                    }
                    Move::Work => {
                        for tasks in [&together, mine] {
                            tasks.begin(&key);
                            tasks.end(&key, TaskState::Completed, message.clone(), None);
                        }
                    }
                }
                let active: usize = alone.iter().map(Tasks::active).sum();
                proptest::prop_assert_eq!(together.active(), active);
            }
        }
    }
}
