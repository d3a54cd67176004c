//! A failover to a synchronous standby, with the old primary fenced, and a disk of PostgreSQL's that is full.

use crate::{
    contract::{begun, id, message, owner, status, submission},
    places::{self, LEASE, eventually, postgres_options},
    postgres::{endures, replica},
};
use bindu_a2a::model::TaskState;
use bindu_tasks::{PostgresOptions, PostgresStore, StoreError, TaskStore};
use bindu_testkit::{Postgres, PostgresSetup, Wire};
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
