//! A2A 1.0: `SendMessage` and its kin, ProtoJSON.
//!
//! Names are camelCase (snake_case is read as well), enums in capitals, times with milliseconds, and what a field's default
//! would say is left out. Unknown members are ignored. Field names and rules: `a2a.proto` of A2A 1.0.1, and ProtoJSON.

use super::{
    Dialect, names,
    read::{self, params, required_id},
    write::{Fields, Wire, fields},
};
use crate::{
    A2aError,
    call::{Call, ListRequest, SendRequest},
    json,
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

const V1: Dialect = Dialect::V1;

pub(super) fn decode(method: &str, raw: Option<&RawValue>) -> Result<Call, A2aError> {
    let call = match method {
        "SendMessage" => Call::Send(Box::new(read::send(V1, raw)?)),
        "SendStreamingMessage" => Call::Stream(Box::new(read::send(V1, raw)?)),
        "GetTask" => {
            let [id, length] = params(raw, ["id", "historyLength"])?;
            Call::Get {
                task_id: required_id(V1, id, "id")?,
                history_length: read::history_length(V1, length)?,
            }
        }
        "ListTasks" => Call::List(read::list_request(raw)?),
        "CancelTask" => {
            let [id, metadata] = params(raw, ["id", "metadata"])?;
            Call::Cancel {
                task_id: required_id(V1, id, "id")?,
                metadata: read::object(metadata, "metadata")?,
            }
        }
        "SubscribeToTask" => {
            let [id] = params(raw, ["id"])?;
            Call::Subscribe { task_id: required_id(V1, id, "id")?, after: None }
        }
        "CreateTaskPushNotificationConfig" => {
            let Some(raw) = json::some(raw) else {
                return Err(A2aError::Params("`taskId` is missing".into()));
            };
            let config = read::push_config(V1, raw, "")?;
            if config.task_id.is_empty() {
                return Err(A2aError::Params("`taskId` is missing".into()));
            }
            Call::CreatePush(config)
        }
        "GetTaskPushNotificationConfig" | "DeleteTaskPushNotificationConfig" => {
            let [task_id, id] = params(raw, ["taskId", "id"])?;
            let (task_id, id) = (required_id(V1, task_id, "taskId")?, Some(required_id(V1, id, "id")?));
            if method.starts_with("Get") {
                Call::GetPush { task_id, id }
            } else {
                Call::DeletePush { task_id, id }
            }
        }
        "ListTaskPushNotificationConfigs" => {
            let [task_id, size, token] = params(raw, ["taskId", "pageSize", "pageToken"])?;
            Call::ListPush {
                task_id: required_id(V1, task_id, "taskId")?,
                page_size: read::push_page_size(size)?,
                page_token: read::text(token, "pageToken")?.unwrap_or_default(),
            }
        }
        "GetExtendedAgentCard" => Call::ExtendedCard,
        other => return Err(super::unknown_method(other)),
    };
    Ok(call)
}

/// The method of a call; `None` for what A2A 1.0 has not.
pub(super) fn method(call: &Call) -> Option<&'static str> {
    Some(match call {
        Call::Send(_) => "SendMessage",
        Call::Stream(_) => "SendStreamingMessage",
        Call::Get { .. } => "GetTask",
        Call::List(_) => "ListTasks",
        Call::Cancel { .. } => "CancelTask",
        Call::Subscribe { .. } => "SubscribeToTask",
        Call::CreatePush(_) => "CreateTaskPushNotificationConfig",
        Call::GetPush { .. } => "GetTaskPushNotificationConfig",
        Call::ListPush { .. } => "ListTaskPushNotificationConfigs",
        Call::DeletePush { .. } => "DeleteTaskPushNotificationConfig",
        Call::ExtendedCard => "GetExtendedAgentCard",
        Call::ListContexts { .. } | Call::ClearContext { .. } | Call::Feedback { .. } => return None,
    })
}

/// The parameters of a call.
pub(super) struct Params<'a>(pub(super) &'a Call);

impl Serialize for Params<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = fields(V1, serializer)?;
        match self.0 {
            Call::Send(request) | Call::Stream(request) => send(request, &mut out)?,
            Call::Get { task_id, history_length } => {
                out.put("id", task_id)?;
                out.put_some("historyLength", history_length.as_ref())?;
            }
            Call::List(request) => list(request, &mut out)?,
            Call::Cancel { task_id, metadata } => {
                out.put("id", task_id)?;
                out.put_some("metadata", metadata.as_ref())?;
            }
            Call::Subscribe { task_id, .. } => out.put("id", task_id)?,
            Call::CreatePush(config) => out.push(config)?,
            Call::GetPush { task_id, id } | Call::DeletePush { task_id, id } => {
                out.put("taskId", task_id)?;
                out.put_some("id", id.as_ref())?;
            }
            Call::ListPush { task_id, page_size, page_token } => {
                out.put("taskId", task_id)?;
                out.put_some("pageSize", page_size.as_ref())?;
                out.put_some("pageToken", Some(page_token).filter(|token| !token.is_empty()))?;
            }
            Call::ExtendedCard
            | Call::ListContexts { .. }
            | Call::ClearContext { .. }
            | Call::Feedback { .. } => {}
        }
        out.map.end()
    }
}

fn send<M: SerializeMap>(request: &SendRequest, out: &mut Fields<M>) -> Result<(), M::Error> {
    out.put("message", &Wire(V1, &request.message))?;
    out.put("configuration", &Configuration(request))?;
    out.put_some("metadata", request.metadata.as_ref())
}

struct Configuration<'a>(&'a SendRequest);

impl Serialize for Configuration<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let request = self.0;
        let mut out = fields(V1, serializer)?;
        if !request.accepted_output_modes.is_empty() {
            out.put("acceptedOutputModes", &request.accepted_output_modes)?;
        }
        out.put_some("historyLength", request.history_length.as_ref())?;
        if !request.is_blocking {
            out.put("returnImmediately", &true)?;
        }
        let push = request.push.as_ref().map(|push| Wire(V1, push));
        out.put_some("taskPushNotificationConfig", push.as_ref())?;
        out.map.end()
    }
}

fn list<M: SerializeMap>(request: &ListRequest, out: &mut Fields<M>) -> Result<(), M::Error> {
    out.put_some("contextId", request.context_id.as_ref())?;
    out.put_some("status", request.state.map(|state| names::of_state(V1, state)).as_ref())?;
    let since = request.changed_since.map(|since| since.to_string());
    out.put_some("statusTimestampAfter", since.as_ref())?;
    out.put_some("pageSize", request.page_size.as_ref())?;
    out.put_some("pageToken", Some(&request.page_token).filter(|token| !token.is_empty()))?;
    out.put_some("historyLength", request.history_length.as_ref())?;
    if request.include_artifacts { out.put("includeArtifacts", &true) } else { Ok(()) }
}
