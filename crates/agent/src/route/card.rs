//! What the agent says that it is and can do: its cards, its skills, and how well they fit a task.

use super::{
    hear::hear,
    identity::{public_body, public_json},
    refuse::{Failure, Form, beside, refused_beside, respond},
};
use crate::{
    audit::Occasion,
    caller::{Cover, Owner},
    server::AgentServer,
};
use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bindu_a2a::{A2aError, card::negotiation, dialect::Refusal};
use serde_json::{Value, json};
use std::sync::Arc;

/// Python Bindu's code for a skill that is not there.
const SKILL_NOT_FOUND: i32 = -32030;

/// How much of an id of a caller's is said back.
const MAX_SHOWN: usize = 128;

/// `/.well-known/agent-card.json`: the signed card of A2A 1.0.
pub(crate) async fn agent_card(State(server): State<Arc<AgentServer>>, headers: HeaderMap) -> Response {
    server.cards.answer(&server.identity(), headers.get(header::IF_NONE_MATCH))
}

/// `/.well-known/agent.json`: Python Bindu's card.
pub(crate) async fn bindu_card(State(server): State<Arc<AgentServer>>) -> Response {
    let identity = server.identity();
    axum::Json(server.cards.profile.bindu_card(&server.cards.who(&identity))).into_response()
}

/// `/agent/private.json`: Python Bindu's card with the private skills, for the clients that may see them.
pub(crate) async fn private_card(State(server): State<Arc<AgentServer>>, request: Request) -> Response {
    let profile = &server.cards.profile;
    let refused =
        |status: StatusCode, error: &str| (status, axum::Json(json!({"error": error}))).into_response();
    if !profile.has_private_part() {
        return StatusCode::NOT_FOUND.into_response();
    }
    let (head, _) = request.into_parts();
    match client_of(&server, &head).await {
        Err(response) => response,
        Ok(None) => refused(StatusCode::UNAUTHORIZED, "Authentication required for private agent card"),
        Ok(Some((client_id, who))) if !profile.shows_private_part_to(&client_id) => {
            Occasion::of(&head).refused("not_on_the_private_list", Some(&who));
            refused(StatusCode::FORBIDDEN, "DID not authorized for this agent's private skills")
        }
        Ok(Some(_)) => {
            let identity = server.identity();
            let card = profile.private_bindu_card(&server.cards.who(&identity));
            ([(header::CACHE_CONTROL, "no-store")], axum::Json(card)).into_response()
        }
    }
}

/// The client that calls, found out as for any call; `None` while authentication is off.
async fn client_of(server: &AgentServer, head: &Parts) -> Result<Option<(String, Owner)>, Response> {
    let Some(authenticator) = &server.authenticator else { return Ok(None) };
    let refuse = |failure: Failure| respond(server, head, &Form::Rest { is_a2a: false }, &failure);
    let caller = hear(server, head, Body::empty(), Cover::Body).await.map_err(refuse)?.caller;
    let allowed = authenticator.allow(&caller, "agent/private", true);
    allowed.map_err(|refusal| refuse(Failure::Refused(refusal, Some(caller.owner()), None)))?;
    Ok(caller.client().map(|client| (client.id.to_string(), caller.owner())))
}

/// `/agent/skills`.
pub(crate) async fn skills(State(server): State<Arc<AgentServer>>) -> Response {
    axum::Json(server.cards.profile.skill_list()).into_response()
}

/// `/agent/skills/{id}`: a skill by its id or its name.
pub(crate) async fn skill(State(server): State<Arc<AgentServer>>, Path(id): Path<String>) -> Response {
    match server.cards.profile.skill(&id) {
        Some(skill) => axum::Json(skill.detail()).into_response(),
        None => not_found("Skill not found", &id),
    }
}

/// `/agent/skills/{id}/documentation`: the file that the skill comes from, as it is.
pub(crate) async fn documentation(
    State(server): State<Arc<AgentServer>>,
    Path(id): Path<String>,
) -> Response {
    match server.cards.profile.skill(&id) {
        None => not_found("Skill not found", &id),
        Some(skill) => match &skill.documentation {
            None => not_found("No documentation available for skill", &id),
            Some(documentation) => {
                let headers =
                    [(header::CONTENT_TYPE, "application/yaml"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
                (headers, documentation.content.clone()).into_response()
            }
        },
    }
}

fn not_found(what: &str, id: &str) -> Response {
    let shown: String = id.chars().take(MAX_SHOWN).collect();
    refused_beside(&Refusal {
        status: StatusCode::NOT_FOUND.as_u16(),
        code: SKILL_NOT_FOUND,
        message: format!("{what}: {shown}"),
        data: None,
        retry_after: None,
    })
}

/// `/agent/negotiation`: how well the skills fit a task.
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
    let request: Result<Value, _> = match public_json(&headers, &body) {
        Err(error @ A2aError::Media(_)) => return beside(&error),
        Err(_) => return refused("Invalid JSON payload"),
        Ok(raw) => serde_json::from_str(raw.get()),
    };
    let Ok(request) = request else { return refused("Invalid JSON payload") };
    match negotiation::assess(&server.cards.profile, &request, server.tasks.active()) {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(error) => refused(&error.to_string()),
    }
}
