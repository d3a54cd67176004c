//! The key ring: rotations by command, and the ways in which a retired or foreign key has come back.

use crate::{assert_refused, bao, degraded, full, hydra, names, new_record, public_key};
use bindu_testkit::{
    AgentSetup, http,
    proxy::{Fault, Proxy},
};
use serde_json::{Value, json};

/// Runs a command of an agent's to its good end; its JSON.
fn command(setup: &AgentSetup, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--output", "json"]].concat();
    let (code, stdout, stderr) = setup.clone().command(&arguments).output();
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

async fn version(names: &crate::Names) -> u64 {
    bao().await.record(&names.keys_path()).await.expect("keys").0
}

async fn record(names: &crate::Names) -> Value {
    bao().await.record(&names.keys_path()).await.expect("keys").1
}

/// Waits until Hydra's client names a key.
async fn hydra_names(names: &crate::Names, key: &str) {
    http::eventually("Hydra names the key", async || {
        let client = hydra().await.client(&names.did).await?;
        (client["metadata"]["public_key"] == key).then_some(())
    })
    .await;
}

async fn shows(url: &str, names: &crate::Names, key: &str) {
    http::eventually("the agent shows the key", async || {
        (public_key(url, &names.did).await == key).then_some(())
    })
    .await;
}

fn key_in(record: &Value, field: &str) -> String {
    bindu_identity::pem::decode_public_key(record[field].as_str().expect("a PEM")).expect("a key").to_string()
}

/// A rotation by command: prepared, activated by a running replica when it is due, retired when the overlap ends.
///
/// Promise: two replicas take part without a restart, each step is a version of its own, documents and key sets list both keys,
/// the statement is in the record, in Hydra and at `/.well-known/did-rotation.json`, and `history` names what is recoverable.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_in_three_steps() {
    let names = names("Three Steps");
    let disks = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let settings = [("BINDU_RECONCILE_INTERVAL", "1s"), ("BINDU_ROTATION_OVERLAP", "6s")];
    let mut agents = Vec::new();
    let mut setups = Vec::new();
    for disk in &disks {
        let setup = settings
            .iter()
            .fold(full(disk.path(), &names).await, |setup, (name, value)| setup.set(name, *value));
        agents.push(setup.start().await);
        http::healthy(&agents.last().unwrap().url).await;
        setups.push(setup);
    }
    let old = public_key(&agents[0].url, &names.did).await;
    let planned = command(&setups[0], &["identity", "rotate"]);
    assert_eq!(
        (planned["applied"].as_bool(), version(&names).await),
        (Some(false), 1),
        "a plan changes nothing"
    );

    let prepared = command(&setups[0], &["identity", "rotate", "--apply"]);
    assert_eq!(prepared["version"], 2);
    let new = key_in(&record(&names).await, "next_public_key");
    for agent in &agents {
        http::eventually("the document lists the prepared key", async || {
            let (_, document) = http::get(&format!("{}/did/resolve?did={}", agent.url, names.did)).await;
            (document["authentication"][1]["publicKeyBase58"] == new.as_str()).then_some(())
        })
        .await;
        let (_, keys) = http::get(&format!("{}/.well-known/jwks.json", agent.url)).await;
        assert_eq!(keys["keys"].as_array().map(Vec::len), Some(3), "two keys and an alias: {keys}");
    }
    // Nobody is asked: a replica activates it when it is due, twice the interval later.
    for agent in &agents {
        shows(&agent.url, &names, &new).await;
    }
    hydra_names(&names, &new).await;
    let activated = record(&names).await;
    assert_eq!((&activated["generation"], version(&names).await), (&json!(1), 3));
    assert_eq!(key_in(&activated, "previous_public_key"), old);
    let client = hydra().await.client(&names.did).await.expect("a client");
    let statement = client["metadata"]["rotations"][0].clone();
    assert_eq!((&statement["from"], &statement["to"]), (&json!(old), &json!(new)), "{client}");
    let (_, public) = http::get(&format!("{}/.well-known/did-rotation.json", agents[1].url)).await;
    assert_eq!(public["statements"], json!([statement]));
    assert_eq!(public["did"], names.did.as_str());
    // The overlap ends: whoever comes first takes the old private half out.
    http::eventually("the old key is retired", async || {
        record(&names).await.get("previous_private_key").is_none().then_some(())
    })
    .await;
    assert_eq!(version(&names).await, 4);
    let history = command(&setups[1], &["identity", "history"]);
    let fingerprint = old.parse::<bindu_identity::PublicKey>().unwrap().fingerprint().to_string();
    for index in [1, 2, 3] {
        assert_eq!(history["versions"][index]["recoverable"], json!([fingerprint]), "{history}");
    }
    assert_eq!(history["versions"][0]["recoverable"], json!([]));
    assert!(history["destroy"].as_str().unwrap().contains("-versions=3,2,1"), "{history}");
    for agent in &agents {
        http::healthy(&agent.url).await;
    }
}

