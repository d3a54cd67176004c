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
