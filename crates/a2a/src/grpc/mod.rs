//! The gRPC binding of A2A 1.0 (`lf.a2a.v1.A2AService`) as pure mapping: a protobuf message is the ProtoJSON that means the
//! same, and back.
//!
//! Messages go straight from one form to the other, by tables (`schema`): types that are generated from the `.proto` file
//! (the official crate `a2a-pb`) were rejected, since a caller's `google.protobuf.Value` of two bytes is a map node of a
//! hundred there, and a program of somebody else's (`protoc`) would run at each build.

mod read;
mod schema;
mod write;

use crate::{
    A2aError, Json,
    call::{Answer, Call, StreamItem},
    dialect::Dialect,
    json,
};
use schema::Schema;
use serde_json::value::RawValue;

/// The service; a method's path is `/{SERVICE}/{method}`.
pub const SERVICE: &str = "lf.a2a.v1.A2AService";

/// Reads a call: a method of [`SERVICE`] and its message.
///
/// # Errors
/// [`A2aError::Method`] for a method that the service does not have, [`A2aError::Parse`] for what is not a protobuf message,
/// and as [`Dialect::decode`].
pub fn decode(method: &str, message: &[u8]) -> Result<Call, A2aError> {
    let schema = schema::request(method).ok_or_else(|| {
        let shown: String = method.chars().take(64).collect();
        A2aError::Method(format!("{shown} is not a method of {SERVICE}"))
    })?;
    let text = read::message(schema, message).map_err(|problem| A2aError::Parse(problem.to_owned()))?;
    json::check(&text).map_err(|problem| A2aError::Parse(problem.to_owned()))?;
    let raw = RawValue::from_string(text).map_err(|error| A2aError::Parse(error.to_string()))?;
    Dialect::V1.decode(method, Some(&raw))
}

/// The message of an answer.
///
/// # Errors
/// [`A2aError::Internal`] where there is something in it that has no such form: an empty message would say that there is
/// nothing.
pub fn encode(answer: &Answer) -> Result<Vec<u8>, A2aError> {
    let schema = match answer {
        Answer::Sent(_) | Answer::Message(_) => &schema::SEND_RESPONSE,
        Answer::Found(_) => &schema::TASK,
        Answer::Tasks(_) => &schema::LIST_RESPONSE,
        Answer::Push(_) => &schema::PUSH_CONFIG,
        Answer::Pushes { .. } => &schema::PUSHES_RESPONSE,
        Answer::Card(_) => &schema::CARD,
        Answer::Deleted | Answer::Bindu(_) => return Ok(Vec::new()),
    };
    write::message(schema, Dialect::V1.encode(answer).text()).map_err(|_| A2aError::Internal)
}

/// The message of one thing in a stream.
#[must_use]
pub fn encode_event(item: &StreamItem) -> Vec<u8> {
    to_message(&schema::STREAM_RESPONSE, &Dialect::V1.encode_event(item))
}

/// The method and the message of a call; `None` for a call that A2A 1.0 does not have.
#[must_use]
pub fn ask(call: &Call) -> Option<(&'static str, Vec<u8>)> {
    let (method, params) = Dialect::V1.ask(call)?;
    Some((method, to_message(schema::request(method)?, &params)))
}

/// What a method's answer (or each message of its stream) says, as the JSON of A2A 1.0; `None` for what is not one.
#[must_use]
pub fn read(method: &str, message: &[u8]) -> Option<Json> {
    let schema = schema::response(method)?;
    read::message(schema, message).ok().and_then(Json::from_text)
}

fn to_message(schema: &'static Schema, json: &Json) -> Vec<u8> {
    write::message(schema, json.text()).unwrap_or_default()
}

/// An error as gRPC has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The status code.
    pub code: u32,
    /// The message for the caller.
    pub message: String,
    /// A `google.rpc.Status` with its details: the bytes of `grpc-status-details-bin`.
    pub details: Vec<u8>,
}

/// An error of a call's.
#[must_use]
pub fn refuse(error: &A2aError) -> Status {
    let refusal = Dialect::V1.refuse(error);
    status(error.facts().grpc, refusal.message, refusal.data.as_ref())
}

/// A status with this name and this message. The details are a JSON list of `google.rpc.ErrorInfo` and the like.
#[must_use]
pub fn status(name: &str, message: String, details: Option<&Json>) -> Status {
    let code = code(name);
    let mut items = Vec::new();
    for detail in details.and_then(|details| json::list(details.raw())).unwrap_or_default() {
        let kind = json::members(detail, ["@type"]).and_then(|[kind]| kind).and_then(json::string);
        let schema = match kind.as_deref() {
            Some("type.googleapis.com/google.rpc.ErrorInfo") => &schema::ERROR_INFO,
            Some("type.googleapis.com/google.rpc.RetryInfo") => &schema::RETRY_INFO,
            _ => continue,
        };
        let value = write::message(schema, detail.get()).unwrap_or_default();
        items.push((kind.unwrap_or_default(), value));
    }
    Status { code, details: write::status(code, &message, &items), message }
}

/// The number of a status code.
fn code(name: &str) -> u32 {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.into_iter().zip(0..).find(|(known, _)| *known == name).map_or(2, |(_, code)| code)
}

#[cfg(test)]
mod tests;