/// `undo` before and after the activation, and a second rotation while one is prepared.
///
/// Promise: a prepared key is taken back; an activated one is rotated back, one generation up; replicas, Hydra and a restart on an
/// old disk follow; what can't be undone is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_undone() {
    let names = names("Undone");
    let disk = tempfile::tempdir().unwrap();
    let setup = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let slow = setup.clone().set("BINDU_RECONCILE_INTERVAL", "60s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let first = public_key(&agent.url, &names.did).await;
    assert_refused(setup.clone().command(&["identity", "undo", "--apply"]).output(), 1, &["nothing to undo"]);
    command(&slow, &["identity", "rotate", "--apply"]);
    assert_refused(setup.clone().command(&["identity", "rotate"]).output(), 1, &["prepared", "--at-once"]);
    command(&setup, &["identity", "undo", "--apply"]);
    assert!(record(&names).await.get("next_private_key").is_none());

    command(&setup, &["identity", "rotate", "--at-once", "--apply"]);
    let second = key_in(&record(&names).await, "public_key");
    assert_ne!(first, second);
    hydra_names(&names, &second).await;
    shows(&agent.url, &names, &second).await;
    command(&setup, &["identity", "undo", "--apply"]);
    let undone = record(&names).await;
    assert_eq!((key_in(&undone, "public_key"), &undone["generation"]), (first.clone(), &json!(2)));
    hydra_names(&names, &first).await;
    shows(&agent.url, &names, &first).await;
    http::healthy(&agent.url).await;
    agent.kill();
    let again = setup.start().await;
    assert_eq!(public_key(&again.url, &names.did).await, first);
    http::healthy(&again.url).await;
}

/// `--compromised`: the old key is in somebody else's hands.
///
/// Promise: no overlap and no public statement, the client's tokens are revoked, and undo is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_compromised_key_is_withdrawn_at_once() {
    let names = names("Compromised");
    let disk = tempfile::tempdir().unwrap();
    let setup = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let (_, credentials) = bao().await.record(&names.credentials_path()).await.expect("credentials");
    let (_, token) = hydra().await.token(&names.did, credentials["client_secret"].as_str().unwrap()).await;
    let introspect = async || {
        let url = format!("{}/admin/oauth2/introspect", hydra().await.admin_url);
        let form = format!("token={}", token["access_token"].as_str().unwrap());
        let request = http::client().post(url).header("Content-Type", "application/x-www-form-urlencoded");
        http::answer(request.body(form)).await.1["active"] == true
    };
    assert!(introspect().await);
    let applied = command(&setup, &["identity", "rotate", "--compromised", "--apply"]);
    assert_eq!((&applied["tokens_revoked"], &applied["client"]), (&json!(true), &Value::Null), "{applied}");
    let new = key_in(&record(&names).await, "public_key");
    let client = hydra().await.client(&names.did).await.expect("a client");
    assert_eq!(client["metadata"]["public_key"], new.as_str(), "at once, not at the next pass");
    let statement = &client["metadata"]["rotations"][0];
    assert_eq!(statement["at"], statement["until"], "no overlap");
    assert!(!introspect().await, "its tokens are revoked");
    assert!(record(&names).await.get("previous_private_key").is_none());
    shows(&agent.url, &names, &new).await;
    let (_, public) = http::get(&format!("{}/.well-known/did-rotation.json", agent.url)).await;
    assert_eq!(public["statements"], json!([]));
    assert_refused(setup.clone().command(&["identity", "undo", "--apply"]).output(), 1, &["nothing to undo"]);
}

/// Another secret of the client, by command.
///
/// Promise: Hydra and the store go over to it together, the old one is dead, and a running agent gets tokens all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_rotated() {
    let names = names("Rotated Secret");
    let disk = tempfile::tempdir().unwrap();
    let setup = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let secret = async || {
        let (_, record) = bao().await.record(&names.credentials_path()).await.expect("credentials");
        (record["client_secret"].as_str().unwrap().to_owned(), record)
    };
    let (old, _) = secret().await;
    let planned = command(&setup, &["hydra", "rotate-secret"]);
    assert_eq!((planned["applied"].as_bool(), secret().await.0 == old), (Some(false), true));
    let applied = command(&setup, &["hydra", "rotate-secret", "--apply"]);
    assert_eq!(applied["client"], Value::Null, "{applied}");
    let (new, record) = secret().await;
    assert_ne!(old, new);
    assert_eq!((&record["generation"], record.get("next_client_secret")), (&json!(1), None));
    assert_eq!(hydra().await.token(&names.did, &new).await.0, 200);
    assert_eq!(hydra().await.token(&names.did, &old).await.0, 401);
    http::healthy(&agent.url).await;
    assert!(!agent.log().contains("contested"), "{}", agent.log());
}

