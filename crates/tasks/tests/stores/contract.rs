//! What each [`TaskStore`] must do, whatever it is made of.

use crate::places;
use bindu_a2a::{
    Json, Parts,
    call::PushConfig,
    event::{ArtifactChunk, TaskEvent},
    model::{Message, Role, Task, TaskState, TaskStatus},
};
use bindu_tasks::{
    Bounds, Caller, Client, ListQuery, MemoryStore, Owner, ReplayKey, RunKey, SqlBounds, StoreError,
    Submission, TaskKey, TaskStore,
};
use jiff::Timestamp;
use std::{collections::HashSet, sync::Arc, time::Duration};

/// Small bounds, so that they are met.
const TASK_BYTES: usize = 400_000;
const UNFINISHED: usize = 5;
const REMEMBERED: usize = 3;
const PUSHES: usize = 2;

fn memory() -> Arc<dyn TaskStore> {
    Arc::new(MemoryStore::new(Bounds {
        bytes_of_one: TASK_BYTES,
        unfinished_of_one: UNFINISHED,
        remembered_of_one: REMEMBERED,
        pushes: PUSHES,
        ..Bounds::default()
    }))
}

pub(crate) fn small_bounds() -> SqlBounds {
    SqlBounds {
        task_bytes: TASK_BYTES,
        unfinished_of_one: UNFINISHED,
        remembered_of_one: REMEMBERED,
        pushes: PUSHES,
        ..SqlBounds::default()
    }
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    keeps_the_contract(memory()).await;
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let place = places::sqlite_with(|options| options.bounds = small_bounds()).await;
    keeps_the_contract(Arc::clone(&place.store) as Arc<dyn TaskStore>).await;
}

#[tokio::test]
async fn postgres_keeps_the_contract() {
    keeps_the_contract(places::postgres_with(small_bounds())).await;
}

async fn keeps_the_contract(store: Arc<dyn TaskStore>) {
    let store = &*store;
    a_task_from_its_message_to_its_end(store).await;
    owners_never_meet(store).await;
    what_is_sent_again_is_the_same_message(store).await;
    a_signed_request_is_done_once(store).await;
    runs_that_count_no_more_say_nothing(store).await;
    nothing_follows_the_end(store).await;
    lists_have_pages_and_conditions(store).await;
    watchers_are_told(store).await;
    pushes_are_kept_claimed_and_forgotten(store).await;
    conversations_are_listed_and_forgotten(store).await;
    bounds_are_kept(store).await;
    any_text_is_kept(store).await;
    assert_eq!(store.check().await, Ok(()));
    racing(store).await;
}

pub(crate) fn owner(id: &str) -> Owner {
    let client = Client { id: id.into(), subject: None, did: None, scopes: Vec::new() };
    Caller::Client(Arc::new(client)).owner()
}

pub(crate) fn id() -> String {
    uuid::Uuid::new_v4().to_string()
}

pub(crate) fn key(of: &Owner, id: &str) -> TaskKey {
    TaskKey { owner: of.clone(), id: id.to_owned() }
}

pub(crate) fn message(task: &str, context: &str, text: &str) -> Message {
    let message = Message::of_agent(task, context, Parts::of_text(text));
    Message { role: Role::User, ..message }
}

pub(crate) fn submission(of: &Owner, message: Message) -> Submission {
    Submission {
        owner: of.clone(),
        content: Some([7; 32]),
        message: Arc::new(message),
        may_begin: true,
        replay: None,
        push: None,
    }
}

pub(crate) fn status(state: TaskState) -> TaskEvent {
    TaskEvent::Status(TaskStatus { state, message: None, timestamp: Timestamp::now() })
}

fn chunk(id: &str, text: &str, append: bool) -> TaskEvent {
    TaskEvent::Artifact(Arc::new(ArtifactChunk {
        id: id.to_owned(),
        name: None,
        description: None,
        parts: Arc::new(Parts::of_text(text)),
        metadata: None,
        extensions: None,
        append,
        is_last: false,
    }))
}

fn push(id: &str) -> PushConfig {
    PushConfig {
        id: id.to_owned(),
        task_id: String::new(),
        url: "https://example.com/hook".to_owned(),
        token: Some("t".to_owned()),
        authentication: None,
    }
}

