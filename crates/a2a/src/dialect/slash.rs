//! The dialects with slash names: A2A 0.3 (`A2A-Version: 0.3`) and Python Bindu's (no version).
//!
//! 0.3 has camelCase, `kind`, `final` and states in lower case; its types: `a2a/types.py` of a2a-sdk 0.3.26. Python Bindu's
//! callers write and read snake_case as well, name a task `taskId` where 0.3 has `id`, choose the ids of tasks, and have
//! methods of their own. Stricter than Python if that protects us, looser if it costs nothing: ids need not be UUIDs, and
//! what Python demands without using it (`configuration`, `kind`, `acceptedOutputModes`) may be left out. So 0.3's own
//! clients, which send no version, are served here too.

use super::{
    Dialect,
    read::{self, params, required_id},
    write::{Fields, TaskPushConfig, Wire, fields},
};
use crate::{
    A2aError, Json,
    call::{Call, ListRequest, SendRequest},
    json::{self, Kind, kind},
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

pub(super) fn decode(dialect: Dialect, method: &str, raw: Option<&RawValue>) -> Result<Call, A2aError> {
    let is_bindu = dialect == Dialect::Bindu;
    let call = match method {
        "message/send" => Call::Send(Box::new(read::send(dialect, raw)?)),
        "message/stream" => Call::Stream(Box::new(read::send(dialect, raw)?)),
        "tasks/get" => {
            let [task_id, id, length] = params(raw, ["taskId", "id", "historyLength"])?;
            Call::Get {
                task_id: task(dialect, task_id, id)?,
                history_length: read::history_length(dialect, length)?,
            }
        }
        "tasks/cancel" => {
            let [task_id, id, metadata] = params(raw, ["taskId", "id", "metadata"])?;
            let task_id = task(dialect, task_id, id)?;
            Call::Cancel { task_id, metadata: read::object(metadata, "metadata")? }
        }
        "tasks/resubscribe" => {
            let [task_id, id] = params(raw, ["taskId", "id"])?;
            Call::Subscribe { task_id: task(dialect, task_id, id)?, after: None }
        }
        "tasks/pushNotificationConfig/set" => Call::CreatePush(read::task_push_config(dialect, raw)?),
        "tasks/pushNotificationConfig/get" => {
            let (task_id, id) = push_ids(dialect, raw)?;
            Call::GetPush { task_id, id }
        }
        "tasks/pushNotificationConfig/list" => {
            let (task_id, _) = push_ids(dialect, raw)?;
            Call::ListPush { task_id, page_size: None, page_token: String::new() }
        }
        "tasks/pushNotificationConfig/delete" => {
            let (task_id, id) = push_ids(dialect, raw)?;
            let Some(id) = id else {
                return Err(A2aError::Params("`pushNotificationConfigId` is missing".to_owned()));
            };
            Call::DeletePush { task_id, id: Some(id) }
        }
        "agent/getAuthenticatedExtendedCard" => Call::ExtendedCard,
        "tasks/list" if is_bindu => {
            params(raw, [])?;
            Call::List(all_tasks())
        }
        "contexts/list" if is_bindu => {
            let [length, history] = params(raw, ["length", "historyLength"])?;
            let length = read::number(json::some(length).or(history), "length")?.unwrap_or_default();
            Call::ListContexts { length: usize::try_from(length).ok().filter(|length| *length > 0) }
        }
        "contexts/clear" if is_bindu => {
            let [context_id] = params(raw, ["contextId"])?;
            Call::ClearContext { context_id: required_id(dialect, context_id, "contextId")? }
        }
        "tasks/feedback" if is_bindu => feedback(raw)?,
        other => return Err(super::unknown_method(other)),
    };
    Ok(call)
}

/// What Python Bindu answers to `tasks/list`: the caller's tasks, whole, as many as are given at once.
fn all_tasks() -> ListRequest {
    ListRequest { include_artifacts: true, page_size: Some(usize::MAX), ..ListRequest::default() }
}

/// A task's id by the name of Python Bindu or of 0.3.
fn task(dialect: Dialect, task_id: Option<&RawValue>, id: Option<&RawValue>) -> Result<String, A2aError> {
    Ok(required_id(dialect, json::some(task_id).or(id), "taskId")?)
}

fn push_ids(dialect: Dialect, raw: Option<&RawValue>) -> Result<(String, Option<String>), A2aError> {
    let [task_id, id, config] = params(raw, ["taskId", "id", "pushNotificationConfigId"])?;
    Ok((task(dialect, task_id, id)?, read::id(dialect, config, "pushNotificationConfigId")?))
}

#[derive(Serialize)]
struct Feedback<'a> {
    feedback: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    rating: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Json>,
}

