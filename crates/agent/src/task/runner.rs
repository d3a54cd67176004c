//! Runs the handler for a task, and signs what comes of it.

use super::{Artifact, Message, Part, Role, Task, TaskKey, TaskState, Tasks, turns::Turns};
use crate::{
    caller::Caller,
    fair::Party,
    handler::{ChatMessage, Handler, HandlerTask, Reply, ReplyState},
};
use bindu_a2a::Json;
use bindu_client::AgentClient;
use bindu_identity::text_signature;
use bindu_keeper::HeldIdentity;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::task::AbortHandle;
use uuid::Uuid;

/// Works on tasks.
pub(crate) struct TaskRunner {
    tasks: Arc<Tasks>,
    held: Arc<HeldIdentity>,
    handler: Arc<dyn Handler>,
    agent: AgentClient,
    turns: Turns,
    running: Arc<Mutex<HashMap<TaskKey, AbortHandle>>>,
}

impl TaskRunner {
    pub(crate) fn new(
        tasks: Arc<Tasks>,
        held: Arc<HeldIdentity>,
        handler: Arc<dyn Handler>,
        agent: AgentClient,
    ) -> Self {
        Self { tasks, held, handler, agent, turns: Turns::default(), running: Arc::default() }
    }

    /// Begins work on a task that was submitted. Returns at once.
    pub(crate) fn run(&self, key: TaskKey, context_id: &str, caller: Caller) {
        let (tasks, held, handler) =
            (Arc::clone(&self.tasks), Arc::clone(&self.held), Arc::clone(&self.handler));
        let agent = self.agent.clone();
        let (running, work_key) = (Arc::clone(&self.running), key.clone());
        let turn = self.turns.take(Party::of(&caller, context_id));
        // Held while the work is entered below, so that work that ends at once finds its own entry.
        let mut entries = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // Another message while it was worked on: what that work would say is out of date.
        if let Some(earlier) = entries.remove(&key) {
            earlier.abort();
        }
        let work = tokio::spawn(async move {
            let _turn = turn.await;
            if let Some(task) = tasks.begin(&work_key) {
                let asked = HandlerTask {
                    task_id: task.id.clone(),
                    context_id: task.context_id.clone(),
                    messages: task.history.iter().map(chat_message).collect(),
                    caller,
                    agent,
                };
                // In a task of its own: a handler that panics ends this task only.
                let answer = tokio::spawn(async move { handler.handle(asked).await });
                let guard = AbortOnDrop(answer.abort_handle());
                let reply = match answer.await {
                    Ok(Ok(reply)) => reply,
                    Ok(Err(error)) => Reply::failed(format!("Task execution failed: {error}")),
                    Err(_) => Reply::failed("Task execution failed: the agent stopped working on it"),
                };
                drop(guard);
                finish(&tasks, &held, &work_key, &task, reply);
            }
            let mut entries = running.lock().unwrap_or_else(PoisonError::into_inner);
            // A later message may have put its own work there.
            if entries.get(&work_key).is_some_and(|entry| entry.id() == tokio::task::id()) {
                entries.remove(&work_key);
            }
        });
        entries.insert(key, work.abort_handle());
    }

    /// Stops the work on a task.
    pub(crate) fn stop(&self, key: &TaskKey) {
        if let Some(work) = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(key) {
            work.abort();
        }
    }
}

/// Stops the handler where the work around it is stopped.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn chat_message(message: &Message) -> ChatMessage {
    let role = match message.role {
        Role::User => "user",
        Role::Agent => "agent",
        Role::System => "system",
    };
    ChatMessage { role: role.to_owned(), content: message.as_text() }
}

fn finish(tasks: &Tasks, held: &HeldIdentity, key: &TaskKey, task: &Task, reply: Reply) {
    let state = match reply.state {
        ReplyState::Completed => TaskState::Completed,
        ReplyState::InputRequired => TaskState::InputRequired,
        ReplyState::AuthRequired => TaskState::AuthRequired,
        ReplyState::Failed => TaskState::Failed,
    };
    let artifact = (state == TaskState::Completed).then(|| Artifact {
        id: Uuid::new_v4().to_string(),
        name: "result".to_owned(),
        parts: vec![signed_text(held, key, &reply.content)],
    });
    let message = Message {
        id: Uuid::new_v4().to_string(),
        context_id: task.context_id.clone(),
        task_id: task.id.clone(),
        role: Role::Agent,
        parts: vec![Part::text(reply.content)],
        metadata: None,
        reference_task_ids: Vec::new(),
        extensions: Vec::new(),
    };
    tasks.end(key, state, message, artifact);
}

/// A text part with the agent's signature; without one where the text could pass as a request's payload.
fn signed_text(held: &HeldIdentity, key: &TaskKey, text: &str) -> Part {
    let mut part = Part::text(text);
    match text_signature::sign(&held.current().signing_key, text) {
        Some(signature) => {
            let signature = signature.to_string();
            part.metadata = Some(Json::of(&BTreeMap::from([(text_signature::METADATA_KEY, signature)])));
        }
        None => tracing::warn!(
            target: "audit",
            task = key.id,
            owner = %key.owner,
            "an artifact's text could pass as a signed request: it goes out unsigned"
        ),
    }
    part
}
