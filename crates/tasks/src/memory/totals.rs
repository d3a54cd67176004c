//! What all owners have together.

use super::Bounds;
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// What all owners have together. Its lock is the innermost, and is held for a few additions.
#[derive(Debug, Default)]
pub(super) struct Totals {
    counts: Mutex<Counts>,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    tasks: usize,
    bytes: usize,
    remembered: usize,
}

impl Counts {
    fn fits(&self, tasks: usize, bytes: usize, bounds: &Bounds) -> bool {
        self.tasks + tasks <= bounds.tasks && self.bytes + bytes <= bounds.bytes
    }
}

impl Totals {
    /// A number that is higher than all before.
    pub(super) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether so much more would fit.
    pub(super) fn fits(&self, tasks: usize, bytes: usize, bounds: &Bounds) -> bool {
        self.lock().fits(tasks, bytes, bounds)
    }

    /// Takes room for a message, if there is so much.
    pub(super) fn take(&self, tasks: usize, bytes: usize, bounds: &Bounds) -> bool {
        let mut counts = self.lock();
        let fits = counts.fits(tasks, bytes, bounds);
        if fits {
            counts.tasks += tasks;
            counts.bytes += bytes;
        }
        fits
    }

    /// Takes room for a result.
    pub(super) fn take_result(&self, bytes: usize, in_any_case: bool, bounds: &Bounds) -> bool {
        let mut counts = self.lock();
        let fits = in_any_case || counts.bytes + bytes <= bounds.bytes.saturating_mul(bounds.results);
        if fits {
            counts.bytes += bytes;
        }
        fits
    }

    /// Gives room back.
    pub(super) fn give(&self, tasks: usize, bytes: usize) {
        let mut counts = self.lock();
        counts.tasks -= tasks;
        counts.bytes -= bytes;
    }

    /// Counts one more signed request, if it fits.
    pub(super) fn remember(&self, bounds: &Bounds) -> bool {
        let mut counts = self.lock();
        let fits = counts.remembered < bounds.remembered;
        counts.remembered += usize::from(fits);
        fits
    }

    pub(super) fn forget_remembered(&self, number: usize) {
        self.lock().remembered -= number;
    }

    #[cfg(test)]
    pub(super) fn tasks_and_bytes(&self) -> (usize, usize) {
        let counts = self.lock();
        (counts.tasks, counts.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
