//! An agent made of the official Rust SDK, which says back what it is told. Its argument is the port.

use a2a::*;
use a2a_server::*;
use futures::stream::{self, BoxStream, StreamExt as _};
use std::sync::Arc;

struct Echo;

#[async_trait::async_trait]
impl AgentExecutor for Echo {
    fn execute(&self, context: ExecutorContext) -> BoxStream<'static, Result<StreamResponse, A2AError>> {
        let (id, context_id) = context.task_info();
        let message = context.message.clone().expect("a message");
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

#[tokio::main]
async fn main() {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("a port");
    let url = format!("http://127.0.0.1:{port}/");
    let card: AgentCard = serde_json::from_value(serde_json::json!({
        "name": "Official Rust", "description": "Says it back.", "version": "1.0.0",
        "supportedInterfaces": [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        "capabilities": {"streaming": true},
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
