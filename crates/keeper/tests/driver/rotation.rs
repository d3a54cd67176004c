//! Rotations on the paused clock: steps by the date, by clocks that are wrong, beside a slow Hydra, and half done.

use crate::bench::{Bench, INTERVAL, OVERLAP, Servers, did, milliseconds, seconds};
use bindu_identity::PublicKey;
use bindu_keeper::{RingStep, RingWish, Status};
use bindu_store::KeyRecord;
use bindu_testkit::fake::{self, Fate, HydraOp};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

const ROTATE: RingWish = RingWish::Rotate { at_once: false, compromised: false };

fn at_once(compromised: bool) -> RingWish {
    RingWish::Rotate { at_once: true, compromised }
}

fn stored(servers: &Servers) -> KeyRecord {
    KeyRecord::from_fields(&servers.store.current("keys").expect("a record").fields).expect("a keys record")
}

fn generation(servers: &Servers) -> u64 {
    stored(servers).lineage.map(|lineage| lineage.generation).unwrap_or_default()
}

fn named(servers: &Servers) -> Option<PublicKey> {
    servers.hydra.client_of(&did())?.public_key()?.parse().ok()
}

/// An operator's command, on a machine without this agent's directory.
async fn command(servers: &Servers, wish: RingWish) {
    let shell = Bench::new(servers);
    let look = shell.keeper.plan_ring(wish).await;
    shell.keeper.apply_ring(look).await.expect("it is applied");
}

/// Waits, at most for so long, until this holds; how long it took.
async fn within(longest: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() <= longest, "not within {longest:?}");
        tokio::time::sleep(milliseconds(100)).await;
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_rotation_takes_its_steps_on_their_dates() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    let old = bench.key();
    command(&servers, ROTATE).await;
    let begun = Instant::now();
    within(INTERVAL * 2, || bench.held().current().keys_beside().len() == 1).await;
    assert_eq!((bench.key(), generation(&servers)), (old, 0), "prepared, and nothing more");
    within(INTERVAL * 4, || bench.key() != old).await;
    // Due after twice the interval, and taken by the next pass.
    assert!(
        (INTERVAL * 2..INTERVAL * 2 + INTERVAL * 11 / 10).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
    within(seconds(1), || named(&servers) == Some(bench.key())).await;
    let activated = Instant::now();
    tokio::time::sleep(OVERLAP - seconds(60)).await;
    assert!(stored(&servers).previous.is_some());
    within(seconds(600), || stored(&servers).previous.is_none()).await;
    let took = activated.elapsed();
    assert!((OVERLAP - seconds(1)..OVERLAP + INTERVAL * 11 / 10).contains(&took), "{took:?}");
}

/// A Hydra that needs longer than the second that a pass gives it holds no rotation up.
#[tokio::test(start_paused = true)]
async fn beside_a_slow_hydra_a_rotation_takes_its_steps() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    let old = bench.key();
    command(&servers, ROTATE).await;
    servers.hydra.script(|_, _| Fate::After(seconds(4)));
    let took = within(INTERVAL * 6, || bench.key() != old).await;
    assert!(took < INTERVAL * 4, "{took:?}");
    within(seconds(60), || named(&servers) == Some(bench.key())).await;
    tokio::time::sleep(OVERLAP).await;
    within(seconds(600), || stored(&servers).previous.is_none()).await;
}

/// A Hydra that gives no answer at all is not waited for longer because a step is due.
#[tokio::test(start_paused = true)]
async fn a_silent_hydra_is_not_waited_for_longer_because_a_step_is_due() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    let old = bench.key();
    command(&servers, ROTATE).await;
    servers.hydra.script(|_, _| Fate::Hang);
    tokio::time::sleep(INTERVAL * 10).await;
    assert_eq!(bench.key(), old, "no step is taken without Hydra");
    // A second for the keys, ten for the client, and five of backoff.
    let before = bench.passes();
    tokio::time::sleep(seconds(600)).await;
    let passes = bench.passes() - before;
    assert!((600 / 17..=600 / 15 + 1).contains(&passes), "{passes}");
}

/// The clocks of three replicas are hours apart: the store's decides. Each step is taken once, by its date.
#[tokio::test(start_paused = true)]
async fn wrong_clocks_take_no_step_too_early() {
    for ahead in [3 * 3600, -3 * 3600] {
        let servers = Servers::new();
        let mut right = Bench::new(&servers);
        right.start_and_settle().await;
        let old = right.key();
        let disk = Arc::new(tempfile::tempdir().expect("a directory"));
        let mut wrong = Bench::on(&servers, disk, |keeper| {
            keeper.clock = fake::clock(ahead);
            // As the store's answers have told it by their `Date`.
            let status = Status::default();
            status.store_skew(ahead);
            keeper.status = Arc::new(status);
        });
        wrong.start().await;
        command(&servers, ROTATE).await;
        let begun = Instant::now();
        within(INTERVAL * 4, || right.key() != old || wrong.key() != old).await;
        assert!(begun.elapsed() >= INTERVAL * 2 - seconds(1), "{ahead}: {:?}", begun.elapsed());
        within(INTERVAL * 2, || right.key() == wrong.key()).await;
        tokio::time::sleep(OVERLAP - seconds(600)).await;
        assert!(stored(&servers).previous.is_some(), "{ahead}: retired too early");
        within(seconds(1200), || stored(&servers).previous.is_none()).await;
        assert_eq!(generation(&servers), 1);
    }
}

