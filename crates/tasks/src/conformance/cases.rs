//! The contract, case by case.

use super::{
    Subject,
    answers::a_run_that_nobody_was_told_of_is_given_once,
    begun, chunk, client,
    heavy::{
        a_tasks_conversation_and_statuses_are_read_alone,
        pages_end_before_too_many_bytes_and_what_is_heavy_is_said,
    },
    key, message, push, run, status, submission,
};
use crate::{ListQuery, ReplayKey, RunKey, StoreError, TaskStore};
use bindu_a2a::{Json, event::TaskEvent, model::TaskState};
use futures_util::future::{BoxFuture, join_all};
use jiff::Timestamp;
use serde_json::json;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::time::timeout;

type Case = fn(Subject, &'static str) -> BoxFuture<'static, ()>;

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        /// All cases.
        pub(super) const ALL: &[(&str, Case)] = &[$((stringify!($name), |subject, name| Box::pin($name(subject, name)))),*];
    };
}

cases![
    a_task_is_the_fold_of_its_events,
    another_owners_task_is_not_there,
    an_earlier_run_counts_no_more,
    what_has_ended_takes_nothing_more,
    events_are_taken_all_or_none,
    the_same_message_is_taken_once,
    a_run_that_nobody_was_told_of_is_given_once,
    a_signed_request_is_done_once,
    cancel_ends_the_run,
    pages_are_newest_status_first_and_whole,
    pages_end_before_too_many_bytes_and_what_is_heavy_is_said,
    a_tasks_conversation_and_statuses_are_read_alone,
    lists_are_filtered,
    a_watch_is_told,
    concurrent_appends_have_numbers_without_gaps,
    of_concurrent_messages_one_run_is_left,
    pushes_are_kept_and_claimed_once,
    a_push_of_an_ended_task_is_told_its_end,
    conversations_are_listed_and_forgotten,
    runs_without_a_lease_are_taken_over_once,
    an_owner_cannot_fill_the_store,
];

pub(super) async fn complete(store: &dyn TaskStore, run: &RunKey, text: &str) {
    let events = vec![status(TaskState::Working), chunk("a", text, false), status(TaskState::Completed)];
    store.append(run, events).await.expect("appended");
}

async fn a_task_is_the_fold_of_its_events(subject: Subject, name: &'static str) {
    let store = &*subject.store;
    let submitted = begun(store, "alice", "1").await;
    assert_eq!(submitted.task.task.status.state, TaskState::Submitted, "{name}");
    assert_eq!((submitted.task.number, run(&submitted).run), (2, 1), "{name}: message and status");
    let events = vec![
        status(TaskState::Working),
        chunk("a", "one", false),
        chunk("a", "two", true),
        chunk("b", "x", false),
        chunk("b", "y", false),
        status(TaskState::InputRequired),
    ];
    assert_eq!(store.append(&run(&submitted), events).await, Ok(8), "{name}");
    let more = store.submit(submission("alice", message("1", "m2", "more"))).await.expect("continued");
    assert_eq!((more.task.number, run(&more).run, more.superseded.clone()), (10, 2, None), "{name}");
    complete(store, &run(&more), "three").await;
    let snapshot = subject.other.read(&key("alice", "1")).await.expect("there");
    let texts = |chunks: &[Arc<bindu_a2a::Parts>]| {
        chunks.iter().map(|parts| parts.as_text()).collect::<Vec<_>>().join("+")
    };
    let artifacts: Vec<_> = snapshot.task.artifacts.iter().map(|one| texts(&one.chunks)).collect();
    assert_eq!(artifacts, ["three", "y"], "{name}");
    assert_eq!((snapshot.number, snapshot.task.status.state), (13, TaskState::Completed), "{name}");
    let history: Vec<_> = snapshot.task.history.iter().map(|message| message.id.clone()).collect();
    assert_eq!(history, ["m-1", "m2"], "{name}");
    let mut folded = begun(store, "bob", "1").await.task.task;
    folded.history.clear();
    let events = store.events(&key("alice", "1"), 0, 100).await.expect("there");
    assert!(events.iter().map(|event| event.number).eq(1..=13), "{name}: without gaps");
    events.iter().for_each(|event| folded.apply(&event.event));
    assert_eq!(folded, snapshot.task, "{name}");
    let some = store.events(&key("alice", "1"), 11, 1).await.expect("there");
    assert_eq!(some.iter().map(|event| event.number).collect::<Vec<_>>(), [12], "{name}");
    assert_eq!(store.events(&key("alice", "1"), 13, 1).await, Ok(Vec::new()), "{name}");
}

