//! How a message is taken: which task it is for, whether it came before, and what is told if it can't be.

use crate::{Caller, ReplayKey, StoreError, Submission, Submitted, TaskKey, TaskService};
use bindu_a2a::{
    A2aError, Json,
    call::{SendRequest, UnknownTask},
    model::Message,
};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use uuid::Uuid;

/// A message that was taken, now or before.
pub(crate) enum Taken {
    Now(Box<Submitted>),
    /// This very request was done before, for this task.
    Before(TaskKey),
}

impl TaskService {
    /// Keeps a message, and begins the work on it.
    pub(crate) async fn take(
        &self,
        caller: &Caller,
        request: SendRequest,
        replay: Option<ReplayKey>,
    ) -> Result<Taken, A2aError> {
        if self.is_draining() {
            let problem = "This agent is about to end; please try another one".to_owned();
            return Err(A2aError::Unavailable { problem, retry_after: 1 });
        }
        let owner = caller.owner();
        let SendRequest { mut message, unknown_task, push, is_blocking, extensions, .. } = request;
        let content = (!owner.is_everybody()).then(|| content_hash(&message, unknown_task));
        let may_begin = self.place(caller, &mut message, unknown_task).await?;
        let push = match push {
            None => None,
            Some(_) if !self.limits().push => return Err(A2aError::PushNotSupported),
            Some(push) => Some(self.checked(push, &message.task_id)?),
        };
        let message = Arc::new(message);
        let submission =
            Submission { owner, message: Arc::clone(&message), may_begin, content, replay, push };
        match self.runner().keep(caller, (submission, extensions), is_blocking).await {
            Ok(submitted) => Ok(Taken::Now(Box::new(submitted))),
            Err(StoreError::Replayed(task)) => Ok(Taken::Before(task)),
            Err(StoreError::Ended(state)) => Err(A2aError::Ended { task_id: message.task_id.clone(), state }),
            Err(error) => Err(refused(error)),
        }
    }

    /// Gives a message the ids of its task and its conversation; whether the task may be new.
    async fn place(
        &self,
        caller: &Caller,
        message: &mut Message,
        unknown_task: UnknownTask,
    ) -> Result<bool, A2aError> {
        let is_new = if message.task_id.is_empty() {
            message.task_id = Uuid::new_v4().to_string();
            true
        } else {
            let key = TaskKey { owner: caller.owner(), id: message.task_id.clone() };
            match self.store().context_id(&key).await {
                Ok(context_id) => {
                    let names_another = !message.context_id.is_empty() && message.context_id != context_id;
                    if names_another && unknown_task == UnknownTask::IsNotFound {
                        let problem = "message.contextId is not the context of its task".to_owned();
                        return Err(A2aError::Params(problem));
                    }
                    // What belongs to a task belongs to its conversation.
                    message.context_id = context_id;
                    return Ok(false);
                }
                Err(StoreError::NotFound) if unknown_task == UnknownTask::IsNew => true,
                Err(error) => return Err(refused(error)),
            }
        };
        if message.context_id.is_empty() {
            message.context_id = Uuid::new_v4().to_string();
        }
        Ok(is_new)
    }
}

/// What tells a message from another one with the same id. Where callers choose the ids of tasks, they choose new ones when
/// they send a message again.
fn content_hash(message: &Message, unknown_task: UnknownTask) -> [u8; 32] {
    let (task_id, context_id) = match unknown_task {
        UnknownTask::IsNotFound => (message.task_id.as_str(), message.context_id.as_str()),
        UnknownTask::IsNew => ("", ""),
    };
    let text = |json: &Option<Json>| json.as_ref().map_or("", |json| json.text()).to_owned();
    let role = format!("{:?}", message.role);
    let (metadata, extensions) = (text(&message.metadata), text(&message.extensions));
    let references = text(&message.reference_task_ids);
    let mut hash = Sha256::new();
    for field in [task_id, context_id, &role, message.parts.text(), &metadata, &extensions, &references] {
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field);
    }
    hash.finalize().into()
}

/// What a store's refusal is for a caller.
pub(crate) fn refused(error: StoreError) -> A2aError {
    match error {
        StoreError::NotFound => A2aError::TaskNotFound,
        StoreError::Ended(state) => A2aError::NotCancelable(state),
        StoreError::TooLarge => A2aError::TooLarge,
        StoreError::TooMany => A2aError::TooMany {
            problem: "Too many of your tasks are unfinished or not fetched; please try again when some of \
                      them have ended and are fetched"
                .to_owned(),
            retry_after: 5,
        },
        StoreError::TooManyRemembered => A2aError::TooMany {
            problem: "Too many of your signed requests are remembered; please wait".to_owned(),
            retry_after: 60,
        },
        StoreError::Full => A2aError::Unavailable {
            problem: "Too many unfinished tasks; please try again".to_owned(),
            retry_after: 5,
        },
        StoreError::NoSpace => {
            tracing::warn!("the disk of the task store is full");
            A2aError::Unavailable {
                problem: "The agent's task store is full; please try again later".to_owned(),
                retry_after: 30,
            }
        }
        // Not asked for without room for it.
        StoreError::Heavy(_) => A2aError::Internal,
        StoreError::BadPageToken => A2aError::Params("the page token is not valid".to_owned()),
        StoreError::Unavailable(problem) => {
            tracing::warn!(problem, "the task store is unavailable");
            A2aError::Unavailable {
                problem: "The agent's task store is unavailable; please try again".to_owned(),
                retry_after: 5,
            }
        }
        StoreError::Replayed(_) | StoreError::Superseded | StoreError::Moved(_) => A2aError::Internal,
    }
}
