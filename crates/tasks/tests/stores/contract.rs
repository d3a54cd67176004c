//! The contract on all stores: the conformance suite with its model, each store beside a second process that shares it;
//! and what it leaves out: strange texts, bounds, races.

use crate::places;
use bindu_a2a::{
    Parts,
    call::PushConfig,
    event::{ArtifactChunk, TaskEvent},
    model::{Message, Role, TaskState, TaskStatus},
};
use bindu_tasks::{
    Bounds, MemoryStore, Owner, PostgresOptions, PostgresStore, ReplayKey, RunKey, SqlBounds, SqliteOptions,
    SqliteStore, StoreError, Submission, TaskKey, TaskStore,
    conformance::{self, Subject},
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

/// A lease that no case outlasts before it means to.
const LEASE: Duration = Duration::from_secs(5);

fn bounds_of_conformance() -> SqlBounds {
    SqlBounds { unfinished_bytes_of_one: 1_000_000, ..SqlBounds::default() }
}

fn shared(
    store: Arc<dyn TaskStore>,
    other: Arc<dyn TaskStore>,
    directory: Option<tempfile::TempDir>,
) -> Subject {
    let both = [Arc::clone(&store), Arc::clone(&other)];
    let end_leases = move || {
        // It is there as long as its stores.
        let _held = &directory;
        let both = both.clone();
        let ended = async move {
            let begun = std::time::Instant::now();
            // Both could renew all the time: otherwise it would be an outage.
            while begun.elapsed() < LEASE + LEASE / 10 {
                for store in &both {
                    assert_eq!(store.take_abandoned(0).await, Ok(Vec::new()));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        Box::pin(ended) as futures_util::future::BoxFuture<'static, ()>
    };
    Subject { store, other, end_leases: Some(Box::new(end_leases)), fits: Some(10) }
}

async fn two_on_a_file() -> Subject {
    let directory = tempfile::tempdir().expect("a directory");
    let options = SqliteOptions {
        lease: LEASE,
        bounds: bounds_of_conformance(),
        ..SqliteOptions::new(directory.path().join("tasks.db"), "did:bindu:test:store")
    };
    let store = SqliteStore::open(options.clone()).await.expect("a file");
    let other = SqliteStore::open(options).await.expect("the same file");
    shared(Arc::new(store), Arc::new(other), Some(directory))
}

fn two_on_postgres() -> Subject {
    let options = PostgresOptions {
        lease: LEASE,
        connections: 4,
        bounds: bounds_of_conformance(),
        ..PostgresOptions::new(places::shared_postgres(), places::did())
    };
    let store = || Arc::new(PostgresStore::open(options.clone()).expect("a URL"));
    shared(store(), store(), None)
}

#[tokio::test]
async fn sqlite_conforms() {
    conformance::check(async || two_on_a_file().await).await;
}

/// A process that is alone tells what it has just written from memory.
async fn alone_on_a_file() -> Subject {
    let directory = tempfile::tempdir().expect("a directory");
    let options = SqliteOptions {
        lease: LEASE,
        bounds: bounds_of_conformance(),
        is_alone: true,
        ..SqliteOptions::new(directory.path().join("tasks.db"), "did:bindu:test:store")
    };
    let store: Arc<dyn TaskStore> = Arc::new(SqliteStore::open(options).await.expect("a file"));
    shared(Arc::clone(&store), store, Some(directory))
}

#[tokio::test]
async fn sqlite_of_one_process_conforms() {
    conformance::check(async || alone_on_a_file().await).await;
}

#[test]
fn sqlite_of_one_process_does_what_the_model_does() {
    follows_the_model(32, async || alone_on_a_file().await);
}

#[tokio::test]
async fn postgres_conforms() {
    conformance::check(async || two_on_postgres()).await;
}

/// Any order of calls, compared with the suite's model, on a new store for each.
fn follows_the_model(cases: u32, new: impl AsyncFn() -> Subject) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let config = proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let outcome = runner.run(&conformance::model::steps(), |steps| {
        runtime.block_on(async {
            let subject = new().await;
            conformance::model::follow(&*subject.store, &steps).await;
        });
        Ok(())
    });
    outcome.expect("as the model says");
}

#[test]
fn sqlite_does_what_the_model_does() {
    follows_the_model(32, async || two_on_a_file().await);
}

#[test]
fn postgres_does_what_the_model_does() {
    follows_the_model(12, async || two_on_postgres());
}

/// An agent whose clock is ten days behind, or ahead, has written the end of a task.
pub(crate) async fn ended_by_a_wrong_clock(store: &dyn TaskStore) -> Vec<RunKey> {
    let mut runs = Vec::new();
    for hours in [-240, 240] {
        let run = begun(store, &owner("alice"), &id()).await;
        let timestamp = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
        let end = TaskStatus { state: TaskState::Completed, message: None, timestamp };
        store.append(&run, vec![TaskEvent::Status(end)]).await.expect("the end");
        runs.push(run);
    }
    runs
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
async fn sqlite_of_one_process_keeps_the_contract() {
    let place = places::sqlite_with(|options| {
        options.bounds = small_bounds();
        options.is_alone = true;
    })
    .await;
    keeps_the_contract(Arc::clone(&place.store) as Arc<dyn TaskStore>).await;
}

#[tokio::test]
async fn postgres_keeps_the_contract() {
    keeps_the_contract(places::postgres_with(small_bounds())).await;
}

async fn keeps_the_contract(store: Arc<dyn TaskStore>) {
    let store = &*store;
    a_signed_request_is_done_once(store).await;
    bounds_are_kept(store).await;
    any_text_is_kept(store).await;
    assert_eq!(store.check().await, Ok(()));
    racing(store).await;
    what_is_committed_together_is_answered_apart(store).await;
}

pub(crate) fn owner(id: &str) -> Owner {
    conformance::client(id)
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

pub(crate) fn working() -> TaskEvent {
    status(TaskState::Working)
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
        dialect: bindu_a2a::Dialect::V1,
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

/// Changes of every sort that wait together: each gets its own answer, as if it had come alone.
async fn what_is_committed_together_is_answered_apart(store: &dyn TaskStore) {
    let old = begun(store, &owner("old"), &id()).await;
    let plain: Vec<_> = (0..40)
        .map(|number| submission(&owner(&format!("one {number}")), message(&id(), "c", "hi")))
        .collect();
    let twice = submission(&owner("twice"), message(&id(), "c", "hi"));
    let many = |name: &str, count| -> Vec<Submission> {
        (0..count).map(|_| submission(&owner(name), message(&id(), "c", "hi"))).collect()
    };
    let signed = |submissions: Vec<Submission>, first: u8| -> Vec<Submission> {
        let sign = |(byte, of): (u8, Submission)| Submission { replay: Some(replay(byte, 600)), ..of };
        (first..).zip(submissions).map(sign).collect()
    };
    let unknown =
        Submission { may_begin: false, ..submission(&owner("old"), message(&id(), "c", "who is it?")) };
    let continued = submission(&owner("old"), message(&old.task.id, "c", "more"));
    let long = "x".repeat(TASK_BYTES);
    let too_large = submission(&owner("large"), message(&id(), "c", &long));
    let replayed = signed(many("replay", 1), 9).into_iter().chain(signed(many("replay", 1), 9));
    let groups: Vec<Vec<Submission>> = vec![
        plain,
        vec![twice.clone(), twice.clone(), twice],
        many("greedy", 8),
        signed(many("signed", 5), 1),
        replayed.collect(),
        vec![unknown, too_large, continued],
    ];
    let all: Vec<Submission> = groups.concat();
    let outcomes = futures_util::future::join_all(all.iter().map(|one| store.submit(one.clone()))).await;
    let mut outcomes = outcomes.into_iter();
    let mut of_group = |group: usize| outcomes.by_ref().take(groups[group].len()).collect::<Vec<_>>();
    let count = |outcomes: &[Result<bindu_tasks::Submitted, StoreError>], error: &StoreError| {
        outcomes.iter().filter(|outcome| outcome.as_ref() == Err(error)).count()
    };
    let mut runs: Vec<RunKey> =
        of_group(0).into_iter().map(|one| one.expect("taken").run.expect("new")).collect();
    let twice = of_group(1);
    assert_eq!(twice.iter().filter(|one| one.as_ref().expect("known").run.is_some()).count(), 1);
    let (greedy, signed) = (of_group(2), of_group(3));
    let refused = (count(&greedy, &StoreError::TooMany), count(&signed, &StoreError::TooManyRemembered));
    assert_eq!(refused, (8 - UNFINISHED, 5 - REMEMBERED));
    let replayed = of_group(4);
    assert_eq!(replayed.iter().filter(|one| one.is_ok()).count(), 1, "{replayed:?}");
    assert!(replayed.iter().any(|one| matches!(one, Err(StoreError::Replayed(_)))));
    let odd = of_group(5);
    assert_eq!((&odd[0], &odd[1]), (&Err(StoreError::NotFound), &Err(StoreError::TooLarge)));
    let continued = odd[2].as_ref().expect("taken");
    assert_eq!(continued.superseded, Some(old.clone()));
    assert_eq!(continued.task.task.history.len(), 2);
    let answered = [twice, greedy, signed, replayed].concat();
    runs.extend(answered.into_iter().filter_map(|one| one.ok()?.run));

    let answer = || vec![status(TaskState::Working), chunk("a", "x", false), status(TaskState::Completed)];
    let [moved, too_long, after_its_end] =
        [runs.pop(), runs.pop(), runs.pop()].map(|run| run.expect("there are many"));
    let said_twice = vec![status(TaskState::Completed), status(TaskState::Completed)];
    let mut appends: Vec<(&RunKey, Option<u64>, Vec<TaskEvent>)> =
        runs.iter().enumerate().map(|(at, run)| (run, (at % 2 == 0).then_some(2), answer())).collect();
    let odd = [
        (&old, None, answer()),
        (&moved, Some(7), answer()),
        (&too_long, None, vec![chunk("a", &"x".repeat(4 * TASK_BYTES), false)]),
        (&after_its_end, None, said_twice),
        (&moved, None, vec![chunk("a", "x", false)]),
    ];
    appends.splice(1..1, odd);
    let appends = appends.into_iter().map(|(run, after, events)| store.append_after(run, after, events));
    let mut appended = futures_util::future::join_all(appends).await;
    let odd: Vec<_> = appended.drain(1..6).collect();
    assert_eq!(odd[0], Err(StoreError::Superseded));
    assert!(matches!(odd[1], Err(StoreError::Moved(2 | 3))), "{:?}", odd[1]);
    assert_eq!((&odd[2], &odd[3]), (&Err(StoreError::TooLarge), &Err(StoreError::Superseded)));
    assert_eq!(odd[4], Ok(3));
    assert!(appended.iter().all(|number| *number == Ok(5)), "{appended:?}");
    for run in &runs {
        let events = store.events(&run.task, 0, 10).await.expect("there");
        assert_eq!(events.iter().map(|event| event.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        let task = store.read(&run.task).await.expect("there").task;
        assert_eq!((task.status.state, task.artifacts.len()), (TaskState::Completed, 1));
    }
}
