//! How long a start waits for whom.

use crate::bench::{Bench, DEADLINE, Servers, foreign_client, key, milliseconds, seconds};
use bindu_keeper::{Reason, StartError};
use bindu_testkit::fake::{Fate, HydraOp, StoreOp};

fn silent(servers: &Servers) {
    servers.store.script(|_, _| Fate::Hang);
    servers.hydra.script(|_, _| Fate::Hang);
}

#[tokio::test(start_paused = true)]
async fn without_a_key_silent_servers_end_a_start_at_its_deadline() {
    let servers = Servers::new();
    silent(&servers);
    let mut bench = Bench::new(&servers);
    let (took, error) = bench.try_start().await;
    assert_eq!(took, DEADLINE);
    assert!(matches!(error, Some(StartError::Unavailable { .. })), "{error:?}");
    assert!(servers.store.writes().is_empty() && servers.hydra.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_asked_until_the_deadline_and_no_longer() {
    let servers = Servers::new();
    servers.store.script(|_, _| Fate::Down);
    let (took, error) = Bench::new(&servers).try_start().await;
    assert!(matches!(error, Some(StartError::Unavailable { .. })), "{error:?}");
    assert_eq!(took, DEADLINE);
    // 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5 ... seconds apart, and the last pause ends at the deadline.
    let mut asked: Vec<_> = servers.store.calls().iter().map(|(at, _)| *at).collect();
    asked.dedup();
    let pauses: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let growth = [200, 400, 800, 1600, 3200, 5000, 5000].map(milliseconds);
    assert_eq!(pauses.get(..7), Some(growth.as_slice()));
    assert_eq!(pauses.iter().sum::<std::time::Duration>(), DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn with_an_acknowledged_key_a_start_waits_three_seconds_for_the_store_and_not_for_hydra() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    let before = bench.key();
    silent(&servers);
    servers.store.forget_calls();
    let mut bench = bench.again(|_| {}).await;
    assert_eq!(bench.start().await, seconds(3));
    assert_eq!((bench.key(), bench.keeper.status.snapshot().keys), (before, Some(Reason::StoreUnavailable)));
    // For an hour: nothing is written, though it looks again and again.
    servers.hydra.forget_calls();
    tokio::time::sleep(seconds(3600)).await;
    assert!(servers.store.writes().is_empty() && servers.hydra.writes().is_empty());
    assert!(servers.store.calls().len() > 100);
}

#[tokio::test(start_paused = true)]
async fn without_a_key_a_start_waits_three_seconds_for_hydra() {
    let servers = Servers::new();
    servers.python_record(1);
    servers.hydra.script(|_, _| Fate::Hang);
    let mut bench = Bench::new(&servers);
    assert_eq!(bench.start().await, seconds(3));
    assert_eq!(bench.key(), key(1).public_key());
}

/// What a slow store takes is not added to what is waited for Hydra.
#[tokio::test(start_paused = true)]
async fn store_and_hydra_are_waited_for_at_the_same_time() {
    let servers = Servers::new();
    servers.python_record(1);
    servers.store.script(|_, _| Fate::After(seconds(2)));
    servers.hydra.script(|_, _| Fate::Hang);
    assert_eq!(Bench::new(&servers).start().await, seconds(3));
}

#[tokio::test(start_paused = true)]
async fn a_first_start_takes_no_time_and_writes_each_thing_once() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    assert_eq!(bench.start().await, seconds(0));
    let records: Vec<_> = servers.store.writes().iter().map(|(_, call)| call.record).collect();
    assert_eq!(records, ["keys", "credentials"]);
    let writes: Vec<_> = servers.hydra.writes().iter().map(|call| call.op).collect();
    assert_eq!(writes, [HydraOp::Create]);
}

#[tokio::test(start_paused = true)]
async fn a_warm_start_asks_each_once_and_writes_nothing() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    bench.kill().await;
    servers.store.forget_calls();
    servers.hydra.forget_calls();
    let mut bench = bench.again(|_| {}).await;
    assert_eq!(bench.start().await, seconds(0));
    let calls: Vec<_> = servers.store.calls().into_iter().map(|(_, call)| (call.record, call.op)).collect();
    assert_eq!(calls, [("keys", StoreOp::Read), ("credentials", StoreOp::Read)]);
    // Hydra is asked at the same time, and nobody has waited for it.
    tokio::task::yield_now().await;
    assert_eq!(servers.hydra.calls().first().map(|(_, call)| call.op), Some(HydraOp::Client));
    assert!(servers.hydra.writes().is_empty() && servers.store.writes().is_empty());
}

/// A key exists, for a client names one: an empty store is looked at for three seconds, and then nothing is made.
#[tokio::test(start_paused = true)]
async fn a_doubtful_absence_is_looked_at_for_three_seconds() {
    let servers = Servers::new();
    servers.hydra.register(&foreign_client(9));
    let (took, error) = Bench::new(&servers).try_start().await;
    assert!(error.is_some());
    // Every 0.4 s, until the doubt is 3 s old.
    assert_eq!(took, milliseconds(3200));
    assert!(servers.store.writes().is_empty() && servers.hydra.writes().is_empty());
}