pub(crate) async fn begun(store: &dyn TaskStore, of: &Owner, task: &str) -> RunKey {
    let submitted = store.submit(submission(of, message(task, "c", "hi"))).await.expect("taken");
    submitted.run.expect("a run")
}

fn folded(task: &Task, events: &[bindu_tasks::Numbered]) -> Task {
    let mut fold = Task { history: Vec::new(), artifacts: Vec::new(), ..task.clone() };
    events.iter().for_each(|numbered| fold.apply(&numbered.event));
    fold
}

async fn a_task_from_its_message_to_its_end(store: &dyn TaskStore) {
    let (of, task) = (owner("alice"), id());
    let key = key(&of, &task);
    let unknown = Submission { may_begin: false, ..submission(&of, message(&task, "c", "hi")) };
    assert_eq!(store.submit(unknown).await, Err(StoreError::NotFound));
    assert_eq!(store.read(&key).await, Err(StoreError::NotFound));
    assert_eq!(store.events(&key, 0, 10).await, Err(StoreError::NotFound));
    assert_eq!(store.cancel(&key).await, Err(StoreError::NotFound));

    let submitted = store.submit(submission(&of, message(&task, "c", "hi"))).await.expect("taken");
    let run = submitted.run.clone().expect("a run");
    assert_eq!((run.run, submitted.superseded), (1, None));
    assert_eq!(submitted.task.task.status.state, TaskState::Submitted);
    assert_eq!(store.read(&key).await.expect("there"), submitted.task);

    let number = submitted.task.number;
    assert_eq!(store.append(&run, vec![status(TaskState::Working)]).await, Ok(number + 1));
    let results = vec![chunk("a", "one", false), chunk("a", "two", true), chunk("b", "other", false)];
    assert_eq!(store.append(&run, results).await, Ok(number + 4));
    assert_eq!(store.append(&run, Vec::new()).await, Ok(number + 4));
    let answer = Message::of_agent(&task, "c", Parts::of_text("done"));
    let question = TaskEvent::Status(TaskStatus {
        state: TaskState::InputRequired,
        message: Some(Arc::new(answer)),
        timestamp: Timestamp::now(),
    });
    assert_eq!(store.append(&run, vec![question]).await, Ok(number + 5));
    let more = store.submit(submission(&of, message(&task, "c", "more"))).await.expect("taken");
    let second = more.run.expect("another run");
    assert_eq!((second.run, more.superseded), (2, None), "the first one waits for its caller");
    assert_eq!(store.append(&second, vec![status(TaskState::Completed)]).await, Ok(more.task.number + 1));

    let snapshot = store.read(&key).await.expect("there");
    let events = store.events(&key, 0, 1000).await.expect("there");
    assert_eq!(events.len() as u64, snapshot.number);
    assert!((1..).zip(&events).all(|(number, event)| event.number == number));
    assert_eq!(folded(&snapshot.task, &events), snapshot.task, "the state is the fold of the events");
    assert_eq!(snapshot.task.history.len(), 3);
    assert_eq!(snapshot.task.artifacts.len(), 2);
    assert_eq!(store.events(&key, 2, 2).await.expect("there"), events[2..4]);
    assert_eq!(store.events(&key, snapshot.number, 5).await, Ok(Vec::new()));
}

async fn owners_never_meet(store: &dyn TaskStore) {
    let task = id();
    let alice = owner("alice");
    let subject = Owner::Client { id: "alice".into(), subject: Some("bob".into()) };
    let run = begun(store, &alice, &task).await;
    for other in [owner("bob"), subject, Owner::Everybody] {
        let key = key(&other, &task);
        assert_eq!(store.read(&key).await, Err(StoreError::NotFound));
        assert_eq!(store.cancel(&key).await, Err(StoreError::NotFound));
        assert_eq!(store.events(&key, 0, 1).await, Err(StoreError::NotFound));
        assert_eq!(store.pushes(&key).await, Err(StoreError::NotFound));
        assert_eq!(store.put_push(&key, push("p")).await, Err(StoreError::NotFound));
        assert_eq!(store.put_feedback(&key, Json::of(&"good")).await, Err(StoreError::NotFound));
        let stolen = RunKey { task: key.clone(), run: run.run };
        assert_eq!(store.append(&stolen, vec![status(TaskState::Failed)]).await, Err(StoreError::Superseded));
        assert_eq!(store.forget_context(&other, "c").await.ok().filter(|count| *count > 0), None);
        let tasks =
            store.list(&other, &ListQuery { page_size: 10, ..ListQuery::default() }).await.expect("a list");
        assert!(tasks.tasks.iter().all(|found| found.id != task));
    }
    assert!(store.put_feedback(&key(&alice, &task), Json::of(&"good")).await.is_ok());
    store.cancel(&key(&alice, &task)).await.expect("its own");
}

