//! What only a server can show: outages, replicas, other people's locks.

use crate::{
    contract::{begun, ended_by_a_wrong_clock, id, key, message, owner, status, submission},
    places::{self, LEASE, eventually, postgres_options},
    workload,
};
use bindu_a2a::model::TaskState;
use bindu_tasks::{
    LEASE as DEFAULT_LEASE, PostgresOptions, PostgresStore, SqlBounds, StoreError, TaskStore, history,
    schema_of,
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

pub(crate) async fn direct(dsn: &str) -> PgConnection {
    PgConnection::connect(dsn).await.expect("a connection")
}

pub(crate) async fn sql(connection: &mut PgConnection, text: &str) {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(text.to_owned()))).await.expect("done");
}

pub(crate) fn replica(dsn: &str, did: &str) -> Arc<PostgresStore> {
    let bounds = SqlBounds { tasks_of_one: 1_000_000, ..SqlBounds::default() };
    let options = PostgresOptions { bounds, ..postgres_options(dsn, did) };
    Arc::new(PostgresStore::open(options).expect("a URL"))
}

/// Runs the workload on some replicas while something is done to their database; what was seen fits what is there.
pub(crate) async fn endures<T>(
    stores: Vec<Arc<PostgresStore>>,
    trouble: impl Future<Output = T>,
) -> history::History {
    let history = Arc::new(Mutex::new(history::History::default()));
    let stop = Arc::new(AtomicBool::new(false));
    let watching = Arc::new(AtomicBool::new(false));
    let mut workers = tokio::task::JoinSet::new();
    for store in &stores {
        for _ in 0..3 {
            let (history, store) = (Arc::clone(&history), Arc::clone(store) as Arc<dyn TaskStore>);
            let tell = move |seen| workload::note(&mut history.lock().expect("no panic"), seen);
            workers.spawn(workload::work(store, Arc::clone(&stop), tell));
        }
        workers.spawn(workload::take_over(Arc::clone(store) as Arc<dyn TaskStore>, Arc::clone(&stop)));
    }
    let last = Arc::clone(stores.last().expect("a replica")) as Arc<dyn TaskStore>;
    let follower =
        tokio::spawn(workload::follow(Arc::clone(&last), Arc::clone(&watching), Arc::clone(&history)));
    // What it gives lives as long as the stores need it: the server.
    let _held = trouble.await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = workers.join_next().await {
        ended.expect("no panic");
    }
    let mut end = history::History::default();
    workload::settle(&last, &mut end).await;
    watching.store(true, Ordering::Relaxed);
    follower.await.expect("no panic");
    let mut all = history.lock().expect("no panic").clone();
    all.logs = end.logs;
    all.is_over = true;
    assert!(
        all.subscriptions.iter().any(|subscription| subscription.events.len() > 2),
        "somebody has followed"
    );
    assert_eq!(history::check(&all), []);
    all
}

/// A server that is killed and started again under the load of three replicas.
///
/// Promise: nothing that was answered is lost or doubled; each accepted message ends once; subscribers miss nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_comes_back_loses_nothing() {
    let mut server = tokio::task::spawn_blocking(bindu_testkit::Postgres::start).await.expect("started");
    let did = places::did();
    let stores: Vec<_> = (0..3).map(|_| replica(&server.dsn, &did)).collect();
    let figures = || stores.iter().map(|store| store.figures()).collect::<Vec<_>>();
    let all = endures(stores.clone(), async {
        for _ in 0..2 {
            let before: u64 = figures().iter().map(|figures| figures.changes).sum();
            eventually("there is load", || async {
                (figures().iter().map(|figures| figures.changes).sum::<u64>() > before + 200).then_some(())
            })
            .await;
            let outages: u64 = figures().iter().map(|figures| figures.outages).sum();
            server = tokio::task::spawn_blocking(move || {
                server.stop();
                server
            })
            .await
            .expect("stopped");
            eventually("the outage was met", || async {
                (figures().iter().map(|figures| figures.outages).sum::<u64>() > outages).then_some(())
            })
            .await;
            assert!(matches!(stores[0].check().await, Err(StoreError::Unavailable(_))));
            server = tokio::task::spawn_blocking(move || {
                server.start_again();
                server
            })
            .await
            .expect("started");
            eventually("it answers again", || async { stores[0].check().await.ok() }).await;
        }
        server
    })
    .await;
    assert!(all.accepted.len() > 30);
}

