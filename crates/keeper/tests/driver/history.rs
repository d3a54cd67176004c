//! Reading earlier versions is bounded by what the start itself waits for.

use crate::bench::{Bench, DEADLINE, Servers, foreign_client, key, seconds};
use bindu_keeper::StartError;
use bindu_testkit::fake::{Fate, StoreCall, StoreOp};
use std::sync::Arc;
use std::time::Duration;

/// Each earlier version is answered after this long.
fn slow_history(servers: &Servers, delay: Duration) {
    servers.store.script(move |call: &StoreCall, _| match call.op {
        StoreOp::ReadVersion(_) => Fate::After(delay),
        StoreOp::Read | StoreOp::Write(_) => Fate::Pass,
    });
}

fn version_reads(servers: &Servers) -> usize {
    let calls = servers.store.calls();
    calls.iter().filter(|(_, call)| matches!(call.op, StoreOp::ReadVersion(_))).count()
}

/// Twelve versions by Python Bindu, and a client that names another key: the history decides.
fn open_question() -> Servers {
    let servers = Servers::new();
    for _ in 0..12 {
        servers.python_record(1);
    }
    servers.hydra.register(&foreign_client(9));
    servers
}

/// Eleven earlier versions, each of which the store answers after 10 s; on a paused clock.
///
/// Promise: they are read at the same time, and take 10 s in all.
#[tokio::test(start_paused = true)]
async fn earlier_versions_are_read_all_at_the_same_time() {
    let servers = open_question();
    slow_history(&servers, seconds(10));
    let mut bench = Bench::new(&servers);
    assert_eq!(bench.start().await, seconds(10));
    assert_eq!((bench.key(), version_reads(&servers)), (key(1).public_key(), 11));
}

/// Earlier versions that the store never answers, without a key on the disk; on a paused clock.
///
/// Promise: the start ends at its own deadline, to the second, and has written nothing.
#[tokio::test(start_paused = true)]
async fn a_history_that_never_comes_ends_a_start_at_its_deadline() {
    let servers = open_question();
    slow_history(&servers, seconds(3600));
    let (took, error) = Bench::new(&servers).try_start().await;
    assert!(matches!(error, Some(StartError::HistoryUnavailable { .. })), "{error:?}");
    assert_eq!(took, DEADLINE);
    assert!(servers.store.writes().is_empty() && servers.hydra.writes().is_empty());
}

/// The same with an acknowledged key on the disk; on a paused clock.
///
/// Promise: a start waits three seconds for the store, its history included, keeps its key and has written nothing.
#[tokio::test(start_paused = true)]
async fn with_a_key_on_the_disk_the_history_is_waited_for_three_seconds() {
    let settled = Servers::new();
    let mut bench = Bench::new(&settled);
    bench.start_and_settle().await;
    let before = bench.key();
    bench.kill().await;
    let disk = Arc::clone(&bench.disk);
    drop(bench);
    // The same agent's record, rewritten by Python pods with another key.
    let servers = open_question();
    slow_history(&servers, seconds(10));
    let mut bench = Bench::on(&servers, disk, |_| {});
    let took = bench.start().await;
    assert_eq!(bench.key(), before, "an acknowledged key is kept");
    // Two looks: the doubt about a foreign key lasts three seconds, and each look waits three for the history.
    assert_eq!(took, seconds(3) + Duration::from_millis(400) + seconds(3));
    assert!(servers.store.writes().is_empty() && servers.hydra.writes().is_empty());
}
