//! From JSON to the core's types. What is read is kept as text; nothing builds a tree of it.

use super::{Dialect, part};
use crate::{
    A2aError, Json,
    call::{ListRequest, PushAuthentication, PushConfig, SendRequest, TaskPage, TaskView, UnknownTask},
    dialect::names,
    event::ArtifactChunk,
    json::{self, Items, Kind, kind},
    model::{Artifact, Message, Role, Task, TaskState, TaskStatus},
};
use jiff::Timestamp;
use serde_json::value::RawValue;
use std::sync::Arc;
use uuid::Uuid;

/// The longest id that is read, in bytes.
pub(super) const MAX_ID: usize = 256;

/// The most media types that a caller may accept: each costs more here than its bytes.
const MAX_OUTPUT_MODES: usize = 256;

/// The largest page of tasks (A2A 1.0, `ListTasksRequest.page_size`).
const MAX_PAGE: i64 = 100;

/// JSON that is not what it should be; the text names the member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

impl From<Malformed> for A2aError {
    fn from(malformed: Malformed) -> Self {
        Self::Params(malformed.0)
    }
}

pub(crate) type Read<T> = Result<T, Malformed>;
type Value<'a> = Option<&'a RawValue>;

pub(super) fn malformed<T>(problem: impl Into<String>) -> Read<T> {
    Err(Malformed(problem.into()))
}

fn missing<T>(name: &str) -> Read<T> {
    malformed(format!("`{name}` is missing"))
}

/// The members of an object.
pub(crate) fn members<'a, const N: usize>(
    raw: &'a RawValue,
    name: &str,
    names: [&str; N],
) -> Read<[Value<'a>; N]> {
    json::members(raw, names).ok_or_else(|| Malformed(format!("`{name}` must be an object")))
}

/// The members of the parameters, which may be left out.
pub(super) fn params<'a, const N: usize>(raw: Value<'a>, names: [&str; N]) -> Read<[Value<'a>; N]> {
    match json::some(raw) {
        None => Ok([None; N]),
        Some(raw) => members(raw, "params", names),
    }
}

pub(crate) fn text(value: Value<'_>, name: &str) -> Read<Option<String>> {
    match json::some(value) {
        None => Ok(None),
        Some(value) => match json::string(value) {
            None => malformed(format!("`{name}` must be a string")),
            text => Ok(text),
        },
    }
}

/// A text that is not empty: ProtoJSON does not tell an empty text from none.
fn some_text(value: Value<'_>, name: &str) -> Read<Option<String>> {
    Ok(text(value, name)?.filter(|text| !text.is_empty()))
}

/// An id. In Python Bindu's dialect UUIDs in any form are shown in lower case with dashes, as Python does.
pub(super) fn id(dialect: Dialect, value: Value<'_>, name: &str) -> Read<Option<String>> {
    let bad = || malformed(format!("`{name}` must be a string of 1 to {MAX_ID} bytes"));
    match json::some(value).map(json::string) {
        None => Ok(None),
        Some(Some(id)) if id.is_empty() && dialect != Dialect::Bindu => Ok(None),
        Some(Some(id)) if (1..=MAX_ID).contains(&id.len()) => Ok(Some(match dialect {
            Dialect::Bindu => Uuid::parse_str(&id).map_or(id, |uuid| uuid.to_string()),
            Dialect::V1 | Dialect::V03 => id,
        })),
        Some(_) => bad(),
    }
}

/// An id that is not JSON, out of a path for example.
pub(crate) fn id_text(id: &str, name: &str) -> Read<String> {
    required_id(Dialect::V1, Some(Json::of(id).raw()), name)
}

pub(super) fn required_id(dialect: Dialect, value: Value<'_>, name: &str) -> Read<String> {
    id(dialect, value, name)?.map_or_else(|| missing(name), Ok)
}