async fn what_is_sent_again_is_the_same_message(store: &dyn TaskStore) {
    let (of, task) = (owner("carol"), id());
    let first = submission(&of, message(&task, "c", "hi"));
    let submitted = store.submit(first.clone()).await.expect("taken");
    let again = store.submit(first.clone()).await.expect("known");
    assert_eq!((again.run, again.superseded), (None, None));
    assert_eq!(again.task, submitted.task, "nothing was changed");
    // The same, though it names another task now.
    let moved = Message { task_id: id(), ..(*first.message).clone() };
    let moved = store.submit(Submission { message: Arc::new(moved), ..first.clone() }).await.expect("known");
    assert_eq!((moved.run, moved.task.task.id.as_str()), (None, task.as_str()));
    // The same id with other content is another message, and so is the same of another owner.
    let other = store.submit(Submission { content: Some([8; 32]), ..first.clone() }).await.expect("taken");
    assert_eq!(other.superseded, submitted.run);
    let of_dave = store.submit(Submission { owner: owner("dave"), ..first.clone() }).await.expect("taken");
    assert!(of_dave.run.is_some());
    store.cancel(&key(&of, &task)).await.expect("cancelled");
    let ended = store.submit(first.clone()).await.expect("known, though it has ended");
    assert_eq!(ended.task.task.status.state, TaskState::Canceled);
    // With authentication off every message is new.
    let open = Submission { owner: Owner::Everybody, content: None, ..first };
    let one = store.submit(open.clone()).await.expect("taken");
    let two = store.submit(open).await.expect("taken");
    assert_eq!(two.superseded, one.run);
}

fn replay(byte: u8, seconds: i64) -> ReplayKey {
    let until = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    ReplayKey { hash: [byte; 32], until }
}

async fn a_signed_request_is_done_once(store: &dyn TaskStore) {
    let (of, task) = (owner("erin"), id());
    let signed = Submission { replay: Some(replay(1, 600)), ..submission(&of, message(&task, "c", "hi")) };
    store.submit(signed.clone()).await.expect("taken");
    let other = message(&id(), "c", "other");
    let replayed = store.submit(Submission { message: Arc::new(other), ..signed.clone() }).await;
    assert_eq!(replayed, Err(StoreError::Replayed(key(&of, &task))));
    assert_eq!(
        store.remember(&key(&of, "x"), &replay(1, 600)).await,
        Err(StoreError::Replayed(key(&of, &task)))
    );
    store.remember(&key(&of, "x"), &replay(2, 600)).await.expect("new");
    assert_eq!(
        store.remember(&key(&of, "y"), &replay(2, 600)).await,
        Err(StoreError::Replayed(key(&of, "x")))
    );
    store.remember(&key(&of, "z"), &replay(3, 600)).await.expect("new");
    assert_eq!(store.remember(&key(&of, "z"), &replay(4, 600)).await, Err(StoreError::TooManyRemembered));
    let full = Submission { replay: Some(replay(5, 600)), ..submission(&of, message(&id(), "c", "hi")) };
    assert_eq!(store.submit(full).await, Err(StoreError::TooManyRemembered));
    store.remember(&key(&owner("frank"), "x"), &replay(1, 600)).await.expect("another owner's");
    store.cancel(&key(&of, &task)).await.expect("cancelled");
}

