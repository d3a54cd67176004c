//! Places: how much of the agent one caller may use at a time, and how much all of them together.
//!
//! A request has a place from the moment its caller's token is known until the last byte of its answer has gone out. What
//! costs memory is taken from two budgets, first from the caller's own and then from everybody's: bytes of bodies that are
//! read, and bytes of answers on their way. What costs time on a thread is done one piece at a time for each caller, off
//! the threads that serve connections. Whoever finds no room waits for a while; so callers do not meet in queues.
//!
//! With authentication off all callers are one, [`Owner::Everybody`], which has all of the room.

use crate::long::Long;
use async_trait::async_trait;
use bindu_tasks::Owner;
use lru::LruCache;
use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// A body or an answer that is not longer than this, in bytes, needs no room: the buffers of its socket hold as much.
pub(crate) const SMALL: usize = 16 * 1024;

/// What is not longer than this, in bytes, is read or written where its connection is served: it takes microseconds.
const QUICK: usize = 32 * 1024;

/// How many bytes of bodies are read at a time, of callers who have proved who they are and of the others each; the longest
/// body fits twice in any case. One caller may have half of it.
const BODY_BYTES: usize = 12 * 1024 * 1024;

/// How many bytes of answers may be on their way. One caller may have a third of it. A longer answer has the whole part.
const ANSWER_BYTES: usize = 12 * 1024 * 1024;
const ANSWER_PART: usize = ANSWER_BYTES / 3;

/// How many heavy reads of one caller, and of all, are done at a time: a store may give each reader a copy, which costs as much
/// again until the answer is written.
const HEAVY_READS: (usize, usize) = (1, 2);

/// How long a request waits for room. A stream waits for as long as room is given back in that time and the time after which whoever
/// takes nothing is cut off: it is not refused because others stall.
const WAIT: Duration = Duration::from_secs(10);

/// How many callers are remembered who have proved who they are.
const MOST_PROVEN: NonZeroUsize = NonZeroUsize::new(20_000).expect("it is not zero");

/// What places may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlaceLimits {
    /// How many requests of one caller are worked on at a time.
    pub(crate) requests: usize,
    /// The longest body, in bytes.
    pub(crate) body: usize,
}

/// There is no room for more at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// All places.
pub(crate) struct Places(Arc<Inner>);

struct Inner {
    limits: PlaceLimits,
    shares: Mutex<HashMap<Owner, Arc<Share>>>,
    proven: Mutex<LruCache<Owner, ()>>,
    /// Bytes of bodies: of callers who have proved who they are, and of the others.
    proven_bodies: Arc<Semaphore>,
    other_bodies: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    /// How often room was given back.
    given_back: Arc<AtomicU64>,
    /// Threads for what takes long, and who has one.
    long: Long,
    work: Arc<Semaphore>,
}

/// One caller's part.
struct Share {
    requests: Mutex<usize>,
    bodies: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    work: Arc<Semaphore>,
}

/// A caller's place among those that are worked on.
pub(crate) struct Place {
    inner: Arc<Inner>,
    owner: Owner,
    share: Arc<Share>,
    is_counted: bool,
    is_proven: bool,
    body: Room,
    answer: Room,
    read: Room,
    /// Of a stream: how long it waits while no room is given back.
    patience: Option<Duration>,
}

/// Bytes that are taken, of the caller's own and of everybody's.
#[derive(Default)]
struct Room(Option<Taken>);

struct Taken {
    own: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
    given_back: Arc<AtomicU64>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.given_back.fetch_add(1, Ordering::Relaxed);
    }
}

