//! The decision table for keys: what the store says, what the directory holds, what Hydra names -> what to do.
//!
//! One row of DESIGN.md's table is one [`Row`]. [`plan`] reads from top to bottom like the table.

use super::{OnAbsent, OnUnavailable, Policy, RecreateKeys, TakenOver};
use crate::Reason;
use bindu_identity::{Fingerprint, PublicKey};
use bindu_store::{OutageReason, Version};
use std::time::Duration;

/// How long a doubtful absence is read again before it is believed: longer than a raft standby lags behind (0.1 s) and
/// than another replica needs between its write to the store and to Hydra.
pub const DOUBT: Duration = Duration::from_secs(3);

/// `recreate_keys = true` rotates at most this often, or a crash loop would make keys without end.
pub const ROTATION_PAUSE: Duration = Duration::from_secs(600);

/// What was observed of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The store's answer.
    pub store: Store,
    /// What the data directory holds.
    pub local: Local,
    /// What Hydra's client of this DID says.
    pub hydra: HydraNames,
    /// Whether this is a running agent (its local key is the one in memory) or a start.
    pub running: bool,
    /// For how long the same has been observed, by fresh reads.
    pub seen_for: Duration,
    /// What earlier versions of the record say.
    pub earlier: Earlier,
    /// Whether a create of ours has met another writer's: there is a record, even where none is seen yet.
    pub lost: bool,
    /// What the credentials record says of an earlier consent.
    pub taken_over: TakenOver,
    /// How long ago the record was written, by its own time.
    pub age: Option<Duration>,
    /// Whether the local key was made while the store could not be asked.
    pub provisional: bool,
    /// What forbids a new identity under this name, if anything does.
    pub name_problem: Option<String>,
}

/// The store's answer about the keys record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// A key.
    Present {
        /// Its public half.
        key: PublicKey,
        /// The record's version.
        version: Version,
        /// The keys that it rotates; where this version lacks the list, that of the latest earlier one with this key.
        replaces: Vec<Fingerprint>,
    },
    /// Positively nothing.
    Absent,
    /// There was something.
    Deleted {
        /// The version that was deleted.
        version: Version,
        /// For ever.
        destroyed: bool,
    },
    /// A record that holds no key pair.
    Malformed(String),
    /// The record of this path names another agent's DID.
    OfAnotherAgent(String),
    /// An encrypted key, and no password or the wrong one.
    Locked(String),
    /// We may not read it.
    Denied,
    /// No answer that can be believed.
    Unavailable(OutageReason),
}

/// What earlier versions of the keys record say about the key that Hydra names. They are read only where the record's
/// key is not the one that somebody else holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// Nothing depends on it.
    NotRead,
    /// They could not be read.
    Unknown(OutageReason),
    /// They were read.
    Read {
        /// The latest one that holds the key that Hydra names.
        named: Option<Version>,
        /// Whether all of them could be read back to the first: the store keeps a limited number.
        whole: bool,
    },
}

/// What the data directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// A key.
    Present {
        /// Its public half.
        key: PublicKey,
        /// At which version the store held it, if it ever said so.
        acknowledged: Option<Version>,
    },
    /// Nothing, and no memory of anything.
    None,
    /// Traces of a key whose private half is gone or unreadable.
    Unusable(String),
    /// An encrypted key, and no password or the wrong one.
    Locked(String),
}

/// Which key Hydra's client of this DID names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HydraNames {
    /// Hydra is not configured, or this DID can't be addressed there.
    NotAsked,
    /// Hydra has not answered (yet).
    Unknown,
    /// There is no client.
    NoClient,
    /// A client that names no key.
    NoKey,
    /// A client that names this key.
    Key {
        /// Base58.
        key: String,
        /// The version of our record that it came from.
        version: Option<Version>,
    },
}

/// What to do, by which row, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The row that applies.
    pub row: Row,
    /// What to do.
    pub step: Step,
    /// Whether writing to Hydra and the store is allowed afterwards.
    pub sure: bool,
    /// What is not as it should be.
    pub degraded: Option<Reason>,
}

