//! What tells callers who the agent is: the DID documents, the keys, how to get a token.

use super::{
    hear::{check_form, joined},
    refuse::{beside, internal},
};
use crate::{body, places::NoRoom, server::AgentServer};
use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bindu_a2a::{
    A2aError,
    json::{Members, string},
    media,
};
use bindu_identity::{BinduDocument, DerivedKey, Did, PublicKey, WebDocument};
use serde_json::{json, value::RawValue};
use std::sync::Arc;

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
        Err(error) => beside(&error),
        Ok(None) => resolve(&server, ""),
        Ok(Some(did)) => resolve(&server, &string(did).unwrap_or_else(|| did.get().to_owned())),
    }
}

/// The body of a request that needs no token.
pub(super) async fn public_body(
    server: &AgentServer,
    headers: &HeaderMap,
    body: Body,
) -> Result<Bytes, Response> {
    check_form(headers).map_err(|error| beside(&error))?;
    let no_room = |NoRoom| StatusCode::TOO_MANY_REQUESTS.into_response();
    let mut place = server.places.public().map_err(no_room)?;
    let read = body::read(body, server.public_body_limits(), &mut place).await;
    read.map_err(|why| why.status().into_response())
}

pub(super) fn public_json<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<&'a RawValue, A2aError> {
    media::json(joined(headers, header::CONTENT_TYPE).as_deref(), body)
}

fn resolve(server: &AgentServer, did: &str) -> Response {
    if did.is_empty() {
        return beside(&A2aError::Params("Missing 'did' parameter".to_owned()));
    }
    let identity = server.identity();
    if did != identity.did.as_str() {
        let shown: String = did.chars().take(256).collect();
        return internal(StatusCode::NOT_FOUND, &format!("DID '{shown}' not found"));
    }
    let beside = identity.keys_beside();
    axum::Json(BinduDocument::new(&identity.did, &identity.public_key, &beside, &identity.created_at))
        .into_response()
}

/// `/.well-known/did.json`: the did:web twin, under the host of our own URL.
pub(crate) async fn did_web(State(server): State<Arc<AgentServer>>) -> Response {
    let identity = server.identity();
    let url: Uri = server.cards.profile.url.parse().unwrap_or_default();
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
        "resource": server.cards.profile.url,
        "authorization_servers": [authenticator.issuer().await],
        "scopes_supported": ["agent:read", "agent:write"],
        "bearer_methods_supported": ["header"],
        "resource_name": server.cards.profile.name,
        "jwks_uri": server.cards.profile.key_set_url(),
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
