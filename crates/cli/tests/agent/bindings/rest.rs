//! HTTP+JSON.

use super::{Speech, Sse};
use crate::agent;
use bindu_testkit::http;
use reqwest::Method;
use serde_json::{Value, json};

const A2A: &str = "application/a2a+json";

#[tokio::test(flavor = "multi_thread")]
async fn the_routes_of_http_json_do_what_json_rpc_does() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).start().await;
    let ask = async |method: Method, path: &str, body: Option<Value>| {
        let mut request = http::client().request(method, format!("{}{path}", agent.url));
        if let Some(body) = body {
            request = request.header("content-type", A2A).body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let (status, kind) = (response.status().as_u16(), response.headers()["content-type"].clone());
        assert_eq!(response.headers()["a2a-version"], "1.0");
        let text = response.text().await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"));
        (status, kind.to_str().unwrap().to_owned(), answer)
    };
    let (status, kind, sent) = ask(Method::POST, "/message:send", Some(Speech::V1.saying("hello"))).await;
    assert_eq!((status, kind.as_str()), (200, A2A), "{sent}");
    assert_eq!(sent["task"]["status"]["state"], "TASK_STATE_COMPLETED", "{sent}");
    let id = sent["task"]["id"].as_str().expect("an id");
    for path in [format!("/tasks/{id}"), format!("/a-tenant/tasks/{id}?historyLength=1")] {
        let (status, kind, task) = ask(Method::GET, &path, None).await;
        assert_eq!((status, kind.as_str(), &task["id"]), (200, "application/json", &json!(id)), "{task}");
    }
    let (status, _, page) = ask(Method::GET, "/tasks?pageSize=1&includeArtifacts=true", None).await;
    assert_eq!((status, &page["tasks"][0]["id"], &page["totalSize"]), (200, &json!(id), &json!(1)), "{page}");
    assert_eq!(page["nextPageToken"], "");
    let (status, _, error) = ask(Method::POST, &format!("/tasks/{id}:cancel"), Some(json!({}))).await;
    assert_eq!((status, &error["error"]["status"]), (400, &json!("FAILED_PRECONDITION")), "{error}");
    assert_eq!(error["error"]["details"][0]["reason"], "TASK_NOT_CANCELABLE");
    for (method, path, status, reason) in [
        (Method::GET, "/tasks/nothing", 404, "TASK_NOT_FOUND"),
        (Method::GET, "/extendedAgentCard", 400, "UNSUPPORTED_OPERATION"),
        (Method::GET, "/tasks?pageSize=1000", 400, "INVALID_PARAMS"),
        (Method::GET, "/tasks?A2A-Version=7.0", 400, "VERSION_NOT_SUPPORTED"),
    ] {
        let (got, _, error) = ask(method, path, None).await;
        assert_eq!(
            (got, &error["error"]["details"][0]["reason"]),
            (status, &json!(reason)),
            "{path}: {error}"
        );
        assert_eq!(error["error"]["code"], status);
    }
    let (status, _) = http::get(&format!("{}/nowhere", agent.url)).await;
    assert_eq!(status, 404);
    for (method, path, allowed) in
        [(Method::PUT, "/tasks", "GET, HEAD"), (Method::GET, "/message:send", "POST")]
    {
        let request = http::client().request(method, format!("{}{path}", agent.url));
        let response = request.send().await.expect("an answer");
        let allow = response.headers().get("allow").and_then(|value| value.to_str().ok().map(str::to_owned));
        assert_eq!((response.status().as_u16(), allow.as_deref()), (405, Some(allowed)));
    }
    let head = http::client().head(format!("{}/tasks/{id}", agent.url)).send().await.expect("an answer");
    assert_eq!(head.status(), 200, "as GET, without the body");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_bare_events() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).start().await;
    let request = http::client().post(format!("{}/message:stream", agent.url));
    let stream = Sse::all(request.body(Speech::V1.saying("hello").to_string())).await;
    let first = &stream.events[0].data;
    assert!(first["task"]["id"].is_string(), "{first}");
    let last = &stream.events.last().expect("more than one").data;
    assert_eq!(last["statusUpdate"]["status"]["state"], "TASK_STATE_COMPLETED", "{last}");
}
