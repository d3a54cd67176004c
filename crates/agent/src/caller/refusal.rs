//! Why a caller is not let in, and the words for it. Not the body, which is that of the binding and the dialect.

use axum::http::StatusCode;
use bindu_identity::request_signature::Rejection;
use std::{borrow::Cow, time::Duration};

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
    /// The client is this agent itself.
    OwnIdentity,
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
    /// More calls than the caller may make; how long to wait.
    TooOften(Duration),
    /// More requests at a time than the caller may have.
    TooManyAtOnce,
    /// The client's id is a DID, and this binding has no signature by which it could prove it.
    SignatureUnsupported,
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
            Self::OwnIdentity => "own_identity",
            Self::SignatureUnsupported => "signature_unsupported",
            Self::InsufficientScope(_) => "insufficient_scope",
            Self::NoSignature => "missing_signature_headers",
            Self::NoPublicKey => "public_key_unavailable",
            Self::BadSignature(Rejection::DidMismatch) => "did_mismatch",
            Self::BadSignature(Rejection::TimestampOutOfWindow) => "timestamp_out_of_window",
            Self::BadSignature(Rejection::MalformedSignature) => "malformed_signature",
            Self::BadSignature(Rejection::CoversTooLittle) => "signature_covers_too_little",
            Self::BadSignature(_) => "invalid_signature",
            Self::BeforeStart => "timestamp_before_start",
            Self::TooOften(_) => "too_often",
            Self::TooManyAtOnce => "too_many_at_once",
            Self::Unavailable => "hydra_unavailable",
        }
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NoToken
            | Self::TokenInUrl
            | Self::InactiveToken
            | Self::TokenTooLong(_)
            | Self::WrongAudience
            | Self::SignatureUnsupported => StatusCode::UNAUTHORIZED,
            Self::TwoTokens => StatusCode::BAD_REQUEST,
            Self::TooOften(_) | Self::TooManyAtOnce => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::FORBIDDEN,
        }
    }

    /// The words for the caller.
    pub(crate) fn message(&self) -> Cow<'static, str> {
        match self {
            Self::NoToken => "Authentication is required to access this endpoint. Include a valid token in the Authorization header: Bearer <token>".into(),
            Self::TokenInUrl | Self::TwoTokens => {
                "A token in the URL is not accepted. Send it in the Authorization header: Bearer <token>".into()
            }
            Self::InactiveToken => "Token is not active or has been revoked".into(),
            Self::TokenTooLong(most) => format!(
                "Token is longer than {most} bytes, the longest that is looked at. Ask for fewer scopes, audiences or claims"
            )
            .into(),
            Self::WrongAudience => "Token was not granted for this agent (audience)".into(),
            Self::InsufficientScope(scopes) => {
                format!("Insufficient permissions: the token needs the scope {scopes}").into()
            }
            Self::NotAdmitted => "DID not admitted".into(),
            Self::OwnIdentity => "This is the agent's own identity: nobody else calls with it".into(),
            Self::TooOften(_) => "Too many calls. Please try again later".into(),
            Self::TooManyAtOnce => "Too many calls at the same time. Please try again later".into(),
            Self::Unavailable => "The authentication service is not available. Please try again".into(),
            Self::SignatureUnsupported => {
                "A caller whose client id is a DID must sign, and no signature is defined for gRPC: call by HTTP".into()
            }
            Self::NoSignature
            | Self::NoPublicKey
            | Self::BadSignature(_)
            | Self::BeforeStart => "Invalid DID signature".into(),
        }
    }

    /// How long to wait, in seconds, where waiting helps.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::BeforeStart | Self::TooManyAtOnce => Some(1),
            Self::Unavailable => Some(2),
            Self::TooOften(wait) => Some(wait.as_secs() + 1),
            _ => None,
        }
    }

    /// The challenge (RFC 6750 §3), with what a caller needs to get a token: where the metadata of this resource is (RFC
    /// 9728 §5.1).
    pub(crate) fn challenge(&self, resource_metadata: &str) -> Option<String> {
        let error = match self {
            Self::NoToken => String::new(),
            Self::TokenInUrl | Self::TwoTokens => ", error=\"invalid_request\"".to_owned(),
            Self::InactiveToken | Self::TokenTooLong(_) | Self::WrongAudience => {
                ", error=\"invalid_token\"".to_owned()
            }
            Self::InsufficientScope(scopes) => {
                format!(", error=\"insufficient_scope\", scope=\"{}\"", scopes.replace(['"', '\\'], ""))
            }
            _ => return None,
        };
        Some(format!("Bearer realm=\"bindu\"{error}, resource_metadata=\"{resource_metadata}\""))
    }
}
