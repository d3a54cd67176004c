//! The store in memory: the contract, and its bounds.

use crate::{
    Bounds, MemoryStore, RunKey, StoreError, TaskStore,
    conformance::{self, Subject, begun, chunk, client, key, message, model, run, status, submission},
};
use bindu_a2a::model::TaskState;
use futures_util::FutureExt as _;
use std::{sync::Arc, time::Duration};

#[tokio::test]
async fn the_contract() {
    conformance::check(async || Subject {
        fits: Some(170),
        ..Subject::new(Arc::new(MemoryStore::default()))
    })
    .await;
}

proptest::proptest! {
    #[test]
    fn any_order_of_calls_is_the_models(steps in model::steps()) {
        let store = MemoryStore::default();
        // Nothing in it waits.
        model::follow(&store, &steps).now_or_never().expect("done at once");
        store.check_counts();
    }
}

fn small() -> MemoryStore {
    MemoryStore::new(Bounds {
        bytes: 400_000,
        bytes_of_one: 100_000,
        tasks: 100,
        tasks_of_one: 50,
        ..Bounds::default()
    })
}

async fn complete(store: &MemoryStore, run: &RunKey, text: &str) -> Result<u64, StoreError> {
    store.append(run, vec![chunk("a", text, false), status(TaskState::Completed)]).await
}

#[tokio::test(start_paused = true)]
async fn a_conversation_above_its_share_is_refused_and_stays() {
    let store = small();
    let text = "x".repeat(9_000);
    let mut taken = 0;
    let refused = loop {
        let message = message("1", &format!("m{taken}"), &text);
        match store.submit(submission("alice", message)).await {
            Ok(submitted) => {
                store.append(&run(&submitted), vec![status(TaskState::InputRequired)]).await.expect("asked");
                taken += 1;
            }
            Err(error) => break error,
        }
        // However long it waits for its caller.
        tokio::time::advance(Duration::from_secs(3600)).await;
    };
    assert_eq!(refused, StoreError::TooLarge);
    let task = store.read(&key("alice", "1")).await.expect("still there").task;
    assert_eq!(task.history.len(), taken);
    assert!(taken >= 9, "{taken}");
    // Nor is it begun anew when the whole store has to make room.
    for owner in ["bob", "carol", "dave"] {
        let text = "x".repeat(95_000);
        let done = store.submit(submission(owner, message("1", "1", &text))).await;
        assert!(done.is_ok(), "{owner}: {done:?}");
    }
    let more = store
        .submit(submission("alice", message("1", "last", "short")))
        .await
        .expect("there is room for this");
    assert_eq!(more.task.task.history.len(), taken + 1);
    store.check_counts();
}

#[tokio::test(start_paused = true)]
async fn results_that_nobody_has_fetched_are_kept_with_their_messages() {
    let store = MemoryStore::default();
    let text = "x".repeat(1_900_000);
    let ids: Vec<String> = (0..6).map(|number| number.to_string()).collect();
    let mut runs = Vec::new();
    for id in &ids {
        let submitted = store.submit(submission("alice", message(id, id, &text))).await.expect("taken");
        runs.push(run(&submitted));
    }
    for run in &runs {
        // As an echo does: the reply and the artifact.
        let events = vec![
            chunk("a", &text, false),
            bindu_a2a::event::TaskEvent::Message(Arc::new(message(&run.task.id, "reply", &text))),
            status(TaskState::Completed),
        ];
        store.append(run, events).await.expect("kept");
    }
    let more = store.submit(submission("alice", message("more", "more", &text))).await;
    assert_eq!(more, Err(StoreError::TooMany), "new work is refused");
    for id in &ids {
        let again = store.submit(submission("alice", message("again", id, &text))).await.expect("known");
        assert_eq!((again.run, again.task.task.id.as_str()), (None, id.as_str()));
        let task = store.read(&key("alice", id)).await.expect("kept").task;
        assert_eq!((task.artifacts.len(), task.status.state), (1, TaskState::Completed));
    }
    let more = store.submit(submission("alice", message("more", "more", &text))).await;
    assert!(more.is_ok(), "what was fetched makes room");
    store.check_counts();
}

#[tokio::test(start_paused = true)]
async fn what_was_fetched_is_forgotten_first_then_what_is_old() {
    let store = small();
    let text = "x".repeat(20_000);
    for id in ["old", "fetched"] {
        let submitted = begun(&store, "alice", id).await;
        complete(&store, &run(&submitted), &text).await.expect("kept");
    }
    let asked = begun(&store, "alice", "asked").await;
    store
        .append(&run(&asked), vec![chunk("a", &text, false), status(TaskState::InputRequired)])
        .await
        .expect("asked");
    store.read(&key("alice", "fetched")).await.expect("there");
    let long = "x".repeat(50_000);
    store.submit(submission("alice", message("1", "1", &long))).await.expect("there is room");
    assert_eq!(store.read(&key("alice", "fetched")).await, Err(StoreError::NotFound));
    let submit = async |id: &str| store.submit(submission("alice", message(id, id, &text))).await;
    assert_eq!(submit("2").await, Err(StoreError::TooMany), "nothing else may go yet");
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(submit("2").await.is_ok(), "it was there for a minute");
    assert_eq!(store.read(&key("alice", "old")).await, Err(StoreError::NotFound));
    assert_eq!(submit("3").await, Err(StoreError::TooMany), "what waits for its caller is kept longer");
    tokio::time::advance(Duration::from_secs(600)).await;
    assert!(submit("3").await.is_ok());
    assert_eq!(store.read(&key("alice", "asked")).await, Err(StoreError::NotFound));
    store.check_counts();
}

