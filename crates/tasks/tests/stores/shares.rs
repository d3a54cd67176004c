//! What one caller may have unfinished, asked for by several processes at once.

use crate::{
    contract::{begun, id, message, owner, submission},
    places::{self, LEASE, postgres_options},
    postgres::{direct, sql},
};
use bindu_a2a::model::TaskState;
use bindu_tasks::{
    Owner, PostgresOptions, PostgresStore, ReplayKey, SqlBounds, SqliteOptions, SqliteStore, StoreError,
    Submission, TaskStore, schema_of,
};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use sqlx::{Executor as _, Row as _};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const UNFINISHED: usize = 7;
const REMEMBERED: usize = 5;
const PROCESSES: usize = 4;
const ROUNDS: usize = 12;

fn bounds() -> SqlBounds {
    SqlBounds { unfinished_of_one: UNFINISHED, remembered_of_one: REMEMBERED, ..SqlBounds::default() }
}

fn on_postgres(did: &str) -> Arc<dyn TaskStore> {
    let options = PostgresOptions { bounds: bounds(), ..postgres_options(places::shared_postgres(), did) };
    Arc::new(PostgresStore::open(options).expect("a URL"))
}

/// Each store takes as many at once as there may be in all; how many were taken, and that the others were refused for that.
async fn taken(stores: &[Arc<dyn TaskStore>], asked: usize, one: impl Fn() -> Submission) -> usize {
    let all = stores.iter().flat_map(|store| (0..asked).map(move |_| store));
    let outcomes = join_all(all.map(|store| store.submit(one()))).await;
    let refused = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(StoreError::TooMany | StoreError::TooManyRemembered)));
    let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(refused.count() + taken, outcomes.len(), "{outcomes:?}");
    taken
}

async fn shares_hold(stores: &[Arc<dyn TaskStore>]) {
    for store in stores {
        store.check().await.expect("it answers");
    }
    for round in 0..ROUNDS {
        let of = owner(&format!("greedy {round}"));
        let one = || submission(&of, message(&id(), "c", "hi"));
        assert_eq!(taken(stores, UNFINISHED, one).await, UNFINISHED, "round {round}");
        let signer = owner(&format!("signer {round}"));
        let signed = || {
            let hash: Vec<u8> =
                [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].iter().flat_map(|id| *id.as_bytes()).collect();
            let until = Timestamp::now() + SignedDuration::from_secs(600);
            let replay = ReplayKey { hash: hash.try_into().expect("32 bytes"), until };
            Submission { replay: Some(replay), ..submission(&signer, message(&id(), "c", "hi")) }
        };
        assert_eq!(taken(stores, REMEMBERED, signed).await, REMEMBERED, "round {round}");
    }
    // What has ended makes room, at each of them.
    let of = owner("greedy 0");
    let page = stores[0].list(&of, &bindu_tasks::ListQuery { page_size: 1, ..Default::default() }).await;
    let task = page.expect("a page").tasks.remove(0);
    stores[0].cancel(&crate::contract::key(&of, &task.id)).await.expect("cancelled");
    let one = || submission(&of, message(&id(), "c", "hi"));
    assert_eq!(taken(stores, 3, one).await, 1, "one has ended");
    assert_eq!(task.status.state, TaskState::Submitted);
}

/// Several replicas on one PostgreSQL take one caller's messages at once, up to the bound and beyond.
///
/// Promise: exactly as many are taken as the caller may have, of unfinished tasks as of remembered signed requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_holds_exactly_over_replicas_on_postgres() {
    let did = places::did();
    let stores: Vec<_> = (0..PROCESSES).map(|_| on_postgres(&did)).collect();
    shares_hold(&stores).await;
}

/// The same with several processes on one file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_holds_exactly_over_processes_on_a_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = SqliteOptions {
        lease: LEASE,
        bounds: bounds(),
        ..SqliteOptions::new(directory.path().join("tasks.db"), "did:bindu:test:store")
    };
    let mut stores: Vec<Arc<dyn TaskStore>> = Vec::new();
    for _ in 0..PROCESSES {
        stores.push(Arc::new(SqliteStore::open(options.clone()).await.expect("a file")));
    }
    shares_hold(&stores).await;
}