async fn another_owners_task_is_not_there(subject: Subject, name: &'static str) {
    let store = &*subject.store;
    let mine = begun(store, "alice", "1").await;
    store.put_push(&key("alice", "1"), push("p")).await.expect("kept");
    let theirs = [
        key("bob", "1"),
        key("alice", "2"),
        crate::TaskKey { owner: crate::Owner::Everybody, id: "1".to_owned() },
        crate::TaskKey {
            owner: crate::Owner::Client { id: "alice".into(), subject: Some("bob".into()) },
            id: "1".to_owned(),
        },
    ];
    for key in theirs {
        assert_eq!(store.read(&key).await, Err(StoreError::NotFound), "{name}: {key:?}");
        assert_eq!(store.events(&key, 0, 9).await, Err(StoreError::NotFound), "{name}");
        assert_eq!(store.cancel(&key).await, Err(StoreError::NotFound), "{name}");
        assert_eq!(store.pushes(&key).await, Err(StoreError::NotFound), "{name}");
        assert_eq!(store.put_push(&key, push("q")).await, Err(StoreError::NotFound), "{name}");
        assert_eq!(store.delete_push(&key, "p").await, Err(StoreError::NotFound), "{name}");
        let feedback = store.put_feedback(&key, Json::of(&json!({}))).await;
        assert_eq!(feedback, Err(StoreError::NotFound), "{name}");
        let run = RunKey { task: key.clone(), run: 1 };
        assert_eq!(
            store.append(&run, vec![status(TaskState::Failed)]).await,
            Err(StoreError::Superseded),
            "{name}"
        );
        if key.id == "1" {
            assert_eq!(store.forget_context(&key.owner, "c-1").await, Err(StoreError::NotFound), "{name}");
            let page = store.list(&key.owner, &all()).await.expect("a page");
            assert_eq!((page.tasks, page.total_size), (Vec::new(), 0), "{name}");
            assert_eq!(store.contexts(&key.owner, 9).await, Ok(Vec::new()), "{name}");
        }
        let mut continued = submission("bob", message("1", "m", "x"));
        (continued.owner, continued.may_begin) = (key.owner.clone(), false);
        continued.message = Arc::new(message(&key.id, "m", "x"));
        assert_eq!(store.submit(continued).await, Err(StoreError::NotFound), "{name}");
    }
    // The same id is free for another owner, and changes nothing of the first one's.
    begun(store, "bob", "1").await;
    store.cancel(&key("bob", "1")).await.expect("cancelled");
    assert_eq!(store.read(&key("alice", "1")).await, Ok(mine.task), "{name}");
}

async fn an_earlier_run_counts_no_more(subject: Subject, name: &'static str) {
    let (store, other) = (&*subject.store, &*subject.other);
    let first = run(&begun(store, "alice", "1").await);
    store.append(&first, vec![status(TaskState::Working)]).await.expect("begun");
    let more = other.submit(submission("alice", message("1", "m2", "more"))).await.expect("taken");
    assert_eq!(more.superseded, Some(first.clone()), "{name}");
    assert_eq!(more.task.task.history.len(), 2, "{name}");
    // The first one ends in this very instant: what it says knows nothing of the second message.
    let late = store.append(&first, vec![chunk("a", "old", false), status(TaskState::Completed)]).await;
    assert_eq!(late, Err(StoreError::Superseded), "{name}");
    assert_eq!(store.renew(&[first.clone(), run(&more)]).await, Ok(vec![first]), "{name}");
    complete(other, &run(&more), "new").await;
    let task = store.read(&key("alice", "1")).await.expect("there").task;
    assert_eq!((task.artifacts.len(), task.status.state), (1, TaskState::Completed), "{name}");
    let after = store.submit(submission("alice", message("1", "m3", "more"))).await;
    assert_eq!(after, Err(StoreError::Ended(TaskState::Completed)), "{name}");
}

