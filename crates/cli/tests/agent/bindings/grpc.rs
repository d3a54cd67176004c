//! gRPC, by a client of HTTP/2 and nothing else: the same core, limits and errors.

use super::slow;
use crate::{AUTHOR, agent, hydra};
use axum::body::Bytes;
use bindu_a2a::grpc;
use bindu_testkit::{AgentProcess, AgentSetup, caller::TestCaller, http};
use serde_json::{Value, json};
use std::path::Path;
use tokio::net::TcpStream;

/// What comes of a call: messages as JSON, the status, its message.
#[derive(Debug)]
struct Reply {
    messages: Vec<Value>,
    status: String,
    message: String,
    details: bool,
}

struct Client {
    h2: h2::client::SendRequest<Bytes>,
    token: Option<String>,
    version: Option<&'static str>,
}

impl Client {
    async fn new(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (h2, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self { h2, token: None, version: Some("1.0") }
    }

    async fn begin(
        &self,
        method: &str,
        message: &[u8],
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let mut request = axum::http::Request::post(format!("http://agent/{}/{method}", grpc::SERVICE))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(version) = self.version {
            request = request.header("a2a-version", version);
        }
        let mut h2 = self.h2.clone().ready().await.unwrap();
        let (response, mut body) = h2.send_request(request.body(()).unwrap(), false).unwrap();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let framed = [&[0][..], &length, message].concat();
        body.send_data(framed.into(), true).unwrap();
        (response, body)
    }

    async fn raw(&self, method: &str, message: &[u8]) -> Reply {
        let (response, _body) = self.begin(method, message).await;
        let response = response.await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/grpc");
        let mut ends = response.headers().clone();
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            bytes.extend_from_slice(&data);
        }
        ends.extend(body.trailers().await.unwrap().unwrap_or_default());
        let text = |name: &str| ends.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let mut messages = Vec::new();
        let mut rest = &bytes[..];
        while let Some(([flag, length @ ..], more)) = rest.split_first_chunk::<5>() {
            assert_eq!(*flag, 0);
            let (message, more) = more.split_at(u32::from_be_bytes(*length) as usize);
            let said = grpc::read(method, message)
                .map_or(Value::Null, |json| serde_json::from_str(json.text()).unwrap());
            messages.push(said);
            rest = more;
        }
        Reply {
            messages,
            status: text("grpc-status"),
            message: text("grpc-message"),
            details: ends.contains_key("grpc-status-details-bin"),
        }
    }

    /// Calls with what JSON-RPC has as parameters.
    async fn call(&self, method: &str, params: Value) -> Reply {
        let raw = serde_json::value::to_raw_value(&params).unwrap();
        let call = bindu_a2a::Dialect::V1.decode(method, Some(&raw)).expect("a call");
        let (method, message) = grpc::ask(&call).expect("a call of A2A 1.0");
        self.raw(method, &message).await
    }
}

async fn start(setup: AgentSetup) -> (AgentProcess, u16) {
    // The port behind its own was found free with it.
    let port = setup.port() + 1;
    let agent = setup.set("BINDU_GRPC_LISTEN", format!("127.0.0.1:{port}")).start().await;
    (agent, port)
}

fn saying(text: &str) -> Value {
    json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": text}, {"data": {"n": [1, null]}}]}})
}

