//! What operators do with a key: keeping it, undoing, another secret; beside records and disks that are older than the truth.

use crate::bench::{Bench, INTERVAL, Servers, did, keys_record, seconds};
use bindu_identity::PublicKey;
use bindu_keeper::{Reason, RingError, RingWish, StepError};
use bindu_store::{CredentialRecord, Fields, KeyRecord, RecordName};
use bindu_testkit::fake::{Fate, StoreOp};
use std::{path::Path, sync::Arc};
use tempfile::TempDir;

const ROTATE: RingWish = RingWish::Rotate { at_once: true, compromised: false };
const WITHDRAW: RingWish = RingWish::Rotate { at_once: false, compromised: true };

fn fields(servers: &Servers) -> Fields {
    servers.store.current("keys").expect("a record").fields
}

fn stored(servers: &Servers) -> KeyRecord {
    KeyRecord::from_fields(&fields(servers)).expect("a keys record")
}

/// Generation and statements of the record.
fn past(servers: &Servers) -> (u64, usize) {
    stored(servers).lineage.map(|past| (past.generation, past.statements.len())).unwrap_or_default()
}

async fn command(servers: &Servers, wish: RingWish) {
    let shell = Bench::new(servers);
    let look = shell.keeper.plan_ring(wish).await;
    shell.keeper.apply_ring(look).await.expect("it is applied");
}

/// What a disk was like at some time.
fn copy_of(disk: &TempDir) -> Arc<TempDir> {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a folder");
        for entry in std::fs::read_dir(from).expect("a folder").flatten() {
            let to = to.join(entry.file_name());
            match entry.path().is_dir() {
                true => copy(&entry.path(), &to),
                false => {
                    std::fs::copy(entry.path(), to).expect("a file");
                }
            }
        }
    }
    let new = tempfile::tempdir().expect("a directory");
    copy(disk.path(), new.path());
    Arc::new(new)
}

/// A running agent after a rotation and its undo, the record and the disk from before, and its first key.
async fn undone(servers: &Servers) -> (Bench, Fields, Arc<TempDir>, PublicKey) {
    let mut bench = Bench::new(servers);
    bench.start_and_settle().await;
    let (key, before, disk) = (bench.key(), fields(servers), copy_of(&bench.disk));
    command(servers, ROTATE).await;
    tokio::time::sleep(INTERVAL * 3).await;
    assert_ne!(bench.key(), key);
    command(servers, RingWish::Undo).await;
    tokio::time::sleep(INTERVAL * 3).await;
    assert_eq!((bench.key(), past(servers)), (key, (2, 2)));
    (bench, before, disk, key)
}

#[tokio::test(start_paused = true)]
async fn a_rolled_back_record_of_the_same_key_gets_its_past_back() {
    let servers = Servers::new();
    let (bench, before, _, key) = undone(&servers).await;
    servers.store.put(&keys_record(), before);
    tokio::time::sleep(INTERVAL * 2).await;
    assert_eq!((bench.key(), past(&servers)), (key, (2, 2)), "by the running agent");
    assert_eq!(bench.held().current().lineage.generation, 2);
}

