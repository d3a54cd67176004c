//! JSON-RPC: one URL, three dialects.

use super::{Speech, slow};
use crate::agent;
use bindu_testkit::http;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn one_url_speaks_three_dialects() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).start().await;
    for speech in Speech::ALL {
        let (status, sent) = speech.call(&agent.url, "message/send", &speech.saying("hello")).await;
        assert_eq!((status, &sent["id"]), (200, &json!("call-1")), "{sent}");
        let task = if speech == Speech::V1 { &sent["result"]["task"] } else { &sent["result"] };
        let id = task["id"].as_str().unwrap_or_else(|| panic!("{speech:?}: {sent}"));
        let task = speech.ended(&agent.url, id).await;
        assert_eq!(speech.state(&task), speech.named("completed"));
        let part = &task["artifacts"][0]["parts"][0];
        assert_eq!(part["text"], "hello");
        let (artifact, context) = match speech {
            Speech::V1 | Speech::V03 => ("artifactId", "contextId"),
            Speech::Bindu => ("artifact_id", "context_id"),
        };
        assert!(task["artifacts"][0][artifact].is_string() && task[context].is_string(), "{task}");
        assert_eq!(task.get("kind").is_some(), speech != Speech::V1, "1.0 has no `kind`");
        // Another dialect's caller reads the same task.
        for other in Speech::ALL {
            let (_, read) = other.call(&agent.url, "tasks/get", &other.of_task(id)).await;
            assert_eq!(other.state(&read["result"]), other.named("completed"), "{other:?}");
        }
        let (_, again) = speech.call(&agent.url, "tasks/cancel", &speech.of_task(id)).await;
        assert_eq!(again["error"]["code"], -32002, "{speech:?}: {again}");
        let (status, missing) = speech.call(&agent.url, "tasks/get", &speech.of_task("no-such-task")).await;
        assert_eq!((status, &missing["error"]["code"]), (200, &json!(-32001)), "{missing}");
        assert_eq!(missing["id"], "call-1");
        let is_typed = missing["error"]["data"][0]["reason"] == "TASK_NOT_FOUND";
        assert_eq!(is_typed, speech != Speech::Bindu, "{missing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_negotiated_and_named() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).start().await;
    let send = |method: &str, version: Option<&str>, query: &str| {
        let params = if method == "SendMessage" { Speech::V1 } else { Speech::V03 }.saying("x");
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let request = http::client().post(format!("{}/{query}", agent.url)).body(body.to_string());
        let request =
            version.map_or(request.try_clone().unwrap(), |version| request.header("a2a-version", version));
        async move {
            let response = request.send().await.unwrap();
            let named = response.headers().get("a2a-version").map(|value| value.to_str().unwrap().to_owned());
            let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
            (named, answer["error"]["code"].as_i64(), answer)
        }
    };
    for (method, version, query, named) in [
        ("SendMessage", None, "", Some("1.0")),
        ("SendMessage", Some("1.0"), "", Some("1.0")),
        ("SendMessage", Some("1.0.1"), "", Some("1.0")),
        ("SendMessage", None, "?A2A-Version=1.0", Some("1.0")),
        ("message/send", Some("0.3"), "", Some("0.3")),
        ("message/send", None, "?A2A-Version=0.3", Some("0.3")),
        ("message/send", None, "", None),
    ] {
        let (got, code, answer) = send(method, version, query).await;
        assert_eq!((got.as_deref(), code), (named, None), "{method} {version:?} {query}: {answer}");
    }
    for (method, version, query) in [
        ("SendMessage", Some("2.0"), ""),
        ("message/send", Some("2.0"), ""),
        ("SendMessage", None, "?A2A-Version=9.9"),
    ] {
        let (_, code, answer) = send(method, version, query).await;
        assert_eq!(code, Some(-32009), "{method} {version:?} {query}: {answer}");
        assert_eq!(answer["error"]["data"][0]["reason"], "VERSION_NOT_SUPPORTED");
    }
    // A version that is spoken, and a method that it does not have.
    for (method, version) in [("SendMessage", "0.3"), ("message/send", "1.0"), ("nothing", "1.0")] {
        let (_, code, answer) = send(method, Some(version), "").await;
        assert_eq!(code, Some(-32601), "{method} {version}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_for_its_task_unless_it_is_told_not_to() {
    let disk = tempfile::tempdir().unwrap();
    let command = slow(disk.path(), 0.5);
    let agent = agent(disk.path()).argument("--command").argument(&command).start().await;
    for (return_immediately, states) in
        [(false, &["TASK_STATE_COMPLETED"][..]), (true, &["TASK_STATE_SUBMITTED", "TASK_STATE_WORKING"])]
    {
        let mut params = Speech::V1.saying("x");
        params["configuration"] = json!({"returnImmediately": return_immediately});
        let (_, sent) = Speech::V1.call(&agent.url, "message/send", &params).await;
        let state = sent["result"]["task"]["status"]["state"].as_str().unwrap_or_default();
        assert!(states.contains(&state), "{sent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn extensions_that_are_known_are_activated_and_named() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).start().await;
    let known = "urn:bindu:a2a:extension:artifact-signature:v1";
    for speech in [Speech::V1, Speech::V03] {
        for (declared, activated) in
            [(format!("urn:unknown, {known}"), Some(known)), ("urn:unknown".to_owned(), None)]
        {
            let request = speech.request(&agent.url, "message/send", &speech.saying("x"));
            let response = request.header("A2A-Extensions", &declared).send().await.unwrap();
            assert_eq!(response.status().as_u16(), 200, "an unknown extension is ignored");
            let named = response.headers().get("a2a-extensions").map(|value| value.to_str().unwrap());
            assert_eq!(named, activated, "{declared}");
        }
    }
}
