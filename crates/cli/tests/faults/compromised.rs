//! A key that somebody else has: how long it counts after `--compromised`.

use crate::{AUTHOR, agent, bao, full, hydra, names};
use bindu_testkit::{
    caller::{TestCaller, now},
    http,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The longest time for which a verifier may remember a key or a token of Hydra's (docs/ROTATION.md).
const REMEMBERED: Duration = Duration::from_secs(30);

/// A call that nobody has made before.
fn call() -> Value {
    let mut call = http::call("tasks/list", &json!({}));
    call["id"] = json!(format!("{:032x}", rand::random::<u128>()));
    call
}

/// Sends what this makes until it is refused with this status. Nothing may be let in that was sent 30 s after the flip or later.
async fn refused_in_time(
    what: &str,
    status: u16,
    flip: Instant,
    request: impl Fn() -> reqwest::RequestBuilder,
) {
    loop {
        let sent = Instant::now();
        let (found, answer) = http::answer(request()).await;
        if found == status {
            println!("{what} is refused {:?} after the flip: {answer}", sent - flip);
            return;
        }
        // A request with the old token is refused for its old key as well.
        assert!(matches!(found, 200 | 403), "{what}: {answer}");
        let is_late = sent - flip > if found == 200 { REMEMBERED } else { 2 * REMEMBERED };
        assert!(!is_late, "{what} is answered with {found} {:?} after the flip", sent - flip);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// A thief with the agent's key, its second key and a token, who calls another agent of ours all the time, and has done so
/// right before `identity rotate --compromised`.
///
/// Promise: within 30 s of the flip the old key's signatures in both forms are refused, and so is the token, though it would be
/// good for an hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_thief_is_refused_within_30_seconds() {
    let names = names("Stolen From");
    let (disk, other_disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let setup = full(disk.path(), &names).await;
    let owner = setup.start().await;
    http::healthy(&owner.url).await;
    let verifier = agent(other_disk.path()).named(AUTHOR, "Asks Hydra").set_all(hydra().await.environment());
    let verifier = verifier.start().await;
    http::healthy(&verifier.url).await;
    let (_, record) = bao().await.record(&names.keys_path()).await.expect("keys");
    let pem = record["private_key"].as_str().expect("a PEM").to_owned();
    let key = || bindu_identity::pem::decode_private_key(&pem.clone().into(), None).expect("a key");
    let (_, credentials) = bao().await.record(&names.credentials_path()).await.expect("credentials");
    let secret = credentials["client_secret"].as_str().expect("a secret");
    let token = async || {
        let (status, token) = hydra().await.token(&names.did, secret).await;
        assert_eq!(status, 200, "{token}");
        token["access_token"].as_str().expect("a token").to_owned()
    };
    let thief = TestCaller { id: names.did.clone(), key: key(), token: token().await };
    let root = format!("{}/", verifier.url);
    let nonce = || format!("{:032x}", rand::random::<u128>());
    assert_eq!(thief.send(&verifier.url, &call()).await.0, 200);
    let (status, answer) = http::answer(thief.message(&root, &call(), &nonce())).await;
    assert_eq!(status, 200, "{answer}");

    let command = setup.clone().command(&["identity", "rotate", "--compromised", "--apply"]);
    let (code, _, stderr) = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    assert_eq!(code, 0, "{stderr}");
    let flip = Instant::now();
    let client = hydra().await.client(&names.did).await.expect("a client");
    assert_ne!(client["metadata"]["public_key"], thief.key.public_key().to_string().as_str());
    // With a token that is good: the secret was not changed yet.
    let with_a_new_token = TestCaller { id: names.did.clone(), key: key(), token: token().await };
    tokio::join!(
        refused_in_time("the token", 401, flip, || thief.request(&verifier.url, &call(), now())),
        refused_in_time("the key", 403, flip, || { with_a_new_token.request(&verifier.url, &call(), now()) }),
        refused_in_time("the second key", 403, flip, || {
            with_a_new_token.message(&root, &call(), &nonce())
        }),
    );
    // It stays so.
    for (status, caller) in [(401, &thief), (403, &with_a_new_token)] {
        let (found, answer) = http::answer(caller.request(&verifier.url, &call(), now())).await;
        assert_eq!(found, status, "{answer}");
    }
}
