//! Errors in the dialects. Codes collide (A2A 1.0's -32008 and -32009 are other errors than Python Bindu's), so each
//! dialect has a table of its own.

use super::{Dialect, names};
use crate::{A2aError, Json, json};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// An error as a dialect shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The JSON-RPC code.
    pub code: i32,
    /// The message for the caller.
    pub message: String,
    /// The `data` of the JSON-RPC error (on HTTP+JSON: the whole body).
    pub data: Option<Json>,
    /// How long to wait, in seconds, if waiting helps.
    pub retry_after: Option<u64>,
}

/// The domain of A2A's errors (A2A 1.0, 9.5).
const DOMAIN: &str = "a2a-protocol.org";

#[derive(Serialize)]
#[serde(untagged)]
enum Detail {
    Info {
        #[serde(rename = "@type")]
        kind: &'static str,
        reason: &'static str,
        domain: &'static str,
        metadata: BTreeMap<&'static str, String>,
    },
    Retry {
        #[serde(rename = "@type")]
        kind: &'static str,
        #[serde(rename = "retryDelay")]
        delay: String,
    },
}

/// The details of an error: `google.rpc.ErrorInfo`, and `RetryInfo` if waiting helps.
fn details(error: &A2aError) -> Vec<Detail> {
    let mut metadata = BTreeMap::new();
    match error {
        A2aError::Ended { task_id, state } => {
            metadata.insert("taskId", task_id.clone());
            metadata.insert("state", names::of_state(Dialect::V1, *state).to_owned());
        }
        A2aError::NotCancelable(state) => {
            metadata.insert("state", names::of_state(Dialect::V1, *state).to_owned());
        }
        A2aError::VersionNotSupported(version) => {
            metadata.insert("requestedVersion", version.clone());
            metadata.insert("supportedVersions", "1.0,0.3".to_owned());
        }
        A2aError::ExtensionRequired(uri) => {
            metadata.insert("extension", uri.clone());
        }
        _ => {}
    }
    let kind = "type.googleapis.com/google.rpc.ErrorInfo";
    let mut details = vec![Detail::Info { kind, reason: error.facts().reason, domain: DOMAIN, metadata }];
    if let Some(seconds) = error.retry_after() {
        let kind = "type.googleapis.com/google.rpc.RetryInfo";
        details.push(Detail::Retry { kind, delay: format!("{seconds}s") });
    }
    details
}

/// A2A 1.0 on JSON-RPC: HTTP 200 for errors too (9.5), except for those of the transport: a body that is too long or in
/// another form, and what a client should come again with later.
pub(super) fn v1(error: &A2aError) -> Refusal {
    let facts = error.facts();
    let status = match error {
        A2aError::Media(_) | A2aError::TooLarge | A2aError::TooMany { .. } | A2aError::Unavailable { .. } => {
            facts.status
        }
        _ => 200,
    };
    Refusal {
        status,
        code: facts.code,
        message: error.to_string(),
        data: Some(Json::of(&details(error))),
        retry_after: error.retry_after(),
    }
}

/// A2A 0.3: as 1.0. It has no words for what its own table (0.3, 8.2) does not list; such errors keep 1.0's codes.
pub(super) fn v03(error: &A2aError) -> Refusal {
    let mut refusal = v1(error);
    if matches!(error, A2aError::ExtensionRequired(_)) {
        refusal.code = -32004;
    }
    refusal
}

#[derive(Serialize)]
struct Status<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: u16,
    status: &'static str,
    message: &'a str,
    details: &'a [Detail],
}

/// A2A 1.0 on HTTP+JSON: AIP-193 (11.6).
pub(crate) fn rest(error: &A2aError) -> Refusal {
    let (facts, message) = (error.facts(), error.to_string());
    let details = details(error);
    let body = Body { code: facts.status, status: facts.grpc, message: &message, details: &details };
    Refusal {
        status: facts.status,
        code: facts.code,
        data: Some(Json::of(&Status { error: body })),
        message,
        retry_after: error.retry_after(),
    }
}

const PARSE: &str = "Failed to parse JSON payload. Please ensure the request body contains valid JSON syntax. See: https://www.jsonrpc.org/specification#error_object";
const METHOD: &str =
    "The requested method is not available on this server. Please check the method name and try again.";
