//! Answers and the things in streams, in all dialects, both ways.

use super::{
    Dialect,
    read::{self, Malformed, Read, malformed, members},
    write::{Event, Fields, Listed, Streamed, TaskPushConfig, Wire, fields},
};
use crate::{
    Json,
    call::{Answer, Call, PushConfig, StreamEvent, TaskPage, TaskView},
    json::{self, Kind, kind},
    model::Task,
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;
use std::sync::Arc;

/// An answer as the dialect shows it: the `result` of a JSON-RPC response.
pub(crate) struct Answered<'a>(pub(crate) Dialect, pub(crate) &'a Answer);

impl Serialize for Answered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dialect, answer) = *self;
        match (dialect, answer) {
            (_, Answer::Card(json) | Answer::Bindu(json)) => json.serialize(serializer),
            (Dialect::V1, Answer::Sent(_) | Answer::Message(_) | Answer::Pushes { .. } | Answer::Deleted) => {
                let mut out = fields(dialect, serializer)?;
                self.wrapped(&mut out)?;
                out.map.end()
            }
            (_, Answer::Sent(view) | Answer::Found(view)) => Wire(dialect, view).serialize(serializer),
            (_, Answer::Message(message)) => Wire(dialect, &**message).serialize(serializer),
            (Dialect::V1, Answer::Tasks(page)) => Wire(dialect, page).serialize(serializer),
            (_, Answer::Tasks(page)) => Listed(dialect, &page.tasks).serialize(serializer),
            (Dialect::V1, Answer::Push(config)) => Wire(dialect, config).serialize(serializer),
            (_, Answer::Push(config)) => TaskPushConfig(dialect, config).serialize(serializer),
            (_, Answer::Pushes { configs, .. }) => match configs.as_slice() {
                // Python Bindu knows one configuration for a task, and answers with it.
                [config] if dialect == Dialect::Bindu => {
                    TaskPushConfig(dialect, config).serialize(serializer)
                }
                configs => {
                    serializer.collect_seq(configs.iter().map(|config| TaskPushConfig(dialect, config)))
                }
            },
            (_, Answer::Deleted) => serializer.serialize_unit(),
        }
    }
}

impl Answered<'_> {
    /// What A2A 1.0 answers with an object around it.
    fn wrapped<M: SerializeMap>(&self, out: &mut Fields<M>) -> Result<(), M::Error> {
        let Self(dialect, answer) = *self;
        match answer {
            Answer::Sent(view) => out.put("task", &Wire(dialect, view)),
            Answer::Message(message) => out.put("message", &Wire(dialect, &**message)),
            Answer::Pushes { configs, next_page_token } => {
                out.put("configs", &Configs(dialect, configs))?;
                out.put("nextPageToken", next_page_token)
            }
            _ => Ok(()),
        }
    }
}

struct Configs<'a>(Dialect, &'a [PushConfig]);

impl Serialize for Configs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.1.iter().map(|config| Wire(self.0, config)))
    }
}

/// Reads the answer to a call.
pub(super) fn read(dialect: Dialect, call: &Call, raw: &RawValue) -> Read<Answer> {
    Ok(match call {
        Call::Send(_) | Call::Stream(_) | Call::Subscribe { .. } => match event(dialect, raw)? {
            StreamEvent::Task(task) => Answer::Sent(TaskView::whole(task)),
            StreamEvent::Message(message) => Answer::Message(message),
            _ => return malformed("the result must be a task or a message"),
        },
        Call::Get { .. } | Call::Cancel { .. } => Answer::Found(TaskView::whole(read::task(dialect, raw)?)),
        Call::List(_) if dialect == Dialect::V1 => Answer::Tasks(read::page(raw)?),
        Call::List(_) => {
            let mut tasks =
                read::each(Some(raw), "result", |raw| read::task(dialect, raw).map(TaskView::whole))?;
            if dialect == Dialect::Bindu {
                tasks.reverse();
            }
            Answer::Tasks(TaskPage { tasks, ..TaskPage::default() })
        }
        Call::CreatePush(_) | Call::GetPush { .. } => Answer::Push(push(dialect, raw)?),
        Call::ListPush { .. } => pushes(dialect, raw)?,
        Call::DeletePush { .. } => Answer::Deleted,
        Call::ExtendedCard => match read::object(Some(raw), "result")? {
            Some(card) => Answer::Card(card),
            None => return malformed("the card is empty"),
        },
        Call::ListContexts { .. } | Call::ClearContext { .. } | Call::Feedback { .. } => {
            Answer::Bindu(Json::from(raw))
        }
    })
}

fn push(dialect: Dialect, raw: &RawValue) -> Read<PushConfig> {
    match dialect {
        Dialect::V1 => read::push_config(dialect, raw, ""),
        Dialect::V03 | Dialect::Bindu => read::task_push_config(dialect, Some(raw)),
    }
}