/// What to do about the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Use the local key; nothing is written to the store.
    UseLocal,
    /// Use the store's key and write it to the directory. A local key that differs is archived first.
    UseStore,
    /// Use the key of this earlier version, write it to the directory, and nothing to the store.
    UseEarlier {
        /// The version that holds it.
        version: Version,
    },
    /// Write the local key to the store, if the record is still absent or at this version; then observe again.
    BackUp {
        /// The deleted version to write over.
        over: Option<Version>,
    },
    /// Make a key, write it to the store if the record is still absent, then use it.
    Generate,
    /// Make a key that replaces the record's, and write it to the store at this version; then observe again.
    Rotate {
        /// The version to replace.
        over: Version,
    },
    /// Make a key that lives on the disk only, until the store answers.
    GenerateProvisional,
    /// Observe again: at once when it's an outage, for at most this long when it's a doubt.
    LookAgain {
        /// After this long the same observation counts.
        at_most: Option<Duration>,
    },
    /// Start nothing, change nothing.
    Refuse,
}

/// The rows of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is described by `explain`")]
pub enum Row {
    PresentSame,
    PresentNone,
    PresentOverwritten,
    PresentRolledBack,
    PresentEarlierUnknown,
    PresentUnacknowledged,
    PresentRotation,
    PresentForeign,
    PresentOlder,
    AbsentPresent,
    AbsentNamedOtherwise,
    AbsentRunning,
    AbsentNone,
    AbsentNamed,
    AbsentRefused,
    AbsentBadName,
    AbsentLost,
    AbsentUnusable,
    DeletedAcknowledged,
    DeletedRunning,
    DeletedNone,
    Malformed,
    OfAnotherAgent,
    UnavailablePresent,
    UnavailableSuperseded,
    UnavailableNone,
    UnavailableProvisional,
    WrongMountNone,
    UnreadableNone,
    DeniedPresent,
    DeniedNone,
    Locked,
    RecreateKeys,
}

/// The table, and the rotation that `recreate_keys` asks for at a start.
#[must_use]
pub fn plan(seen: &Observed, policy: &Policy) -> Plan {
    let plan = table(seen, policy);
    match &seen.store {
        Store::Present { key, version, .. }
            if plan.sure && !seen.running && rotates(&policy.recreate_keys, key, seen.age) =>
        {
            act(Row::RecreateKeys, Step::Rotate { over: *version })
        }
        _ => plan,
    }
}

/// Whether the record's key is to be rotated now.
fn rotates(recreate: &RecreateKeys, key: &PublicKey, age: Option<Duration>) -> bool {
    match recreate {
        RecreateKeys::No => false,
        RecreateKeys::Once(fingerprint) => key.fingerprint() == *fingerprint,
        // A record that does not say when it was written is an old one.
        RecreateKeys::Always => age.is_none_or(|age| age >= ROTATION_PAUSE),
    }
}

