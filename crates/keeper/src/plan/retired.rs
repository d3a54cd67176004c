//! Which private halves are of no use any more. What follows from it can't be taken back, so only proven keys count.

use super::{
    keys::{Local, Observed, Plan, Store},
    ring::Ring,
};
use bindu_identity::Fingerprint;

/// The keys that a rotation has replaced, and that nothing needs: the record's own past says so, a start would be sure of it, and
/// neither Hydra nor the directory goes by such a key. Empty while Hydra is silent.
#[must_use]
pub fn retired(seen: &Observed, plan: &Plan) -> Vec<Fingerprint> {
    let Store::Present(stored) = &seen.store else { return Vec::new() };
    if !plan.sure || !seen.hydra.is_heard() {
        return Vec::new();
    }
    let Ring { next, previous, .. } = &stored.ring;
    let beside = [next.map(|next| next.key), previous.map(|previous| previous.key)];
    let on_disk = match &seen.local {
        Local::Present { key, .. } => Some(*key),
        _ => None,
    };
    let needed = [Some(stored.key), seen.hydra.key(), on_disk].into_iter().chain(beside).flatten();
    let needed: Vec<Fingerprint> = needed.map(|key| key.fingerprint()).collect();
    stored.lineage.replaces.iter().filter(|key| !needed.contains(key)).cloned().collect()
}

/// If a version may be destroyed for the sake of the retired keys that it holds: all that it holds beside them is in the record.
#[must_use]
pub fn is_destroyable(held: &[Fingerprint], retired: &[Fingerprint], seen: &Observed) -> bool {
    let Store::Present(stored) = &seen.store else { return false };
    let Ring { next, previous, .. } = &stored.ring;
    let beside = [next.map(|next| next.key), previous.map(|previous| previous.key)];
    let current: Vec<Fingerprint> = std::iter::once(stored.key)
        .chain(beside.into_iter().flatten())
        .map(|key| key.fingerprint())
        .collect();
    held.iter().any(|key| retired.contains(key))
        && held.iter().all(|key| retired.contains(key) || current.contains(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{
        Policy,
        keys::{
            self, HydraNames,
            tests::{deleted, held, key, local, names, past, record, seen, stored},
        },
    };

    fn retired_in(seen: &Observed) -> Vec<Fingerprint> {
        retired(seen, &keys::plan(seen, &Policy::default()))
    }

    #[test]
    fn only_a_key_that_nothing_needs_is_retired() {
        let old = vec![key(1).fingerprint()];
        let rotated = || record(2, 4, past(1, &[1]));
        let on_disk = || held(2, Some(4), true, past(1, &[1]));
        let with = |store, local, hydra| Observed { hydra, ..seen(store, local) };
        let cases = [
            ("rotated", with(rotated(), on_disk(), names(2)), old.clone()),
            ("rotated, no Hydra", with(rotated(), on_disk(), HydraNames::NotAsked), old),
            ("Hydra is silent", with(rotated(), on_disk(), HydraNames::Unknown), vec![]),
            ("Hydra names the old key", with(rotated(), on_disk(), names(1)), vec![]),
            ("the disk sleeps with the old key", with(rotated(), local(1, Some(1)), names(2)), vec![]),
            ("never rotated", with(stored(1, 4), local(1, Some(4)), names(1)), vec![]),
            ("a foreign record", with(stored(3, 5), local(1, Some(4)), names(1)), vec![]),
            ("rolled back under the disk", with(stored(1, 5), on_disk(), names(2)), vec![]),
            ("deleted", with(deleted(5), on_disk(), names(2)), vec![]),
        ];
        for (name, seen, want) in cases {
            assert_eq!(retired_in(&seen), want, "{name}");
        }
    }

    #[test]
    fn a_version_that_alone_holds_another_key_stays() {
        let seen = seen(record(2, 4, past(1, &[1])), local(2, Some(4)));
        let keys = |seeds: &[u8]| seeds.iter().map(|seed| key(*seed).fingerprint()).collect::<Vec<_>>();
        let retired = keys(&[1]);
        for (holds, want) in [(vec![1], true), (vec![1, 2], true), (vec![2], false), (vec![1, 3], false)] {
            assert_eq!(is_destroyable(&keys(&holds), &retired, &seen), want, "{holds:?}");
        }
    }
}
