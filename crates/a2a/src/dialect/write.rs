//! From the core's types to JSON, written at once: no tree of it is built. Parts of A2A 1.0 go out as the text that they are.

use super::{Dialect, names, part};
use crate::{
    Content, Part, Parts,
    call::{PushAuthentication, PushConfig, StreamEvent, TaskPage, TaskView},
    event::ArtifactChunk,
    json::Members,
    model::{Artifact, Message, Role, Task, TaskStatus},
};
use bindu_identity::text_signature::METADATA_KEY;
use jiff::Timestamp;
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::value::RawValue;
use std::sync::Arc;

/// Something in a dialect.
pub(super) struct Wire<'a, T: ?Sized>(pub(super) Dialect, pub(super) &'a T);

/// The members of an object of a dialect.
pub(super) struct Fields<M> {
    pub(super) dialect: Dialect,
    pub(super) map: M,
}

pub(super) fn fields<S: Serializer>(
    dialect: Dialect,
    serializer: S,
) -> Result<Fields<S::SerializeMap>, S::Error> {
    Ok(Fields { dialect, map: serializer.serialize_map(None)? })
}

impl<M: SerializeMap> Fields<M> {
    pub(super) fn put(
        &mut self,
        name: &'static str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), M::Error> {
        self.map.serialize_entry(name, value)
    }

    pub(super) fn put_some(
        &mut self,
        name: &'static str,
        value: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.put(name, value))
    }

    /// A member that Python Bindu's callers know in snake_case. 0.3's own clients send no version and get Bindu's dialect
    /// as well: so in that there are both.
    pub(super) fn both(
        &mut self,
        snake: &'static str,
        camel: &'static str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), M::Error> {
        if self.dialect == Dialect::Bindu {
            self.put(snake, value)?;
        }
        self.put(camel, value)
    }

    fn both_some(
        &mut self,
        snake: &'static str,
        camel: &'static str,
        value: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.both(snake, camel, value))
    }

    /// What kind of object it is, except in A2A 1.0.
    fn kind(&mut self, kind: &'static str) -> Result<(), M::Error> {
        if self.dialect == Dialect::V1 { Ok(()) } else { self.put("kind", kind) }
    }
}

fn filled(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// A time as the dialect writes it: RFC 3339 with milliseconds, or Python's `isoformat`.
pub(super) fn time(dialect: Dialect, time: Timestamp) -> String {
    match dialect {
        // RFC 3339 as it is shown, which is faster than a format that is read first.
        Dialect::V1 | Dialect::V03 => format!("{time:.3}"),
        Dialect::Bindu => {
            let shown = format!("{time:.6}");
            format!("{}+00:00", shown.strip_suffix('Z').unwrap_or(&shown))
        }
    }
}

impl Serialize for Wire<'_, [&Parts]> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dialect, chunks) = self;
        if let (Dialect::V1, [parts]) = (dialect, chunks) {
            return parts.json().serialize(serializer);
        }
        let mut list = serializer.serialize_seq(None)?;
        for parts in *chunks {
            if *dialect == Dialect::V1 {
                parts.items().try_for_each(|part| list.serialize_element(part))?;
            } else {
                parts.iter().try_for_each(|part| list.serialize_element(&part::Shown(*dialect, part)))?;
            }
        }
        list.end()
    }
}

impl Serialize for Wire<'_, Message> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dialect, message) = self;
        let mut out = fields(*dialect, serializer)?;
        out.both("message_id", "messageId", &message.id)?;
        out.both_some("context_id", "contextId", filled(&message.context_id))?;
        out.both_some("task_id", "taskId", filled(&message.task_id))?;
        out.kind("message")?;
        out.put("role", names::of_role(*dialect, message.role))?;
        out.put("parts", &Wire(*dialect, [&message.parts].as_slice()))?;
        match &message.metadata {
            // Python Bindu puts an empty one into callers' messages.
            None if *dialect == Dialect::Bindu && message.role != Role::Agent => {
                out.put("metadata", &std::collections::BTreeMap::<(), ()>::new())?;
            }
            metadata => out.put_some("metadata", metadata.as_ref())?,
        }
        out.both_some("reference_task_ids", "referenceTaskIds", message.reference_task_ids.as_ref())?;
        out.put_some("extensions", message.extensions.as_ref())?;
        out.map.end()
    }
}

impl Serialize for Wire<'_, TaskStatus> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dialect, status) = self;
        let mut out = fields(*dialect, serializer)?;
        out.put("state", names::of_state(*dialect, status.state))?;
        out.put("timestamp", &time(*dialect, status.timestamp))?;
        out.put_some("message", status.message.as_ref().map(|message| Wire(*dialect, &**message)).as_ref())?;
        out.map.end()
    }
}