fn table(seen: &Observed, policy: &Policy) -> Plan {
    match (&seen.store, &seen.local) {
        (Store::Locked(_), _) if seen.running => keep_ours(Row::Locked, Reason::RecordLocked),
        (Store::Locked(_), _) => refuse(Row::Locked),
        (Store::Present { .. }, Local::Locked(_)) => refuse(Row::Locked),
        (Store::Present { key, version, replaces }, local) => {
            present(seen, policy, (key, *version, replaces), local)
        }

        (_, Local::Locked(_)) => refuse(Row::Locked),
        (Store::Malformed(_), _) if seen.running => keep_ours(Row::Malformed, Reason::RecordMalformed),
        (Store::Malformed(_), _) => refuse(Row::Malformed),
        (Store::OfAnotherAgent(_), _) if seen.running => keep_ours(Row::OfAnotherAgent, Reason::Foreign),
        (Store::OfAnotherAgent(_), _) => refuse(Row::OfAnotherAgent),

        (Store::Absent, Local::Present { key, acknowledged }) => {
            absent_present(seen, key, acknowledged.is_some())
        }
        (Store::Absent, Local::None | Local::Unusable(_)) if is_lost(seen) => {
            look_again(Row::AbsentLost, Some(DOUBT))
        }
        (Store::Absent, Local::Unusable(_)) => refuse(Row::AbsentUnusable),
        (Store::Absent, Local::None) => absent_none(seen, policy),

        (Store::Deleted { .. }, _) if seen.running => keep_ours(Row::DeletedRunning, Reason::RecordDeleted),
        (Store::Deleted { version, .. }, Local::Present { acknowledged: Some(_), .. }) => {
            act(Row::DeletedAcknowledged, Step::BackUp { over: Some(*version) })
        }
        (Store::Deleted { .. }, _) => refuse(Row::DeletedNone),

        (Store::Unavailable(_), Local::Present { key, .. }) => match names_another(&seen.hydra, key) {
            true => keep_ours(Row::UnavailableSuperseded, Reason::KeySuperseded),
            false if seen.provisional => keep_ours(Row::UnavailablePresent, Reason::ProvisionalKey),
            false => keep_ours(Row::UnavailablePresent, Reason::StoreUnavailable),
        },
        (Store::Unavailable(OutageReason::WrongMount), _) => refuse(Row::WrongMountNone),
        (Store::Unavailable(OutageReason::Unreadable), _) => refuse(Row::UnreadableNone),
        (Store::Unavailable(_), Local::None)
            if policy.on_unavailable == OnUnavailable::Generate && seen.name_problem.is_some() =>
        {
            refuse(Row::AbsentBadName)
        }
        (Store::Unavailable(_), Local::None) if policy.on_unavailable == OnUnavailable::Generate => Plan {
            row: Row::UnavailableProvisional,
            step: Step::GenerateProvisional,
            sure: false,
            degraded: Some(Reason::ProvisionalKey),
        },
        (Store::Unavailable(_), _) => look_again(Row::UnavailableNone, None),

        (Store::Denied, Local::Present { .. }) => keep_ours(Row::DeniedPresent, Reason::StoreDenied),
        (Store::Denied, _) => refuse(Row::DeniedNone),
    }
}

fn present(
    seen: &Observed,
    policy: &Policy,
    (stored, version, replaces): (&PublicKey, Version, &[Fingerprint]),
    local: &Local,
) -> Plan {
    let replaced = |key: &PublicKey| replaces.contains(&key.fingerprint());
    match local {
        Local::Present { key, .. } if key == stored => act(Row::PresentSame, Step::UseLocal),
        Local::Present { acknowledged: None, .. } => act(Row::PresentUnacknowledged, Step::UseStore),
        Local::Present { key, .. } if replaced(key) => act(Row::PresentRotation, Step::UseStore),
        Local::Present { acknowledged: Some(known), .. } => {
            let (row, reason) = match version < *known {
                true => (Row::PresentOlder, Reason::RolledBack),
                false => (Row::PresentForeign, Reason::Foreign),
            };
            if seen.seen_for < DOUBT && !seen.running {
                look_again(row, Some(DOUBT))
            } else {
                keep_ours(row, reason)
            }
        }
        Local::None | Local::Unusable(_) | Local::Locked(_) => match &seen.hydra {
            HydraNames::Key { key, version: named }
                if *key != stored.to_string()
                    && !key.parse().is_ok_and(|key| replaced(&key))
                    && !policy.take_over.covers(Some(key), &seen.taken_over) =>
            {
                present_named_otherwise(seen, version, *named)
            }
            _ => act(Row::PresentNone, Step::UseStore),
        },
    }
}

/// The store holds a key, the directory none, and Hydra names a third that the store's does not replace.
fn present_named_otherwise(seen: &Observed, version: Version, named: Option<Version>) -> Plan {
    match seen.earlier {
        Earlier::Unknown(_) => look_again(Row::PresentEarlierUnknown, None),
        Earlier::Read { named: Some(version), .. } => Plan {
            row: Row::PresentOverwritten,
            step: Step::UseEarlier { version },
            sure: false,
            degraded: Some(Reason::Foreign),
        },
        _ if named.is_none_or(|named| named <= version) => act(Row::PresentNone, Step::UseStore),
        // A standby that lags behind a rotation shows the same for a moment.
        _ if seen.seen_for < DOUBT => look_again(Row::PresentRolledBack, Some(DOUBT)),
        _ => refuse(Row::PresentRolledBack),
    }
}

