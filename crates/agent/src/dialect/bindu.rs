//! Python Bindu's dialect: slash methods, parameters in snake_case or camelCase, answers in snake_case.
//!
//! Stricter than needed where it protects us, looser where it costs nothing: ids need not be UUIDs, and what Python
//! demands without using (`configuration`, `kind`) may be left out.

use super::rpc::RpcError;
use crate::task::{Artifact, Content, Message, Part, Role, Task, TaskState};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The longest id that is taken.
const LONGEST_ID: usize = 256;

/// A call in the core's terms.
#[derive(Debug, PartialEq)]
pub(crate) enum Call {
    Send(Box<Message>),
    Read { task_id: String, history_length: Option<usize> },
    List,
    Cancel { task_id: String },
}

impl Call {
    /// Whether it changes nothing.
    pub(crate) fn reads(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::List)
    }
}

/// Reads a call.
pub(crate) fn call(method: &str, params: Value) -> Result<Call, RpcError> {
    let params = || match params {
        Value::Object(members) => Ok(members),
        Value::Null => Ok(Map::new()),
        _ => Err(RpcError::params("`params` must be an object")),
    };
    match method {
        "message/send" => {
            let Some(Value::Object(message)) = params()?.remove("message") else {
                return Err(RpcError::params("`message` must be an object"));
            };
            Ok(Call::Send(Box::new(message_in(message)?)))
        }
        "tasks/get" => {
            let mut params = params()?;
            let history_length = match either(&mut params, "historyLength", "history_length") {
                None | Some(Value::Null) => None,
                Some(value) => {
                    Some(value.as_i64().ok_or_else(|| RpcError::params("`historyLength` must be a number"))?)
                }
            };
            // Python: 0 or less is everything.
            let history_length =
                history_length.and_then(|length| usize::try_from(length).ok()).filter(|length| *length > 0);
            Ok(Call::Read { task_id: required_id(&mut params, "taskId", "task_id")?, history_length })
        }
        "tasks/list" => params().map(|_| Call::List),
        "tasks/cancel" => Ok(Call::Cancel { task_id: required_id(&mut params()?, "taskId", "task_id")? }),
        other => {
            let shown: String = other.chars().take(64).collect();
            Err(RpcError::method(format!("Method '{shown}' is not implemented")))
        }
    }
}

/// A task as JSON.
pub(crate) fn task_out(task: &Task, history_length: Option<usize>) -> Value {
    let skipped = history_length.map_or(0, |length| task.history.len().saturating_sub(length));
    let mut json = json!({
        "id": task.id,
        "context_id": task.context_id,
        "kind": "task",
        "status": {"state": state_name(task.status.state), "timestamp": task.status.timestamp},
        "history": task.history.iter().skip(skipped).map(message_out).collect::<Vec<_>>(),
    });
    if !task.artifacts.is_empty()
        && let Some(members) = json.as_object_mut()
    {
        members.insert("artifacts".to_owned(), task.artifacts.iter().map(artifact_out).collect());
    }
    json
}

/// Python Bindu's words for what can't be done with a task.
pub(crate) fn ended(task_id: &str, state: TaskState) -> RpcError {
    let state = state_name(state);
    RpcError::internal(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!(
            "Cannot continue task {task_id}: Task is in terminal state '{state}' and is immutable. Create a new task with referenceTaskIds to continue the conversation."
        ),
    )
}

pub(crate) fn not_cancelable(state: TaskState) -> RpcError {
    let state = state_name(state);
    RpcError::task(
        -32002,
        format!(
            "Task cannot be canceled in '{state}' state. Tasks can only be canceled while pending or running."
        ),
    )
}

pub(crate) fn not_found() -> RpcError {
    RpcError::task(-32001, "Task not found")
}

