//! With AUTH__ENABLED nobody gets in unchecked: real tokens of a real Hydra, real signatures.

use crate::{AUTHOR, agent, hydra};
use bindu_identity::SigningKey;
use bindu_testkit::{
    AgentProcess,
    caller::{TestCaller, now},
    http::{self, call, message},
    proxy::{Fault, Proxy},
};
use serde_json::json;

pub(crate) async fn guarded(directory: &std::path::Path, name: &str) -> AgentProcess {
    agent(directory).named(AUTHOR, name).set_all(hydra().await.environment()).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_call_with_a_live_token_gets_in() {
    let disk = tempfile::tempdir().unwrap();
    let agent = guarded(disk.path(), "Guarded").await;
    let alice = TestCaller::new(hydra().await, "did:bindu:alice:caller:1").await;
    let (status, sent) = alice.send(&agent.url, &message("t1", "hello")).await;
    assert_eq!((status, &sent["result"]["id"]), (200, &json!("t1")), "{sent}");
    let service = TestCaller::new(hydra().await, "a-service").await;
    let (status, list) = service.send(&agent.url, &call("tasks/list", &json!({}))).await;
    assert_eq!((status, &list["result"]), (200, &json!([])), "another caller's task is not there");
    let (_, read) = alice.send(&agent.url, &call("tasks/get", &json!({"taskId": "t1"}))).await;
    assert_eq!(read["result"]["id"], "t1");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_else_is_401_or_403() {
    let disk = tempfile::tempdir().unwrap();
    let agent = guarded(disk.path(), "Guarded Too").await;
    let bob = TestCaller::new(hydra().await, "did:bindu:bob:caller:1").await;
    let body = call("tasks/list", &json!({}));
    let bare = |token: Option<&str>| {
        let request = http::client().post(&agent.url).body(body.to_string());
        match token {
            Some(token) => request.header("Authorization", token),
            None => request,
        }
    };
    for token in
        [None, Some("Basic abc"), Some("Bearer "), Some("Bearer nonsense"), Some("Bearer ory_at_no.no")]
    {
        let response = bare(token).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 401, "{token:?}");
        assert!(response.headers().contains_key("www-authenticate"), "{token:?}");
    }
    let in_the_url =
        http::client().post(format!("{}/?token={}", agent.url, bob.token)).body(body.to_string());
    assert_eq!(http::answer(in_the_url).await.0, 401);

    let bearer = format!("Bearer {}", bob.token);
    let (status, answer) = http::answer(bare(Some(&bearer))).await;
    assert_eq!((status, &answer["details"]["reason"]), (403, &json!("missing_signature_headers")));
    let pretend = |id: &str, key: SigningKey| TestCaller { id: id.to_owned(), key, token: bob.token.clone() };
    let mallory = pretend(&bob.id, SigningKey::from_seed(&[9; 32]));
    let namesake = pretend("did:bindu:alice:caller:1", SigningKey::from_seed(&[3; 32]));
    let cases = [
        (mallory.request(&agent.url, &body, now()), "invalid_signature"),
        (namesake.request(&agent.url, &body, now()), "did_mismatch"),
        (bob.request(&agent.url, &body, now() - 400), "timestamp_out_of_window"),
        (bob.request(&agent.url, &body, now() + 400), "timestamp_out_of_window"),
        (bob.request(&agent.url, &body, now()).body("{}"), "invalid_signature"),
        (bob.request(&agent.url, &body, now()).body(vec![0xff, 0xfe]), "invalid_signature"),
    ];
    for (request, reason) in cases {
        let (status, answer) = http::answer(request).await;
        assert_eq!((status, &answer["details"]["reason"]), (403, &json!(reason)), "{answer}");
    }
    let short = bare(Some(&bearer))
        .header("X-DID", &bob.id)
        .header("X-DID-Timestamp", now().to_string())
        .header("X-DID-Signature", "abc");
    assert_eq!(http::answer(short).await.1["details"]["reason"], "malformed_signature");
    for path in ["/.well-known/agent.json", "/health", "/livez", "/readyz", "/metrics", "/agent/skills"] {
        assert_eq!(http::get(&format!("{}{path}", agent.url)).await.0, 200, "{path} is public");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hydra_in_trouble_is_503_and_never_401() {
    let disk = tempfile::tempdir().unwrap();
    let admin = Proxy::start(&hydra().await.admin_url).await;
    let setup = agent(disk.path()).named(AUTHOR, "Guarded Still").set_all(hydra().await.environment());
    let agent = setup.set("HYDRA__ADMIN_URL", &admin.url).set("HYDRA__TIMEOUT", "1").start().await;
    let known = TestCaller::new(hydra().await, "did:bindu:carol:caller:1").await;
    let stranger = TestCaller::new(hydra().await, "did:bindu:dave:caller:1").await;
    let body = call("tasks/list", &json!({}));
    assert_eq!(known.send(&agent.url, &body).await.0, 200);
    // With its database down Hydra calls every token inactive, and itself not ready.
    admin.script(|seen, _| match seen.path.as_str() {
        "/admin/oauth2/introspect" => Fault::Answer(200, "application/json", "{\"active\":false}"),
        _ => Fault::Answer(503, "application/json", "{\"error\":\"error\"}"),
    });
    assert_eq!(stranger.send(&agent.url, &body).await.0, 503);
    for fault in [
        Fault::Hang,
        Fault::Cut,
        Fault::Answer(200, "text/html", "<html></html>"),
        Fault::Answer(404, "text/html", ""),
    ] {
        let script = fault.clone();
        admin.script(move |_, _| script.clone());
        let response = stranger.request(&agent.url, &body, now()).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 503, "{fault:?}");
        assert!(response.headers().contains_key("retry-after"), "{fault:?}");
        assert_eq!(known.send(&agent.url, &body).await.0, 200, "{fault:?}: who is known does not notice");
    }
    admin.script(|_, _| Fault::None);
    assert_eq!(stranger.send(&agent.url, &body).await.0, 200);
}
