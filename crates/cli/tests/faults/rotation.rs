//! Another key in the store: rotations, rogue writers, backups that were restored.

use crate::{bao, degraded, full, hydra, names, new_record, public_key, rotate};
use bindu_testkit::http;
use serde_json::json;

/// A rotation record that comes under a running agent, and while another replica is down.
///
/// Promise: both take the new key, without a restart and at the next start; Hydra names it; `identity history` names the old private
/// half in the archive.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_taken_without_a_restart() {
    let names = names("Rotated");
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let running = full(one.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s").start().await;
    http::healthy(&running.url).await;
    let away = full(two.path(), &names).await.start().await;
    http::healthy(&away.url).await;
    let old = public_key(&away.url, &names.did).await;
    away.kill();
    let key = rotate(&names).await;
    http::eventually("it is taken", async || {
        (public_key(&running.url, &names.did).await == key).then_some(())
    })
    .await;
    http::eventually("Hydra names it", async || {
        let client = hydra().await.client(&names.did).await?;
        (client["metadata"]["public_key"] == key.as_str()).then_some(())
    })
    .await;
    http::healthy(&running.url).await;
    let back = full(two.path(), &names).await.start().await;
    assert_eq!(public_key(&back.url, &names.did).await, key);
    http::healthy(&back.url).await;
    assert_eq!(bao().await.record(&names.keys_path()).await.expect("keys").0, 2);
    let archive = std::fs::read_dir(two.path().join(".bindu/archive")).unwrap().count();
    assert_eq!(archive, 2, "the old pair is kept");
    // Its private half is a copy of a key that is over: the history names it, with its path.
    let look = full(two.path(), &names).await.command(&["identity", "history", "--output", "json"]);
    let (code, stdout, stderr) = look.output();
    assert_eq!(code, 0, "{stderr}");
    let history: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    let old = old.parse::<bindu_identity::PublicKey>().unwrap().fingerprint().to_string();
    let kept = &history["archive"][0];
    assert_eq!(kept["recoverable"], json!(old), "{history}");
    assert!(two.path().join(kept["path"].as_str().expect("a path")).is_file(), "{history}");
}

/// A rewrite of the rotated record that drops `replaces`, as Python Bindu's do it; a replica that slept through both.
///
/// Promise: the record's history says that it is a rotation.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_list_is_found_in_the_history() {
    let names = names("Dropped List");
    let disk = tempfile::tempdir().unwrap();
    let setup = full(disk.path(), &names).await;
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    agent.kill();
    let key = rotate(&names).await;
    let (_, mut record) = bao().await.record(&names.keys_path()).await.expect("keys");
    record.as_object_mut().expect("an object").remove("replaces");
    bao().await.put(&names.keys_path(), &record).await;
    let agent = setup.start().await;
    assert_eq!(public_key(&agent.url, &names.did).await, key);
    http::healthy(&agent.url).await;
    let client = hydra().await.client(&names.did).await.expect("a client");
    assert_eq!(client["metadata"]["public_key"], key.as_str());
}

/// A rogue key written over the record; a pod of ours with an empty disk.
///
/// Promise: it uses the key that Hydra names and the record's history holds, degraded `foreign`, and writes nothing;
/// once more with its disk kept; `--take-over` on an empty disk takes the store's.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_pod_does_not_follow_a_rogue_key() {
    let names = names("Overwritten");
    let first = tempfile::tempdir().unwrap();
    let agent = full(first.path(), &names).await.start().await;
    http::healthy(&agent.url).await;
    let key = public_key(&agent.url, &names.did).await;
    agent.kill();
    let (rogue, rogue_key) = new_record(&names);
    bao().await.put(&names.keys_path(), &rogue).await;
    let disk = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let agent = full(disk.path(), &names).await.start().await;
        assert_eq!(public_key(&agent.url, &names.did).await, key);
        degraded(&agent.url, "foreign").await;
        assert!(agent.log().contains("vault kv rollback -version=1"), "{}", agent.log());
    }
    let (code, stdout, _) = full(disk.path(), &names).await.command(&["identity", "plan"]).output();
    assert!(code == 0 && stdout.contains("vault kv rollback -version=1"), "{stdout}");
    assert_eq!(bao().await.record(&names.keys_path()).await.expect("keys"), (2, rogue));
    let client = hydra().await.client(&names.did).await.expect("a client");
    assert_eq!(client["metadata"]["public_key"], key.as_str());
    let empty = tempfile::tempdir().unwrap();
    let agent = full(empty.path(), &names).await.argument("--take-over").start().await;
    assert_eq!(public_key(&agent.url, &names.did).await, rogue_key);
}

