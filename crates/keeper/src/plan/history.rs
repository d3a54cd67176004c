//! What earlier versions of the keys record prove, if the current one leaves it open.
//!
//! Python Bindu writes the record anew at each of its starts, without our fields, and a pod of it with a rogue key writes
//! that. Both are told from a rotation by the record's own history. What cannot be read proves nothing.

pub use super::observed::{Earlier, Past};

use super::observed::{HydraNames, Local, Observed, Store, Stored};
use bindu_identity::{Lineage, PublicKey};
use bindu_store::Version;
use std::ops::RangeInclusive;

/// The most earlier versions that are read: KV keeps ten unless it was told otherwise.
pub(crate) const MAX_DEPTH: u64 = 20;

/// The versions that a decision depends on.
#[must_use]
pub fn wanted(seen: &Observed) -> Option<RangeInclusive<Version>> {
    match (&seen.store, &seen.local) {
        (Store::Present(stored), local) if stored.version > 1 && is_open(seen, stored, local) => {
            Some(stored.version.saturating_sub(MAX_DEPTH).max(1)..=stored.version.saturating_sub(1))
        }
        (Store::Deleted { version, .. }, Local::Present { key, acknowledged: Some(known), .. })
            if !seen.running && known.version < *version && seen.hydra.names(key) =>
        {
            // The acknowledged one, too: if it holds a prepared key, what was deleted may have been its activation.
            Some(known.version.max(version.saturating_sub(MAX_DEPTH))..=version.saturating_sub(1))
        }
        _ => None,
    }
}

/// If the record alone does not say which key is the right one: it has no lineage, or Hydra or the directory holds a key
/// that the record's doesn't replace.
fn is_open(seen: &Observed, stored: &Stored, local: &Local) -> bool {
    let is_other = |key: &PublicKey| *key != stored.key && !stored.replaces(key);
    let hydra = seen.hydra.other_than_stored(stored).is_some();
    let local = matches!(local, Local::Present { key, acknowledged: Some(_), .. } if is_other(key));
    !stored.has_lineage || hydra || local
}

/// Reads the history: completes the record's dropped lineage, and says what the earlier versions prove. `past` is newest
/// first; a version that is missing from it could not be read.
pub fn look_back(seen: &mut Observed, past: &[(Version, Past)]) {
    let Observed { store, local, hydra, earlier, .. } = seen;
    let (local, hydra) = (&*local, &*hydra);
    let range = |first: Version, last: Version| {
        usize::try_from(last.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX)
    };
    let is_read = |first: Version, last: Version| {
        past.iter()
            .filter(|(version, past)| (first..=last).contains(version) && *past != Past::Unreadable)
            .count()
            == range(first, last)
    };
    match store {
        Store::Present(stored) => {
            restore_lineage(stored, past);
            let named = match hydra {
                HydraNames::Key { key: Some(key), .. } if hydra.other_than_stored(stored).is_some() => {
                    past.iter().find(|(_, past)| matches!(past, Past::Key { key: held, .. } if held == key))
                }
                _ => None,
            };
            let retired_by = past.iter().find(|(_, past)| match past {
                Past::Key { key, lineage: Some(lineage), .. } => {
                    lineage.replaces_key(&stored.key)
                        && (lineage.generation > stored.lineage.generation
                            || lineage.generation == stored.lineage.generation && !stored.replaces(key))
                }
                _ => false,
            });
            *earlier = Earlier::Read {
                named: named.map(|(version, _)| *version),
                retired_by: retired_by.map(|(version, _)| *version),
                whole: is_read(1, stored.version.saturating_sub(1)),
                is_ours_since: false,
            };
        }
        Store::Deleted { version, .. } => {
            let is_ours_since = match local {
                Local::Present { key, acknowledged: Some(known), .. } => is_read(
                    known.version,
                    version.saturating_sub(1),
                ) && past.iter().all(
                    |(_, past)| matches!(past, Past::Key { key: held, has_next: false, .. } if held == key),
                ),
                _ => false,
            };
            *earlier = Earlier::Read { named: None, retired_by: None, whole: false, is_ours_since };
        }
        _ => {}
    }
}

/// Completes the past of the store's key by a newer one of the same key: the disk's (or the running agent's), which has read it
/// before, or the one that Hydra's statements prove. The record is behind then (a backup, an undo that was rolled back), and
/// lacks what a sure writer puts back.
pub fn complete(seen: &mut Observed, proven: Option<&Lineage>) {
    let Observed { store: Store::Present(stored), local, .. } = seen else { return };
    let held = match local {
        Local::Present { key, lineage, .. } if *key == stored.key => Some(&*lineage),
        _ => None,
    };
    for newer in [held, proven].into_iter().flatten() {
        if newer.generation > stored.lineage.generation {
            (stored.lineage, stored.has_lineage) = (newer.clone(), false);
        }
    }
}

/// Takes the lineage of the latest version with the same key, as one set, if a rewrite has dropped it.
fn restore_lineage(stored: &mut Stored, past: &[(Version, Past)]) {
    if !stored.has_lineage
        && let Some(lineage) = in_past(past, &stored.key)
        && lineage.generation >= stored.lineage.generation
    {
        stored.lineage = lineage.clone();
    }
}

/// The newest past of a key that is held: its own, or that of an earlier version of the record.
pub(crate) fn newest<'a>(key: &PublicKey, own: &'a Lineage, past: &'a [(Version, Past)]) -> &'a Lineage {
    in_past(past, key).filter(|lineage| lineage.generation > own.generation).unwrap_or(own)
}

/// If an earlier version's key has replaced this one, of this generation.
pub(crate) fn retires(past: &[(Version, Past)], key: &PublicKey, generation: u64) -> bool {
    past.iter().any(|(_, past)| {
        matches!(past, Past::Key { lineage: Some(lineage), .. }
            if lineage.generation > generation && lineage.replaces_key(key))
    })
}

/// The lineage of the latest earlier version with this key.
fn in_past<'a>(past: &'a [(Version, Past)], current: &PublicKey) -> Option<&'a Lineage> {
    past.iter().find_map(|(_, past)| match past {
        Past::Key { key, lineage: Some(lineage), .. } if key == current => Some(lineage),
        _ => None,
    })
}

/// If the record was rewritten without our fields, after a version that had them: a Python Bindu pod is at work.
#[must_use]
pub fn is_rewritten(stored: &Stored, past: &[(Version, Past)]) -> bool {
    !stored.has_lineage && past.iter().any(|(_, past)| matches!(past, Past::Key { lineage: Some(_), .. }))
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
