//! A task's stream: the tail of its log, pulled by its reader.

use crate::{
    Numbered, Snapshot, StoreError, TaskKey, TaskStore, Watch,
    room::LIGHT,
    runner::{Runner, answers_in_place},
};
use bindu_a2a::{
    call::{StreamEvent, StreamItem},
    event::TaskEvent,
    model::{Role, Task, TaskState},
};
use futures_util::{
    Stream,
    stream::{self, BoxStream},
};
use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

/// How many events are read at a time, at first and at most: what one reader costs. After long ones it is one at a time.
const AT_FIRST: usize = 2;
const AT_ONCE: usize = 32;

/// How often it is looked whether a store has failed over while there is no news.
const LOOK: Duration = Duration::from_secs(2);

/// How long a store that is away is given.
const RETRY: Duration = Duration::from_secs(1);

/// A task's events, from the task itself to its end. It pulls from the store: a reader that stalls costs its place and at
/// most 32 events that it shares with the store. Dropped, it leaves the task as it is.
pub struct TaskStream(BoxStream<'static, StreamItem>);

impl Stream for TaskStream {
    type Item = StreamItem;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<StreamItem>> {
        self.0.as_mut().poll_next(context)
    }
}

impl fmt::Debug for TaskStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskStream")
    }
}

/// Where a stream begins.
pub(crate) enum Start {
    /// With the task as it was submitted; but if the handler's first word within this time is a message in place of the
    /// task, with that and nothing else.
    Submitted(Box<Snapshot>, Duration),
    /// With the task as it is.
    Task(Box<Snapshot>),
    /// With the events after this one.
    After(u64),
}

/// What a stream is about.
pub(crate) struct Source {
    pub(crate) store: Arc<dyn TaskStore>,
    pub(crate) runner: Arc<Runner>,
    pub(crate) key: TaskKey,
    pub(crate) context_id: String,
    /// Whether it ends when the task waits for its caller; else only with the task.
    pub(crate) ends_with_turn: bool,
    /// The agent is about to end.
    pub(crate) draining: CancellationToken,
    /// Its place among the subscribers, held until the stream is dropped.
    pub(crate) _place: Place,
}

/// A place among the subscribers, given back when it is dropped.
pub(crate) type Place = Box<dyn Send + Sync>;

/// A number of an event as its stream's readers get it: they come back with it, maybe to a store in another timeline. Below 2^53, so
/// that every language's numbers hold it; in a store that has met no failover it is the number itself.
const NUMBERS: u64 = 1 << 32;
const TIMELINES: u64 = 1 << 20;

fn id_of(timeline: u64, number: u64) -> u64 {
    (timeline % TIMELINES) * NUMBERS + number
}

/// The number of the event with this id, if it is of this timeline: another one's number may mean another event here.
pub(crate) fn number_of(id: u64, timeline: u64) -> Option<u64> {
    (id / NUMBERS == timeline % TIMELINES).then_some(id % NUMBERS)
}

struct Tail {
    source: Source,
    /// The store's when what came last was read.
    timeline: u64,
    watch: Watch,
    start: Option<Start>,
    /// The number of the last event that was read.
    after: u64,
    state: Option<TaskState>,
    buffer: VecDeque<Numbered>,
    /// How many events are read next.
    at_once: usize,
    is_over: bool,
}

impl TaskStream {
    pub(crate) fn new(source: Source, start: Start) -> Self {
        let watch = source.store.watch(&source.key);
        let (after, state) = match &start {
            Start::Submitted(snapshot, _) | Start::Task(snapshot) => {
                (snapshot.number, Some(snapshot.task.status.state))
            }
            Start::After(number) => (*number, None),
        };
        let buffer = VecDeque::new();
        let (start, at_once) = (Some(start), AT_FIRST);
        let timeline = source.store.timeline();
        let tail = Tail { source, timeline, watch, start, after, state, buffer, at_once, is_over: false };
        Self(Box::pin(stream::unfold(tail, |mut tail| async move { Some((tail.next().await?, tail)) })))
    }
}

impl Tail {
    async fn next(&mut self) -> Option<StreamItem> {
        match self.start.take() {
            Some(Start::Submitted(snapshot, wait)) => {
                if let Some(item) = self.message_in_place(Instant::now() + wait).await {
                    return Some(item);
                }
                return Some(self.task(*snapshot));
            }
            Some(Start::Task(snapshot)) => return Some(self.task(*snapshot)),
            Some(Start::After(_)) | None => {}
        }
        loop {
            while let Some(numbered) = self.buffer.pop_front() {
                if let Some(item) = self.item(numbered) {
                    return Some(item);
                }
            }
            if self.is_over || !self.fill().await {
                return None;
            }
            if let Some(snapshot) = self.begun_again().await {
                return Some(self.task(snapshot));
            }
        }
    }

