//! The key ring in the record, and the steps of a rotation: prepare, activate, retire, each a version of its own.

pub use super::{
    decision::RingStep,
    observed::{Next, Previous, Ring},
};

use super::{
    RecreateKeys,
    decision::{Plan, Row},
    history::{Past, is_rewritten},
    observed::{HydraNames, Observed, Store, Stored},
};
use std::time::Duration;

/// `recreate_keys = true` rotates at most this often, or a crash loop would make keys without end.
pub const ROTATION_PAUSE: Duration = Duration::from_secs(600);

/// `reconcile_interval` of a replica that has noted none, in seconds: the setting's default.
pub(crate) const DEFAULT_INTERVAL: u64 = 60;

/// What `recreate_keys` asks for at a start, about a record that is sure.
pub(crate) fn recreate(stored: &Stored, age: Option<Duration>, wish: &RecreateKeys) -> Option<RingStep> {
    let is_wanted = match wish {
        RecreateKeys::No => false,
        RecreateKeys::Once(fingerprint) => stored.key.fingerprint() == *fingerprint,
        // A record that does not say when it was written is an old one.
        RecreateKeys::Always => age.is_none_or(|age| age >= ROTATION_PAUSE),
    };
    match &stored.ring.next {
        _ if *wish == RecreateKeys::No => None,
        // Ours, or another replica's, a moment ago.
        Some(next) if next.is_due || is_wanted => {
            Some(RingStep::Activate { compromised: next.is_compromised })
        }
        None if is_wanted => Some(RingStep::Prepare { at_once: true, compromised: false }),
        _ => None,
    }
}

/// What a running agent that is sure of its key does about the record, one step a pass: whoever comes first finishes a
/// rotation. `interval` is its own reconcile interval in seconds.
#[must_use]
pub fn upkeep(stored: &Stored, interval: u64) -> Option<RingStep> {
    match &stored.ring {
        // A rewrite has dropped something. (An empty past is no loss: nothing is written for it.)
        _ if !stored.has_lineage && stored.lineage.generation > 0 => Some(RingStep::PutBack),
        Ring { next: Some(next), .. } if next.is_due => {
            Some(RingStep::Activate { compromised: next.is_compromised })
        }
        Ring { previous: Some(previous), .. } if previous.is_over => Some(RingStep::Retire),
        _ if stored.interval.unwrap_or(DEFAULT_INTERVAL) < interval => Some(RingStep::Note),
        // The last: a gate before Hydra may refuse it for ever.
        Ring { revokes_tokens: true, .. } => Some(RingStep::Revoke),
        _ => None,
    }
}

/// What an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RingWish {
    /// Another key.
    Rotate {
        /// Without waiting for the replicas to load it.
        at_once: bool,
        /// The current key is in somebody else's hands.
        compromised: bool,
    },
    /// Back to the state before the last step of a rotation.
    Undo,
}

/// Why no step of a rotation is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RingError {
    /// The identity itself is not settled.
    #[error("the identity must be settled first: {}", .0.explain())]
    NotSure(Row),
    /// Python Bindu pods rewrite the record, and would drop the rotation.
    #[error("a Python Bindu pod has rewritten the keys record without our fields, and would drop a rotation")]
    Rewritten,
    /// A rotation is on its way.
    #[error("a rotation is prepared already, and its key is not due yet")]
    NotDue,
    /// Hydra does not name the current key yet: replicas still sign with the replaced one.
    #[error("Hydra does not name the current key yet, and another rotation would drop the one that it names")]
    HydraBehind,
    /// The current key is being withdrawn.
    #[error("the current key is being withdrawn as compromised, which can't be undone: it would stay valid")]
    Withdrawing,
    /// Nothing is prepared, and no replaced key is held.
    #[error("there is nothing to undo: no key is prepared, and the replaced key was retired")]
    NothingToUndo,
}

/// The steps that a wish needs, from what was observed. A key that is activated by the next step is prepared without being due:
/// a replica that looks in between must not take that step first.
///
/// # Errors
/// Why none may be taken.
pub fn plan(
    seen: &Observed,
    keys: &Plan,
    past: &[(bindu_store::Version, Past)],
    wish: RingWish,
) -> Result<Vec<RingStep>, RingError> {
    let Store::Present(stored) = &seen.store else { return Err(RingError::NotSure(keys.row)) };
    if !keys.sure {
        return Err(RingError::NotSure(keys.row));
    }
    let ring = &stored.ring;
    let prepare = RingStep::Prepare { at_once: false, compromised: false };
    // Preparing drops the replaced key: while Hydra names it, nobody could sign any more.
    let hydra_is_behind = ring.previous.is_some()
        && !matches!(&seen.hydra, HydraNames::NotAsked)
        && !seen.hydra.names(&stored.key);
    match wish {
        // A stolen key is worse than a rewrite that drops its successor: that is seen, and this one is not.
        RingWish::Rotate { compromised: false, .. } if is_rewritten(stored, past) => {
            Err(RingError::Rewritten)
        }
        // Whoever has the current key may have read the prepared one beside it: another is made.
        RingWish::Rotate { compromised: true, .. } => Ok(vec![
            RingStep::Prepare { at_once: false, compromised: true },
            RingStep::Activate { compromised: true },
        ]),
        RingWish::Rotate { .. } if hydra_is_behind => Err(RingError::HydraBehind),
        RingWish::Rotate { at_once, .. } => match &ring.next {
            Some(next) if at_once || next.is_due => {
                Ok(vec![RingStep::Activate { compromised: next.is_compromised }])
            }
            Some(_) => Err(RingError::NotDue),
            None if at_once => Ok(vec![prepare, RingStep::Activate { compromised: false }]),
            None => Ok(vec![prepare]),
        },
        RingWish::Undo if ring.next.is_some_and(|next| next.is_compromised) => Err(RingError::Withdrawing),
        RingWish::Undo if ring.next.is_some() => Ok(vec![RingStep::Abandon]),
        RingWish::Undo if ring.previous.is_some() => Ok(vec![RingStep::Undo]),
        RingWish::Undo => Err(RingError::NothingToUndo),
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