impl Serialize for Wire<'_, Artifact> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dialect, artifact) = self;
        let mut out = fields(*dialect, serializer)?;
        out.both("artifact_id", "artifactId", &artifact.id)?;
        out.put_some("name", artifact.name.as_ref())?;
        out.put_some("description", artifact.description.as_ref())?;
        let one = (*dialect == Dialect::Bindu).then(|| one_text(artifact)).flatten();
        let chunks: Vec<&Parts> = match &one {
            Some(one) => vec![one],
            None => artifact.chunks.iter().map(|parts| &**parts).collect(),
        };
        out.put("parts", &Wire(*dialect, chunks.as_slice()))?;
        out.put_some("metadata", artifact.metadata.as_ref())?;
        out.put_some("extensions", artifact.extensions.as_ref())?;
        out.map.end()
    }
}

/// A text that was streamed and is signed as one, as Python Bindu's callers verify it: one part with its signature.
fn one_text(artifact: &Artifact) -> Option<Parts> {
    if artifact.chunks.len() < 2 {
        return None;
    }
    let metadata: &RawValue = serde_json::from_str(artifact.metadata.as_ref()?.text()).ok()?;
    let signature = Members::of(metadata)?.take(METADATA_KEY)?;
    let mut text = String::new();
    for part in artifact.parts() {
        match part.content {
            Content::Text(piece) if part.metadata.is_none() => text.push_str(&piece),
            _ => return None,
        }
    }
    let metadata = RawValue::from_string(format!("{{\"{METADATA_KEY}\":{}}}", signature.get())).ok()?;
    Some(Parts::of(&Part { metadata: Some(&metadata), ..Part::text(text) }))
}

impl Serialize for Wire<'_, ArtifactChunk> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dialect, chunk) = self;
        let mut out = fields(*dialect, serializer)?;
        out.both("artifact_id", "artifactId", &chunk.id)?;
        out.put_some("name", chunk.name.as_ref())?;
        out.put_some("description", chunk.description.as_ref())?;
        out.put("parts", &Wire(*dialect, [&*chunk.parts].as_slice()))?;
        out.put_some("metadata", chunk.metadata.as_ref())?;
        out.put_some("extensions", chunk.extensions.as_ref())?;
        out.map.end()
    }
}

/// Objects of a list, each in the dialect.
pub(super) struct All<'a, T>(pub(super) Dialect, pub(super) &'a [T]);

impl<'a, T> Serialize for All<'a, Arc<T>>
where
    Wire<'a, T>: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dialect, items) = *self;
        serializer.collect_seq(items.iter().map(|item| Wire(dialect, &**item)))
    }
}

impl Serialize for Wire<'_, TaskView> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dialect, view) = self;
        task(*dialect, &view.task, (view.history(), view.with_artifacts), serializer)
    }
}

impl Serialize for Wire<'_, Task> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        task(self.0, self.1, (&self.1.history, true), serializer)
    }
}

fn task<S: Serializer>(
    dialect: Dialect,
    task: &Task,
    (history, with_artifacts): (&[Arc<Message>], bool),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut out = fields(dialect, serializer)?;
    out.put("id", &task.id)?;
    out.both_some("context_id", "contextId", filled(&task.context_id))?;
    out.kind("task")?;
    out.put("status", &Wire(dialect, &task.status))?;
    // Python Bindu's tasks have a history always.
    if !history.is_empty() || dialect == Dialect::Bindu {
        out.put("history", &All(dialect, history))?;
    }
    if with_artifacts && !task.artifacts.is_empty() {
        out.put("artifacts", &All(dialect, task.artifacts.as_slice()))?;
    }
    out.put_some("metadata", task.metadata.as_ref())?;
    out.map.end()
}

impl Serialize for Wire<'_, TaskPage> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dialect, page) = *self;
        let mut out = fields(dialect, serializer)?;
        out.put("tasks", &Listed(dialect, &page.tasks))?;
        out.put("nextPageToken", &page.next_page_token)?;
        out.put("pageSize", &page.page_size)?;
        out.put("totalSize", &page.total_size)?;
        out.map.end()
    }
}

/// Tasks of a page; in Python Bindu's dialect the oldest come first.
pub(super) struct Listed<'a>(pub(super) Dialect, pub(super) &'a [TaskView]);

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dialect, tasks) = *self;
        let tasks = tasks.iter().map(|view| Wire(dialect, view));
        match dialect {
            Dialect::Bindu => serializer.collect_seq(tasks.rev()),
            Dialect::V1 | Dialect::V03 => serializer.collect_seq(tasks),
        }
    }
}

