//! Agents without a DID, as A2A 1.0 and 0.3 have them: official servers, and a fake for what an honest one does not do.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs)]

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bindu_a2a::{call::StreamEvent, card::canonical, model::TaskState};
use bindu_client::{
    AgentClient, CallError, CallOptions, ClientSettings, EventSink, KnownAgents, Reply, ReplyState,
};
use bindu_identity::{DerivedKey, SigningKey, jws};
use bindu_testkit::{OfficialAgent, OfficialServer};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

fn client() -> AgentClient {
    AgentClient::new(ClientSettings {
        signer: None,
        tokens: None,
        hydra: None,
        issuer: None,
        pinned: HashMap::new(),
        known: KnownAgents::default(),
        audiences: Vec::new(),
        allowed_origins: Vec::new(),
        dangerous_allow_http: false,
        proxies: Default::default(),
    })
}

/// Options that note what is streamed.
fn watched() -> (CallOptions, Arc<Mutex<Vec<StreamEvent>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let sink = EventSink(Arc::new(move |event: &StreamEvent| sink.lock().unwrap().push(event.clone())));
    (CallOptions { on_event: Some(sink), timeout: Some(Duration::from_secs(60)), ..Default::default() }, seen)
}

/// With streams, and without.
async fn talks_to(server: OfficialServer, interfaces: &str) {
    for streams in [true, false] {
        let Some(agent) = OfficialAgent::offering(server, interfaces, streams).await else { return };
        talks(&agent, &format!("{server:?} {interfaces}"), streams).await;
    }
}

async fn talks(agent: &OfficialAgent, interfaces: &str, streams: bool) {
    let client = client();
    let (options, seen) = watched();
    let say = async |text: &str| client.call_with(&agent.url, text, &options).await.unwrap();

    let echo = say("hello").await;
    assert_eq!((echo.text.as_str(), echo.state), ("hello", ReplyState::Completed), "{interfaces}");
    assert_eq!(echo.signed, None, "nobody can tell whose it is");
    assert!(echo.task["id"].is_string() && echo.task["status"]["state"].is_string());
    assert!(matches!(
        client.call(&agent.url, "x").await.unwrap().into_signed_text(),
        Err(CallError::Unsigned { .. })
    ));

    seen.lock().unwrap().clear();
    let chunks = say("chunks").await;
    assert_eq!(chunks.text.replace('\n', ""), "one two three", "{interfaces}");
    let events = std::mem::take(&mut *seen.lock().unwrap());
    let chunks = events.iter().filter(|event| matches!(event, StreamEvent::Artifact { .. })).count();
    assert_eq!(chunks, if streams { 3 } else { 0 }, "{interfaces}: {events:?}");
    if streams {
        let worked = |event: &StreamEvent| {
            matches!(event, StreamEvent::Status { status, .. } if status.state == TaskState::Working
                && status.message.as_ref().is_some_and(|said| said.parts.as_text() == "working on it"))
        };
        assert!(events.iter().any(worked), "{events:?}");
    }

    let message = say("message").await;
    assert_eq!((message.text.as_str(), message.state), ("only a message", ReplyState::Completed));
    let rejected = say("reject").await;
    assert_eq!((rejected.text.as_str(), rejected.state), ("not this one", ReplyState::Failed));

    let mut conversation = client.conversation(&agent.url, options.clone());
    let asked = conversation.say("ask").await.unwrap();
    assert_eq!((asked.text.as_str(), asked.state), ("Which one?", ReplyState::InputRequired));
    let answered = conversation.say("that one").await.unwrap();
    assert_eq!((answered.text.as_str(), answered.state), ("that one", ReplyState::Completed));
    assert_eq!(answered.task["id"], asked.task["id"], "the same task goes on");
    let next = conversation.say("again").await.unwrap();
    assert_eq!(next.text, "again");
    assert_eq!(next.task["contextId"], asked.task["contextId"], "the same conversation");
    assert_ne!(next.task["id"], asked.task["id"], "another task");
}

#[tokio::test]
async fn an_official_server_is_called_over_json_rpc() {
    talks_to(OfficialServer::Python, "JSONRPC-1.0").await;
}

#[tokio::test]
async fn an_official_server_is_called_over_http_json() {
    talks_to(OfficialServer::Python, "HTTP+JSON-1.0").await;
}

#[tokio::test]
async fn an_official_server_is_called_in_a2a_0_3() {
    talks_to(OfficialServer::Python, "JSONRPC-0.3").await;
}

#[tokio::test]
async fn an_official_server_in_javascript_is_called() {
    for interfaces in ["JSONRPC-1.0", "HTTP+JSON-1.0", "JSONRPC-0.3"] {
        talks_to(OfficialServer::JavaScript, interfaces).await;
    }
}

#[tokio::test]
async fn an_official_server_in_rust_is_called() {
    for interfaces in ["JSONRPC-1.0", "HTTP+JSON-1.0"] {
        talks_to(OfficialServer::Rust, interfaces).await;
    }
}