/// Replica 2 sleeps, replica 1 rotates, the record is deleted; replica 2 starts on its old disk.
///
/// Promise: the retired key is written nowhere, softly deleted or wholly gone: replica 2 serves degraded, and the record comes back
/// from whoever holds the right key.
#[tokio::test(flavor = "multi_thread")]
async fn a_retired_key_does_not_come_back_by_itself() {
    for (name, is_gone) in [("Retired Deleted", false), ("Retired Gone", true)] {
        let names = names(name);
        let disks = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let setups = [full(disks[0].path(), &names).await, full(disks[1].path(), &names).await];
        let setups = setups.map(|setup| setup.set("BINDU_RECONCILE_INTERVAL", "1s"));
        let awake = setups[0].start().await;
        http::healthy(&awake.url).await;
        let asleep = setups[1].start().await;
        http::healthy(&asleep.url).await;
        asleep.kill();
        let rotated = command(&setups[0], &["identity", "rotate", "--at-once", "--apply"]);
        assert_eq!(rotated["version"], 3);
        let new = key_in(&record(&names).await, "public_key");
        shows(&awake.url, &names, &new).await;
        hydra_names(&names, &new).await;
        awake.kill();
        let kind = if is_gone { "metadata" } else { "data" };
        bao().await.call("DELETE", &format!("secret/{kind}/bindu/{}", names.keys_path()), None).await;

        let woken = setups[1].start().await;
        degraded(&woken.url, if is_gone { "client_of_another_key" } else { "record_deleted" }).await;
        assert!(bao().await.record(&names.keys_path()).await.is_none(), "{name}: nothing is written back");
        let client = hydra().await.client(&names.did).await.expect("a client");
        assert_eq!(client["metadata"]["public_key"], new.as_str(), "{name}");

        let right = setups[0].start().await;
        assert_eq!(public_key(&right.url, &names.did).await, new);
        http::healthy(&right.url).await;
        assert_eq!(key_in(&record(&names).await, "public_key"), new, "{name}: it brings the record back");
        shows(&woken.url, &names, &new).await;
        http::healthy(&woken.url).await;
    }
}

/// A rogue key in the record, and the version before it destroyed; an empty pod.
///
/// Promise: what cannot be read proves nothing: the pod serves the store's key degraded and not ready, and changes nothing in Hydra;
/// `--take-over` consents.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_history_proves_nothing() {
    let names = names("Unreadable History");
    let disk = tempfile::tempdir().unwrap();
    let agent = full(disk.path(), &names).await.start().await;
    http::healthy(&agent.url).await;
    let key = public_key(&agent.url, &names.did).await;
    agent.kill();
    let (rogue, rogue_key) = new_record(&names);
    bao().await.put(&names.keys_path(), &rogue).await;
    let path = format!("secret/destroy/bindu/{}", names.keys_path());
    bao().await.call("PUT", &path, Some(json!({"versions": [1]}))).await;
    let empty = tempfile::tempdir().unwrap();
    let pod = full(empty.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s").start().await;
    degraded(&pod.url, "client_of_another_key").await;
    assert_eq!(http::get(&format!("{}/readyz", pod.url)).await.0, 503);
    assert!(!empty.path().join(".bindu/private.pem").exists(), "it is acknowledged nowhere");
    let client = hydra().await.client(&names.did).await.expect("a client");
    assert_eq!(client["metadata"]["public_key"], key.as_str());
    assert_eq!(version(&names).await, 2);
    drop(pod);
    let pod = full(empty.path(), &names).await.argument("--take-over").start().await;
    hydra_names(&names, &rogue_key).await;
    http::healthy(&pod.url).await;
}