fn feedback(raw: Option<&RawValue>) -> Result<Call, A2aError> {
    let [task_id, text, rating, metadata] = params(raw, ["taskId", "feedback", "rating", "metadata"])?;
    let task_id = required_id(Dialect::Bindu, task_id, "taskId")?;
    let Some(text) = text.filter(|text| kind(text) == Kind::String) else {
        return Err(A2aError::Params("`feedback` must be a string".to_owned()));
    };
    let rating = read::number(rating, "rating")?;
    if rating.is_some_and(|rating| !(1..=5).contains(&rating)) {
        return Err(A2aError::Params("`rating` must be from 1 to 5".to_owned()));
    }
    let metadata = read::object(metadata, "metadata")?;
    Ok(Call::Feedback {
        task_id,
        feedback: Json::from(Json::of(&Feedback { feedback: text, rating, metadata }).raw()),
    })
}

/// The method of a call; `None` for what the dialect has not.
pub(super) fn method(dialect: Dialect, call: &Call) -> Option<&'static str> {
    let is_bindu = dialect == Dialect::Bindu;
    Some(match call {
        Call::Send(_) => "message/send",
        Call::Stream(_) => "message/stream",
        Call::Get { .. } => "tasks/get",
        Call::Cancel { .. } => "tasks/cancel",
        Call::Subscribe { .. } => "tasks/resubscribe",
        Call::CreatePush(_) => "tasks/pushNotificationConfig/set",
        Call::GetPush { .. } => "tasks/pushNotificationConfig/get",
        Call::ListPush { .. } => "tasks/pushNotificationConfig/list",
        Call::DeletePush { .. } => "tasks/pushNotificationConfig/delete",
        Call::ExtendedCard => "agent/getAuthenticatedExtendedCard",
        Call::List(_) if is_bindu => "tasks/list",
        Call::ListContexts { .. } if is_bindu => "contexts/list",
        Call::ClearContext { .. } if is_bindu => "contexts/clear",
        Call::Feedback { .. } if is_bindu => "tasks/feedback",
        Call::List(_) | Call::ListContexts { .. } | Call::ClearContext { .. } | Call::Feedback { .. } => {
            return None;
        }
    })
}

/// The parameters of a call.
pub(super) struct Params<'a>(pub(super) Dialect, pub(super) &'a Call);

impl Serialize for Params<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dialect, call) = *self;
        if let Call::CreatePush(config) = call {
            return TaskPushConfig(dialect, config).serialize(serializer);
        }
        let mut out = fields(dialect, serializer)?;
        match call {
            Call::Send(request) | Call::Stream(request) => {
                out.put("message", &Wire(dialect, &request.message))?;
                out.put("configuration", &Configuration(dialect, request))?;
                out.put_some("metadata", request.metadata.as_ref())?;
            }
            Call::Get { task_id, history_length } => {
                out.task(task_id)?;
                out.put_some("historyLength", history_length.as_ref())?;
            }
            Call::Cancel { task_id, metadata } => {
                out.task(task_id)?;
                out.put_some("metadata", metadata.as_ref())?;
            }
            Call::Subscribe { task_id, .. } | Call::ListPush { task_id, .. } => out.push_of(task_id, None)?,
            Call::GetPush { task_id, id } | Call::DeletePush { task_id, id } => {
                out.push_of(task_id, id.as_deref())?;
            }
            Call::ListContexts { length } => out.put_some("length", length.as_ref())?,
            Call::ClearContext { context_id } => out.put("contextId", context_id)?,
            Call::Feedback { task_id, feedback } => {
                let [text, rating, metadata] =
                    json::members(feedback.raw(), ["feedback", "rating", "metadata"]).unwrap_or_default();
                out.put("taskId", task_id)?;
                out.put_some("feedback", text)?;
                out.put_some("rating", rating)?;
                out.put_some("metadata", metadata)?;
            }
            Call::CreatePush(_) | Call::ExtendedCard | Call::List(_) => {}
        }
        out.map.end()
    }
}

impl<M: SerializeMap> Fields<M> {
    /// A task by the name that the dialect has for it.
    fn task(&mut self, task_id: &str) -> Result<(), M::Error> {
        self.put(if self.dialect == Dialect::Bindu { "taskId" } else { "id" }, task_id)
    }

    /// A task and a push configuration: here, Python Bindu calls the task `id` or `taskId`.
    fn push_of(&mut self, task_id: &str, config_id: Option<&str>) -> Result<(), M::Error> {
        self.put("id", task_id)?;
        if self.dialect == Dialect::Bindu {
            self.put("taskId", task_id)?;
        }
        self.put_some("pushNotificationConfigId", config_id)
    }
}

struct Configuration<'a>(Dialect, &'a SendRequest);

impl Serialize for Configuration<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dialect, request) = *self;
        let mut out = fields(dialect, serializer)?;
        // Python Bindu demands the list, empty or not.
        if !request.accepted_output_modes.is_empty() || dialect == Dialect::Bindu {
            out.put("acceptedOutputModes", &request.accepted_output_modes)?;
        }
        out.put_some("historyLength", request.history_length.as_ref())?;
        if request.is_blocking || dialect == Dialect::V03 {
            out.put("blocking", &request.is_blocking)?;
        }
        let push = request.push.as_ref().map(|push| Wire(dialect, push));
        out.put_some("pushNotificationConfig", push.as_ref())?;
        out.map.end()
    }
}