#[tokio::test]
async fn who_needs_a_proof_gets_none_from_an_agent_without_a_did() {
    let agent = FakeAgent::start(|_, _| unreachable!("nothing is sent")).await;
    let did = CallOptions { did: Some("did:bindu:a:b:c".parse().unwrap()), ..Default::default() };
    let refused = client().call_with(&agent.url, "x", &did).await;
    assert!(matches!(refused, Err(CallError::OtherAgent { .. })), "{refused:?}");
}

fn signing_key() -> DerivedKey {
    DerivedKey::of(&SigningKey::from_seed(&[7; 32]))
}

fn sign(card: &mut Value) {
    let signature = jws::sign(&signing_key(), "JOSE", None, &canonical(card).unwrap());
    card["signatures"] = json!([signature]);
}

#[tokio::test]
async fn a_card_with_a_wrong_signature_is_refused() {
    let done = |_: usize, _: &Value| result(json!({"task": task("COMPLETED", Some("done"))}));
    let signed = FakeAgent::with_card(done, sign).await;
    assert_eq!(signed.call().await.unwrap().text, "done");
    let changed = FakeAgent::with_card(done, |card| {
        sign(card);
        card["name"] = json!("Another");
    })
    .await;
    let refused = changed.call().await;
    assert!(matches!(refused, Err(CallError::NoCard { .. })), "{refused:?}");
    assert!(changed.methods().is_empty(), "nothing is sent");
    // Keys elsewhere prove nothing, and are not fetched.
    let elsewhere = FakeAgent::with_card(done, |card| {
        let payload = canonical(card).unwrap();
        let signature = jws::sign(&signing_key(), "JOSE", Some("https://evil.example/jwks.json"), &payload);
        card["signatures"] = json!([signature]);
    })
    .await;
    assert_eq!(elsewhere.call().await.unwrap().text, "done");
}

type Script = Arc<dyn Fn(usize, &Value) -> Response + Send + Sync>;

/// An agent of A2A 1.0 that answers by a script: by the number of the request, and what it asks.
struct FakeAgent {
    url: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl FakeAgent {
    async fn start(script: impl Fn(usize, &Value) -> Response + Send + Sync + 'static) -> Self {
        Self::with_card(script, |_| {}).await
    }

    /// The same, with a card that was changed.
    async fn with_card(
        script: impl Fn(usize, &Value) -> Response + Send + Sync + 'static,
        change: impl FnOnce(&mut Value),
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut card = json!({
            "name": "Fake", "capabilities": {"streaming": true},
            "supportedInterfaces": [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        });
        change(&mut card);
        let key = signing_key().public_key();
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": DerivedKey::thumbprint(&key),
            "x": URL_SAFE_NO_PAD.encode(key.as_bytes())});
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let state = (Arc::new(script) as Script, Arc::clone(&asked));
        let router = Router::new()
            .route("/.well-known/agent-card.json", get(async move || axum::Json(card)))
            .route("/.well-known/jwks.json", get(async move || axum::Json(json!({"keys": [jwk]}))))
            .route("/", post(answered))
            .with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, asked }
    }

    fn methods(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|asked| asked["method"].as_str().unwrap().to_owned()).collect()
    }

    async fn call(&self) -> Result<Reply, CallError> {
        let options = CallOptions { timeout: Some(Duration::from_secs(30)), ..Default::default() };
        client().call_with(&self.url, "x", &options).await
    }
}

async fn answered(
    State((script, asked)): State<(Script, Arc<Mutex<Vec<Value>>>)>,
    axum::Json(body): axum::Json<Value>,
) -> Response {
    let number = asked.lock().unwrap().len();
    asked.lock().unwrap().push(body.clone());
    script(number, &body)
}

fn result(result: Value) -> Response {
    axum::Json(json!({"jsonrpc": "2.0", "id": 1, "result": result})).into_response()
}