/// Somebody writes a high `key_version` and `generation` into Hydra's metadata.
///
/// Promise: a number proves nothing: an empty pod starts, a changed key is still repaired, and the numbers are put back.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_in_hydra_proves_nothing() {
    let names = names("Numbers");
    let disk = tempfile::tempdir().unwrap();
    let setup = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let key = public_key(&agent.url, &names.did).await;
    let (_, other) = new_record(&names);
    let patch = json!([
        {"op": "add", "path": "/metadata/key_version", "value": 999},
        {"op": "add", "path": "/metadata/generation", "value": 999},
        {"op": "add", "path": "/metadata/public_key", "value": other},
    ]);
    hydra().await.patch(&names.did, &patch).await;
    hydra_names(&names, &key).await;
    http::eventually("the number is put back", async || {
        let client = hydra().await.client(&names.did).await?;
        (client["metadata"]["generation"] == 0).then_some(())
    })
    .await;
    agent.kill();
    hydra().await.patch(&names.did, &patch).await;
    let empty = tempfile::tempdir().unwrap();
    let pod = full(empty.path(), &names).await.start().await;
    assert_eq!(public_key(&pod.url, &names.did).await, key);
    hydra_names(&names, &key).await;
    http::healthy(&pod.url).await;
}

/// A rotation while Hydra is away; then Vault goes, and Hydra returns, which still names the old key.
///
/// Promise: the right agent is not superseded by a key that its own replaces: it stays ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_key_in_hydra_supersedes_nothing() {
    let names = names("Not Superseded");
    let disk = tempfile::tempdir().unwrap();
    let (vault, admin) = (Proxy::start(&bao().await.url).await, Proxy::start(&hydra().await.admin_url).await);
    let setup = full(disk.path(), &names)
        .await
        .set("VAULT__URL", &vault.url)
        .set("HYDRA__ADMIN_URL", &admin.url)
        .set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let old = public_key(&agent.url, &names.did).await;
    admin.script(|_, _| Fault::Answer(503, "text/plain", "down"));
    let applied = command(&setup, &["identity", "rotate", "--at-once", "--apply"]);
    assert_ne!(applied["client"], Value::Null, "Hydra could not be patched: {applied}");
    let new = key_in(&record(&names).await, "public_key");
    shows(&agent.url, &names, &new).await;
    agent.kill();
    let client = hydra().await.client(&names.did).await.expect("a client");
    assert_eq!(client["metadata"]["public_key"], old.as_str(), "the fault was there");
    vault.script(|_, _| Fault::Answer(503, "application/json", "{\"errors\":[\"Vault is sealed\"]}"));
    admin.script(|_, _| Fault::None);
    let agent = setup.start().await;
    degraded(&agent.url, "store_unavailable").await;
    assert_eq!(public_key(&agent.url, &names.did).await, new);
    assert_eq!(http::get(&format!("{}/readyz", agent.url)).await.0, 200);
    vault.script(|_, _| Fault::None);
    hydra_names(&names, &new).await;
    http::healthy(&agent.url).await;
}

/// Another authentication method, then other grant types, written to Hydra's client.
///
/// Promise: both are put back, nothing is concluded from a 401 under another method: the secret stays, and the credentials are
/// written for the fence of the repair only.
#[tokio::test(flavor = "multi_thread")]
async fn another_authentication_method_is_put_back() {
    let names = names("Other Method");
    let disk = tempfile::tempdir().unwrap();
    let setup = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let before = bao().await.record(&names.credentials_path()).await.expect("credentials");
    for (path, value, is_back) in [
        ("/token_endpoint_auth_method", json!("client_secret_basic"), "client_secret_post"),
        ("/grant_types", json!(["refresh_token"]), "client_credentials"),
    ] {
        hydra().await.patch(&names.did, &json!([{"op": "add", "path": path, "value": value}])).await;
        http::eventually(path, async || {
            let client = hydra().await.client(&names.did).await?;
            client.pointer(path)?.to_string().contains(is_back).then_some(())
        })
        .await;
        http::healthy(&agent.url).await;
    }
    let (version, record) = bao().await.record(&names.credentials_path()).await.expect("credentials");
    assert_eq!((version, &record), (before.0 + 2, &before.1), "a fence for each repair, and no other secret");
    let log = agent.log();
    assert!(log.contains("token_endpoint_auth_method") && !log.contains("client_secret "), "{log}");
    agent.kill();
    setup.start().await.kill();
    assert_eq!(bao().await.record(&names.credentials_path()).await.expect("credentials").0, version);
}

