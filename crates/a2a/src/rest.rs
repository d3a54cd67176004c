//! The HTTP+JSON binding of A2A 1.0 (11) as pure mapping: methods and paths are calls, parameters are those of 1.0.
//!
//! Each path may have a tenant in front (`/{tenant}/tasks/...`), which is not looked at: one server is one agent. The paths
//! of 0.3 (`/v1/...`) have another form of JSON and are refused by their version.

use crate::{
    A2aError, Json,
    call::{Answer, Call, PushConfig, StreamItem},
    dialect::{Dialect, Refusal, read, refuse_rest},
    json, media,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};
use url::form_urlencoded;

/// The media type of A2A's bodies; `application/json` is taken as well.
pub const MEDIA_TYPE: &str = "application/a2a+json";

/// What 0.3's paths begin with.
const V03: &str = "v1";

/// What need not be encoded in a segment of a path (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a path names.
#[derive(Debug, PartialEq)]
enum Resource {
    Send,
    Stream,
    Tasks,
    Task(String),
    Cancel(String),
    Subscribe(String),
    Pushes(String),
    Push(String, String),
    Card,
}

/// Reads a call of A2A 1.0. The path begins with `/`, still percent-encoded; the query comes without `?`; the body is
/// JSON, or empty.
///
/// # Errors
/// [`A2aError::Method`] for a path or a method that this binding does not have, [`A2aError::VersionNotSupported`] for a path
/// of 0.3, [`A2aError::Media`] and [`A2aError::Parse`] for a body that is not JSON, and as [`Dialect::decode`].
pub fn decode(method: &str, path: &str, query: Option<&str>, body: &[u8]) -> Result<Call, A2aError> {
    let unknown = || {
        let shown: String = path.chars().take(64).collect();
        A2aError::Method(format!("{method} {shown} is not a method of this agent"))
    };
    let method = if method == "HEAD" { "GET" } else { method };
    let call = match (method, resource(path)?.ok_or_else(unknown)?) {
        ("POST", Resource::Send) => Dialect::V1.decode("SendMessage", Some(object(body)?))?,
        ("POST", Resource::Stream) => Dialect::V1.decode("SendStreamingMessage", Some(object(body)?))?,
        ("GET", Resource::Tasks) => Dialect::V1.decode("ListTasks", Some(from_query(query).raw()))?,
        ("GET", Resource::Card) => Call::ExtendedCard,
        ("POST", Resource::Cancel(id)) => {
            let [metadata] = read::members(object(body)?, "body", ["metadata"])?;
            Call::Cancel { task_id: read::id_text(&id, "id")?, metadata: read::object(metadata, "metadata")? }
        }
        // The specification has POST, its `a2a.proto` GET; the official servers take both.
        ("GET" | "POST", Resource::Subscribe(id)) => {
            Call::Subscribe { task_id: read::id_text(&id, "id")?, after: None }
        }
        ("GET", Resource::Task(id)) => {
            let query = from_query(query);
            let [length] = read::members(query.raw(), "query", ["historyLength"])?;
            let history_length = read::history_length(Dialect::V1, length)?;
            Call::Get { task_id: read::id_text(&id, "id")?, history_length }
        }
        ("POST", Resource::Pushes(task_id)) => {
            let config = read::push_config(Dialect::V1, object(body)?, &task_id)?;
            Call::CreatePush(PushConfig { task_id: read::id_text(&task_id, "taskId")?, ..config })
        }
        ("GET", Resource::Pushes(task_id)) => {
            let query = from_query(query);
            let [size, token] = read::members(query.raw(), "query", ["pageSize", "pageToken"])?;
            Call::ListPush {
                task_id: read::id_text(&task_id, "taskId")?,
                page_size: read::push_page_size(size)?,
                page_token: read::text(token, "pageToken")?.unwrap_or_default(),
            }
        }
        (method @ ("GET" | "DELETE"), Resource::Push(task_id, id)) => {
            let (task_id, id) = (read::id_text(&task_id, "taskId")?, Some(read::id_text(&id, "id")?));
            if method == "GET" { Call::GetPush { task_id, id } } else { Call::DeletePush { task_id, id } }
        }
        _ => return Err(unknown()),
    };
    Ok(call)
}