/// A whole number. ProtoJSON takes it as a string and as `5.0` as well.
pub(super) fn number(value: Value<'_>, name: &str) -> Read<Option<i64>> {
    let Some(value) = json::some(value) else { return Ok(None) };
    let text = json::string(value).unwrap_or_else(|| value.get().to_owned());
    let whole = text.strip_suffix(".0").unwrap_or(&text).parse().ok();
    let is_one = matches!(kind(value), Kind::Number | Kind::String);
    match whole.filter(|_| is_one) {
        None => malformed(format!("`{name}` must be a whole number")),
        whole => Ok(whole),
    }
}

/// How many messages of the history. In A2A 1.0 0 is none; in the others 0 and less is all.
pub(crate) fn history_length(dialect: Dialect, value: Value<'_>) -> Read<Option<usize>> {
    let Some(length) = number(value, "historyLength")? else { return Ok(None) };
    match (dialect, usize::try_from(length)) {
        (Dialect::V1, Ok(length)) => Ok(Some(length)),
        (Dialect::V1, Err(_)) => malformed("`historyLength` must not be negative"),
        (_, length) => Ok(length.ok().filter(|length| *length > 0)),
    }
}

/// The size of a page of push configurations; 0 is the default.
pub(crate) fn push_page_size(value: Value<'_>) -> Read<Option<usize>> {
    match usize::try_from(number(value, "pageSize")?.unwrap_or_default()) {
        Ok(size) => Ok(Some(size).filter(|size| *size > 0)),
        Err(_) => malformed("`pageSize` must not be negative"),
    }
}

pub(super) fn flag(value: Value<'_>, name: &str) -> Read<Option<bool>> {
    match json::some(value).map(RawValue::get) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => malformed(format!("`{name}` must be true or false")),
    }
}

/// An object that is kept as it is; an empty one is none.
pub(crate) fn object(value: Value<'_>, name: &str) -> Read<Option<Json>> {
    match json::some(value) {
        None => Ok(None),
        Some(object) if kind(object) == Kind::Object => {
            Ok(Some(Json::from(object)).filter(|object| object.text() != "{}"))
        }
        Some(_) => malformed(format!("`{name}` must be an object")),
    }
}

/// A list of strings that is kept as it is; an empty one is none.
pub(super) fn texts(value: Value<'_>, name: &str) -> Read<Option<Json>> {
    match json::some(value) {
        None => Ok(None),
        Some(list) if json::is_list_of_strings(list) => {
            Ok(Some(Json::from(list)).filter(|list| list.text() != "[]"))
        }
        Some(_) => malformed(format!("`{name}` must be a list of strings")),
    }
}

fn output_modes(value: Value<'_>) -> Read<Vec<String>> {
    let name = "acceptedOutputModes";
    let Some(value) = json::some(value) else { return Ok(Vec::new()) };
    let bad = || Malformed(format!("`{name}` must be a list of at most {MAX_OUTPUT_MODES} strings"));
    let modes = Items::of(value).ok_or_else(bad)?.take(MAX_OUTPUT_MODES + 1);
    let modes: Vec<String> =
        modes.map(|mode| json::string(mode).ok_or_else(bad)).collect::<Result<_, _>>()?;
    if modes.len() > MAX_OUTPUT_MODES { Err(bad()) } else { Ok(modes) }
}

fn timestamp(value: Value<'_>, name: &str) -> Read<Option<Timestamp>> {
    match some_text(value, name)?.map(|text| text.parse()) {
        None => Ok(None),
        Some(Ok(time)) => Ok(Some(time)),
        Some(Err(_)) => malformed(format!("`{name}` must be a time as in RFC 3339")),
    }
}

/// Whether an enum's value says that it is not set: ProtoJSON's zero value, or what `ts-proto` writes for `undefined` (the official
/// JavaScript SDK sends it for a filter that is left out).
fn is_unset(text: &str) -> bool {
    matches!(text, "0" | "UNRECOGNIZED" | "TASK_STATE_UNSPECIFIED" | "ROLE_UNSPECIFIED")
}

