//! What callers ask for, done on a store: the same for every dialect and binding.

use crate::{Caller, Limits, ReplayKey, TaskStore, TaskStream, Worker};
use bindu_a2a::{
    A2aError,
    call::{Answer, Call},
};
use std::{sync::Arc, time::Duration};

/// The tasks of an agent, for its callers.
#[derive(Clone)]
pub struct TaskService {
    _store: Arc<dyn TaskStore>,
    _worker: Arc<dyn Worker>,
    _limits: Arc<Limits>,
}

impl TaskService {
    /// A service on a store. [`TaskService::maintain`] has to run beside it.
    #[must_use]
    pub fn new(store: Arc<dyn TaskStore>, worker: Arc<dyn Worker>, limits: Limits) -> Self {
        Self { _store: store, _worker: worker, _limits: Arc::new(limits) }
    }

    /// Answers a call that is no stream. [`Call::ExtendedCard`] is not this service's.
    ///
    /// `replay` is there if the call was signed: one that changes something is done once, and a repeat is answered with the
    /// task as it is now.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn answer(
        &self,
        _caller: &Caller,
        _call: Call,
        _replay: Option<ReplayKey>,
    ) -> Result<Answer, A2aError> {
        Err(A2aError::Internal)
    }

    /// Answers [`Call::Stream`] and [`Call::Subscribe`].
    ///
    /// # Errors
    /// Why there is no stream.
    pub async fn stream(
        &self,
        _caller: &Caller,
        _call: Call,
        _replay: Option<ReplayKey>,
    ) -> Result<TaskStream, A2aError> {
        Err(A2aError::Internal)
    }

    /// Refuses new messages from now on; streams of tasks that wait for their callers end.
    pub fn drain(&self) {}

    /// How many tasks are worked on here, or will be.
    #[must_use]
    pub fn active(&self) -> usize {
        0
    }

    /// Whether a task has ended here within this time, and nobody has fetched what came of it.
    #[must_use]
    pub fn has_unread(&self, _within: Duration) -> bool {
        false
    }

    /// How many streams there are.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        0
    }

    /// Renews leases, and fails the tasks of processes that are gone. Never ends.
    pub async fn maintain(&self) {
        std::future::pending().await
    }
}
