//! Callers and handlers that write down what they see, for `bindu_tasks::history`.

use crate::contract::{id, key, message, submission};
use bindu_a2a::{
    Parts,
    event::{ArtifactChunk, TaskEvent},
    model::{TaskState, TaskStatus},
};
use bindu_tasks::{
    ListQuery, Numbered, Owner, RunKey, StoreError, TaskKey, TaskStore,
    history::{History, Subscription},
};
use jiff::Timestamp;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// What somebody has seen, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Accepted { task: String, message: String },
    Started { task: String, run: u64, message: String },
    Acknowledged { task: String, number: u64, event: u64 },
}

impl Seen {
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Accepted { task, message } => format!("accepted {task} {message}"),
            Self::Started { task, run, message } => format!("started {task} {run} {message}"),
            Self::Acknowledged { task, number, event } => format!("acknowledged {task} {number} {event}"),
        }
    }

    /// What a whole line says; nothing for half of one.
    pub(crate) fn of(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        Some(match words[..] {
            ["accepted", task, message] => {
                Self::Accepted { task: task.to_owned(), message: message.to_owned() }
            }
            ["started", task, run, message] => {
                Self::Started { task: task.to_owned(), run: run.parse().ok()?, message: message.to_owned() }
            }
            ["acknowledged", task, number, event] => Self::Acknowledged {
                task: task.to_owned(),
                number: number.parse().ok()?,
                event: event.parse().ok()?,
            },
            _ => return None,
        })
    }
}

pub(crate) fn everybody() -> Owner {
    crate::contract::owner("worker")
}

/// Adds what was seen to a history.
pub(crate) fn note(history: &mut History, seen: Seen) {
    let of = everybody();
    match seen {
        Seen::Accepted { task, message } => history.accepted.push((key(&of, &task), message)),
        Seen::Started { task, run, message } => {
            history.started.push((RunKey { task: key(&of, &task), run }, message));
        }
        Seen::Acknowledged { task, number, event } => {
            history.acknowledged.push((key(&of, &task), Numbered { number, event: event_of(event) }));
        }
    }
}

/// The events of a run by a number: what is acknowledged can be named by it. 0 is the beginning, 9 the end.
fn event_of(number: u64) -> TaskEvent {
    let timestamp = Timestamp::from_second(1_000_000 + number as i64).expect("a time");
    let status = |state| TaskEvent::Status(TaskStatus { state, message: None, timestamp });
    match number {
        0 => status(TaskState::Working),
        9 => status(TaskState::Completed),
        number => TaskEvent::Artifact(Arc::new(ArtifactChunk {
            id: "a".to_owned(),
            name: None,
            description: None,
            parts: Arc::new(Parts::of_text(&number.to_string())),
            metadata: None,
            extensions: None,
            append: number > 1,
            is_last: false,
        })),
    }
}

/// Sends messages and works on them until it is stopped.
pub(crate) async fn work(store: Arc<dyn TaskStore>, stop: Arc<AtomicBool>, tell: impl Fn(Seen)) {
    while !stop.load(Ordering::Relaxed) {
        let (task, first) = (id(), message(&id(), "c", "hi"));
        let first = submission(&everybody(), bindu_a2a::model::Message { task_id: task.clone(), ..first });
        // The same again until there is an answer: it is one message.
        let submitted = loop {
            match store.submit(first.clone()).await {
                Ok(submitted) => break Some(submitted),
                Err(StoreError::Unavailable(_)) if stop.load(Ordering::Relaxed) => break None,
                Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => panic!("{error}"),
            }
        };
        let Some(submitted) = submitted else { return };
        let message = first.message.id.clone();
        tell(Seen::Accepted { task: task.clone(), message: message.clone() });
        // Without a run the answer to the first attempt was lost: its run is found when its lease has ended.
        let Some(run) = submitted.run else { continue };
        tell(Seen::Started { task: task.clone(), run: run.run, message });
        handle(&*store, &run, submitted.task.number, &tell).await;
    }
}