#[tokio::test(start_paused = true)]
async fn an_empty_pod_puts_back_what_hydra_proves() {
    let servers = Servers::new();
    let (mut bench, before, _, key) = undone(&servers).await;
    bench.kill().await;
    servers.store.put(&keys_record(), before);
    let mut pod = Bench::new(&servers);
    pod.start_and_settle().await;
    tokio::time::sleep(INTERVAL * 2).await;
    assert_eq!((pod.key(), past(&servers)), (key, (2, 2)));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_slept_backs_up_what_hydra_proves() {
    let servers = Servers::new();
    let (mut bench, _, slept, key) = undone(&servers).await;
    bench.kill().await;
    let servers = Servers { store: Servers::new().store, hydra: servers.hydra };
    let mut woken = Bench::on(&servers, slept, |_| {});
    woken.start().await;
    tokio::time::sleep(INTERVAL * 2).await;
    assert_eq!((woken.key(), past(&servers)), (key, (2, 2)));
    assert_eq!(woken.held().current().lineage.generation, 2);
}

#[tokio::test(start_paused = true)]
async fn keeping_a_key_that_the_store_holds_takes_nothing_from_it() {
    let servers = Servers::new();
    let (_bench, _, slept, _) = undone(&servers).await;
    let before = stored(&servers);
    let shell = Bench::on(&servers, slept, |_| {});
    let applied = shell.keeper.keep(shell.keeper.look().await).await.expect("it is kept");
    let after = stored(&servers);
    assert_eq!(past(&servers), (2, 2), "version {}", applied.version);
    assert_eq!(after.previous.is_some(), before.previous.is_some());
    assert_eq!(after.lineage, before.lineage);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_is_not_kept_over_a_deleted_record() {
    // Proven by Hydra's statements, and by the record's earlier versions where Hydra is silent and the last one alone is deleted.
    for is_silent in [false, true] {
        let servers = Servers::new();
        let mut bench = Bench::new(&servers);
        bench.start_and_settle().await;
        let slept = copy_of(&bench.disk);
        command(&servers, WITHDRAW).await;
        tokio::time::sleep(INTERVAL * 2).await;
        bench.kill().await;
        servers.store.put(&keys_record(), fields(&servers));
        servers.store.delete(&keys_record());
        if is_silent {
            servers.hydra.script(|_, _| Fate::Hang);
        }
        let shell = Bench::on(&servers, slept, |_| {});
        let kept = shell.keeper.keep(shell.keeper.look().await).await;
        assert_eq!(kept.map(|kept| kept.version), Err(StepError::Retired), "{is_silent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_that_was_broken_off_is_not_undone() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    bench.kill().await;
    // The look after the first step finds no store.
    let is_written = std::sync::atomic::AtomicBool::new(false);
    servers.store.script(move |call, _| match (call.record, call.op) {
        ("keys", StoreOp::Write(_)) => {
            is_written.store(true, std::sync::atomic::Ordering::SeqCst);
            Fate::Pass
        }
        _ if is_written.load(std::sync::atomic::Ordering::SeqCst) => Fate::Hang,
        _ => Fate::Pass,
    });
    let shell = Bench::new(&servers);
    let look = shell.keeper.plan_ring(WITHDRAW).await;
    let applied = shell.keeper.apply_ring(look).await;
    assert_eq!(applied.map(|applied| applied.version), Err(StepError::Unfinished));
    servers.store.script(|_, _| Fate::Pass);
    assert!(stored(&servers).next_compromised);
    let look = shell.keeper.plan_ring(RingWish::Undo).await;
    assert_eq!(look.steps, Err(RingError::Withdrawing));
    // It is finished as what it was begun as.
    command(&servers, ROTATE).await;
    assert!(stored(&servers).previous.is_none());
    assert_eq!(past(&servers).0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_may_not_be_finished_is_told() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    command(&servers, RingWish::Rotate { at_once: false, compromised: false }).await;
    servers.store.script(|call, _| match (call.record, call.op) {
        ("keys", StoreOp::Write(_)) => Fate::Denied,
        _ => Fate::Pass,
    });
    tokio::time::sleep(INTERVAL * 6).await;
    assert_eq!(past(&servers).0, 0);
    assert!(bench.reasons().contains(&Reason::StoreDenied), "{:?}", bench.reasons());
    servers.store.script(|_, _| Fate::Pass);
    tokio::time::sleep(INTERVAL * 15).await;
    assert_eq!((past(&servers).0, bench.reasons()), (1, vec![]), "the policy was mended");
}

#[tokio::test(start_paused = true)]
async fn credentials_that_were_rolled_back_get_another_secret() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    let old = servers.store.current("credentials").expect("credentials").fields;
    bench.keeper.rotate_secret().await.expect("a secret");
    tokio::time::sleep(INTERVAL * 2).await;
    servers.store.put(&RecordName::Credentials(did()), old);
    tokio::time::sleep(INTERVAL * 2).await;
    assert_eq!(bench.reasons(), [Reason::CredentialsRolledBack]);
    let applied = bench.keeper.rotate_secret().await.expect("another one");
    assert_eq!(applied.client, None);
    tokio::time::sleep(INTERVAL * 2).await;
    assert_eq!(bench.reasons(), []);
    let record = servers.store.current("credentials").expect("credentials").fields;
    assert_eq!(CredentialRecord::from_fields(&record).expect("a record").generation, 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_rewrite_that_is_over_a_key_can_be_rotated() {
    let servers = Servers::new();
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    let mut bare = fields(&servers);
    for field in ["generation", "replaces", "rotations", "reconcile_interval"] {
        bare.remove(field);
    }
    servers.store.put(&keys_record(), bare.clone());
    tokio::time::sleep(INTERVAL * 2).await;
    let shell = Bench::new(&servers);
    assert_eq!(shell.keeper.plan_ring(ROTATE).await.steps, Err(RingError::Rewritten));
    assert!(shell.keeper.plan_ring(WITHDRAW).await.steps.is_ok(), "a stolen key is replaced at once");
    // What the hint says; a pod without the key on its disk may do it as well.
    shell.keeper.keep(shell.keeper.look().await).await.expect("our fields go back");
    assert!(shell.keeper.plan_ring(ROTATE).await.steps.is_ok());
    servers.store.put(&keys_record(), bare);
    tokio::time::sleep(seconds(1)).await;
    assert_eq!(shell.keeper.plan_ring(ROTATE).await.steps, Err(RingError::Rewritten), "it goes on");
}
