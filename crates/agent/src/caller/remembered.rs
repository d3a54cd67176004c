//! Answers of Hydra's, remembered: bounded in number and time, asked for once however many want to know, kept through an
//! outage where that is allowed.
//!
//! What was refused lies apart from what is known, so that garbage can't push a good caller out.

use bindu_hydra::HydraError;
use lru::LruCache;
use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::timeout_at,
};

/// How many answers are kept of each kind. A token's takes about a kilobyte, a refusal's 100 bytes.
const MOST_KNOWN: NonZeroUsize = NonZeroUsize::new(20_000).expect("it is not zero");
const MOST_REFUSED: NonZeroUsize = NonZeroUsize::new(20_000).expect("it is not zero");

/// How many questions about strangers Hydra is asked at the same time; the others wait. Questions about those that are
/// known already have a lane of their own.
const LANES: (usize, usize) = (8, 64);

/// How many questions are under way or wait for their turn; strangers beyond are told to come again.
const MOST_FLIGHTS: usize = 1_024;

/// How long somebody who is known waits for a Hydra that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long after its deadline a question's own verdict is waited for.
const VERDICT: Duration = Duration::from_millis(100);

/// After Hydra has failed, who is known doesn't wait for it again for this long.
const PAUSE: Duration = Duration::from_secs(1);

/// What Hydra says of a key of this memory.
#[derive(Debug, Clone)]
pub(crate) enum Answer<V> {
    /// It is known, and good for that much longer at most, where it says so.
    Known(V, Option<Duration>),
    /// The same; to be asked anew each time.
    KnownOnce(V),
    /// It is refused; for so long that need not be asked again.
    Refused(Duration),
}

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Hydra has refused it.
    Refused,
    /// Hydra could not be asked.
    Unavailable,
    /// There was no place among those that ask: nobody knows anything about Hydra.
    Busy,
}

/// What is wanted of a memory.
pub(crate) struct Wish<'a, K, V> {
    pub(crate) key: &'a K,
    /// How old an answer may be; as its lifetime says where nothing is said here.
    pub(crate) age: Option<Duration>,
    /// How long the answer is waited for.
    pub(crate) deadline: Instant,
    /// What counts while Hydra can't be asked, where nothing is remembered.
    pub(crate) fallback: Option<V>,
}

/// A place among those that ask Hydra at the same time. Whoever asks lets it go when Hydra has answered.
pub(crate) struct Place(oneshot::Receiver<OwnedSemaphorePermit>);

impl Place {
    /// Waits for its turn.
    pub(crate) async fn turn(self) -> Option<OwnedSemaphorePermit> {
        self.0.await.ok()
    }
}

/// How long answers count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetimes {
    /// While Hydra is well.
    pub(crate) fresh: Duration,
    /// While it can't be asked, counted from the answer.
    pub(crate) stale: Duration,
}

/// A memory of answers by key.
pub(crate) struct Remembered<K: Hash + Eq, V>(Arc<Inner<K, V>>);

struct Inner<K: Hash + Eq, V> {
    lifetimes: Lifetimes,
    known: Mutex<LruCache<K, Entry<V>>>,
    refused: Mutex<LruCache<K, Instant>>,
    flights: Mutex<HashMap<K, Flight<V>>>,
    strangers: Arc<Semaphore>,
    acquaintances: Arc<Semaphore>,
    failed_at: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Entry<V> {
    /// `None` for what is to be asked anew each time: it is known, and says nothing.
    value: Option<V>,
    /// When Hydra was asked.
    asked: Instant,
    /// End of life by its own word.
    ends: Option<Instant>,
}

type Outcome<V> = Result<Answer<V>, Missing>;

impl<V> Entry<V> {
    fn value(&self, now: Instant, lifetime: Duration) -> Option<&V> {
        let counts = now.duration_since(self.asked) < lifetime && self.ends.is_none_or(|ends| now < ends);
        self.value.as_ref().filter(|_| counts)
    }
}

impl<K, V> Remembered<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new(lifetimes: Lifetimes) -> Self {
        Self(Arc::new(Inner {
            lifetimes,
            known: Mutex::new(LruCache::new(MOST_KNOWN)),
            refused: Mutex::new(LruCache::new(MOST_REFUSED)),
            flights: Mutex::default(),
            strangers: Arc::new(Semaphore::new(LANES.0)),
            acquaintances: Arc::new(Semaphore::new(LANES.1)),
            failed_at: Mutex::default(),
        }))
    }