async fn handle(store: &dyn TaskStore, run: &RunKey, mut number: u64, tell: &impl Fn(Seen)) {
    for event in 0..10 {
        loop {
            match store.append_after(run, Some(number), vec![event_of(event)]).await {
                Ok(at) => {
                    assert_eq!(at, number + 1);
                    tell(Seen::Acknowledged { task: run.task.id.clone(), number: at, event });
                    break;
                }
                // An earlier attempt was stored, and its answer lost: nobody else appends to this run.
                Err(StoreError::Moved(at)) if at == number + 1 => break,
                Err(StoreError::Superseded) => {
                    // Taken over; or this very end was stored, and its answer lost.
                    return;
                }
                Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => panic!("{error}"),
            }
        }
        number += 1;
    }
}

/// Fails what nobody works on any more, until it is stopped.
pub(crate) async fn take_over(store: Arc<dyn TaskStore>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        if let Ok(taken) = store.take_abandoned(100).await {
            for abandoned in taken {
                let timestamp = Timestamp::now();
                let failed = TaskStatus { state: TaskState::Failed, message: None, timestamp };
                let _ = store.append(&abandoned.run, vec![TaskEvent::Status(failed)]).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Follows tasks that appear in the list, each from its first event.
pub(crate) async fn follow(store: Arc<dyn TaskStore>, stop: Arc<AtomicBool>, history: Arc<Mutex<History>>) {
    let mut known = std::collections::HashSet::new();
    let mut followers = tokio::task::JoinSet::new();
    while !stop.load(Ordering::Relaxed) {
        let query = ListQuery { page_size: 20, ..ListQuery::default() };
        let tasks = store.list(&everybody(), &query).await.map(|page| page.tasks).unwrap_or_default();
        for task in tasks {
            if known.insert(task.id.clone()) {
                let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
                followers.spawn(async move { follow_one(&*store, key(&everybody(), &task.id), &stop).await });
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    while let Some(Ok(subscription)) = followers.join_next().await {
        history.lock().expect("no panic").subscriptions.push(subscription);
    }
}

async fn follow_one(store: &dyn TaskStore, task: TaskKey, stop: &AtomicBool) -> Subscription {
    let mut subscription = Subscription { task: task.clone(), after: 0, events: Vec::new() };
    let mut watch = store.watch(&task);
    while !stop.load(Ordering::Relaxed) {
        let after = subscription.events.last().map_or(0, |event| event.number);
        let events = store.events(&task, after, 3).await.unwrap_or_default();
        let is_over = |event: &Numbered| matches!(&event.event, TaskEvent::Status(status) if status.state.is_terminal());
        let (is_last, has_any) = (events.iter().any(is_over), !events.is_empty());
        subscription.events.extend(events);
        if is_last {
            break;
        }
        if !has_any {
            let _ = tokio::time::timeout(Duration::from_millis(500), watch.changed()).await;
        }
    }
    subscription
}

/// Ends what is left, and reads all logs.
pub(crate) async fn settle(store: &Arc<dyn TaskStore>, history: &mut History) {
    let stop = Arc::new(AtomicBool::new(false));
    let ending = tokio::spawn(take_over(Arc::clone(store), Arc::clone(&stop)));
    let (of, mut logs, mut token) = (everybody(), Vec::new(), String::new());
    crate::places::eventually("all tasks have ended", || async {
        for state in [TaskState::Submitted, TaskState::Working] {
            let query = ListQuery { state: Some(state), page_size: 1, ..ListQuery::default() };
            store.list(&of, &query).await.ok().filter(|page| page.total_size == 0)?;
        }
        Some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    ending.await.expect("no panic");
    loop {
        let query = ListQuery { page_size: 100, page_token: token, ..ListQuery::default() };
        let page = store.list(&of, &query).await.expect("a page");
        for task in page.tasks {
            let key = key(&of, &task.id);
            let events = store.events(&key, 0, 10_000).await.expect("a log");
            logs.push((key, events));
        }
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    history.logs = logs;
    history.is_over = true;
}
