//! What every [`TaskStore`] has to pass: the contract of the trait, case by case ([`check`]), and the comparison with a simple
//! model over any order of calls ([`model`]).
//!
//! ```ignore
//! conformance::check(async || Subject::new(Arc::new(MemoryStore::default()))).await;
//! ```

#![allow(clippy::indexing_slicing)] // It is for tests: a case that fails panics.

mod answers;
mod cases;
mod heavy;
pub mod model;

use crate::{Owner, RunKey, Submission, Submitted, TaskKey, TaskStore};
use bindu_a2a::{
    Parts,
    call::PushConfig,
    event::{ArtifactChunk, TaskEvent},
    model::{Message, Role, TaskState, TaskStatus},
};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use std::sync::Arc;

/// A store that is tested, new and empty.
#[allow(missing_debug_implementations)]
pub struct Subject {
    /// The store.
    pub store: Arc<dyn TaskStore>,
    /// The same store, as another process has it; the same value if it is not shared.
    pub other: Arc<dyn TaskStore>,
    /// Lets all leases end, if the store has any.
    pub end_leases: Option<Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>>,
    /// How many messages of 100 kB one client may have unfinished here, if it is bounded by the store itself.
    pub fits: Option<usize>,
}

impl Subject {
    /// A store that has no leases and is not shared.
    #[must_use]
    pub fn new(store: Arc<dyn TaskStore>) -> Self {
        Self { other: Arc::clone(&store), store, end_leases: None, fits: None }
    }
}

/// Runs every case on a new store. A case that fails panics with its name.
pub async fn check(new: impl AsyncFn() -> Subject) {
    for (name, case) in cases::ALL {
        let subject = new().await;
        tracing::info!(name, "a case of the contract");
        case(subject, name).await;
    }
}

/// A client.
#[must_use]
pub fn client(name: &str) -> Owner {
    Owner::Client { id: name.into(), subject: None }
}

/// A key.
#[must_use]
pub fn key(owner: &str, id: &str) -> TaskKey {
    TaskKey { owner: client(owner), id: id.to_owned() }
}

/// A user's message for a task, in the conversation `c-` and the task's id.
#[must_use]
pub fn message(task_id: &str, id: &str, text: &str) -> Message {
    Message {
        id: id.to_owned(),
        context_id: format!("c-{task_id}"),
        task_id: task_id.to_owned(),
        role: Role::User,
        parts: Parts::of_text(text),
        metadata: None,
        extensions: None,
        reference_task_ids: None,
    }
}

/// A message that may begin its task; its content is its id's.
#[must_use]
pub fn submission(owner: &str, message: Message) -> Submission {
    let mut content = [0; 32];
    for (to, from) in content.iter_mut().zip(message.id.bytes()) {
        *to = from;
    }
    Submission {
        owner: client(owner),
        message: Arc::new(message),
        may_begin: true,
        content: Some(content),
        replay: None,
        push: None,
    }
}

/// Submits a message `m-` and the task's id.
pub async fn begun(store: &dyn TaskStore, owner: &str, task_id: &str) -> Submitted {
    let message = message(task_id, &format!("m-{task_id}"), "hello");
    store.submit(submission(owner, message)).await.expect("the message is taken")
}

/// The run of a submission.
#[must_use]
pub fn run(submitted: &Submitted) -> RunKey {
    submitted.run.clone().expect("there is work to do")
}

/// A status.
#[must_use]
pub fn status(state: TaskState) -> TaskEvent {
    TaskEvent::Status(TaskStatus { state, message: None, timestamp: Timestamp::now() })
}

/// A chunk of text.
#[must_use]
pub fn chunk(id: &str, text: &str, append: bool) -> TaskEvent {
    TaskEvent::Artifact(Arc::new(ArtifactChunk {
        id: id.to_owned(),
        name: Some("result".to_owned()),
        description: None,
        parts: Arc::new(Parts::of_text(text)),
        metadata: None,
        extensions: None,
        append,
        is_last: false,
    }))
}

/// A push configuration.
#[must_use]
pub fn push(id: &str) -> PushConfig {
    PushConfig {
        id: id.to_owned(),
        task_id: String::new(),
        url: "https://example.com/hook".to_owned(),
        token: Some("a token".to_owned()),
        authentication: None,
        dialect: bindu_a2a::dialect::Dialect::V1,
    }
}