/// A state or a role, which A2A 1.0 writes as a name or a number.
fn named<T>(value: Value<'_>, name: &str, of: impl Fn(&str) -> Option<T>) -> Read<Option<T>> {
    let Some(value) = json::some(value) else { return Ok(None) };
    let text = json::text(value).unwrap_or_else(|| value.get().into());
    if is_unset(&text) {
        return Ok(None);
    }
    of(&text).map_or_else(|| malformed(format!("`{name}` has an unknown value")), |found| Ok(Some(found)))
}

fn state(dialect: Dialect, value: Value<'_>, name: &str) -> Read<TaskState> {
    named(value, name, |text| names::state(dialect, text))?.map_or_else(|| missing(name), Ok)
}

/// A message, `name` in errors.
pub(super) fn message(dialect: Dialect, raw: &RawValue, name: &str) -> Read<Message> {
    let [message_id, context_id, task_id, role, parts, metadata, extensions, references, is_kind] = members(
        raw,
        name,
        [
            "messageId",
            "contextId",
            "taskId",
            "role",
            "parts",
            "metadata",
            "extensions",
            "referenceTaskIds",
            "kind",
        ],
    )?;
    if dialect != Dialect::V1 {
        check_kind(is_kind, "message", name)?;
    }
    let role = named(role, "role", |text| names::role(dialect, text))?;
    let message_id = id(dialect, message_id, "messageId")?;
    let (message_id, role) = match (dialect, message_id, role) {
        (Dialect::Bindu, id, role) => {
            (id.unwrap_or_else(|| Uuid::new_v4().to_string()), role.unwrap_or(Role::User))
        }
        (_, Some(id), Some(role)) => (id, role),
        (_, None, _) => return missing("messageId"),
        (_, _, None) => return missing("role"),
    };
    let Some(parts) = json::some(parts) else { return missing("parts") };
    Ok(Message {
        id: message_id,
        context_id: id(dialect, context_id, "contextId")?.unwrap_or_default(),
        task_id: id(dialect, task_id, "taskId")?.unwrap_or_default(),
        role,
        parts: part::read_all(dialect, parts)?,
        metadata: object(metadata, "metadata")?,
        extensions: texts(extensions, "extensions")?,
        reference_task_ids: texts(references, "referenceTaskIds")?,
    })
}

/// `kind` may be left out; if it is there it is right.
fn check_kind(value: Value<'_>, is: &str, name: &str) -> Read<()> {
    match json::some(value) {
        Some(kind) if json::text(kind).as_deref() != Some(is) => {
            malformed(format!("`{name}.kind` must be `{is}`"))
        }
        _ => Ok(()),
    }
}

/// The parameters of a message that is sent.
pub(super) fn send(dialect: Dialect, raw: Value<'_>) -> Read<SendRequest> {
    let [message, configuration, metadata] = params(raw, ["message", "configuration", "metadata"])?;
    let Some(message) = json::some(message) else { return malformed("`message` must be an object") };
    let message = self::message(dialect, message, "message")?;
    if dialect == Dialect::V1 && message.parts.text() == "[]" {
        return malformed("`message.parts` must not be empty");
    }
    let [modes, history, immediately, blocking, push_v1, push] = match json::some(configuration) {
        None => [None; 6],
        Some(configuration) => members(
            configuration,
            "configuration",
            [
                "acceptedOutputModes",
                "historyLength",
                "returnImmediately",
                "blocking",
                "taskPushNotificationConfig",
                "pushNotificationConfig",
            ],
        )?,
    };
    let is_blocking = match dialect {
        Dialect::V1 => !flag(immediately, "returnImmediately")?.unwrap_or_default(),
        // The specification leaves the default open; the official servers wait unless they are told not to.
        Dialect::V03 => flag(blocking, "blocking")?.unwrap_or(true),
        // Python Bindu never waits. A plain `true` is a 0.3 client's that sends no version header, and expects it.
        Dialect::Bindu => flag(blocking, "blocking")?.unwrap_or_default(),
    };
    let config = if dialect == Dialect::V1 { push_v1 } else { push };
    let config =
        json::some(config).map(|config| push_config(dialect, config, &message.task_id)).transpose()?;
    Ok(SendRequest {
        accepted_output_modes: output_modes(modes)?,
        history_length: history_length(dialect, history)?,
        is_blocking,
        push: config,
        metadata: object(metadata, "metadata")?,
        unknown_task: match dialect {
            Dialect::V1 | Dialect::V03 => UnknownTask::IsNotFound,
            Dialect::Bindu => UnknownTask::IsNew,
        },
        extensions: Vec::new(),
        message,
    })
}