impl Places {
    pub(crate) fn new(limits: PlaceLimits) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        // One is left to whatever is quick.
        let long = threads.saturating_sub(1).max(1);
        Self(Arc::new(Inner {
            limits,
            shares: Mutex::default(),
            proven: Mutex::new(LruCache::new(MOST_PROVEN)),
            proven_bodies: semaphore(body_bytes(limits)),
            other_bodies: semaphore(body_bytes(limits)),
            answers: semaphore(ANSWER_BYTES),
            reads: semaphore(HEAVY_READS.1),
            given_back: Arc::default(),
            long: Long::new(long),
            work: semaphore(long),
        }))
    }

    /// A place for one more request of a caller's. `is_proven`: it need not prove more than it has.
    ///
    /// # Errors
    /// It has as many as it may have. Requests of everybody's are not counted: there are no more of them than connections.
    pub(crate) fn place(&self, owner: &Owner, is_proven: bool) -> Result<Place, NoRoom> {
        let inner = &self.0;
        let is_proven = is_proven || lock(&inner.proven).get(owner).is_some();
        let mut shares = lock(&inner.shares);
        let share = shares.entry(owner.clone()).or_insert_with(|| Arc::new(inner.share(owner)));
        {
            let mut requests = lock(&share.requests);
            if *requests >= inner.limits.requests && !owner.is_everybody() {
                return Err(NoRoom);
            }
            *requests += 1;
        }
        Ok(Place {
            inner: Arc::clone(inner),
            owner: owner.clone(),
            share: Arc::clone(share),
            is_counted: true,
            is_proven,
            body: Room::default(),
            answer: Room::default(),
            read: Room::default(),
            patience: None,
        })
    }

    /// A place for a request that needs no token.
    pub(crate) fn public(&self) -> Result<Place, NoRoom> {
        self.place(&Owner::Everybody, false)
    }

    /// Remembers that a caller has proved who it is.
    pub(crate) fn note_proof(&self, owner: &Owner) {
        lock(&self.0.proven).put(owner.clone(), ());
    }

    #[cfg(test)]
    fn shares(&self) -> usize {
        lock(&self.0.shares).len()
    }
}

/// How many bytes of answers of one caller's may be on their way.
fn answer_part(owner: &Owner) -> usize {
    if owner.is_everybody() { ANSWER_BYTES } else { ANSWER_PART }
}

fn body_bytes(limits: PlaceLimits) -> usize {
    BODY_BYTES.max(limits.body.saturating_mul(2)).min(Semaphore::MAX_PERMITS)
}

impl Inner {
    fn share(&self, owner: &Owner) -> Share {
        let part = if owner.is_everybody() { 1 } else { 2 };
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits));
        Share {
            requests: Mutex::new(0),
            bodies: semaphore(body_bytes(self.limits) / part),
            answers: semaphore(answer_part(owner)),
            reads: semaphore(HEAVY_READS.0),
            work: semaphore(if owner.is_everybody() { Semaphore::MAX_PERMITS } else { 1 }),
        }
    }
}

impl Place {
    /// Waits for room for so many bytes of the body, in place of the room that it has. A body asks once for all that may
    /// come: two that have half of theirs and wait for each other's would wait for ever.
    ///
    /// # Errors
    /// There was none for a while.
    pub(crate) async fn room_for_body(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.body = Room::default();
        let inner = &self.inner;
        let all = if self.is_proven { &inner.proven_bodies } else { &inner.other_bodies };
        let capacity = body_bytes(inner.limits);
        let own = (&self.share.bodies, self.part_of(capacity));
        self.body = self.wait(own, (all, capacity), bytes).await?;
        Ok(())
    }

    /// The body has come, and has so many bytes.
    pub(crate) fn body_has_come(&mut self, bytes: usize) {
        self.body.shrink(bytes);
    }

    /// The body is let go.
    pub(crate) fn body_is_gone(&mut self) {
        self.body = Room::default();
    }

    /// Waits for room for an answer of so many bytes, about.
    ///
    /// # Errors
    /// There was none for a while.
    pub(crate) async fn room_for_answer(&mut self, bytes: usize) -> Result<(), NoRoom> {
        if bytes <= SMALL {
            return Ok(());
        }
        let own = (&self.share.answers, answer_part(&self.owner));
        self.answer = self.wait(own, (&self.inner.answers, ANSWER_BYTES), bytes).await?;
        Ok(())
    }

    /// The same without a wait; whether there is room.
    pub(crate) fn takes_room_for_answer(&mut self, bytes: usize) -> bool {
        if bytes <= SMALL {
            return true;
        }
        let bytes = bytes.min(answer_part(&self.owner));
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let own = Arc::clone(&self.share.answers).try_acquire_many_owned(permits);
        let all = Arc::clone(&self.inner.answers).try_acquire_many_owned(permits);
        let (Ok(own), Ok(all)) = (own, all) else { return false };
        self.answer = Room(Some(Taken { own, all, given_back: Arc::clone(&self.inner.given_back) }));
        true
    }

