//! Signatures: the caller's key changes, a request comes again, and an HTTP message signature counts by its own key.

use crate::{AUTHOR, agent, authentication::guarded, hydra};
use bindu_identity::{SigningKey, text_signature};
use bindu_testkit::{
    caller::{TestCaller, now},
    http::{self, call, eventually, message},
    proxy::{Fault, Proxy},
};
use serde_json::{Value, json};

fn list() -> Value {
    call("tasks/list", &json!({}))
}

/// Waits until a mutation can be signed that no earlier life of the agent may have run.
pub(crate) async fn past_the_start(agent_url: &str, caller: &TestCaller) {
    let cancel = call("tasks/cancel", &json!({"taskId": "none"}));
    let (status, answer) = caller.send(agent_url, &cancel).await;
    assert_eq!((status, &answer["error"]["code"]), (200, &json!(-32001)), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_key_rotation_counts_at_once() {
    let disk = tempfile::tempdir().unwrap();
    let agent = guarded(disk.path(), "Rotations").await;
    let mut caller = TestCaller::new(hydra().await, "did:bindu:rotating:caller:1").await;
    assert_eq!(caller.send(&agent.url, &list()).await.0, 200);
    let old = std::mem::replace(&mut caller.key, SigningKey::generate().unwrap());
    let key = caller.key.public_key().to_string();
    let patch = json!([{"op": "replace", "path": "/metadata/public_key", "value": key}]);
    hydra().await.patch(&caller.id, &patch).await;
    // A key that was asked for just now is not asked for again: at most once in five seconds.
    eventually("the new key counts", async || {
        (caller.send(&agent.url, &list()).await.0 == 200).then_some(())
    })
    .await;
    let stale = TestCaller { key: old, id: caller.id.clone(), token: caller.token.clone() };
    let (status, answer) = stale.send(&agent.url, &list()).await;
    assert_eq!((status, &answer["details"]["reason"]), (403, &json!("invalid_signature")));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_signatures_do_not_hammer_hydra() {
    let disk = tempfile::tempdir().unwrap();
    let admin = Proxy::start(&hydra().await.admin_url).await;
    let setup = agent(disk.path()).named(AUTHOR, "Hammered").set_all(hydra().await.environment());
    let agent = setup.set("HYDRA__ADMIN_URL", &admin.url).start().await;
    let caller = TestCaller::new(hydra().await, "did:bindu:hammer:caller:1").await;
    assert_eq!(caller.send(&agent.url, &list()).await.0, 200);
    http::healthy(&agent.url).await;
    let _ = admin.take_seen();
    let forger = TestCaller {
        key: SigningKey::generate().unwrap(),
        id: caller.id.clone(),
        token: caller.token.clone(),
    };
    for _ in 0..50 {
        assert_eq!(forger.send(&agent.url, &list()).await.0, 403);
    }
    let asked = admin.take_seen().iter().filter(|seen| seen.path.contains("hammer")).count();
    assert!(asked <= 1, "{asked} questions about one key");
    // During an outage the key that is known goes on counting.
    admin.script(|_, _| Fault::Drop);
    assert_eq!(caller.send(&agent.url, &list()).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_request_runs_once() {
    let disk = tempfile::tempdir().unwrap();
    let agent = guarded(disk.path(), "Runs Once").await;
    let caller = TestCaller::new(hydra().await, "did:bindu:replays:caller:1").await;
    past_the_start(&agent.url, &caller).await;
    // Without ids of its own each run would make another task.
    let anonymous = call(
        "message/send",
        &json!({"message": {"role": "user", "parts": [{"kind": "text", "text": "hi"}]}}),
    );
    let at = now();
    let repeats = (0..20).map(|_| http::answer(caller.request(&agent.url, &anonymous, at)));
    let answers = futures_util::future::join_all(repeats).await;
    let first = &answers[0].1["result"]["id"];
    assert!(first.is_string(), "{answers:?}");
    assert!(
        answers.iter().all(|(status, answer)| *status == 200 && answer["result"]["id"] == *first),
        "{answers:?}"
    );
    let (_, tasks) = caller.send(&agent.url, &list()).await;
    assert_eq!(tasks["result"].as_array().unwrap().len(), 1, "one task of all of them");
    // Signed anew it is another request, by its message's id it is the same.
    let named = message("named", "hi");
    for _ in 0..3 {
        assert_eq!(caller.send(&agent.url, &named).await.1["result"]["id"], "named");
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    }
    let renamed =
        call("message/send", &json!({"message": {"messageId": "named", "role": "user", "parts": []}}));
    let (status, answer) = caller.send(&agent.url, &renamed).await;
    assert_eq!(status, 200);
    assert_ne!(answer["result"]["id"], "named", "an id alone does not make another message the same");
    // Reads may be repeated.
    for _ in 0..3 {
        assert_eq!(http::answer(caller.request(&agent.url, &list(), at)).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_life_may_have_run_is_not_run_again() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Two Lives").set_all(hydra().await.environment());
    // A store that lasts remembers what ran.
    let setup = setup.set("STORAGE_TYPE", "memory");
    let first = setup.start().await;
    let caller = TestCaller::new(hydra().await, "did:bindu:lives:caller:1").await;
    past_the_start(&first.url, &caller).await;
    let (at, body) = (now(), message("once", "hi"));
    assert_eq!(http::answer(caller.request(&first.url, &body, at)).await.0, 200);
    first.kill();
    let second = setup.start().await;
    let response = caller.request(&second.url, &body, at).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 403);
    assert_eq!(response.headers()["retry-after"], "1");
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(answer["details"]["reason"], "timestamp_before_start");
    assert_eq!(http::answer(caller.request(&second.url, &list(), at)).await.0, 200, "a read runs");
    assert_eq!(caller.send(&second.url, &body).await.0, 200, "signed anew it runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quota_is_429() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Quota").set_all(hydra().await.environment());
    let agent = setup.set("AUTH__REPLAY_QUOTA", "3").start().await;
    let caller = TestCaller::new(hydra().await, "did:bindu:quota:caller:1").await;
    for number in 0..3 {
        assert_eq!(caller.send(&agent.url, &message(&format!("q{number}"), "hi")).await.0, 200);
    }
    let response = caller.request(&agent.url, &message("q3", "hi"), now()).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 429);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(caller.send(&agent.url, &list()).await.0, 200, "reads are not remembered");
    let other = TestCaller::new(hydra().await, "did:bindu:quota:caller:2").await;
    assert_eq!(other.send(&agent.url, &message("q3", "hi")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_message_signatures_count_by_the_second_key() {
    let disk = tempfile::tempdir().unwrap();
    let agent = guarded(disk.path(), "Messages").await;
    let caller = TestCaller::new(hydra().await, "did:bindu:messages:caller:1").await;
    past_the_start(&agent.url, &caller).await;
    let root = format!("{}/", agent.url);
    let (status, answer) = http::answer(caller.message(&root, &message("m1", "hi"), "nonce-1")).await;
    assert_eq!((status, &answer["result"]["id"]), (200, &json!("m1")), "{answer}");
    let reason = async |request: reqwest::RequestBuilder| {
        let (status, answer) = http::answer(request).await;
        assert_eq!(status, 403, "{answer}");
        answer["details"]["reason"].as_str().unwrap_or_default().to_owned()
    };
    let other_body = caller.message(&root, &list(), "nonce-2").body(message("m2", "hi").to_string());
    assert_eq!(reason(other_body).await, "invalid_signature");
    let elsewhere = caller.message("http://elsewhere.example/", &list(), "nonce-3").build().unwrap();
    let mut redirected = http::client().post(&root).body(list().to_string());
    for (name, value) in elsewhere.headers() {
        redirected = redirected.header(name, value);
    }
    assert_eq!(reason(redirected).await, "invalid_signature", "signed for another agent");
    let no_key = TestCaller {
        key: SigningKey::generate().unwrap(),
        id: caller.id.clone(),
        token: caller.token.clone(),
    };
    assert_eq!(reason(no_key.message(&root, &list(), "nonce-4")).await, "invalid_signature");
    // A second signature takes nothing away from the need of the first one to be right.
    let both = caller.message(&root, &list(), "nonce-5").header("Signature-Input", "sig2=()");
    assert_eq!(reason(both).await, "malformed_signature");
}

/// DESIGN, "one seed, separate keys": an echo agent signs whatever it is told, with its first key.
#[tokio::test(flavor = "multi_thread")]
async fn an_echo_cannot_be_made_to_sign_for_its_caller() {
    let disk = tempfile::tempdir().unwrap();
    let agent = guarded(disk.path(), "Signs Nothing").await;
    let caller = TestCaller::new(hydra().await, "did:bindu:echo:caller:1").await;
    let good = caller.message(&format!("{}/", agent.url), &list(), "n").build().unwrap();
    let header = |name: &str| good.headers()[name].to_str().unwrap().to_owned();
    let parameters = header("signature-input").trim_start_matches("sig1=").to_owned();
    let base = format!(
        "\"@method\": POST\n\"@authority\": {}\n\"@path\": /\n\"content-digest\": {}\n\"@signature-params\": {parameters}",
        agent.url.trim_start_matches("http://"),
        header("content-digest"),
    );
    // What an echo agent of this caller's key says to whoever asks.
    let echoed = text_signature::sign(&caller.key, &base).unwrap();
    let forged = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, echoed.to_bytes());
    let request = http::client()
        .post(format!("{}/", agent.url))
        .bearer_auth(&caller.token)
        .header("Content-Digest", header("content-digest"))
        .header("Signature-Input", header("signature-input"))
        .header("Signature", format!("sig1=:{forged}:"))
        .body(list().to_string());
    let (status, answer) = http::answer(request).await;
    assert_eq!((status, &answer["details"]["reason"]), (403, &json!("invalid_signature")), "{answer}");
}

/// Whoever reaches Hydra's admin port could put in a second key of their own, and sign HTTP messages as us.
#[tokio::test(flavor = "multi_thread")]
async fn our_second_key_is_put_back_and_told() {
    let disk = tempfile::tempdir().unwrap();
    let names = crate::names("Second Key");
    let setup = agent(disk.path()).named(AUTHOR, &names.name).set_all(hydra().await.environment());
    let agent = setup.set("BINDU_RECONCILE_INTERVAL", "1s").set("LOG_FORMAT", "json").start().await;
    http::healthy(&agent.url).await;
    let named =
        async || hydra().await.client(&names.did).await.unwrap()["metadata"]["derived_public_key"].clone();
    let ours = named().await;
    let (_, document) = http::get(&format!("{}/.well-known/jwks.json", agent.url)).await;
    assert_eq!(document["keys"][0]["kid"], json!(format!("{}#key-2", names.did)));
    let other = SigningKey::generate().unwrap().public_key().to_string();
    let patch = json!([{"op": "replace", "path": "/metadata/derived_public_key", "value": other}]);
    hydra().await.patch(&names.did, &patch).await;
    eventually("it is put back", async || (named().await == ours).then_some(())).await;
    let audit = |what: &str| {
        let log = agent.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.any(|line| line["target"] == "audit" && line["who"] == json!(names.did) && line["what"] == what)
    };
    for what in [
        "has its key",
        "wrote the client's credentials",
        "registered the client in Hydra",
        "repaired the client in Hydra",
    ] {
        eventually(what, async || audit(what).then_some(())).await;
    }
}