async fn what_has_ended_takes_nothing_more(subject: Subject, name: &'static str) {
    let store = &*subject.store;
    for state in TaskState::ALL.into_iter().filter(|state| state.is_terminal()) {
        let id = format!("{state:?}");
        let run = run(&begun(store, "alice", &id).await);
        store.append(&run, vec![status(state)]).await.expect("ended");
        let before = store.read(&key("alice", &id)).await;
        let more = store.append(&run, vec![chunk("a", "x", false)]).await;
        assert_eq!(more, Err(StoreError::Superseded), "{name}");
        assert_eq!(store.cancel(&key("alice", &id)).await, Err(StoreError::Ended(state)), "{name}");
        let more = store.submit(submission("alice", message(&id, "other", "more"))).await;
        assert_eq!(more, Err(StoreError::Ended(state)), "{name}");
        assert_eq!(store.read(&key("alice", &id)).await, before, "{name}");
        assert_eq!(store.renew(std::slice::from_ref(&run)).await, Ok(vec![run]), "{name}");
    }
}

async fn events_are_taken_all_or_none(subject: Subject, name: &'static str) {
    let store = &*subject.store;
    let run = run(&begun(store, "alice", "1").await);
    let events = vec![chunk("a", "x", false), status(TaskState::Completed), chunk("a", "y", true)];
    assert_eq!(store.append(&run, events).await, Err(StoreError::Superseded), "{name}");
    let snapshot = store.read(&key("alice", "1")).await.expect("there");
    assert_eq!((snapshot.number, snapshot.task.artifacts.len()), (2, 0), "{name}");
    assert_eq!(store.append(&run, vec![status(TaskState::Working)]).await, Ok(3), "{name}");
    // An attempt whose answer was lost may come again: it is stored once.
    let other = &*subject.other;
    let again = || other.append_after(&run, Some(3), vec![chunk("a", "x", true), chunk("a", "y", true)]);
    assert_eq!(again().await, Ok(5), "{name}");
    assert_eq!(again().await, Err(StoreError::Moved(5)), "{name}");
    let ahead = store.append_after(&run, Some(9), vec![status(TaskState::Completed)]).await;
    assert_eq!(ahead, Err(StoreError::Moved(5)), "{name}");
    assert_eq!(store.append_after(&run, Some(5), vec![status(TaskState::Completed)]).await, Ok(6), "{name}");
    let late = store.append_after(&run, Some(6), vec![status(TaskState::Failed)]).await;
    assert_eq!(late, Err(StoreError::Superseded), "{name}");
}

