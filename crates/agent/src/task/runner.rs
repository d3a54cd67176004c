//! Runs the handler for a task, and signs what comes of it.

use super::{Artifact, Message, Part, Role, Task, TaskKey, TaskState, Tasks};
use crate::json::Json;
use crate::{
    caller::{Caller, Owner},
    handler::{ChatMessage, Handler, HandlerTask, Reply, ReplyState},
};
use bindu_client::AgentClient;
use bindu_identity::text_signature;
use bindu_keeper::HeldIdentity;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::{sync::Semaphore, task::AbortHandle};
use uuid::Uuid;

/// How many tasks are worked on at the same time; the others wait as submitted.
const MOST_AT_ONCE: usize = 64;

/// How many of them may be one caller's, where callers can be told apart: the others' are not kept waiting.
const MOST_OF_ONE: usize = MOST_AT_ONCE / 2;

/// Shares of callers that have nothing running are forgotten once there are this many.
const MOST_SHARES: usize = 1_000;

/// Works on tasks.
pub(crate) struct TaskRunner {
    tasks: Arc<Tasks>,
    held: Arc<HeldIdentity>,
    handler: Arc<dyn Handler>,
    agent: AgentClient,
    turns: Arc<Semaphore>,
    shares: Mutex<HashMap<Owner, Weak<Semaphore>>>,
    running: Arc<Mutex<HashMap<TaskKey, AbortHandle>>>,
}

impl TaskRunner {
    pub(crate) fn new(
        tasks: Arc<Tasks>,
        held: Arc<HeldIdentity>,
        handler: Arc<dyn Handler>,
        agent: AgentClient,
    ) -> Self {
        let turns = Arc::new(Semaphore::new(MOST_AT_ONCE));
        Self { tasks, held, handler, agent, turns, shares: Mutex::default(), running: Arc::default() }
    }

    /// Begins work on a task that was submitted. Returns at once.
    pub(crate) fn run(&self, key: TaskKey, caller: Caller) {
        let (tasks, held, handler) =
            (Arc::clone(&self.tasks), Arc::clone(&self.held), Arc::clone(&self.handler));
        let agent = self.agent.clone();
        let (turns, running) = (Arc::clone(&self.turns), Arc::clone(&self.running));
        let (work_key, share) = (key.clone(), self.share(&key.owner));
        // Held while the work is entered below, so that work that ends at once finds its own entry.
        let mut entries = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // Another message while it was worked on: what that work would say is out of date.
        if let Some(earlier) = entries.remove(&key) {
            earlier.abort();
        }
        let work = tokio::spawn(async move {
            let _share = match share {
                Some(share) => share.acquire_owned().await.ok(),
                None => None,
            };
            let Ok(_turn) = turns.acquire_owned().await else { return };
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

    /// The turns that are a caller's own share.
    fn share(&self, owner: &Owner) -> Option<Arc<Semaphore>> {
        if owner.is_everybody() {
            return None;
        }
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(owner).and_then(Weak::upgrade) {
            return Some(share);
        }
        if shares.len() >= MOST_SHARES {
            shares.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Semaphore::new(MOST_OF_ONE));
        shares.insert(owner.clone(), Arc::downgrade(&share));
        Some(share)
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
