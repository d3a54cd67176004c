//! The contract's cases about what is read: how much at a time, and how little of a task.

use super::{
    Subject, begun,
    cases::{all, complete},
    client, key, message, run, submission,
};
use crate::{ListQuery, Numbered, StoreError};
use bindu_a2a::event::TaskEvent;

pub(super) async fn pages_end_before_too_many_bytes_and_what_is_heavy_is_said(
    subject: Subject,
    name: &'static str,
) {
    let store = &*subject.store;
    let long = "x".repeat(10_000);
    for number in 0..5 {
        let id = number.to_string();
        let submitted = store.submit(submission("alice", message(&id, &id, &long))).await.expect("taken");
        complete(store, &run(&submitted), &long).await;
    }
    for (with_artifacts, page_bytes, wanted) in [
        (false, 35_000, vec![3, 2]),
        (true, 35_000, vec![1; 5]),
        (false, 1, vec![1; 5]),
        (true, 200_000, vec![5]),
    ] {
        let mut query = ListQuery { with_artifacts, page_bytes: Some(page_bytes), ..all() };
        let (mut sizes, mut seen) = (Vec::new(), Vec::new());
        loop {
            let page = subject.other.list(&client("alice"), &query).await.expect("a page");
            assert_eq!(page.total_size, 5, "{name}");
            sizes.push(page.tasks.len());
            seen.extend(page.tasks.into_iter().map(|task| task.id));
            query.page_token = page.next_page_token;
            if query.page_token.is_empty() {
                break;
            }
        }
        assert_eq!((sizes, seen), (wanted, ["4", "3", "2", "1", "0"].map(str::to_owned).into()), "{name}");
    }
    // A store that shares its contents gives them; another says how much it is, and gives what is light.
    let is_heavy = |bytes: &usize| (20_000..60_000).contains(bytes);
    match store.read_light(&key("alice", "1"), 9_000).await {
        Err(StoreError::Heavy(bytes)) => assert!(is_heavy(&bytes), "{name}: {bytes}"),
        read => assert_eq!(read, store.read(&key("alice", "1")).await, "{name}"),
    }
    let light = store.read_light(&key("alice", "1"), 100_000).await;
    assert_eq!(light, store.read(&key("alice", "1")).await, "{name}");
    assert_eq!(store.read_light(&key("bob", "1"), 9_000).await, Err(StoreError::NotFound), "{name}");
    let query = ListQuery { with_artifacts: true, light: Some(90_000), ..all() };
    match store.list(&client("alice"), &query).await {
        Err(StoreError::Heavy(bytes)) => assert!(is_heavy(&(bytes / 5)), "{name}: {bytes}"),
        page => assert_eq!(page.expect("a page").tasks.len(), 5, "{name}"),
    }
    let query = ListQuery { light: Some(90_000), ..all() };
    assert_eq!(
        store.list(&client("alice"), &query).await.expect("without artifacts").tasks.len(),
        5,
        "{name}"
    );
}

pub(super) async fn a_tasks_conversation_and_statuses_are_read_alone(subject: Subject, name: &'static str) {
    let store = &*subject.store;
    let begun = run(&begun(store, "alice", "1").await);
    complete(store, &begun, "done").await;
    assert_eq!(store.context_id(&key("alice", "1")).await.as_deref(), Ok("c-1"), "{name}");
    assert_eq!(store.context_id(&key("bob", "1")).await, Err(StoreError::NotFound), "{name}");
    let events = store.events(&key("alice", "1"), 0, 100).await.expect("events");
    let statuses = store.statuses(&key("alice", "1"), 0, 100).await.expect("statuses");
    let is_status = |event: &&Numbered| matches!(event.event, TaskEvent::Status(_));
    assert!(statuses.iter().eq(events.iter().filter(is_status)), "{name}: {statuses:?}");
    assert_eq!(store.statuses(&key("bob", "1"), 0, 9).await, Err(StoreError::NotFound), "{name}");
}