/// A push configuration, without the task around it that 0.3 and Python Bindu have.
pub(crate) fn push_config(dialect: Dialect, raw: &RawValue, task_id: &str) -> Read<PushConfig> {
    let [config_id, task, url, token, authentication] =
        members(raw, "pushNotificationConfig", ["id", "taskId", "url", "token", "authentication"])?;
    let Some(url) = some_text(url, "url")? else { return missing("url") };
    Ok(PushConfig {
        id: id(dialect, config_id, "id")?.unwrap_or_default(),
        task_id: match dialect {
            Dialect::V1 => id(dialect, task, "taskId")?.unwrap_or_else(|| task_id.to_owned()),
            Dialect::V03 | Dialect::Bindu => task_id.to_owned(),
        },
        url,
        token: some_text(token, "token")?,
        authentication: match json::some(authentication) {
            None => None,
            Some(raw) => push_authentication(dialect, raw)?,
        },
        dialect,
    })
}

/// 0.3 has a list of schemes, of which the first one counts (as in the official compatibility layer); Python Bindu takes a
/// security scheme of OpenAPI.
fn push_authentication(dialect: Dialect, raw: &RawValue) -> Read<Option<PushAuthentication>> {
    let [scheme, schemes, credentials] =
        members(raw, "authentication", ["scheme", "schemes", "credentials"])?;
    let mut scheme = some_text(scheme, "scheme")?;
    if dialect != Dialect::V1
        && let Some(schemes) = json::some(schemes)
    {
        let Some(mut schemes) = Items::of(schemes) else { return malformed("`schemes` must be a list") };
        scheme = some_text(schemes.next(), "schemes")?.or(scheme);
    }
    let credentials = some_text(credentials, "credentials")?;
    match (scheme, dialect) {
        (Some(scheme), _) => Ok(Some(PushAuthentication { scheme, credentials })),
        (None, Dialect::V1) => missing("authentication.scheme"),
        (None, _) => Ok(None),
    }
}

/// A push configuration with its task around it: 0.3's and Python Bindu's form.
pub(super) fn task_push_config(dialect: Dialect, raw: Value<'_>) -> Read<PushConfig> {
    let [task_id, task, config] = params(raw, ["taskId", "id", "pushNotificationConfig"])?;
    let task_id = required_id(dialect, json::some(task_id).or(task), "taskId")?;
    match json::some(config) {
        Some(config) => push_config(dialect, config, &task_id),
        None => missing("pushNotificationConfig"),
    }
}

/// The parameters of A2A 1.0's `ListTasks`.
pub(super) fn list_request(raw: Value<'_>) -> Read<ListRequest> {
    let dialect = Dialect::V1;
    let [context_id, status, since, size, token, history, artifacts] = params(
        raw,
        [
            "contextId",
            "status",
            "statusTimestampAfter",
            "pageSize",
            "pageToken",
            "historyLength",
            "includeArtifacts",
        ],
    )?;
    let page_size = match number(size, "pageSize")? {
        None => None,
        Some(size @ 1..=MAX_PAGE) => usize::try_from(size).ok(),
        Some(_) => return malformed(format!("`pageSize` must be from 1 to {MAX_PAGE}")),
    };
    Ok(ListRequest {
        context_id: id(dialect, context_id, "contextId")?,
        state: named(status, "status", |text| names::state(dialect, text))?,
        changed_since: timestamp(since, "statusTimestampAfter")?,
        page_size,
        page_token: text(token, "pageToken")?.unwrap_or_default(),
        history_length: history_length(dialect, history)?,
        include_artifacts: flag(artifacts, "includeArtifacts")?.unwrap_or_default(),
    })
}

