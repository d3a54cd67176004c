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
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout_at,
};

/// How many answers are kept of each kind. A token's takes about a kilobyte, a refusal's 100 bytes.
const MOST_KNOWN: NonZeroUsize = NonZeroUsize::new(20_000).expect("it is not zero");
const MOST_REFUSED: NonZeroUsize = NonZeroUsize::new(20_000).expect("it is not zero");

/// How many questions about strangers Hydra is asked at the same time; the others wait. Questions about those that are
/// known already have a lane of their own.
const LANES: (usize, usize) = (8, 64);

/// How long somebody who is known waits for a Hydra that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

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
    flights: Mutex<HashMap<K, watch::Receiver<Option<Outcome<V>>>>>,
    strangers: Semaphore,
    acquaintances: Semaphore,
    failed_at: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Entry<V> {
    value: V,
    /// When Hydra was asked.
    asked: Instant,
    /// End of life by its own word.
    ends: Option<Instant>,
}

type Outcome<V> = Result<Answer<V>, Missing>;

impl<V> Entry<V> {
    fn counts(&self, now: Instant, lifetime: Duration) -> bool {
        now.duration_since(self.asked) < lifetime && self.ends.is_none_or(|ends| now < ends)
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
            strangers: Semaphore::new(LANES.0),
            acquaintances: Semaphore::new(LANES.1),
            failed_at: Mutex::default(),
        }))
    }

    /// What is remembered and fresh.
    pub(crate) fn fresh(&self, key: &K) -> Option<Result<V, Missing>> {
        self.younger_than(key, self.0.lifetimes.fresh)
    }

    /// The value of a key: remembered, or asked for until `deadline`.
    pub(crate) async fn get<F>(
        &self,
        key: &K,
        deadline: Instant,
        ask: impl FnOnce() -> F,
    ) -> Result<V, Missing>
    where
        F: Future<Output = Result<Answer<V>, HydraError>> + Send + 'static,
    {
        self.get_younger_than(key, self.0.lifetimes.fresh, deadline, ask).await
    }

    /// The same, and what was asked longer than `age` ago is asked again.
    pub(crate) async fn get_younger_than<F>(
        &self,
        key: &K,
        age: Duration,
        deadline: Instant,
        ask: impl FnOnce() -> F,
    ) -> Result<V, Missing>
    where
        F: Future<Output = Result<Answer<V>, HydraError>> + Send + 'static,
    {
        if let Some(fresh) = self.younger_than(key, age) {
            return fresh;
        }
        let stale = self.stale(key);
        if let Some(value) = &stale
            && self.has_just_failed()
        {
            return Ok(value.clone());
        }
        let mut flight = self.join(key, deadline, ask);
        // The question goes on after that, for whoever comes next.
        let patience = if stale.is_some() { deadline.min(Instant::now() + PATIENCE) } else { deadline };
        let landed = timeout_at(patience.into(), flight.wait_for(Option::is_some)).await;
        let outcome = match landed {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or(Err(Missing::Unavailable)),
            // Late, or whoever asked is gone. For somebody who is known that is Hydra's doing; a stranger may have
            // waited for other strangers.
            _ => {
                if stale.is_some() {
                    self.note_failure(true);
                }
                Err(Missing::Unavailable)
            }
        };
        match outcome {
            Ok(Answer::Known(value, _) | Answer::KnownOnce(value)) => Ok(value),
            Ok(Answer::Refused(_)) => Err(Missing::Refused),
            Err(missing) => stale.ok_or(missing),
        }
    }

    fn younger_than(&self, key: &K, age: Duration) -> Option<Result<V, Missing>> {
        let now = Instant::now();
        if let Some(entry) = lock(&self.0.known).get(key) {
            return entry.counts(now, age).then(|| Ok(entry.value.clone()));
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
        entry.counts(now, self.0.lifetimes.stale).then(|| entry.value.clone())
    }

    /// The question that is under way, or a new one. It goes on when whoever asked it is gone.
    fn join<F>(
        &self,
        key: &K,
        deadline: Instant,
        ask: impl FnOnce() -> F,
    ) -> watch::Receiver<Option<Outcome<V>>>
    where
        F: Future<Output = Result<Answer<V>, HydraError>> + Send + 'static,
    {
        let mut flights = lock(&self.0.flights);
        if let Some(flight) = flights.get(key) {
            return flight.clone();
        }
        let (land, flight) = watch::channel(None);
        flights.insert(key.clone(), flight.clone());
        drop(flights);
        let (inner, key, question) = (Arc::clone(&self.0), key.clone(), ask());
        tokio::spawn(async move {
            // Whatever becomes of the question, the next one is a new one.
            let flight = Flight { inner: &inner, key: &key };
            let lane =
                if lock(&inner.known).contains(&key) { &inner.acquaintances } else { &inner.strangers };
            let outcome = match timeout_at(deadline.into(), lane.acquire()).await {
                // The lane is full: that says nothing about Hydra.
                Err(_) => Err(Missing::Unavailable),
                Ok(_turn) => {
                    let asked = Instant::now();
                    let outcome = match timeout_at(deadline.into(), question).await {
                        Ok(Ok(answer)) => {
                            inner.remember(&key, &answer, asked);
                            Ok(answer)
                        }
                        Ok(Err(error)) => {
                            tracing::warn!(%error, "Hydra could not be asked about a caller");
                            Err(Missing::Unavailable)
                        }
                        Err(_) => Err(Missing::Unavailable),
                    };
                    // One whose turn came just before its deadline has not given Hydra the time to answer.
                    let is_late =
                        outcome.is_err() && asked.elapsed() < PATIENCE && Instant::now() >= deadline;
                    if !is_late {
                        Self(Arc::clone(&inner)).note_failure(outcome.is_err());
                    }
                    outcome
                }
            };
            drop(flight);
            let _ = land.send(Some(outcome));
        });
        flight
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
                lock(&self.known).put(key.clone(), Entry { value: value.clone(), asked, ends });
            }
            Answer::KnownOnce(_) => {
                lock(&self.known).pop(key);
            }
            Answer::Refused(lasts) => {
                lock(&self.known).pop(key);
                lock(&self.refused).put(key.clone(), Instant::now() + *lasts);
            }
        }
    }
}

struct Flight<'a, K: Hash + Eq, V> {
    inner: &'a Inner<K, V>,
    key: &'a K,
}

impl<K: Hash + Eq, V> Drop for Flight<'_, K, V> {
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

    async fn get(
        memory: &Remembered<u32, u32>,
        answer: Result<Answer<u32>, HydraError>,
    ) -> Result<u32, Missing> {
        let soon = Instant::now() + Duration::from_secs(5);
        memory.get(&1, soon, || async move { answer }).await
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
                    let question = || async move {
                        asked.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        Ok(Answer::Known(7, None))
                    };
                    memory.get(&1, soon, question).await
                })
            })
            .collect();
        for question in questions {
            assert_eq!(question.await.expect("no panic"), Ok(7));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn who_asks_first_may_go_away() {
        let memory = Arc::new(Remembered::new(LIFETIMES));
        let first = {
            let memory = Arc::clone(&memory);
            tokio::spawn(async move {
                let soon = Instant::now() + Duration::from_secs(5);
                let question = || async {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Ok(Answer::Known(7, None))
                };
                memory.get(&1, soon, question).await
            })
        };
        tokio::time::sleep(Duration::from_millis(20)).await;
        first.abort();
        assert_eq!(get(&memory, outage()).await, Ok(7), "the first one's question goes on");
    }
}
