//! Python Bindu's dialect: slash methods, parameters in snake_case or camelCase, answers in snake_case.
//!
//! Stricter than needed where it protects us, looser where it costs nothing: ids need not be UUIDs, and what Python
//! demands without using (`configuration`, `kind`) may be left out.

use super::rpc::RpcError;
use crate::task::{Artifact, Content, Message, Part, Role, Task, TaskState};
use axum::http::StatusCode;
use bindu_a2a::{
    Json,
    json::{Kind, Members, kind, list, string},
};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
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
pub(crate) fn call(method: &str, params: Option<&RawValue>) -> Result<Call, RpcError> {
    let params = || match params {
        None => Ok(Members::default()),
        Some(params) if kind(params) == Kind::Null => Ok(Members::default()),
        Some(params) => Members::of(params).ok_or_else(|| RpcError::params("`params` must be an object")),
    };
    match method {
        "message/send" => {
            let message = params()?.take("message").and_then(Members::of);
            let message = message.ok_or_else(|| RpcError::params("`message` must be an object"))?;
            Ok(Call::Send(Box::new(message_in(message)?)))
        }
        "tasks/get" => {
            let mut params = params()?;
            let history_length = either(&mut params, "historyLength", "history_length")
                .filter(|value| kind(value) != Kind::Null)
                .map(|value| serde_json::from_str::<i64>(value.get()))
                .transpose()
                .map_err(|_| RpcError::params("`historyLength` must be a number"))?;
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
pub(crate) fn task_out(task: &Task, history_length: Option<usize>) -> Json {
    Json::of(&TaskOut::of(task, history_length))
}

/// Tasks as JSON.
pub(crate) fn tasks_out(tasks: &[Task]) -> Json {
    Json::of(&tasks.iter().map(|task| TaskOut::of(task, None)).collect::<Vec<_>>())
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

fn message_in(mut message: Members<'_>) -> Result<Message, RpcError> {
    let role = match message.take_text("role").as_deref() {
        Some("user") | None => Role::User,
        Some("agent") => Role::Agent,
        Some("system") => Role::System,
        Some(_) => return Err(RpcError::params("`message.role` must be `user`, `agent` or `system`")),
    };
    if message.take("kind").is_some_and(|kind| string(kind).as_deref() != Some("message")) {
        return Err(RpcError::params("`message.kind` must be `message`"));
    }
    let Some(parts) = message.take("parts").and_then(list) else {
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
        metadata: metadata_in(message.take_some("metadata"), "message.metadata")?,
        reference_task_ids: texts(
            either(&mut message, "referenceTaskIds", "reference_task_ids"),
            "referenceTaskIds",
        )?,
        extensions: texts(message.take("extensions"), "extensions")?,
    })
}

fn part_in(part: &RawValue) -> Result<Part, RpcError> {
    let bad = |problem: &str| RpcError::params(format!("`message.parts`: {problem}"));
    let mut part = Members::of(part).ok_or_else(|| bad("a part must be an object"))?;
    let text = part.take("text").map(|text| string(text).ok_or_else(|| bad("`text` must be a string")));
    let text = text.transpose()?;
    let metadata = metadata_in(part.take_some("metadata"), "part.metadata")?;
    let mut core = match part.take_text("kind").as_deref() {
        Some("text") => Part::text(text.ok_or_else(|| bad("a text part needs `text`"))?),
        Some("data") => {
            let data = part.take("data").filter(|data| kind(data) == Kind::Object);
            let data = data.ok_or_else(|| bad("`data` must be an object"))?;
            Part { content: Content::Data(data.into()), caption: text, ..Part::text("") }
        }
        Some("file") => {
            let file = part.take("file").and_then(Members::of);
            let mut file = file.ok_or_else(|| bad("`file` must be an object"))?;
            let mut field = |name| match file.take_some(name).map(string) {
                Some(Some(text)) => Ok(Some(text)),
                None => Ok(None),
                Some(None) => Err(bad("the fields of `file` must be strings")),
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

#[derive(Serialize)]
struct TaskOut<'a> {
    id: &'a str,
    context_id: &'a str,
    kind: &'static str,
    status: StatusOut<'a>,
    history: Vec<MessageOut<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    artifacts: Vec<ArtifactOut<'a>>,
}

#[derive(Serialize)]
struct StatusOut<'a> {
    state: &'static str,
    timestamp: &'a str,
}

#[derive(Serialize)]
struct ArtifactOut<'a> {
    artifact_id: &'a str,
    name: &'a str,
    parts: Vec<PartOut<'a>>,
}

#[derive(Serialize)]
struct MessageOut<'a> {
    message_id: &'a str,
    context_id: &'a str,
    task_id: &'a str,
    kind: &'static str,
    role: &'static str,
    parts: Vec<PartOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<MetadataOut<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    reference_task_ids: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    extensions: &'a [String],
}

#[derive(Serialize)]
#[serde(untagged)]
enum MetadataOut<'a> {
    Some(&'a Json),
    /// An object without members.
    None(BTreeMap<&'static str, &'static str>),
}

#[derive(Serialize)]
struct PartOut<'a> {
    kind: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<FileOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Json>,
}

#[derive(Default, Serialize)]
struct FileOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<&'a str>,
    #[serde(rename = "mimeType", skip_serializing_if = "Option::is_none")]
    media_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

impl<'a> TaskOut<'a> {
    fn of(task: &'a Task, history_length: Option<usize>) -> Self {
        let skipped = history_length.map_or(0, |length| task.history.len().saturating_sub(length));
        Self {
            id: &task.id,
            context_id: &task.context_id,
            kind: "task",
            status: StatusOut { state: state_name(task.status.state), timestamp: &task.status.timestamp },
            history: task.history.iter().skip(skipped).map(MessageOut::of).collect(),
            artifacts: task.artifacts.iter().map(ArtifactOut::of).collect(),
        }
    }
}

impl<'a> MessageOut<'a> {
    fn of(message: &'a Message) -> Self {
        let metadata = match &message.metadata {
            Some(metadata) => Some(MetadataOut::Some(metadata)),
            None if message.role == Role::Agent => None,
            None => Some(MetadataOut::None(BTreeMap::new())),
        };
        Self {
            message_id: &message.id,
            context_id: &message.context_id,
            task_id: &message.task_id,
            kind: "message",
            role: match message.role {
                Role::User => "user",
                Role::Agent => "agent",
                Role::System => "system",
            },
            parts: message.parts.iter().map(PartOut::of).collect(),
            metadata,
            reference_task_ids: &message.reference_task_ids,
            extensions: &message.extensions,
        }
    }
}

impl<'a> ArtifactOut<'a> {
    fn of(artifact: &'a Artifact) -> Self {
        Self {
            artifact_id: &artifact.id,
            name: &artifact.name,
            parts: artifact.parts.iter().map(PartOut::of).collect(),
        }
    }
}

impl<'a> PartOut<'a> {
    fn of(part: &'a Part) -> Self {
        let caption = part.caption.as_deref().unwrap_or_default();
        let file = FileOut {
            media_type: part.media_type.as_deref(),
            name: part.filename.as_deref(),
            ..FileOut::default()
        };
        let (kind, text, data, file) = match &part.content {
            Content::Text(text) => ("text", text.as_str(), None, None),
            Content::Data(data) => ("data", caption, Some(data), None),
            Content::Raw(bytes) => ("file", caption, None, Some(FileOut { bytes: Some(bytes), ..file })),
            Content::Url(uri) => ("file", caption, None, Some(FileOut { uri: Some(uri), ..file })),
        };
        Self { kind, text, data, file, metadata: part.metadata.as_ref() }
    }
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
fn either<'a>(members: &mut Members<'a>, camel: &str, snake: &str) -> Option<&'a RawValue> {
    let by_snake = members.take(snake);
    members.take(camel).or(by_snake)
}

fn required_id(members: &mut Members<'_>, camel: &str, snake: &str) -> Result<String, RpcError> {
    optional_id(members, camel, snake)?.ok_or_else(|| RpcError::params(format!("`{camel}` is missing")))
}

/// An id. UUIDs in any form are shown in lower case with dashes, as Python does.
fn optional_id(members: &mut Members<'_>, camel: &str, snake: &str) -> Result<Option<String>, RpcError> {
    match either(members, camel, snake).filter(|id| kind(id) != Kind::Null).map(string) {
        None => Ok(None),
        Some(Some(id)) if !id.is_empty() && id.len() <= LONGEST_ID => {
            Ok(Some(Uuid::parse_str(&id).map_or(id, |uuid| uuid.to_string())))
        }
        Some(_) => Err(RpcError::params(format!("`{camel}` must be a string of 1 to {LONGEST_ID} bytes"))),
    }
}

fn metadata_in(value: Option<&RawValue>, name: &str) -> Result<Option<Json>, RpcError> {
    match value {
        None => Ok(None),
        Some(metadata) if kind(metadata) == Kind::Object => Ok(Some(metadata.into())),
        Some(_) => Err(RpcError::params(format!("`{name}` must be an object"))),
    }
}

fn texts(value: Option<&RawValue>, name: &str) -> Result<Vec<String>, RpcError> {
    let bad = || RpcError::params(format!("`{name}` must be a list of strings"));
    match value.filter(|value| kind(value) != Kind::Null) {
        None => Ok(Vec::new()),
        Some(value) => {
            list(value).ok_or_else(bad)?.into_iter().map(|item| string(item).ok_or_else(bad)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn send_text(message: &str) -> Result<Call, RpcError> {
        let params =
            format!(r#"{{"message":{message},"configuration":{{"acceptedOutputModes":["text/plain"]}}}}"#);
        bindu_a2a::json::check(&params).map_err(RpcError::parse)?;
        call("message/send", Some(serde_json::from_str(&params).expect("JSON")))
    }

    fn send(message: Value) -> Result<Call, RpcError> {
        send_text(&message.to_string())
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
        let out = serde_json::to_value(MessageOut::of(&message)).expect("JSON");
        assert_eq!(out["parts"], parts);
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
        assert_eq!(call("foo/bar", None).expect_err("refused").code, -32601);
    }

    /// Numbers as JSON writes them: longer than any machine's, in all spellings, and within a double's range.
    fn number() -> impl Strategy<Value = String> {
        let digits = prop_oneof![Just("0".to_owned()), "[1-9][0-9]{0,60}", "[1-9][0-9]{100,150}"];
        ("-?", digits, "(\\.[0-9]{1,40})?", "([eE](\\+?[0-9]{1,2}|-[0-9]{1,4}))?")
            .prop_map(|(sign, digits, fraction, exponent)| format!("{sign}{digits}{fraction}{exponent}"))
    }

    /// JSON texts with numbers, escapes and names that come twice.
    fn document() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            4 => number(),
            1 => Just("null".to_owned()),
            1 => Just(r#""A\ud83d\ude00\/""#.to_owned()),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
                prop::collection::vec(inner, 0..4).prop_map(|items| {
                    let members: Vec<String> = items.iter().map(|item| format!("\"a b\":{item}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        /// What callers send as JSON comes back as the same text.
        #[test]
        fn json_comes_back_as_it_was_sent(data in document(), metadata in document(), part in document()) {
            let message = format!(
                r#"{{"parts":[{{"kind":"data","data":{{"v":{data}}},"metadata":{{"v":{part}}}}}],"metadata":{{"v":{metadata}}}}}"#
            );
            let Ok(Call::Send(message)) = send_text(&message) else { panic!("it is a message") };
            let out = Json::of(&MessageOut::of(&message));
            for (name, text) in [("data", &data), ("metadata", &metadata), ("metadata", &part)] {
                let want = format!(r#""{name}":{{"v":{text}}}"#);
                prop_assert!(out.text().contains(&want), "{} in {}", want, out.text());
            }
            prop_assert_eq!(message.as_text(), format!(r#"{{"v":{data}}}"#));
        }

        /// So do the ids of requests.
        #[test]
        fn ids_come_back_as_they_were_sent(id in number()) {
            let body = format!(r#"{{"jsonrpc":"2.0","method":"x","id": {id} }}"#);
            let request = super::super::rpc::RpcRequest::parse(&axum::http::HeaderMap::new(), body.as_bytes());
            prop_assert_eq!(request.map(|request| request.id.text().to_owned()).ok(), Some(id));
        }
    }
}