    /// Whether it has room for an answer.
    pub(crate) fn has_room_for_answer(&self) -> bool {
        self.answer.0.is_some()
    }

    /// The answer is let go, or has gone out.
    pub(crate) fn answer_is_gone(&mut self) {
        self.answer = Room::default();
    }

    /// Waits for room for an answer that the task store has to copy, and for a turn to read it, which lasts until
    /// [`Place::has_read`].
    async fn room_for_heavy(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.has_read();
        self.answer_is_gone();
        self.room_for_answer(bytes).await?;
        let (own, all) = HEAVY_READS;
        self.read = self.wait((&self.share.reads, own), (&self.inner.reads, all), 1).await?;
        Ok(())
    }

    /// What was read has been written, or is let go.
    pub(crate) fn has_read(&mut self) {
        self.read = Room::default();
    }

    /// The call begins a stream. `cut_off` is when a reader is that takes nothing.
    pub(crate) fn begins_stream(&mut self, cut_off: Duration) {
        self.patience = Some(WAIT.saturating_add(cut_off));
    }

    async fn wait(
        &self,
        (own, own_capacity): (&Arc<Semaphore>, usize),
        (all, capacity): (&Arc<Semaphore>, usize),
        bytes: usize,
    ) -> Result<Room, NoRoom> {
        let permits = |capacity| u32::try_from(bytes.min(capacity)).unwrap_or(u32::MAX);
        // What is longer than all that there is has to be alone. Of both as many: they shrink together.
        let bytes = permits(own_capacity.min(capacity));
        let both = async {
            let own = Arc::clone(own).acquire_many_owned(bytes).await.ok()?;
            Some((own, Arc::clone(all).acquire_many_owned(bytes).await.ok()?))
        };
        tokio::pin!(both);
        let given_back = &self.inner.given_back;
        loop {
            let before = given_back.load(Ordering::Relaxed);
            if let Ok(both) = timeout(self.patience.unwrap_or(WAIT), both.as_mut()).await {
                let (own, all) = both.ok_or(NoRoom)?;
                return Ok(Room(Some(Taken { own, all, given_back: Arc::clone(given_back) })));
            }
            if self.patience.is_none() || given_back.load(Ordering::Relaxed) == before {
                return Err(NoRoom);
            }
        }
    }

    fn part_of(&self, capacity: usize) -> usize {
        if self.owner.is_everybody() { capacity } else { capacity / 2 }
    }

    /// Does something that takes as long as it takes to read or write so many bytes: here if that is quick, else on a thread
    /// of its own, one at a time for each caller.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if bytes <= QUICK {
            return work();
        }
        // An error says that a semaphore was closed, and none ever is.
        let own = Arc::clone(&self.share.work).acquire_owned().await;
        let all = Arc::clone(&self.inner.work).acquire_owned().await;
        let done = self.inner.long.run(move || {
            // The thread's, not the caller's: one that has gone away does not end the work.
            let _turn = (own, all);
            work()
        });
        done.await
    }

    /// Lets the place among the requests go, and keeps the caller's part: a stream, which is counted as such, goes on.
    pub(crate) fn is_a_stream(&mut self) {
        self.body_is_gone();
        self.uncount();
    }

    fn uncount(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            *lock(&self.share.requests) -= 1;
        }
    }
}

#[async_trait]
impl bindu_tasks::Room for Place {
    async fn wait(&mut self, bytes: usize) -> bool {
        self.room_for_heavy(bytes).await.is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let inner = Arc::clone(&self.inner);
        let mut shares = lock(&inner.shares);
        self.uncount();
        // The list's own and this one: nobody else comes to it without the lock.
        if Arc::strong_count(&self.share) == 2 {
            shares.remove(&self.owner);
        }
    }
}

impl Room {
    /// Gives back what is beyond so many bytes.
    fn shrink(&mut self, bytes: usize) {
        let Some(Taken { own, all, .. }) = &mut self.0 else { return };
        for permit in [own, all] {
            drop(permit.split(permit.num_permits().saturating_sub(bytes)));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