fn message_in(mut message: Map<String, Value>) -> Result<Message, RpcError> {
    let role = match message.get("role").and_then(Value::as_str) {
        Some("user") | None => Role::User,
        Some("agent") => Role::Agent,
        Some("system") => Role::System,
        Some(_) => return Err(RpcError::params("`message.role` must be `user`, `agent` or `system`")),
    };
    if message.get("kind").is_some_and(|kind| kind != "message") {
        return Err(RpcError::params("`message.kind` must be `message`"));
    }
    let Some(Value::Array(parts)) = message.remove("parts") else {
        return Err(RpcError::params("`message.parts` must be a list"));
    };
    let mut id = |camel, snake| {
        Ok(optional_id(&mut message, camel, snake)?.unwrap_or_else(|| Uuid::new_v4().to_string()))
    };
    let (message_id, context_id, task_id) =
        (id("messageId", "message_id")?, id("contextId", "context_id")?, id("taskId", "task_id")?);
    Ok(Message {
        id: message_id,
        context_id,
        task_id,
        role,
        parts: parts.into_iter().map(part_in).collect::<Result<_, _>>()?,
        metadata: metadata_in(message.remove("metadata"), "message.metadata")?,
        reference_task_ids: texts(
            either(&mut message, "referenceTaskIds", "reference_task_ids"),
            "referenceTaskIds",
        )?,
        extensions: texts(message.remove("extensions"), "extensions")?,
    })
}

fn part_in(part: Value) -> Result<Part, RpcError> {
    let bad = |problem: &str| RpcError::params(format!("`message.parts`: {problem}"));
    let Value::Object(mut part) = part else { return Err(bad("a part must be an object")) };
    let text = match part.remove("text") {
        None => None,
        Some(Value::String(text)) => Some(text),
        Some(_) => return Err(bad("`text` must be a string")),
    };
    let metadata = metadata_in(part.remove("metadata"), "part.metadata")?;
    let mut core = match part.get("kind").and_then(Value::as_str) {
        Some("text") => Part::text(text.ok_or_else(|| bad("a text part needs `text`"))?),
        Some("data") => {
            let data = part
                .remove("data")
                .filter(Value::is_object)
                .ok_or_else(|| bad("`data` must be an object"))?;
            Part { content: Content::Data(data), caption: text, ..Part::text("") }
        }
        Some("file") => {
            let Some(Value::Object(mut file)) = part.remove("file") else {
                return Err(bad("`file` must be an object"));
            };
            let mut field = |name| match file.remove(name) {
                Some(Value::String(text)) => Ok(Some(text)),
                None | Some(Value::Null) => Ok(None),
                Some(_) => Err(bad("the fields of `file` must be strings")),
            };
            let content = match (field("bytes")?, field("uri")?) {
                (Some(bytes), _) => Content::Raw(bytes),
                (None, Some(uri)) => Content::Url(uri),
                (None, None) => return Err(bad("a file needs `bytes` or `uri`")),
            };
            let (media_type, filename) = (field("mimeType")?, field("name")?);
            Part { content, caption: text, media_type, filename, metadata: None }
        }
        _ => return Err(bad("`kind` must be `text`, `data` or `file`")),
    };
    core.metadata = metadata;
    Ok(core)
}

fn message_out(message: &Message) -> Value {
    let mut json = json!({
        "message_id": message.id,
        "context_id": message.context_id,
        "task_id": message.task_id,
        "kind": "message",
        "parts": message.parts.iter().map(part_out).collect::<Vec<_>>(),
        "role": match message.role { Role::User => "user", Role::Agent => "agent", Role::System => "system" },
    });
    if let Some(members) = json.as_object_mut() {
        if message.role != Role::Agent || message.metadata.is_some() {
            members
                .insert("metadata".to_owned(), Value::Object(message.metadata.clone().unwrap_or_default()));
        }
        if !message.reference_task_ids.is_empty() {
            members.insert("reference_task_ids".to_owned(), json!(message.reference_task_ids));
        }
        if !message.extensions.is_empty() {
            members.insert("extensions".to_owned(), json!(message.extensions));
        }
    }
    json
}

fn artifact_out(artifact: &Artifact) -> Value {
    json!({
        "artifact_id": artifact.id,
        "name": artifact.name,
        "parts": artifact.parts.iter().map(part_out).collect::<Vec<_>>(),
    })
}

fn part_out(part: &Part) -> Value {
    let caption = part.caption.as_deref().unwrap_or_default();
    let file = |key: &str, content: &str| {
        let mut file = json!({key: content});
        if let Some(members) = file.as_object_mut() {
            for (name, value) in [("mimeType", &part.media_type), ("name", &part.filename)] {
                if let Some(value) = value {
                    members.insert(name.to_owned(), json!(value));
                }
            }
        }
        json!({"kind": "file", "text": caption, "file": file})
    };
    let mut json = match &part.content {
        Content::Text(text) => json!({"kind": "text", "text": text}),
        Content::Data(data) => json!({"kind": "data", "text": caption, "data": data}),
        Content::Raw(bytes) => file("bytes", bytes),
        Content::Url(url) => file("uri", url),
    };
    if let (Some(metadata), Some(members)) = (&part.metadata, json.as_object_mut()) {
        members.insert("metadata".to_owned(), Value::Object(metadata.clone()));
    }
    json
}