    /// What is remembered and fresh.
    pub(crate) fn fresh(&self, key: &K) -> Option<Result<V, Missing>> {
        self.younger_than(key, self.0.lifetimes.fresh)
    }

    /// The value of a key: remembered, or asked for.
    pub(crate) async fn get<F>(
        &self,
        wish: Wish<'_, K, V>,
        ask: impl FnOnce(Place) -> F,
    ) -> Result<V, Missing>
    where
        F: Future<Output = Result<Answer<V>, HydraError>> + Send + 'static,
    {
        let age = wish.age.unwrap_or(self.0.lifetimes.fresh);
        if let Some(fresh) = self.younger_than(wish.key, age) {
            return fresh;
        }
        let stale = self.stale(wish.key).or(wish.fallback);
        // The stage before this one has used up Hydra's time for this call: that was an outage, too.
        let is_late = Instant::now() >= wish.deadline;
        if let Some(value) = &stale
            && (is_late || self.has_just_failed())
        {
            return Ok(value.clone());
        }
        let mut flight = match self.join((wish.key, age), wish.deadline, ask) {
            Ok(flight) => flight,
            Err(answered) => return answered,
        };
        let outcome = match &stale {
            None => flight.landed(wish.deadline).await,
            // Who is known doesn't wait for a Hydra that has had its time. The question goes on, for whoever comes next.
            Some(value) => match flight.landed_or_late(wish.deadline).await {
                Some(outcome) => outcome,
                None => {
                    self.note_failure(true);
                    return Ok(value.clone());
                }
            },
        };
        match outcome {
            Ok(Answer::Known(value, _) | Answer::KnownOnce(value)) => Ok(value),
            Ok(Answer::Refused(_)) => Err(Missing::Refused),
            Err(Missing::Unavailable) => stale.ok_or(Missing::Unavailable),
            Err(other) => Err(other),
        }
    }

    fn younger_than(&self, key: &K, age: Duration) -> Option<Result<V, Missing>> {
        let now = Instant::now();
        if let Some(entry) = lock(&self.0.known).get(key) {
            return entry.value(now, age).cloned().map(Ok);
        }
        let mut refused = lock(&self.0.refused);
        let until = *refused.get(key)?;
        if now < until {
            return Some(Err(Missing::Refused));
        }
        refused.pop(key);
        None
    }

    /// What counts as long as Hydra can't be asked.
    fn stale(&self, key: &K) -> Option<V> {
        let (mut known, now) = (lock(&self.0.known), Instant::now());
        let entry = known.get(key)?;
        entry.value(now, self.0.lifetimes.stale).cloned()
    }

