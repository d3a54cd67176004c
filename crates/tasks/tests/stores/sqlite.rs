//! What only a file can show.

use crate::{
    contract::{begun, ended_by_a_wrong_clock, id, key, message, owner, status, submission},
    places::{self, eventually},
};
use bindu_a2a::{
    Parts,
    event::{ArtifactChunk, TaskEvent},
    model::TaskState,
};
use bindu_tasks::{Owner, RunKey, SqlBounds, SqliteError, SqliteOptions, SqliteStore, StoreError, TaskStore};
use sqlx::Connection as _;
use std::{os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

#[tokio::test]
async fn the_file_and_what_stands_beside_it_are_the_owners_alone() {
    let place = places::sqlite_with(|_| {}).await;
    begun(&*place.store, &owner("alice"), &id()).await;
    let directory = place.options.path.parent().expect("a directory");
    let mut found = 0;
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        found += 1;
    }
    assert_eq!(found, 3, "the database, its log, its shared memory");
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let place = places::sqlite_with(|_| {}).await;
    let of = owner("alice");
    let run = begun(&*place.store, &of, &id()).await;
    let signed = submission(&of, message(&id(), "c", "hi"));
    place.store.submit(signed.clone()).await.expect("taken");
    place.store.append(&run, vec![status(TaskState::Completed)]).await.expect("appended");
    let before = place.store.read(&run.task).await.expect("there");
    let options = place.options.clone();
    drop(place.store);
    let again = SqliteStore::open(options).await.expect("the same file");
    assert_eq!(again.read(&run.task).await.expect("there"), before);
    assert_eq!(again.submit(signed).await.expect("known").run, None, "the same message is known");
}

#[tokio::test]
async fn runs_of_a_process_that_is_gone_are_given_to_one_taker() {
    let place = places::sqlite_with(|_| {}).await;
    let of = owner("alice");
    let run = begun(&*place.store, &of, &id()).await;
    let other = SqliteStore::open(place.options.clone()).await.expect("the same file");
    // Both have answers for one lease, then the run's own ends, as nobody renews it.
    let (one, two) = (&*place.store, &other);
    let taken = eventually("it is taken over", || async {
        let (first, second) = tokio::join!(one.take_abandoned(10), two.take_abandoned(10));
        let taken: Vec<_> = [first.expect("asked"), second.expect("asked")].concat();
        (!taken.is_empty()).then_some(taken)
    })
    .await;
    assert_eq!(taken.len(), 1);
    assert_eq!((&taken[0].run.task, taken[0].run.run), (&run.task, 2));
    let late = one.append(&run, vec![status(TaskState::Completed)]).await;
    assert_eq!(late, Err(StoreError::Superseded));
    assert_eq!(one.renew(std::slice::from_ref(&run)).await, Ok(vec![run]));
    two.append(&taken[0].run, vec![status(TaskState::Failed)]).await.expect("the new run counts");
}

/// Somebody holds the file's write lock for longer than a lease.
///
/// Promise: a process that is alone with its file does not take its own runs over, and says that the store cannot be used.
#[tokio::test]
async fn while_somebody_locks_the_file_a_process_keeps_its_own_runs() {
    let place = places::sqlite_with(|options| {
        options.is_alone = true;
        options.lease = Duration::from_secs(3);
    })
    .await;
    let run = begun(&*place.store, &owner("alice"), &id()).await;
    let connect = sqlx::sqlite::SqliteConnectOptions::new().filename(&place.options.path);
    let mut other = sqlx::SqliteConnection::connect_with(&connect).await.expect("a connection");
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.expect("locked");
    // It waits for the lock for longer than the lease.
    assert!(place.store.renew(std::slice::from_ref(&run)).await.is_err());
    assert!(place.store.check().await.is_err(), "nothing can be written");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.expect("released");
    assert_eq!(place.store.take_abandoned(10).await, Ok(Vec::new()), "it lives");
    assert_eq!(place.store.renew(std::slice::from_ref(&run)).await, Ok(Vec::new()));
    assert_eq!(place.store.check().await, Ok(()));
}

#[tokio::test]
async fn a_process_that_is_alone_takes_what_it_finds_at_once() {
    let place = places::sqlite_with(|options| options.lease = Duration::from_secs(3600)).await;
    let run = begun(&*place.store, &owner("alice"), &id()).await;
    let options = SqliteOptions { is_alone: true, ..place.options.clone() };
    drop(place.store);
    let again = SqliteStore::open(options).await.expect("the same file");
    let taken = again.take_abandoned(10).await.expect("asked");
    assert_eq!(taken[0].run.task, run.task);
    assert_eq!(again.take_abandoned(10).await, Ok(Vec::new()), "its own");
}

