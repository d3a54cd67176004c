//! What a caller gets that is refused: each binding and each dialect has a body of its own.

use crate::{
    audit::Occasion,
    body::NotTaken,
    caller::{AuthRefusal, Owner},
    server::AgentServer,
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bindu_a2a::{
    A2aError, Dialect, Json,
    dialect::Refusal,
    grpc,
    rest::{self, MEDIA_TYPE},
    rpc, version,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Why a request is not answered with a result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The caller is not let in. The body, if it has come, says how the call came.
    Refused(AuthRefusal, Option<Owner>, Option<Bytes>),
    /// The body was not taken.
    NotTaken(NotTaken, Option<Owner>),
    /// The call was not done.
    Call(A2aError),
}

impl From<A2aError> for Failure {
    fn from(error: A2aError) -> Self {
        Self::Call(error)
    }
}

/// How a call came, as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Form {
    /// JSON-RPC, with the id of the request (`null` if it has none).
    Rpc(Dialect, Json),
    /// HTTP+JSON; whether in A2A's own media type.
    Rest { is_a2a: bool },
}

/// The code for a caller that is not let in: A2A has none, and leaves this one to servers. (Bindu's are A2A's for other
/// things.)
const NOT_LET_IN: i32 = -32000;

/// The domain of our reasons.
const DOMAIN: &str = "bindu";