/// The command dies after its first write: a replica finishes what it has begun, without an overlap, and revokes the tokens.
#[tokio::test(start_paused = true)]
async fn a_half_done_withdrawal_is_finished_by_a_replica() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    let old = bench.key();
    // Dies with the first answer.
    let shell = Bench::new(&servers);
    let mut look = shell.keeper.plan_ring(at_once(true)).await;
    look.steps.as_mut().expect("steps").truncate(1);
    assert_eq!(look.steps, Ok(vec![RingStep::Prepare { at_once: false, compromised: true }]));
    shell.keeper.apply_ring(look).await.expect("prepared");
    servers.hydra.forget_calls();
    within(INTERVAL * 4, || bench.key() != old).await;
    assert!(stored(&servers).previous.is_none(), "no overlap");
    assert_eq!(bench.held().current().keys_beside(), []);
    within(seconds(10), || named(&servers) == Some(bench.key())).await;
    tokio::time::sleep(seconds(3600)).await;
    assert_eq!(servers.hydra.times(HydraOp::RevokeTokens).len(), 1, "revoked, once");
    assert_eq!(bench.reasons(), []);
}

/// The command dies between its last write and the revocation; and Hydra is away for a while.
#[tokio::test(start_paused = true)]
async fn tokens_that_the_command_did_not_revoke_are_revoked_by_one_replica() {
    let servers = Servers::new();
    let mut replicas = [Bench::new(&servers), Bench::new(&servers)];
    for replica in &mut replicas {
        replica.start_and_settle().await;
        // Not in step.
        tokio::time::sleep(seconds(7)).await;
    }
    let old = replicas[0].key();
    let shell = Bench::new(&servers);
    let look = shell.keeper.plan_ring(at_once(true)).await;
    let is_over = |servers: &Servers| generation(servers) == 1;
    servers.hydra.script(|_, _| Fate::Hang);
    {
        let applying = shell.keeper.apply_ring(look);
        tokio::select! {
            _ = applying => panic!("it has done everything"),
            _ = within(seconds(5), || is_over(&servers)) => {}
        }
    }
    servers.hydra.script(|_, _| Fate::Down);
    tokio::time::sleep(seconds(300)).await;
    servers.hydra.forget_calls();
    servers.hydra.script(|_, _| Fate::Pass);
    for replica in &replicas {
        within(INTERVAL * 2, || replica.key() != old && replica.reasons().is_empty()).await;
    }
    tokio::time::sleep(seconds(3600)).await;
    assert_eq!(servers.hydra.times(HydraOp::RevokeTokens).len(), 1);
    let calls = servers.hydra.calls();
    let revoked = calls.iter().position(|(_, call)| call.op == HydraOp::RevokeTokens);
    let flipped = calls.iter().position(|(_, call)| call.op == HydraOp::Patch);
    assert!(flipped < revoked, "Hydra names the new key first");
}

/// If the command itself has revoked them, nobody does it again.
#[tokio::test(start_paused = true)]
async fn tokens_are_revoked_once() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    let shell = Bench::new(&servers);
    let look = shell.keeper.plan_ring(at_once(true)).await;
    let applied = shell.keeper.apply_ring(look).await.expect("applied");
    assert_eq!(applied.tokens_revoked, Some(true));
    tokio::time::sleep(seconds(3600)).await;
    assert_eq!(servers.hydra.times(HydraOp::RevokeTokens).len(), 1);
}

/// A rotation without `--compromised` revokes nothing.
#[tokio::test(start_paused = true)]
async fn a_planned_rotation_revokes_no_token() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    let old = bench.key();
    command(&servers, at_once(false)).await;
    within(INTERVAL * 2, || bench.key() != old).await;
    tokio::time::sleep(seconds(3600)).await;
    assert_eq!(servers.hydra.times(HydraOp::RevokeTokens).len(), 0);
}

/// However short the overlap was set: every replica has loaded the new key before the old one ends.
#[tokio::test(start_paused = true)]
async fn an_overlap_lasts_twice_the_longest_interval_at_least() {
    let servers = Servers::new();
    let disk = Arc::new(tempfile::tempdir().expect("a directory"));
    let mut bench = Bench::on(&servers, disk, |keeper| keeper.rotation_overlap = seconds(1));
    bench.start_and_settle().await;
    let old = bench.key();
    command(&servers, ROTATE).await;
    within(INTERVAL * 4, || bench.key() != old).await;
    let activated = Instant::now();
    within(INTERVAL * 6, || stored(&servers).previous.is_none()).await;
    assert!(activated.elapsed() >= INTERVAL * 2 - seconds(1), "{:?}", activated.elapsed());
}