/// Connections that are cut at any time, also between a commit and its answer.
///
/// Promise: as above; a lost answer is followed up, not repeated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_lose_nothing() {
    let shared = places::shared_postgres();
    let port: u16 =
        shared.split(':').nth(2).and_then(|rest| rest.split('/').next()?.parse().ok()).expect("a port");
    let wire = bindu_testkit::Wire::start(port).await;
    let dsn = shared.replace(&format!(":{port}/"), &format!(":{}/", wire.port));
    let did = places::did();
    let stores: Vec<_> = [replica(&dsn, &did), replica(shared, &did)].into();
    let cut = Arc::clone(&stores[0]);
    endures(stores, async {
        for _ in 0..25 {
            let before = cut.figures().changes;
            eventually("there is load", || async { (cut.figures().changes > before + 7).then_some(()) })
                .await;
            wire.cut();
        }
    })
    .await;
    assert!(cut.figures().outages > 3, "the cuts were met: {:?}", cut.figures());
}

/// Somebody else holds a lock on one task's row for long.
///
/// Promise: changes of that task are refused in time; others, in the same batch too, are done.
#[tokio::test]
async fn a_long_transaction_of_somebody_else_holds_up_its_own_rows_only() {
    let did = places::did();
    let options = PostgresOptions {
        statement_timeout: Duration::from_millis(400),
        ..postgres_options(places::shared_postgres(), &did)
    };
    let store = Arc::new(PostgresStore::open(options).expect("a URL"));
    let of = owner("alice");
    let mut runs = Vec::new();
    for _ in 0..24 {
        runs.push(begun(&*store, &of, &id()).await);
    }
    let mut other = direct(places::shared_postgres()).await;
    let locked = runs[0].task.clone();
    let schema = schema_of(&did);
    sql(
        &mut other,
        &format!("BEGIN; SELECT 1 FROM \"{schema}\".bindu_tasks WHERE id = '{}' FOR UPDATE", locked.id),
    )
    .await;
    let appends = runs.iter().map(|run| store.append(run, vec![status(TaskState::Completed)]));
    let outcomes = futures_util::future::join_all(appends).await;
    assert!(matches!(outcomes[0], Err(StoreError::Unavailable(_))), "{:?}", outcomes[0]);
    assert!(outcomes[1..].iter().all(Result::is_ok), "{outcomes:?}");
    assert!(store.read(&locked).await.is_ok(), "readers wait for nobody");
    assert_eq!(store.figures().outages, 0, "it is no outage");
    sql(&mut other, "ROLLBACK").await;
    store.append(&runs[0], vec![status(TaskState::Completed)]).await.expect("nobody holds it any more");
}

/// The database is away when the store is opened.
///
/// Promise: the start does not fail; what is asked is unavailable; the tables are made when it comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_at_the_start_is_used_when_it_comes() {
    let mut server = tokio::task::spawn_blocking(|| {
        let mut server = bindu_testkit::Postgres::start();
        server.stop();
        server
    })
    .await
    .expect("started");
    let store = replica(&server.dsn, &places::did());
    let refused = store.submit(submission(&owner("alice"), message(&id(), "c", "hi"))).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(store.take_abandoned(1).await.ok(), None);
    server = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    })
    .await
    .expect("started");
    eventually("it answers", || async { store.check().await.ok() }).await;
    begun(&*store, &owner("alice"), &id()).await;
    drop(server);
}

/// A database that was away for longer than a lease.
///
/// Promise: what a replica that lives works on is taken over by nobody, as it gets one lease to renew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_nothing_is_taken_over_for_one_lease() {
    let mut server = tokio::task::spawn_blocking(bindu_testkit::Postgres::start).await.expect("started");
    let did = places::did();
    let (one, two) = (replica(&server.dsn, &did), replica(&server.dsn, &did));
    let run = begun(&*one, &owner("alice"), &id()).await;
    two.check().await.expect("there");
    server = tokio::task::spawn_blocking(move || {
        server.stop();
        server
    })
    .await
    .expect("stopped");
    assert!(two.take_abandoned(10).await.is_err());
    // Nobody can renew it: the lease ends while the database is away.
    tokio::time::sleep(LEASE + LEASE / 4).await;
    server = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    })
    .await
    .expect("started");
    eventually("it answers", || async { two.check().await.ok() }).await;
    assert_eq!(two.take_abandoned(10).await, Ok(Vec::new()), "its holder may come back");
    assert_eq!(one.renew(std::slice::from_ref(&run)).await, Ok(Vec::new()), "and does");
    let taken = eventually("its lease ends", || async {
        two.take_abandoned(10).await.ok().filter(|taken| !taken.is_empty())
    })
    .await;
    assert_eq!(taken[0].run.run, run.run + 1);
    assert!(DEFAULT_LEASE > LEASE);
    drop(server);
}

