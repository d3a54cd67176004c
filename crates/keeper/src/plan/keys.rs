//! The decision table for keys: the store's answer, what the directory holds, what Hydra names -> what to do.
//!
//! One row of DESIGN.md's table is one [`Row`]. [`plan`] reads from top to bottom like the table.

use super::{
    OnAbsent, OnUnavailable, Policy, TakenOver,
    history::Earlier,
    ring::{self, RingStep},
};
use crate::Reason;
use bindu_identity::{Lineage, PublicKey};
use bindu_store::{OutageReason, Version};
use std::time::Duration;

/// How long a doubtful absence is read again before it is believed: longer than a raft standby lags behind (0.1 s) and
/// than another replica needs between its write to the store and to Hydra.
pub const DOUBT: Duration = Duration::from_secs(3);

/// What was observed of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observed {
    /// The store's answer.
    pub store: Store,
    /// What the data directory holds.
    pub local: Local,
    /// What Hydra's client of this DID says.
    pub hydra: HydraNames,
    /// If this is a running agent (its local key is the one in memory), else a start.
    pub running: bool,
    /// For how long the same has been observed, by fresh reads.
    pub seen_for: Duration,
    /// What earlier versions of the record prove.
    pub earlier: Earlier,
    /// If a create of ours has met another writer's: there is a record, even if none is seen yet.
    pub lost: bool,
    /// If this process has had an answer of the store about its key before.
    pub heard_store: bool,
    /// An earlier consent, noted in the credentials record.
    pub taken_over: TakenOver,
    /// How long ago the record was written, by its own time.
    pub age: Option<Duration>,
    /// If the local key was made while the store could not be asked.
    pub provisional: bool,
    /// What forbids a new identity under this name, if anything does.
    pub name_problem: Option<String>,
}

/// The store's answer about the keys record.
#[allow(clippy::large_enum_variant, reason = "one is alive at a time")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Store {
    /// A key.
    Present(Stored),
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

/// A record that holds a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stored {
    /// The public half of the current key.
    pub key: PublicKey,
    /// The record's version.
    pub version: Version,
    /// The key's past; if this version lacks it, that of the latest earlier one with this key.
    pub lineage: Lineage,
    /// If this version itself says so: Python Bindu's rewrites drop it.
    pub has_lineage: bool,
    /// The other keys of the ring, and their times.
    pub ring: ring::Ring,
    /// `reconcile_interval`, in seconds.
    pub interval: Option<u64>,
}

impl Stored {
    /// If the record's key replaces this one.
    #[must_use]
    pub fn replaces(&self, key: &PublicKey) -> bool {
        self.lineage.replaces_key(key)
    }
}

/// What the data directory (or the running agent) holds.
#[allow(clippy::large_enum_variant, reason = "one is alive at a time")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Local {
    /// A key.
    Present {
        /// Its public half.
        key: PublicKey,
        /// If the store ever held it: where, and if Hydra named it then.
        acknowledged: Option<Acknowledged>,
        /// The key's past.
        lineage: Lineage,
    },
    /// Nothing, and no memory of anything.
    None,
    /// Traces of a key whose private half is gone.
    Unusable(String),
    /// Files that can't be read: a key may be there.
    Unreadable(String),
    /// An encrypted key, and no password or the wrong one.
    Locked(String),
}

impl Local {
    /// If there is no key to work with, whatever lies there.
    fn is_bare(&self) -> bool {
        matches!(self, Self::None | Self::Unusable(_) | Self::Unreadable(_))
    }

    /// If the key was read from the store, or written to it, by us or an earlier process.
    fn is_acknowledged(&self) -> bool {
        matches!(self, Self::Present { acknowledged: Some(_), .. })
    }
}

/// That the store held a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Acknowledged {
    /// At which version.
    pub version: Version,
    /// If Hydra named this key then.
    pub named: bool,
}

/// Which key Hydra's client of this DID names.
#[allow(clippy::large_enum_variant, reason = "one is alive at a time")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HydraNames {
    /// Hydra is not configured, or this DID can't be addressed there.
    NotAsked,
    /// Hydra has not answered (yet).
    Unknown,
    /// There is no client.
    NoClient,
    /// A client that names no key.
    NoKey,
    /// A client that names a key.
    Key {
        /// The key, if it is one.
        key: Option<PublicKey>,
        /// As it stands there.
        text: String,
        /// The generation to which a verified chain of rotation statements there leads from the key that the store holds.
        after_store: Option<u64>,
        /// The same from the key that the directory (or the running agent) holds.
        after_local: Option<u64>,
    },
}