fn pushes(dialect: Dialect, raw: &RawValue) -> Read<Answer> {
    let (list, token) = match dialect {
        Dialect::V1 => {
            let [configs, token] = members(raw, "result", ["configs", "nextPageToken"])?;
            (configs, read::text(token, "nextPageToken")?)
        }
        Dialect::Bindu if kind(raw) == Kind::Object => {
            let configs = vec![push(dialect, raw)?];
            return Ok(Answer::Pushes { configs, next_page_token: String::new() });
        }
        Dialect::V03 | Dialect::Bindu => (Some(raw), None),
    };
    let configs = read::each(list, "configs", |raw| push(dialect, raw))?;
    Ok(Answer::Pushes { configs, next_page_token: token.unwrap_or_default() })
}

/// Reads one thing in a stream.
pub(super) fn event(dialect: Dialect, raw: &RawValue) -> Read<StreamEvent> {
    if dialect != Dialect::V1 {
        return kind_of(raw)?
            .map_or_else(|| malformed("`kind` is missing"), |kind| of_kind(dialect, &kind, raw));
    }
    let [task, message, status, artifact] =
        members(raw, "result", ["task", "message", "statusUpdate", "artifactUpdate"])?;
    match (json::some(task), json::some(message), json::some(status), json::some(artifact)) {
        (Some(raw), ..) => of_kind(dialect, "task", raw),
        (_, Some(raw), ..) => of_kind(dialect, "message", raw),
        (_, _, Some(raw), _) => of_kind(dialect, "status-update", raw),
        (_, _, _, Some(raw)) => of_kind(dialect, "artifact-update", raw),
        _ => malformed("it is not a task, a message, a status update or an artifact update"),
    }
}

fn kind_of(raw: &RawValue) -> Read<Option<String>> {
    let [kind] = members(raw, "result", ["kind"])?;
    read::text(kind, "kind")
}

fn of_kind(dialect: Dialect, kind: &str, raw: &RawValue) -> Read<StreamEvent> {
    let ids = |task_id, context_id| -> Read<(String, String)> {
        let context_id = read::id(dialect, context_id, "contextId")?;
        Ok((read::required_id(dialect, task_id, "taskId")?, context_id.unwrap_or_default()))
    };
    match kind {
        "task" => Ok(StreamEvent::Task(read::task(dialect, raw)?)),
        "message" => Ok(StreamEvent::Message(Arc::new(read::message(dialect, raw, "message")?))),
        "status-update" => {
            let [task_id, context_id, status, is_final] =
                members(raw, "status update", ["taskId", "contextId", "status", "final"])?;
            let (task_id, context_id) = ids(task_id, context_id)?;
            let status = read::status(dialect, status)?;
            let is_final = match dialect {
                Dialect::V1 => status.state.is_terminal(),
                Dialect::V03 | Dialect::Bindu => read::flag(is_final, "final")?.unwrap_or_default(),
            };
            Ok(StreamEvent::Status { task_id, context_id, status, is_final })
        }
        "artifact-update" => {
            let [task_id, context_id, artifact, append, last] =
                members(raw, "artifact update", ["taskId", "contextId", "artifact", "append", "lastChunk"])?;
            let (task_id, context_id) = ids(task_id, context_id)?;
            let Some(artifact) = json::some(artifact) else { return malformed("`artifact` is missing") };
            let mut chunk = read::artifact(dialect, artifact)?;
            chunk.append = read::flag(append, "append")?.unwrap_or_default();
            chunk.is_last = read::flag(last, "lastChunk")?.unwrap_or_default();
            Ok(StreamEvent::Artifact { task_id, context_id, chunk: Arc::new(chunk) })
        }
        _ => Err(Malformed(
            "`kind` must be `task`, `message`, `status-update` or `artifact-update`".to_owned(),
        )),
    }
}

/// A thing in a stream in Python Bindu's dialect: a JSON-RPC response, which 0.3's clients read, and beside `result` the
/// members of the bare event that Python Bindu sends. Its streams begin with the status of the task.
pub(crate) struct BareEvent<'a> {
    pub(crate) id: &'a Json,
    pub(crate) event: &'a StreamEvent,
}

impl Serialize for BareEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let dialect = Dialect::Bindu;
        let mut out = fields(dialect, serializer)?;
        out.put("jsonrpc", "2.0")?;
        out.put("id", self.id)?;
        out.put("result", &Streamed(dialect, self.event))?;
        match self.event {
            StreamEvent::Task(Task { id, context_id, status, .. }) => {
                let status = StreamEvent::Status {
                    task_id: id.clone(),
                    context_id: context_id.clone(),
                    status: status.clone(),
                    is_final: status.state.is_terminal(),
                };
                Event(dialect, &status).write(&mut out)?;
            }
            event => Event(dialect, event).write(&mut out)?,
        }
        out.map.end()
    }
}