#[tokio::test]
async fn a_full_file_refuses_messages_and_no_more() {
    let place = places::sqlite_with(|options| {
        options.max_bytes = 1 << 20;
        options.bounds.kept_at_least = Duration::ZERO;
    })
    .await;
    let store = &*place.store;
    let of = owner("alice");
    let run = begun(store, &of, &id()).await;
    let text = "x".repeat(20_000);
    let mut ended = Vec::new();
    let refused = loop {
        match store.submit(submission(&owner("mallory"), message(&id(), "c", &text))).await {
            Ok(submitted) => {
                let run = submitted.run.expect("a run");
                if store.append(&run, vec![status(TaskState::Completed)]).await.is_ok() {
                    ended.push(run.task);
                }
            }
            Err(error) => break error,
        }
        assert!(ended.len() < 200, "the file has a bound");
    };
    assert_eq!(refused, StoreError::NoSpace);
    assert!(std::fs::metadata(&place.options.path).expect("a file").len() <= 1 << 20);
    assert!(store.read(&run.task).await.is_ok(), "what is there can be read");
    store.append(&run, vec![status(TaskState::Completed)]).await.expect("an accepted task can end");
    places::eventually("room is made without a wait for the next pruning", || async {
        store.submit(submission(&of, message(&id(), "c", &text))).await.ok()
    })
    .await;
    assert!(store.read(&ended[0]).await.is_err(), "the oldest have gone");
}

/// Somebody else reads in the file, and does not end.
///
/// Promise: the log beside the file does not take the disk; nothing is forgotten for it; messages are taken again when the reader is gone.
#[tokio::test]
async fn a_log_that_somebody_holds_is_bounded_too() {
    let place = places::sqlite_with(|options| options.max_bytes = 32 << 20).await;
    let (store, of) = (&*place.store, owner("alice"));
    let first = begun(store, &of, &id()).await;
    let url = format!("sqlite:{}", place.options.path.display());
    let mut beside = sqlx::SqliteConnection::connect(&url).await.expect("a connection");
    let mut reading = beside.begin().await.expect("a transaction");
    let count = "SELECT count(*) FROM bindu_tasks";
    let seen: i64 = sqlx::query_scalar(count).fetch_one(&mut *reading).await.expect("a row");
    assert_eq!(seen, 1);
    // The tasks that are there take little of the file; that they come and go fills the log.
    let large = "x".repeat(1 << 20);
    let refused = loop {
        let conversation = id();
        match store.submit(submission(&Owner::Everybody, message(&id(), &conversation, &large))).await {
            Ok(_) => drop(store.forget_context(&Owner::Everybody, &conversation).await.expect("forgotten")),
            Err(error) => break error,
        }
        assert!(log(&place.options) < 200 << 20, "the log has no bound");
    };
    assert_eq!(refused, StoreError::NoSpace);
    assert!(log(&place.options) < 72 << 20, "{}", log(&place.options));
    store.read(&first.task).await.expect("nothing is forgotten for it");
    reading.rollback().await.expect("it ends");
    eventually("messages are taken again", || async {
        store.submit(submission(&of, message(&id(), "c", &large))).await.ok()
    })
    .await;
    eventually("the log is shortened", || async { (log(&place.options) <= 32 << 20).then_some(()) }).await;
}

/// The bytes of a file's log.
fn log(options: &SqliteOptions) -> u64 {
    std::fs::metadata(format!("{}-wal", options.path.display())).expect("a log").len()
}

