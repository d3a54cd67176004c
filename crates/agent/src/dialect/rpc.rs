//! The JSON-RPC 2.0 envelope.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bindu_a2a::Json;
use serde::Serialize;

/// An error as the caller gets it: the HTTP status and codes are those of Python Bindu (COMPAT §1.10).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RpcError {
    pub(crate) status: StatusCode,
    pub(crate) code: i32,
    pub(crate) message: String,
    pub(crate) data: Option<String>,
    /// How long to wait, in seconds, where waiting helps.
    pub(crate) retry_after: Option<u64>,
}

const PARSE: &str = "Failed to parse JSON payload. Please ensure the request body contains valid JSON syntax. See: https://www.jsonrpc.org/specification#error_object";
const PARAMS: &str = "Invalid or missing parameters for the requested method. Please verify parameter types and required fields.";
const INTERNAL: &str = "An internal server error occurred while processing the request. Please try again or contact support if the issue persists. See: /health";

impl RpcError {
    fn new(status: StatusCode, code: i32, message: &str, data: impl Into<String>) -> Self {
        Self { status, code, message: message.to_owned(), data: Some(data.into()), retry_after: None }
    }

    /// No JSON, or no request.
    pub(crate) fn parse(data: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, -32700, PARSE, data)
    }

    /// Parameters that make no sense.
    pub(crate) fn params(data: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, -32602, PARAMS, data)
    }

    /// A body in a form that is not read here.
    pub(crate) fn media(data: impl Into<String>) -> Self {
        let message = "The body's content type, encoding or charset is not supported. Send JSON in UTF-8 (application/json), without a content encoding.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, -32005, message, data)
    }

    /// Python Bindu's form for what can't be done with a task.
    pub(crate) fn internal(status: StatusCode, data: impl Into<String>) -> Self {
        Self::new(status, -32603, INTERNAL, data)
    }

    /// An error about a task: HTTP 200, as A2A has it for JSON-RPC.
    pub(crate) fn task(code: i32, message: impl Into<String>) -> Self {
        Self { status: StatusCode::OK, code, message: message.into(), data: None, retry_after: None }
    }

    pub(crate) fn respond(self, id: &Json) -> Response {
        let error = Error { code: self.code, message: &self.message, data: self.data.as_deref() };
        let body = Envelope { jsonrpc: VERSION, result: None, error: Some(error), id };
        let retry_after = self.retry_after.map(|seconds| [(header::RETRY_AFTER, seconds.to_string())]);
        // RFC 7694 §3: which encodings would have been read.
        let is_media = self.status == StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let encoding = is_media.then_some([(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        (self.status, retry_after, encoding, axum::Json(body)).into_response()
    }
}

/// The only version there is.
const VERSION: &str = "2.0";

/// An answer.
#[derive(Serialize)]
struct Envelope<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error<'a>>,
    id: &'a Json,
}

#[derive(Serialize)]
struct Error<'a> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
}
