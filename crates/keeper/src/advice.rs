//! What a person must decide about an agent that is degraded, with all that is known of it. How to do it is said elsewhere, by
//! whoever knows commands and settings.

use crate::{
    StoreKind,
    plan::keys::{Local, Observed, Plan, Row, Step, Store},
    start_error::{NamedKey, Place},
};
use bindu_store::Version;

/// A decision that is left to a person. Closed on purpose: whoever adds one is asked by the compiler for its hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// The store holds a key that ours has replaced: it was restored from a backup.
    Older,
    /// The store holds a key that does not replace ours.
    Foreign {
        /// Where the record is.
        path: String,
        /// The version that held ours.
        version: Version,
    },
    /// The store's key was written over the right one, which is in use.
    Overwritten {
        /// Where the record is.
        path: String,
        /// The version that holds the right one.
        version: Version,
    },
    /// Statements in Hydra prove that the store's key was rotated away.
    RolledBack {
        /// Where the record is.
        path: String,
    },
    /// The store's key is in use, Hydra names another, and neither is proven.
    Unproven {
        /// The key that Hydra names.
        named: NamedKey,
    },
    /// The store holds no record, and Hydra names another key than ours.
    NamedOtherwise {
        /// The key that Hydra names.
        named: NamedKey,
    },
    /// The record was deleted while we run.
    Deleted {
        /// Where the record was.
        path: String,
        /// The version that was deleted.
        version: Version,
        /// If no command brings it back.
        destroyed: bool,
    },
    /// The record was deleted, and somebody may have rotated the key before.
    DeletedInDoubt {
        /// Where the record was.
        path: String,
        /// The version that was deleted.
        version: Version,
        /// If no command brings it back.
        destroyed: bool,
    },
    /// The record of a running agent holds no key pair any more, or names another agent.
    BadRecord {
        /// Where the record is.
        path: String,
        /// In which kind of store.
        kind: StoreKind,
    },
    /// The record of a running agent is encrypted, and its password is missing or wrong.
    Locked,
    /// The policy does not allow reading the record; the directory's key is in use.
    Denied {
        /// The paths that a policy must allow.
        policy: Vec<String>,
    },
}

impl Advice {
    /// What a plan leaves to a person, if anything.
    pub(crate) fn new(plan: &Plan, seen: &Observed, place: Place) -> Option<Self> {
        let Place { path, kind, policy, .. } = place;
        match plan.row {
            Row::PresentOlder => Some(Self::Older),
            Row::PresentForeign => match seen.local {
                Local::Present { acknowledged: Some(known), .. } => {
                    Some(Self::Foreign { path, version: known.version })
                }
                _ => None,
            },
            Row::PresentOverwritten => match plan.step {
                Step::UseEarlier { version } => Some(Self::Overwritten { path, version }),
                _ => None,
            },
            Row::PresentRolledBack => Some(Self::RolledBack { path }),
            Row::PresentUnproven => NamedKey::seen(seen).map(|named| Self::Unproven { named }),
            Row::AbsentNamedOtherwise => NamedKey::seen(seen).map(|named| Self::NamedOtherwise { named }),
            Row::DeletedRunning => match seen.store {
                Store::Deleted { version, destroyed } => Some(Self::Deleted { path, version, destroyed }),
                _ => None,
            },
            Row::DeletedDoubtful => match seen.store {
                Store::Deleted { version, destroyed } => {
                    Some(Self::DeletedInDoubt { path, version, destroyed })
                }
                _ => None,
            },
            // At a start these refuse: a `StartError`.
            Row::Malformed | Row::OfAnotherAgent => plan.degraded.map(|_| Self::BadRecord { path, kind }),
            Row::Locked => plan.degraded.map(|_| Self::Locked),
            Row::DeniedPresent => Some(Self::Denied { policy }),
            // Nothing is wrong, or time and the servers decide, or the reason alone says what to do, or a start refuses.
            Row::PresentSame
            | Row::PresentNone
            | Row::PresentEarlierUnknown
            | Row::PresentUnacknowledged
            | Row::PresentRotation
            | Row::PresentUnreadable
            | Row::AbsentPresent
            | Row::AbsentHydraSilent
            | Row::AbsentRunning
            | Row::AbsentNone
            | Row::AbsentNamed
            | Row::AbsentRefused
            | Row::AbsentBadName
            | Row::AbsentLost
            | Row::AbsentUnusable
            | Row::AbsentUnreadable
            | Row::DeletedAcknowledged
            | Row::DeletedNone
            | Row::UnavailablePresent
            | Row::UnavailableSuperseded
            | Row::UnavailableNone
            | Row::UnavailableProvisional
            | Row::WrongMountNone
            | Row::UnreadableNone
            | Row::DeniedNone
            | Row::RecreateKeys => None,
        }
    }
}
