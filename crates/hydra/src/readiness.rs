//! `/health/ready`, asked for many at once.

use crate::{Hydra, HydraError};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// No more often than this, however many want to know.
const SPACING: Duration = Duration::from_millis(100);

/// When readiness was asked last, and what came of it.
#[derive(Default)]
pub(crate) struct Readiness {
    /// Held by whoever asks, so that one asks for all that wait.
    turn: tokio::sync::Mutex<()>,
    /// Places among those that ask about a token for the second time.
    again: Again,
    last: Mutex<Option<Check>>,
}

/// How many tokens are asked about for the second time at the same time.
const MOST_AGAIN: usize = 8;

struct Again(Semaphore);

impl Default for Again {
    fn default() -> Self {
        Self(Semaphore::new(MOST_AGAIN))
    }
}

#[derive(Clone)]
struct Check {
    begun: Instant,
    outcome: Result<(), HydraError>,
}

impl Readiness {
    /// Whether a question that began between the two instants was answered well.
    pub(crate) fn was_good_between(&self, from: Instant, to: Instant) -> bool {
        self.last().is_some_and(|check| check.outcome.is_ok() && check.begun >= from && check.begun <= to)
    }

    /// A place for a second question about a token; the crowd that waited for an answer of `/health/ready` does not go on all
    /// at once.
    pub(crate) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.again.0.acquire().await.ok()
    }

    /// The answer to a question that began after `since`.
    pub(crate) async fn good_after(&self, hydra: &Hydra, since: Instant) -> Result<(), HydraError> {
        let _turn = self.turn.lock().await;
        if let Some(check) = self.last() {
            if check.begun > since {
                return check.outcome;
            }
            tokio::time::sleep(SPACING.saturating_sub(check.begun.elapsed())).await;
        }
        let begun = Instant::now();
        let outcome = hydra.ready().await;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Check { begun, outcome: outcome.clone() });
        outcome
    }

    fn last(&self) -> Option<Check> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