async fn the_same_message_is_taken_once(subject: Subject, name: &'static str) {
    let (store, other) = (&*subject.store, &*subject.other);
    let first = begun(store, "alice", "1").await;
    // The callers of Python Bindu choose a new task id when they send a message again.
    let again = || submission("alice", message("2", "m-1", "hello"));
    let second = other.submit(again()).await.expect("known");
    assert_eq!((second.run.as_ref(), second.task.task.id.as_str()), (None, "1"), "{name}");
    assert_eq!(second.task, first.task, "{name}: nothing was changed");
    let mut another = submission("alice", message("3", "m-1", "other"));
    another.content = Some([7; 32]);
    assert!(store.submit(another).await.expect("taken").run.is_some(), "{name}: another content");
    let bobs = store.submit(submission("bob", message("2", "m-1", "hello"))).await.expect("taken");
    assert!(bobs.run.is_some(), "{name}: another owner");
    for _ in 0..2 {
        let mut anonymous = submission("alice", message("1", "m-1", "hello"));
        anonymous.content = None;
        assert!(store.submit(anonymous).await.expect("taken").run.is_some(), "{name}: without a hash");
    }
    store.cancel(&key("alice", "1")).await.expect("cancelled");
    let ended = store.submit(again()).await.expect("the same, though its task has ended");
    assert_eq!((ended.run, ended.task.task.status.state), (None, TaskState::Canceled), "{name}");
    let all = (0..20).map(|number| {
        let store = if number % 2 == 0 { store } else { other };
        store.submit(submission("carol", message(&format!("c{number}"), "m", "hello")))
    });
    let all = join_all(all).await;
    let runs = all.iter().flatten().filter(|submitted| submitted.run.is_some()).count();
    let ids: HashSet<_> = all.iter().flatten().map(|submitted| submitted.task.task.id.clone()).collect();
    assert_eq!((all.iter().flatten().count(), runs, ids.len()), (20, 1, 1), "{name}: at once");
}

async fn a_signed_request_is_done_once(subject: Subject, name: &'static str) {
    let store = &*subject.store;
    let replay = |hash: u8| {
        let until = Timestamp::now() + Duration::from_secs(600);
        Some(ReplayKey { hash: [hash; 32], until })
    };
    let mut first = submission("alice", message("1", "m1", "hello"));
    first.replay = replay(1);
    let mut second = submission("alice", message("2", "m2", "hello"));
    second.replay = replay(1);
    assert!(store.submit(first).await.expect("taken").run.is_some(), "{name}");
    assert_eq!(subject.other.submit(second).await, Err(StoreError::Replayed(key("alice", "1"))), "{name}");
    assert_eq!(store.read(&key("alice", "2")).await, Err(StoreError::NotFound), "{name}");
    let note = replay(2).expect("a key");
    assert_eq!(store.remember(&key("alice", "9"), &note).await, Ok(()), "{name}");
    let again = subject.other.remember(&key("alice", "8"), &note).await;
    assert_eq!(again, Err(StoreError::Replayed(key("alice", "9"))), "{name}");
    let mut refused = submission("alice", message("3", "m3", "hello"));
    (refused.replay, refused.may_begin) = (replay(3), false);
    assert_eq!(store.submit(refused).await, Err(StoreError::NotFound), "{name}");
    let mut taken = submission("alice", message("3", "m3", "hello"));
    taken.replay = replay(3);
    assert!(store.submit(taken).await.is_ok(), "{name}: what was refused may come again");
}

async fn cancel_ends_the_run(subject: Subject, name: &'static str) {
    let store = &*subject.store;
    let running = run(&begun(store, "alice", "1").await);
    let canceled = subject.other.cancel(&key("alice", "1")).await.expect("cancelled");
    assert_eq!(canceled.run, Some(running.clone()), "{name}");
    assert_eq!((canceled.task.task.status.state, canceled.task.number), (TaskState::Canceled, 3), "{name}");
    assert_eq!(
        store.append(&running, vec![status(TaskState::Completed)]).await,
        Err(StoreError::Superseded),
        "{name}"
    );
    let waiting = run(&begun(store, "alice", "2").await);
    store.append(&waiting, vec![status(TaskState::InputRequired)]).await.expect("asked");
    let canceled = store.cancel(&key("alice", "2")).await.expect("cancelled");
    assert_eq!(canceled.task.task.status.state, TaskState::Canceled, "{name}");
}

pub(super) fn all() -> ListQuery {
    ListQuery { page_size: 100, ..ListQuery::default() }
}

