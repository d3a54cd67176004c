//! Both stores keep the contract; and what a real OpenBao answers in trouble is never taken for an absence.
#![allow(missing_docs, clippy::indexing_slicing)]

use bindu_http_client::HttpSettings;
use bindu_store::{
    Answer, DataDirectory, Expected, FileStore, OutageReason, RecordName, SecretStore, VaultLogin,
    VaultSettings, VaultStore, WriteError,
};
use bindu_testkit::{
    OpenBao,
    conformance::{self, Agent},
    proxy::{Fault, Proxy},
};
use secrecy::SecretString;
use serde_json::json;
use std::{sync::Arc, time::Duration};

fn vault_at(url: &str, token: &str, mount: &str) -> VaultStore {
    VaultStore::new(VaultSettings {
        url: url.parse().expect("a URL"),
        login: VaultLogin::Token(SecretString::from(token)),
        mount: mount.to_owned(),
        prefix: "bindu".to_owned(),
        namespace: None,
        http: HttpSettings::new(Duration::from_millis(800)),
    })
    .expect("usable settings")
}

fn reason(answer: &Answer) -> OutageReason {
    match answer {
        Answer::Unavailable(outage) => outage.reason,
        other => panic!("{other:?} is no outage"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_store_keeps_the_contract() {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = Agent::random();
    let open = || DataDirectory::open(directory.path(), &agent.did, &agent.id.to_string()).expect("opens");
    let store = FileStore::new(Arc::new(open()), None);
    conformance::secret_store(Arc::new(store), &agent).await;
    // What it remembers outlives it.
    let store = FileStore::new(Arc::new(open()), None);
    assert!(
        matches!(store.read(&RecordName::Keys(agent.id)).await, Answer::Present(record) if record.version == 2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_store_keeps_the_contract() {
    let bao = OpenBao::start().await;
    let agent = Agent::random();
    conformance::secret_store(Arc::new(vault_at(&bao.url, &bao.token, "secret")), &agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_and_destroyed_are_told_from_absent() {
    let bao = OpenBao::start().await;
    let agent = Agent::random();
    let (store, name) = (vault_at(&bao.url, &bao.token, "secret"), RecordName::Keys(agent.id));
    let path = format!("agents/{}/did-keys", agent.id);
    bao.put(&path, &json!({"k": "v"})).await;
    bao.call("DELETE", &format!("secret/data/bindu/{path}"), None).await;
    assert!(matches!(store.read(&name).await, Answer::Deleted { version: 1, destroyed: false }));
    let fields = bindu_store::Fields::default();
    assert_eq!(store.write(&name, &fields, Expected::Absent).await, Err(WriteError::Conflict));
    assert_eq!(store.write(&name, &fields, Expected::Version(1)).await, Ok(2));
    bao.call("POST", &format!("secret/destroy/bindu/{path}"), Some(json!({"versions": [2]}))).await;
    assert!(matches!(store.read(&name).await, Answer::Deleted { version: 2, destroyed: true }));
    // A record that is there and holds nothing is malformed, not deleted.
    assert_eq!(store.write(&name, &fields, Expected::Version(2)).await, Ok(3));
    bao.call("POST", &format!("secret/data/bindu/{path}"), Some(json!({"data": null}))).await;
    assert!(matches!(store.read(&name).await, Answer::Malformed(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_mount_is_never_an_absence_and_never_written_to() {
    let bao = OpenBao::start().await;
    let name = RecordName::Keys(Agent::random().id);
    let fields = bindu_store::Fields::default();
    bao.call("POST", "sys/mounts/one", Some(json!({"type": "kv", "options": {"version": "1"}}))).await;
    for mount in ["one", "nowhere"] {
        let store = vault_at(&bao.url, &bao.token, mount);
        assert_eq!(reason(&store.read(&name).await), OutageReason::WrongMount, "{mount}");
        let written = store.write(&name, &fields, Expected::Absent).await;
        assert!(matches!(written, Err(WriteError::Unavailable(_))), "{mount}: {written:?}");
    }
    let (status, _) = bao.call("LIST", "one/data", None).await;
    assert_eq!(status, 404, "nothing was written to the KV v1 mount");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_is_told_from_a_dead_token() {
    let bao = OpenBao::start().await;
    let name = RecordName::Keys(Agent::random().id);
    let blind = bao.token_with("path \"secret/data/other\" { capabilities = [\"read\"] }").await;
    assert!(matches!(vault_at(&bao.url, &blind, "secret").read(&name).await, Answer::Denied));
    for dead in ["s.expired", "nonsense"] {
        assert_eq!(
            reason(&vault_at(&bao.url, dead, "secret").read(&name).await),
            OutageReason::LoginRejected
        );
    }
    // May write and not read: what Python Bindu took for an absence, and overwrote.
    let writer =
        bao.token_with("path \"secret/data/bindu/*\" { capabilities = [\"create\", \"update\"] }").await;
    assert!(matches!(vault_at(&bao.url, &writer, "secret").read(&name).await, Answer::Denied));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_networks_do_to_an_answer_is_an_outage() {
    let bao = OpenBao::start().await;
    let agent = Agent::random();
    let name = RecordName::Keys(agent.id);
    bao.put(&format!("agents/{}/did-keys", agent.id), &json!({"private_key": "x".repeat(4000)})).await;
    let proxy = Proxy::start(&bao.url).await;
    let store = vault_at(&proxy.url, &bao.token, "secret");
    let cases = [
        (Fault::Answer(200, "text/html", "<html>log in</html>"), OutageReason::NotTheStore),
        (Fault::Answer(404, "text/html", "<html>nothing here</html>"), OutageReason::NotTheStore),
        (Fault::Answer(404, "application/json", ""), OutageReason::NotTheStore),
        (Fault::Answer(302, "text/html", ""), OutageReason::NotTheStore),
        (Fault::Answer(429, "application/json", "{\"errors\":[]}"), OutageReason::Busy),
        (Fault::Answer(503, "application/json", "{\"errors\":[\"Vault is sealed\"]}"), OutageReason::Sealed),
        (Fault::Cut, OutageReason::NotTheStore),
        (Fault::LoseAnswer, OutageReason::NotTheStore),
        (Fault::Hang, OutageReason::TimedOut),
    ];
    for (fault, want) in cases {
        let script = fault.clone();
        proxy.script(move |_, _| script.clone());
        assert_eq!(reason(&store.read(&name).await), want, "{fault:?}");
    }
    proxy.script(|_, _| Fault::None);
    assert!(matches!(store.read(&name).await, Answer::Present(_)));
    let closed = vault_at("http://127.0.0.1:1", &bao.token, "secret");
    assert_eq!(reason(&closed.read(&name).await), OutageReason::Unreachable);
}

/// `VAULT__MOUNT` with a path below a mount in it, and mounts with slashes in their names.
///
/// Promise: an empty place below a path that is no mount is no absence, nothing is written there, and the error names the mount
/// and the settings that were meant; a mount whose name has slashes keeps the contract.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_below_a_mount_is_no_mount() {
    let bao = OpenBao::start().await;
    let name = RecordName::Keys(Agent::random().id);
    bao.call("POST", "sys/mounts/team/kv", Some(json!({"type": "kv", "options": {"version": "2"}}))).await;
    bindu_testkit::http::eventually("the mount is there", async || {
        (bao.call("GET", "team/kv/config", None).await.0 == 200).then_some(())
    })
    .await;
    let policy = "path \"+/*\" { capabilities = [\"create\", \"read\", \"update\", \"list\"] }";
    let token = bao.token_with(policy).await;
    let cases = [
        ("secret/data", "VAULT__MOUNT=secret and VAULT__PREFIX=bindu"),
        ("secret/metadata", "VAULT__MOUNT=secret and VAULT__PREFIX=bindu"),
        ("secret/data/x", "VAULT__MOUNT=secret and VAULT__PREFIX=x/bindu"),
        ("/team/kv/x/", "VAULT__MOUNT=team/kv and VAULT__PREFIX=x/bindu"),
    ];
    for (mount, meant) in cases {
        let store = vault_at(&bao.url, &token, mount);
        let outage = match store.read(&name).await {
            Answer::Unavailable(outage) => outage,
            other => panic!("{mount}: {other:?}"),
        };
        assert_eq!(outage.reason, OutageReason::WrongMount, "{mount}");
        assert!(outage.detail.ends_with(meant), "{mount}: {}", outage.detail);
        let written = store.write(&name, &bindu_store::Fields::default(), Expected::Absent).await;
        assert!(matches!(written, Err(WriteError::Unavailable(_))), "{mount}: {written:?}");
        assert_eq!(store.examine(&[]).await.map_err(|outage| outage.reason), Err(OutageReason::WrongMount));
    }
    for mount in ["secret", "team/kv"] {
        let (status, listed) = bao.call("LIST", &format!("{mount}/metadata"), None).await;
        assert_eq!(status, 404, "nothing was written below {mount}: {listed}");
    }
    let agent = Agent::random();
    conformance::secret_store(Arc::new(vault_at(&bao.url, &token, "team/kv")), &agent).await;
    assert_eq!(vault_at(&bao.url, &token, "team/kv").examine(&[]).await, Ok(Vec::new()));
}

/// A namespace has a mount of the same name.
#[tokio::test(flavor = "multi_thread")]
async fn a_mount_in_a_namespace_keeps_the_contract() {
    let bao = OpenBao::start().await;
    let (status, answer) = bao.call("POST", "sys/namespaces/team", Some(json!({}))).await;
    assert_eq!(status, 200, "{answer}");
    let body = json!({"type": "kv", "options": {"version": "2"}});
    let (status, answer) = bao.call("POST", "team/sys/mounts/secret", Some(body)).await;
    assert_eq!(status, 204, "{answer}");
    bindu_testkit::http::eventually("the mount is there", async || {
        (bao.call("GET", "team/secret/config", None).await.0 == 200).then_some(())
    })
    .await;
    let store = VaultStore::new(VaultSettings {
        url: bao.url.parse().expect("a URL"),
        login: VaultLogin::Token(SecretString::from(bao.token.clone())),
        mount: "secret".to_owned(),
        prefix: "bindu".to_owned(),
        namespace: Some("team".to_owned()),
        http: HttpSettings::new(Duration::from_millis(800)),
    });
    conformance::secret_store(Arc::new(store.expect("usable settings")), &Agent::random()).await;
}

/// `delete_version_after` on the mount, on the record, on both; with the least policy and with an administrator's.
///
/// Promise: whoever reads or writes such a record is told its day, whatever the policy, and the commands that fix it do: the
/// version stays, and so do the next ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_will_be_deleted_is_told() {
    let bao = OpenBao::start().await;
    let agent = Agent::random();
    let name = RecordName::Keys(agent.id);
    let path = format!("bindu/agents/{}/did-keys", agent.id);
    let (metadata, fields) = (format!("secret/metadata/{path}"), bindu_store::Fields::default());
    let policy = "path \"secret/data/bindu/*\" { capabilities = [\"create\", \"read\", \"update\"] }";
    let least = bao.token_with(policy).await;
    let examined = async |token: &str| {
        let store = vault_at(&bao.url, token, "secret");
        let read = store.read(&name).await;
        assert!(matches!(read, Answer::Present(_) | Answer::Absent), "{read:?}");
        store.examine(std::slice::from_ref(&name)).await.expect("it can be asked")
    };
    assert_eq!(examined(&bao.token).await, []);
    let set = async |path: &str, after: &str| {
        let (status, answer) = bao.call("POST", path, Some(json!({"delete_version_after": after}))).await;
        assert_eq!(status, 204, "{answer}");
    };
    set("secret/config", "1h").await;
    set(&metadata, "30m").await;
    // Nothing is there yet: only an administrator can see what will be.
    assert_eq!(examined(&least).await, []);
    let warnings = examined(&bao.token).await;
    let problems: Vec<&str> = warnings.iter().map(|warning| warning.problem.as_str()).collect();
    assert!(problems[0].contains("in the mount secret is deleted 1h0m0s later"), "{problems:?}");
    assert!(problems[1].contains("did-keys is deleted 30m0s later"), "{problems:?}");
    let store = vault_at(&bao.url, &least, "secret");
    assert_eq!(store.write(&name, &fields, Expected::Absent).await, Ok(1));
    for warnings in [store.examine(std::slice::from_ref(&name)).await.expect("told"), examined(&least).await]
    {
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].problem.contains("version 1 of secret/bindu/agents/"), "{warnings:?}");
        assert_eq!(
            warnings[0].fix,
            [
                "vault write secret/config delete_version_after=0s".to_owned(),
                format!("vault kv metadata put -mount=secret -delete-version-after=0s {path}"),
                format!("vault kv undelete -mount=secret -versions=1 {path}"),
            ]
        );
    }
    // What these commands send.
    set("secret/config", "0s").await;
    set(&metadata, "0s").await;
    let (status, _) =
        bao.call("POST", &format!("secret/undelete/{path}"), Some(json!({"versions": [1]}))).await;
    assert_eq!(status, 204);
    assert_eq!(examined(&bao.token).await, []);
    assert_eq!(store.write(&name, &fields, Expected::Version(1)).await, Ok(2));
    assert_eq!(examined(&bao.token).await, []);
}
