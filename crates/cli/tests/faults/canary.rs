//! No secret leaves by accident.

use crate::{bao, full, hydra, names};
use bindu_testkit::http;
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Every text below a directory that others than its owner could read, and every one outside `.bindu` at all.
fn readable_texts(directory: &Path, texts: &mut Vec<String>) {
    use std::os::unix::fs::PermissionsExt as _;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777;
        let is_ours = path.components().any(|part| part.as_os_str() == ".bindu");
        if path.is_dir() {
            assert!(!is_ours || mode == 0o700, "{}: {mode:o}", path.display());
            readable_texts(&path, texts);
        } else {
            assert!(!is_ours || mode == 0o600, "{}: {mode:o}", path.display());
            if !is_ours {
                texts.push(String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned());
            }
        }
    }
}

/// What a stranger, a colleague and a log collector see of a running agent.
async fn seen_from_outside(url: &str, pid: u32) -> Vec<String> {
    let mut texts = Vec::new();
    let pages = [
        "/",
        "/health",
        "/readyz?verbose",
        "/metrics",
        "/.well-known/agent.json",
        "/agent/skills",
        "/nowhere",
    ];
    for page in pages {
        texts.push(http::get(&format!("{url}{page}")).await.1.to_string());
    }
    texts.push(
        http::post(url, &json!({"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {}}))
            .await
            .1
            .to_string(),
    );
    for file in ["cmdline", "comm", "status", "limits"] {
        texts.push(String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/{file}")).unwrap()).into_owned());
    }
    texts
}

/// Token, private key, client secret and key password, with logs at `trace`, in a good start, in starts that fail at each
/// record, in an outage and through `plan` and `show`.
///
/// Promise: in no log, error, page, metric, process title or file that others can read; the data directory is 0700, all
/// in it 0600, and no core is dumped.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_leaves() {
    let names = names("Canary Bird");
    let disk = tempfile::tempdir().unwrap();
    let password = format!("pass{:032x}", rand::random::<u128>());
    fs::write(disk.path().join("password"), &password).unwrap();
    let setup =
        full(disk.path(), &names).await.set("BINDU_KEY_PASSWORD_FILE", "password").set("RUST_LOG", "trace");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let (_, keys) = bao().await.record(&names.keys_path()).await.expect("keys");
    let (_, credentials) = bao().await.record(&names.credentials_path()).await.expect("credentials");
    let line = |record: &Value, field: &str, nth| {
        record[field].as_str().expect("a text").lines().nth(nth).expect("a line").to_owned()
    };
    let plain = {
        let pem = secrecy::SecretString::from(keys["private_key"].as_str().expect("a PEM"));
        let key =
            bindu_identity::pem::decode_private_key(&pem, Some(&password.clone().into())).expect("it opens");
        let pem = bindu_identity::pem::encode_private_key(&key);
        secrecy::ExposeSecret::expose_secret(&pem).lines().nth(1).expect("a line").to_owned()
    };
    let canaries = [
        line(&keys, "private_key", 1),
        plain,
        line(&credentials, "client_secret", 0),
        password,
        bao().await.token.clone(),
    ];
    let mut said = seen_from_outside(&agent.url, agent.pid()).await;
    let cores = fs::read_to_string(format!("/proc/{}/limits", agent.pid())).unwrap();
    let cores =
        cores.lines().find(|line| line.starts_with("Max core file size")).expect("a limit").to_owned();
    assert!(cores.split_whitespace().any(|word| word == "0"), "{cores}");
    assert!(agent.log().len() > 10_000, "it was loud");
    said.push(agent.log());
    agent.kill();
    // Failing starts: each record broken in turn, the disk gone, the server gone, the password wrong.
    let mut broken = keys.clone();
    broken["public_key"] = json!("none");
    let mut starts = Vec::new();
    for (record, breaks) in [(names.keys_path(), broken), (names.keys_path(), json!({"private_key": 7}))] {
        bao().await.put(&record, &breaks).await;
        fs::remove_dir_all(disk.path().join(".bindu")).unwrap_or_default();
        starts.push(setup.output());
    }
    bao().await.put(&names.keys_path(), &keys).await;
    starts.push(
        setup.clone().set("VAULT__URL", "http://127.0.0.1:1").set("BINDU_START_DEADLINE", "1s").output(),
    );
    fs::write(disk.path().join("wrong"), "wrong").unwrap();
    starts.push(setup.clone().set("BINDU_KEY_PASSWORD_FILE", "wrong").output());
    for command in [["identity", "plan"], ["identity", "show"], ["hydra", "plan"], ["config", "show"]] {
        starts.push(setup.clone().command(&command).output());
    }
    bao().await.put(&names.credentials_path(), &json!({"client_id": 7, "client_secret": canaries[2]})).await;
    let degraded = setup.start().await;
    crate::degraded(&degraded.url, "credentials_malformed").await;
    said.push(degraded.log());
    for (_, stdout, stderr) in starts {
        assert!(!stderr.contains("panicked"), "{stderr}");
        said.extend([stdout, stderr]);
    }
    fs::remove_file(disk.path().join("password")).unwrap();
    readable_texts(disk.path(), &mut said);
    for canary in &canaries {
        assert!(canary.len() > 20, "a canary that is no other text");
        for text in &said {
            assert!(
                !text.contains(canary.as_str()),
                "a secret was said in:\n{}",
                &text[..text.len().min(2000)]
            );
        }
    }
    let _ = hydra().await;
}
