//! What a receiver is sent, by the dialect of its configuration.
//!
//! A2A 1.0: each event as a `StreamResponse`. A2A 0.3: the whole task after each event, which is what the official SDKs of
//! 0.3 send and expect. Python Bindu: its `status-update` and `artifact-update`, with an id that is the same when it comes
//! again.

use crate::TaskKey;
use bindu_a2a::{
    call::{StreamEvent, StreamItem},
    dialect::Dialect,
    event::TaskEvent,
    model::{Task, TaskState, TaskStatus},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The task as JSON.
pub(super) fn task(dialect: Dialect, task: Task, number: u64) -> String {
    dialect.encode_event(&StreamItem { number, event: StreamEvent::Task(task) }).into_text()
}

/// An event as JSON; `None` for a message, which is in the status that says it.
pub(super) fn event(
    dialect: Dialect,
    (key, context_id): (&TaskKey, &str),
    number: u64,
    event: TaskEvent,
) -> Option<String> {
    let (task_id, context_id) = (key.id.clone(), context_id.to_owned());
    let event = match event {
        TaskEvent::Message(_) => return None,
        TaskEvent::Status(status) => {
            let is_final = status.state.is_terminal() || status.state.is_interrupted();
            StreamEvent::Status { task_id, context_id, status, is_final }
        }
        TaskEvent::Artifact(chunk) => StreamEvent::Artifact { task_id, context_id, chunk },
    };
    let text = dialect.encode_event(&StreamItem { number, event }).into_text();
    match dialect {
        Dialect::Bindu => with_event_id(&text, key, number).or(Some(text)),
        Dialect::V1 | Dialect::V03 => Some(text),
    }
}

/// Python Bindu's members of each event, beside those of its streams.
fn with_event_id(text: &str, key: &TaskKey, number: u64) -> Option<String> {
    let Ok(Value::Object(mut members)) = serde_json::from_str(text) else { return None };
    let digest = Sha256::digest(format!("{:?}\n{}\n{number}", key.owner, key.id).as_bytes());
    let id = Uuid::from_slice(digest.get(..16)?).ok()?;
    let id = uuid::Builder::from_bytes(id.into_bytes()).with_version(uuid::Version::Custom);
    let at = members.get("status").and_then(|status| status.get("timestamp")).cloned();
    members.insert("event_id".to_owned(), json!(id.with_variant(uuid::Variant::RFC4122).into_uuid()));
    members.insert("sequence".to_owned(), json!(number));
    members.insert("timestamp".to_owned(), at.unwrap_or_else(|| json!(Timestamp::now().to_string())));
    Some(Value::Object(members).to_string())
}

/// A task before its first event.
pub(super) fn empty_task(id: &str, context_id: &str) -> Task {
    Task {
        id: id.to_owned(),
        context_id: context_id.to_owned(),
        status: TaskStatus { state: TaskState::Submitted, message: None, timestamp: Timestamp::UNIX_EPOCH },
        history: Vec::new(),
        artifacts: Vec::new(),
        metadata: None,
    }
}
