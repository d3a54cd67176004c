//! The decision table for keys: the store's answer, what the directory holds, what Hydra names -> what to do.
//!
//! One row of DESIGN.md's table is one [`Row`]. [`plan`] reads from top to bottom like the table.

pub use super::{
    decision::{Plan, Row, Step},
    observed::{Acknowledged, HydraNames, Local, Observed, Store, Stored},
};

use super::{OnAbsent, OnUnavailable, Policy, observed::Earlier, ring};
use crate::Reason;
use bindu_identity::{Lineage, PublicKey};
use bindu_store::{OutageReason, Version};
use std::time::Duration;

/// How long a doubtful absence is read again before it is believed: longer than a raft standby lags behind (0.1 s) and
/// than another replica needs between its write to the store and to Hydra.
pub const DOUBT: Duration = Duration::from_secs(3);

/// The table, and the rotation that `recreate_keys` asks for at a start.
#[must_use]
pub fn plan(seen: &Observed, policy: &Policy) -> Plan {
    let plan = table(seen, policy);
    match &seen.store {
        Store::Present(stored) if plan.sure && !seen.running => {
            match ring::recreate(stored, seen.age, &policy.recreate_keys) {
                Some(step) => act(Row::RecreateKeys, Step::Ring { step, over: stored.version }),
                None => plan,
            }
        }
        _ => plan,
    }
}

fn table(seen: &Observed, policy: &Policy) -> Plan {
    match (&seen.store, &seen.local) {
        (Store::Locked(_), _) if seen.running => keep_ours(Row::Locked, Reason::RecordLocked),
        (Store::Locked(_), _) => refuse(Row::Locked),
        (Store::Present(_), Local::Locked(_)) => refuse(Row::Locked),
        (Store::Present(stored), local) => present(seen, policy, stored, local),

        (Store::Malformed(_), _) if seen.running => keep_ours(Row::Malformed, Reason::RecordMalformed),
        (Store::Malformed(_), _) => refuse(Row::Malformed),
        (Store::OfAnotherAgent(_), _) if seen.running => keep_ours(Row::OfAnotherAgent, Reason::Foreign),
        (Store::OfAnotherAgent(_), _) => refuse(Row::OfAnotherAgent),
        (_, Local::Locked(_)) => refuse(Row::Locked),

        (Store::Absent, Local::Present { key, lineage, .. }) => absent_present(seen, key, lineage),
        (Store::Absent, Local::Unreadable(_)) => refuse(Row::AbsentUnreadable),
        (Store::Absent, Local::None | Local::Unusable(_)) if is_lost(seen) => {
            look_again(Row::AbsentLost, Some(DOUBT))
        }
        (Store::Absent, Local::Unusable(_)) => refuse(Row::AbsentUnusable),
        (Store::Absent, Local::None) => absent_none(seen, policy),

        (Store::Deleted { .. }, _) if seen.running => keep_ours(Row::DeletedRunning, Reason::RecordDeleted),
        (Store::Deleted { version, .. }, Local::Present { key, acknowledged: Some(known), .. }) => {
            deleted(seen, *version, key, known)
        }
        (Store::Deleted { .. }, _) => refuse(Row::DeletedNone),

        (Store::Unavailable(_), Local::Present { key, lineage, .. }) => {
            if !seen.heard_store && seen.hydra.other_than_local(key, lineage).is_some() {
                return Plan {
                    unready: true,
                    ..keep_ours(Row::UnavailableSuperseded, Reason::KeySuperseded)
                };
            }
            let reason = if seen.provisional { Reason::ProvisionalKey } else { Reason::StoreUnavailable };
            keep_ours(Row::UnavailablePresent, reason)
        }
        (Store::Unavailable(OutageReason::WrongMount), _) => refuse(Row::WrongMountNone),
        (Store::Unavailable(OutageReason::Unreadable), _) => refuse(Row::UnreadableNone),
        (Store::Unavailable(_), Local::None) if policy.on_unavailable == OnUnavailable::Generate => {
            match &seen.name_problem {
                Some(_) => refuse(Row::AbsentBadName),
                None => Plan {
                    row: Row::UnavailableProvisional,
                    step: Step::GenerateProvisional,
                    sure: false,
                    degraded: Some(Reason::ProvisionalKey),
                    unready: false,
                },
            }
        }
        (Store::Unavailable(_), _) => look_again(Row::UnavailableNone, None),

        (Store::Denied, Local::Present { .. }) => keep_ours(Row::DeniedPresent, Reason::StoreDenied),
        (Store::Denied, _) => refuse(Row::DeniedNone),
    }
}