/// Somebody holds a lock on the tasks for longer than a lease, and the database answers everything else.
///
/// Promise: what a replica that lives works on is taken over by nobody, and the store says that it cannot be used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_somebody_locks_the_tasks_no_lease_ends() {
    for mode in ["ACCESS EXCLUSIVE", "SHARE"] {
        let did = places::did();
        let (one, two) = (replica(places::shared_postgres(), &did), replica(places::shared_postgres(), &did));
        let run = begun(&*one, &owner("alice"), &id()).await;
        let begun_at = Instant::now();
        // The other one has reached the database for a lease: it could take over.
        while begun_at.elapsed() < LEASE + LEASE / 4 {
            assert_eq!(one.renew(std::slice::from_ref(&run)).await, Ok(Vec::new()));
            assert_eq!(two.take_abandoned(10).await, Ok(Vec::new()));
            tokio::time::sleep(LEASE / 20).await;
        }
        let mut other = direct(places::shared_postgres()).await;
        let table = format!("\"{}\".bindu_tasks", schema_of(&did));
        sql(&mut other, &format!("BEGIN; LOCK TABLE {table} IN {mode} MODE")).await;
        let locked = Instant::now();
        while locked.elapsed() < LEASE + LEASE / 4 {
            assert!(two.take_abandoned(10).await.is_err(), "{mode}");
            assert!(one.renew(std::slice::from_ref(&run)).await.is_err(), "{mode}");
            assert!(two.check().await.is_err(), "{mode}: nothing can be written");
        }
        sql(&mut other, "ROLLBACK").await;
        assert_eq!(two.take_abandoned(10).await, Ok(Vec::new()), "{mode}: its holder lives");
        assert_eq!(one.renew(std::slice::from_ref(&run)).await, Ok(Vec::new()), "{mode}: and renews");
        for store in [&one, &two] {
            assert_eq!(store.check().await, Ok(()), "{mode}");
        }
    }
}