impl Serialize for Wire<'_, PushConfig> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = fields(self.0, serializer)?;
        out.push(self.1)?;
        out.map.end()
    }
}

impl<M: SerializeMap> Fields<M> {
    /// The members of a push configuration; without its task, except in A2A 1.0.
    pub(super) fn push(&mut self, config: &PushConfig) -> Result<(), M::Error> {
        self.put_some("id", filled(&config.id))?;
        if self.dialect == Dialect::V1 {
            self.put_some("taskId", filled(&config.task_id))?;
        }
        self.put("url", &config.url)?;
        self.put_some("token", config.token.as_ref())?;
        let authentication = config.authentication.as_ref().map(|auth| Wire(self.dialect, auth));
        self.put_some("authentication", authentication.as_ref())
    }
}

impl Serialize for Wire<'_, PushAuthentication> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dialect, authentication) = self;
        let mut out = fields(*dialect, serializer)?;
        match dialect {
            Dialect::V1 => out.put("scheme", &authentication.scheme)?,
            Dialect::V03 | Dialect::Bindu => out.put("schemes", &[&authentication.scheme])?,
        }
        out.put_some("credentials", authentication.credentials.as_ref())?;
        out.map.end()
    }
}

/// A push configuration with its task around it: 0.3's and Python Bindu's form.
pub(super) struct TaskPushConfig<'a>(pub(super) Dialect, pub(super) &'a PushConfig);

impl Serialize for TaskPushConfig<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dialect, config) = *self;
        let mut out = fields(dialect, serializer)?;
        if dialect == Dialect::Bindu {
            out.put("id", &config.task_id)?;
        }
        out.put("taskId", &config.task_id)?;
        out.both("push_notification_config", "pushNotificationConfig", &Wire(dialect, config))?;
        out.map.end()
    }
}

/// A status or artifact event.
pub(super) struct Event<'a>(pub(super) Dialect, pub(super) &'a StreamEvent);

impl Event<'_> {
    pub(super) fn write<M: SerializeMap>(&self, out: &mut Fields<M>) -> Result<(), M::Error> {
        let dialect = out.dialect;
        match self.1 {
            StreamEvent::Task(_) | StreamEvent::Message(_) => Ok(()),
            StreamEvent::Status { task_id, context_id, status, is_final } => {
                out.kind("status-update")?;
                out.both("task_id", "taskId", task_id)?;
                out.both_some("context_id", "contextId", filled(context_id))?;
                out.put("status", &Wire(dialect, status))?;
                if dialect == Dialect::V1 { Ok(()) } else { out.put("final", is_final) }
            }
            StreamEvent::Artifact { task_id, context_id, chunk } => {
                out.kind("artifact-update")?;
                out.both("task_id", "taskId", task_id)?;
                out.both_some("context_id", "contextId", filled(context_id))?;
                out.put("artifact", &Wire(dialect, &**chunk))?;
                // ProtoJSON leaves out what is false.
                if chunk.append || dialect != Dialect::V1 {
                    out.put("append", &chunk.append)?;
                }
                if chunk.is_last || dialect != Dialect::V1 {
                    out.both("last_chunk", "lastChunk", &chunk.is_last)?;
                }
                Ok(())
            }
        }
    }
}

impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = fields(self.0, serializer)?;
        self.write(&mut out)?;
        out.map.end()
    }
}

/// One thing in a stream, as the dialect shows it: the `result` of a JSON-RPC response.
pub(crate) struct Streamed<'a>(pub(crate) Dialect, pub(crate) &'a StreamEvent);

impl Serialize for Streamed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dialect, event) = *self;
        if dialect != Dialect::V1 {
            return match event {
                StreamEvent::Task(task) => Wire(dialect, task).serialize(serializer),
                StreamEvent::Message(message) => Wire(dialect, &**message).serialize(serializer),
                _ => Event(dialect, event).serialize(serializer),
            };
        }
        let mut out = fields(dialect, serializer)?;
        match event {
            StreamEvent::Task(task) => out.put("task", &Wire(dialect, task))?,
            StreamEvent::Message(message) => out.put("message", &Wire(dialect, &**message))?,
            StreamEvent::Status { .. } => out.put("statusUpdate", &Event(dialect, event))?,
            StreamEvent::Artifact { .. } => out.put("artifactUpdate", &Event(dialect, event))?,
        }
        out.map.end()
    }
}
