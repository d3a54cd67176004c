//! `POST /`: JSON-RPC. Who is calling is found out first; then the dialect reads the call.

use crate::{
    audit::Occasion,
    body,
    caller::{AuthRefusal, Authenticator, Caller, Challenge, Cover, Owner, Proof, Signed, replay::Turn},
    dialect::{
        bindu::{self, Call},
        media,
        rpc::{RpcError, RpcRequest, result},
    },
    server::{AgentServer, Phase},
    task::{TaskError, TaskKey},
};
use axum::{
    body::{Body, HttpBody as _},
    extract::{Request, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use bindu_a2a::Json;
use serde_json::json;
use std::sync::Arc;

/// Answers one JSON-RPC request.
pub(crate) async fn call(State(server): State<Arc<AgentServer>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let answered = answer(&server, &head, body).await;
    let is_let_in = !matches!(answered, Err(Failure::Refused(..) | Failure::Body(..)));
    if server.authenticator.is_some() && is_let_in {
        server.metrics.auth_decision("allowed", "none");
    }
    match answered {
        Ok(response) => response,
        Err(Failure::Refused(refusal, who)) => refuse(&server, &head, &refusal, who.as_ref()),
        Err(Failure::Body(status, who)) => refuse_body(&server, &head, status, who.as_ref()),
        Err(Failure::Call(id, error)) => error.respond(&id),
    }
}

/// Why a request is not answered with a result.
enum Failure {
    Refused(AuthRefusal, Option<Owner>),
    Body(StatusCode, Option<Owner>),
    Call(Json, RpcError),
}

async fn answer(server: &AgentServer, head: &Parts, body: Body) -> Result<Response, Failure> {
    let unread_form = |error| Failure::Call(Json::null(), error);
    let unread = |who: Option<Owner>| move |status| Failure::Body(status, who);
    // A caller's place is its own until its answer has gone out.
    let (admitted, caller, proof, body) = match &server.authenticator {
        None => {
            media::check_headers(&head.headers).map_err(unread_form)?;
            let body = body::read(body, server.body_limits).await.map_err(unread(None))?;
            (None, Caller::Anonymous, None, body)
        }
        Some(authenticator) => {
            let admitted = authenticator.admit(&head.headers, &head.uri).await;
            let admitted = admitted.map_err(|(refusal, who)| Failure::Refused(refusal, who))?;
            media::check_headers(&head.headers).map_err(unread_form)?;
            let who = Some(admitted.owner().clone());
            let body = body::read(body, server.body_limits).await.map_err(unread(who))?;
            let (method, uri, headers) = (&head.method, &head.uri, &head.headers);
            let signed = Signed { method, uri, headers, body: &body };
            let proved = authenticator.prove(&admitted, &signed, Cover::Body).await;
            let (caller, proof) =
                proved.map_err(|refusal| Failure::Refused(refusal, Some(admitted.owner().clone())))?;
            (Some(admitted), caller, proof, body)
        }
    };
    let request = RpcRequest::parse(&head.headers, &body).map_err(|(id, error)| Failure::Call(id, error))?;
    let failed = |error| Failure::Call(request.id.clone(), error);
    let call = bindu::call(&request.method, request.params).map_err(failed)?;
    let done = match &server.authenticator {
        None => perform(server, call, caller).map(|done| done.answer).map_err(failed),
        Some(authenticator) => {
            let owner = caller.owner();
            let refused = |refusal| Failure::Refused(refusal, Some(owner.clone()));
            authenticator.allow(&caller, &request.method, call.reads()).map_err(refused)?;
            perform_once(server, authenticator, call, caller, proof.as_ref()).await.map_err(|error| {
                match error {
                    NotDone::Refused(refusal) => refused(refusal),
                    NotDone::Failed(error) => failed(error),
                }
            })
        }
    }?;
    let response = result(&request.id, &done);
    Ok(match admitted {
        Some(mut admitted) => {
            let bytes = response.body().size_hint().lower();
            let owner = admitted.owner().clone();
            admitted.answers(bytes).map_err(|refusal| Failure::Refused(refusal, Some(owner)))?;
            response.map(|body| body::holding(body, admitted))
        }
        None => response,
    })
}

enum NotDone {
    Refused(AuthRefusal),
    Failed(RpcError),
}

/// Performs a call; one that is signed and changes something only the first time that it comes.
async fn perform_once(
    server: &AgentServer,
    authenticator: &Authenticator,
    call: Call,
    caller: Caller,
    proof: Option<&Proof>,
) -> Result<Json, NotDone> {
    if call.reads() {
        return perform(server, call, caller).map(|done| done.answer).map_err(NotDone::Failed);
    }
    let owner = caller.owner();
    match authenticator.turn(&owner, proof).await.map_err(NotDone::Refused)? {
        Some(Turn::Repeat(id)) => {
            let task = server.tasks.read(&TaskKey { owner, id });
            task.map(|task| bindu::task_out(&task, None)).map_err(|_| NotDone::Refused(AuthRefusal::Replayed))
        }
        Some(Turn::First(ticket)) => {
            let done = perform(server, call, caller).map_err(NotDone::Failed)?;
            ticket.done(&owner, &done.task_id);
            Ok(done.answer)
        }
        None => perform(server, call, caller).map(|done| done.answer).map_err(NotDone::Failed),
    }
}

/// A call that was performed.
struct Done {
    answer: Json,
    /// The task that it was about, where it was about one.
    task_id: String,
}

fn perform(server: &AgentServer, call: Call, caller: Caller) -> Result<Done, RpcError> {
    let owner = caller.owner();
    let key = |id: String| TaskKey { owner: owner.clone(), id };
    match call {
        Call::Send(_) if server.phase() == Phase::Draining => Err(RpcError::internal(
            StatusCode::SERVICE_UNAVAILABLE,
            "This agent is about to end; please try another one",
        )
        .retry_after(1)),
        Call::Send(message) => {
            let key = key(message.task_id.clone());
            let submitted = server.tasks.submit(&key, *message).map_err(|error| not_sent(&key, error))?;
            let task_id = submitted.task.id.clone();
            if submitted.is_new {
                server.runner.run(key, &submitted.task.context_id, caller);
            }
            Ok(Done { answer: bindu::task_out(&submitted.task, None), task_id })
        }
        Call::Read { task_id, history_length } => {
            let task = server.tasks.read(&key(task_id)).map_err(|_| bindu::not_found())?;
            Ok(Done { answer: bindu::task_out(&task, history_length), task_id: task.id })
        }
        Call::List => {
            let tasks = server.tasks.list(&owner);
            Ok(Done { answer: bindu::tasks_out(&tasks), task_id: String::new() })
        }
        Call::Cancel { task_id } => {
            let key = key(task_id);
            let task = server.tasks.cancel(&key).map_err(|error| match error {
                TaskError::Ended(state) => bindu::not_cancelable(state),
                _ => bindu::not_found(),
            })?;
            server.runner.stop(&key);
            Ok(Done { answer: bindu::task_out(&task, None), task_id: task.id })
        }
    }
}

fn not_sent(key: &TaskKey, error: TaskError) -> RpcError {
    match error {
        TaskError::Ended(state) => bindu::ended(&key.id, state),
        TaskError::NotFound => bindu::not_found(),
        TaskError::TooLarge => RpcError::internal(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The message is longer than what is kept for one caller",
        ),
        TaskError::TooMany => RpcError::internal(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many of your tasks are unfinished; please try again when some of them have ended",
        )
        .retry_after(5),
        TaskError::Full => {
            RpcError::internal(StatusCode::SERVICE_UNAVAILABLE, "Too many unfinished tasks; please try again")
                .retry_after(5)
        }
    }
}

/// A body that was not taken. What is known of the caller is in the audit log, as for any refusal.
fn refuse_body(server: &AgentServer, head: &Parts, status: StatusCode, who: Option<&Owner>) -> Response {
    let reason = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "payload_too_large",
        StatusCode::REQUEST_TIMEOUT => "body_too_slow",
        _ => "body_broken",
    };
    if server.authenticator.is_some() {
        server.metrics.auth_decision("refused", reason);
    }
    Occasion::of(head).refused(reason, who);
    let body = json!({"error": "The request body was not taken", "details": {"reason": reason}});
    (status, axum::Json(body)).into_response()
}

fn refuse(server: &AgentServer, head: &Parts, refusal: &AuthRefusal, who: Option<&Owner>) -> Response {
    server.metrics.auth_decision("refused", refusal.reason());
    Occasion::of(head).refused(refusal.reason(), who);
    let metadata =
        server.authenticator.as_ref().map(|authenticator| &authenticator.settings.resource_metadata);
    Challenge { refusal, resource_metadata: metadata.map_or("", String::as_str) }.into_response()
}