    /// The question that is under way, or a new one, which goes on when whoever asked it is gone; or what was remembered
    /// just now.
    fn join<F>(
        &self,
        (key, age): (&K, Duration),
        deadline: Instant,
        ask: impl FnOnce(Place) -> F,
    ) -> Result<Flight<V>, Result<V, Missing>>
    where
        F: Future<Output = Result<Answer<V>, HydraError>> + Send + 'static,
    {
        let mut flights = lock(&self.0.flights);
        if let Some(flight) = flights.get(key) {
            return Ok(flight.clone());
        }
        // The flight that the caller has just missed.
        if let Some(fresh) = self.younger_than(key, age) {
            return Err(fresh);
        }
        let is_known = lock(&self.0.known).contains(key);
        if !is_known && flights.len() >= MOST_FLIGHTS {
            return Err(Err(Missing::Busy));
        }
        let (land, landing) = watch::channel(None);
        let flight = Flight { landing, begun: Arc::default() };
        flights.insert(key.clone(), flight.clone());
        drop(flights);
        let (give_place, place) = oneshot::channel();
        let (inner, key, question, begun) =
            (Arc::clone(&self.0), key.clone(), ask(Place(place)), Arc::clone(&flight.begun));
        tokio::spawn(async move {
            // Whatever becomes of the question, the next one is a new one.
            let entry = FlightEntry { inner: &inner, key: &key };
            let lane = if is_known { &inner.acquaintances } else { &inner.strangers };
            let came = Instant::now();
            let outcome = match timeout_at(deadline.into(), Arc::clone(lane).acquire_owned()).await {
                // The lane is full: that says nothing about Hydra, so nobody is let in for it.
                Err(_) => Err(Missing::Busy),
                Ok(turn) => {
                    let asked = *begun.get_or_init(Instant::now);
                    let _ = turn.map(|turn| give_place.send(turn));
                    // With little time left when its turn came, lateness is not Hydra's doing.
                    let is_rushed = asked.duration_since(came) > deadline.saturating_duration_since(asked);
                    let outcome = match timeout_at(deadline.into(), question).await {
                        Ok(Ok(answer)) => {
                            inner.remember(&key, &answer, asked);
                            Ok(answer)
                        }
                        Ok(Err(error)) => {
                            tracing::warn!(%error, "Hydra could not be asked about a caller");
                            Err(Missing::Unavailable)
                        }
                        Err(_) if is_rushed => Err(Missing::Busy),
                        Err(_) => Err(Missing::Unavailable),
                    };
                    if !matches!(outcome, Err(Missing::Busy)) {
                        Self(Arc::clone(&inner)).note_failure(outcome.is_err());
                    }
                    outcome
                }
            };
            drop(entry);
            let _ = land.send(Some(outcome));
        });
        Ok(flight)
    }

    fn has_just_failed(&self) -> bool {
        lock(&self.0.failed_at).is_some_and(|at| at.elapsed() < PAUSE)
    }

