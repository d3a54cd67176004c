//! Beside a pod of Python Bindu on the same path in Vault.

use crate::{AUTHOR, Names, bao, degraded, full, hydra, names, new_record, public_key, rotate};
use bindu_testkit::{PythonBindu, http};
use serde_json::{Value, json};
use std::path::Path;

/// Starts a Python pod on this disk, and ends it.
async fn python_starts(disk: &Path, names: &Names) -> bool {
    let bao = bao().await;
    let vault = [("VAULT__ENABLED", "true"), ("VAULT__URL", &bao.url), ("VAULT__TOKEN", &bao.token)];
    let vault = vault.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter();
    let environment: Vec<_> = vault.chain(hydra().await.environment()).collect();
    PythonBindu::start(disk, AUTHOR, &names.name, &environment).await.is_some()
}

/// Gives a disk this key as Python Bindu keeps it.
fn give(disk: &Path, record: &Value) {
    std::fs::create_dir_all(disk.join(".bindu")).unwrap();
    for (file, field) in [("private.pem", "private_key"), ("public.pem", "public_key")] {
        std::fs::write(disk.join(".bindu").join(file), record[field].as_str().unwrap()).unwrap();
    }
}

/// A Python pod with the same key that restarts again and again; then one with a rogue key.
///
/// Promise: with the same key ours stays healthy; a rogue key is `foreign`, is followed neither by the running agent nor
/// by an empty pod of ours, and is not fought over: nothing of ours writes.
#[tokio::test(flavor = "multi_thread")]
async fn beside_a_python_pod() {
    let names = names("Beside Python");
    let (ours, theirs, rogue) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let setup = full(ours.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let key = public_key(&agent.url, &names.did).await;
    for version in [2, 3] {
        if !python_starts(theirs.path(), &names).await {
            return eprintln!("skipped: needs Python 3.12");
        }
        assert_eq!(bao().await.record(&names.keys_path()).await.expect("keys").0, version);
        http::healthy(&agent.url).await;
        assert_eq!(public_key(&agent.url, &names.did).await, key);
    }
    let (record, _) = new_record(&names);
    give(rogue.path(), &record);
    python_starts(rogue.path(), &names).await;
    degraded(&agent.url, "foreign").await;
    assert_eq!(public_key(&agent.url, &names.did).await, key);
    let empty = tempfile::tempdir().unwrap();
    let pod = full(empty.path(), &names).await.start().await;
    assert_eq!(public_key(&pod.url, &names.did).await, key);
    degraded(&pod.url, "foreign").await;
    drop((agent, pod));
    let restarted = setup.start().await;
    assert_eq!(public_key(&restarted.url, &names.did).await, key);
    degraded(&restarted.url, "foreign").await;
    assert_eq!(bao().await.record(&names.keys_path()).await.expect("keys").0, 4, "nothing of ours writes");
    let client = hydra().await.client(&names.did).await.expect("a client");
    assert_eq!(client["metadata"]["public_key"], key.as_str());
}

/// A Python pod that kept the old key, after a rotation record.
///
/// Promise: the new key stays, with the running agent and with an empty pod of ours, degraded `foreign`.
#[tokio::test(flavor = "multi_thread")]
async fn a_python_pod_with_the_key_from_before_a_rotation() {
    let names = names("Python Rotated");
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let setup = full(ours.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let (_, record) = bao().await.record(&names.keys_path()).await.expect("keys");
    give(theirs.path(), &record);
    let key = rotate(&names).await;
    http::eventually("it is taken", async || (public_key(&agent.url, &names.did).await == key).then_some(()))
        .await;
    http::healthy(&agent.url).await;
    if !python_starts(theirs.path(), &names).await {
        return eprintln!("skipped: needs Python 3.12");
    }
    degraded(&agent.url, "foreign").await;
    assert_eq!(public_key(&agent.url, &names.did).await, key);
    let empty = tempfile::tempdir().unwrap();
    let pod = full(empty.path(), &names).await.start().await;
    assert_eq!(public_key(&pod.url, &names.did).await, key);
    degraded(&pod.url, "foreign").await;
    assert_eq!(bao().await.record(&names.keys_path()).await.expect("keys").0, 3);
}

/// A record with `cas_required`, and a Python pod with a rogue key.
///
/// Promise: Python starts and can't overwrite it; ours never notices.
#[tokio::test(flavor = "multi_thread")]
async fn cas_required_keeps_python_from_overwriting() {
    let names = names("Protected");
    let (ours, rogue) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let setup = full(ours.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let path = format!("secret/metadata/bindu/{}", names.keys_path());
    assert_eq!(bao().await.call("POST", &path, Some(json!({"cas_required": true}))).await.0, 204);
    let before = bao().await.record(&names.keys_path()).await;
    let (record, _) = new_record(&names);
    give(rogue.path(), &record);
    if !python_starts(rogue.path(), &names).await {
        return eprintln!("skipped: needs Python 3.12");
    }
    assert_eq!(bao().await.record(&names.keys_path()).await, before);
    http::healthy(&agent.url).await;
}