/// A file that is full of tasks that are worked on, small ones and large ones.
///
/// Promise: messages are refused while there is room for the results of all that were accepted.
#[tokio::test]
async fn a_file_that_is_full_of_unfinished_tasks_takes_their_results() {
    for length in [10, 30_000] {
        let place = places::sqlite_with(|options| options.max_bytes = 1 << 20).await;
        let store = &*place.store;
        let (text, mut runs) = ("x".repeat(length), Vec::new());
        let refused = loop {
            // Everybody's: no owner has too many.
            match store.submit(submission(&Owner::Everybody, message(&id(), "c", &text))).await {
                Ok(submitted) => runs.push(submitted.run.expect("a run")),
                Err(error) => break error,
            }
            assert!(runs.len() < 1000, "the file has a bound");
        };
        assert_eq!(refused, StoreError::NoSpace);
        assert!(runs.len() > 10, "{}", runs.len());
        for run in &runs {
            let result = TaskEvent::Artifact(Arc::new(ArtifactChunk {
                id: "result".to_owned(),
                name: None,
                description: None,
                parts: Arc::new(Parts::of_text(&"y".repeat(1000))),
                metadata: None,
                extensions: None,
                append: false,
                is_last: true,
            }));
            store.append(run, vec![status(TaskState::Working), result]).await.expect("a result");
            store.append(run, vec![status(TaskState::Completed)]).await.expect("the end");
        }
        assert_eq!(store.prune().await.expect("pruned").tasks, 0, "they can be fetched");
        let url = format!("sqlite:{}", place.options.path.display());
        let mut beside = sqlx::SqliteConnection::connect(&url).await.expect("a connection");
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut beside).await.expect("a row");
        println!("{} tasks, {pages} pages of 256", runs.len());
        assert!(pages <= 256);
    }
}

#[tokio::test]
async fn tasks_are_as_old_as_the_files_clock_says() {
    let place = places::sqlite_with(|_| {}).await;
    let runs = ended_by_a_wrong_clock(&*place.store).await;
    assert_eq!(place.store.prune().await.expect("pruned").tasks, 0);
    for run in &runs {
        place.store.read(&run.task).await.expect("it is kept");
    }
}

/// Lets a task be two hours older by the file's clock.
async fn two_hours_pass(options: &SqliteOptions, run: &RunKey) {
    let url = format!("sqlite:{}", options.path.display());
    let mut beside = sqlx::SqliteConnection::connect(&url).await.expect("a connection");
    let older = "UPDATE bindu_tasks SET lease_until = lease_until - 7200000, changed = changed - 7200000000000 WHERE id = $1";
    let done = sqlx::query(older).bind(&run.task.id).execute(&mut beside).await.expect("done");
    assert_eq!(done.rows_affected(), 1);
}

#[tokio::test]
async fn what_is_too_old_or_too_much_is_forgotten_and_nothing_else() {
    let place = places::sqlite_with(|options| {
        options.bounds =
            SqlBounds { tasks_of_one: 5, age: Duration::from_secs(3600), ..SqlBounds::default() };
    })
    .await;
    let store = &*place.store;
    let of = owner("alice");
    let mut runs = Vec::new();
    for _ in 0..8 {
        runs.push(begun(store, &of, &id()).await);
    }
    for run in &runs[..6] {
        store.append(run, vec![status(TaskState::Completed)]).await.expect("the end");
    }
    let bobs = begun(store, &owner("bob"), &id()).await;
    store.append(&bobs, vec![status(TaskState::Failed)]).await.expect("the end");
    two_hours_pass(&place.options, &bobs).await;
    let pruned = store.prune().await.expect("pruned");
    assert_eq!(pruned.tasks, 4, "three of alice's, bob's old one");
    assert_eq!(store.read(&bobs.task).await, Err(StoreError::NotFound));
    for (number, run) in runs.iter().enumerate() {
        assert_eq!(store.read(&run.task).await.is_ok(), number >= 3, "{number}");
    }
    assert_eq!(store.prune().await.expect("pruned").tasks, 0);
    store.cancel(&key(&of, &runs[7].task.id)).await.expect("unfinished ones are kept");
}

#[tokio::test]
async fn what_cannot_be_used_is_told_and_left_as_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tasks.db");
    std::fs::write(
        &path,
        "this is no database, and it is longer than a header of one hundred bytes is, by far ...",
    )
    .expect("written");
    let before = std::fs::read(&path).expect("there");
    let opened = SqliteStore::open(SqliteOptions::new(&path, "did:bindu:test:store")).await;
    assert!(matches!(opened, Err(SqliteError::Unusable { .. })), "{opened:?}");
    assert_eq!(std::fs::read(&path).expect("there"), before);
    let missing =
        SqliteStore::open(SqliteOptions::new(directory.path().join("no/tasks.db"), "did:bindu:test:store"))
            .await;
    assert!(matches!(missing, Err(SqliteError::Open { .. })));
}

