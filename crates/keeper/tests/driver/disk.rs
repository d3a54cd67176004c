//! A data directory that can't be written, as a whole or in part, and is mended.

use crate::bench::{Bench, INTERVAL, Servers, did, key, keys_record, record, seconds};
use bindu_identity::{AgentId, Lineage};
use bindu_keeper::{Reason, RingWish};
use bindu_store::{DataDirectory, IdentityFile};
use bindu_testkit::fake::Fate;
use std::{fs, path::Path, sync::Arc};

fn look(path: &Path) -> DataDirectory {
    DataDirectory::look(path, &did(), &AgentId::derive("a@example.com", "Ada").to_string())
}

fn remembered(path: &Path) -> Option<IdentityFile> {
    look(path).identity().expect("it can be read")
}

/// Another process holds the directory's lock at the start and lets it go; Hydra is silent all that time.
#[tokio::test(start_paused = true)]
async fn a_mended_directory_acknowledges_what_is_known_and_no_more() {
    let servers = Servers::new();
    servers.store.put(&keys_record(), record(1, Some(Lineage::default())));
    servers.hydra.script(|_, _| Fate::Hang);
    let disk = Arc::new(tempfile::tempdir().expect("a directory"));
    let mut other = None;
    let mut bench = Bench::on(&servers, Arc::clone(&disk), |keeper| {
        other = keeper.directory.replace(Arc::new(look(disk.path())));
        keeper.status.directory_is_unusable(Reason::DirectoryNotWritable);
    });
    bench.start().await;
    tokio::time::sleep(INTERVAL * 2).await;
    assert!(bench.reasons().contains(&Reason::DirectoryNotWritable), "{:?}", bench.reasons());
    assert!(!disk.path().join("private.pem").exists());
    // The other process ends.
    drop(other);
    tokio::time::sleep(INTERVAL * 2).await;
    assert_eq!(bench.keeper.status.snapshot().directory, None);
    assert!(disk.path().join("private.pem").exists());
    let file = remembered(disk.path()).expect("identity.json");
    assert_eq!(file.acknowledged, None, "Hydra has not been heard: it may name another key");
    servers.hydra.script(|_, _| Fate::Pass);
    tokio::time::sleep(INTERVAL * 2).await;
    let acknowledged = remembered(disk.path()).and_then(|file| file.acknowledged);
    assert_eq!(acknowledged.map(|known| known.version), Some(1));
}

/// Without a Vault: the archive can't be written, and a step of a rotation needs it. The rest of the directory is well.
#[tokio::test(start_paused = true)]
async fn an_archive_that_cannot_be_written_is_degraded_until_it_can() {
    let servers = Servers::new();
    let disk = Arc::new(tempfile::tempdir().expect("a directory"));
    let mut bench = Bench::of_files(&servers, Arc::clone(&disk), |_| {});
    bench.start_and_settle().await;
    let old = bench.key();
    // The command, while the agent does not run.
    bench.kill().await;
    let look = bench.keeper.plan_ring(RingWish::Rotate { at_once: false, compromised: false }).await;
    bench.keeper.apply_ring(look).await.expect("prepared");
    drop(bench);
    fs::write(disk.path().join("archive"), "no folder").expect("a file");
    let mut bench = Bench::of_files(&servers, Arc::clone(&disk), |_| {});
    bench.start().await;
    tokio::time::sleep(INTERVAL * 5).await;
    for _ in 0..3600 {
        tokio::time::sleep(seconds(1)).await;
        assert_eq!(bench.reasons(), [Reason::DirectoryNotWritable]);
    }
    assert_eq!(bench.key(), old, "what can't be archived is not written over");
    fs::remove_file(disk.path().join("archive")).expect("it is there");
    tokio::time::sleep(INTERVAL * 3).await;
    assert_eq!(bench.reasons(), []);
    assert_ne!(bench.key(), old);
    let archived = look_archive(disk.path());
    assert_eq!(archived, [old.fingerprint().to_string()]);
}

/// `identity.json` alone can't be read any more once the directory was opened, and somebody has written a retired key over its
/// successor.
#[tokio::test(start_paused = true)]
async fn a_directory_that_cannot_be_read_is_not_touched_whichever_key_is_used() {
    let servers = Servers::new();
    servers.store.put(&keys_record(), record(1, Some(Lineage::default())));
    let mut bench = Bench::new(&servers);
    bench.start_and_settle().await;
    bench.kill().await;
    let disk = Arc::clone(&bench.disk);
    drop(bench);
    let rotated = Lineage::default().after(&key(1).public_key(), &key(2).public_key(), None);
    servers.store.put(&keys_record(), record(2, Some(rotated)));
    servers.python_record(1);
    let pem = fs::read(disk.path().join("private.pem")).expect("a key");
    let mut bench = Bench::on(&servers, Arc::clone(&disk), |_| {});
    fs::remove_file(disk.path().join("identity.json")).expect("it is there");
    fs::create_dir(disk.path().join("identity.json")).expect("no file");
    bench.start().await;
    tokio::time::sleep(INTERVAL * 3).await;
    assert_eq!(bench.key(), key(2).public_key(), "the successor");
    assert!(bench.reasons().contains(&Reason::Foreign), "{:?}", bench.reasons());
    assert_eq!(fs::read(disk.path().join("private.pem")).expect("a key"), pem);
    let archived: Vec<_> = fs::read_dir(disk.path().join("archive"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    assert_eq!(archived, Vec::<std::path::PathBuf>::new());
}

fn look_archive(path: &Path) -> Vec<String> {
    look(path).archived().expect("a list").into_iter().map(|(key, _)| key).collect()
}
