//! Refusals: in the body of the binding and the dialect in which the call came.

use super::Speech;
use crate::{AUTHOR, agent, hydra};
use bindu_testkit::{
    caller::{TestCaller, now},
    http,
};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_let_in_is_told_in_its_own_form() {
    let disk = tempfile::tempdir().unwrap();
    let agent =
        agent(disk.path()).named(AUTHOR, "Refuses").set_all(hydra().await.environment()).start().await;
    for speech in Speech::ALL {
        let request = speech.request(&agent.url, "tasks/get", &speech.of_task("x"));
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 401);
        assert!(response.headers().contains_key("www-authenticate"));
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        let code = if speech == Speech::Bindu { -32009 } else { -32000 };
        assert_eq!((&answer["jsonrpc"], &answer["error"]["code"]), (&json!("2.0"), &json!(code)), "{answer}");
        let reason = &answer["error"]["data"][0]["reason"];
        assert_eq!(reason == "NO_TOKEN", speech != Speech::Bindu, "{answer}");
    }
    let (status, answer) = http::answer(http::client().get(format!("{}/tasks", agent.url))).await;
    assert_eq!((status, &answer["error"]["status"]), (401, &json!("UNAUTHENTICATED")), "{answer}");
    assert_eq!(answer["error"]["details"][0]["reason"], "NO_TOKEN");
    // Whose signature is missing has said in its body how it calls.
    let caller = TestCaller::new(hydra().await, "did:bindu:refusals:caller:1").await;
    for speech in Speech::ALL {
        let unsigned = speech.request(&agent.url, "tasks/get", &speech.of_task("x"));
        let (status, answer) = http::answer(unsigned.bearer_auth(&caller.token)).await;
        assert_eq!(status, 403);
        match speech {
            Speech::Bindu => assert_eq!(answer["details"]["reason"], "missing_signature_headers"),
            Speech::V1 | Speech::V03 => assert_eq!(
                (&answer["id"], &answer["error"]["data"][0]["reason"]),
                (&json!("call-1"), &json!("MISSING_SIGNATURE_HEADERS"))
            ),
        }
    }
}

/// The permissions are the same whatever the dialect and the binding.
#[tokio::test(flavor = "multi_thread")]
async fn scopes_are_asked_for_in_every_dialect() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Scoped").set_all(hydra().await.environment());
    let agent = setup
        .set("AUTH__REQUIRE_PERMISSIONS", "true")
        .set("AUTH__PERMISSIONS", r#"{"tasks/get": ["special"]}"#)
        .start()
        .await;
    let mut caller = TestCaller::new(hydra().await, "bindings-scopes").await;
    caller.token = caller.new_token(hydra().await, "agent:read").await;
    for speech in Speech::ALL {
        for (method, params, scope) in [
            ("tasks/get", speech.of_task("x"), "special"),
            ("tasks/resubscribe", speech.of_task("x"), "special"),
            ("message/send", speech.saying("x"), "agent:write"),
            ("message/stream", speech.saying("x"), "agent:write"),
        ] {
            let request = speech.request(&agent.url, method, &params).bearer_auth(&caller.token);
            let (status, answer) = http::answer(request).await;
            let message = answer["error"]["message"].as_str().unwrap_or_default();
            assert!(status == 403 && message.ends_with(scope), "{speech:?} {method}: {status} {answer}");
        }
    }
    let rest = |method: reqwest::Method, path: &str, body: &Value| {
        let request =
            http::client().request(method, format!("{}{path}", agent.url)).bearer_auth(&caller.token);
        http::answer(request.body(body.to_string()))
    };
    for (method, path, scope) in [
        (reqwest::Method::GET, "/tasks/x", "special"),
        (reqwest::Method::POST, "/tasks/x:subscribe", "special"),
        (reqwest::Method::POST, "/message:send", "agent:write"),
        (reqwest::Method::POST, "/tasks/x:cancel", "agent:write"),
    ] {
        let body = if path == "/message:send" { Speech::V1.saying("x") } else { json!({}) };
        let (status, answer) = rest(method, path, &body).await;
        assert_eq!(
            (status, &answer["error"]["status"]),
            (403, &json!("PERMISSION_DENIED")),
            "{path}: {answer}"
        );
        assert!(answer["error"]["message"].as_str().unwrap_or_default().ends_with(scope), "{path}: {answer}");
    }
    let listed = rest(reqwest::Method::GET, "/tasks", &json!({})).await;
    assert_eq!(listed.0, 200, "{}", listed.1);
}

/// A REST call's path says what is changed, and Bindu's signature does not cover it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_rest_call_changes_is_signed_by_rfc_9421() {
    let disk = tempfile::tempdir().unwrap();
    let agent =
        agent(disk.path()).named(AUTHOR, "Signed Rest").set_all(hydra().await.environment()).start().await;
    let caller = TestCaller::new(hydra().await, "did:bindu:rest:caller:1").await;
    crate::signatures::past_the_start(&agent.url, &caller).await;
    let url = format!("{}/message:send", agent.url);
    let body = Speech::V1.saying("signed");
    let (status, answer) = http::answer(caller.request(&url, &body, now())).await;
    assert_eq!(
        (status, &answer["error"]["details"][0]["reason"]),
        (403, &json!("SIGNATURE_COVERS_TOO_LITTLE"))
    );
    let (status, answer) = http::answer(caller.message(&url, &body, "nonce-1")).await;
    assert_eq!(
        (status, &answer["task"]["status"]["state"]),
        (200, &json!("TASK_STATE_COMPLETED")),
        "{answer}"
    );
    // The same once more runs nothing.
    let id = answer["task"]["id"].clone();
    let listed = caller.request(&format!("{}/tasks", agent.url), &Value::Null, now()).build().unwrap();
    assert_eq!(listed.method(), "POST", "the caller of the tests only posts");
    let (_, tasks) = caller.send(&agent.url, &http::call("tasks/list", &json!({}))).await;
    assert_eq!(
        tasks["result"].as_array().map(|tasks| tasks.iter().map(|task| task["id"].clone()).collect()),
        Some(vec![id])
    );
}
