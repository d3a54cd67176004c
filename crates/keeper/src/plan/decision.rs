//! What is decided about the keys: the rows of the table, what each does, and the steps of a rotation.

use crate::Reason;
use bindu_store::Version;
use std::time::Duration;

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

/// A step that writes the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RingStep {
    /// Make a key and put it beside the current one, to become the current one soon or at once.
    Prepare {
        /// Without waiting for the replicas to load it.
        at_once: bool,
        /// If the current key is in somebody else's hands.
        compromised: bool,
    },
    /// Make the prepared key the current one.
    Activate {
        /// If the old key must not be used any more: no overlap.
        compromised: bool,
    },
    /// Take the replaced key's private half out of the record.
    Retire,
    /// Take a prepared key out of the record.
    Abandon,
    /// Make the replaced key the current one again: a rotation back, one generation up.
    Undo,
    /// Write our fields, which this version of the record lacks, beside the same key.
    PutBack,
    /// Note a longer reconcile interval.
    Note,
    /// Note that the client's tokens were revoked, as a withdrawn key asks for.
    Revoke,
}

impl RingStep {
    /// The step in words.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::Prepare { at_once: false, .. } => "prepare: make a key and put it beside the current one",
            Self::Prepare { at_once: true, .. } => {
                "prepare: make a key, which becomes the current one at once"
            }
            Self::Activate { compromised: false } => {
                "activate: the prepared key becomes the current one, and the old one stays valid for the overlap"
            }
            Self::Activate { compromised: true } => {
                "activate: the prepared key becomes the current one, and the old one is refused from now on"
            }
            Self::Retire => "retire: take the private half of the replaced key out of the record",
            Self::Abandon => "undo: take the prepared key out of the record",
            Self::Undo => "undo: rotate back to the replaced key, one generation up",
            Self::PutBack => "put our fields back into the record",
            Self::Revoke => "revoke the client's tokens, and note it in the record",
            Self::Note => "note our reconcile interval in the record",
        }
    }
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
