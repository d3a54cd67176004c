//! What both programs of tests use: the shared servers, names that nobody else has, and looks at an agent from outside.
#![allow(dead_code, reason = "each program uses its part")]

use bindu_testkit::{AgentSetup, Hydra, OpenBao};
use std::path::Path;
use tokio::sync::OnceCell;

pub(crate) const AUTHOR: &str = "Alice.Smith@Example.com";

/// The OpenBao that the tests share.
pub(crate) async fn bao() -> &'static OpenBao {
    static SHARED: OnceCell<OpenBao> = OnceCell::const_new();
    SHARED.get_or_init(OpenBao::start).await
}

/// The Hydra that the tests share.
pub(crate) async fn hydra() -> &'static Hydra {
    static SHARED: OnceCell<Hydra> = OnceCell::const_new();
    SHARED.get_or_init(Hydra::start).await
}

/// Our program in this directory.
pub(crate) fn agent(directory: &Path) -> AgentSetup {
    AgentSetup::new(env!("CARGO_BIN_EXE_bindu"), directory)
}

/// An agent's names in DIDs and paths.
pub(crate) struct Names {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) did: String,
}

/// An agent of this name that no other test has, by the rules of COMPAT §1.3.
pub(crate) fn names(name: &str) -> Names {
    let id = bindu_identity::AgentId::derive(AUTHOR, name).to_string();
    let sanitised = name.to_lowercase().replace(' ', "_");
    Names { name: name.to_owned(), did: format!("did:bindu:alice_smith_at_example_com:{sanitised}:{id}"), id }
}

impl Names {
    pub(crate) fn keys_path(&self) -> String {
        format!("agents/{}/did-keys", self.id)
    }

    pub(crate) fn credentials_path(&self) -> String {
        format!("hydra/credentials/{}", self.did)
    }
}

/// The public key that an agent shows.
pub(crate) async fn public_key(url: &str, did: &str) -> String {
    let (status, document) = bindu_testkit::http::get(&format!("{url}/did/resolve?did={did}")).await;
    assert_eq!(status, 200, "{document}");
    document["authentication"][0]["publicKeyBase58"].as_str().expect("a key").to_owned()
}

/// The reasons for which an agent is degraded.
pub(crate) async fn reasons(url: &str) -> Vec<String> {
    let (_, health) = bindu_testkit::http::get(&format!("{url}/health")).await;
    let reasons = health["reasons"].as_array().expect("a list");
    reasons.iter().filter_map(|reason| reason.as_str()).map(str::to_owned).collect()
}

/// Waits until an agent is degraded for a reason.
pub(crate) async fn degraded(url: &str, reason: &str) {
    bindu_testkit::http::eventually(reason, async || {
        reasons(url).await.iter().any(|found| found == reason).then_some(())
    })
    .await;
}

/// Puts another key into the store as an old Python pod with a rogue one does it: blindly. What is there then.
pub(crate) async fn overwrite_with_a_rogue_key(names: &Names) -> serde_json::Value {
    let rogue = tempfile::tempdir().unwrap();
    agent(rogue.path()).named(AUTHOR, &names.name).start().await.kill();
    let pem = |file: &str| std::fs::read_to_string(rogue.path().join(".bindu").join(file)).unwrap();
    let record = serde_json::json!({
        "private_key": pem("private.pem"), "public_key": pem("public.pem"), "did": names.did,
    });
    bao().await.put(&names.keys_path(), &record).await;
    record
}

/// That a program ended with this code, an error with these words and a hint.
pub(crate) fn assert_refused((code, _, stderr): (i32, String, String), want: i32, words: &[&str]) {
    assert_eq!(code, want, "{stderr}");
    for word in words.iter().chain(&["error: ", "\nhint: "]) {
        assert!(stderr.contains(word), "{word:?} is missing in:\n{stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// An agent that uses the shared OpenBao and the shared Hydra.
pub(crate) async fn full(directory: &Path, names: &Names) -> AgentSetup {
    agent(directory).named(AUTHOR, &names.name).vault(bao().await).set_all(hydra().await.environment())
}

/// Waits until there is one key, one credentials record, one client that fit together, and nothing was written twice.
/// The key.
pub(crate) async fn is_one(names: &Names) -> String {
    let mut problem = String::new();
    for _ in 0..600 {
        match look_for_one(names).await {
            Ok(key) => return key,
            Err(found) => problem = found,
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{}: {problem}", names.name);
}

async fn look_for_one(names: &Names) -> Result<String, String> {
    let (version, keys) = bao().await.record(&names.keys_path()).await.ok_or("there is no keys record")?;
    assert_eq!(version, 1, "{}: the keys were written once", names.name);
    let record = bao().await.record(&names.credentials_path()).await;
    let (version, credentials) = record.ok_or("there are no credentials")?;
    assert_eq!(version, 1, "{}: the credentials were written once", names.name);
    let client = hydra().await.client(&names.did).await.ok_or("there is no client")?;
    let secret = credentials["client_secret"].as_str().ok_or("there is no secret")?;
    match hydra().await.token(&names.did, secret).await.0 {
        200 => {}
        other => return Err(format!("the stored secret is not the client's: {other}")),
    }
    let pem = keys["public_key"].as_str().ok_or("there is no public key")?;
    let key = bindu_identity::pem::decode_public_key(pem).map_err(|error| error.to_string())?.to_string();
    match client["metadata"]["public_key"] == key.as_str() {
        true => Ok(key),
        false => Err("Hydra names another key than the store holds".to_owned()),
    }
}

/// A keys record of a new key as Python Bindu writes it, and the key.
pub(crate) fn new_record(names: &Names) -> (serde_json::Value, String) {
    let new = bindu_identity::SigningKey::generate().expect("random numbers");
    let record = serde_json::json!({
        "private_key": secrecy::ExposeSecret::expose_secret(&bindu_identity::pem::encode_private_key(&new)),
        "public_key": bindu_identity::pem::encode_public_key(&new.public_key()),
        "did": names.did,
    });
    (record, new.public_key().to_string())
}

/// Writes a rotation record: a new key that replaces the record's. The new key.
pub(crate) async fn rotate(names: &Names) -> String {
    let (_, record) = bao().await.record(&names.keys_path()).await.expect("keys");
    let old =
        bindu_identity::pem::decode_public_key(record["public_key"].as_str().expect("a PEM")).expect("a key");
    let (mut fields, key) = new_record(names);
    let mut replaces = vec![serde_json::json!(old.fingerprint().to_string())];
    replaces.extend(record["replaces"].as_array().into_iter().flatten().cloned());
    fields["replaces"] = replaces.into();
    bao().await.put(&names.keys_path(), &fields).await;
    key
}
