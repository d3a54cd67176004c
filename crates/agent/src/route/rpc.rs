//! `POST /`: JSON-RPC. Who is calling is found out first; then the dialect reads the call.

use crate::{
    caller::Caller,
    dialect::{
        bindu::{self, Call},
        rpc::{RpcError, RpcRequest, result},
    },
    server::{AgentServer, Phase},
    task::{TaskError, TaskKey},
};
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use std::sync::Arc;

/// Answers one JSON-RPC request.
pub(crate) async fn call(
    State(server): State<Arc<AgentServer>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let caller = match &server.authenticator {
        None => Caller::Anonymous,
        Some(authenticator) => match authenticator.authenticate(&headers, &body).await {
            Ok(caller) => {
                server.metrics.auth_decision("allowed", "none");
                caller
            }
            Err(refusal) => {
                server.metrics.auth_decision("refused", refusal.reason());
                tracing::info!(target: "audit", reason = refusal.reason(), "refused a caller");
                return refusal.into_response();
            }
        },
    };
    let request = match RpcRequest::parse(&body) {
        Ok(request) => request,
        Err((id, error)) => return error.respond(&id),
    };
    match bindu::call(&request.method, request.params).and_then(|call| perform(&server, call, caller)) {
        Ok(value) => result(&request.id, value),
        Err(error) => error.respond(&request.id),
    }
}

fn perform(server: &AgentServer, call: Call, caller: Caller) -> Result<Value, RpcError> {
    let owner = caller.owner();
    let key = |id: String| TaskKey { owner: owner.clone(), id };
    match call {
        Call::Send(_) if server.phase() == Phase::Draining => Err(RpcError::internal(
            StatusCode::SERVICE_UNAVAILABLE,
            "This agent is about to end; please try another one",
        )),
        Call::Send(message) => {
            let key = key(message.task_id.clone());
            let task = server.tasks.submit(&key, *message).map_err(|error| match error {
                TaskError::Ended(state) => bindu::ended(&key.id, state),
                TaskError::NotFound => bindu::not_found(),
                TaskError::Full => RpcError::internal(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Too many unfinished tasks; please try again",
                ),
            })?;
            server.runner.run(key, caller);
            Ok(bindu::task_out(&task, None))
        }
        Call::Read { task_id, history_length } => {
            let task = server.tasks.read(&key(task_id)).map_err(|_| bindu::not_found())?;
            Ok(bindu::task_out(&task, history_length))
        }
        Call::List => Ok(server.tasks.list(&owner).iter().map(|task| bindu::task_out(task, None)).collect()),
        Call::Cancel { task_id } => {
            let key = key(task_id);
            let task = server.tasks.cancel(&key).map_err(|error| match error {
                TaskError::Ended(state) => bindu::not_cancelable(state),
                _ => bindu::not_found(),
            })?;
            server.runner.stop(&key);
            Ok(bindu::task_out(&task, None))
        }
    }
}
