//! When Hydra's client may be repaired again: not while somebody undoes it, and not soon after a repair that came to
//! nothing. Each repair writes to the store, whose history is short. Pure: whoever asks says what time it is.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The same repair this often within the window, and somebody undoes it: then ours stop.
const MOST_REPAIRS: usize = 2;

/// For how long a repair is remembered: at first, and at most. Longer after each contest, so that no fight goes on for ever.
const WINDOW: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(24 * 3600));

/// The pauses after repairs that came to nothing: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));

/// Something that was put back: which member, and which value by its hash. The same one twice was undone in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Repair(u64);

impl Repair {
    pub(crate) fn of(member: &str, value: &str) -> Self {
        let mut hasher = std::hash::DefaultHasher::new();
        std::hash::Hash::hash(&(member, value), &mut hasher);
        Self(std::hash::Hasher::finish(&hasher))
    }
}

/// What keeps the next repair from being begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Restraint {
    /// Somebody undoes ours.
    pub(crate) is_contested: bool,
    /// The last one came to nothing.
    pub(crate) is_paused: bool,
}

/// The repairs of a running agent.
#[derive(Debug)]
pub(crate) struct Repairs {
    done: VecDeque<(Instant, Repair)>,
    window: Duration,
    is_contested: bool,
    /// Until when none is begun, and how long that pause is.
    pause: Option<(Instant, Duration)>,
}

impl Repairs {
    pub(crate) fn new() -> Self {
        Self { done: VecDeque::new(), window: WINDOW.0, is_contested: false, pause: None }
    }

    /// What holds now.
    pub(crate) fn restraint(&mut self, now: Instant) -> Restraint {
        self.done.retain(|(at, _)| now.duration_since(*at) < self.window);
        let times = |repair: &Repair| self.done.iter().filter(|(_, other)| other == repair).count();
        let is_contested = self.done.iter().any(|(_, repair)| times(repair) >= MOST_REPAIRS);
        if is_contested && !self.is_contested {
            self.window = (self.window * 2).min(WINDOW.1);
        }
        self.is_contested = is_contested;
        Restraint { is_contested, is_paused: self.pause.is_some_and(|(until, _)| now < until) }
    }

    /// Notes what was put back at this time.
    pub(crate) fn done(&mut self, now: Instant, repairs: Vec<Repair>) {
        self.done.extend(repairs.into_iter().map(|repair| (now, repair)));
    }

    /// Notes that a repair was begun and came to nothing.
    pub(crate) fn in_vain(&mut self, now: Instant) {
        let pause = self.pause.map_or(PAUSE.0, |(_, pause)| (pause * 2).min(PAUSE.1));
        self.pause = Some((now + pause, pause));
    }

    /// Notes that the client is as it should be.
    pub(crate) fn all_is_well(&mut self) {
        self.pause = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Repair {
        Repair::of("public_key", "ours")
    }

    #[test]
    fn only_what_is_undone_again_is_contested() {
        let (mut repairs, now) = (Repairs::new(), Instant::now());
        repairs.done(now, vec![key(), Repair::of("client_secret", "ours"), Repair::of("public_key", "next")]);
        assert!(!repairs.restraint(now).is_contested);
        repairs.done(now, vec![key()]);
        assert!(repairs.restraint(now).is_contested);
    }

    #[test]
    fn each_contest_lasts_longer() {
        let (mut repairs, mut now) = (Repairs::new(), Instant::now());
        for lasts in [2 * WINDOW.0, 4 * WINDOW.0] {
            repairs.done(now, vec![key(), key()]);
            assert!(repairs.restraint(now).is_contested);
            assert!(repairs.restraint(now + lasts - Duration::from_secs(1)).is_contested);
            now += lasts;
            assert!(!repairs.restraint(now).is_contested, "after {lasts:?}");
        }
    }

    #[test]
    fn what_comes_to_nothing_is_tried_less_and_less() {
        let (mut repairs, mut now) = (Repairs::new(), Instant::now());
        let mut tries = 0;
        for _ in 0..24 * 3600 {
            if !repairs.restraint(now).is_paused {
                repairs.in_vain(now);
                tries += 1;
            }
            now += Duration::from_secs(1);
        }
        assert!((24..40).contains(&tries), "{tries} in a day");
        repairs.all_is_well();
        assert!(!repairs.restraint(now).is_paused);
    }
}