    /// The task as it is, if the store has failed over: what was read before may be lost, and what comes next another history's.
    async fn begun_again(&mut self) -> Option<Snapshot> {
        let timeline = self.source.store.timeline();
        if timeline == self.timeline {
            return None;
        }
        // Heavy or not: it is read once for each failover.
        let snapshot = self.source.store.read(&self.source.key).await.ok()?;
        self.timeline = timeline;
        self.after = snapshot.number;
        self.state = Some(snapshot.task.status.state);
        self.buffer.clear();
        Some(snapshot)
    }

    fn task(&mut self, snapshot: Snapshot) -> StreamItem {
        self.is_over = self.ends(snapshot.task.status.state);
        if !snapshot.task.status.state.is_active() {
            self.source.runner.unread.fetched(&self.source.key);
        }
        StreamItem { number: id_of(self.timeline, snapshot.number), event: StreamEvent::Task(snapshot.task) }
    }

    fn ends(&self, state: TaskState) -> bool {
        state.is_terminal() || state.is_interrupted() && self.source.ends_with_turn
    }

    /// The handler's message, if that is its first word and comes in time.
    async fn message_in_place(&mut self, until: Instant) -> Option<StreamItem> {
        loop {
            let Ok(filled) = timeout_at(until, self.fill()).await else { return None };
            if !filled {
                return None;
            }
            let says_more = |numbered: &&Numbered| {
                !matches!(&numbered.event, TaskEvent::Status(status)
                if status.state == TaskState::Working && status.message.is_none())
            };
            let Some(Numbered { number, event }) = self.buffer.iter().find(says_more) else { continue };
            let TaskEvent::Status(status) = event else { return None };
            let message = Arc::clone(answers_in_place(status)?);
            let number = id_of(self.timeline, *number);
            let item = StreamItem { number, event: StreamEvent::Message(message) };
            self.is_over = true;
            self.buffer.clear();
            self.source.runner.unread.fetched(&self.source.key);
            return Some(item);
        }
    }

    /// Reads more events, behind those that are there; whether there can be any.
    async fn fill(&mut self) -> bool {
        loop {
            // Before the look: what comes behind it is told of.
            self.watch.mark_unchanged();
            match self.source.store.events(&self.source.key, self.after, self.at_once).await {
                Ok(events) if !events.is_empty() => {
                    let bytes: usize = events.iter().map(|event| event.event.bytes()).sum();
                    self.at_once = if bytes > LIGHT { 1 } else { AT_ONCE.min(self.at_once * 2) };
                    self.after = events.last().map_or(self.after, |event| event.number);
                    self.buffer.extend(events);
                    return true;
                }
                Ok(_) if self.source.store.timeline() != self.timeline => return true,
                Ok(_) => {}
                Err(StoreError::Unavailable(_)) => {
                    sleep(RETRY).await;
                    continue;
                }
                Err(_) => return false,
            }
            let waits = self.state.is_some_and(TaskState::is_interrupted);
            tokio::select! {
                changed = self.watch.changed() => if changed.is_err() {
                    // Forgotten, or its store is away for a moment.
                    sleep(RETRY).await;
                    self.watch = self.source.store.watch(&self.source.key);
                },
                // After a failover its numbers may begin again below ours: nobody tells of that.
                () = sleep(LOOK), if self.source.store.kind().is_remote() => {}
                // A caller that the task waits for asks another agent, or this one when it is back.
                () = self.source.draining.cancelled(), if waits => return false,
            }
        }
    }

    /// What an event says to a stream's reader. Messages are in the history, and in the statuses that say them.
    fn item(&mut self, Numbered { number, event }: Numbered) -> Option<StreamItem> {
        let task_id = self.source.key.id.clone();
        let context_id = self.source.context_id.clone();
        let event = match event {
            TaskEvent::Message(_) => return None,
            TaskEvent::Status(status) => {
                self.state = Some(status.state);
                let is_final = self.ends(status.state);
                self.is_over |= is_final;
                if !status.state.is_active() {
                    self.source.runner.unread.fetched(&self.source.key);
                }
                StreamEvent::Status { task_id, context_id, status, is_final }
            }
            TaskEvent::Artifact(chunk) => StreamEvent::Artifact { task_id, context_id, chunk },
        };
        Some(StreamItem { number: id_of(self.timeline, number), event })
    }
}

/// The message that a finished task's caller gets in place of it.
pub(crate) fn message_of(task: &Task) -> Option<&Arc<bindu_a2a::model::Message>> {
    answers_in_place(&task.status).filter(|message| message.role == Role::Agent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_means_an_event_in_its_own_timeline_only() {
        assert_eq!((id_of(0, 7), number_of(7, 0)), (7, Some(7)), "without a failover it is the number");
        let id = id_of(3, 7);
        assert!(id < 1 << 53, "as a number of JavaScript");
        assert_eq!((number_of(id, 3), number_of(id, 2), number_of(7, 3)), (Some(7), None, None));
        assert!(id_of(TIMELINES - 1, NUMBERS - 1) < 1 << 53);
        assert_eq!(number_of(u64::MAX, 0), None);
    }
}