const PARAMS: &str = "Invalid or missing parameters for the requested method. Please verify parameter types and required fields.";
const INTERNAL: &str = "An internal server error occurred while processing the request. Please try again or contact support if the issue persists. See: /health";
const MEDIA: &str = "The body's content type, encoding or charset is not supported. Send JSON in UTF-8 (application/json), without a content encoding.";
const REQUEST: &str = "The request is not a JSON-RPC 2.0 request.";
const NO_PUSH: &str = "Push notifications are not supported by this server configuration. Please use polling to check task status. See: GET /tasks/{id}";

/// Python Bindu: HTTP statuses, codes and words as recorded from it.
pub(super) fn bindu(error: &A2aError) -> Refusal {
    let shown = |status, code, message: &str, data: Option<&str>| Refusal {
        status,
        code,
        message: message.to_owned(),
        data: data.map(Json::of),
        retry_after: error.retry_after(),
    };
    let facts = error.facts();
    let text = error.to_string();
    match error {
        A2aError::Parse(data) => shown(400, -32700, PARSE, Some(data)),
        A2aError::Request(data) => shown(400, -32600, REQUEST, Some(data)),
        A2aError::Method(data) => shown(404, -32601, METHOD, Some(data)),
        A2aError::Params(data) => shown(400, -32602, PARAMS, Some(data)),
        A2aError::Media(data) => shown(415, -32005, MEDIA, Some(data)),
        A2aError::ContextNotFound => shown(200, -32020, &text, None),
        A2aError::PushNotSupported => shown(200, -32003, NO_PUSH, None),
        A2aError::PushNotFound => {
            shown(200, -32001, "Push notification configuration not found for task.", None)
        }
        A2aError::NotCancelable(state) => {
            let state = names::of_state(Dialect::Bindu, *state);
            let text = format!(
                "Task cannot be canceled in '{state}' state. Tasks can only be canceled while pending or running."
            );
            shown(200, -32002, &text, None)
        }
        A2aError::Ended { task_id, state } => {
            let state = names::of_state(Dialect::Bindu, *state);
            let data = format!(
                "Cannot continue task {task_id}: Task is in terminal state '{state}' and is immutable. Create a new task with referenceTaskIds to continue the conversation."
            );
            shown(500, -32603, INTERNAL, Some(&data))
        }
        A2aError::TooLarge | A2aError::TooMany { .. } | A2aError::Unavailable { .. } | A2aError::Internal => {
            shown(facts.status, -32603, INTERNAL, Some(&text))
        }
        A2aError::ExtensionRequired(_) | A2aError::VersionNotSupported(_) => shown(200, -32004, &text, None),
        A2aError::TaskNotFound
        | A2aError::UnsupportedOperation(_)
        | A2aError::ContentTypeNotSupported(_)
        | A2aError::InvalidAgentResponse
        | A2aError::ExtendedCardNotConfigured => shown(200, facts.code, &text, None),
    }
}

impl Refusal {
    /// Reads the `error` of a JSON-RPC response, or the whole body of an error on HTTP+JSON; `None` for what is neither.
    #[must_use]
    pub fn read(status: u16, raw: &RawValue) -> Option<Self> {
        let [nested] = json::members(raw, ["error"])?;
        let [code, message, data, details] =
            json::members(nested.unwrap_or(raw), ["code", "message", "data", "details"])?;
        let code = serde_json::from_str(code?.get()).ok()?;
        Some(Self {
            status,
            code,
            message: message.and_then(json::string).unwrap_or_default(),
            data: json::some(data).or(json::some(details)).map(Json::from),
            retry_after: None,
        })
    }

    /// The reason in the `google.rpc.ErrorInfo` of an error of A2A 1.0.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let mut details = json::Items::of(self.data.as_ref()?.raw())?;
        details.find_map(|detail| {
            let [kind, reason] = json::members(detail, ["@type", "reason"])?;
            kind.and_then(json::text)?
                .ends_with("google.rpc.ErrorInfo")
                .then(|| reason.and_then(json::string))?
        })
    }
}