#[tokio::test]
async fn two_starts_at_once_make_one_set_of_tables() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = SqliteOptions::new(directory.path().join("tasks.db"), "did:bindu:test:store");
    let opened = futures_util::future::join_all((0..4).map(|_| SqliteStore::open(options.clone()))).await;
    let stores: Vec<_> = opened.into_iter().map(|store| Arc::new(store.expect("opened"))).collect();
    let run = begun(&*stores[0], &owner("alice"), &id()).await;
    for store in &stores {
        assert!(store.read(&run.task).await.is_ok());
    }
    // News of another process comes by the poll.
    let mut watch = stores[1].watch(&run.task);
    let number = stores[2].append(&run, vec![status(TaskState::Working)]).await.expect("appended");
    let told = tokio::time::timeout(Duration::from_secs(60), watch.wait_for(|told| *told >= number)).await;
    assert!(told.expect("in time").is_ok());
}

/// Two versions beside each other: a later one has added a column, a table and an index.
///
/// Promise: this version goes on, also in processes that start then; tables that say that it can't read them are refused, and left.
#[tokio::test]
async fn tables_of_a_later_version_are_used_if_they_say_so() {
    let place = places::sqlite_with(|_| {}).await;
    let of = owner("alice");
    let run = begun(&*place.store, &of, &id()).await;
    let url = format!("sqlite:{}", place.options.path.display());
    let mut later = sqlx::SqliteConnection::connect(&url).await.expect("a connection");
    let sql = |text: &'static str| sqlx::raw_sql(text);
    sql("BEGIN; ALTER TABLE bindu_tasks ADD COLUMN later TEXT NOT NULL DEFAULT 'x';
        ALTER TABLE bindu_events ADD COLUMN later BIGINT; CREATE TABLE bindu_later (task BIGINT);
        CREATE INDEX bindu_tasks_later ON bindu_tasks (later);
        UPDATE bindu_storage SET version = version + 1; COMMIT")
    .execute(&mut later)
    .await
    .expect("migrated");
    let beside = SqliteStore::open(place.options.clone()).await.expect("it can be read");
    for store in [&*place.store, &beside] {
        assert!(store.read(&run.task).await.is_ok());
        begun(store, &of, &id()).await;
    }
    beside.append(&run, vec![status(TaskState::Completed)]).await.expect("the end");
    let query = bindu_tasks::ListQuery { page_size: 10, ..bindu_tasks::ListQuery::default() };
    assert_eq!(place.store.list(&of, &query).await.expect("a page").total_size, 3);
    sql("UPDATE bindu_storage SET readable_by = version").execute(&mut later).await.expect("done");
    let refused = SqliteStore::open(place.options.clone()).await;
    let Err(SqliteError::Unusable { problem, .. }) = refused else { panic!("{refused:?}") };
    assert!(problem.contains("this program reads up to"), "{problem}");
    assert!(place.store.read(&run.task).await.is_ok(), "nothing was changed");
}

/// A file of the first version: what is there is counted once, and from then on as it comes and goes, whoever writes.
#[tokio::test]
async fn tasks_of_the_first_version_are_counted_when_it_is_upgraded() {
    use sqlx::{Connection as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};
    let place = places::sqlite_with(|options| {
        options.bounds = SqlBounds { tasks_of_one: 2, ..SqlBounds::default() };
    })
    .await;
    let of = owner("alice");
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(begun(&*place.store, &of, &id()).await);
    }
    let options = place.options.clone();
    drop(place.store);
    let connect = SqliteConnectOptions::new().filename(&options.path);
    let mut old = SqliteConnection::connect_with(&connect).await.expect("a file");
    let first_version =
        "DROP TRIGGER bindu_tasks_one_more; DROP TRIGGER bindu_tasks_one_less; DROP TABLE bindu_counts;
        DROP TABLE bindu_agent; UPDATE bindu_storage SET version = 1, readable_by = 1";
    old.execute(sqlx::raw_sql(first_version)).await.expect("as it was");
    old.close().await.expect("closed");
    let store = SqliteStore::open(options).await.expect("the same file");
    let total =
        async || store.list(&of, &bindu_tasks::ListQuery::default()).await.expect("a page").total_size;
    assert_eq!(total().await, 5);
    begun(&store, &of, &id()).await;
    begun(&store, &owner("bob"), &id()).await;
    assert_eq!(total().await, 6);
    for run in &runs {
        store.cancel(&run.task).await.expect("cancelled");
    }
    store.prune().await.expect("pruned");
    assert_eq!(total().await, 2, "the newest are kept");
    assert_eq!(store.forget_context(&of, "c").await, Ok(2));
    assert_eq!(total().await, 0);
}