async fn pages_are_newest_status_first_and_whole(subject: Subject, name: &'static str) {
    let store = &*subject.store;
    for number in 0..25 {
        let run = run(&begun(store, "alice", &number.to_string()).await);
        if number % 5 == 0 {
            complete(store, &run, "done").await;
        }
    }
    begun(store, "bob", "1").await;
    // One that changes comes first again.
    store.cancel(&key("alice", "3")).await.expect("cancelled");
    let whole = store.list(&client("alice"), &all()).await.expect("a page");
    assert_eq!((whole.tasks.len(), whole.total_size, whole.next_page_token.as_str()), (25, 25, ""), "{name}");
    assert_eq!(whole.tasks.first().map(|task| task.id.as_str()), Some("3"), "{name}");
    let times: Vec<_> = whole.tasks.iter().map(|task| task.status.timestamp).collect();
    assert!(times.windows(2).all(|pair| pair[0] >= pair[1]), "{name}: {times:?}");
    assert!(whole.tasks.iter().all(|task| task.artifacts.is_empty()), "{name}: left out");
    let with = ListQuery { with_artifacts: true, ..all() };
    let with = store.list(&client("alice"), &with).await.expect("a page");
    assert_eq!(with.tasks.iter().filter(|task| !task.artifacts.is_empty()).count(), 5, "{name}");
    let (mut query, mut seen) = (ListQuery { page_size: 7, ..ListQuery::default() }, Vec::new());
    loop {
        let page = subject.other.list(&client("alice"), &query).await.expect("a page");
        assert_eq!(page.total_size, 25, "{name}");
        seen.extend(page.tasks.into_iter().map(|task| task.id));
        query.page_token = page.next_page_token;
        if query.page_token.is_empty() {
            break;
        }
        begun(store, "alice", &format!("new {}", seen.len())).await;
        store.forget_context(&client("alice"), &format!("c-new {}", seen.len())).await.expect("forgotten");
    }
    assert!(seen.iter().eq(whole.tasks.iter().map(|task| &task.id)), "{name}: {seen:?}");
    for bad in ["x", "1", "1.x", "-", "9999999999999999999999999999999999999999.1"] {
        let query = ListQuery { page_token: bad.to_owned(), ..all() };
        let page = store.list(&client("alice"), &query).await;
        assert_eq!(page, Err(StoreError::BadPageToken), "{name}: {bad}");
    }
}

async fn lists_are_filtered(subject: Subject, name: &'static str) {
    let store = &*subject.store;
    for number in 0..6 {
        let id = number.to_string();
        let mut submission = submission("alice", message(&id, &id, "x"));
        let context_id = format!("c{}", number % 2);
        submission.message = Arc::new(bindu_a2a::model::Message { context_id, ..message(&id, &id, "x") });
        store.submit(submission).await.expect("taken");
    }
    store.cancel(&key("alice", "1")).await.expect("cancelled");
    let ids = async |query: ListQuery| {
        let page = store.list(&client("alice"), &query).await.expect("a page");
        assert_eq!(page.total_size, page.tasks.len(), "{name}");
        page.tasks.into_iter().map(|task| task.id).collect::<Vec<_>>()
    };
    let of_context = ListQuery { context_id: Some("c1".to_owned()), ..all() };
    assert_eq!(ids(of_context.clone()).await, ["1", "5", "3"], "{name}");
    let in_state = ListQuery { state: Some(TaskState::Canceled), ..all() };
    assert_eq!(ids(in_state).await, ["1"], "{name}");
    let changed = store.read(&key("alice", "1")).await.expect("there").task.status.timestamp;
    assert_eq!(ids(ListQuery { changed_since: Some(changed), ..all() }).await, ["1"], "{name}");
    let both = ListQuery { state: Some(TaskState::Submitted), page_size: 1, ..of_context };
    let page = store.list(&client("alice"), &both).await.expect("a page");
    assert_eq!((page.tasks.len(), page.total_size), (1, 2), "{name}");
    let next = ListQuery { page_token: page.next_page_token, ..both };
    let page = store.list(&client("alice"), &next).await.expect("a page");
    let ids: Vec<_> = page.tasks.iter().map(|task| task.id.as_str()).collect();
    assert_eq!((ids, page.next_page_token.as_str()), (vec!["3"], ""), "{name}");
}