async fn runs_that_count_no_more_say_nothing(store: &dyn TaskStore) {
    let (of, task) = (owner("grace"), id());
    let first = begun(store, &of, &task).await;
    let second = store.submit(submission(&of, message(&task, "c", "more"))).await.expect("taken");
    assert_eq!(second.superseded, Some(first.clone()));
    let before = store.read(&first.task).await.expect("there");
    for state in [TaskState::Working, TaskState::Completed] {
        assert_eq!(store.append(&first, vec![status(state)]).await, Err(StoreError::Superseded));
    }
    assert_eq!(store.read(&first.task).await.expect("there"), before);
    let second = second.run.expect("a run");
    assert_eq!(store.renew(&[first.clone(), second.clone()]).await, Ok(vec![first]));
    let canceled = store.cancel(&second.task).await.expect("cancelled");
    assert_eq!(canceled.run, Some(second.clone()));
    assert_eq!(canceled.task.task.status.state, TaskState::Canceled);
    assert_eq!(store.append(&second, vec![status(TaskState::Completed)]).await, Err(StoreError::Superseded));
    assert_eq!(store.renew(std::slice::from_ref(&second)).await, Ok(vec![second.clone()]));
    assert_eq!(store.cancel(&second.task).await, Err(StoreError::Ended(TaskState::Canceled)));
}

async fn nothing_follows_the_end(store: &dyn TaskStore) {
    let (of, task) = (owner("heidi"), id());
    let run = begun(store, &of, &task).await;
    let before = store.read(&run.task).await.expect("there");
    let after_end = vec![status(TaskState::Completed), chunk("a", "late", false)];
    assert_eq!(store.append(&run, after_end).await, Err(StoreError::Superseded));
    assert_eq!(store.read(&run.task).await.expect("there"), before, "all or none");
    store.append(&run, vec![chunk("a", "in time", false), status(TaskState::Failed)]).await.expect("the end");
    assert_eq!(store.append(&run, vec![chunk("a", "late", true)]).await, Err(StoreError::Superseded));
    let more = store.submit(submission(&of, message(&task, "c", "more"))).await;
    assert_eq!(more, Err(StoreError::Ended(TaskState::Failed)));
}

async fn lists_have_pages_and_conditions(store: &dyn TaskStore) {
    let of = owner("ivan");
    let mut all = Vec::new();
    for number in 0..7 {
        let task = id();
        let context = if number % 2 == 0 { "even" } else { "odd" };
        let run = store.submit(submission(&of, message(&task, context, "hi"))).await.expect("taken");
        let run = run.run.expect("a run");
        let state = if number < 3 { TaskState::Completed } else { TaskState::Failed };
        store.append(&run, vec![chunk("a", "x", false), status(state)]).await.expect("the end");
        all.push(store.read(&run.task).await.expect("there").task);
    }
    all.reverse();
    let query = ListQuery { page_size: 3, with_artifacts: true, ..ListQuery::default() };
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let page = store.list(&of, &ListQuery { page_token: token, ..query.clone() }).await.expect("a page");
        assert!(page.tasks.len() <= 3 && page.total_size == 7);
        found.extend(page.tasks);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(found, all, "newest status first");
    let bare = store.list(&of, &ListQuery { page_size: 7, ..ListQuery::default() }).await.expect("a page");
    assert!(bare.tasks.iter().all(|task| task.artifacts.is_empty() && task.history.len() == 1));
    assert_eq!(bare.next_page_token, "");
    let condition =
        |query: ListQuery| async move { store.list(&owner("ivan"), &query).await.expect("a page") };
    let base = ListQuery { page_size: 10, ..ListQuery::default() };
    let even = condition(ListQuery { context_id: Some("even".to_owned()), ..base.clone() }).await;
    assert_eq!((even.tasks.len(), even.total_size), (4, 4));
    let failed = ListQuery { state: Some(TaskState::Failed), page_size: 2, ..base.clone() };
    let failed = condition(failed).await;
    assert_eq!((failed.tasks.len(), failed.total_size), (2, 4));
    let since = all[2].status.timestamp;
    let recent = condition(ListQuery { changed_since: Some(since), ..base.clone() }).await;
    assert_eq!(recent.tasks.len(), 3);
    for token in ["x", "1", "1.x", ".", "-"] {
        let query = ListQuery { page_token: token.to_owned(), ..base.clone() };
        assert_eq!(store.list(&of, &query).await, Err(StoreError::BadPageToken), "{token}");
    }
    assert_eq!(store.list(&owner("nobody"), &base).await, Ok(bindu_tasks::TaskPage::default()));
}

