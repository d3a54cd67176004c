//! `POST /`: JSON-RPC. Who is calling is found out first; then the dialect reads the call.

use super::{
    hear::{Done, Heard, activated, hear, joined, last_event, named_version, perform, weight},
    refuse::{Failure, Form, json_body, name_version, respond},
    stream::{self, Frame},
};
use crate::{caller::Cover, connection::Held, server::AgentServer};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{header, request::Parts},
    response::Response,
};
use bindu_a2a::{A2aError, Dialect, Json, call::Call, rpc};
use std::sync::Arc;

/// Answers one JSON-RPC request.
pub(crate) async fn call(State(server): State<Arc<AgentServer>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let version = named_version(&head);
    // What is known before the body is read.
    let mut form = Form::Rpc(Dialect::of_version(version.as_deref()), Json::null());
    match answer(&server, &head, body, version.as_deref(), &mut form).await {
        Ok(response) => response,
        Err(failure) => {
            if let Failure::Refused(.., Some(body)) = &failure {
                form = form_of(body, version.as_deref()).unwrap_or(form);
            }
            respond(&server, &head, &form, &failure)
        }
    }
}

/// How a call came whose caller was not let in. Only its envelope is looked at.
fn form_of(body: &[u8], version: Option<&str>) -> Option<Form> {
    let request = rpc::Request::parse(None, body).ok()?;
    let dialect = Dialect::of(&request.method, version).unwrap_or(Dialect::refusing(&request.method));
    Some(Form::Rpc(dialect, request.id))
}

async fn answer(
    server: &Arc<AgentServer>,
    head: &Parts,
    body: Body,
    version: Option<&str>,
    form: &mut Form,
) -> Result<Response, Failure> {
    let Heard { mut place, caller, proof, body } = hear(server, head, body, Cover::Body).await?;
    let read = {
        let (version, kind) = (version.map(str::to_owned), joined(&head.headers, header::CONTENT_TYPE));
        let usual = Dialect::of_version(version.as_deref());
        place.work(body.len(), move || read(&body, kind.as_deref(), version.as_deref(), usual)).await
    };
    place.body_is_gone();
    let Read { dialect, id, call } = read;
    *form = Form::Rpc(dialect, id.clone());
    let mut call = call?;
    if let Call::Subscribe { after: after @ None, .. } = &mut call {
        *after = last_event(&head.headers);
    }
    let extensions = match dialect {
        Dialect::Bindu => None,
        Dialect::V1 | Dialect::V03 => activated(&head.headers, &server.extensions, &mut call)?,
    };
    let mut response = match perform(server, (&caller, &mut place), proof.as_ref(), call).await? {
        Done::Stream(events) => stream::respond(server, events, Frame::Rpc(dialect, id), place),
        Done::Answer(answer) => {
            let bytes = weight(&answer);
            let body = place.work(bytes, move || rpc::answer(dialect, &id, &answer)).await;
            place.has_read();
            let mut response = json_body(body, false);
            response.extensions_mut().insert(Held(Arc::new(place)));
            response
        }
    };
    name_version(&mut response, dialect);
    response.headers_mut().extend(extensions);
    Ok(response)
}

/// A request that was read.
struct Read {
    dialect: Dialect,
    id: Json,
    call: Result<Call, A2aError>,
}

fn read(body: &[u8], kind: Option<&str>, version: Option<&str>, usual: Dialect) -> Read {
    let request = match rpc::Request::parse(kind, body) {
        Ok(request) => request,
        Err((id, error)) => return Read { dialect: usual, id, call: Err(error) },
    };
    match Dialect::of(&request.method, version) {
        Ok(dialect) => {
            Read { dialect, call: dialect.decode(&request.method, request.params), id: request.id }
        }
        Err(error) => Read { dialect: Dialect::refusing(&request.method), id: request.id, call: Err(error) },
    }
}