/// Answers a failure, and tells the audit log and the metrics of a caller that was not let in.
pub(crate) fn respond(server: &AgentServer, head: &Parts, form: &Form, failure: &Failure) -> Response {
    let (status, mut response) = match failure {
        Failure::Call(error) => return of_call(form, error),
        Failure::Refused(refusal, who, _) => {
            note(server, head, refusal.reason(), who.as_ref());
            let mut response = Words::of(refusal).respond(form);
            let metadata = server.authenticator.as_ref();
            let metadata = metadata.map_or("", |authenticator| &authenticator.settings.resource_metadata);
            if let Some(challenge) = refusal.challenge(metadata).and_then(|text| text.parse().ok()) {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            (refusal.status(), response)
        }
        Failure::NotTaken(why, who) => {
            note(server, head, why.reason(), who.as_ref());
            (why.status(), Words::of_body(*why).respond(form))
        }
    };
    *response.status_mut() = status;
    response
}

fn note(server: &AgentServer, head: &Parts, reason: &'static str, who: Option<&Owner>) {
    if server.authenticator.is_some() {
        server.metrics.auth_decision("refused", reason);
    }
    Occasion::of(head).refused(reason, who);
}

/// An error of the core's.
fn of_call(form: &Form, error: &A2aError) -> Response {
    let (refusal, mut response) = match form {
        Form::Rpc(dialect, id) => {
            let refusal = dialect.refuse(error);
            let body = rpc::refusal(id, &refusal);
            (refusal, json_body(body, false))
        }
        Form::Rest { is_a2a } => {
            let refusal = rest::refuse(error);
            let body = refusal.data.as_ref().map_or_else(Vec::new, |body| body.text().into());
            (refusal, json_body(body, *is_a2a))
        }
    };
    *response.status_mut() = status_of(&refusal);
    retry(&mut response, refusal.retry_after);
    if matches!(error, A2aError::Media(_)) {
        // RFC 7694 §3: which encodings would have been read.
        response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    if let Form::Rpc(dialect, _) = form {
        name_version(&mut response, *dialect);
    }
    response
}

/// An error on a route beside A2A, in Python Bindu's form.
pub(crate) fn beside(error: &A2aError) -> Response {
    of_call(&Form::Rpc(Dialect::Bindu, Json::null()), error)
}

/// The same for an error that A2A does not have.
pub(crate) fn refused_beside(refusal: &Refusal) -> Response {
    let mut response = json_body(rpc::refusal(&Json::null(), refusal), false);
    *response.status_mut() = status_of(refusal);
    response
}

/// Python Bindu's form for what it has no code for: its internal error, with a status and words of ours.
pub(crate) fn internal(status: StatusCode, words: &str) -> Response {
    let refusal = Dialect::Bindu.refuse(&A2aError::Internal);
    refused_beside(&Refusal { status: status.as_u16(), data: Some(Json::of(words)), ..refusal })
}

fn status_of(refusal: &Refusal) -> StatusCode {
    StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A response with this JSON.
pub(crate) fn json_body(body: impl Into<Body>, is_a2a: bool) -> Response {
    let media_type = if is_a2a { MEDIA_TYPE } else { "application/json" };
    ([(header::CONTENT_TYPE, media_type)], body.into()).into_response()
}

/// Names the version that a response is in.
pub(crate) fn name_version(response: &mut Response, dialect: Dialect) {
    let version = match dialect {
        Dialect::V1 => "1.0",
        Dialect::V03 => "0.3",
        Dialect::Bindu => return,
    };
    let name = header::HeaderName::from_bytes(version::NAME.as_bytes());
    if let Ok(name) = name {
        response.headers_mut().insert(name, HeaderValue::from_static(version));
    }
}

fn retry(response: &mut Response, seconds: Option<u64>) {
    if let Some(seconds) = seconds {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
}

/// The error of AIP-193.
#[derive(Serialize)]
struct Aip193<'a> {
    code: u16,
    status: &'static str,
    message: &'a str,
    details: &'a Json,
}

/// What is said about a caller that is not let in, or a body that is not taken.
struct Words {
    status: StatusCode,
    reason: &'static str,
    message: String,
    retry_after: Option<u64>,
    /// Python Bindu's body.
    bindu: Value,
}

impl Words {
    fn of(refusal: &AuthRefusal) -> Self {
        let message = refusal.message();
        let rpc = |code: i32| json!({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": Value::Null});
        let bindu = match refusal {
            AuthRefusal::NoToken | AuthRefusal::TokenInUrl | AuthRefusal::TwoTokens => rpc(-32009),
            AuthRefusal::InactiveToken | AuthRefusal::TokenTooLong(_) | AuthRefusal::WrongAudience => {
                rpc(-32010)
            }
            AuthRefusal::InsufficientScope(_) => rpc(-32013),
            AuthRefusal::NotAdmitted | AuthRefusal::OwnIdentity => json!({"error": message}),
            AuthRefusal::NoSignature
            | AuthRefusal::NoPublicKey
            | AuthRefusal::BadSignature(_)
            | AuthRefusal::BeforeStart => json!({
                "error": message,
                "details": {"did_verified": false, "reason": refusal.reason()},
            }),
            _ => rpc(-32603),
        };
        Self {
            status: refusal.status(),
            reason: refusal.reason(),
            retry_after: refusal.retry_after(),
            bindu,
            message: message.into_owned(),
        }
    }

    fn of_body(why: NotTaken) -> Self {
        let message = "The request body was not taken".to_owned();
        let bindu = json!({"error": message, "details": {"reason": why.reason()}});
        let retry_after = (why == NotTaken::NoRoom).then_some(1);
        Self { status: why.status(), reason: why.reason(), message, retry_after, bindu }
    }

    /// The reason, as every binding but Bindu's dialect has it.
    fn details(&self) -> Json {
        Json::of(&json!([{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": self.reason.to_ascii_uppercase(),
            "domain": DOMAIN,
        }]))
    }

    fn respond(self, form: &Form) -> Response {
        let details = self.details();
        let mut response = match form {
            Form::Rpc(Dialect::Bindu, _) => json_body(self.bindu.to_string(), false),
            Form::Rpc(dialect, id) => {
                let refusal = Refusal {
                    status: self.status.as_u16(),
                    code: NOT_LET_IN,
                    message: self.message,
                    data: Some(details),
                    retry_after: self.retry_after,
                };
                let mut response = json_body(rpc::refusal(id, &refusal), false);
                name_version(&mut response, *dialect);
                response
            }
            Form::Rest { is_a2a } => {
                let error = Aip193 {
                    code: self.status.as_u16(),
                    status: canonical_name(self.status),
                    message: &self.message,
                    details: &details,
                };
                json_body(Json::of(&BTreeMap::from([("error", error)])).into_text(), *is_a2a)
            }
        };
        retry(&mut response, self.retry_after);
        response
    }
}

/// The status of a failure over gRPC, told as over HTTP.
pub(crate) fn grpc_status(server: &AgentServer, head: &Parts, failure: &Failure) -> grpc::Status {
    let words = match failure {
        Failure::Call(A2aError::Method(method)) => {
            return grpc::status("UNIMPLEMENTED", method.clone(), None);
        }
        Failure::Call(error) => return grpc::refuse(error),
        Failure::Refused(refusal, who, _) => {
            note(server, head, refusal.reason(), who.as_ref());
            Words::of(refusal)
        }
        Failure::NotTaken(why, who) => {
            note(server, head, why.reason(), who.as_ref());
            Words::of_body(*why)
        }
    };
    let details = words.details();
    grpc::status(canonical_name(words.status), words.message, Some(&details))
}

/// The name that `google.rpc.Code` has for a status (AIP-193).
fn canonical_name(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => "INVALID_ARGUMENT",
        StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
        StatusCode::FORBIDDEN => "PERMISSION_DENIED",
        StatusCode::REQUEST_TIMEOUT => "DEADLINE_EXCEEDED",
        StatusCode::TOO_MANY_REQUESTS => "RESOURCE_EXHAUSTED",
        StatusCode::SERVICE_UNAVAILABLE => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}
