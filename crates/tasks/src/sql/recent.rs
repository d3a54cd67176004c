//! The logs of tasks that this process has changed a moment ago, in memory: whoever has sent a message looks for its answer right
//! after it, again and again, and each look at the database would wake another thread.
//!
//! Only for a process that is alone with its database. What is here was committed; it is noted in the order of the commits, before
//! anybody is answered. If the end of a transaction is not known, all is dropped. Nothing is told from here of tasks that are not
//! here.

use super::{
    key::{self, Hash},
    session::Fault,
    write::{self, Change, Done, EVENT_BYTES, News, Reply, TASK_BYTES},
};
use crate::{Numbered, Snapshot, StoreError, Submission, TaskKey};
use bindu_a2a::event::TaskEvent;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How long a log is kept after its last change: `bindu storage prune`, another process, may forget its task meanwhile.
const AGE: Duration = Duration::from_secs(5);

/// The most bytes of all logs, and of one: what is longer is read from the database.
const MOST_BYTES: usize = 2 * 1024 * 1024;
const MOST_OF_ONE: usize = 32 * 1024;

/// How many changes are remembered at most: as many logs there are at most.
const MOST_CHANGES: usize = 4096;

/// A task's log, from its first event on.
#[derive(Debug, Clone)]
pub(super) struct Log {
    id: String,
    context_id: String,
    events: Vec<TaskEvent>,
    /// As its row says.
    bytes: usize,
    changed: Instant,
}

/// What a change adds to a task's log.
struct Added<'a> {
    task: &'a TaskKey,
    /// The conversation, if the task may be new.
    context_id: Option<&'a str>,
    events: Vec<TaskEvent>,
    bytes: usize,
    /// The number of the last event.
    number: u64,
}

/// The logs.
#[derive(Debug, Default)]
pub(super) struct Recent {
    logs: Mutex<Logs>,
    /// Held from the beginning of a transaction until what it has changed is noted.
    order: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Logs {
    by_task: HashMap<Hash, Log>,
    /// When which was changed, the oldest first.
    changes: VecDeque<(Instant, Hash)>,
    bytes: usize,
}

impl Recent {
    /// A task's log, if it is here.
    pub(super) fn log(&self, task: &TaskKey) -> Option<Log> {
        let mut logs = self.lock();
        if logs.by_task.is_empty() {
            return None;
        }
        logs.forget_old();
        logs.by_task.get(&key::task(task)).cloned()
    }

    /// Does a transaction, and notes what it has changed.
    pub(super) async fn through<F>(&self, changes: &[Change], transaction: F) -> F::Output
    where
        F: Future<Output = Result<Vec<Done>, (Option<usize>, Fault)>>,
    {
        let _order = self.order.lock().await;
        // Dropped before its end, nobody knows what it has done.
        let mut unknown = Unknown { recent: self, is_known: false };
        let outcome = transaction.await;
        if let Ok(all) = &outcome {
            unknown.is_known = true;
            let mut logs = self.lock();
            for (change, done) in changes.iter().zip(all) {
                logs.note(change, done);
            }
            logs.forget_old();
        }
        outcome
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        *self.lock() = Logs::default();
    }

    /// Forgets what is old.
    pub(super) fn rest(&self) {
        self.lock().forget_old();
    }

    fn lock(&self) -> MutexGuard<'_, Logs> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops all that is here, unless the end of a transaction is known.
struct Unknown<'a> {
    recent: &'a Recent,
    is_known: bool,
}

impl Drop for Unknown<'_> {
    fn drop(&mut self) {
        if !self.is_known {
            self.recent.clear();
        }
    }
}

impl Logs {
    fn note(&mut self, change: &Change, done: &Done) {
        let noted = Added::of(change, done).map(|added| {
            let key = key::task(added.task);
            self.add(key, added);
            key
        });
        for news in &done.news {
            match news {
                // Changed in a way that nobody has noted here.
                News::Number(key, _) if noted != Some(*key) => self.remove(key),
                News::Number(..) => {}
                News::Gone(key) => self.remove(key),
            }
        }
    }