fn setup(directory: &Path) -> AgentSetup {
    agent(directory)
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_does_what_json_rpc_does() {
    let disk = tempfile::tempdir().unwrap();
    let (agent, port) = start(setup(disk.path())).await;
    let client = Client::new(port).await;
    let sent = client.call("SendMessage", saying("hello")).await;
    assert_eq!(sent.status, "0", "{sent:?}");
    let task = &sent.messages[0]["task"];
    assert_eq!(task["status"]["state"], "TASK_STATE_COMPLETED", "{task}");
    assert_eq!(task["history"][0]["parts"][1]["data"], json!({"n": [1, null]}));
    let id = task["id"].as_str().expect("an id");
    let (_, card) = http::get(&format!("{}/.well-known/agent-card.json", agent.url)).await;
    let interfaces = card["supportedInterfaces"].as_array().expect("a list");
    let interface = interfaces.iter().find(|interface| interface["protocolBinding"] == "GRPC").expect("gRPC");
    assert_eq!(interface["url"], format!("127.0.0.1:{port}"));
    let found = client.call("GetTask", json!({"id": id})).await;
    assert_eq!(found.messages[0]["id"], id);
    // The same tasks as over HTTP.
    let (_, over_http) = http::get(&format!("{}/tasks/{id}", agent.url)).await;
    assert_eq!(found.messages[0]["artifacts"], over_http["artifacts"]);
    let listed = client.call("ListTasks", json!({"pageSize": 5})).await;
    assert_eq!(
        (&listed.messages[0]["tasks"][0]["id"], &listed.messages[0]["totalSize"]),
        (&json!(id), &json!(1))
    );
    for (method, params, status, word) in [
        ("GetTask", json!({"id": "nothing"}), "5", "Task not found"),
        ("CancelTask", json!({"id": id}), "9", "the task has ended"),
        ("SubscribeToTask", json!({"id": id}), "9", ""),
        ("GetExtendedAgentCard", json!({}), "9", ""),
    ] {
        let refused = client.call(method, params).await;
        assert_eq!(refused.status, status, "{method}: {refused:?}");
        assert!(
            refused.message.contains(word) && refused.details && refused.messages.is_empty(),
            "{refused:?}"
        );
    }
    assert_eq!(client.raw("NoSuchMethod", b"").await.status, "12");
    assert_eq!(client.raw("GetTask", b"\xff").await.status, "3");
    for (version, status) in [(None, "5"), (Some("1.0"), "5"), (Some("2.0"), "9"), (Some("0.3"), "9")] {
        let client = Client { version, ..Client::new(port).await };
        assert_eq!(client.call("GetTask", json!({"id": "x"})).await.status, status, "{version:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_grpc_is_the_one_of_json_rpc() {
    let disk = tempfile::tempdir().unwrap();
    let command = slow(disk.path(), 0.5);
    let (mut agent, port) = start(setup(disk.path()).argument("--command").argument(&command)).await;
    let client = Client::new(port).await;
    let stream = client.call("SendStreamingMessage", saying("hello")).await;
    assert_eq!(stream.status, "0", "{stream:?}");
    assert!(stream.messages[0]["task"]["id"].is_string(), "{stream:?}");
    let last = stream.messages.last().expect("more than one");
    assert_eq!(last["statusUpdate"]["status"]["state"], "TASK_STATE_COMPLETED", "{last}");
    // A drain waits for the stream's end.
    let raw = serde_json::value::to_raw_value(&saying("last")).unwrap();
    let call = bindu_a2a::Dialect::V1.decode("SendStreamingMessage", Some(&raw)).expect("a call");
    let (_, message) = grpc::ask(&call).expect("a call");
    let running = tokio::spawn(async move { client.raw("SendStreamingMessage", &message).await });
    http::eventually("it runs", async || {
        let (_, metrics) = http::get(&format!("{}/metrics", agent.url)).await;
        metrics.as_str().is_some_and(|text| text.contains("bindu_subscribers 1")).then_some(())
    })
    .await;
    let status = tokio::task::spawn_blocking(move || agent.terminate()).await.unwrap();
    let stream = running.await.unwrap();
    assert!(status.success());
    let last = stream.messages.last().expect("more than one");
    assert_eq!(
        (&last["statusUpdate"]["status"]["state"], stream.status.as_str()),
        (&json!("TASK_STATE_COMPLETED"), "0")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_must_sign_cannot_call_by_grpc() {
    let disk = tempfile::tempdir().unwrap();
    let setup = setup(disk.path()).named(AUTHOR, "Grpc Auth").set_all(hydra().await.environment());
    let (_agent, port) = start(setup.set("AUTH__REQUIRE_PERMISSIONS", "true")).await;
    let mut client = Client::new(port).await;
    let nobody = client.call("ListTasks", json!({})).await;
    assert_eq!((nobody.status.as_str(), nobody.details), ("16", true), "{nobody:?}");
    let signer = TestCaller::new(hydra().await, "did:bindu:grpc:caller:1").await;
    client.token = Some(signer.token.clone());
    let refused = client.call("ListTasks", json!({})).await;
    assert_eq!(refused.status, "16", "{refused:?}");
    assert!(refused.message.contains("must sign"), "{refused:?}");
    let mut service = TestCaller::new(hydra().await, "grpc-service").await;
    client.token = Some(service.token.clone());
    assert_eq!(client.call("ListTasks", json!({})).await.status, "0");
    service.token = service.new_token(hydra().await, "agent:read").await;
    client.token = Some(service.token.clone());
    let refused = client.call("SendMessage", saying("x")).await;
    assert_eq!(refused.status, "7", "{refused:?}");
    assert!(refused.message.contains("agent:write"), "{refused:?}");
}

/// What is too long is not taken, and a reader that takes nothing is let go.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_has_the_limits_of_http() {
    let disk = tempfile::tempdir().unwrap();
    let (agent, port) = start(setup(disk.path()).set("BINDU_WRITE_TIMEOUT", "300ms")).await;
    let client = Client::new(port).await;
    let (response, _body) = client.begin("SendMessage", &vec![0; 3 << 20]).await;
    let response = response.await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "3", "{response:?}");
    let long = "x".repeat(1_900_000);
    let raw = serde_json::value::to_raw_value(&saying(&long)).unwrap();
    let call = bindu_a2a::Dialect::V1.decode("SendStreamingMessage", Some(&raw)).expect("a call");
    let (_, message) = grpc::ask(&call).expect("a call");
    let (response, _body) = client.begin("SendStreamingMessage", &message).await;
    // Its window is never opened again.
    let _stalled = response.await.unwrap();
    let subscribers = async |wanted: &str| {
        http::eventually("the streams", async || {
            let (_, metrics) = http::get(&format!("{}/metrics", agent.url)).await;
            metrics.as_str().is_some_and(|text| text.contains(wanted)).then_some(())
        })
        .await;
    };
    subscribers("bindu_subscribers 0").await;
    assert_eq!(http::ask(&agent.url, "and others").await["status"]["state"], "completed");
}
