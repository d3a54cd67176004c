//! Exponential backoff as a value: who waits draws from its bounds.
//!
//! `backon` was looked at: its builder yields pauses that are drawn already, and the heart's state machine has to be
//! comparable and hashable, so it needs the bounds.

use std::time::Duration;

/// Chooses a point between the bounds of a pause: 0.0 is the least, 1.0 the most.
pub type Jitter = fn() -> f64;

/// The jitter of running agents: a fleet does not come in step.
#[must_use]
pub fn at_random() -> f64 {
    rand::random()
}

/// How long to wait: drawn from these bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pause {
    /// At least.
    pub least: Duration,
    /// At most.
    pub most: Duration,
}

impl Pause {
    /// Exactly this long.
    #[must_use]
    pub fn exactly(pause: Duration) -> Self {
        Self { least: pause, most: pause }
    }

    /// Not beyond this.
    #[must_use]
    pub fn at_most(self, bound: Duration) -> Self {
        Self { least: self.least.min(bound), most: self.most.min(bound) }
    }

    /// Not below this.
    #[must_use]
    pub fn at_least(self, bound: Duration) -> Self {
        Self { least: self.least.max(bound), most: self.most.max(bound) }
    }

    /// One pause within the bounds.
    #[must_use]
    pub fn draw(self, jitter: Jitter) -> Duration {
        self.least + self.most.saturating_sub(self.least).mul_f64(jitter().clamp(0.0, 1.0))
    }
}

/// The bounds of a sequence of pauses, each twice as long as the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Backoff {
    next: Duration,
    max: Duration,
    /// The least share of a pause, in percent.
    floor: u32,
}

impl Backoff {
    /// Pauses from `first` up to `max`. `floor` is the least share of a pause, in percent: 0 is full jitter, 100 is none.
    #[must_use]
    pub const fn new(first: Duration, max: Duration, floor: u32) -> Self {
        Self { next: first, max, floor }
    }

    /// The next pause, not shorter than `wish`.
    pub fn pause(&mut self, wish: Option<Duration>) -> Pause {
        let most = self.next;
        self.next = doubled(self.next, self.max);
        Pause { least: most.saturating_mul(self.floor) / 100, most }.at_least(wish.unwrap_or_default())
    }

    /// The pause after so many failures; none after none.
    #[must_use]
    pub fn after(self, failures: u32) -> Pause {
        let Some(doublings) = failures.checked_sub(1) else { return Pause::exactly(Duration::ZERO) };
        let most = self.next.saturating_mul(2u32.saturating_pow(doublings)).min(self.max);
        Pause { least: most.saturating_mul(self.floor) / 100, most }
    }
}

/// A time that grows: twice as long, and not beyond `max`.
#[must_use]
pub fn doubled(time: Duration, max: Duration) -> Duration {
    time.saturating_mul(2).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_double_up_to_the_maximum_and_obey_a_wish() {
        let mut backoff = Backoff::new(seconds(1), seconds(5), 50);
        let drawn: Vec<_> = (0..4).map(|_| backoff.pause(None)).collect();
        let bounds = |most: u64| Pause { least: seconds(most) / 2, most: seconds(most) };
        assert_eq!(drawn, [bounds(1), bounds(2), bounds(4), bounds(5)]);
        assert_eq!(backoff.pause(Some(seconds(9))), Pause { least: seconds(9), most: seconds(9) });
    }

    #[test]
    fn the_pause_after_many_failures_is_the_longest() {
        let backoff = Backoff::new(seconds(1), seconds(10), 100);
        let after = |failures| backoff.after(failures).most;
        let growth = [0, 1, 2, 4, 8, 10, 10].map(seconds);
        assert_eq!((0..7).map(after).collect::<Vec<_>>(), growth);
        assert_eq!(after(u32::MAX), seconds(10));
    }

    #[test]
    fn what_is_drawn_is_within_the_bounds() {
        let pause = Pause { least: seconds(2), most: seconds(4) };
        assert_eq!([pause.draw(|| 0.0), pause.draw(|| 0.5), pause.draw(|| 1.0)], [2, 3, 4].map(seconds));
        assert_eq!([pause.draw(|| -1.0), pause.draw(|| 7.0)], [2, 4].map(seconds));
        for _ in 0..100 {
            assert!((pause.least..=pause.most).contains(&pause.draw(at_random)));
        }
    }
}
