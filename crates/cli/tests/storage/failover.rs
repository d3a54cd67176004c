//! The program on a database that fails over, is cut off, and is locked by somebody else.

use crate::{fleet::Fleet, soak::dsn};
use bindu_testkit::{Postgres, Wire};
use std::{sync::atomic::Ordering::SeqCst, time::Duration};

const PACE: Duration = Duration::from_millis(20);

/// Three replicas while the primary's host is lost, and its synchronous standby is promoted at the same address.
///
/// Promise: nothing that was answered is lost or doubled, each message ends once, subscribers go on without a gap.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_under_three_replicas() {
    let (primary, standby) = tokio::task::spawn_blocking(|| {
        let primary = Postgres::start();
        let standby = primary.synchronous_standby();
        (primary, standby)
    })
    .await
    .expect("started");
    let wire = Wire::start(primary.port).await;
    let fleet = Fleet::start("Failed Over", &dsn(wire.port), PACE, &[]).await;
    let mut held = None;
    let end = fleet
        .endures(async {
            fleet.takes(40).await;
            let mut lost = primary;
            let lost = tokio::task::spawn_blocking(move || {
                lost.stop();
                lost
            })
            .await
            .expect("stopped");
            let refused = fleet.refused.load(SeqCst);
            bindu_testkit::http::eventually("the outage is met", async || {
                (fleet.refused.load(SeqCst) > refused + 3).then_some(())
            })
            .await;
            let promoted = tokio::task::spawn_blocking(move || {
                standby.promote();
                standby
            });
            let standby = promoted.await.expect("promoted");
            wire.move_to(standby.port);
            held = Some((lost, standby));
            fleet.takes(40).await;
        })
        .await;
    println!("{end:?}");
    assert!(end.completed >= 40, "{end:?}");
    drop(held);
}

/// Three replicas whose connections are cut again and again, and whose tables somebody else holds locked for five seconds.
///
/// Promise: the same; meanwhile callers are told to come again.
#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_and_locks_of_somebody_else() {
    let server = tokio::task::spawn_blocking(Postgres::start).await.expect("started");
    let wire = Wire::start(server.port).await;
    let fleet = Fleet::start("Cut And Locked", &dsn(wire.port), PACE, &[]).await;
    let mut held = None;
    let end = fleet
        .endures(async {
            for _ in 0..12 {
                fleet.takes(5).await;
                wire.cut();
            }
            assert!(fleet.refused.load(SeqCst) + fleet.again.load(SeqCst) > 0, "the cuts were met");
            let refused = fleet.refused.load(SeqCst);
            let locking = tokio::task::spawn_blocking(move || {
                let schema = server.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'did_bindu%'");
                server.sql(&format!(
                    "BEGIN; LOCK TABLE \"{schema}\".bindu_events IN EXCLUSIVE MODE; SELECT pg_sleep(5); COMMIT"
                ));
                server
            });
            held = Some(locking.await.expect("locked"));
            assert!(fleet.refused.load(SeqCst) > refused, "the lock was met");
            fleet.takes(20).await;
        })
        .await;
    println!("{end:?}");
    assert!(end.completed >= 60, "{end:?}");
    drop(held);
}