/// A foreign key in the store, then the operator's word where the right key is.
///
/// Promise: `identity keep --apply` writes the held key with its lineage over it, and the agent is healthy again.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_keeps_a_key() {
    let names = names("Kept");
    let disk = tempfile::tempdir().unwrap();
    let setup = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    command(&setup, &["identity", "rotate", "--at-once", "--apply"]);
    let key = key_in(&record(&names).await, "public_key");
    shows(&agent.url, &names, &key).await;
    http::healthy(&agent.url).await;
    let (rogue, _) = new_record(&names);
    bao().await.put(&names.keys_path(), &rogue).await;
    degraded(&agent.url, "foreign").await;
    assert!(agent.log().contains("bindu identity keep --apply"), "{}", agent.log());
    let planned = command(&setup, &["identity", "keep"]);
    assert_eq!((planned["applied"].as_bool(), version(&names).await), (Some(false), 4));
    command(&setup, &["identity", "keep", "--apply"]);
    let kept = record(&names).await;
    assert_eq!((key_in(&kept, "public_key"), &kept["generation"]), (key.clone(), &json!(1)));
    http::healthy(&agent.url).await;
    assert_eq!(public_key(&agent.url, &names.did).await, key);
}

/// A backup of the rotated record, restored after an undo: the undone key still lists the right one as replaced.
///
/// Promise: the statements in Hydra decide, not the list: an empty pod refuses, a replica that slept with the undone key writes it
/// nowhere when the record is gone, and Hydra keeps the right key.
#[tokio::test(flavor = "multi_thread")]
async fn an_undone_key_does_not_come_back() {
    let names = names("Undone Backup");
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let setup = full(first.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let sleeper = full(second.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let right = public_key(&agent.url, &names.did).await;
    command(&setup, &["identity", "rotate", "--at-once", "--apply"]);
    let backup = record(&names).await;
    let undone = key_in(&backup, "public_key");
    let asleep = sleeper.start().await;
    shows(&asleep.url, &names, &undone).await;
    http::healthy(&asleep.url).await;
    asleep.kill();
    command(&setup, &["identity", "undo", "--apply"]);
    shows(&agent.url, &names, &right).await;
    hydra_names(&names, &right).await;
    http::healthy(&agent.url).await;
    agent.kill();
    bao().await.call("DELETE", &format!("secret/metadata/bindu/{}", names.keys_path()), None).await;
    let woken = sleeper.start().await;
    degraded(&woken.url, "client_of_another_key").await;
    assert!(bao().await.record(&names.keys_path()).await.is_none(), "nothing is written back");
    woken.kill();
    bao().await.put(&names.keys_path(), &backup).await;
    let empty = tempfile::tempdir().unwrap();
    assert_refused(full(empty.path(), &names).await.output(), 1, &["rolled back"]);
    let client = hydra().await.client(&names.did).await.expect("a client");
    assert_eq!(client["metadata"]["public_key"], right.as_str());
}

/// Rewrites of the rotated record without our fields, more than Vault keeps versions; then a start on the disk that remembers.
///
/// Promise: the past of the key comes back from the disk: into the record, and nothing of it is taken out of Hydra.
#[tokio::test(flavor = "multi_thread")]
async fn the_disk_remembers_what_the_history_has_lost() {
    let names = names("Lost History");
    let disk = tempfile::tempdir().unwrap();
    let setup = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    command(&setup, &["identity", "rotate", "--at-once", "--apply"]);
    let rotated = record(&names).await;
    let key = key_in(&rotated, "public_key");
    shows(&agent.url, &names, &key).await;
    http::healthy(&agent.url).await;
    agent.kill();
    let bare = json!({
        "private_key": rotated["private_key"], "public_key": rotated["public_key"], "did": rotated["did"],
    });
    for _ in 0..11 {
        bao().await.put(&names.keys_path(), &bare).await;
    }
    let agent = setup.start().await;
    http::eventually("the past is put back", async || {
        (record(&names).await["generation"] == 1).then_some(())
    })
    .await;
    assert_eq!(record(&names).await["rotations"], rotated["rotations"]);
    http::healthy(&agent.url).await;
    let client = hydra().await.client(&names.did).await.expect("a client");
    assert_eq!(
        (&client["metadata"]["generation"], &client["metadata"]["public_key"]),
        (&json!(1), &json!(key))
    );
}

/// A rotation by somebody who has a key password, of a key that is not encrypted.
///
/// Promise: the new key is encrypted as the current one is: replicas without a password can open it.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_encrypted_as_the_old_one() {
    let names = names("Encrypted Alike");
    let disk = tempfile::tempdir().unwrap();
    let setup = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let password = disk.path().join("password");
    std::fs::write(&password, "a password").unwrap();
    let operator = setup.clone().set("BINDU_KEY_PASSWORD_FILE", password.to_str().unwrap());
    command(&operator, &["identity", "rotate", "--at-once", "--apply"]);
    let rotated = record(&names).await;
    assert!(!rotated["private_key"].as_str().unwrap().contains("ENCRYPTED"));
    shows(&agent.url, &names, &key_in(&rotated, "public_key")).await;
    http::healthy(&agent.url).await;
}
