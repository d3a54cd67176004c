//! The HTTP+JSON binding of A2A 1.0: `/message:send`, `/tasks/...` and the others, with and without a tenant.
//!
//! Its paths have verbs behind a colon and a tenant in front, which no router of ours reads: whatever is no other route
//! comes here, and `bindu_a2a::rest` reads it.

use super::{
    hear::{Done, Heard, activated, hear, joined, last_event, named_version, perform, weight},
    refuse::{Failure, Form, json_body, name_version, respond},
    stream::{self, Frame},
};
use crate::{caller::Cover, connection::Held, server::AgentServer};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bindu_a2a::{
    Dialect,
    call::Call,
    rest::{self, MEDIA_TYPE},
    version,
};
use std::sync::Arc;

/// Answers what is no other route.
pub(crate) async fn call(State(server): State<Arc<AgentServer>>, request: Request) -> Response {
    if !rest::is_path(request.uri().path()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let methods = rest::methods(request.uri().path());
    if !methods.is_empty() && !methods.contains(&request.method().as_str()) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, methods.join(", "))]).into_response();
    }
    let (head, body) = request.into_parts();
    let form = Form::Rest { is_a2a: prefers_a2a(&head.headers) };
    let mut response = match answer(&server, &head, body).await {
        Ok(response) => response,
        Err(failure) => respond(&server, &head, &form, &failure),
    };
    name_version(&mut response, Dialect::V1);
    response
}

async fn answer(server: &Arc<AgentServer>, head: &Parts, body: Body) -> Result<Response, Failure> {
    // Method and path say what is to be changed, and Bindu's signature covers neither.
    let cover = if matches!(head.method, Method::GET | Method::HEAD) { Cover::Body } else { Cover::Request };
    let Heard { mut place, caller, proof, body } = hear(server, head, body, cover).await?;
    version::check_v1(named_version(head).as_deref())?;
    let read = {
        let (method, uri) = (head.method.clone(), head.uri.clone());
        place.work(body.len(), move || rest::decode(method.as_str(), uri.path(), uri.query(), &body)).await
    };
    place.body_is_gone();
    let mut call = read?;
    if let Call::Subscribe { after: after @ None, .. } = &mut call {
        *after = last_event(&head.headers);
    }
    let extensions = activated(&head.headers, &server.extensions, &mut call)?;
    let mut response = match perform(server, (&caller, &mut place), proof.as_ref(), call).await? {
        Done::Stream(events) => stream::respond(server, events, Frame::Rest, place),
        Done::Answer(answer) => {
            let bytes = weight(&answer);
            let body = place.work(bytes, move || rest::encode(&answer).into_text()).await;
            place.has_read();
            let mut response = json_body(body, prefers_a2a(&head.headers));
            response.extensions_mut().insert(Held(Arc::new(place)));
            response
        }
    };
    response.headers_mut().extend(extensions);
    Ok(response)
}

/// Whether the caller speaks A2A's own media type: it sends it, or says that it takes it.
fn prefers_a2a(headers: &HeaderMap) -> bool {
    let names = [header::CONTENT_TYPE, header::ACCEPT].map(|name| joined(headers, name));
    names.into_iter().flatten().any(|value| value.to_ascii_lowercase().contains(MEDIA_TYPE))
}
