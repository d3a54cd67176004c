//! Beside real Python Bindu 2026.36.7, in both directions.

use crate::{AUTHOR, Names, agent, bao, hydra, names, public_key};
use bindu_identity::{SigningKey, request_signature};
use bindu_testkit::{PythonBindu, caller::TestCaller, http, server::run_script};
use serde_json::{Value, json};
use std::path::Path;

macro_rules! python {
    ($value:expr) => {
        match $value.await {
            Some(value) => value,
            None => {
                eprintln!("skipped: needs Python 3.12");
                return;
            }
        }
    };
}

fn vault_and_hydra(bao: &bindu_testkit::OpenBao, hydra: &bindu_testkit::Hydra) -> Vec<(String, String)> {
    let vault = [("VAULT__ENABLED", "true"), ("VAULT__URL", &bao.url), ("VAULT__TOKEN", &bao.token)];
    vault
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .chain(hydra.environment())
        .collect()
}

async fn python(directory: &Path, names: &Names, environment: &[(String, String)]) -> Option<PythonBindu> {
    PythonBindu::start(directory, AUTHOR, &names.name, environment).await
}

#[tokio::test(flavor = "multi_thread")]
async fn python_bindu_restores_what_ours_stored() {
    let names = names("Ours First");
    let environment = vault_and_hydra(bao().await, hydra().await);
    let (ours_disk, theirs_disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ours = agent(ours_disk.path()).named(AUTHOR, &names.name).set_all(environment.clone()).start().await;
    http::healthy(&ours.url).await;
    let key = public_key(&ours.url, &names.did).await;
    let secret = bao().await.record(&names.credentials_path()).await.unwrap().1["client_secret"].clone();
    ours.kill();
    let theirs = python!(python(theirs_disk.path(), &names, &environment));
    assert_eq!(public_key(&theirs.url, &names.did).await, key);
    let credentials =
        std::fs::read_to_string(theirs_disk.path().join(".bindu/oauth_credentials.json")).unwrap();
    let credentials: Value = serde_json::from_str(&credentials).unwrap();
    assert_eq!(credentials[&names.did]["client_secret"], secret);
    assert_eq!(hydra().await.client(&names.did).await.unwrap()["metadata"]["public_key"], key.as_str());
    drop(theirs);
    // And back: Python has written the record again, without our fields.
    let ours = agent(ours_disk.path()).named(AUTHOR, &names.name).set_all(environment).start().await;
    assert_eq!(public_key(&ours.url, &names.did).await, key);
    http::healthy(&ours.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_restores_what_python_bindu_stored() {
    let names = names("Theirs First");
    let environment = vault_and_hydra(bao().await, hydra().await);
    let (ours_disk, theirs_disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let theirs = python!(python(theirs_disk.path(), &names, &environment));
    let key = public_key(&theirs.url, &names.did).await;
    let client = hydra().await.client(&names.did).await.expect("Python's client");
    let before = bao().await.record(&names.credentials_path()).await.unwrap();
    drop(theirs);
    let ours = agent(ours_disk.path()).named(AUTHOR, &names.name).set_all(environment).start().await;
    assert_eq!(public_key(&ours.url, &names.did).await, key);
    http::healthy(&ours.url).await;
    assert_eq!(bao().await.record(&names.credentials_path()).await.unwrap(), before);
    let after = hydra().await.client(&names.did).await.expect("the same client");
    assert_eq!(after["created_at"], client["created_at"]);
    assert_eq!(after["metadata"]["public_key"], client["metadata"]["public_key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_moves_both_ways() {
    let names = names("Moving House");
    let disk = tempfile::tempdir().unwrap();
    let theirs = python!(python(disk.path(), &names, &hydra().await.environment()));
    let key = public_key(&theirs.url, &names.did).await;
    drop(theirs);
    let setup = agent(disk.path()).named(AUTHOR, &names.name).set_all(hydra().await.environment());
    let ours = setup.start().await;
    assert_eq!(public_key(&ours.url, &names.did).await, key);
    http::healthy(&ours.url).await;
    let client = hydra().await.client(&names.did).await.expect("Python's client");
    ours.kill();
    let theirs = python!(python(disk.path(), &names, &hydra().await.environment()));
    assert_eq!(public_key(&theirs.url, &names.did).await, key);
    assert_eq!(hydra().await.client(&names.did).await.unwrap()["created_at"], client["created_at"]);
    drop(theirs);
    // A directory that ours made.
    let fresh = tempfile::tempdir().unwrap();
    let ours = agent(fresh.path()).named(AUTHOR, "Born Here").start().await;
    let born = crate::names("Born Here");
    let key = public_key(&ours.url, &born.did).await;
    ours.kill();
    let directory = fresh.path().join(".bindu").display().to_string();
    let loaded = python!(run_script("load_keys.py", &[&directory, AUTHOR, "Born Here", &born.id], ""));
    let loaded: Value = serde_json::from_str(&loaded).unwrap();
    assert_eq!(
        (loaded["did"].as_str(), loaded["pub"].as_str()),
        (Some(born.did.as_str()), Some(key.as_str()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_key_moves_both_ways() {
    let disk = tempfile::tempdir().unwrap();
    std::fs::write(disk.path().join("password"), "correct horse\n").unwrap();
    let names = names("Locked");
    let setup = agent(disk.path()).named(AUTHOR, &names.name);
    let unlocked = setup.clone().set("BINDU_KEY_PASSWORD_FILE", "password");
    let ours = unlocked.start().await;
    let key = public_key(&ours.url, &names.did).await;
    ours.kill();
    let (code, _, stderr) = setup.output();
    assert_eq!((code, stderr.contains("BINDU_KEY_PASSWORD_FILE")), (64, true), "{stderr}");
    let directory = disk.path().join(".bindu").display().to_string();
    let arguments = [&*directory, AUTHOR, &names.name, &names.id, "correct horse"];
    let loaded: Value = serde_json::from_str(&python!(run_script("load_keys.py", &arguments, ""))).unwrap();
    assert_eq!(loaded["pub"].as_str(), Some(key.as_str()));
    // One that Python encrypts.
    let theirs = tempfile::tempdir().unwrap();
    let path = theirs.path().join(".bindu").display().to_string();
    let made = python!(run_script("make_encrypted.py", &[&path, "correct horse"], ""));
    std::fs::write(theirs.path().join("password"), "correct horse").unwrap();
    let ours = agent(theirs.path())
        .named(AUTHOR, &names.name)
        .set("BINDU_KEY_PASSWORD_FILE", "password")
        .start()
        .await;
    assert_eq!(public_key(&ours.url, &names.did).await, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn python_bindus_client_code_reads_our_card_and_documents() {
    let disk = tempfile::tempdir().unwrap();
    let names = names("Well Read");
    let ours = agent(disk.path()).named(AUTHOR, &names.name).start().await;
    let key = public_key(&ours.url, &names.did).await;
    let read: Value = serde_json::from_str(&python!(run_script("read_card.py", &[&ours.url], ""))).unwrap();
    assert_eq!(read["did"], names.did.as_str());
    assert_eq!(
        (read["doc_valid"][0].as_bool(), read["same"].as_bool(), read["id_matches"].as_bool()),
        (Some(true), Some(true), Some(true)),
        "{read}"
    );
    assert_eq!(
        (read["pub"].as_str(), read["roundtrip"].as_bool()),
        (Some(key.as_str()), Some(true)),
        "{read}"
    );
    // Its own verifier accepts our artifact's signature.
    let task = http::ask(&ours.url, "ünïcödé \"quoted\"").await;
    let part = &task["artifacts"][0]["parts"][0];
    let signature = part["metadata"]["did.message.signature"].as_str().unwrap();
    assert_eq!(
        python!(run_script("verify_text.py", &[&key, signature], part["text"].as_str().unwrap())),
        "True"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn request_signatures_pass_each_others_verifier() {
    let disk = tempfile::tempdir().unwrap();
    assert_eq!(python!(run_script("fixture.py", &[], "")), "True");
    let body = "{\"text\": \"ünïcödé 😀 \\u007f\u{7f}\"}";
    let path = disk.path().join("body");
    std::fs::write(&path, body).unwrap();
    let path = path.display().to_string();
    let key = SigningKey::from_seed(&[7; 32]);
    let did: bindu_identity::Did = "did:bindu:test".parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let signature = request_signature::sign(&key, &did, body, now).to_string();
    let arguments = [&*path, &signature, did.as_str(), &now.to_string(), &key.public_key().to_string()];
    assert_eq!(python!(run_script("verify_request.py", &arguments, "")), "True");
    // Python's own signature, by a key that ours made.
    let ours = agent(disk.path()).start().await;
    ours.kill();
    let directory = disk.path().join(".bindu").display().to_string();
    let signed: Value =
        serde_json::from_str(&python!(run_script("sign_request.py", &[&directory, did.as_str(), &path], "")))
            .unwrap();
    let text = |name: &str| signed[name].as_str().map_or_else(|| signed[name].to_string(), str::to_owned);
    let (signed_did, timestamp, signature) =
        (text("X-DID"), text("X-DID-Timestamp"), text("X-DID-Signature"));
    let headers = request_signature::SignatureHeaders {
        did: &signed_did,
        timestamp: &timestamp,
        signature: &signature,
    };
    let key = text("pub").parse().unwrap();
    assert!(request_signature::verify(headers, &did, &key, body, now).is_ok());
}

/// Python Bindu's own `sign_request`, with a live token, against our agent.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_signed_by_python_bindu_gets_in() {
    let (disk, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let guarded = crate::authentication::guarded(disk.path(), "Called By Python").await;
    agent(keys.path()).start().await.kill();
    let directory = keys.path().join(".bindu").display().to_string();
    let did = "did:bindu:python:caller:1";
    let body = http::call("tasks/list", &json!({"note": "ünïcödé 😀"})).to_string();
    let path = keys.path().join("body");
    std::fs::write(&path, &body).unwrap();
    let arguments = [&*directory, did, &path.display().to_string()];
    let signed: Value =
        serde_json::from_str(&python!(run_script("sign_request.py", &arguments, ""))).unwrap();
    TestCaller::register(hydra().await, did, &json!({"public_key": signed["pub"]})).await;
    let token = TestCaller::token_of(hydra().await, did, &[("scope", "agent:read")]).await;
    let mut request = http::client().post(&guarded.url).bearer_auth(token).body(body);
    for name in ["X-DID", "X-DID-Timestamp", "X-DID-Signature"] {
        request = request
            .header(name, signed[name].as_str().map_or_else(|| signed[name].to_string(), str::to_owned));
    }
    let (status, answer) = http::answer(request).await;
    assert_eq!((status, &answer["result"]), (200, &json!([])), "{answer}");
}