/// Whether a path belongs to this binding (with or without a tenant), whatever the method.
#[must_use]
pub fn is_path(path: &str) -> bool {
    !matches!(resource(path), Ok(None))
}

/// The HTTP methods that a path of this binding takes; none for one that is refused otherwise, or is not of this binding.
#[must_use]
pub fn methods(path: &str) -> &'static [&'static str] {
    match resource(path) {
        Ok(Some(Resource::Send | Resource::Stream | Resource::Cancel(_))) => &["POST"],
        Ok(Some(Resource::Tasks | Resource::Task(_) | Resource::Card)) => &["GET", "HEAD"],
        Ok(Some(Resource::Subscribe(_))) => &["GET", "POST"],
        Ok(Some(Resource::Pushes(_))) => &["GET", "HEAD", "POST"],
        Ok(Some(Resource::Push(..))) => &["DELETE", "GET", "HEAD"],
        Ok(None) | Err(_) => &[],
    }
}

/// The method, the path with its query, and the body of a call; `None` for a call that A2A 1.0 does not have.
#[must_use]
pub fn ask(call: &Call) -> Option<(&'static str, String, Option<Json>)> {
    let (_, params) = Dialect::V1.ask(call)?;
    let segment = |text: &str| utf8_percent_encode(text, SEGMENT).to_string();
    let task = |id: &str| format!("/tasks/{}", segment(id));
    let pushes = |id: &str| format!("{}/pushNotificationConfigs", task(id));
    let push = |task_id: &str, id: &Option<String>| {
        id.as_ref().map(|id| format!("{}/{}", pushes(task_id), segment(id)))
    };
    let queried = |path: String, skipped: &str| {
        let query = to_query(&params, skipped);
        if query.is_empty() { path } else { format!("{path}?{query}") }
    };
    Some(match call {
        Call::Send(_) => ("POST", "/message:send".to_owned(), Some(params)),
        Call::Stream(_) => ("POST", "/message:stream".to_owned(), Some(params)),
        Call::Get { task_id, .. } => ("GET", queried(task(task_id), "id"), None),
        Call::List(_) => ("GET", queried("/tasks".to_owned(), ""), None),
        Call::Cancel { task_id, .. } => ("POST", format!("{}:cancel", task(task_id)), Some(params)),
        Call::Subscribe { task_id, .. } => ("POST", format!("{}:subscribe", task(task_id)), None),
        Call::CreatePush(config) => ("POST", pushes(&config.task_id), Some(params)),
        Call::GetPush { task_id, id } => ("GET", push(task_id, id)?, None),
        Call::ListPush { task_id, .. } => ("GET", queried(pushes(task_id), "taskId"), None),
        Call::DeletePush { task_id, id } => ("DELETE", push(task_id, id)?, None),
        Call::ExtendedCard => ("GET", "/extendedAgentCard".to_owned(), None),
        Call::ListContexts { .. } | Call::ClearContext { .. } | Call::Feedback { .. } => return None,
    })
}

/// The body of an answer.
#[must_use]
pub fn encode(answer: &Answer) -> Json {
    Dialect::V1.encode(answer)
}

/// One thing in a stream: the data of an SSE event, one line.
#[must_use]
pub fn encode_event(item: &StreamItem) -> Json {
    Dialect::V1.encode_event(item)
}

/// An error: `data` is the whole body (AIP-193), `status` the HTTP status.
#[must_use]
pub fn refuse(error: &A2aError) -> Refusal {
    refuse_rest(error)
}

