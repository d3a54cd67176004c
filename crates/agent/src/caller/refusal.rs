//! Why a caller is not let in, and what it is told.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bindu_identity::request_signature::Rejection;
use serde_json::{Value, json};

/// Why a caller is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthRefusal {
    /// No `Authorization: Bearer`, or more than one.
    NoToken,
    /// Hydra says that the token is not active.
    InactiveToken,
    /// A DID caller sent no signature, or not all of its headers once.
    NoSignature,
    /// The caller's DID has no public key in Hydra that can be used.
    NoPublicKey,
    /// The signature does not count.
    BadSignature(Rejection),
    /// Hydra did not answer, or is not well: nobody can be told apart from anybody.
    Unavailable,
}

impl AuthRefusal {
    /// A label, from a closed set.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::InactiveToken => "inactive_token",
            Self::NoSignature => "missing_signature_headers",
            Self::NoPublicKey => "public_key_unavailable",
            Self::BadSignature(Rejection::DidMismatch) => "did_mismatch",
            Self::BadSignature(Rejection::TimestampOutOfWindow) => "timestamp_out_of_window",
            Self::BadSignature(Rejection::MalformedSignature) => "malformed_signature",
            Self::BadSignature(_) => "invalid_signature",
            Self::Unavailable => "hydra_unavailable",
        }
    }
}

/// How long an uncertain caller is asked to wait, in seconds.
const RETRY_AFTER: &str = "2";

impl IntoResponse for AuthRefusal {
    fn into_response(self) -> Response {
        let rpc = |code: i32, message: &str| json!({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": Value::Null});
        let challenge = |error: &'static str| [(header::WWW_AUTHENTICATE, HeaderValue::from_static(error))];
        match &self {
            Self::NoToken => (
                StatusCode::UNAUTHORIZED,
                challenge("Bearer realm=\"bindu\""),
                axum::Json(rpc(-32009, "Authentication is required to access this endpoint. Include a valid token in the Authorization header: Bearer <token>")),
            )
                .into_response(),
            Self::InactiveToken => (
                StatusCode::UNAUTHORIZED,
                challenge("Bearer realm=\"bindu\", error=\"invalid_token\""),
                axum::Json(rpc(-32010, "Token is not active or has been revoked")),
            )
                .into_response(),
            Self::NoSignature | Self::NoPublicKey | Self::BadSignature(_) => (
                StatusCode::FORBIDDEN,
                axum::Json(json!({
                    "error": "Invalid DID signature",
                    "details": {"did_verified": false, "reason": self.reason()},
                })),
            )
                .into_response(),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                [(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER))],
                axum::Json(rpc(-32603, "The authentication service is not available. Please try again")),
            )
                .into_response(),
        }
    }
}