    fn add(&mut self, key: Hash, added: Added<'_>) {
        let log = self.by_task.remove(&key);
        self.bytes -= log.as_ref().map_or(0, |log| log.bytes);
        let changed = Instant::now();
        let log = match (log, added.context_id) {
            (Some(mut log), _) if log.number() + added.events.len() as u64 == added.number => {
                log.events.extend(added.events);
                Log { bytes: log.bytes + added.bytes, changed, ..log }
            }
            (None, Some(context_id)) if added.events.len() as u64 == added.number => Log {
                id: added.task.id.clone(),
                context_id: context_id.to_owned(),
                events: added.events,
                bytes: added.bytes,
                changed,
            },
            _ => return,
        };
        if log.bytes <= MOST_OF_ONE {
            self.bytes += log.bytes;
            self.by_task.insert(key, log);
            self.changes.push_back((changed, key));
        }
    }

    fn remove(&mut self, key: &Hash) {
        if let Some(log) = self.by_task.remove(key) {
            self.bytes -= log.bytes;
        }
    }

    fn forget_old(&mut self) {
        while let Some((at, key)) = self.changes.front().copied() {
            let is_too_much = self.bytes > MOST_BYTES || self.changes.len() > MOST_CHANGES;
            if !is_too_much && at.elapsed() < AGE {
                return;
            }
            self.changes.pop_front();
            if self.by_task.get(&key).is_some_and(|log| log.changed == at) {
                self.remove(&key);
            }
        }
    }
}

impl<'a> Added<'a> {
    fn of(change: &'a Change, done: &'a Done) -> Option<Self> {
        match (change, &done.answer) {
            (Change::Submit(submission), Ok(Reply::Submitted(given))) => {
                let submitted = given.made()?;
                let run = submitted.run.as_ref()?;
                let Submission { message, .. } = &**submission;
                let status = submitted.task.task.status.clone();
                // The first run of a task is the one that its first message begins.
                let is_new = run.run == 1;
                let of_task = TASK_BYTES + message.task_id.len() + message.context_id.len();
                Some(Self {
                    task: &run.task,
                    context_id: is_new.then_some(message.context_id.as_str()),
                    events: vec![TaskEvent::Message(message.clone()), TaskEvent::Status(status)],
                    bytes: message.bytes() + 2 * EVENT_BYTES + if is_new { of_task } else { 0 },
                    number: submitted.task.number,
                })
            }
            (Change::Append { run, events, .. }, Ok(Reply::Number(number))) => Some(Self {
                task: &run.task,
                context_id: None,
                events: events.clone(),
                bytes: write::bytes(events),
                number: *number,
            }),
            (Change::Cancel(task), Ok(Reply::Canceled(canceled))) => {
                let events = vec![TaskEvent::Status(canceled.task.task.status.clone())];
                let bytes = write::bytes(&events);
                Some(Self { task, context_id: None, events, bytes, number: canceled.task.number })
            }
            _ => None,
        }
    }
}

impl Log {
    fn number(&self) -> u64 {
        self.events.len() as u64
    }

    /// The task.
    pub(super) fn snapshot(self) -> Snapshot {
        let number = self.number();
        let mut task = super::read::empty_task(&self.id, &self.context_id);
        self.events.iter().for_each(|event| task.apply(event));
        Snapshot { task, number }
    }

    /// The task, if it has at most so many bytes.
    pub(super) fn light(self, light: usize) -> Result<Snapshot, StoreError> {
        if self.bytes > light { Err(StoreError::Heavy(self.bytes)) } else { Ok(self.snapshot()) }
    }

    pub(super) fn context_id(self) -> String {
        self.context_id
    }

    /// The first of the events behind a number that are meant.
    pub(super) fn events(
        self,
        (after, limit): (u64, usize),
        is_meant: impl Fn(&TaskEvent) -> bool,
    ) -> Vec<Numbered> {
        let numbered = self.events.into_iter().zip(1..).map(|(event, number)| Numbered { number, event });
        numbered.filter(|event| event.number > after && is_meant(&event.event)).take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Owner, RunKey, SqliteOptions, SqliteStore, TaskStore as _, sql::session::Backend as _};
    use bindu_a2a::{
        Parts,
        model::{Message, TaskState, TaskStatus},
    };
    use futures_util::FutureExt as _;
    use jiff::Timestamp;

