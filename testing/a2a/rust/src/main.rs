//! An agent made of the official Rust SDK, which says back what it is told, or does what `testing/a2a/server.py` does.
//!
//! Arguments: the port; which interfaces its card offers (`JSONRPC-1.0`, `HTTP+JSON-1.0`; a comma between); `stream` or `poll`.

use a2a::*;
use a2a_server::*;
use futures::stream::{self, BoxStream, StreamExt as _};
use serde_json::{Value, json};
use std::sync::Arc;

struct Echo;

#[async_trait::async_trait]
impl AgentExecutor for Echo {
    fn execute(&self, context: ExecutorContext) -> BoxStream<'static, Result<StreamResponse, A2AError>> {
        let (id, context_id) = context.task_info();
        let message = context.message.clone().expect("a message");
        let text: String = message.parts.iter().filter_map(Part::as_text).collect();
        if let Some(events) = told(&text, &id, &context_id) {
            let events = events.into_iter().map(|event| Ok(serde_json::from_value(event).expect("an event")));
            return stream::iter(events.collect::<Vec<_>>()).boxed();
        }
        let task = |state, artifacts| Task {
            id: id.clone(),
            context_id: context_id.clone(),
            status: TaskStatus { state, message: None, timestamp: None },
            artifacts,
            history: Some(vec![message.clone()]),
            metadata: None,
        };
        let artifact = Artifact {
            artifact_id: "result".into(),
            name: Some("result".into()),
            description: None,
            parts: message.parts.clone(),
            metadata: None,
            extensions: None,
        };
        let events = vec![
            Ok(StreamResponse::Task(task(TaskState::Working, None))),
            Ok(StreamResponse::Task(task(TaskState::Completed, Some(vec![artifact])))),
        ];
        stream::iter(events).boxed()
    }

    fn cancel(&self, _: ExecutorContext) -> BoxStream<'static, Result<StreamResponse, A2AError>> {
        stream::empty().boxed()
    }
}

/// What it does for some texts.
fn told(text: &str, id: &str, context_id: &str) -> Option<Vec<Value>> {
    let says = |words: &str| {
        json!({"messageId": format!("{id}-{words}"), "contextId": context_id, "role": "ROLE_AGENT", "parts": [{"text": words}]})
    };
    let status = |state: &str, words: Option<&str>| {
        let status = json!({"state": format!("TASK_STATE_{state}"), "message": words.map(says)});
        json!({"statusUpdate": {"taskId": id, "contextId": context_id, "status": status}})
    };
    let chunk = |number: usize, words: &str| {
        let artifact = json!({"artifactId": "a", "parts": [{"text": words}]});
        let more = json!({"taskId": id, "contextId": context_id, "artifact": artifact, "append": number > 0, "lastChunk": number == 2});
        json!({ "artifactUpdate": more })
    };
    let task = json!({"task": {"id": id, "contextId": context_id, "status": {"state": "TASK_STATE_SUBMITTED"}}});
    let begun = [task, status("WORKING", Some("working on it"))];
    let rest = match text {
        "message" => return Some(vec![json!({ "message": says("only a message") })]),
        "ask" => vec![status("INPUT_REQUIRED", Some("Which one?"))],
        "reject" => vec![status("REJECTED", Some("not this one"))],
        "chunks" => {
            let pieces = ["one ", "two ", "three"].into_iter().enumerate();
            let mut events: Vec<_> = pieces.map(|(number, words)| chunk(number, words)).collect();
            events.push(status("COMPLETED", None));
            events
        }
        _ => return None,
    };
    Some(begun.into_iter().chain(rest).collect())
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().and_then(|port| port.parse().ok()).expect("a port");
    let offered = arguments.next().unwrap_or_else(|| "JSONRPC-1.0".to_owned());
    let streams = arguments.next().is_none_or(|how| how == "stream");
    let interfaces: Vec<_> = offered
        .split(',')
        .filter_map(|one| one.rsplit_once('-'))
        .map(|(binding, version)| {
            let path = if binding == "JSONRPC" { "/" } else { "" };
            let url = format!("http://127.0.0.1:{port}{path}");
            json!({"url": url, "protocolBinding": binding, "protocolVersion": version})
        })
        .collect();
    let card: AgentCard = serde_json::from_value(json!({
        "name": "Official Rust", "description": "Says it back.", "version": "1.0.0",
        "supportedInterfaces": interfaces,
        "capabilities": {"streaming": streams},
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
        "skills": [{"id": "echo", "name": "Echo", "description": "Says it back.", "tags": ["echo"]}],
    }))
    .expect("a card");
    let handler = Arc::new(DefaultRequestHandler::new(Echo, InMemoryTaskStore::new()));
    let app = a2a_server::jsonrpc::jsonrpc_router(Arc::clone(&handler))
        .merge(a2a_server::rest::rest_router(handler))
        .merge(a2a_server::agent_card::agent_card_router(Arc::new(StaticAgentCard::new(card))));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
    axum::serve(listener, app).await.expect("it serves");
}
