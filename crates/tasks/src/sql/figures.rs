//! What a store has done, for metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The upper bounds of the buckets of commits' times, in milliseconds; the last bucket has none.
pub(super) const BUCKETS: [u64; 8] = [1, 2, 5, 10, 25, 100, 500, 2500];

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) queued: AtomicU64,
    pub(super) changes: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) outages: AtomicU64,
    pub(super) taken_over: AtomicU64,
    pub(super) leases_lost: AtomicU64,
    pub(super) forgotten: AtomicU64,
    pub(super) replays_forgotten: AtomicU64,
    pub(super) full: AtomicU64,
    /// As they were at the last look: the bytes of the file, and the most that it may have. 0 for none.
    pub(super) bytes: AtomicU64,
    pub(super) max_bytes: AtomicU64,
    /// Of commits, by [`BUCKETS`].
    pub(super) times: [AtomicU64; BUCKETS.len() + 1],
    pub(super) micros: AtomicU64,
}

impl Counters {
    pub(super) fn committed(&self, changes: usize, took: Duration) {
        add(&self.commits, 1);
        add(&self.changes, changes as u64);
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.iter().position(|bound| millis < *bound).unwrap_or(BUCKETS.len());
        if let Some(count) = self.times.get(bucket) {
            add(count, 1);
        }
        add(&self.micros, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

pub(super) fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

/// What a store has done since its process started, and how it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Changes that wait for their commit.
    pub queued: u64,
    /// Changes that were committed.
    pub changes: u64,
    /// Commits; one takes all changes that wait together.
    pub commits: u64,
    /// How often the database did not answer.
    pub outages: u64,
    /// Runs that were taken over from processes that are gone.
    pub taken_over: u64,
    /// Runs of this process that counted no more when their leases were renewed.
    pub leases_lost: u64,
    /// Tasks that were forgotten for their age or their number.
    pub forgotten: u64,
    /// Signed requests that were forgotten, because their signatures have run out.
    pub replays_forgotten: u64,
    /// Changes that were refused because there was no room.
    pub full: u64,
    /// The bytes that a file takes, and the most that it may take, as of the last minute; `None` for somebody else's disk.
    pub size: Option<(u64, u64)>,
    /// Commits by the milliseconds that they took: see [`Figures::bounds`].
    pub times: [u64; BUCKETS.len() + 1],
    /// All the time that commits took, in microseconds.
    pub micros: u64,
    /// Open connections.
    pub connections: u64,
    /// Idle ones among them.
    pub idle: u64,
    /// The most that there may be.
    pub max_connections: u64,
}

impl Figures {
    /// The upper bounds of [`Figures::times`], in seconds; the last one has none.
    pub fn bounds() -> impl Iterator<Item = f64> {
        BUCKETS.into_iter().map(|millis| Duration::from_millis(millis).as_secs_f64()).chain([f64::INFINITY])
    }
}

impl Counters {
    pub(super) fn figures(&self, (connections, idle): (u64, u64), max_connections: u64) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            queued: read(&self.queued),
            changes: read(&self.changes),
            commits: read(&self.commits),
            outages: read(&self.outages),
            taken_over: read(&self.taken_over),
            leases_lost: read(&self.leases_lost),
            forgotten: read(&self.forgotten),
            replays_forgotten: read(&self.replays_forgotten),
            full: read(&self.full),
            size: match read(&self.max_bytes) {
                0 => None,
                most => Some((read(&self.bytes), most)),
            },
            times: std::array::from_fn(|at| self.times.get(at).map_or(0, read)),
            micros: read(&self.micros),
            connections,
            idle,
            max_connections,
        }
    }
}