/// The rows of a record that holds a key, from top to bottom.
fn present(seen: &Observed, policy: &Policy, stored: &Stored, local: &Local) -> Plan {
    let named = seen.hydra.other_than_stored(stored);
    let is_rotated = is_led_to(seen, stored);
    let consents = policy.take_over.covers(named, &seen.taken_over, is_rotated);
    if named.is_some() && !consents && is_rolled_back(seen, stored, local) {
        return match (seen.seen_for < DOUBT, seen.running) {
            // A standby that lags behind a rotation shows the same for a moment.
            (true, false) => look_again(Row::PresentRolledBack, Some(DOUBT)),
            (_, true) => keep_ours(Row::PresentRolledBack, Reason::RolledBack),
            (false, false) => refuse(Row::PresentRolledBack),
        };
    }
    let is_same = matches!(local, Local::Present { key, .. } if *key == stored.key);
    if !consents && (local.is_bare() || is_same) {
        let was_named = matches!(local, Local::Present { acknowledged: Some(known), .. } if known.named);
        let better = match seen.earlier {
            Earlier::Read { retired_by: Some(version), .. } => Some(version),
            Earlier::Read { named: Some(version), .. } if named.is_some() && !was_named => Some(version),
            _ => None,
        };
        if let Some(version) = better {
            return Plan {
                step: Step::UseEarlier { version },
                ..keep_ours(Row::PresentOverwritten, Reason::Foreign)
            };
        }
    }
    if named.is_some() && !consents && !local.is_acknowledged() {
        match seen.earlier {
            Earlier::Unknown(_) if !stored.has_lineage => {
                return look_again(Row::PresentEarlierUnknown, None);
            }
            Earlier::Read { whole: false, .. } if !stored.has_lineage => return unproven(is_same),
            _ => {}
        }
    }
    with_local(seen, stored, local)
}

/// What cannot be read proves nothing: the store's key is used, and nothing is concluded from it.
fn unproven(is_same: bool) -> Plan {
    Plan {
        row: Row::PresentUnproven,
        step: if is_same { Step::UseLocal } else { Step::UseStoreOnly },
        sure: false,
        degraded: Some(Reason::ClientOfAnotherKey),
        unready: true,
    }
}

/// The store's key against the local one, when neither Hydra nor the history speaks against the store's.
fn with_local(seen: &Observed, stored: &Stored, local: &Local) -> Plan {
    match local {
        Local::Present { key, .. } if *key == stored.key => act(Row::PresentSame, Step::UseLocal),
        Local::Present { acknowledged: None, .. } => act(Row::PresentUnacknowledged, Step::UseStore),
        Local::Present { key, lineage, .. }
            if stored.replaces(key) && stored.lineage.generation > lineage.generation =>
        {
            act(Row::PresentRotation, Step::UseStore)
        }
        Local::Present { lineage, .. } => {
            // An older key of ours: a backup. If the record's history has retired it, somebody has written it over its successor.
            let is_overwritten = matches!(seen.earlier, Earlier::Read { retired_by: Some(_), .. });
            let is_older =
                lineage.replaces_key(&stored.key) && stored.lineage.generation < lineage.generation;
            let (row, reason) = match is_older && !is_overwritten {
                true => (Row::PresentOlder, Reason::RolledBack),
                false => (Row::PresentForeign, Reason::Foreign),
            };
            match seen.seen_for < DOUBT && !seen.running {
                true => look_again(row, Some(DOUBT)),
                false => keep_ours(row, reason),
            }
        }
        Local::Unreadable(_) => act(Row::PresentUnreadable, Step::UseStoreOnly),
        Local::None | Local::Unusable(_) | Local::Locked(_) => act(Row::PresentNone, Step::UseStore),
    }
}