impl HydraNames {
    /// If Hydra has been heard, or there is nothing to hear.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        *self != Self::Unknown
    }

    /// If there is a client that names a key.
    #[must_use]
    pub fn is_key(&self) -> bool {
        matches!(self, Self::Key { .. })
    }

    /// If it names this key.
    #[must_use]
    pub fn names(&self, ours: &PublicKey) -> bool {
        matches!(self, Self::Key { key: Some(key), .. } if key == ours)
    }

    /// The key that it names, if that is neither the store's nor an older one.
    pub(crate) fn other_than_stored(&self, stored: &Stored) -> Option<&str> {
        let Self::Key { after_store, .. } = self else { return None };
        self.another(&stored.key, &stored.lineage, *after_store)
    }

    /// The key that it names, if that is neither the local one nor an older one.
    fn other_than_local(&self, ours: &PublicKey, past: &Lineage) -> Option<&str> {
        let Self::Key { after_local, .. } = self else { return None };
        self.another(ours, past, *after_local)
    }

    /// An older key is one that `replaces` lists; but after an undo a key that is listed may be the newer one: then
    /// statements lead to it, beyond our generation.
    fn another(&self, ours: &PublicKey, past: &Lineage, after: Option<u64>) -> Option<&str> {
        let is_later = after.is_some_and(|generation| generation > past.generation);
        match self {
            Self::Key { key: Some(key), .. } if key == ours => None,
            Self::Key { key: Some(key), .. } if !is_later && past.replaces_key(key) => None,
            Self::Key { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// What to do, by which row, and what follows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The row that applies.
    pub row: Row,
    /// What to do.
    pub step: Step,
    /// If writing to Hydra and the store is allowed afterwards.
    pub sure: bool,
    /// What is not as it should be.
    pub degraded: Option<Reason>,
    /// If callers should be sent elsewhere meanwhile: `/readyz` is 503.
    pub unready: bool,
}

/// What to do about the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Use the local key; nothing is written to the store.
    UseLocal,
    /// Use the store's key and, if it is sure, write it to the directory. A local key that differs is archived first.
    UseStore,
    /// Use the store's key and leave the directory alone: what lies there can't be read.
    UseStoreOnly,
    /// Use the key of this earlier version, write it to the directory, and nothing to the store.
    UseEarlier {
        /// The version that holds it.
        version: Version,
    },
    /// Write the local key to the store, if the record is still absent or at this version.
    BackUp {
        /// The deleted version to write over.
        over: Option<Version>,
    },
    /// Make a key, write it to the store if the record is still absent, then use it.
    Generate,
    /// A step of a rotation, by compare-and-set at this version; then observe again.
    Ring {
        /// Which one.
        step: RingStep,
        /// The version to write over.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is described by `explain`")]
pub enum Row {
    PresentSame,
    PresentNone,
    PresentOverwritten,
    PresentRolledBack,
    PresentEarlierUnknown,
    PresentUnproven,
    PresentUnacknowledged,
    PresentRotation,
    PresentForeign,
    PresentOlder,
    PresentUnreadable,
    AbsentPresent,
    AbsentHydraSilent,
    AbsentNamedOtherwise,
    AbsentRunning,
    AbsentNone,
    AbsentNamed,
    AbsentRefused,
    AbsentBadName,
    AbsentLost,
    AbsentUnusable,
    AbsentUnreadable,
    DeletedAcknowledged,
    DeletedDoubtful,
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

        (_, Local::Locked(_)) => refuse(Row::Locked),
        (Store::Malformed(_), _) if seen.running => keep_ours(Row::Malformed, Reason::RecordMalformed),
        (Store::Malformed(_), _) => refuse(Row::Malformed),
        (Store::OfAnotherAgent(_), _) if seen.running => keep_ours(Row::OfAnotherAgent, Reason::Foreign),
        (Store::OfAnotherAgent(_), _) => refuse(Row::OfAnotherAgent),

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

impl Row {
    /// The row in words: what was found -> what is done.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::PresentSame => "the store and the directory hold the same key: use it",
            Self::PresentNone => "the store holds the key, the directory none: restore it",
            Self::PresentOverwritten => {
                "an earlier version of the record holds the right key, and the store's key does not replace it: overwritten"
            }
            Self::PresentEarlierUnknown => {
                "Hydra names another key than the store holds, and the record's earlier versions can't be read"
            }
            Self::PresentRolledBack => {
                "rotation statements in Hydra lead from the store's key to a later one: the store was rolled back"
            }
            Self::PresentUnproven => {
                "Hydra names another key than the store holds, and not all earlier versions of the record can be read: \
                 neither key is proven"
            }
            Self::PresentUnacknowledged => {
                "the store holds another key than the directory, whose key was never in it: the store's counts"
            }
            Self::PresentRotation => "the store's key replaces ours: a rotation",
            Self::PresentForeign => "the store holds a key that does not replace ours: a foreign one",
            Self::PresentOlder => "the store holds a key that ours has replaced: rolled back",
            Self::PresentUnreadable => {
                "the store holds the key, and the directory can't be read: use the store's, touch nothing on the disk"
            }
            Self::AbsentPresent => "the directory holds the key, the store none: back it up",
            Self::AbsentHydraSilent => {
                "the directory holds a key, the store none, and Hydra is silent: use it and write nothing until Hydra answers"
            }
            Self::AbsentNamedOtherwise => {
                "the directory holds a key, the store none, and Hydra names another that ours does not replace"
            }
            Self::AbsentRunning => "the store has lost the key that we work with: write it back",
            Self::AbsentNone => "there is no key anywhere: make one",
            Self::AbsentNamed => "there is no key here, but Hydra names one: it exists somewhere",
            Self::AbsentRefused => "there is no key anywhere, and `on_absent` is `refuse`",
            Self::AbsentBadName => "there is no key anywhere, and no new one may be made under this name",
            Self::AbsentLost => "another replica has written the record, but the store does not show it yet",
            Self::AbsentUnusable => "the directory remembers a key whose private half is gone",
            Self::AbsentUnreadable => {
                "the directory can't be read, so a key may be there, and the store has none"
            }
            Self::DeletedAcknowledged => "the record was deleted, the directory holds its key: write it back",
            Self::DeletedDoubtful => {
                "the record was deleted at a later version than the directory knows: somebody may have rotated the key"
            }
            Self::DeletedRunning => "the record was deleted while we run: nothing is written",
            Self::DeletedNone => "the record was deleted, and the directory holds no key that it held",
            Self::Malformed => "the record holds no key pair",
            Self::OfAnotherAgent => "the record is another agent's",
            Self::UnavailablePresent => {
                "the store does not answer, the directory holds a key: use it meanwhile"
            }
            Self::UnavailableSuperseded => {
                "the store does not answer, the directory holds a key, and Hydra names another that ours does not replace"
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
pub(crate) mod tests;