    fn note_failure(&self, failed: bool) {
        *lock(&self.0.failed_at) = failed.then(Instant::now);
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Inner<K, V> {
    fn remember(&self, key: &K, answer: &Answer<V>, asked: Instant) {
        match answer {
            Answer::Known(value, lasts) => {
                lock(&self.refused).pop(key);
                let ends = lasts.map(|lasts| asked + lasts);
                lock(&self.known).put(key.clone(), Entry { value: Some(value.clone()), asked, ends });
            }
            // Known all the same: it is asked about in the lane of those that are, and not behind strangers.
            Answer::KnownOnce(_) => {
                lock(&self.refused).pop(key);
                lock(&self.known).put(key.clone(), Entry { value: None, asked, ends: None });
            }
            Answer::Refused(lasts) => {
                lock(&self.known).pop(key);
                lock(&self.refused).put(key.clone(), Instant::now() + *lasts);
            }
        }
    }
}

/// A question under way.
#[derive(Clone)]
struct Flight<V> {
    landing: watch::Receiver<Option<Outcome<V>>>,
    /// When its turn came.
    begun: Arc<OnceLock<Instant>>,
}

impl<V: Clone> Flight<V> {
    async fn landed(&mut self, until: Instant) -> Outcome<V> {
        // The flight ends at its deadline by itself, and says why.
        match timeout_at((until + VERDICT).into(), self.landing.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or(Err(Missing::Unavailable)),
            // Whoever asked is gone.
            Ok(Err(_)) => Err(Missing::Unavailable),
            Err(_) if self.begun.get().is_none() => Err(Missing::Busy),
            Err(_) => Err(Missing::Unavailable),
        }
    }

    /// `None` where Hydra has had its time, since the question's turn came.
    async fn landed_or_late(&mut self, deadline: Instant) -> Option<Outcome<V>> {
        loop {
            let until = match self.begun.get() {
                Some(begun) if begun.elapsed() >= PATIENCE => return None,
                Some(begun) => *begun + PATIENCE,
                None => Instant::now() + PATIENCE,
            };
            let until = until.min(deadline);
            let landed = timeout_at(until.into(), self.landing.wait_for(Option::is_some)).await;
            match landed.map(|landed| landed.map(|outcome| outcome.clone())) {
                Ok(Ok(outcome)) => return outcome,
                Ok(Err(_)) => return Some(Err(Missing::Unavailable)),
                Err(_) if Instant::now() < deadline => {}
                // Out of time before Hydra has had its own: the flight knows whose fault that is.
                Err(_) => {
                    return match self.landed(deadline).await {
                        Err(Missing::Unavailable) => None,
                        verdict => Some(verdict),
                    };
                }
            }
        }
    }
}

/// Takes a flight out of the list at its end.
struct FlightEntry<'a, K: Hash + Eq, V> {
    inner: &'a Inner<K, V>,
    key: &'a K,
}

impl<K: Hash + Eq, V> Drop for FlightEntry<'_, K, V> {
    fn drop(&mut self) {
        lock(&self.inner.flights).remove(self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const LIFETIMES: Lifetimes =
        Lifetimes { fresh: Duration::from_millis(200), stale: Duration::from_secs(2) };

    fn outage() -> Result<Answer<u32>, HydraError> {
        Err(HydraError::Unavailable { detail: "a test".to_owned(), retry_after: None })
    }

    fn wish(key: &u32, deadline: Instant) -> Wish<'_, u32, u32> {
        Wish { key, age: None, deadline, fallback: None }
    }

    async fn get(
        memory: &Remembered<u32, u32>,
        answer: Result<Answer<u32>, HydraError>,
    ) -> Result<u32, Missing> {
        let soon = Instant::now() + Duration::from_secs(5);
        memory.get(wish(&1, soon), |_| async move { answer }).await
    }

    async fn until_old() {
        tokio::time::sleep(LIFETIMES.fresh).await;
    }

    #[tokio::test]
    async fn what_is_known_outlives_an_outage_and_no_refusal() {
        let memory = Remembered::new(LIFETIMES);
        assert_eq!(get(&memory, outage()).await, Err(Missing::Unavailable), "a stranger");
        assert_eq!(get(&memory, Ok(Answer::Known(7, None))).await, Ok(7));
        assert_eq!(get(&memory, Ok(Answer::Known(8, None))).await, Ok(7), "fresh: nobody is asked");
        until_old().await;
        assert_eq!(get(&memory, outage()).await, Ok(7), "an outage");
        // Hydra has just failed: not asked at once.
        assert_eq!(get(&memory, Ok(Answer::Known(9, None))).await, Ok(7));
        tokio::time::sleep(PAUSE).await;
        assert_eq!(
            get(&memory, Ok(Answer::Refused(Duration::from_millis(100)))).await,
            Err(Missing::Refused)
        );
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(get(&memory, outage()).await, Err(Missing::Unavailable), "a refusal is not forgotten");
    }

    #[tokio::test]
    async fn nothing_lives_longer_than_it_says_or_than_is_allowed() {
        let memory = Remembered::new(LIFETIMES);
        assert_eq!(get(&memory, Ok(Answer::Known(7, Some(Duration::from_millis(50))))).await, Ok(7));
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(get(&memory, outage()).await, Err(Missing::Unavailable), "it has ended");
        assert_eq!(get(&memory, Ok(Answer::Known(8, None))).await, Ok(8));
        tokio::time::sleep(LIFETIMES.stale).await;
        assert_eq!(get(&memory, outage()).await, Err(Missing::Unavailable), "the outage is too long");
        assert_eq!(get(&memory, Ok(Answer::KnownOnce(9))).await, Ok(9));
        assert_eq!(get(&memory, outage()).await, Err(Missing::Unavailable), "it was not to be kept");
    }

    #[tokio::test]
    async fn one_asks_for_all() {
        let (memory, asked) = (Arc::new(Remembered::new(LIFETIMES)), Arc::new(AtomicUsize::new(0)));
        let questions: Vec<_> = (0..50)
            .map(|_| {
                let (memory, asked) = (Arc::clone(&memory), Arc::clone(&asked));
                tokio::spawn(async move {
                    let soon = Instant::now() + Duration::from_secs(5);
                    let question = |_| async move {
                        asked.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        Ok(Answer::Known(7, None))
                    };
                    memory.get(wish(&1, soon), question).await
                })
            })
            .collect();
        for question in questions {
            assert_eq!(question.await.expect("no panic"), Ok(7));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    /// A full lane says nothing about Hydra: nobody gets in for it, and it is no outage for those who are known.
    #[tokio::test]
    async fn a_crowd_of_strangers_is_no_outage() {
        let memory = Arc::new(Remembered::new(LIFETIMES));
        assert_eq!(get(&memory, Ok(Answer::Known(7, None))).await, Ok(7));
        let soon = Instant::now() + Duration::from_millis(400);
        let crowd: Vec<_> = (2..100)
            .map(|key| {
                let memory = Arc::clone(&memory);
                tokio::spawn(async move {
                    let question = |place: Place| async move {
                        let _place = place.turn().await;
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        Ok(Answer::Refused(Duration::ZERO))
                    };
                    let wish = Wish { fallback: Some(8), ..wish(&key, soon) };
                    memory.get(wish, question).await
                })
            })
            .collect();
        let mut busy = 0;
        for stranger in crowd {
            busy += usize::from(stranger.await.expect("no panic") == Err(Missing::Busy));
        }
        assert_eq!(busy, 98 - LANES.0, "those who were asked about are refused, the others met a crowd");
        until_old().await;
        assert_eq!(get(&memory, Ok(Answer::Known(9, None))).await, Ok(9));
    }

    /// Found: callers with a sensitive scope, who are asked about at each call, waited behind a flood of garbage tokens.
    #[tokio::test]
    async fn who_is_asked_about_each_time_is_no_stranger() {
        let memory = Arc::new(Remembered::new(LIFETIMES));
        assert_eq!(get(&memory, Ok(Answer::KnownOnce(7))).await, Ok(7));
        let soon = Instant::now() + Duration::from_secs(5);
        let flood: Vec<_> = (2..100)
            .map(|key| {
                let memory = Arc::clone(&memory);
                tokio::spawn(async move {
                    let question = |place: Place| async move {
                        let _place = place.turn().await;
                        std::future::pending().await
                    };
                    memory.get(wish(&key, soon), question).await
                })
            })
            .collect();
        while memory.0.strangers.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(get(&memory, Ok(Answer::KnownOnce(8))).await, Ok(8), "asked anew, and at once");
        flood.iter().for_each(tokio::task::JoinHandle::abort);
        assert_eq!(get(&memory, Ok(Answer::Refused(Duration::ZERO))).await, Err(Missing::Refused));
        assert!(!lock(&memory.0.known).contains(&1), "what was refused is a stranger again");
    }

    #[tokio::test]
    async fn who_asks_first_may_go_away() {
        let memory = Arc::new(Remembered::new(LIFETIMES));
        let first = {
            let memory = Arc::clone(&memory);
            tokio::spawn(async move {
                let soon = Instant::now() + Duration::from_secs(5);
                let question = |_| async {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Ok(Answer::Known(7, None))
                };
                memory.get(wish(&1, soon), question).await
            })
        };
        tokio::time::sleep(Duration::from_millis(20)).await;
        first.abort();
        assert_eq!(get(&memory, outage()).await, Ok(7), "the first one's question goes on");
    }
}
