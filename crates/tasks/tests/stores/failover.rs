//! A failover to a synchronous standby, with the old primary fenced, and a disk of PostgreSQL's that is full.

use crate::{
    contract::{begun, id, message, owner, status, submission},
    places::{self, LEASE, eventually, postgres_options},
    postgres::{endures, replica},
};
use bindu_a2a::{
    call::{Call, StreamEvent},
    model::TaskState,
};
use bindu_tasks::{
    Caller, Client, Job, Limits, Outlet, PostgresOptions, PostgresStore, StoreError, TaskService, TaskStore,
    TaskStream, Worker,
};
use bindu_testkit::{Postgres, PostgresSetup, Wire};
use futures_util::{StreamExt as _, future::BoxFuture};
use std::{sync::Arc, time::Duration};

/// What takes long and blocks, off the runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

async fn pair() -> (Postgres, Postgres) {
    blocking(|| {
        let primary = Postgres::start();
        let standby = primary.synchronous_standby();
        (primary, standby)
    })
    .await
}

/// A server whose tables lie on a disk of 24 MiB.
async fn with_a_small_disk() -> Postgres {
    let setup = PostgresSetup { table_bytes: Some(24 << 20), ..PostgresSetup::default() };
    blocking(|| Postgres::start_with(setup)).await
}

/// The same server, whose disk is filled, or has room again.
async fn filled(server: Postgres, is_full: bool) -> Postgres {
    blocking(move || {
        server.fill_tables(is_full);
        server
    })
    .await
}

fn by(wire: &Wire) -> String {
    format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", wire.port)
}

/// The primary's host is lost under the load of three replicas, its synchronous standby is promoted, and the address moves there.
///
/// Promise: nothing that was answered is lost or doubled; each accepted message ends once; subscribers miss nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_synchronous_standby_loses_nothing() {
    let (mut primary, mut standby) = pair().await;
    let (wire, did) = (Wire::start(primary.port).await, places::did());
    let stores: Vec<_> = (0..3).map(|_| replica(&by(&wire), &did)).collect();
    let changes = || stores.iter().map(|store| store.figures().changes).sum::<u64>();
    let all = endures(stores.clone(), async {
        eventually("there is load", || async { (changes() > 200).then_some(()) }).await;
        // Fenced: nothing of it is left.
        primary = blocking(move || {
            primary.stop();
            primary
        })
        .await;
        let before = changes();
        standby = blocking(move || {
            standby.promote();
            standby
        })
        .await;
        wire.move_to(standby.port);
        eventually("it answers again", || async { stores[0].check().await.ok() }).await;
        eventually("there is load again", || async { (changes() > before + 200).then_some(()) }).await;
        (primary, standby)
    })
    .await;
    assert!(all.accepted.len() > 30, "{}", all.accepted.len());
    assert!(stores.iter().all(|store| store.figures().outages > 0), "each has met it");
}

/// Has nothing to say: its task is gone on with by hand.
struct Silent;

impl Worker for Silent {
    fn work(&self, _job: Job, _outlet: Outlet) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// The next item of a stream: its id, and whether it is the whole task.
async fn next(stream: &mut TaskStream) -> (u64, bool) {
    let item = tokio::time::timeout(Duration::from_secs(60), stream.next()).await.expect("in time");
    let item = item.expect("it goes on");
    (item.number, matches!(item.event, StreamEvent::Task(_)))
}

/// Readers of a task's stream, before and after a failover: one that stays, and one that comes back with an id of the time before.
///
/// Promise: within one timeline an id is continued; an id of another one gives the task from its beginning, no gap and no error, its end too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_of_the_time_before_a_failover_gives_the_task_from_its_beginning() {
    let (mut primary, standby) = pair().await;
    let (wire, did) = (Wire::start(primary.port).await, places::did());
    let store = replica(&by(&wire), &did);
    let service =
        TaskService::new(Arc::clone(&store) as Arc<dyn TaskStore>, Arc::new(Silent), Limits::default());
    let run = begun(&*store, &owner("alice"), &id()).await;
    let client = Client { id: "alice".into(), subject: None, did: None, scopes: Vec::new() };
    let caller = Caller::Client(Arc::new(client));
    let subscribe = async |after: Option<u64>| {
        let call = Call::Subscribe { task_id: run.task.id.clone(), after };
        service.stream(&caller, call, None).await.expect("a stream")
    };
    let mut stays = subscribe(None).await;
    assert_eq!(next(&mut stays).await, (2, true));
    store.append(&run, vec![status(TaskState::Working)]).await.expect("appended");
    assert_eq!(next(&mut stays).await, (3, false));
    assert_eq!(next(&mut subscribe(Some(2)).await).await, (3, false), "the same timeline: it is continued");
    assert_eq!(store.timeline(), 0);
    let standby = blocking(move || {
        primary.stop();
        standby.promote();
        standby
    })
    .await;
    wire.move_to(standby.port);
    eventually("it answers again", || async { store.check().await.ok() }).await;
    let (id, is_whole) = next(&mut stays).await;
    assert!(is_whole && id > 1 << 32, "who stays is told it anew: {id}");
    assert_eq!(store.timeline(), 1);
    assert_eq!(next(&mut subscribe(Some(3)).await).await, (id, true), "an id of before");
    store.append(&run, vec![status(TaskState::Completed)]).await.expect("appended");
    assert_eq!(next(&mut stays).await, (id + 1, false));
    assert_eq!(next(&mut subscribe(Some(id)).await).await, (id + 1, false), "an id of now");
    assert_eq!(next(&mut subscribe(Some(3)).await).await, (id + 1, true), "ended, and told");
    drop(standby);
}