async fn watchers_are_told(store: &dyn TaskStore) {
    let (of, task) = (owner("judy"), id());
    let run = begun(store, &of, &task).await;
    let mut watch = store.watch(&run.task);
    let unknown = store.watch(&key(&of, &id()));
    let number = store.append(&run, vec![status(TaskState::Working)]).await.expect("appended");
    let told = tokio::time::timeout(Duration::from_secs(60), watch.wait_for(|told| *told >= number)).await;
    assert_eq!(*told.expect("told in time").expect("told"), number);
    assert!(!unknown.has_changed().unwrap_or(false));
    store.cancel(&run.task).await.expect("cancelled");
    let told = tokio::time::timeout(Duration::from_secs(60), watch.wait_for(|told| *told > number)).await;
    assert!(told.expect("told in time").is_ok());
}

async fn pushes_are_kept_claimed_and_forgotten(store: &dyn TaskStore) {
    let (of, task) = (owner("kate"), id());
    let key = key(&of, &task);
    let first = Submission { push: Some(push("b")), ..submission(&of, message(&task, "c", "hi")) };
    let run = store.submit(first).await.expect("taken").run.expect("a run");
    store.put_push(&key, push("a")).await.expect("kept");
    store.put_push(&key, push("a")).await.expect("kept again");
    assert_eq!(store.put_push(&key, push("c")).await, Err(StoreError::TooMany));
    let ids: Vec<_> = store.pushes(&key).await.expect("there").into_iter().map(|config| config.id).collect();
    assert_eq!(ids, ["a", "b"]);
    let due_of = |due: Vec<bindu_tasks::Pushed>| {
        let due = due.into_iter().filter(|due| due.task.owner == owner("kate"));
        due.map(|due| (due.config.id, due.delivered, due.failures)).collect::<Vec<_>>()
    };
    assert_eq!(due_of(store.due_pushes(100).await.expect("none")), [], "nothing has happened since");
    let number = store.append(&run, vec![status(TaskState::Working)]).await.expect("appended");
    let mut due = due_of(store.due_pushes(100).await.expect("both"));
    due.sort();
    assert_eq!(due, [("a".to_owned(), number - 1, 0), ("b".to_owned(), number - 1, 0)]);
    assert_eq!(due_of(store.due_pushes(100).await.expect("claimed")), []);
    store.note_push(&key, "a", Ok(number)).await.expect("noted");
    let later = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    store.note_push(&key, "b", Err(later)).await.expect("noted");
    assert_eq!(due_of(store.due_pushes(100).await.expect("none")), []);
    store.note_push(&key, "b", Err(Timestamp::UNIX_EPOCH)).await.expect("noted");
    assert_eq!(due_of(store.due_pushes(100).await.expect("one")), [("b".to_owned(), number - 1, 2)]);
    store.delete_push(&key, "b").await.expect("deleted");
    assert_eq!(store.delete_push(&key, "b").await, Err(StoreError::NotFound));
    assert_eq!(store.note_push(&key, "b", Ok(1)).await, Err(StoreError::NotFound));
    let end = store.append(&run, vec![status(TaskState::Completed)]).await.expect("the end");
    assert_eq!(due_of(store.due_pushes(100).await.expect("one")), [("a".to_owned(), number, 0)]);
    store.note_push(&key, "a", Ok(end)).await.expect("noted");
    assert_eq!(store.pushes(&key).await, Ok(Vec::new()), "all is delivered");
}

async fn conversations_are_listed_and_forgotten(store: &dyn TaskStore) {
    let of = owner("leo");
    let (one, two, three) = (id(), id(), id());
    let run = store.submit(submission(&of, message(&one, "first", "hi"))).await.expect("taken").run;
    store.submit(submission(&of, message(&two, "second", "hi"))).await.expect("taken");
    store.submit(submission(&of, message(&three, "first", "hi"))).await.expect("taken");
    let contexts = store.contexts(&of, 10).await.expect("listed");
    let found: Vec<_> = contexts.iter().map(|context| (context.id.as_str(), context.tasks.clone())).collect();
    assert_eq!(found, [("first", vec![one.clone(), three]), ("second", vec![two.clone()])]);
    assert_eq!(store.contexts(&of, 1).await.expect("listed").len(), 1);
    let watch = store.watch(&key(&of, &one));
    assert_eq!(store.forget_context(&of, "first").await, Ok(2));
    assert_eq!(store.forget_context(&of, "first").await, Err(StoreError::NotFound));
    assert!(watch.has_changed().is_err(), "nobody is left to tell anything");
    assert_eq!(store.read(&key(&of, &one)).await, Err(StoreError::NotFound));
    let late = store.append(&run.expect("a run"), vec![status(TaskState::Completed)]).await;
    assert_eq!(late, Err(StoreError::Superseded));
    let again = store.submit(submission(&of, message(&one, "first", "new"))).await.expect("taken");
    assert_eq!(again.task.task.history.len(), 1, "nothing of the old one is left");
    store.cancel(&key(&of, &one)).await.expect("cancelled");
    store.cancel(&key(&of, &two)).await.expect("its conversation is another");
}