#[tokio::test]
async fn results_are_bounded_and_a_task_can_always_end() {
    let store = small();
    let submitted = begun(&store, "alice", "1").await;
    let text = "x".repeat(290_000);
    assert_eq!(complete(&store, &run(&submitted), &"x".repeat(310_000)).await, Err(StoreError::TooLarge));
    store.append(&run(&submitted), vec![chunk("a", &text, false)]).await.expect("beyond the share, and kept");
    assert_eq!(
        store.append(&run(&submitted), vec![chunk("a", &text, true)]).await,
        Err(StoreError::TooLarge)
    );
    assert_eq!(store.submit(submission("alice", message("2", "2", "x"))).await, Err(StoreError::TooMany));
    store.append(&run(&submitted), vec![status(TaskState::Failed)]).await.expect("it can end");
    store.check_counts();
}

#[tokio::test]
async fn ended_tasks_make_room_and_unfinished_ones_are_kept() {
    let store = small();
    begun(&store, "alice", "open").await;
    for number in 0..200 {
        let id = number.to_string();
        begun(&store, "alice", &id).await;
        store.cancel(&key("alice", &id)).await.expect("cancelled");
    }
    assert!(store.read(&key("alice", "open")).await.is_ok());
    assert_eq!(store.read(&key("alice", "0")).await, Err(StoreError::NotFound), "the oldest");
    assert!(store.read(&key("alice", "199")).await.is_ok(), "the newest");
    store.check_counts();
}

#[tokio::test]
async fn unfinished_tasks_alone_fill_the_store_and_no_owner_does_it_alone() {
    let store = MemoryStore::default();
    for owner in 0..10 {
        let owner = owner.to_string();
        for number in 0..1000 {
            begun(&store, &owner, &number.to_string()).await;
        }
        let more = store.submit(submission(&owner, message("more", "more", "x"))).await;
        assert_eq!(more, Err(StoreError::TooMany));
    }
    let one = || store.submit(submission("another", message("one", "one", "x")));
    assert_eq!(one().await, Err(StoreError::Full));
    store.cancel(&key("0", "0")).await.expect("cancelled");
    assert!(one().await.is_ok(), "one has ended");
    store.check_counts();
}

#[tokio::test]
async fn what_is_held_is_counted_not_what_was_sent() {
    let store = MemoryStore::default();
    let empty = bindu_a2a::Json::of(&vec![""; 100_000]);
    let message = bindu_a2a::model::Message { reference_task_ids: Some(empty), ..message("1", "1", "x") };
    store.submit(submission("alice", message)).await.expect("taken");
    assert!(store.bytes() >= 300_000, "{}", store.bytes());
}

#[tokio::test(start_paused = true)]
async fn signed_requests_are_forgotten_when_they_have_run_out() {
    let store = MemoryStore::new(Bounds { remembered_of_one: 2, ..Bounds::default() });
    let replay = |hash: u8| crate::ReplayKey {
        hash: [hash; 32],
        until: jiff::Timestamp::now() + Duration::from_secs(600),
    };
    let task = key("alice", "");
    assert_eq!(store.remember(&task, &replay(1)).await, Ok(()));
    assert_eq!(store.remember(&task, &replay(2)).await, Ok(()));
    assert_eq!(store.remember(&task, &replay(3)).await, Err(StoreError::TooManyRemembered));
    assert_eq!(store.remember(&key("bob", ""), &replay(3)).await, Ok(()), "a quota of its own");
    assert!(
        matches!(store.remember(&task, &replay(1)).await, Err(StoreError::Replayed(_))),
        "not forgotten early"
    );
    tokio::time::advance(Duration::from_secs(601)).await;
    assert_eq!(store.remember(&task, &replay(1)).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counts_are_right_after_a_crowd() {
    let store =
        Arc::new(MemoryStore::new(Bounds { bytes: 2_000_000, bytes_of_one: 500_000, ..Bounds::default() }));
    let crowd = (0..8).map(|who| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let owner = format!("owner {}", who % 4);
            for number in 0..300 {
                let id = format!("{who}-{}", number % 40);
                let text = "x".repeat(number * 40);
                let message = message(&id, &format!("{who}-{number}"), &text);
                let Ok(submitted) = store.submit(submission(&owner, message)).await else {
                    let _ = store.cancel(&key(&owner, &id)).await;
                    continue;
                };
                let _ = match number % 4 {
                    0 => complete(&store, &run(&submitted), &text).await.map(|_| ()),
                    1 => store.cancel(&key(&owner, &id)).await.map(|_| ()),
                    2 => store.read(&key(&owner, &id)).await.map(|_| ()),
                    _ => store.forget_context(&client(&owner), &format!("c-{id}")).await.map(|_| ()),
                };
            }
        })
    });
    for one in futures_util::future::join_all(crowd).await {
        one.expect("no panic");
    }
    store.check_counts();
}