/// What a path names; `None` for one that is not of this binding.
fn resource(path: &str) -> Result<Option<Resource>, A2aError> {
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).splitn(6, '/').collect();
    match segments.as_slice() {
        [V03, rest @ ..] if of_segments(rest).is_some() || matches!(rest, ["card"]) => {
            Err(A2aError::VersionNotSupported("0.3".to_owned()))
        }
        segments => Ok(of_segments(segments).or_else(|| match segments {
            [tenant, rest @ ..] if !tenant.is_empty() => of_segments(rest),
            _ => None,
        })),
    }
}

fn of_segments(segments: &[&str]) -> Option<Resource> {
    let decoded = |segment: &str| {
        percent_decode_str(segment).decode_utf8().ok().filter(|id| !id.is_empty()).map(|id| id.into_owned())
    };
    // A verb is told from an id by its colon, which is encoded in an id: `job%3Acancel` is a task, `job:cancel` is not.
    let task = |segment: &str| {
        Some(match segment.rsplit_once(':') {
            Some((id, "cancel")) => Resource::Cancel(decoded(id)?),
            Some((id, "subscribe")) => Resource::Subscribe(decoded(id)?),
            _ => Resource::Task(decoded(segment)?),
        })
    };
    Some(match segments {
        ["message:send"] => Resource::Send,
        ["message:stream"] => Resource::Stream,
        ["tasks"] => Resource::Tasks,
        ["tasks", segment] => task(segment)?,
        ["tasks", id, "pushNotificationConfigs"] => Resource::Pushes(decoded(id)?),
        ["tasks", id, "pushNotificationConfigs", config] => Resource::Push(decoded(id)?, decoded(config)?),
        ["extendedAgentCard"] => Resource::Card,
        _ => return None,
    })
}

/// The parameters of a query, as ProtoJSON takes them: numbers and enums may be texts, truth values may not.
fn from_query(query: Option<&str>) -> Json {
    let mut members = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let is_flag = matches!(&*name, "includeArtifacts" | "include_artifacts");
        let value = match &*value {
            "true" if is_flag => Json::of(&true),
            "false" if is_flag => Json::of(&false),
            value => Json::of(value),
        };
        members.insert(name, value);
    }
    Json::of(&members)
}

/// Parameters of ours as a query.
fn to_query(params: &Json, skipped: &str) -> String {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(params.text()).unwrap_or_default();
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in members.iter().filter(|(name, _)| *name != skipped) {
        query.append_pair(name, &json::text(value).unwrap_or(Cow::Borrowed(value.get())));
    }
    query.finish()
}