async fn bounds_are_kept(store: &dyn TaskStore) {
    let of = owner("mallory");
    let long = "x".repeat(TASK_BYTES);
    let too_large = store.submit(submission(&of, message(&id(), "c", &long))).await;
    assert_eq!(too_large, Err(StoreError::TooLarge));
    let mut runs = Vec::new();
    for _ in 0..UNFINISHED {
        runs.push(begun(store, &of, &id()).await);
    }
    let more = store.submit(submission(&of, message(&id(), "c", "hi"))).await;
    assert_eq!(more, Err(StoreError::TooMany));
    store.submit(submission(&owner("victim"), message(&id(), "c", "hi"))).await.expect("another's");
    let again = store.submit(submission(&of, message(&runs[0].task.id, "c", "more"))).await;
    let first = again.expect("it is active already").run.expect("a run");
    let result = vec![chunk("a", &"x".repeat(4 * TASK_BYTES), false)];
    assert_eq!(store.append(&first, result).await, Err(StoreError::TooLarge));
    store.append(&first, vec![status(TaskState::Failed)]).await.expect("a failure always fits");
    store.submit(submission(&of, message(&id(), "c", "hi"))).await.expect("one has ended");
    for run in &runs[1..] {
        store.cancel(&run.task).await.expect("cancelled");
    }
}

/// Ids and contents that a database could stumble over.
async fn any_text_is_kept(store: &dyn TaskStore) {
    let long = "l".repeat(5000);
    for (number, strange) in ["a\0b", "\\0", "'; DROP TABLE bindu_tasks; --", "\u{1f600}", " ", &long, "%_"]
        .into_iter()
        .enumerate()
    {
        let of = owner(&format!("strange{strange}"));
        let text = format!("{strange}\u{0}\u{7f}");
        let submitted = store.submit(submission(&of, message(strange, strange, &text))).await.expect("taken");
        assert_eq!(submitted.task.task.id, strange, "{number}");
        let key = key(&of, strange);
        let read = store.read(&key).await.expect("there");
        assert_eq!(read, submitted.task);
        assert_eq!(read.task.history[0].parts.as_text(), text);
        store.put_push(&key, push(strange)).await.expect("kept");
        assert_eq!(store.pushes(&key).await.expect("there")[0].id, strange);
        assert_eq!(store.contexts(&of, 1).await.expect("listed")[0].tasks, [strange]);
        assert_eq!(store.forget_context(&of, strange).await, Ok(1));
    }
}

/// Many callers at once: one message begins one run, and numbers have no gaps.
async fn racing(store: &dyn TaskStore) {
    let (of, task) = (owner("race"), id());
    let first = submission(&of, message(&task, "c", "hi"));
    let racers = (0..16).map(|_| store.submit(first.clone()));
    let outcomes = futures_util::future::join_all(racers).await;
    let runs: Vec<_> = outcomes.into_iter().filter_map(|outcome| outcome.expect("taken").run).collect();
    assert_eq!(runs.len(), 1, "one of them began it");
    let chunks = (0..50).map(|number| store.append(&runs[0], vec![chunk(&number.to_string(), "x", false)]));
    let numbers = futures_util::future::join_all(chunks).await;
    let numbers: HashSet<u64> = numbers.into_iter().map(|number| number.expect("appended")).collect();
    assert_eq!(numbers.len(), 50);
    let cancels = futures_util::future::join_all((0..8).map(|_| store.cancel(&runs[0].task))).await;
    assert_eq!(cancels.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let events = store.events(&runs[0].task, 0, 1000).await.expect("there");
    assert!((1..).zip(&events).all(|(number, event)| event.number == number));
}
