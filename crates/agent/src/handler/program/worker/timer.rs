//! A timer that is finer than the runtime's, which counts in milliseconds: a program that waits for its task reads it within
//! a small part of one. Where the system has none, the runtime's is good enough.

use rustix::{
    io::Errno,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec},
};
use std::{
    io::Result,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};
use tokio::io::{Interest, unix::AsyncFd};

/// What the runtime can measure.
const COARSE: Duration = Duration::from_millis(1);

pub(super) struct Timer(Option<AsyncFd<OwnedFd>>);

impl Timer {
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for descriptors that change; this one stays the same"
    )]
    pub(super) fn new() -> Self {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags).ok();
        Self(timer.and_then(|timer| AsyncFd::with_interest(timer, Interest::READABLE).ok()))
    }

    /// Waits until then. Dropped, it can be used again.
    pub(super) async fn sleep_until(&self, moment: Instant) {
        let left = moment.saturating_duration_since(Instant::now());
        let is_fine = match &self.0 {
            Some(timer) if left < COARSE => sleep(timer, left).await.is_ok(),
            _ => false,
        };
        if !is_fine {
            tokio::time::sleep_until(moment.into()).await;
        }
    }
}

async fn sleep(timer: &AsyncFd<OwnedFd>, time: Duration) -> Result<()> {
    // Zero would mean never.
    let nanoseconds = i64::from(time.subsec_nanos().max(1));
    let never = Timespec { tv_sec: 0, tv_nsec: 0 };
    let once = Itimerspec { it_interval: never, it_value: Timespec { tv_sec: 0, tv_nsec: nanoseconds } };
    rustix::time::timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
    loop {
        let mut ready = timer.readable().await?;
        match rustix::io::read(timer, &mut [0; 8]) {
            // That an earlier sleep was over, which nobody waited for.
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            other => return Ok(other.map(|_| ())?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn it_is_fine_and_can_be_dropped_and_used_again() {
        let timer = Timer::new();
        assert!(timer.0.is_some(), "this system has such timers");
        // The best of many: another program may have the processor.
        let mut best = Duration::MAX;
        for _ in 0..50 {
            let begun = Instant::now();
            let long = timer.sleep_until(begun + Duration::from_micros(900));
            // On a busy machine it may be over already.
            let _ = long.now_or_never();
            timer.sleep_until(begun + Duration::from_micros(50)).await;
            let took = begun.elapsed();
            assert!(took >= Duration::from_micros(50), "{took:?}");
            best = best.min(took);
        }
        assert!(best < Duration::from_micros(900), "{best:?}");
        let begun = Instant::now();
        timer.sleep_until(begun + Duration::from_millis(3)).await;
        assert!(begun.elapsed() >= Duration::from_millis(3));
        timer.sleep_until(begun).await;
    }
}