/// News for other replicas: told after the commit, ids only; what is not told is found by the poll.
#[tokio::test]
async fn replicas_hear_of_each_others_events() {
    let did = places::did();
    let (one, two) = (replica(places::shared_postgres(), &did), replica(places::shared_postgres(), &did));
    let run = begun(&*one, &owner("alice"), &id()).await;
    let mut heard =
        sqlx::postgres::PgListener::connect(places::shared_postgres()).await.expect("a connection");
    let hash: String = {
        use sha2::Digest as _;
        sha2::Sha256::digest(did.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    };
    heard.listen(&format!("bindu_{hash}")).await.expect("listening");
    let mut watch = two.watch(&run.task);
    let number = one.append(&run, vec![status(TaskState::Working)]).await.expect("appended");
    let told = tokio::time::timeout(Duration::from_secs(60), watch.wait_for(|told| *told >= number)).await;
    assert!(told.expect("in time").is_ok());
    let news =
        tokio::time::timeout(Duration::from_secs(60), heard.recv()).await.expect("in time").expect("news");
    assert!(!news.payload().contains(&run.task.id) && news.payload().len() < 8000);
    assert_eq!(news.payload().split(':').count(), 2);
}

/// Python Bindu's tables in the same schema are not touched, and ours lie beside them.
#[tokio::test]
async fn python_bindus_tables_stay_as_they_are() {
    let did = places::did();
    let schema = schema_of(&did);
    let mut other = direct(places::shared_postgres()).await;
    let python = format!(
        "CREATE SCHEMA \"{schema}\"; CREATE TABLE \"{schema}\".tasks (id UUID PRIMARY KEY, state TEXT);
        INSERT INTO \"{schema}\".tasks VALUES ('00000000-0000-0000-0000-000000000001', 'completed')"
    );
    sql(&mut other, &python).await;
    let store = replica(places::shared_postgres(), &did);
    begun(&*store, &owner("alice"), &id()).await;
    let tables = format!(
        "SELECT CAST(table_name AS TEXT) FROM information_schema.tables WHERE table_schema = '{schema}'"
    );
    let rows = sqlx::query(AssertSqlSafe(tables)).fetch_all(&mut other).await.expect("rows");
    let mut tables: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    tables.sort();
    assert!(tables.iter().all(|table| table == "tasks" || table.starts_with("bindu_")), "{tables:?}");
    let count = format!("SELECT count(*) FROM \"{schema}\".tasks");
    let count: i64 = sqlx::query(AssertSqlSafe(count)).fetch_one(&mut other).await.expect("a row").get(0);
    assert_eq!(count, 1);
}

/// Two versions beside each other: newer tables are used if they say that this version reads them, else refused.
#[tokio::test]
async fn newer_tables_are_used_only_if_they_say_so() {
    let did = places::did();
    let store = replica(places::shared_postgres(), &did);
    let run = begun(&*store, &owner("alice"), &id()).await;
    let mut other = direct(places::shared_postgres()).await;
    let schema = schema_of(&did);
    sql(
        &mut other,
        &format!(
            "ALTER TABLE \"{schema}\".bindu_tasks ADD COLUMN later TEXT;
            UPDATE \"{schema}\".bindu_storage SET version = 99, readable_by = 1"
        ),
    )
    .await;
    let beside = replica(places::shared_postgres(), &did);
    begun(&*beside, &owner("alice"), &id()).await;
    assert!(beside.read(&run.task).await.is_ok());
    sql(&mut other, &format!("UPDATE \"{schema}\".bindu_storage SET readable_by = 99")).await;
    let refused = replica(places::shared_postgres(), &did).read(&run.task).await;
    assert!(
        matches!(&refused, Err(StoreError::Unavailable(text)) if text.contains("version 99")),
        "{refused:?}"
    );
}

/// One replica's clock is wrong: tasks are as old as the database's clock says.
#[tokio::test]
async fn a_replica_with_a_wrong_clock_takes_nobodys_tasks_away() {
    let did = places::did();
    let stores = [replica(places::shared_postgres(), &did), replica(places::shared_postgres(), &did)];
    let runs = ended_by_a_wrong_clock(&*stores[0]).await;
    assert_eq!(stores[1].prune().await.expect("pruned").tasks, 0);
    for run in &runs {
        stores[1].read(&run.task).await.expect("it is kept");
    }
    let mut beside = direct(places::shared_postgres()).await;
    let older = "lease_until = lease_until - 864000000, created = created - 864000000";
    sql(&mut beside, &format!("UPDATE \"{}\".bindu_tasks SET {older}", schema_of(&did))).await;
    assert_eq!(stores[1].prune().await.expect("pruned").tasks, 2, "both are old, whatever was written");
}

/// A schema that is dropped under a running agent, by a restore for example.
#[tokio::test]
async fn tables_that_are_gone_are_made_again() {
    let did = places::did();
    let store = replica(places::shared_postgres(), &did);
    begun(&*store, &owner("alice"), &id()).await;
    sql(
        &mut direct(places::shared_postgres()).await,
        &format!("DROP SCHEMA \"{}\" CASCADE", schema_of(&did)),
    )
    .await;
    assert!(store.read(&key(&owner("alice"), "x")).await.is_err());
    assert_eq!(store.read(&key(&owner("alice"), "x")).await, Err(StoreError::NotFound));
    begun(&*store, &owner("alice"), &id()).await;
}

/// A server that accepts connections and says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_unavailable_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mute = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            held.push(connection);
        }
    });
    let store = replica(&format!("postgres://u@127.0.0.1:{port}/x?sslmode=disable"), &places::did());
    let begun = Instant::now();
    let many = (0..20).map(|_| store.submit(submission(&owner("alice"), message(&id(), "c", "hi"))));
    let outcomes = futures_util::future::join_all(many).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(StoreError::Unavailable(_)))));
    assert!(begun.elapsed() < Duration::from_secs(60), "each did not wait for the one before");
    mute.abort();
}