/// One that has no agent yet, of the version before, is bound when it is opened; one that was prepared, before.
///
/// Promise: whoever came first goes on, also in a second process; another agent is refused, and changes nothing.
#[tokio::test]
async fn a_file_belongs_to_the_agent_that_has_opened_it_first() {
    const OTHER: &str = "did:bindu:test:other";
    let place = places::sqlite_with(|_| {}).await;
    let of = owner("alice");
    let run = begun(&*place.store, &of, &id()).await;
    let ours = place.options.clone();
    let others = SqliteOptions { did: OTHER.to_owned(), ..ours.clone() };
    let is_refused = async |options: &SqliteOptions, to: &str| {
        for refused in [
            SqliteStore::open(options.clone()).await.map(|_| ()),
            SqliteStore::open(SqliteOptions { is_alone: true, ..options.clone() }).await.map(|_| ()),
            SqliteStore::migrate(options).await.map(|_| ()),
        ] {
            let Err(SqliteError::OtherAgent { path, did }) = refused else { panic!("{refused:?}") };
            assert_eq!((path, did.as_str()), (options.path.clone(), to));
        }
    };
    is_refused(&others, &ours.did).await;
    let beside = SqliteStore::open(ours.clone()).await.expect("the same agent's");
    assert!(beside.read(&run.task).await.is_ok());
    place.store.append(&run, vec![status(TaskState::Completed)]).await.expect("it goes on");
    drop((place.store, beside));

    let mut old =
        sqlx::SqliteConnection::connect(&format!("sqlite:{}", ours.path.display())).await.expect("a file");
    let before = "DROP TABLE bindu_agent; UPDATE bindu_storage SET version = 2";
    sqlx::raw_sql(before).execute(&mut old).await.expect("as it was");
    old.close().await.expect("closed");
    // The version before reads on; whoever comes first has it.
    let bound = SqliteStore::open(others.clone()).await.expect("nobody's");
    assert!(bound.read(&run.task).await.is_ok());
    drop(bound);
    is_refused(&ours, OTHER).await;
    let readable_by = "SELECT readable_by FROM bindu_storage";
    let mut now =
        sqlx::SqliteConnection::connect(&format!("sqlite:{}", ours.path.display())).await.expect("a file");
    let readable_by: i64 = sqlx::query_scalar(readable_by).fetch_one(&mut now).await.expect("a row");
    assert!(readable_by < 3, "the version before may use it");

    let path = ours.path.with_file_name("prepared.db");
    let [ours, others] =
        [ours, others].map(|options| SqliteOptions { is_alone: true, path: path.clone(), ..options });
    let prepared = SqliteStore::prepare(&others).await.expect("made");
    drop(SqliteStore::open_with(ours.clone(), prepared).await.expect("a file of its own"));
    is_refused(&others, &ours.did).await;
}