fn absent_present(seen: &Observed, key: &PublicKey, acknowledged: bool) -> Plan {
    if seen.running && acknowledged {
        return match seen.seen_for < DOUBT {
            true => look_again(Row::AbsentRunning, Some(DOUBT)),
            false => act(Row::AbsentRunning, Step::BackUp { over: None }),
        };
    }
    if !acknowledged && names_another(&seen.hydra, key) {
        return match seen.seen_for < DOUBT {
            true => look_again(Row::AbsentNamedOtherwise, Some(DOUBT)),
            false => keep_ours(Row::AbsentNamedOtherwise, Reason::ClientOfAnotherKey),
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
    if let HydraNames::Key { key, .. } = &seen.hydra
        && !policy.take_over.covers(Some(key), &seen.taken_over)
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

/// A rightful step, after which the key is sure.
fn act(row: Row, step: Step) -> Plan {
    Plan { row, step, sure: true, degraded: None }
}

/// Go on with the local key and write nothing anywhere.
fn keep_ours(row: Row, reason: Reason) -> Plan {
    Plan { row, step: Step::UseLocal, sure: false, degraded: Some(reason) }
}

fn look_again(row: Row, at_most: Option<Duration>) -> Plan {
    Plan { row, step: Step::LookAgain { at_most }, sure: false, degraded: None }
}

fn refuse(row: Row) -> Plan {
    Plan { row, step: Step::Refuse, sure: false, degraded: None }
}

fn names_another(hydra: &HydraNames, ours: &PublicKey) -> bool {
    matches!(hydra, HydraNames::Key { key, .. } if *key != ours.to_string())
}

impl Row {
    /// The row in words: what was found -> what is done.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::PresentSame => "the store and the directory hold the same key: use it",
            Self::PresentNone => "the store holds the key, the directory none: restore it",
            Self::PresentOverwritten => {
                "the store's key does not replace the one that Hydra names and an earlier version holds: overwritten"
            }
            Self::PresentEarlierUnknown => {
                "Hydra names another key than the store holds, and the record's earlier versions can't be read"
            }
            Self::PresentRolledBack => {
                "Hydra names a later key than the store holds: the store was rolled back"
            }
            Self::PresentUnacknowledged => {
                "the store holds another key than the directory, whose key was never in it: the store's counts"
            }
            Self::PresentRotation => "the store's key replaces ours: a rotation",
            Self::PresentForeign => "the store holds a key that does not replace ours: a foreign one",
            Self::PresentOlder => "the store holds an older version than it has shown before: rolled back",
            Self::AbsentPresent => "the directory holds the key, the store none: back it up",
            Self::AbsentNamedOtherwise => {
                "the directory holds a key that was never in the store, and Hydra names another"
            }
            Self::AbsentRunning => "the store has lost the key that we work with: write it back",
            Self::AbsentNone => "there is no key anywhere: make one",
            Self::AbsentNamed => "there is no key here, but Hydra names one: it exists somewhere",
            Self::AbsentRefused => "there is no key anywhere, and `on_absent` is `refuse`",
            Self::AbsentBadName => "there is no key anywhere, and no new one may be made under this name",
            Self::AbsentLost => "another replica has written the record, but the store does not show it yet",
            Self::AbsentUnusable => "the directory remembers a key whose private half is gone",
            Self::DeletedAcknowledged => "the record was deleted, the directory holds the key: write it back",
            Self::DeletedRunning => "the record was deleted while we run: nothing is written",
            Self::DeletedNone => "the record was deleted, and the directory holds no key that it held",
            Self::Malformed => "the record holds no key pair",
            Self::OfAnotherAgent => "the record is another agent's",
            Self::UnavailablePresent => {
                "the store does not answer, the directory holds a key: use it meanwhile"
            }
            Self::UnavailableSuperseded => {
                "the store does not answer, the directory holds a key, and Hydra names another"
            }
            Self::UnavailableNone => "the store does not answer and the directory holds no key: wait",
            Self::UnavailableProvisional => "the store does not answer: make a provisional key",
            Self::WrongMountNone => "the store's mount is not there, or is not KV version 2",
            Self::UnreadableNone => "the files that are the store can't be read",
            Self::DeniedPresent => {
                "the store denies us the record, the directory holds a key: use it meanwhile"
            }
            Self::DeniedNone => "the store denies us the record, and the directory holds no key",
            Self::Locked => "the key is encrypted and its password is missing or wrong",
            Self::RecreateKeys => "`recreate_keys` asks for another key in place of this one: rotate",
        }
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
