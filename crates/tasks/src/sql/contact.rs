//! Since when leases could be renewed without a pause: a lease that ended while nobody could renew it says nothing about its holder.

use super::{session::Fault, write::Change};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Since when changes of leases have succeeded without a pause as long as a lease. Other answers of the database prove nothing:
/// somebody may hold a lock on the tasks alone.
#[derive(Debug)]
pub(super) struct Contact {
    lease: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Nobody shares the store, and no change of a lease has failed yet: what is found belongs to processes that are gone.
    Alone,
    /// The first and the last success.
    Since(Option<(Instant, Instant)>),
    /// The last change of leases has failed.
    Failing,
}

impl Contact {
    /// `waits`: whether others may have been cut off together with us, so that their leases have ended and they have not.
    pub(super) fn new(lease: Duration, waits: bool) -> Self {
        let state = if waits { State::Since(None) } else { State::Alone };
        Self { lease, state: Mutex::new(state) }
    }

    /// Notes what became of changes.
    pub(super) fn note(&self, changes: &[Change], fault: Option<&Fault>) {
        if !matches!(changes, [Change::Renew(_) | Change::TakeAbandoned(_)]) {
            // Callers meet faults as well, by what they send: they must not keep anything from being taken over.
            return;
        }
        match fault {
            None => self.succeeded(),
            // A transaction that met another one is done again.
            Some(Fault::Again(_)) => {}
            Some(_) => *self.state() = State::Failing,
        }
    }

    /// Notes that the database was away, or full.
    pub(super) fn interrupted(&self) {
        let mut state = self.state();
        if !matches!(*state, State::Failing) {
            *state = State::Since(None);
        }
    }

    fn succeeded(&self) {
        let now = Instant::now();
        let mut state = self.state();
        *state = match *state {
            State::Alone => State::Alone,
            State::Since(Some((first, last))) if now.duration_since(last) < self.lease => {
                State::Since(Some((first, now)))
            }
            State::Since(_) | State::Failing => State::Since(Some((now, now))),
        };
    }

    /// Whether a lease that has ended is one that its holder could have renewed.
    pub(super) fn may_take_over(&self) -> bool {
        match *self.state() {
            State::Alone => true,
            State::Since(Some((first, last))) => last.elapsed() < self.lease && first.elapsed() >= self.lease,
            State::Since(None) | State::Failing => false,
        }
    }

    /// Whether the last change of leases has failed, and none has succeeded since.
    pub(super) fn is_failing(&self) -> bool {
        matches!(*self.state(), State::Failing)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    async fn after(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    fn late() -> Fault {
        Fault::Late("a lock".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_of_successes_allows_to_take_over_and_each_failure_begins_another_one() {
        let contact = Contact::new(LEASE, true);
        let (renewal, other) = ([Change::Renew(Vec::new())], [Change::ForgetReplays(1)]);
        for _ in 0..3 {
            assert!(!contact.may_take_over());
            contact.note(&renewal, None);
            after(10).await;
        }
        assert!(contact.may_take_over());
        for fault in [late(), Fault::Refused("no right".to_owned()), Fault::Away("gone".to_owned())] {
            contact.note(&renewal, Some(&fault));
            assert!(contact.is_failing(), "{fault:?}");
            for _ in 0..9 {
                // Whatever else succeeds, nobody could renew.
                contact.note(&other, None);
                after(10).await;
                assert!(!contact.may_take_over(), "{fault:?}");
            }
            for _ in 0..3 {
                contact.note(&renewal, None);
                assert!(!contact.is_failing() && !contact.may_take_over(), "{fault:?}");
                after(10).await;
            }
            assert!(contact.may_take_over(), "{fault:?}");
        }
        // What a caller's own change met says nothing about leases.
        contact.note(&other, Some(&late()));
        assert!(contact.may_take_over());
        after(40).await;
        assert!(!contact.may_take_over(), "this process stood still");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_alone_takes_at_once_until_a_renewal_has_failed() {
        let contact = Contact::new(LEASE, false);
        assert!(contact.may_take_over());
        contact.note(&[Change::Renew(Vec::new())], Some(&late()));
        assert!(!contact.may_take_over());
        contact.note(&[Change::Renew(Vec::new())], None);
        assert!(!contact.may_take_over());
    }
}
