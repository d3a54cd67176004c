//! The running agent: how often it looks, and that nothing happens when nothing has to.

use crate::bench::{Bench, INTERVAL, Servers, milliseconds, seconds};
use bindu_keeper::Reason;
use bindu_testkit::fake::{Fate, HydraOp};
use std::time::Duration;
use tokio::time::Instant;

/// When the keys record was read.
fn looks(servers: &Servers) -> Vec<Instant> {
    let calls = servers.store.calls();
    calls.iter().filter(|(_, call)| call.record == "keys").map(|(at, _)| *at).collect()
}

fn pauses(times: &[Instant]) -> Vec<Duration> {
    times.iter().zip(times.iter().skip(1)).map(|(one, next)| *next - *one).collect()
}

#[tokio::test(start_paused = true)]
async fn when_all_is_well_each_pass_asks_four_questions_and_writes_nothing() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    tokio::time::sleep(seconds(1)).await;
    let passes = bench.passes();
    servers.store.forget_calls();
    servers.hydra.forget_calls();
    tokio::time::sleep(seconds(24 * 3600)).await;
    let passes = usize::try_from(bench.passes() - passes).expect("a number");
    // The longest interval: the jitter of these tests is at its most.
    assert_eq!(passes, 24 * 3600 / 66);
    assert!(pauses(&looks(&servers)).iter().all(|pause| *pause == INTERVAL * 11 / 10));
    assert_eq!(servers.store.calls().len(), 2 * passes);
    assert_eq!((servers.store.writes().len(), servers.hydra.writes().len()), (0, 0));
    let asked = [HydraOp::Client, HydraOp::Token].map(|op| servers.hydra.times(op).len());
    assert_eq!((asked, servers.hydra.calls().len()), ([passes, passes], 2 * passes));
}

#[tokio::test(start_paused = true)]
async fn the_least_interval_is_nine_tenths() {
    let servers = Servers::new();
    let mut bench =
        Bench::on(&servers, std::sync::Arc::new(tempfile::tempdir().expect("a directory")), |keeper| {
            keeper.jitter = || 0.0;
        });
    bench.start_and_settle().await;
    tokio::time::sleep(INTERVAL).await;
    servers.store.forget_calls();
    tokio::time::sleep(seconds(600)).await;
    assert!(pauses(&looks(&servers)).iter().all(|pause| *pause == INTERVAL * 9 / 10));
}

/// From 0.5 s to 5 s, for as long as it lasts; then the usual interval again.
#[tokio::test(start_paused = true)]
async fn an_outage_is_looked_at_less_and_less_often_and_its_end_is_noticed() {
    for (is_store, reason) in [(true, Reason::StoreUnavailable), (false, Reason::HydraUnavailable)] {
        let servers = Servers::new();
        let mut bench = Bench::new(&servers);
        bench.start_and_settle().await;
        tokio::time::sleep(seconds(1)).await;
        match is_store {
            true => servers.store.script(|_, _| Fate::Down),
            false => servers.hydra.script(|_, _| Fate::Down),
        }
        servers.store.forget_calls();
        servers.hydra.forget_calls();
        tokio::time::sleep(seconds(600)).await;
        let growth = [500, 1000, 2000, 4000, 5000, 5000].map(milliseconds);
        let drawn = pauses(&looks(&servers));
        assert_eq!(drawn.get(..6), Some(growth.as_slice()), "{reason:?}");
        assert!(drawn.get(6..).is_some_and(|rest| rest.iter().all(|pause| *pause == seconds(5))));
        assert!(bench.reasons().contains(&reason), "{:?}", bench.reasons());
        assert!(servers.store.writes().is_empty() && servers.hydra.writes().is_empty());
        servers.store.script(|_, _| Fate::Pass);
        servers.hydra.script(|_, _| Fate::Pass);
        tokio::time::sleep(seconds(5)).await;
        assert_eq!(bench.reasons(), []);
        servers.store.forget_calls();
        tokio::time::sleep(seconds(600)).await;
        assert!(pauses(&looks(&servers)).iter().all(|pause| *pause == INTERVAL * 11 / 10));
    }
}

/// One sick server does not hold up the other's work.
#[tokio::test(start_paused = true)]
async fn a_silent_hydra_delays_no_work_on_the_keys() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    tokio::time::sleep(INTERVAL).await;
    servers.hydra.script(|_, _| Fate::Hang);
    servers.store.delete(&crate::bench::keys_record());
    let begun = Instant::now();
    while bench.keeper.status.snapshot().keys != Some(Reason::RecordDeleted) {
        tokio::time::sleep(milliseconds(10)).await;
    }
    // At most an interval until the next pass, and one second for Hydra.
    assert!(begun.elapsed() <= INTERVAL * 11 / 10 + seconds(1), "{:?}", begun.elapsed());
}

/// Whoever refuses our signatures can't make us ask our servers more often than once a second.
#[tokio::test(start_paused = true)]
async fn looks_that_others_ask_for_are_a_second_apart() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    tokio::time::sleep(seconds(5)).await;
    servers.store.forget_calls();
    let (held, begun) = (bench.held(), Instant::now());
    held.look_again();
    tokio::time::sleep(milliseconds(1)).await;
    assert_eq!(looks(&servers), [begun], "the first one is at once");
    while begun.elapsed() < seconds(10) {
        held.look_again();
        tokio::time::sleep(milliseconds(1)).await;
    }
    let drawn = pauses(&looks(&servers));
    assert!((9..=10).contains(&drawn.len()), "{drawn:?}");
    assert!(drawn.iter().all(|pause| *pause >= seconds(1)), "{drawn:?}");
}
