//! Who is worked for: so many tasks at the same time, in turn by caller.

use crate::fair::{FairQueue, Party};
use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};
use tokio::sync::oneshot;

/// The places for work.
#[derive(Debug)]
pub(super) struct Turns(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    waiting: FairQueue<Party, Waiting>,
    taken: HashMap<Party, usize>,
    all_taken: usize,
    next: u64,
    /// How many places there are.
    places: usize,
    /// How many of them may be one party's, if it is known.
    places_of_one: usize,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    granted: oneshot::Sender<Turn>,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    inner: Arc<Mutex<Inner>>,
    party: Party,
}

/// A turn that is waited for. Dropped, it waits no longer.
#[derive(Debug)]
pub(super) struct Taking {
    inner: Arc<Mutex<Inner>>,
    party: Party,
    number: u64,
    granted: oneshot::Receiver<Turn>,
}

impl Turns {
    pub(super) fn new(places: usize, places_of_one: usize) -> Self {
        let (waiting, taken) = (FairQueue::new(), HashMap::new());
        Self(Arc::new(Mutex::new(Inner { waiting, taken, all_taken: 0, next: 0, places, places_of_one })))
    }

    /// Waits for a turn, from now on: the order is that of the calls.
    pub(super) fn take(&self, party: Party) -> Taking {
        let (sender, granted) = oneshot::channel();
        let mut inner = lock(&self.0);
        let number = inner.next;
        inner.next += 1;
        inner.waiting.push(party.clone(), Waiting { number, granted: sender });
        drop(inner);
        grant(&self.0);
        Taking { inner: Arc::clone(&self.0), party, number, granted }
    }
}

impl Future for Taking {
    type Output = Option<Turn>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Turn>> {
        Pin::new(&mut self.granted).poll(context).map(Result::ok)
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        let number = self.number;
        let removed = lock(&self.inner).waiting.remove(&self.party, |waiting| waiting.number == number);
        // Outside of the lock: a turn that was granted in between gives itself back, which takes the lock.
        drop(removed);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut inner = lock(&self.inner);
        inner.all_taken -= 1;
        if let Some(taken) = inner.taken.get_mut(&self.party) {
            *taken -= 1;
            if *taken == 0 {
                inner.taken.remove(&self.party);
            }
        }
        drop(inner);
        grant(&self.inner);
    }
}

/// Gives out what places there are.
fn grant(turns: &Arc<Mutex<Inner>>) {
    loop {
        let mut inner = lock(turns);
        if inner.all_taken >= inner.places {
            return;
        }
        let Inner { waiting, taken, places_of_one, .. } = &mut *inner;
        let may =
            |party: &Party| !party.is_known() || taken.get(party).is_none_or(|taken| *taken < *places_of_one);
        let Some((party, next, ())) = waiting.pop(|party, _| may(party).then_some(())) else { return };
        inner.all_taken += 1;
        *inner.taken.entry(party.clone()).or_default() += 1;
        drop(inner);
        // Where nobody waits for it any more, it comes back, and is given to the next one.
        let _ = next.granted.send(Turn { inner: Arc::clone(turns), party });
    }
}

fn lock(turns: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    turns.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Owner;
    use futures_util::FutureExt as _;

    const MAX_AT_ONCE: usize = 64;
    const MAX_OF_ONE: usize = 32;

    fn turns() -> Turns {
        Turns::new(MAX_AT_ONCE, MAX_OF_ONE)
    }

    fn party(name: &str) -> Party {
        Party::Owner(Owner::Client { id: name.into(), subject: None })
    }

    fn now(taking: &mut Taking) -> Option<Turn> {
        taking.now_or_never().flatten()
    }

    #[test]
    fn a_caller_has_its_share_and_the_others_take_turns() {
        let turns = turns();
        let mut alices: Vec<_> = (0..100).map(|_| turns.take(party("alice"))).collect();
        let mut held: Vec<Turn> = alices.iter_mut().filter_map(now).collect();
        assert_eq!(held.len(), MAX_OF_ONE);
        let mut bobs: Vec<_> = (0..100).map(|_| turns.take(party("bob"))).collect();
        held.extend(bobs.iter_mut().filter_map(now));
        assert_eq!(held.len(), MAX_AT_ONCE);
        let mut carol = turns.take(party("carol"));
        assert!(now(&mut carol).is_none());
        // More than a hundred wait before her.
        let mut freed = 0;
        let carols = loop {
            match now(&mut carol) {
                Some(turn) => break turn,
                None => drop(held.pop()),
            }
            freed += 1;
        };
        assert!(freed <= 3, "she waits for no more than one of each, not for {freed}");
        drop(carols);
    }

    #[test]
    fn a_dropped_wait_leaves_nothing_behind() {
        let turns = turns();
        let mut first: Vec<_> = (0..MAX_OF_ONE).map(|_| turns.take(party("alice"))).collect();
        let held: Vec<Turn> = first.iter_mut().filter_map(now).collect();
        drop((0..1_000).map(|_| turns.take(party("alice"))).collect::<Vec<_>>());
        // Granted and not looked at: the place comes back with the wait.
        drop(turns.take(party("bob")));
        drop((first, held));
        let inner = lock(&turns.0);
        assert_eq!((inner.all_taken, inner.taken.len(), inner.waiting.parties().count()), (0, 0, 0));
    }

    #[test]
    fn conversations_have_no_share() {
        let turns = turns();
        let mut all: Vec<_> = (0..100).map(|_| turns.take(Party::Conversation("c".to_owned()))).collect();
        assert_eq!(
            all.iter_mut().filter_map(now).count(),
            100,
            "given back, each place goes to the next one"
        );
        let mut all: Vec<_> = (0..100).map(|_| turns.take(Party::Conversation("c".to_owned()))).collect();
        let held: Vec<Turn> = all.iter_mut().filter_map(now).collect();
        assert_eq!(held.len(), MAX_AT_ONCE);
    }
}
