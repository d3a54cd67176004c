//! What callers may do: who is admitted, which scopes, which audience, how often.

use crate::{AUTHOR, agent, hydra};
use bindu_testkit::{
    AgentSetup,
    caller::{TestCaller, now},
    http::{call, eventually, message},
};
use serde_json::{Value, json};
use std::path::Path;

fn list() -> Value {
    call("tasks/list", &json!({}))
}

async fn setup(directory: &Path, name: &str) -> AgentSetup {
    agent(directory).named(AUTHOR, name).set_all(hydra().await.environment())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_dids_works_and_is_exact() {
    let disk = tempfile::tempdir().unwrap();
    let listed = "did:bindu:listed:permits:1";
    let allowed = json!([listed]).to_string();
    let agent = setup(disk.path(), "Listed").await.set("AUTH__ALLOWED_DIDS", allowed).start().await;
    assert_eq!(TestCaller::new(hydra().await, listed).await.send(&agent.url, &list()).await.0, 200);
    for other in
        ["did:bindu:listed:permits:12", "did:bindu:listed:permits:", "xdid:bindu:listed:permits:1", "permits"]
    {
        let (status, answer) = TestCaller::new(hydra().await, other).await.send(&agent.url, &list()).await;
        assert_eq!((status, &answer["error"]), (403, &json!("DID not admitted")), "{other}");
        // What it has logged arrives a moment later.
        let who = format!("who=\"{other}\"");
        eventually("the log says who", async || {
            let log = agent.log();
            (log.contains(&who) || log.contains(&format!("\"who\":\"{other}\""))).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_need_their_scopes() {
    let disk = tempfile::tempdir().unwrap();
    let agent = setup(disk.path(), "Scopes").await.set("AUTH__REQUIRE_PERMISSIONS", "true").start().await;
    let mut caller = TestCaller::new(hydra().await, "permits-scopes").await;
    caller.token = caller.new_token(hydra().await, "agent:read").await;
    assert_eq!(caller.send(&agent.url, &list()).await.0, 200);
    let response = caller.request(&agent.url, &message("t", "hi"), now()).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 403);
    let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.contains("insufficient_scope") && challenge.contains("agent:write"), "{challenge}");
    caller.token = caller.new_token(hydra().await, "agent:write").await;
    assert_eq!(caller.send(&agent.url, &message("t", "hi")).await.0, 200);
    let (status, answer) = caller.send(&agent.url, &list()).await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!(-32013)), "writing is not reading");
    caller.token = caller.new_token(hydra().await, "openid").await;
    assert_eq!(caller.send(&agent.url, &list()).await.0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audience_can_be_asked_for() {
    let disk = tempfile::tempdir().unwrap();
    let agent = setup(disk.path(), "Audience").await.set("AUTH__AUDIENCE", "an-agent").start().await;
    let mut caller = TestCaller::new(hydra().await, "permits-audience").await;
    assert_eq!(caller.send(&agent.url, &list()).await.0, 401, "a token for nobody in particular");
    let fields = [("scope", "agent:read"), ("audience", "an-agent")];
    caller.token = TestCaller::token_of(hydra().await, &caller.id, &fields).await;
    assert_eq!(caller.send(&agent.url, &list()).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_is_each_callers_own() {
    let disk = tempfile::tempdir().unwrap();
    let agent = setup(disk.path(), "Rates").await.set("AUTH__RATE_LIMIT", "5/m").start().await;
    let (one, other) = (
        TestCaller::new(hydra().await, "permits-rate-1").await,
        TestCaller::new(hydra().await, "permits-rate-2").await,
    );
    for _ in 0..5 {
        assert_eq!(one.send(&agent.url, &list()).await.0, 200);
    }
    let response = one.request(&agent.url, &list(), now()).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 429);
    let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=13).contains(&wait), "{wait}");
    assert_eq!(other.send(&agent.url, &list()).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_callers_task_is_not_there_for_any_operation() {
    let disk = tempfile::tempdir().unwrap();
    let agent = setup(disk.path(), "Owners").await.start().await;
    let ids = ["did:bindu:owner:permits:1", "did:bindu:owner:permits:2", "permits-owner"];
    let mut callers = Vec::new();
    for id in ids {
        callers.push(TestCaller::new(hydra().await, id).await);
    }
    for (number, caller) in callers.iter().enumerate() {
        assert_eq!(caller.send(&agent.url, &message(&format!("own-{number}"), "secret")).await.0, 200);
    }
    for (number, caller) in callers.iter().enumerate() {
        for other in (0..callers.len()).filter(|other| *other != number) {
            for method in ["tasks/get", "tasks/cancel"] {
                let foreign = call(method, &json!({"taskId": format!("own-{other}")}));
                let nobodys = call(method, &json!({"taskId": "own-nobody"}));
                let (foreign, nobodys) =
                    (caller.send(&agent.url, &foreign).await, caller.send(&agent.url, &nobodys).await);
                assert_eq!(foreign, nobodys, "{method}: not to be told from one that was never there");
                assert_eq!(foreign.1["error"]["code"], -32001);
            }
        }
        let (_, tasks) = caller.send(&agent.url, &list()).await;
        let tasks: Vec<&Value> = tasks["result"].as_array().unwrap().iter().map(|task| &task["id"]).collect();
        assert_eq!(tasks, [&json!(format!("own-{number}"))]);
    }
}

#[test]
fn settings_that_would_do_nothing_or_lock_everybody_out_are_refused() {
    let disk = tempfile::tempdir().unwrap();
    for (name, value, word) in [
        ("AUTH__ALLOWED_DIDS", "[\"did:bindu:a:b\"]", "has no effect without authentication"),
        ("AUTH__REQUIRE_PERMISSIONS", "true", "has no effect without authentication"),
        ("AUTH__RATE_LIMIT", "100", "a rate"),
        ("AUTH__JWT", "maybe", "introspect"),
        ("AUTH__PINNED_KEYS", "{\"did:bindu:a:b\": \"0OIl\"}", "base58"),
        ("BINDU_MAX_BODY", "2 elephants", "bytes"),
        ("BINDU_CORS_ORIGINS", "[\"*\"]", "origins"),
    ] {
        let output = agent(disk.path()).set(name, value).output();
        crate::assert_refused(output, 64, &[word]);
    }
    for empty in ["[]", "[\"\"]", "[\"did:bindu:*\"]"] {
        let output = agent(disk.path())
            .named(AUTHOR, "x")
            .set_all(
                [
                    ("AUTH__ENABLED", "true"),
                    ("HYDRA__ADMIN_URL", "http://127.0.0.1:1"),
                    ("HYDRA__PUBLIC_URL", "http://127.0.0.1:1"),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
            )
            .set("AUTH__ALLOWED_DIDS", empty)
            .output();
        crate::assert_refused(output, 64, &["auth.allowed_dids"]);
    }
}
