//! What a lost answer leaves behind.

use super::{Subject, begun, key, message, run, status, submission};
use crate::{RunKey, StoreError, Submission, Submitted, TaskStore};
use bindu_a2a::model::TaskState;
use futures_util::FutureExt as _;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Submits a message, and goes away before the answer is there; the run if it was there at once.
fn submit_and_go(store: &dyn TaskStore, submission: &Submission) -> Option<RunKey> {
    let submitted = store.submit(submission.clone()).now_or_never()?;
    submitted.expect("the message is taken").run
}

/// Asks until the message is stored and its run given.
async fn given(store: &dyn TaskStore, again: &Submission, name: &str) -> Submitted {
    let begun = Instant::now();
    loop {
        let submitted = store.submit(again.clone()).await.expect("known, or taken now");
        if submitted.run.is_some() {
            return submitted;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{name}: the run is nobody's for ever");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A caller of the store goes away in the middle of a submission. Its run is given once: at once, to a repeat, or to whoever asks
/// what became of it; never twice, and never by another process.
pub(super) async fn a_run_that_nobody_was_told_of_is_given_once(subject: Subject, name: &'static str) {
    let (store, other) = (&*subject.store, &*subject.other);
    let first = submission("alice", message("1", "m-1", "hello"));
    // The callers of Python Bindu choose a new task id when they send a message again.
    let again = submission("alice", message("2", "m-1", "hello"));
    let work = match submit_and_go(store, &first) {
        Some(run) => run,
        None => run(&given(store, &again, name).await),
    };
    for store in [store, other] {
        assert_eq!(store.submit(again.clone()).await.expect("known").run, None, "{name}: given before");
        assert!(!matches!(store.recover(&first).await, Ok(Some(Submitted { run: Some(_), .. }))), "{name}");
    }
    ends_in(store, &work, TaskState::Completed).await;
    assert_eq!(
        store.submit(again).await.expect("known").task.task.status.state,
        TaskState::Completed,
        "{name}"
    );

    // A message for a task that is there, of a caller who is not known: only its own store tells what became of it.
    let task = run(&begun(store, "bob", "1").await);
    ends_in(store, &task, TaskState::InputRequired).await;
    let more = Submission { content: None, ..submission("bob", message("1", "m-2", "more")) };
    let second = match submit_and_go(store, &more) {
        Some(run) => run,
        None => recovered(store, &more, name).await,
    };
    assert_eq!(second.run, 2, "{name}");
    let recovered = store.recover(&more).await;
    assert!(matches!(recovered, Ok(None) | Err(StoreError::Unavailable(_))), "{name}: {recovered:?}");
    ends_in(store, &second, TaskState::Completed).await;
    assert_eq!(store.read(&key("bob", "1")).await.expect("there").task.history.len(), 2, "{name}: once");

    // Taken over meanwhile, it is the taker's.
    let Some(end_leases) = &subject.end_leases else { return };
    let lost = submission("carol", message("1", "m-3", "hello"));
    if submit_and_go(store, &lost).is_some() {
        return;
    }
    let begun = Instant::now();
    while store.read(&key("carol", "1")).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{name}: it is not stored");
        sleep(Duration::from_millis(5)).await;
    }
    end_leases().await;
    let taken = other.take_abandoned(10).await.expect("they are looked for");
    assert_eq!(taken.iter().filter(|one| one.run.task == key("carol", "1")).count(), 1, "{name}");
    assert_eq!(store.submit(lost.clone()).await.expect("known").run, None, "{name}: the taker's");
    assert!(!matches!(store.recover(&lost).await, Ok(Some(Submitted { run: Some(_), .. }))), "{name}");
}

async fn ends_in(store: &dyn TaskStore, run: &RunKey, state: TaskState) {
    store.append(run, vec![status(state)]).await.expect("appended");
}

/// Asks what became of a message until its run is given.
async fn recovered(store: &dyn TaskStore, lost: &Submission, name: &str) -> RunKey {
    let begun = Instant::now();
    loop {
        // Nothing is known of it before its commit.
        if let Ok(Some(submitted)) = store.recover(lost).await {
            return run(&submitted);
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{name}: the run is nobody's for ever");
        sleep(Duration::from_millis(5)).await;
    }
}