/// A login that may not ask for the timeline.
///
/// Promise: the store works all the same, and stays in the timeline in which it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_may_not_ask_for_the_timeline_is_served() {
    let server = blocking(|| {
        let server = Postgres::start();
        server.sql("CREATE ROLE alice LOGIN");
        server.sql("GRANT CREATE ON DATABASE postgres TO alice");
        server.sql("REVOKE EXECUTE ON FUNCTION pg_walfile_name(pg_lsn) FROM PUBLIC");
        server
    })
    .await;
    let dsn = format!("postgres://alice@127.0.0.1:{}/postgres?sslmode=disable", server.port);
    let store = replica(&dsn, &places::did());
    begun(&*store, &owner("alice"), &id()).await;
    assert_eq!((store.check().await, store.timeline()), (Ok(()), 0));
    drop(server);
}

/// The standby hangs, for longer than a statement may take; then the primary's host is lost, and the standby is promoted.
///
/// Promise: a commit that no standby has is not answered, however long its wait; what was answered is there after the failover.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_standby_has_is_not_answered() {
    let (primary, standby) = pair().await;
    let (wire, did) = (Wire::start(primary.port).await, places::did());
    let options = PostgresOptions {
        statement_timeout: Duration::from_millis(400),
        ..postgres_options(&by(&wire), &did)
    };
    let store = Arc::new(PostgresStore::open(options).expect("a URL"));
    let of = owner("alice");
    let run = begun(&*store, &of, &id()).await;
    standby.freeze(true);
    let asked = submission(&of, message(&id(), "c", "hi"));
    let answer = tokio::time::timeout(Duration::from_secs(3), store.submit(asked.clone())).await;
    let (primary, waits) = blocking(move || {
        let waits = primary.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
        (primary, waits)
    })
    .await;
    assert!(answer.is_err(), "no standby has it: {answer:?}");
    assert_ne!(waits, "0", "it waits for the standby");
    let (primary, standby) = blocking(move || {
        let mut primary = primary;
        primary.stop();
        standby.freeze(false);
        standby.promote();
        (primary, standby)
    })
    .await;
    wire.move_to(standby.port);
    eventually("it answers again", || async { store.check().await.ok() }).await;
    assert!(store.read(&run.task).await.is_ok(), "what was answered is there");
    let again = eventually("it is taken", || async { store.submit(asked.clone()).await.ok() }).await;
    assert_eq!(again.task.task.id, asked.message.task_id);
    drop(primary);
}

/// The disk of PostgreSQL's tables is full: the server itself says so.
///
/// Promise: messages are refused for that reason; what is there can be read, nothing is half there, and all goes on when there is
/// room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_postgres_refuses_and_goes_on() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let server = with_a_small_disk().await;
    let did = places::did();
    let store = replica(&server.dsn, &did);
    let of = owner("alice");
    let run = begun(&*store, &of, &id()).await;
    let server = filled(server, true).await;
    let text = "x".repeat(40_000);
    let mut taken = Vec::new();
    let refused = loop {
        match store.submit(submission(&of, message(&id(), "c", &text))).await {
            Ok(submitted) => taken.push(submitted.task.task.id),
            Err(error) => break error,
        }
        assert!(taken.len() < 500, "the disk is full");
    };
    assert_eq!(refused, StoreError::NoSpace);
    assert!(store.read(&run.task).await.is_ok(), "what is there can be read");
    assert_eq!(store.figures().outages, 0, "it is no outage");
    let server = filled(server, false).await;
    store.submit(submission(&of, message(&id(), "c", &text))).await.expect("there is room again");
    store.append(&run, vec![status(TaskState::Completed)]).await.expect("it ends");
    let key = |id: &str| crate::contract::key(&of, id);
    for id in &taken {
        assert_eq!(store.events(&key(id), 0, 10).await.expect("a log").len(), 2, "whole");
    }
    drop(server);
}

/// The disk is full for longer than a lease, so that a replica that lives cannot renew.
///
/// Promise: what it works on is taken over by nobody when there is room: it gets one lease to renew, as after an outage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_full_disk_nothing_is_taken_over_for_one_lease() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let server = with_a_small_disk().await;
    let did = places::did();
    let (one, two) = (replica(&server.dsn, &did), replica(&server.dsn, &did));
    let of = owner("alice");
    let run = begun(&*one, &of, &id()).await;
    let server = filled(server, true).await;
    let (text, full, mut refused) = ("x".repeat(40_000), std::time::Instant::now(), 0);
    while full.elapsed() < 2 * LEASE {
        let outcome = two.submit(submission(&of, message(&id(), "c", &text))).await;
        refused += usize::from(outcome == Err(StoreError::NoSpace));
        two.check().await.expect("it answers");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(refused > 2, "it was full");
    let server = filled(server, false).await;
    assert_eq!(two.take_abandoned(10).await, Ok(Vec::new()), "its holder may come back");
    assert_eq!(one.renew(std::slice::from_ref(&run)).await, Ok(Vec::new()), "and does");
    drop(server);
}
