//! Why a caller is not let in, and what it is told.

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bindu_identity::request_signature::Rejection;
use serde_json::{Value, json};
use std::time::Duration;

/// Why a caller is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthRefusal {
    /// No `Authorization: Bearer`, or more than one.
    NoToken,
    /// A token in the URL.
    TokenInUrl,
    /// A token in the URL and one in the header.
    TwoTokens,
    /// No token of Hydra's, or Hydra says that it is not active.
    InactiveToken,
    /// The token is longer than is looked at; how long it may be.
    TokenTooLong(usize),
    /// The token was not granted for this agent.
    WrongAudience,
    /// The client is not on the list.
    NotAdmitted,
    /// The token lacks these scopes.
    InsufficientScope(String),
    /// A DID caller sent no signature, or not all of its headers once.
    NoSignature,
    /// The caller's DID has no public key in Hydra that can be used.
    NoPublicKey,
    /// The signature does not count.
    BadSignature(Rejection),
    /// It may have been run before this process began.
    BeforeStart,
    /// It has run, and what came of it is gone.
    Replayed,
    /// More signed requests of the caller's are remembered than may be.
    TooManyRemembered,
    /// More calls than the caller may make; how long to wait.
    TooOften(Duration),
    /// More requests at a time than the caller may have.
    TooManyAtOnce,
    /// Hydra did not answer, or is not well: nobody can be told apart from anybody.
    Unavailable,
}

impl AuthRefusal {
    /// A label, from a closed set.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::TokenInUrl | Self::TwoTokens => "token_in_url",
            Self::InactiveToken => "inactive_token",
            Self::TokenTooLong(_) => "token_too_long",
            Self::WrongAudience => "wrong_audience",
            Self::NotAdmitted => "not_admitted",
            Self::InsufficientScope(_) => "insufficient_scope",
            Self::NoSignature => "missing_signature_headers",
            Self::NoPublicKey => "public_key_unavailable",
            Self::BadSignature(Rejection::DidMismatch) => "did_mismatch",
            Self::BadSignature(Rejection::TimestampOutOfWindow) => "timestamp_out_of_window",
            Self::BadSignature(Rejection::MalformedSignature) => "malformed_signature",
            Self::BadSignature(Rejection::CoversTooLittle) => "signature_covers_too_little",
            Self::BadSignature(_) => "invalid_signature",
            Self::BeforeStart => "timestamp_before_start",
            Self::Replayed => "replayed",
            Self::TooManyRemembered => "too_many_remembered",
            Self::TooOften(_) => "too_often",
            Self::TooManyAtOnce => "too_many_at_once",
            Self::Unavailable => "hydra_unavailable",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NoToken
            | Self::TokenInUrl
            | Self::InactiveToken
            | Self::TokenTooLong(_)
            | Self::WrongAudience => StatusCode::UNAUTHORIZED,
            Self::TwoTokens => StatusCode::BAD_REQUEST,
            Self::TooManyRemembered | Self::TooOften(_) | Self::TooManyAtOnce => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::FORBIDDEN,
        }
    }

    /// The JSON-RPC code and message, or the other body that Python Bindu has for it.
    fn body(&self) -> Value {
        let rpc = |code: i32, message: &str| json!({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": Value::Null});
        match self {
            Self::NoToken => rpc(
                -32009,
                "Authentication is required to access this endpoint. Include a valid token in the Authorization header: Bearer <token>",
            ),
            Self::TokenInUrl | Self::TwoTokens => rpc(
                -32009,
                "A token in the URL is not accepted. Send it in the Authorization header: Bearer <token>",
            ),
            Self::InactiveToken => rpc(-32010, "Token is not active or has been revoked"),
            Self::TokenTooLong(most) => rpc(
                -32010,
                &format!(
                    "Token is longer than {most} bytes, the longest that is looked at. Ask for fewer scopes, audiences or claims"
                ),
            ),
            Self::WrongAudience => rpc(-32010, "Token was not granted for this agent (audience)"),
            Self::InsufficientScope(scopes) => {
                rpc(-32013, &format!("Insufficient permissions: the token needs the scope {scopes}"))
            }
            Self::NotAdmitted => json!({"error": "DID not admitted"}),
            Self::TooManyRemembered => {
                rpc(-32603, "Too many signed requests in a short time. Please try again later")
            }
            Self::TooOften(_) => rpc(-32603, "Too many calls. Please try again later"),
            Self::TooManyAtOnce => rpc(-32603, "Too many calls at the same time. Please try again later"),
            Self::Unavailable => rpc(-32603, "The authentication service is not available. Please try again"),
            Self::NoSignature
            | Self::NoPublicKey
            | Self::BadSignature(_)
            | Self::BeforeStart
            | Self::Replayed => json!({
                "error": "Invalid DID signature",
                "details": {"did_verified": false, "reason": self.reason()},
            }),
        }
    }

    /// How long to wait, in seconds, where waiting helps.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::BeforeStart | Self::TooManyAtOnce => Some(1),
            Self::Unavailable => Some(2),
            Self::TooManyRemembered => Some(10),
            Self::TooOften(wait) => Some(wait.as_secs() + 1),
            _ => None,
        }
    }

    /// What RFC 6750 §3 calls it.
    fn challenge(&self) -> Option<String> {
        match self {
            Self::NoToken => Some(String::new()),
            Self::TokenInUrl | Self::TwoTokens => Some(", error=\"invalid_request\"".to_owned()),
            Self::InactiveToken | Self::TokenTooLong(_) | Self::WrongAudience => {
                Some(", error=\"invalid_token\"".to_owned())
            }
            Self::InsufficientScope(scopes) => {
                Some(format!(", error=\"insufficient_scope\", scope=\"{}\"", scopes.replace(['"', '\\'], "")))
            }
            _ => None,
        }
    }
}

/// A refusal with what a caller needs to get a token.
pub(crate) struct Challenge<'a> {
    pub(crate) refusal: &'a AuthRefusal,
    /// Where the metadata of this resource is (RFC 9728 §5.1).
    pub(crate) resource_metadata: &'a str,
}

impl IntoResponse for Challenge<'_> {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        let mut set = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        };
        if let Some(error) = self.refusal.challenge() {
            let metadata = self.resource_metadata;
            set(
                header::WWW_AUTHENTICATE,
                format!("Bearer realm=\"bindu\"{error}, resource_metadata=\"{metadata}\""),
            );
        }
        if let Some(seconds) = self.refusal.retry_after() {
            set(header::RETRY_AFTER, seconds.to_string());
        }
        (self.refusal.status(), headers, Json(self.refusal.body())).into_response()
    }
}