async fn a_watch_is_told(subject: Subject, name: &'static str) {
    let store = &*subject.store;
    let run = run(&begun(store, "alice", "1").await);
    let mut watch = subject.other.watch(&key("alice", "1"));
    watch.mark_unchanged();
    store.append(&run, vec![status(TaskState::Working), chunk("a", "x", false)]).await.expect("appended");
    timeout(Duration::from_secs(30), async {
        while *watch.borrow_and_update() < 4 {
            watch.changed().await.expect("the store is there");
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{name}: it was not told"));
    let never = store.watch(&key("bob", "1"));
    begun(store, "carol", "1").await;
    assert!(!never.has_changed().unwrap_or(false), "{name}: another's");
}

async fn concurrent_appends_have_numbers_without_gaps(subject: Subject, name: &'static str) {
    let (store, other) = (&*subject.store, &*subject.other);
    let run = run(&begun(store, "alice", "1").await);
    let appends = (0..40).map(|number| {
        let store = if number % 2 == 0 { store } else { other };
        store.append(&run, vec![chunk("a", &number.to_string(), true), chunk("a", "-", true)])
    });
    let mut numbers: Vec<u64> =
        join_all(appends).await.into_iter().map(|done| done.expect("appended")).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq((1..=40).map(|number| 2 + 2 * number)), "{name}: {numbers:?}");
    let events = store.events(&key("alice", "1"), 0, 1000).await.expect("there");
    assert!(events.iter().map(|event| event.number).eq(1..=82), "{name}");
    // Those of one call follow one another.
    let chunks: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.event {
            TaskEvent::Artifact(chunk) => Some(chunk.parts.as_text()),
            _ => None,
        })
        .collect();
    assert!(chunks.chunks(2).all(|pair| pair[0] != "-" && pair[1] == "-"), "{name}: {chunks:?}");
}

async fn of_concurrent_messages_one_run_is_left(subject: Subject, name: &'static str) {
    let (store, other) = (&*subject.store, &*subject.other);
    let submits = (0..20).map(|number| {
        let store = if number % 2 == 0 { store } else { other };
        store.submit(submission("alice", message("1", &format!("m{number}"), "hello")))
    });
    let submitted: Vec<_> = join_all(submits).await.into_iter().map(|done| done.expect("taken")).collect();
    let mut runs: Vec<RunKey> = submitted.iter().map(run).collect();
    runs.sort_by_key(|run| run.run);
    assert!(runs.iter().map(|run| run.run).eq(1..=20), "{name}: {runs:?}");
    let superseded: HashSet<u64> =
        submitted.iter().flat_map(|one| &one.superseded).map(|run| run.run).collect();
    assert_eq!(superseded, (1..20).collect(), "{name}");
    let last = runs.pop().expect("twenty");
    assert_eq!(store.renew(&runs).await.map(|lost| lost.len()), Ok(19), "{name}");
    complete(store, &last, "all").await;
    assert_eq!(store.read(&key("alice", "1")).await.expect("there").task.history.len(), 20, "{name}");
}

async fn pushes_are_kept_and_claimed_once(subject: Subject, name: &'static str) {
    let store = &*subject.store;
    let mut with_push = submission("alice", message("1", "m", "hello"));
    with_push.push = Some(push("first"));
    let run = run(&store.submit(with_push).await.expect("taken"));
    let task = key("alice", "1");
    store.put_push(&task, push("second")).await.expect("kept");
    store.put_push(&task, push("second")).await.expect("in place of it");
    let ids =
        |configs: Vec<bindu_a2a::call::PushConfig>| configs.into_iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!(
        store.pushes(&task).await.map(ids),
        Ok(vec!["first".to_owned(), "second".to_owned()]),
        "{name}"
    );
    assert_eq!(store.due_pushes(10).await, Ok(Vec::new()), "{name}: nothing has happened since");
    store.append(&run, vec![status(TaskState::Working), status(TaskState::Completed)]).await.expect("ended");
    let one = store.due_pushes(1).await.expect("due");
    assert_eq!(one.len(), 1, "{name}");
    let mut due = one;
    due.extend(subject.other.due_pushes(10).await.expect("due"));
    due.sort_by(|one, other| one.config.id.cmp(&other.config.id));
    assert_eq!(due.len(), 2, "{name}: each is claimed once");
    assert!(due.iter().all(|one| one.delivered == 2 && one.failures == 0), "{name}: {due:?}");
    assert_eq!(due[0].config.token.as_deref(), Some("a token"), "{name}");
    store.note_push(&task, "first", Ok(3)).await.expect("noted");
    let next = store.due_pushes(10).await.expect("due");
    assert_eq!(
        next.iter().map(|one| (one.config.id.as_str(), one.delivered)).collect::<Vec<_>>(),
        [("first", 3)],
        "{name}"
    );
    let past = Timestamp::now() - Duration::from_secs(1);
    store.note_push(&task, "first", Err(past)).await.expect("noted");
    let again = store.due_pushes(10).await.expect("due");
    assert_eq!(again.iter().map(|one| one.failures).collect::<Vec<_>>(), [1], "{name}");
    let later = Timestamp::now() + Duration::from_secs(600);
    store.note_push(&task, "first", Err(later)).await.expect("noted");
    assert_eq!(store.due_pushes(10).await, Ok(Vec::new()), "{name}: not before its time");
    store.note_push(&task, "first", Ok(4)).await.expect("noted");
    assert_eq!(store.pushes(&task).await.map(ids), Ok(vec!["second".to_owned()]), "{name}: delivered wholly");
    store.delete_push(&task, "second").await.expect("deleted");
    assert_eq!(store.delete_push(&task, "second").await, Err(StoreError::NotFound), "{name}");
    assert_eq!(store.note_push(&task, "second", Ok(4)).await, Err(StoreError::NotFound), "{name}");
    assert_eq!(store.pushes(&task).await, Ok(Vec::new()), "{name}");
}

/// A task may be faster than the caller who wants to be told of it.
async fn a_push_of_an_ended_task_is_told_its_end(subject: Subject, name: &'static str) {
    let store = &*subject.store;
    let run = run(&store.submit(submission("alice", message("1", "m", "hello"))).await.expect("taken"));
    store.append(&run, vec![status(TaskState::Working), status(TaskState::Completed)]).await.expect("ended");
    let task = key("alice", "1");
    let last = store.read(&task).await.expect("there").number;
    store.put_push(&task, push("late")).await.expect("kept");
    let due = store.due_pushes(10).await.expect("due");
    assert_eq!(due.iter().map(|one| one.delivered).collect::<Vec<_>>(), [last - 1], "{name}");
    store.note_push(&task, "late", Ok(last)).await.expect("noted");
    assert_eq!(store.pushes(&task).await, Ok(Vec::new()), "{name}: it ends with its task");
}

async fn conversations_are_listed_and_forgotten(subject: Subject, name: &'static str) {
    let store = &*subject.store;
    let in_context = |id: &str, context_id: &str| {
        let context_id = context_id.to_owned();
        submission("alice", bindu_a2a::model::Message { context_id, ..message(id, id, "x") })
    };
    for (id, context) in [("1", "a"), ("2", "b"), ("3", "a")] {
        store.submit(in_context(id, context)).await.expect("taken");
    }
    let running = RunKey { task: key("alice", "2"), run: 1 };
    store.put_feedback(&key("alice", "2"), Json::of(&json!({"rating": 5}))).await.expect("kept");
    let contexts = store.contexts(&client("alice"), 10).await.expect("listed");
    let shown: Vec<_> = contexts.iter().map(|one| (one.id.as_str(), one.tasks.clone())).collect();
    let want = vec![("a", vec!["1".to_owned(), "3".to_owned()]), ("b", vec!["2".to_owned()])];
    assert_eq!(shown, want, "{name}");
    assert_eq!(store.contexts(&client("alice"), 1).await.map(|all| all.len()), Ok(1), "{name}");
    assert_eq!(store.forget_context(&client("alice"), "b").await, Ok(1), "{name}");
    assert_eq!(store.forget_context(&client("alice"), "b").await, Err(StoreError::NotFound), "{name}");
    assert_eq!(store.read(&key("alice", "2")).await, Err(StoreError::NotFound), "{name}");
    let late = store.append(&running, vec![status(TaskState::Completed)]).await;
    assert_eq!(late, Err(StoreError::Superseded), "{name}");
    assert_eq!(store.renew(&[running]).await.map(|lost| lost.len()), Ok(1), "{name}");
    assert_eq!(store.list(&client("alice"), &all()).await.map(|page| page.total_size), Ok(2), "{name}");
    assert!(store.submit(in_context("2", "b")).await.expect("as if new").run.is_some(), "{name}");
}

async fn runs_without_a_lease_are_taken_over_once(subject: Subject, name: &'static str) {
    let (store, other) = (&*subject.store, &*subject.other);
    let run = run(&begun(store, "alice", "1").await);
    assert_eq!(store.renew(std::slice::from_ref(&run)).await, Ok(Vec::new()), "{name}");
    assert_eq!(other.take_abandoned(10).await, Ok(Vec::new()), "{name}");
    let Some(end_leases) = subject.end_leases else { return };
    let asked = begun(store, "alice", "asked").await;
    store.append(&super::run(&asked), vec![status(TaskState::InputRequired)]).await.expect("asked");
    end_leases().await;
    let (one, two) = tokio::join!(store.take_abandoned(10), other.take_abandoned(10));
    let taken: Vec<_> = one.into_iter().flatten().chain(two.into_iter().flatten()).collect();
    assert_eq!(taken.len(), 1, "{name}: by one of them, and not what waits for its caller: {taken:?}");
    assert!(taken[0].run.run > run.run && taken[0].run.task == run.task, "{name}");
    assert_eq!(store.renew(std::slice::from_ref(&run)).await, Ok(vec![run.clone()]), "{name}: lost");
    let late = store.append(&run, vec![status(TaskState::Completed)]).await;
    assert_eq!(late, Err(StoreError::Superseded), "{name}");
    store.append(&taken[0].run, vec![status(TaskState::Failed)]).await.expect("the taker's word counts");
    end_leases().await;
    assert_eq!(store.take_abandoned(10).await, Ok(Vec::new()), "{name}: ended");
    let given_up = super::run(&begun(store, "alice", "given up").await);
    let not_theirs = RunKey { run: given_up.run + 1, ..given_up.clone() };
    store.release(&[not_theirs, run.clone()]).await.expect("nothing to release");
    assert_eq!(other.take_abandoned(10).await, Ok(Vec::new()), "{name}: it is not released by others");
    store.release(std::slice::from_ref(&given_up)).await.expect("released");
    let taken = other.take_abandoned(10).await.expect("asked");
    assert_eq!(
        taken.iter().map(|one| &one.run.task).collect::<Vec<_>>(),
        [&given_up.task],
        "{name}: at once"
    );
}

async fn an_owner_cannot_fill_the_store(subject: Subject, name: &'static str) {
    let Some(fits) = subject.fits else { return };
    let store = &*subject.store;
    let long = "x".repeat(100_000);
    let mut taken = 0;
    let refused = loop {
        let id = taken.to_string();
        match store.submit(submission("alice", message(&id, &id, &long))).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken <= fits, "{name}: {taken}");
    };
    assert!(matches!(refused, StoreError::TooMany), "{name}: {refused:?}");
    assert!(store.submit(submission("bob", message("1", "1", &long))).await.is_ok(), "{name}");
    assert!(store.read(&key("alice", "0")).await.is_ok(), "{name}: nothing was forgotten for it");
}
