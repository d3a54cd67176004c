//! Replicas and databases killed at random, over and over.

use crate::{fleet::Fleet, number};
use bindu_testkit::Postgres;
use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

pub(crate) fn dsn(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
}

/// Stops a database as a host that is lost, and starts it again when a caller has met that, and a while after.
async fn restarted(mut server: Postgres, fleet: &Fleet, pause: Duration) -> Postgres {
    let refused = fleet.refused.load(SeqCst);
    server = tokio::task::spawn_blocking(move || {
        server.stop();
        server
    })
    .await
    .expect("it stops");
    while fleet.refused.load(SeqCst) == refused {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(pause).await;
    tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    })
    .await
    .expect("it starts")
}

/// Three replicas that are killed at random while they are called and start again (here 12 times, in `soak` 1,000 times), on a
/// PostgreSQL that is killed, too (here once, in `soak` 20 times).
///
/// Promise: each accepted message has exactly one task with exactly one end, whatever replica is asked, and was worked on at most
/// once; no event is lost, twice or out of order; each subscriber, on whichever replicas, sees the log without a gap.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_and_databases_killed_at_random() {
    let (kills, restarts) = (number("BINDU_SOAK_KILLS", 12), number("BINDU_SOAK_RESTARTS", 1));
    let begun = Instant::now();
    let server = tokio::task::spawn_blocking(Postgres::start).await.expect("started");
    let pace = Duration::from_millis(if kills > 100 { 100 } else { 20 });
    let fleet = Fleet::start("Killed Replicas", &dsn(server.port), pace, &[]).await;
    let left = AtomicUsize::new(kills);
    let killing = async |at: usize| {
        while left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            // One of them lives for longer than a lease now and then, and finds what the others have left.
            let longest = if at == 2 && kills > 100 { 60_000 } else { 1000 };
            fleet.crash(at, Duration::from_millis(rand::random_range(0..longest))).await;
        }
    };
    let mut held = None;
    let end = fleet
        .endures(async {
            let restarting = async {
                let mut server = server;
                for restart in 1..=restarts {
                    while fleet.kills.load(SeqCst) < restart * kills / (restarts + 1) {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    server =
                        restarted(server, &fleet, Duration::from_millis(rand::random_range(0..2000))).await;
                    println!(
                        "restart {restart}: {} killed, {} accepted",
                        fleet.kills.load(SeqCst),
                        fleet.accepted()
                    );
                }
                server
            };
            let (server, ..) = tokio::join!(restarting, killing(0), killing(1), killing(2));
            held = Some(server);
            fleet.takes(20).await;
        })
        .await;
    let count = |counter: &AtomicUsize| counter.load(SeqCst);
    println!(
        "{} replicas killed, {} of them with requests to answer, {restarts} database restarts, in {} s: {end:?}; {} messages \
         sent again, {} times told to come again",
        count(&fleet.kills),
        count(&fleet.hits),
        begun.elapsed().as_secs(),
        count(&fleet.again),
        count(&fleet.refused)
    );
    assert_eq!(count(&fleet.kills), kills);
    assert!(count(&fleet.hits) * 4 >= kills, "replicas were killed while they were called");
    assert!(count(&fleet.again) > 0, "answers were lost");
    assert!(end.interrupted > 0, "replicas were killed while they worked: {end:?}");
    assert!(end.breaks > 0 && end.subscriptions > 0, "streams broke off: {end:?}");
    assert!(end.completed > 20, "{end:?}");
    assert!(restarts == 0 || count(&fleet.refused) > 0, "the database was away");
    drop(held);
}