/// A first start leaves one whole file, or none: what an earlier attempt has left behind is not in the way.
#[tokio::test]
async fn a_new_file_is_whole_and_replaces_what_an_attempt_has_left_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tasks.db");
    for ending in ["", "-wal", "-shm"] {
        let left = directory.path().join(format!("tasks.db.new{ending}"));
        std::fs::write(left, "half of a file").expect("written");
    }
    let options = SqliteOptions { is_alone: true, ..SqliteOptions::new(&path, "did:bindu:test:store") };
    let store = SqliteStore::open(options.clone()).await.expect("a new file");
    let run = begun(&store, &owner("alice"), &id()).await;
    drop(store);
    let names = std::fs::read_dir(directory.path()).expect("a directory");
    for entry in names {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name");
        assert!(["tasks.db", "tasks.db-wal", "tasks.db-shm"].contains(&name.as_str()), "{name}");
        assert_eq!(entry.metadata().expect("a file").permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert!(SqliteStore::open(options).await.expect("the same file").read(&run.task).await.is_ok());
    let missing = SqliteOptions {
        is_alone: true,
        ..SqliteOptions::new(directory.path().join("no/tasks.db"), "did:bindu:test:store")
    };
    assert!(matches!(SqliteStore::open(missing).await, Err(SqliteError::Open { .. })));
}

/// What is prepared becomes the file of whoever opens it, or nothing is left of it.
#[tokio::test]
async fn a_file_that_was_prepared_is_used_or_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tasks.db");
    let options = SqliteOptions { is_alone: true, ..SqliteOptions::new(&path, "did:bindu:test:store") };
    let names = || {
        let entries = std::fs::read_dir(directory.path()).expect("a directory");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    let unused = SqliteStore::prepare(&options).await.expect("made");
    let is_new = |names: &[std::ffi::OsString]| {
        names.iter().any(|name| name.to_string_lossy().starts_with("tasks.db.new"))
    };
    assert!(is_new(&names()) && names().len() == 1);
    // Two that are prepared at the same time do not meet.
    let other = SqliteOptions { did: "did:bindu:test:other".to_owned(), ..options.clone() };
    let others = SqliteStore::prepare(&other).await.expect("made");
    assert_eq!(names().len(), 2);
    drop((unused, others));
    assert!(names().is_empty());
    let used = SqliteStore::prepare(&options).await.expect("made");
    let store = SqliteStore::open_with(options.clone(), used).await.expect("a file");
    let run = begun(&store, &owner("alice"), &id()).await;
    drop(store);
    assert!(names().contains(&"tasks.db".into()) && !is_new(&names()));
    assert!(SqliteStore::prepare(&options).await.expect("nothing to do").is_none(), "there is one");
    // One that comes too late is not put in the place of what is there.
    let elsewhere = directory.path().join("other.db");
    let late =
        SqliteStore::prepare(&SqliteOptions { path: elsewhere, ..options.clone() }).await.expect("made");
    let store = SqliteStore::open_with(options.clone(), late).await.expect("the same file");
    assert!(store.read(&run.task).await.is_ok());
    assert!(!names().iter().any(|name| name.to_string_lossy().starts_with("other.db")));
    let shared = SqliteOptions {
        is_alone: false,
        ..SqliteOptions::new(directory.path().join("shared.db"), "did:bindu:test:store")
    };
    assert!(SqliteStore::prepare(&shared).await.expect("nothing to do").is_none(), "another may make it");
}

/// One script makes a new file's tables, one migration after the other those of an older one: they are the same.
#[tokio::test]
async fn a_new_file_has_the_tables_that_migrations_make() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut schemas = Vec::new();
    for (name, is_alone) in [("new.db", true), ("migrated.db", false)] {
        let path = directory.path().join(name);
        let options = SqliteOptions { is_alone, ..SqliteOptions::new(&path, "did:bindu:test:store") };
        drop(SqliteStore::open(options).await.expect("a file"));
        let mut beside =
            sqlx::SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.expect("a file");
        let tables = "SELECT type || ' ' || name || ': ' || coalesce(sql, '') FROM sqlite_schema ORDER BY 1";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut beside).await.expect("rows");
        let version = "SELECT version || ' ' || readable_by FROM bindu_storage";
        let version: Vec<String> = sqlx::query_scalar(version).fetch_all(&mut beside).await.expect("rows");
        schemas.push((tables, version));
    }
    assert!(schemas[0].0.len() > 10, "{schemas:?}");
    assert_eq!(schemas[0], schemas[1]);
}

/// What is sent with the end of its transaction fails alone as well.
#[tokio::test]
async fn events_that_the_file_refuses_at_the_end_of_a_transaction_fail_alone() {
    let place = places::sqlite_with(|options| options.is_alone = true).await;
    let url = format!("sqlite:{}", place.options.path.display());
    let mut beside = sqlx::SqliteConnection::connect(&url).await.expect("a connection");
    let refuses = "CREATE TRIGGER no BEFORE INSERT ON bindu_events WHEN new.event LIKE '%poison%'
        BEGIN SELECT RAISE(ABORT, 'no'); END";
    sqlx::raw_sql(refuses).execute(&mut beside).await.expect("made");
    let before = place.store.figures().changes;
    let texts = ["one", "two", "poison", "three", "four"];
    let all: Vec<_> =
        texts.iter().map(|text| submission(&owner("alice"), message(&id(), "c", text))).collect();
    let outcomes =
        futures_util::future::join_all(all.iter().map(|one| place.store.submit(one.clone()))).await;
    for ((text, outcome), sent) in texts.iter().zip(&outcomes).zip(&all) {
        let task = key(&owner("alice"), &sent.message.task_id);
        let found = place.store.read(&task).await;
        if *text == "poison" {
            assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
            assert_eq!(found, Err(StoreError::NotFound));
        } else {
            assert_eq!(found.as_ref(), Ok(&outcome.as_ref().expect("taken").task));
        }
    }
    assert_eq!(place.store.figures().changes - before, 4);
}
