//! SKELETON: the HTTP+JSON binding of A2A 1.0 (and of 0.3 under `/v1/`) as pure mapping.

use crate::{
    A2aError, Json,
    call::{Answer, Call, StreamItem},
    dialect::{Dialect, Refusal},
};

/// The media type of A2A's bodies; `application/json` is taken as well.
pub const MEDIA_TYPE: &str = "application/a2a+json";

/// Reads a call of A2A 1.0. The path begins with `/`, still percent-encoded; the query comes without `?`; the body is
/// JSON, or empty.
///
/// # Errors
/// [`A2aError::Method`] for a path or method that is not of this binding, and as [`Dialect::decode`].
pub fn decode(_method: &str, _path: &str, _query: Option<&str>, _body: &[u8]) -> Result<Call, A2aError> {
    Err(A2aError::Internal)
}

/// Whether a path is one of this binding's (with or without a tenant), whatever the method.
#[must_use]
pub fn is_path(_path: &str) -> bool {
    false
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
    Dialect::V1.refuse(error)
}