/// If Hydra proves by statements that the store's key was rotated away, and the directory knows no better.
fn is_rolled_back(seen: &Observed, stored: &Stored, local: &Local) -> bool {
    let knows_no_better = match local {
        Local::Present { key, .. } => *key == stored.key || stored.replaces(key),
        Local::None | Local::Unusable(_) | Local::Unreadable(_) | Local::Locked(_) => true,
    };
    knows_no_better && is_led_to(seen, stored)
}

/// If statements lead from the store's key to the one that Hydra names.
pub(crate) fn is_led_to(seen: &Observed, stored: &Stored) -> bool {
    matches!(&seen.hydra, HydraNames::Key { after_store: Some(after), .. } if *after > stored.lineage.generation)
}

fn absent_present(seen: &Observed, key: &PublicKey, past: &Lineage) -> Plan {
    if seen.hydra == HydraNames::Unknown {
        return keep_ours(Row::AbsentHydraSilent, Reason::RecordMissing);
    }
    if seen.hydra.other_than_local(key, past).is_some() {
        return match seen.seen_for < DOUBT {
            true => look_again(Row::AbsentNamedOtherwise, Some(DOUBT)),
            false => keep_ours(Row::AbsentNamedOtherwise, Reason::ClientOfAnotherKey),
        };
    }
    if seen.running && seen.local.is_acknowledged() {
        return match seen.seen_for < DOUBT {
            true => look_again(Row::AbsentRunning, Some(DOUBT)),
            false => act(Row::AbsentRunning, Step::BackUp { over: None }),
        };
    }
    if is_lost(seen) {
        return look_again(Row::AbsentLost, Some(DOUBT));
    }
    act(Row::AbsentPresent, Step::BackUp { over: None })
}

/// The winner of the race will be seen as soon as the standby that was asked has caught up.
fn is_lost(seen: &Observed) -> bool {
    seen.lost && seen.seen_for < DOUBT
}

fn absent_none(seen: &Observed, policy: &Policy) -> Plan {
    if let HydraNames::Key { text, .. } = &seen.hydra
        && !policy.take_over.covers(Some(text), &seen.taken_over, false)
    {
        return match seen.seen_for < DOUBT {
            true => look_again(Row::AbsentNamed, Some(DOUBT)),
            false => refuse(Row::AbsentNamed),
        };
    }
    if policy.on_absent == OnAbsent::Refuse {
        return refuse(Row::AbsentRefused);
    }
    if seen.name_problem.is_some() {
        return refuse(Row::AbsentBadName);
    }
    act(Row::AbsentNone, Step::Generate)
}

/// A deleted record and a key that it held: written back only if nobody can have rotated since.
fn deleted(seen: &Observed, version: Version, key: &PublicKey, known: &Acknowledged) -> Plan {
    let is_ours = known.version == version || (known.version < version && seen.hydra.names(key));
    match (is_ours, &seen.earlier) {
        (true, _) if known.version == version => {
            act(Row::DeletedAcknowledged, Step::BackUp { over: Some(version) })
        }
        (true, Earlier::Read { is_ours_since: true, .. }) => {
            act(Row::DeletedAcknowledged, Step::BackUp { over: Some(version) })
        }
        _ => keep_ours(Row::DeletedDoubtful, Reason::RecordDeleted),
    }
}

/// A rightful step, after which the key is sure.
fn act(row: Row, step: Step) -> Plan {
    Plan { row, step, sure: true, degraded: None, unready: false }
}

/// Go on with the local key and write nothing anywhere.
fn keep_ours(row: Row, reason: Reason) -> Plan {
    Plan { row, step: Step::UseLocal, sure: false, degraded: Some(reason), unready: false }
}

fn look_again(row: Row, at_most: Option<Duration>) -> Plan {
    Plan { row, step: Step::LookAgain { at_most }, sure: false, degraded: None, unready: false }
}

fn refuse(row: Row) -> Plan {
    Plan { row, step: Step::Refuse, sure: false, degraded: None, unready: false }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
pub(crate) mod tests;
