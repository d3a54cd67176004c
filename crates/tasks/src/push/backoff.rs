//! When a failed delivery is tried again, and when a configuration is given up. Pure: no clock, and the jitter is a hash, so
//! that a test can be exact and two replicas agree.

use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// The first wait, which doubles with each failure up to the last one.
const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(600);

/// How long to wait after so many failures in a row (at least 1): 1 s, 2 s, 4 s ... 10 min, each less up to a half, by a hash
/// of what is delivered, so that receivers that come back are not asked by all at once.
pub(super) fn wait(failures: u32, what: &str) -> Duration {
    let whole = whole_wait(failures);
    let digest = Sha256::digest(format!("{failures}\n{what}").as_bytes());
    let part = digest.first().copied().map_or(0.0, f64::from) / 512.0;
    whole.mul_f64(1.0 - part)
}

/// Whether a configuration is given up after so many failures in a row: the waits between them come to that time. A process
/// that was away in between gives nothing up sooner.
pub(super) fn is_given_up(failures: u32, after: Duration) -> bool {
    let mut all = Duration::ZERO;
    (1..failures).any(|failure| {
        all += whole_wait(failure);
        all >= after
    })
}

fn whole_wait(failures: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_cap_with_jitter_downwards() {
        for (failures, whole) in [(1, 1), (2, 2), (3, 4), (10, 512), (11, 600), (200, 600), (u32::MAX, 600)] {
            let whole = Duration::from_secs(whole);
            for what in ["a", "b", "c"] {
                let wait = wait(failures, what);
                assert!(wait <= whole && wait >= whole / 2, "{failures} {what}: {wait:?}");
            }
        }
        assert_eq!(wait(3, "a"), wait(3, "a"));
        let waits: std::collections::HashSet<_> = (0..100).map(|n| wait(11, &n.to_string())).collect();
        assert!(waits.len() > 50, "they are spread");
    }

    #[test]
    fn it_ends_after_a_day_of_waits() {
        let day = Duration::from_secs(24 * 3600);
        let last = (1..1_000).find(|failures| is_given_up(*failures, day)).expect("an end");
        // Ten waits that double come to 1,023 s; the rest are 10 min each.
        assert_eq!(last, 1 + 10 + (24 * 3600 - 1023_u32).div_ceil(600));
        assert!(!is_given_up(1, Duration::from_secs(1)) && is_given_up(2, Duration::from_secs(1)));
    }
}