    fn task(number: usize) -> TaskKey {
        TaskKey { owner: Owner::Everybody, id: format!("t-{number}") }
    }

    fn status(text: usize) -> TaskEvent {
        let message = Message::of_agent("t", "c", Parts::of_text(&"x".repeat(text)));
        let message = Some(message.into());
        TaskEvent::Status(TaskStatus { state: TaskState::Working, message, timestamp: Timestamp::now() })
    }

    /// Adds an event of so many bytes, as the first or a later one.
    fn add(recent: &Recent, of: &TaskKey, number: u64, bytes: usize) {
        let context_id = (number == 1).then_some("c");
        let added = Added { task: of, context_id, events: vec![status(0)], bytes, number };
        let mut logs = recent.lock();
        logs.add(key::task(of), added);
        logs.forget_old();
    }

    fn numbers(recent: &Recent, of: &TaskKey) -> Option<u64> {
        recent.log(of).map(|log| log.number())
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_is_whole_or_not_here() {
        let recent = Recent::default();
        let of = task(1);
        add(&recent, &of, 2, 1);
        assert_eq!(numbers(&recent, &of), None, "its first event is not here");
        add(&recent, &of, 1, 1);
        add(&recent, &of, 2, 1);
        assert_eq!(numbers(&recent, &of), Some(2));
        add(&recent, &of, 4, 1);
        assert_eq!(numbers(&recent, &of), None, "one was missed");
        assert_eq!(recent.lock().bytes, 0);
        add(&recent, &of, 1, MOST_OF_ONE + 1);
        assert_eq!(numbers(&recent, &of), None, "it is long");
        assert_eq!(recent.lock().bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_old_and_what_is_too_much_is_forgotten_the_oldest_first() {
        let recent = Recent::default();
        add(&recent, &task(0), 1, 1);
        tokio::time::advance(AGE / 2).await;
        add(&recent, &task(1), 1, 1);
        add(&recent, &task(0), 2, 1);
        tokio::time::advance(AGE / 2).await;
        assert_eq!(numbers(&recent, &task(0)), Some(2), "it was changed again");
        tokio::time::advance(AGE / 2).await;
        assert_eq!((numbers(&recent, &task(0)), numbers(&recent, &task(1))), (None, None));
        let fitting = MOST_BYTES / MOST_OF_ONE;
        for number in 0..fitting + 3 {
            add(&recent, &task(number), 1, MOST_OF_ONE);
            assert!(recent.lock().bytes <= MOST_BYTES);
        }
        let there = (0..fitting + 3).filter(|number| numbers(&recent, &task(*number)).is_some());
        assert_eq!(there.collect::<Vec<_>>(), (3..fitting + 3).collect::<Vec<_>>());
        for number in 0..2 * MOST_CHANGES {
            add(&recent, &task(number), 1, 1);
            assert!(recent.lock().changes.len() <= MOST_CHANGES);
        }
        tokio::time::advance(AGE).await;
        recent.rest();
        let logs = recent.lock();
        assert_eq!((logs.by_task.len(), logs.changes.len(), logs.bytes), (0, 0, 0));
    }

    #[test]
    fn a_change_that_nobody_has_noted_removes_the_log() {
        let recent = Recent::default();
        let of = task(1);
        add(&recent, &of, 1, 1);
        let changed = vec![News::Number(key::task(&of), 2)];
        let done = Done { answer: Ok(Reply::Done), news: changed };
        let release = Change::Release(vec![RunKey { task: of.clone(), run: 1 }]);
        recent.lock().note(&release, &done);
        assert_eq!(numbers(&recent, &of), None);
    }

    fn client(name: &str) -> Owner {
        Owner::Client { id: name.into(), subject: None }
    }

    fn submission(owner: Owner) -> Submission {
        let message = Message::of_agent("t", "c", Parts::of_text("hi")).into();
        Submission { owner, message, may_begin: true, content: None, replay: None, push: None }
    }

    fn options(directory: &tempfile::TempDir) -> SqliteOptions {
        SqliteOptions {
            is_alone: true,
            ..SqliteOptions::new(directory.path().join("tasks.db"), "did:bindu:test:store")
        }
    }

    fn state(state: TaskState) -> TaskEvent {
        TaskEvent::Status(TaskStatus { state, message: None, timestamp: Timestamp::now() })
    }

    #[tokio::test]
    async fn what_a_process_that_is_alone_has_just_written_is_told_without_the_database() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(options(&directory)).await.expect("a file");
        let alice = client("alice");
        let submitted = store.submit(submission(alice.clone())).await.expect("taken");
        let run = submitted.run.expect("it is new");
        let task = run.task.clone();
        // Nobody else can ask the database now.
        let mut readers = Vec::new();
        for _ in 0..4 {
            readers.push(store.core.backend.read().await.expect("a reader"));
        }
        assert_eq!(store.read(&task).now_or_never(), Some(Ok(submitted.task)));
        store
            .append(&run, vec![state(TaskState::Working), state(TaskState::Completed)])
            .await
            .expect("stored");
        let told = store.read(&task).now_or_never().expect("told at once").expect("there");
        assert_eq!((told.number, told.task.status.state), (4, TaskState::Completed));
        assert_eq!(store.read_light(&task, 1 << 20).now_or_never(), Some(Ok(told.clone())));
        assert!(matches!(store.read_light(&task, 1).now_or_never(), Some(Err(StoreError::Heavy(_)))));
        assert_eq!(store.context_id(&task).now_or_never(), Some(Ok("c".to_owned())));
        let events = store.events(&task, 1, 2).now_or_never().expect("told at once").expect("there");
        assert_eq!(events.iter().map(|event| event.number).collect::<Vec<_>>(), [2, 3]);
        let statuses = store.statuses(&task, 0, 9).now_or_never().expect("told at once").expect("there");
        assert_eq!(statuses.iter().map(|event| event.number).collect::<Vec<_>>(), [2, 3, 4]);
        // What is forgotten is told no more.
        store.forget_context(&alice, "c").await.expect("forgotten");
        drop(readers);
        assert_eq!(store.read(&task).await, Err(StoreError::NotFound));
    }

    #[tokio::test]
    async fn the_database_tells_the_same_as_memory_does() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(options(&directory)).await.expect("a file");
        let submitted = store.submit(submission(client("alice"))).await.expect("taken");
        let run = submitted.run.expect("it is new");
        store.append(&run, vec![state(TaskState::InputRequired)]).await.expect("stored");
        store.submit(submission(client("alice"))).await.expect("it goes on");
        store.cancel(&run.task).await.expect("cancelled");
        let told = async || {
            let light = store.read_light(&run.task, 1).await.expect_err("it has more");
            let events = store.events(&run.task, 0, 99).await.expect("there");
            (store.read(&run.task).await.expect("there"), light, events)
        };
        assert!(store.recent(&run.task).is_some());
        let from_memory = told().await;
        store.core.recent.as_ref().expect("it is alone").clear();
        assert!(store.recent(&run.task).is_none());
        assert_eq!(told().await, from_memory);
    }

    #[tokio::test]
    async fn after_a_transaction_whose_end_nobody_knows_all_is_asked_of_the_database() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(options(&directory)).await.expect("a file");
        let recent = store.core.recent.as_ref().expect("it is alone");
        for (name, is_dropped) in [("alice", true), ("bob", false)] {
            let run = store.submit(submission(client(name))).await.expect("taken").run.expect("it is new");
            assert!(store.recent(&run.task).is_some());
            let lost = async {
                if is_dropped {
                    std::future::pending::<()>().await;
                }
                Err((None, Fault::Away("lost".to_owned())))
            };
            let outcome = recent.through(&[], lost).now_or_never();
            assert_eq!(outcome.is_none(), is_dropped);
            assert!(store.recent(&run.task).is_none());
            assert_eq!(store.read(&run.task).await.expect("the database has it").number, 2);
        }
    }
}
