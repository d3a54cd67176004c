//! The JSON-RPC 2.0 envelope.

use super::media;
use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bindu_a2a::json::{Json, Kind, Members, kind, string};
use serde::Serialize;
use serde_json::value::RawValue;

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
const METHOD: &str =
    "The requested method is not available on this server. Please check the method name and try again.";
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

    /// JSON, and no JSON-RPC request.
    pub(crate) fn request(data: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, -32600, "The request is not a JSON-RPC 2.0 request.", data)
    }

    /// A method that is not there.
    pub(crate) fn method(data: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, -32601, METHOD, data)
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

    /// The same, with a word on when to come again.
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
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

/// A request: its id, its method and its parameters.
#[derive(Debug)]
pub(crate) struct RpcRequest<'a> {
    pub(crate) id: Json,
    pub(crate) method: String,
    pub(crate) params: Option<&'a RawValue>,
}

impl<'a> RpcRequest<'a> {
    /// Reads a request.
    ///
    /// # Errors
    /// The error and the id to answer it with, which is null where it can't be known.
    pub(crate) fn parse(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, (Json, RpcError)> {
        let nobody = |error| (Json::null(), error);
        let text = media::json_text(body).map_err(nobody)?;
        let request: &RawValue =
            serde_json::from_str(text).map_err(|error| nobody(media::not_json(headers, &error)))?;
        let Some(mut members) = Members::of(request) else {
            let is_list = kind(request) == Kind::List;
            let what = if is_list { "batches are not supported" } else { "it is not an object" };
            return Err(nobody(RpcError::request(what)));
        };
        let id = members.take("id").filter(|id| matches!(kind(id), Kind::String | Kind::Number));
        let Some(id) = id.map(Json::from) else {
            return Err(nobody(RpcError::request("`id` must be a string or a number")));
        };
        if members.take_text("jsonrpc").as_deref() != Some(VERSION) {
            return Err((id, RpcError::request("`jsonrpc` must be \"2.0\"")));
        }
        match members.take("method").and_then(string) {
            Some(method) => Ok(Self { id, method, params: members.take("params") }),
            None => Err((id, RpcError::request("`method` must be a string"))),
        }
    }
}

/// A result.
pub(crate) fn result(id: &Json, result: &Json) -> Response {
    axum::Json(Envelope { jsonrpc: VERSION, result: Some(result), error: None, id }).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_request_is_refused_with_its_code() {
        let cases: [(&[u8], i32); 9] = [
            (b"", -32700),
            (b"{", -32700),
            (b"\xff", -32700),
            (b"[]", -32600),
            (b"1", -32600),
            (b"{}", -32600),
            (br#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, -32600),
            (br#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, -32600),
            (br#"{"jsonrpc":"2.0","id":1,"method":2}"#, -32600),
        ];
        for (body, code) in cases {
            let (_, error) = RpcRequest::parse(&HeaderMap::new(), body).expect_err("refused");
            assert_eq!(error.code, code, "{}", String::from_utf8_lossy(body));
        }
        // Deep nesting ends in an error, not in a stack overflow.
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(RpcRequest::parse(&HeaderMap::new(), deep.as_bytes()).is_err());
    }
}
