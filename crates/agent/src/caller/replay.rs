//! Signed requests run once: the task store remembers those that change something. A store that ends with the process has
//! forgotten what ran before its start, so what was signed before is not run at all.

use super::{AuthRefusal, signature::Proof};
use bindu_identity::request_signature::WINDOW_SECONDS;
use bindu_tasks::ReplayKey;
use jiff::{SignedDuration, Timestamp};
use std::time::{Duration, Instant, SystemTime};

/// How long a request is remembered. A signature may be dated [`WINDOW_SECONDS`] ahead, and counts to the end of that second
/// [`WINDOW_SECONDS`] later.
const KEPT: SignedDuration = SignedDuration::from_secs((2 * WINDOW_SECONDS + 1).cast_signed());

/// A clock that is set back by no more than this since the start was right at the start, as far as anybody knows.
const LIKELY_STEP: Duration = Duration::from_secs(600);

/// The start of this process, as the task store sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beginning {
    /// Whether the store remembers what ran before.
    store_lasts: bool,
    began: Instant,
    /// The start by the clock as it was then.
    began_at: Duration,
}

impl Beginning {
    pub(crate) fn now(store_lasts: bool) -> Self {
        Self { store_lasts, began: Instant::now(), began_at: wall_clock() }
    }

    /// What the task store is to remember of a signed request that changes something.
    ///
    /// # Errors
    /// [`AuthRefusal::BeforeStart`]: it may have run before, and nobody would know.
    pub(crate) fn replay_key(&self, proof: &Proof) -> Result<ReplayKey, AuthRefusal> {
        let today = wall_clock().saturating_sub(self.began.elapsed());
        if !self.store_lasts && proof.signed_at <= self.began_by(today).as_secs() {
            return Err(AuthRefusal::BeforeStart);
        }
        let now = Timestamp::now();
        Ok(ReplayKey { hash: proof.digest, until: now.checked_add(KEPT).unwrap_or(Timestamp::MAX) })
    }

    /// The start: by the clock as it was then, or as it is today, whichever is later. A clock that was hours ahead at the
    /// start and was put right since must not lock everybody out for as long: then today's counts.
    fn began_by(&self, today: Duration) -> Duration {
        match self.began_at.checked_sub(today) {
            Some(step) if step <= LIKELY_STEP => self.began_at,
            _ => today,
        }
    }
}

fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_before_the_start_is_not_run_unless_the_store_remembers() {
        let now = bindu_http_client::epoch_seconds();
        let proof = |signed_at| Proof { digest: [1; 32], signed_at };
        let forgetful = Beginning::now(false);
        assert_eq!(forgetful.replay_key(&proof(now)), Err(AuthRefusal::BeforeStart));
        let key = forgetful.replay_key(&proof(now + 2)).expect("it was signed after the start");
        assert_eq!(key.hash, [1; 32]);
        let kept = key.until.as_second() - now.cast_signed();
        assert!((601..=603).contains(&kept), "{kept}");
        assert!(Beginning::now(true).replay_key(&proof(now - 200)).is_ok());
    }

    #[test]
    fn the_start_is_the_later_one_unless_the_clock_was_far_off() {
        let beginning = Beginning::now(false);
        let then = beginning.began_at;
        for (today, want) in [
            (then, then),
            (then + Duration::from_secs(9999), then + Duration::from_secs(9999)),
            (then - Duration::from_secs(200), then),
            (then - Duration::from_secs(3600), then - Duration::from_secs(3600)),
        ] {
            assert_eq!(beginning.began_by(today), want);
        }
    }
}
