//! When Hydra's client may be repaired again: not while somebody undoes it, and not soon after a repair that came to
//! nothing. Each repair writes to the store, whose history is short.

use super::Member;
use bindu_identity::PublicKey;
use bindu_time::doubled;
use std::{collections::VecDeque, time::Duration};

/// The same repair this often within the window, and somebody undoes it: then ours stop.
const MAX_REPAIRS: usize = 2;

/// For how long a repair is remembered: at first, and at most. Longer after each contest, so that no fight goes on for ever.
const WINDOW: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(24 * 3600));

/// The backoff after repairs that came to nothing: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));

/// Something that was put back: which member, and under which key. The same one twice was undone in between.
pub(super) type Repair = (Member, PublicKey);

/// What keeps the next repair from being begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Restraint {
    /// Somebody undoes ours.
    pub(super) is_contested: bool,
    /// The last one came to nothing.
    pub(super) is_paused: bool,
}

/// The repairs of a running agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Repairs {
    done: VecDeque<(Duration, Repair)>,
    window: Duration,
    is_contested: bool,
    /// Until when none is begun, and how long that is.
    pause: Option<(Duration, Duration)>,
}

impl Repairs {
    pub(super) fn new() -> Self {
        Self { done: VecDeque::new(), window: WINDOW.0, is_contested: false, pause: None }
    }

    /// What holds now.
    pub(super) fn restraint(&mut self, now: Duration) -> Restraint {
        self.done.retain(|(at, _)| now.saturating_sub(*at) < self.window);
        let times = |repair: &Repair| self.done.iter().filter(|(_, other)| other == repair).count();
        let is_contested = self.done.iter().any(|(_, repair)| times(repair) >= MAX_REPAIRS);
        if is_contested && !self.is_contested {
            self.window = doubled(self.window, WINDOW.1);
        }
        self.is_contested = is_contested;
        Restraint { is_contested, is_paused: self.pause.is_some_and(|(until, _)| now < until) }
    }

    /// Notes what was put back at this time.
    pub(super) fn done(&mut self, now: Duration, repairs: Vec<Repair>) {
        self.done.extend(repairs.into_iter().map(|repair| (now, repair)));
    }

    /// Notes that a repair was begun and came to nothing.
    pub(super) fn in_vain(&mut self, now: Duration) {
        let pause = self.pause.map_or(BACKOFF.0, |(_, pause)| doubled(pause, BACKOFF.1));
        self.pause = Some((now + pause, pause));
    }

    /// If none is remembered, and none waited for.
    pub(super) fn are_forgotten(&self) -> bool {
        self.done.is_empty() && self.pause.is_none()
    }

    /// Notes that the client is as it should be.
    pub(super) fn all_is_well(&mut self) {
        self.pause = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bindu_identity::SigningKey;

    fn of(member: Member, seed: u8) -> Repair {
        (member, SigningKey::from_seed(&[seed; 32]).public_key())
    }

    const NOW: Duration = Duration::from_secs(5);

    #[test]
    fn only_what_is_undone_again_is_contested() {
        let mut repairs = Repairs::new();
        repairs.done(NOW, vec![of(Member::PublicKey, 1), of(Member::Secret, 1), of(Member::PublicKey, 2)]);
        assert!(!repairs.restraint(NOW).is_contested);
        repairs.done(NOW, vec![of(Member::PublicKey, 1)]);
        assert!(repairs.restraint(NOW).is_contested);
    }

    #[test]
    fn each_contest_lasts_longer() {
        let (mut repairs, mut now) = (Repairs::new(), NOW);
        for lasts in [2 * WINDOW.0, 4 * WINDOW.0] {
            repairs.done(now, vec![of(Member::PublicKey, 1), of(Member::PublicKey, 1)]);
            assert!(repairs.restraint(now).is_contested);
            assert!(repairs.restraint(now + lasts - Duration::from_secs(1)).is_contested);
            now += lasts;
            assert!(!repairs.restraint(now).is_contested, "after {lasts:?}");
        }
    }

    #[test]
    fn what_comes_to_nothing_is_tried_less_and_less() {
        let (mut repairs, mut now) = (Repairs::new(), NOW);
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
