//! The JSON-RPC 2.0 envelope.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

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

    pub(crate) fn respond(self, id: &Value) -> Response {
        let mut error = json!({"code": self.code, "message": self.message});
        if let (Some(data), Some(members)) = (self.data, error.as_object_mut()) {
            members.insert("data".to_owned(), Value::String(data));
        }
        let retry_after = self.retry_after.map(|seconds| [(header::RETRY_AFTER, seconds.to_string())]);
        (self.status, retry_after, Json(json!({"jsonrpc": "2.0", "error": error, "id": id}))).into_response()
    }
}

/// A request: its id, its method and its parameters.
#[derive(Debug, PartialEq)]
pub(crate) struct RpcRequest {
    pub(crate) id: Value,
    pub(crate) method: String,
    pub(crate) params: Value,
}

impl RpcRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// The error and the id to answer it with, which is null where it can't be known.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, (Value, RpcError)> {
        let nobody = |error| (Value::Null, error);
        let request: Value =
            serde_json::from_slice(body).map_err(|error| nobody(RpcError::parse(error.to_string())))?;
        let Value::Object(mut members) = request else {
            let what = if request.is_array() { "batches are not supported" } else { "it is not an object" };
            return Err(nobody(RpcError::request(what)));
        };
        let id = members.remove("id").unwrap_or_default();
        if !matches!(id, Value::String(_) | Value::Number(_)) {
            return Err(nobody(RpcError::request("`id` must be a string or a number")));
        }
        if members.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err((id, RpcError::request("`jsonrpc` must be \"2.0\"")));
        }
        match members.remove("method") {
            Some(Value::String(method)) => {
                Ok(Self { id, method, params: members.remove("params").unwrap_or_default() })
            }
            _ => Err((id, RpcError::request("`method` must be a string"))),
        }
    }
}

/// A result.
pub(crate) fn result(id: &Value, result: Value) -> Response {
    Json(json!({"jsonrpc": "2.0", "id": id, "result": result})).into_response()
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
            let (_, error) = RpcRequest::parse(body).expect_err("refused");
            assert_eq!(error.code, code, "{}", String::from_utf8_lossy(body));
        }
        // Deep nesting ends in an error, not in a stack overflow.
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(RpcRequest::parse(deep.as_bytes()).is_err());
    }
}
