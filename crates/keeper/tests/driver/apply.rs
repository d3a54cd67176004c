//! Carrying a plan out: what is lost, denied or taken by another replica on the way.

use crate::bench::{Bench, Servers, did, foreign_client, key, keys_record, milliseconds, record, seconds};
use bindu_identity::Lineage;
use bindu_keeper::{Reason, StartError};
use bindu_store::Expected;
use bindu_testkit::fake::{Fate, HydraCall, HydraOp, StoreCall, StoreOp};

/// The first write to this record meets its fate, all else passes.
fn first_write(record: &'static str, fate: Fate) -> impl Fn(&StoreCall, usize) -> Fate + Send + Sync {
    let done = std::sync::atomic::AtomicBool::new(false);
    move |call, _| {
        let is_it = call.record == record && matches!(call.op, StoreOp::Write(_));
        match is_it && !done.swap(true, std::sync::atomic::Ordering::SeqCst) {
            true => fate,
            false => Fate::Pass,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_is_lost_is_found_again() {
    for record in ["keys", "credentials"] {
        let servers = Servers::new();
        servers.store.script(first_write(record, Fate::LoseAnswer));
        let mut bench = Bench::new(&servers);
        bench.start_and_settle().await;
        let versions =
            ["keys", "credentials"].map(|name| servers.store.current(name).expect("a record").version);
        assert_eq!(versions, [1, 1], "{record}");
        assert_eq!(servers.hydra.writes().len(), 1, "{record}");
        assert!(
            servers
                .hydra
                .client_of(&did())
                .is_some_and(|client| { client.public_key() == Some(bench.key().to_string().as_str()) })
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_takes_the_winners_key() {
    let servers = Servers::new();
    let winner = servers.store.clone();
    let done = std::sync::atomic::AtomicBool::new(false);
    servers.store.script(move |call, _| {
        let is_create = call.record == "keys" && call.op == StoreOp::Write(Expected::Absent);
        if is_create && !done.swap(true, std::sync::atomic::Ordering::SeqCst) {
            winner.put(&keys_record(), record(7, Some(Lineage::default())));
        }
        Fate::Pass
    });
    let mut bench = Bench::new(&servers);
    // A standby may lag: the loser looks again after 0.2 s.
    assert_eq!(bench.start().await, milliseconds(200));
    assert_eq!(bench.key(), key(7).public_key());
}

#[tokio::test(start_paused = true)]
async fn a_create_that_is_denied_waits_for_a_winner_until_the_deadline() {
    let servers = Servers::new();
    servers.store.script(|call, _| match call.op {
        StoreOp::Write(_) => Fate::Denied,
        StoreOp::Read | StoreOp::ReadVersion(_) => Fate::Pass,
    });
    let (took, error) = Bench::new(&servers).try_start().await;
    assert!(matches!(error, Some(StartError::WriteDenied { .. })), "{error:?}");
    assert!((seconds(60)..seconds(64)).contains(&took), "{took:?}");
    assert!(servers.hydra.writes().is_empty());
}

/// Before Hydra is repaired, the credentials are written again at the version that was read.
#[tokio::test(start_paused = true)]
async fn a_repair_is_fenced() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    servers.store.forget_calls();
    servers.hydra.forget_calls();
    servers.hydra.change_secret(&did(), "another");
    bench.held().look_again();
    tokio::time::sleep(seconds(1)).await;
    let fences = servers.store.writes();
    assert_eq!(
        fences.iter().map(|(_, call)| (call.record, call.op)).collect::<Vec<_>>(),
        [("credentials", StoreOp::Write(Expected::Version(1)))]
    );
    let patch = HydraCall { op: HydraOp::Patch, paths: vec!["/client_secret".to_owned()] };
    assert_eq!(servers.hydra.writes(), [patch]);
    assert_eq!(bench.reasons(), []);
}

/// A refusal counts only between two good answers of `/health/ready`.
#[tokio::test(start_paused = true)]
async fn a_hydra_that_lies_is_not_repaired() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    servers.store.forget_calls();
    servers.hydra.forget_calls();
    servers.hydra.lie(true);
    tokio::time::sleep(seconds(3600)).await;
    assert_eq!(bench.reasons(), [Reason::HydraUnavailable]);
    assert!(servers.store.writes().is_empty() && servers.hydra.writes().is_empty());
    servers.hydra.lie(false);
    tokio::time::sleep(seconds(6)).await;
    assert_eq!(bench.reasons(), []);
    assert!(servers.store.writes().is_empty() && servers.hydra.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_of_another_key_is_left_alone_for_ever() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    servers.store.put(&keys_record(), record(1, Some(Lineage::default())));
    servers.hydra.register(&foreign_client(9));
    bench.start().await;
    tokio::time::sleep(seconds(3600)).await;
    assert_eq!(bench.reasons(), [Reason::ClientOfAnotherKey]);
    assert!(servers.hydra.writes().is_empty());
    assert!(servers.store.writes().iter().all(|(_, call)| call.record == "credentials"));
}