/// A store that was restored from a backup of before a rotation, while Hydra was not; an empty disk.
///
/// Promise: exit 1, nothing is changed; `--take-over` consents.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_rolled_back() {
    let names = names("Rolled Back");
    let first = tempfile::tempdir().unwrap();
    let agent = full(first.path(), &names).await.start().await;
    http::healthy(&agent.url).await;
    let key = public_key(&agent.url, &names.did).await;
    agent.kill();
    let (_, record) = bao().await.record(&names.keys_path()).await.expect("keys");
    let setup = full(first.path(), &names).await;
    let rotate = setup.clone().command(&["identity", "rotate", "--at-once", "--apply"]);
    let (code, _, stderr) = rotate.output();
    assert_eq!(code, 0, "{stderr}");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    agent.kill();
    bao().await.call("DELETE", &format!("secret/metadata/bindu/{}", names.keys_path()), None).await;
    bao().await.put(&names.keys_path(), &record).await;
    let before = hydra().await.client(&names.did).await;
    let empty = tempfile::tempdir().unwrap();
    crate::assert_refused(full(empty.path(), &names).await.output(), 1, &["different keys", "--take-over"]);
    assert_eq!(hydra().await.client(&names.did).await, before);
    assert_eq!(bao().await.record(&names.keys_path()).await.expect("keys"), (1, record));
    // The disk that knows the rotation keeps it, and says what is the matter.
    let agent = full(first.path(), &names).await.start().await;
    degraded(&agent.url, "rolled_back").await;
    drop(agent);
    // Behind a rotation goes only who names the key that is left.
    let left = before.expect("a client")["metadata"]["public_key"].as_str().expect("a key").to_owned();
    let left = left.parse::<bindu_identity::PublicKey>().expect("a key").fingerprint();
    let consent = format!("--take-over={left}");
    let agent = full(empty.path(), &names).await.argument(&consent).start().await;
    assert_eq!(public_key(&agent.url, &names.did).await, key);
}

/// `recreate_keys` by fingerprint and by `true`, with replicas that start at once and a crash loop.
///
/// Promise: one rotation for one wish: a fingerprint once, `true` not again within ten minutes.
#[tokio::test(flavor = "multi_thread")]
async fn recreate_keys_rotates_once() {
    let names = names("Recreated");
    let disk = tempfile::tempdir().unwrap();
    let setup = full(disk.path(), &names).await;
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let old = public_key(&agent.url, &names.did).await;
    agent.kill();
    let fingerprint = old.parse::<bindu_identity::PublicKey>().expect("a key").fingerprint().to_string();
    let disks: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut keys = Vec::new();
    let mut starting = Vec::new();
    for disk in &disks {
        let setup = full(disk.path(), &names).await.set("BINDU_RECREATE_KEYS", &fingerprint);
        starting.push(tokio::spawn(async move { setup.start().await }));
    }
    for start in starting {
        let agent = start.await.expect("it starts");
        http::healthy(&agent.url).await;
        keys.push(public_key(&agent.url, &names.did).await);
    }
    assert!(keys.iter().all(|key| *key == keys[0] && *key != old), "{keys:?}");
    let (version, record) = bao().await.record(&names.keys_path()).await.expect("keys");
    // Prepared, and made the current one.
    assert_eq!((version, &record["replaces"], &record["generation"]), (3, &json!(fingerprint), &json!(1)));
    for _ in 0..3 {
        setup.clone().set("BINDU_RECREATE_KEYS", "true").start().await.kill();
    }
    assert_eq!(bao().await.record(&names.keys_path()).await.expect("keys").0, 3, "it was rotated just now");
    let client = hydra().await.client(&names.did).await.expect("a client");
    assert_eq!(client["metadata"]["public_key"], keys[0].as_str());
}
