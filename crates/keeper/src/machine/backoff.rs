//! Exponential backoff as a value: whoever waits draws from its bounds.

use super::Pause;
use std::time::Duration;

/// The bounds of a sequence of pauses, each twice as long as the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
    /// The least share of a pause, in percent: 0 is full jitter.
    floor: u32,
}

impl Backoff {
    pub(super) const fn new(first: Duration, max: Duration, floor: u32) -> Self {
        Self { next: first, max, floor }
    }

    /// The next pause, not shorter than `wish`.
    pub(super) fn pause(&mut self, wish: Option<Duration>) -> Pause {
        let most = self.next;
        self.next = (self.next * 2).min(self.max);
        let wish = wish.unwrap_or_default();
        Pause { least: (most * self.floor / 100).max(wish), most: most.max(wish) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum_and_obey_a_wish() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(1), seconds(5), 50);
        let drawn: Vec<_> = (0..4).map(|_| backoff.pause(None)).collect();
        let bounds = |most: u64| Pause { least: seconds(most) / 2, most: seconds(most) };
        assert_eq!(drawn, [bounds(1), bounds(2), bounds(4), bounds(5)]);
        assert_eq!(backoff.pause(Some(seconds(9))), Pause { least: seconds(9), most: seconds(9) });
    }
}
