//! Connections to a database: so many at most, given out in the order in which they were asked for.
//!
//! sqlx's pool opens and ends them. It asks the database whether it still answers before it takes one back, which costs a round
//! trip for each transaction; so those that were in use a moment ago rest here, and whoever asks next gets the last one.

use super::session::Fault;
use sqlx::{Database, Pool, pool::PoolConnection};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

/// How long one that nobody takes rests here before the pool gets it back.
const REST: Duration = Duration::from_secs(30);

type Resting<D> = Vec<(PoolConnection<D>, Instant)>;

/// The connections.
pub(super) struct Connections<D: Database> {
    pool: Pool<D>,
    places: Arc<Semaphore>,
    resting: Arc<Mutex<Resting<D>>>,
    wait: Duration,
    most: usize,
}

impl<D: Database> fmt::Debug for Connections<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("open", &self.pool.size()).finish_non_exhaustive()
    }
}

/// A connection in use. Dropped, it is closed: nobody knows what it was in the middle of.
pub(super) struct Taken<D: Database> {
    connection: Option<PoolConnection<D>>,
    resting: Arc<Mutex<Resting<D>>>,
    _place: OwnedSemaphorePermit,
}

impl<D: Database> Connections<D> {
    /// So many of a pool's, each waited for that long at most.
    pub(super) fn new(pool: Pool<D>, most: u32, wait: Duration) -> Self {
        let most = usize::try_from(most.max(1)).unwrap_or(1);
        Self { pool, places: Arc::new(Semaphore::new(most)), resting: Arc::default(), wait, most }
    }

    /// One of them.
    pub(super) async fn take(&self) -> Result<Taken<D>, sqlx::Error> {
        let place = timeout(self.wait, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        let rested = lock(&self.resting).pop();
        let connection = match rested {
            Some((connection, _)) => connection,
            None => self.pool.acquire().await?,
        };
        Ok(Taken { connection: Some(connection), resting: Arc::clone(&self.resting), _place: place })
    }

    /// How many there may be.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Gives the pool back those that nobody has taken for a while: it closes what it has too long. Within a runtime only.
    pub(super) fn rest(&self) {
        let mut resting = lock(&self.resting);
        let idle = resting.iter().take_while(|(_, since)| since.elapsed() >= REST).count();
        let given_back: Vec<_> = resting.drain(..idle).collect();
        drop(resting);
        drop(given_back);
    }

    /// Those that are open, and those of them that are not in use.
    pub(super) fn count(&self) -> (u64, u64) {
        let resting = lock(&self.resting).len();
        (u64::from(self.pool.size()), (self.pool.num_idle() + resting) as u64)
    }

    /// Ends all, those in use when they come back.
    pub(super) async fn close(&self) {
        end(&self.resting);
        self.pool.close().await;
    }
}

impl<D: Database> Drop for Connections<D> {
    fn drop(&mut self) {
        end(&self.resting);
    }
}

impl<D: Database> Taken<D> {
    /// The connection.
    pub(super) fn get(&mut self) -> Result<&mut D::Connection, Fault> {
        self.connection.as_deref_mut().ok_or_else(|| Fault::Away("the transaction is over".to_owned()))
    }

    /// Gives it back: there is nothing that it is in the middle of.
    pub(super) fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            lock(&self.resting).push((connection, Instant::now()));
        }
    }
}

impl<D: Database> Drop for Taken<D> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // The end of the connection is the end of its transaction.
            drop(connection.detach());
        }
    }
}

/// Outside of a runtime too, where the pool would take nothing back.
fn end<D: Database>(resting: &Mutex<Resting<D>>) {
    let all = std::mem::take(&mut *lock(resting));
    all.into_iter().for_each(|(connection, _)| drop(connection.detach()));
}

fn lock<D: Database>(resting: &Mutex<Resting<D>>) -> MutexGuard<'_, Resting<D>> {
    resting.lock().unwrap_or_else(PoisonError::into_inner)
}