fn state_name(state: TaskState) -> &'static str {
    match state {
        TaskState::Submitted => "submitted",
        TaskState::Working => "working",
        TaskState::Completed => "completed",
        TaskState::Failed => "failed",
        TaskState::Canceled => "canceled",
        TaskState::Rejected => "rejected",
        TaskState::InputRequired => "input-required",
        TaskState::AuthRequired => "auth-required",
    }
}

/// A member by either of its names; camelCase wins, as in Python.
fn either(members: &mut Map<String, Value>, camel: &str, snake: &str) -> Option<Value> {
    let by_snake = members.remove(snake);
    members.remove(camel).or(by_snake)
}

fn required_id(members: &mut Map<String, Value>, camel: &str, snake: &str) -> Result<String, RpcError> {
    optional_id(members, camel, snake)?.ok_or_else(|| RpcError::params(format!("`{camel}` is missing")))
}

/// An id. UUIDs in any form are shown in lower case with dashes, as Python does.
fn optional_id(
    members: &mut Map<String, Value>,
    camel: &str,
    snake: &str,
) -> Result<Option<String>, RpcError> {
    match either(members, camel, snake) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) if !id.is_empty() && id.len() <= LONGEST_ID => {
            Ok(Some(Uuid::parse_str(&id).map_or(id, |uuid| uuid.to_string())))
        }
        Some(_) => Err(RpcError::params(format!("`{camel}` must be a string of 1 to {LONGEST_ID} bytes"))),
    }
}

fn metadata_in(value: Option<Value>, name: &str) -> Result<Option<Map<String, Value>>, RpcError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(members)) => Ok(Some(members)),
        Some(_) => Err(RpcError::params(format!("`{name}` must be an object"))),
    }
}

fn texts(value: Option<Value>, name: &str) -> Result<Vec<String>, RpcError> {
    let bad = || RpcError::params(format!("`{name}` must be a list of strings"));
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => {
            items.into_iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(bad)).collect()
        }
        Some(_) => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(message: Value) -> Result<Call, RpcError> {
        call(
            "message/send",
            json!({"message": message, "configuration": {"acceptedOutputModes": ["text/plain"]}}),
        )
    }

    #[test]
    fn both_cases_of_ids_are_read_and_uuids_are_normalised() {
        let undashed = "5C908F70EC507E33BF7D2735C15D5C13";
        for (camel, snake) in [("taskId", "contextId"), ("task_id", "context_id")] {
            let Ok(Call::Send(message)) =
                send(json!({"role": "user", "parts": [], camel: undashed, snake: "any"}))
            else {
                panic!("it is a message");
            };
            assert_eq!(message.task_id, "5c908f70-ec50-7e33-bf7d-2735c15d5c13");
            assert_eq!(message.context_id, "any");
        }
    }

    #[test]
    fn parts_come_back_as_they_were_sent() {
        let parts = json!([
            {"kind": "text", "text": "hello"},
            {"kind": "data", "text": "", "data": {"a": [1, null]}, "metadata": {"k": "v"}},
            {"kind": "file", "text": "", "file": {"bytes": "aGk=", "mimeType": "text/plain", "name": "a.txt"}},
        ]);
        let Ok(Call::Send(message)) = send(json!({"role": "user", "kind": "message", "parts": parts})) else {
            panic!("it is a message");
        };
        assert_eq!(message_out(&message)["parts"], parts);
    }

    #[test]
    fn bad_parameters_are_named() {
        for (message, part) in [
            (json!("x"), "message"),
            (json!({"parts": "x"}), "parts"),
            (json!({"parts": [], "role": "assistant"}), "role"),
            (json!({"parts": [{"text": "x"}]}), "kind"),
            (json!({"parts": [{"kind": "text", "text": 1}]}), "text"),
            (json!({"parts": [], "taskId": 5}), "taskId"),
            (json!({"parts": [], "metadata": []}), "metadata"),
        ] {
            let error = send(message).expect_err("refused");
            assert_eq!(error.code, -32602);
            assert!(error.data.as_deref().unwrap_or_default().contains(part), "{error:?}");
        }
        assert_eq!(call("foo/bar", json!({})).expect_err("refused").code, -32601);
    }
}
