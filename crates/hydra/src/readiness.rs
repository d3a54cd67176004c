//! `/health/ready`, asked for many at once.

use crate::{Hydra, HydraError};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// No more often than this, however many want to know.
const SPACING: Duration = Duration::from_millis(100);

/// When readiness was asked last, and what came of it.
#[derive(Default)]
pub(crate) struct Readiness {
    /// Held by whoever asks, so that one asks for all that wait.
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Option<Check>>,
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
