//! What tells callers who the agent is: the card, the DID documents, the (empty) list of skills.

use crate::{
    body,
    dialect::{media, rpc::RpcError},
    places::NoRoom,
    server::AgentServer,
};
use axum::{
    body::{Body, Bytes},
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bindu_a2a::{
    Json,
    json::{Members, string},
};
use bindu_identity::{BinduDocument, DerivedKey, Did, PublicKey, WebDocument};
use serde_json::{json, value::RawValue};
use std::sync::Arc;

/// `/.well-known/agent.json`.
pub(crate) async fn card(State(server): State<Arc<AgentServer>>) -> Response {
    axum::Json(server.card.card(&server.identity(), server.started_at)).into_response()
}

/// `GET /`: to the card, below the path under which a proxy has us.
pub(crate) async fn root(State(server): State<Arc<AgentServer>>) -> Response {
    let url: Uri = server.card.url.parse().unwrap_or_default();
    let location = format!("{}/.well-known/agent.json", url.path().trim_end_matches('/'));
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

/// `GET /did/resolve?did=`.
pub(crate) async fn resolve_get(
    State(server): State<Arc<AgentServer>>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let did = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "did");
    resolve(&server, &did.map(|(_, did)| did.into_owned()).unwrap_or_default())
}

/// `POST /did/resolve` with `{"did": …}`.
pub(crate) async fn resolve_post(
    State(server): State<Arc<AgentServer>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let body = match public_body(&server, &headers, body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let members = public_json(&headers, &body).map(|json| Members::of(json).unwrap_or_default());
    let did = members.map(|mut members| members.take_some("did"));
    match did {
        Err(error) => error.respond(&Json::null()),
        Ok(None) => resolve(&server, ""),
        Ok(Some(did)) => resolve(&server, &string(did).unwrap_or_else(|| did.get().to_owned())),
    }
}

/// The body of a request that needs no token.
async fn public_body(server: &AgentServer, headers: &HeaderMap, body: Body) -> Result<Bytes, Response> {
    media::check_headers(headers).map_err(|error| error.respond(&Json::null()))?;
    let no_room = |NoRoom| StatusCode::TOO_MANY_REQUESTS.into_response();
    let mut place = server.places.public().map_err(no_room)?;
    let read = body::read(body, server.public_body_limits(), &mut place).await;
    read.map_err(|why| why.status().into_response())
}

fn public_json<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<&'a RawValue, RpcError> {
    let text = media::json_text(body)?;
    serde_json::from_str(text).map_err(|error| media::not_json(headers, &error))
}

fn resolve(server: &AgentServer, did: &str) -> Response {
    if did.is_empty() {
        return RpcError::params("Missing 'did' parameter").respond(&Json::null());
    }
    let identity = server.identity();
    if did != identity.did.as_str() {
        let shown: String = did.chars().take(256).collect();
        return RpcError::internal(StatusCode::NOT_FOUND, format!("DID '{shown}' not found"))
            .respond(&Json::null());
    }
    let beside = identity.keys_beside();
    axum::Json(BinduDocument::new(&identity.did, &identity.public_key, &beside, &identity.created_at))
        .into_response()
}

/// `/.well-known/did.json`: the did:web twin, under the host of our own URL.
pub(crate) async fn did_web(State(server): State<Arc<AgentServer>>) -> Response {
    let identity = server.identity();
    let url: Uri = server.card.url.parse().unwrap_or_default();
    let port = url.port_u16().filter(|port| Some(*port) != default_port(&url));
    let web = Did::web(url.host().unwrap_or("localhost"), port);
    let beside = [identity.keys_beside(), identity.second_keys_beside()].concat();
    let second = identity.second_key();
    axum::Json(WebDocument::new(&web, &identity.did, &identity.public_key, &second, &beside)).into_response()
}

/// `/.well-known/jwks.json`: the keys of signatures over what is ours (RFC 7517, RFC 8037), those of a rotation included. Not
/// the first keys, which sign text that callers choose: a JWS by them proves nothing. `kid` is the thumbprint (RFC 7638);
/// `DID#key-2` is an alias of the current one.
pub(crate) async fn key_set(State(server): State<Arc<AgentServer>>) -> Response {
    let identity = server.identity();
    let entry = |kid: String, key: &PublicKey| {
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": kid,
            "x": URL_SAFE_NO_PAD.encode(key.as_bytes()),
        })
    };
    let current = identity.second_key();
    let mut keys = vec![entry(DerivedKey::id(&identity.did), &current)];
    let all = std::iter::once(current).chain(identity.second_keys_beside());
    keys.extend(all.map(|key| entry(DerivedKey::thumbprint(&key), &key)));
    axum::Json(json!({"keys": keys})).into_response()
}

/// `/.well-known/did-rotation.json`: the statements by which our keys gave way to each other, newest first. Callers who trust
/// a key by first use follow them.
pub(crate) async fn rotations(State(server): State<Arc<AgentServer>>) -> Response {
    let identity = server.identity();
    axum::Json(json!({"did": identity.did.as_str(), "statements": identity.public_statements()}))
        .into_response()
}

/// `/.well-known/oauth-protected-resource`: how to get a token for this agent (RFC 9728). Not there without
/// authentication.
pub(crate) async fn protected_resource(State(server): State<Arc<AgentServer>>) -> Response {
    let Some(authenticator) = &server.authenticator else { return StatusCode::NOT_FOUND.into_response() };
    axum::Json(json!({
        "resource": server.card.url,
        "authorization_servers": [authenticator.issuer().await],
        "scopes_supported": ["agent:read", "agent:write"],
        "bearer_methods_supported": ["header"],
        "resource_name": server.card.name,
        "jwks_uri": format!("{}/.well-known/jwks.json", server.card.url.trim_end_matches('/')),
    }))
    .into_response()
}

fn default_port(url: &Uri) -> Option<u16> {
    match url.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    }
}

/// `/agent/skills`: none yet.
pub(crate) async fn skills() -> Response {
    axum::Json(json!({"skills": [], "total": 0})).into_response()
}

/// `/agent/skills/{id}` and its documentation.
pub(crate) async fn skill(Path(id): Path<String>) -> Response {
    let shown: String = id.chars().take(128).collect();
    let mut response = RpcError::task(-32030, format!("Skill not found: {shown}")).respond(&Json::null());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// `/agent/negotiation`: without skills nothing is accepted.
pub(crate) async fn negotiation(
    State(server): State<Arc<AgentServer>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let body = match public_body(&server, &headers, body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let refused =
        |error: &str| (StatusCode::BAD_REQUEST, axum::Json(json!({"error": error}))).into_response();
    match public_json(&headers, &body) {
        Err(error) if error.status == StatusCode::UNSUPPORTED_MEDIA_TYPE => error.respond(&Json::null()),
        Err(_) => refused("Invalid JSON payload"),
        Ok(body) => match Members::of(body).unwrap_or_default().take_text("task_summary").as_deref() {
            None | Some("") => refused("'task_summary' is required"),
            Some(text) if text.chars().count() > 10_000 => {
                refused("task_summary exceeds maximum length of 10000 characters")
            }
            Some(_) => axum::Json(json!({
                "accepted": false,
                "score": 0.0,
                "confidence": 1.0,
                "rejection_reason": "no_skills_advertised",
            }))
            .into_response(),
        },
    }
}