/// A task.
pub(super) fn task(dialect: Dialect, raw: &RawValue) -> Read<Task> {
    let [task_id, context_id, status, history, artifacts, metadata] =
        members(raw, "task", ["id", "contextId", "status", "history", "artifacts", "metadata"])?;
    let history = each(history, "history", |raw| message(dialect, raw, "history").map(Arc::new))?;
    let artifacts = each(artifacts, "artifacts", |raw| {
        let chunk = artifact(dialect, raw)?;
        Ok(Arc::new(Artifact {
            id: chunk.id,
            name: chunk.name,
            description: chunk.description,
            chunks: vec![chunk.parts],
            metadata: chunk.metadata,
            extensions: chunk.extensions,
        }))
    })?;
    Ok(Task {
        id: required_id(dialect, task_id, "id")?,
        context_id: id(dialect, context_id, "contextId")?.unwrap_or_default(),
        status: self::status(dialect, status)?,
        history,
        artifacts,
        metadata: object(metadata, "metadata")?,
    })
}

pub(super) fn each<T>(value: Value<'_>, name: &str, read: impl Fn(&RawValue) -> Read<T>) -> Read<Vec<T>> {
    match json::some(value).map(Items::of) {
        None => Ok(Vec::new()),
        Some(Some(items)) => items.map(read).collect(),
        Some(None) => malformed(format!("`{name}` must be a list")),
    }
}

/// A status. Without a time, which A2A does not require, it is the beginning of 1970.
pub(super) fn status(dialect: Dialect, value: Value<'_>) -> Read<TaskStatus> {
    let Some(raw) = json::some(value) else { return missing("status") };
    let [state, message, time] = members(raw, "status", ["state", "message", "timestamp"])?;
    let message = json::some(message).map(|raw| self::message(dialect, raw, "status.message")).transpose()?;
    Ok(TaskStatus {
        state: self::state(dialect, state, "status.state")?,
        message: message.map(Arc::new),
        timestamp: timestamp(time, "status.timestamp")?.unwrap_or(Timestamp::UNIX_EPOCH),
    })
}

/// An artifact, as the only chunk of one.
pub(super) fn artifact(dialect: Dialect, raw: &RawValue) -> Read<ArtifactChunk> {
    let [artifact_id, name, description, parts, metadata, extensions] =
        members(raw, "artifact", ["artifactId", "name", "description", "parts", "metadata", "extensions"])?;
    let parts = match json::some(parts) {
        Some(parts) => part::read_all(dialect, parts)?,
        None => crate::PartsBuilder::default().build(),
    };
    Ok(ArtifactChunk {
        id: required_id(dialect, artifact_id, "artifactId")?,
        name: some_text(name, "name")?,
        description: some_text(description, "description")?,
        parts: Arc::new(parts),
        metadata: object(metadata, "metadata")?,
        extensions: texts(extensions, "extensions")?,
        append: false,
        is_last: false,
    })
}

/// A page of tasks in A2A 1.0's form.
pub(super) fn page(raw: &RawValue) -> Read<TaskPage> {
    let [tasks, token, size, total] =
        members(raw, "result", ["tasks", "nextPageToken", "pageSize", "totalSize"])?;
    let count = |value, name| Ok(number(value, name)?.and_then(|n| usize::try_from(n).ok()).unwrap_or(0));
    Ok(TaskPage {
        tasks: each(tasks, "tasks", |raw| task(Dialect::V1, raw).map(TaskView::whole))?,
        next_page_token: text(token, "nextPageToken")?.unwrap_or_default(),
        page_size: count(size, "pageSize")?,
        total_size: count(total, "totalSize")?,
    })
}
