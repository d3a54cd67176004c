//! A [`Handler`] as the tasks' worker: what it says becomes events, results with text are signed.

use super::{ChatMessage, Handler, HandlerTask, Reply, ReplyState};
use bindu_a2a::{
    Parts, PartsBuilder,
    event::{ArtifactChunk, TaskEvent},
    model::{Message, Role, TaskState},
};
use bindu_client::AgentClient;
use bindu_identity::text_signature;
use bindu_keeper::HeldIdentity;
use bindu_tasks::{Job, Outlet, OutletClosed, RunKey, Worker};
use futures_util::future::BoxFuture;
use serde_json::value::to_raw_value;
use std::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;

/// Lets a handler answer tasks.
pub struct HandlerWorker {
    held: Arc<HeldIdentity>,
    handler: Arc<dyn Handler>,
    agent: AgentClient,
}

impl HandlerWorker {
    /// A worker with this handler. Its results are signed with the held identity.
    #[must_use]
    pub fn new(held: Arc<HeldIdentity>, handler: Arc<dyn Handler>, agent: AgentClient) -> Arc<Self> {
        Arc::new(Self { held, handler, agent })
    }
}

impl Worker for HandlerWorker {
    fn work(&self, job: Job, outlet: Outlet) -> BoxFuture<'static, ()> {
        let (handler, held, agent) = (Arc::clone(&self.handler), Arc::clone(&self.held), self.agent.clone());
        Box::pin(async move {
            let asked = HandlerTask {
                task_id: job.task.id.clone(),
                context_id: job.task.context_id.clone(),
                messages: job.task.history.iter().map(|message| chat_message(message)).collect(),
                caller: job.caller.clone(),
                agent,
            };
            let reply = match handler.handle(asked).await {
                Ok(reply) => reply,
                Err(error) => Reply::failed(format!("Task execution failed: {error}")),
            };
            // An error says that nobody wants to know any more.
            let _ = finish(&held, &job.run, &outlet, reply).await;
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.handler.close().await })
    }
}

fn chat_message(message: &Message) -> ChatMessage {
    let role = match message.role {
        Role::User => "user",
        Role::Agent => "agent",
        Role::System => "system",
    };
    ChatMessage { role: role.to_owned(), content: message.parts.as_text() }
}

async fn finish(
    held: &HeldIdentity,
    run: &RunKey,
    outlet: &Outlet,
    reply: Reply,
) -> Result<(), OutletClosed> {
    let state = match reply.state {
        ReplyState::Completed => TaskState::Completed,
        ReplyState::InputRequired => TaskState::InputRequired,
        ReplyState::AuthRequired => TaskState::AuthRequired,
        ReplyState::Failed => TaskState::Failed,
    };
    if state == TaskState::Completed {
        let chunk = ArtifactChunk {
            id: Uuid::new_v4().to_string(),
            name: Some("result".to_owned()),
            description: None,
            parts: Arc::new(signed_text(held, run, &reply.content)),
            metadata: None,
            extensions: None,
            append: false,
            is_last: true,
        };
        outlet.tell(TaskEvent::Artifact(Arc::new(chunk))).await?;
    }
    let message = outlet.of_agent(Parts::of_text(&reply.content));
    outlet.status(state, Some(message)).await
}

/// A text with the agent's signature; without one where the text could pass as a request's payload.
fn signed_text(held: &HeldIdentity, run: &RunKey, text: &str) -> Parts {
    let mut parts = PartsBuilder::default();
    let signature = text_signature::sign(&held.current().signing_key, text);
    let metadata = signature.and_then(|signature| {
        to_raw_value(&BTreeMap::from([(text_signature::METADATA_KEY, signature.to_string())])).ok()
    });
    if metadata.is_none() {
        tracing::warn!(
            target: "audit",
            task = run.task.id,
            owner = %run.task.owner,
            "an artifact's text could pass as a signed request: it goes out unsigned"
        );
    }
    parts.push(&bindu_a2a::Part { metadata: metadata.as_deref(), ..bindu_a2a::Part::text(text) });
    parts.build()
}