/// Somebody holds one caller's share for as long as he likes: another replica that hangs in its commit.
///
/// Promise: that caller's messages are refused for now, all of them soon; others' are taken meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_is_held_for_long_keeps_nobody_else_waiting_for_long() {
    let server = tokio::task::spawn_blocking(bindu_testkit::Postgres::start).await.expect("started");
    let did = places::did();
    let options = postgres_options(&server.dsn, &did);
    let store = Arc::new(PostgresStore::open(options).expect("a URL"));
    let (held, other) = (owner("held"), owner("other"));
    let one = |of: &Owner| store.submit(submission(of, message(&id(), "c", "hi")));
    let first = begun(&*store, &held, &id()).await;
    let dsn = server.dsn.clone();
    let mut blocker = direct(&dsn).await;
    // The number of the share's lock shows while its holder waits for a row.
    sql(&mut blocker, &format!("BEGIN; SELECT 1 FROM \"{}\".bindu_tasks FOR UPDATE", schema_of(&did))).await;
    let waits = {
        let (store, more) = (Arc::clone(&store), submission(&held, message(&first.task.id, "c", "more")));
        tokio::spawn(async move { store.submit(more).await })
    };
    let number = places::eventually("its lock is seen", || async {
        let asked = "SELECT (CAST(classid AS BIGINT) << 32) | CAST(objid AS BIGINT) FROM pg_locks
            WHERE locktype = 'advisory' AND granted";
        let row = direct(&dsn).await.fetch_optional(sqlx::raw_sql(asked)).await.expect("asked");
        row.map(|row| row.get::<i64, _>(0))
    })
    .await;
    sql(&mut blocker, "ROLLBACK").await;
    // Taken, or it has waited too long.
    let _ = waits.await.expect("no panic");
    sql(&mut blocker, &format!("BEGIN; SELECT pg_advisory_xact_lock({number})")).await;
    let asked = Instant::now();
    let refused = join_all((0..40).map(|_| one(&held)));
    let taken = join_all((0..40).map(|number| {
        let of = owner(&format!("other {number}"));
        store.submit(submission(&of, message(&id(), "c", "hi")))
    }));
    let (refused, taken) = tokio::join!(refused, taken);
    assert!(refused.iter().all(|one| matches!(one, Err(StoreError::Unavailable(_)))), "{refused:?}");
    assert!(taken.iter().all(Result::is_ok), "{taken:?}");
    assert!(asked.elapsed() < Duration::from_secs(40), "not two seconds for each: {:?}", asked.elapsed());
    assert!(one(&other).await.is_ok());
    sql(&mut blocker, "ROLLBACK").await;
    one(&held).await.expect("taken again");
    drop(server);
}

/// How long so many messages take, by 16 callers at once that are all one owner's.
async fn time_of(store: &Arc<dyn TaskStore>, of: Owner, count: usize) -> Duration {
    let begun = Instant::now();
    join_all((0..16).map(|_| async {
        for _ in 0..count / 16 {
            let task = id();
            store.submit(submission(&of, message(&task, "c", "hi"))).await.expect("taken");
            store.cancel(&crate::contract::key(&of, &task)).await.expect("cancelled");
        }
    }))
    .await;
    begun.elapsed()
}

/// A rough measurement: `cargo test -p bindu-tasks --test stores -- --ignored --nocapture what_a_share_costs`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn what_a_share_costs() {
    let options = postgres_options(places::shared_postgres(), &places::did());
    let store: Arc<dyn TaskStore> = Arc::new(PostgresStore::open(options).expect("a URL"));
    store.check().await.expect("it answers");
    for _ in 0..3 {
        let without = time_of(&store, Owner::Everybody, 1600).await;
        let with = time_of(&store, owner("one"), 1600).await;
        println!("1600 messages and their ends: without a share {without:?}, with one {with:?}");
    }
}