/// A body that is a JSON object; an empty one is an empty object.
fn object(body: &[u8]) -> Result<&RawValue, A2aError> {
    let body = if body.is_empty() { b"{}" } else { body };
    let raw = media::json(None, body)?;
    match json::kind(raw) {
        json::Kind::Object => Ok(raw),
        _ => Err(A2aError::Request("the body must be an object".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_those_that_are_read() {
        for path in [
            "/message:send",
            "/t/message:stream",
            "/tasks",
            "/tasks/a",
            "/tasks/a:cancel",
            "/tasks/a:subscribe",
            "/t/tasks/a/pushNotificationConfigs",
            "/tasks/a/pushNotificationConfigs/b",
            "/extendedAgentCard",
        ] {
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get"] {
                let body = r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"x"}]},"url":"https://a.example"}"#;
                let read = decode(method, path, None, body.as_bytes());
                let is_head_of_a_stream = method == "HEAD" && path.ends_with(":subscribe");
                let is_taken = methods(path).contains(&method) || is_head_of_a_stream;
                assert_eq!(!matches!(read, Err(A2aError::Method(_))), is_taken, "{method} {path}: {read:?}");
            }
        }
        assert!(methods("/v1/tasks").is_empty() && methods("/elsewhere").is_empty());
    }

    #[test]
    fn paths_and_methods_are_calls() {
        let get = |id: &str, length| Call::Get { task_id: id.to_owned(), history_length: length };
        let push = |task: &str, id: &str| (task.to_owned(), Some(id.to_owned()));
        for (method, path, query, want) in [
            ("GET", "/tasks/a", None, get("a", None)),
            ("GET", "/tasks/a%2Fb%20c", Some("historyLength=3"), get("a/b c", Some(3))),
            ("GET", "/tenant/tasks/a", Some("history_length=0&x=y"), get("a", Some(0))),
            ("GET", "/tasks/tasks", None, get("tasks", None)),
            ("GET", "/tasks/a:b", None, get("a:b", None)),
            ("POST", "/tasks/a:cancel", None, Call::Cancel { task_id: "a".to_owned(), metadata: None }),
            ("POST", "/t/tasks/a:b:cancel", None, Call::Cancel { task_id: "a:b".to_owned(), metadata: None }),
            ("GET", "/tasks/a%3Acancel", None, get("a:cancel", None)),
            (
                "POST",
                "/tasks/a%3Acancel:cancel",
                None,
                Call::Cancel { task_id: "a:cancel".to_owned(), metadata: None },
            ),
            ("GET", "/tasks/a%3Asubscribe", None, get("a:subscribe", None)),
            (
                "POST",
                "/tasks/a:subscribe:subscribe",
                None,
                Call::Subscribe { task_id: "a:subscribe".to_owned(), after: None },
            ),
            ("GET", "/tasks/a:subscribe", None, Call::Subscribe { task_id: "a".to_owned(), after: None }),
            ("POST", "/tasks/a:subscribe", None, Call::Subscribe { task_id: "a".to_owned(), after: None }),
            ("GET", "/extendedAgentCard", None, Call::ExtendedCard),
            ("GET", "/tasks/a/pushNotificationConfigs/b", None, {
                let (task_id, id) = push("a", "b");
                Call::GetPush { task_id, id }
            }),
            ("DELETE", "/t/tasks/a/pushNotificationConfigs/b", None, {
                let (task_id, id) = push("a", "b");
                Call::DeletePush { task_id, id }
            }),
            (
                "GET",
                "/tasks",
                Some(
                    "pageSize=7&status=TASK_STATE_WORKING&includeArtifacts=true&contextId=true&pageToken=a%2Bb",
                ),
                Call::List(crate::call::ListRequest {
                    context_id: Some("true".to_owned()),
                    state: Some(crate::model::TaskState::Working),
                    page_size: Some(7),
                    page_token: "a+b".to_owned(),
                    include_artifacts: true,
                    ..Default::default()
                }),
            ),
        ] {
            assert_eq!(decode(method, path, query, b""), Ok(want), "{method} {path}");
            assert!(is_path(path));
        }
    }

    #[test]
    fn what_is_not_of_this_binding_is_refused() {
        for (method, path, status) in [
            ("GET", "/", 404),
            ("GET", "/message:send", 404),
            ("PUT", "/tasks/a", 404),
            ("GET", "/tasks/", 404),
            ("GET", "/tasks/%ff", 404),
            ("GET", "/a/b/tasks/c", 404),
            ("POST", "/v1/message:send", 400),
            ("GET", "/v1/card", 400),
            ("POST", "/message:send", 400),
            ("GET", "/tasks/a/pushNotificationConfigs/b/c", 404),
        ] {
            let error = decode(method, path, None, b"").expect_err(path);
            let refusal = refuse(&error);
            assert_eq!(refusal.status, status, "{method} {path}");
            let body: serde_json::Value =
                serde_json::from_str(refusal.data.expect("a body").text()).expect("JSON");
            assert_eq!(body["error"]["code"], status);
            assert_eq!(body["error"]["details"][0]["domain"], "a2a-protocol.org");
        }
        let error = decode("GET", "/tasks", Some("pageSize=101"), b"").expect_err("too large");
        assert_eq!(refuse(&error).status, 400);
        assert!(decode("POST", "/message:send", None, b"[]").is_err());
        assert_eq!(
            decode("POST", "/message:send", None, b"\x1f\x8b").map_err(|e| e.facts().status),
            Err(415)
        );
    }
}
