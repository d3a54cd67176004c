//! Outcomes that nobody has fetched yet: an agent that ends waits for their callers a little.

use crate::TaskKey;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// After so long an outcome is nobody's concern any more; and so many are remembered.
const KEPT: Duration = Duration::from_secs(300);
const MAX_KEPT: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Unread(Mutex<HashMap<TaskKey, Instant>>);

impl Unread {
    /// A task has ended, or waits for its caller.
    pub(crate) fn settled(&self, task: &TaskKey) {
        let mut unread = self.lock();
        if unread.len() >= MAX_KEPT {
            unread.retain(|_, since| since.elapsed() < KEPT);
        }
        if unread.len() < MAX_KEPT {
            unread.insert(task.clone(), Instant::now());
        }
    }

    /// Its caller has seen it.
    pub(crate) fn fetched(&self, task: &TaskKey) {
        self.lock().remove(task);
    }

    pub(crate) fn is_any(&self, within: Duration) -> bool {
        self.lock().values().any(|since| since.elapsed() < within)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TaskKey, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
