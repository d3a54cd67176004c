//! A small HTTP client for tests.

use serde_json::{Value, json};
use std::{
    sync::Once,
    time::{Duration, Instant},
};

/// How long one thing to happen may take: a busy machine is slow, not broken. Who waits for something that comes waits no
/// longer than it takes, so this may be as long as it likes.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A client. Installs the TLS provider that reqwest asks for, though nothing here speaks TLS.
#[must_use]
pub fn client() -> reqwest::Client {
    client_with([])
}

/// A client that trusts this authority (PEM) and no other.
///
/// # Panics
/// Where it is none.
#[must_use]
pub fn client_that_trusts(authority: &[u8]) -> reqwest::Client {
    client_with([reqwest::Certificate::from_pem(authority).expect("a certificate")])
}

fn client_with(authorities: impl IntoIterator<Item = reqwest::Certificate>) -> reqwest::Client {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| _ = rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .tls_certs_only(authorities)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(LIMIT)
        .build()
        .expect("a client without TLS roots can be built")
}

/// A status and a body; JSON where it is some, else text as a JSON string.
pub type Answer = (u16, Value);

/// GETs a URL.
///
/// # Panics
/// Where there is no answer.
pub async fn get(url: &str) -> Answer {
    answer(client().get(url)).await
}

/// POSTs JSON.
///
/// # Panics
/// Where there is no answer.
pub async fn post(url: &str, body: &Value) -> Answer {
    answer(client().post(url).header("Content-Type", "application/json").body(body.to_string())).await
}

/// Sends a request.
///
/// # Panics
/// Where there is no answer.
pub async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let text = response.text().await.expect("a whole answer");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A `message/send` with this text as this task.
#[must_use]
pub fn message(task_id: &str, text: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": "5c908f70-ec50-7e33-bf7d-2735c15d5c13", "method": "message/send", "params": {
        "message": {
            "kind": "message", "role": "user", "messageId": task_id, "contextId": task_id, "taskId": task_id,
            "parts": [{"kind": "text", "text": text}],
        },
        "configuration": {"acceptedOutputModes": ["text/plain"]},
    }})
}

/// A call of another method.
#[must_use]
pub fn call(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": "5c908f70-ec50-7e33-bf7d-2735c15d5c13", "method": method, "params": params})
}

/// Waits until a condition gives something.
///
/// # Panics
/// After [`LIMIT`] without.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(begun.elapsed() < LIMIT, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until an agent says that nothing is the matter: its identity is confirmed, its client's secret proved.
///
/// # Panics
/// After [`LIMIT`] without.
pub async fn healthy(url: &str) {
    let begun = Instant::now();
    loop {
        let (_, health) = get(&format!("{url}/health")).await;
        if health["health"] == "healthy" {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "it does not become healthy: {}", health["reasons"]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends a message and follows its task to the end.
///
/// # Panics
/// Where the agent doesn't take it, or doesn't end it.
pub async fn ask(url: &str, text: &str) -> Value {
    let task_id = format!("{:032x}", rand::random::<u128>());
    let (status, sent) = post(url, &message(&task_id, text)).await;
    assert_eq!(status, 200, "{sent}");
    eventually("the task ends", async || {
        let (_, task) = post(url, &call("tasks/get", &json!({"taskId": task_id}))).await;
        let state = task["result"]["status"]["state"].as_str().unwrap_or_default().to_owned();
        (!matches!(state.as_str(), "submitted" | "working")).then(|| task["result"].clone())
    })
    .await
}