fn error(code: i32) -> Response {
    axum::Json(json!({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": "no \u{1b}[31m"}}))
        .into_response()
}

fn events(results: &[Value]) -> Response {
    let lines = results.iter().map(|result| {
        format!(": keep-alive\n\nid: 1\ndata: {}\n\n", json!({"jsonrpc": "2.0", "id": 1, "result": result}))
    });
    ([("content-type", "text/event-stream")], lines.collect::<String>()).into_response()
}

fn task(state: &str, text: Option<&str>) -> Value {
    let mut task = json!({"id": "t", "contextId": "c", "status": {"state": format!("TASK_STATE_{state}")}});
    if let Some(text) = text {
        task["artifacts"] = json!([{"artifactId": "a", "parts": [{"text": text}]}]);
    }
    task
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_followed_by_polling() {
    let agent = FakeAgent::start(|number, asked| match (number, asked["method"].as_str().unwrap()) {
        (0, "SendStreamingMessage") => events(&[json!({"task": task("WORKING", None)})]),
        (1, "GetTask") => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        (2, "GetTask") => result(task("WORKING", None)),
        (3, "GetTask") => result(task("COMPLETED", Some("done"))),
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!(agent.call().await.unwrap().text, "done");
}

#[tokio::test]
async fn an_agent_that_does_not_stream_after_all_is_asked_without_a_stream() {
    for code in [-32004, -32601] {
        let agent = FakeAgent::start(move |number, _| match number {
            0 => error(code),
            1 => result(json!({"task": task("COMPLETED", Some("done"))})),
            _ => panic!("once"),
        })
        .await;
        assert_eq!(agent.call().await.unwrap().text, "done");
        assert_eq!(agent.methods(), ["SendStreamingMessage", "SendMessage"]);
    }
}

#[tokio::test]
async fn a_message_whose_answer_is_lost_is_not_sent_again() {
    let agent = FakeAgent::start(|_, _| events(&[])).await;
    assert!(matches!(agent.call().await, Err(CallError::Unavailable { .. })));
    assert_eq!(agent.methods(), ["SendStreamingMessage"]);
}

#[tokio::test]
async fn a_refusal_that_passes_is_waited_for_and_others_are_told() {
    let agent = FakeAgent::start(|number, _| match number {
        0 => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")], "later").into_response(),
        _ => result(json!({"task": task("COMPLETED", Some("done"))})),
    })
    .await;
    assert_eq!(agent.call().await.unwrap().text, "done");
    let agent = FakeAgent::start(|_, _| error(-32602)).await;
    match agent.call().await {
        Err(CallError::Rpc { code: -32602, message }) => assert!(!message.contains('\u{1b}'), "{message}"),
        other => panic!("{other:?}"),
    }
    let agent = FakeAgent::start(|_, _| StatusCode::UNAUTHORIZED.into_response()).await;
    assert!(matches!(agent.call().await, Err(CallError::Refused { status: 401, .. })));
}

#[tokio::test]
async fn the_question_that_was_answered_is_not_asked_again() {
    fn asks(moment: u32, words: &str) -> Value {
        json!({"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_INPUT_REQUIRED",
            "timestamp": format!("2026-01-01T00:00:0{moment}Z"),
            "message": {"messageId": words, "role": "ROLE_AGENT", "parts": [{"text": words}]}}}})
    }
    let done = || json!({"task": task("COMPLETED", Some("done"))});
    let without_its_message = || {
        let mut task = asks(1, "which?");
        task["task"]["status"].as_object_mut().unwrap().remove("message");
        task
    };
    // In a stream, at its end, and polled: the old question, another one, the result.
    let agent = FakeAgent::start(move |number, asked| match (number, asked["method"].as_str().unwrap()) {
        (0, "SendStreamingMessage") => events(&[asks(1, "which?")]),
        (1, "SendStreamingMessage") => events(&[asks(1, "which?"), without_its_message(), asks(2, "sure?")]),
        (2, "SendStreamingMessage") => events(&[asks(2, "sure?")]),
        (3, "GetTask") => result(asks(2, "sure?")["task"].clone()),
        (4, "GetTask") => result(done()["task"].clone()),
        other => panic!("{other:?}"),
    })
    .await;
    let options = CallOptions { timeout: Some(Duration::from_secs(20)), ..Default::default() };
    let mut conversation = client().conversation(&agent.url, options);
    for (said, answer) in [("x", "which?"), ("this", "sure?"), ("yes", "done")] {
        assert_eq!(conversation.say(said).await.unwrap().text, answer);
    }
}

#[tokio::test]
async fn what_is_no_a2a_and_what_never_ends_is_an_error() {
    for hostile in [
        json!({"statusUpdate": {"taskId": 5}}),
        json!({"task": {"id": "t", "status": {"state": "TASK_STATE_UNSPECIFIED"}}}),
        json!({"message": {"messageId": "m", "role": "ROLE_AGENT", "parts": 1}}),
        json!([]),
    ] {
        let agent = FakeAgent::start(move |_, _| events(std::slice::from_ref(&hostile))).await;
        let answered = agent.call().await;
        assert!(matches!(answered, Err(CallError::Unavailable { .. })), "{answered:?}");
    }
    // 17 MiB of events, none of which ends the task.
    let long = "x".repeat(1024 * 1024);
    let update = json!({"artifactUpdate": {"taskId": "t", "contextId": "c", "append": true,
        "artifact": {"artifactId": "a", "parts": [{"text": long}]}}});
    let many = vec![update; 17];
    let agent = FakeAgent::start(move |number, _| match number {
        0 => events(&many),
        _ => result(task("COMPLETED", Some("polled"))),
    })
    .await;
    assert_eq!(agent.call().await.unwrap().text, "polled", "the stream is cut off");
}
