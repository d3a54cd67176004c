//! Why a start ends without an identity, with all that is known of it: the verdict of the [machine](crate::machine) and what it
//! was found for.
//!
//! It says what happened and to what. How to fix it is said elsewhere, by whoever knows commands and settings.

use crate::{
    StoreKind,
    machine::{Verdict, WriteFailure},
    plan::{
        TakenOver,
        keys::{HydraNames, Local, Observed, Row, Store},
    },
};
use bindu_identity::{Did, Fingerprint, PublicKey};
use bindu_store::{Outage, OutageReason, Version};

/// A start without an identity. Nothing was changed, unless the message says so.
///
/// The variants are by what a person can do about it. The enum is closed on purpose: whoever adds an end is asked by the compiler
/// for its exit code and its hint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The record holds no usable key pair.
    #[error("{path} holds no usable key pair; nothing was changed")]
    Malformed {
        /// Where the record is.
        path: String,
        /// In which kind of store.
        kind: StoreKind,
        /// What is wrong with it.
        #[source]
        problem: Problem,
    },
    /// The record names another agent.
    #[error("{path} is the record of another agent; nothing was changed")]
    OfAnotherAgent {
        /// Where the record is.
        path: String,
        /// Both agents.
        #[source]
        dids: OtherDid,
    },
    /// The record was deleted, and no key that it held is here.
    #[error("the keys record {path} was deleted, and there is no key here that it held; nothing was changed")]
    Deleted {
        /// Where the record was.
        path: String,
        /// The version that was deleted.
        version: Version,
        /// If no command brings it back.
        destroyed: bool,
    },
    /// There is no key here, but Hydra names one.
    #[error(
        "there is no key at {path}, but Hydra's client of {did} names one, so it exists somewhere; nothing was changed"
    )]
    Named {
        /// Where a record would be.
        path: String,
        /// In which kind of store.
        kind: StoreKind,
        /// Whose client it is.
        did: Did,
        /// The key.
        #[source]
        named: Box<NamedKey>,
    },
    /// There is no key, and the operator forbids a new one.
    #[error("there is no key at {path}, and `on_absent` is `refuse`")]
    CreationForbidden {
        /// Where a record would be.
        path: String,
        /// In which kind of store.
        kind: StoreKind,
    },
    /// There is no key, and the name is not fit for a new identity.
    #[error("no new identity can be made under this name")]
    BadName {
        /// What is wrong with it.
        #[source]
        problem: Problem,
    },
    /// The data directory remembers a key whose private half is gone.
    #[error(
        "the data directory remembers a key that can't be read, and the store has none; nothing was changed"
    )]
    KeyUnusable {
        /// What is wrong with the files.
        #[source]
        problem: Problem,
    },
    /// The data directory can't be read, and the store has no key.
    #[error(
        "the data directory can't be read, so a key may be there, and the store has none; nothing was changed"
    )]
    DirectoryUnreadable {
        /// Which file, and why.
        #[source]
        problem: Problem,
    },
    /// Statements in Hydra prove that the store's key was rotated away.
    #[error(
        "{path} and Hydra name different keys, and rotation statements lead from the store's to Hydra's; nothing was changed"
    )]
    RolledBack {
        /// Where the record is.
        path: String,
        /// The key that Hydra names.
        named: Box<NamedKey>,
        /// What that proves.
        #[source]
        problem: Problem,
    },
    /// The private key is encrypted, and its password is missing or wrong.
    #[error("the private key can't be opened; nothing was changed")]
    Locked {
        /// Which of both.
        #[source]
        problem: Problem,
    },
    /// The store's mount is missing, or of another kind.
    #[error("the store's mount is not there, or is not KV version 2; nothing was changed")]
    WrongMount {
        /// The store's answer.
        #[source]
        outage: Option<Outage>,
    },
    /// The policy does not allow reading the record.
    #[error("Vault denies reading {path}, and there is no key on disk")]
    ReadDenied {
        /// Where the record is.
        path: String,
        /// The paths that a policy must allow.
        policy: Vec<String>,
    },
    /// The files that are the store can't be read.
    #[error("the data directory can't be read")]
    StoreUnreadable {
        /// Which file, and why.
        #[source]
        outage: Option<Outage>,
    },
    /// The token or the login does not count.
    #[error("Vault does not accept the token or the login, and there is no key on disk")]
    LoginRejected {
        /// The store's answer.
        #[source]
        outage: Outage,
    },
    /// The store did not answer in time.
    #[error("the store gave no believable answer before the start deadline, and there is no key on disk")]
    Unavailable {
        /// Its last answer, if there was one.
        #[source]
        outage: Option<Outage>,
    },
    /// The record's earlier versions decide, and could not be read in time.
    #[error("the store gave no believable answer before the start deadline about earlier versions of {path}")]
    HistoryUnavailable {
        /// Where the record is.
        path: String,
        /// Why they are needed.
        #[source]
        problem: Problem,
    },
    /// The store refuses the record for ever.
    #[error("the store refused the keys record at {path}")]
    WriteRefused {
        /// Where the record would be.
        path: String,
        /// The store's own words.
        #[source]
        problem: Problem,
    },
    /// The data directory, which is the store, is not writable.
    #[error("the data directory can't be written: {path}")]
    DirectoryNotWritable {
        /// Which file.
        path: String,
    },
    /// The data directory, which is the store, did not take the key.
    #[error("{}", not_kept(path, *is_new))]
    NotKept {
        /// Which file.
        path: String,
        /// If the key is new: nobody has seen it.
        is_new: bool,
        /// If there is no room.
        is_full: bool,
        /// The system's words.
        #[source]
        outage: Option<Outage>,
    },
    /// The policy does not allow writing the record.
    #[error("Vault denies writing {path}")]
    WriteDenied {
        /// Where the record is.
        path: String,
        /// The paths that a policy must allow.
        policy: Vec<String>,
        /// What it does not allow.
        #[source]
        missing: MissingRight,
    },
    /// The store did not answer the write in time, or others were always faster.
    #[error("the keys could not be written to {path} before the start deadline")]
    WriteUnavailable {
        /// Where the record would be.
        path: String,
        /// Its last answer, if there was one.
        #[source]
        outage: Option<Outage>,
    },
    /// A state that the code says can't be.
    #[error("a start ended without an identity")]
    Bug {
        /// Where.
        #[source]
        problem: Problem,
    },
}

/// What is wrong with something that was found: a parser's words, the system's or the table's. No secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(pub String);

/// The agent that a record names, and us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its `did` is {found}, ours is {ours}")]
pub struct OtherDid {
    /// As the record has it.
    pub found: String,
    /// Ours.
    pub ours: Did,
}

/// The key that Hydra's client of our DID names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Hydra names the key {text}")]
pub struct NamedKey {
    /// As it stands there.
    pub text: String,
    /// The key's fingerprint, if it is one.
    pub fingerprint: Option<Fingerprint>,
    /// If a consent must name the key: our record notes an earlier one or can't be read, or rotation statements lead to it.
    pub must_be_named: bool,
}

/// What a policy does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MissingRight {
    /// Making a record.
    #[error("there is no record, and none may be created")]
    Create,
    /// Changing it.
    #[error("the record may not be updated")]
    Update,
}

/// Whose keys record it is, and where.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) did: Did,
    pub(crate) path: String,
    pub(crate) kind: StoreKind,
    pub(crate) policy: Vec<String>,
}

/// The store's own last words.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Heard<'a> {
    /// Of a store that gave no answer.
    pub(crate) outage: Option<&'a Outage>,
    /// Of one that refused a write.
    pub(crate) refused: Option<&'a str>,
}

impl StartError {
    /// What the machine's verdict means.
    pub(crate) fn new(verdict: Verdict, seen: Option<&Observed>, heard: Heard<'_>, place: Place) -> Self {
        match (verdict, seen) {
            (Verdict::Row(row), Some(seen)) => Self::of_row(row, seen, heard.outage, place),
            (Verdict::Row(row), None) => Self::bug(row.explain()),
            (Verdict::Write { failure, was_absent, is_new }, _) => {
                let missing = if was_absent { MissingRight::Create } else { MissingRight::Update };
                Self::of_write(failure, (missing, is_new), heard, place)
            }
        }
    }

    /// A state that can't be.
    pub(crate) fn bug(problem: impl Into<String>) -> Self {
        Self::Bug { problem: Problem(problem.into()) }
    }

    /// What it means that a start ends at this row.
    pub(crate) fn of_row(row: Row, seen: &Observed, outage: Option<&Outage>, place: Place) -> Self {
        let Place { did, path, kind, policy } = place;
        let because = || Problem(row.explain().to_owned());
        let outage = outage.cloned();
        match row {
            Row::Malformed => Self::Malformed { path, kind, problem: problem_of_store(&seen.store) },
            Row::OfAnotherAgent => {
                let Problem(found) = problem_of_store(&seen.store);
                Self::OfAnotherAgent { path, dids: OtherDid { found, ours: did } }
            }
            Row::DeletedNone => match seen.store {
                Store::Deleted { version, destroyed } => Self::Deleted { path, version, destroyed },
                _ => Self::bug(row.explain()),
            },
            Row::AbsentNamed => match NamedKey::seen(seen) {
                Some(named) => Self::Named { path, kind, did, named: Box::new(named) },
                None => Self::bug(row.explain()),
            },
            Row::AbsentRefused => Self::CreationForbidden { path, kind },
            Row::AbsentBadName => {
                Self::BadName { problem: Problem(seen.name_problem.clone().unwrap_or_default()) }
            }
            Row::AbsentUnusable => Self::KeyUnusable { problem: problem_of_local(&seen.local) },
            Row::AbsentUnreadable => Self::DirectoryUnreadable { problem: problem_of_local(&seen.local) },
            Row::PresentRolledBack => match NamedKey::seen(seen) {
                Some(named) => Self::RolledBack { path, named: Box::new(named), problem: because() },
                None => Self::bug(row.explain()),
            },
            Row::Locked => Self::Locked {
                problem: match &seen.store {
                    Store::Locked(problem) => Problem(problem.clone()),
                    _ => problem_of_local(&seen.local),
                },
            },
            Row::WrongMountNone => Self::WrongMount { outage },
            Row::DeniedNone => Self::ReadDenied { path, policy },
            Row::UnreadableNone => Self::StoreUnreadable { outage },
            Row::UnavailableNone => match outage {
                Some(outage) if outage.reason == OutageReason::LoginRejected => {
                    Self::LoginRejected { outage }
                }
                outage => Self::Unavailable { outage },
            },
            Row::PresentEarlierUnknown => Self::HistoryUnavailable { path, problem: because() },
            // These lead to a key, or are looked at again until another row applies.
            Row::PresentSame
            | Row::PresentNone
            | Row::PresentOverwritten
            | Row::PresentUnproven
            | Row::PresentUnacknowledged
            | Row::PresentRotation
            | Row::PresentForeign
            | Row::PresentOlder
            | Row::PresentUnreadable
            | Row::AbsentPresent
            | Row::AbsentHydraSilent
            | Row::AbsentNamedOtherwise
            | Row::AbsentRunning
            | Row::AbsentNone
            | Row::AbsentLost
            | Row::DeletedAcknowledged
            | Row::DeletedDoubtful
            | Row::DeletedRunning
            | Row::UnavailablePresent
            | Row::UnavailableSuperseded
            | Row::UnavailableProvisional
            | Row::DeniedPresent
            | Row::RecreateKeys => Self::bug(row.explain()),
        }
    }

    /// What it means that a write failed for good.
    fn of_write(
        failure: WriteFailure,
        (missing, is_new): (MissingRight, bool),
        heard: Heard<'_>,
        Place { path, kind, policy, .. }: Place,
    ) -> Self {
        let outage = heard.outage.cloned();
        match (failure, kind) {
            (WriteFailure::Refused, _) => {
                Self::WriteRefused { path, problem: Problem(heard.refused.unwrap_or_default().to_owned()) }
            }
            (WriteFailure::Denied, StoreKind::File) => Self::DirectoryNotWritable { path },
            (WriteFailure::Denied, StoreKind::Vault) => Self::WriteDenied { path, policy, missing },
            (WriteFailure::Unavailable { .. }, StoreKind::File) => {
                // The system's words are all that a store hands on.
                let is_full = outage.as_ref().is_some_and(|outage| outage.detail.contains("No space"));
                Self::NotKept { path, is_new, is_full, outage }
            }
            (WriteFailure::Unavailable { reason: OutageReason::WrongMount, .. }, StoreKind::Vault) => {
                Self::WrongMount { outage }
            }
            (WriteFailure::Unavailable { .. }, StoreKind::Vault) | (WriteFailure::Conflict, _) => {
                Self::WriteUnavailable { path, outage }
            }
        }
    }
}

impl NamedKey {
    /// The key that Hydra was seen to name.
    pub(crate) fn seen(seen: &Observed) -> Option<Self> {
        let HydraNames::Key { text, .. } = &seen.hydra else { return None };
        Some(Self {
            text: text.clone(),
            fingerprint: text.parse().ok().map(|key: PublicKey| key.fingerprint()),
            must_be_named: seen.taken_over != TakenOver::Nothing
                || matches!(&seen.store, Store::Present(stored) if crate::plan::keys::is_led_to(seen, stored)),
        })
    }
}

fn not_kept(path: &str, is_new: bool) -> String {
    match is_new {
        true => format!("the key can't be kept in {path}, so none was made"),
        false => format!("the key can't be written to {path}; the old one is still there"),
    }
}

fn problem_of_store(store: &Store) -> Problem {
    match store {
        Store::Malformed(problem) | Store::OfAnotherAgent(problem) | Store::Locked(problem) => {
            Problem(problem.clone())
        }
        Store::Present(_) | Store::Absent | Store::Deleted { .. } | Store::Denied | Store::Unavailable(_) => {
            Problem(String::new())
        }
    }
}

fn problem_of_local(local: &Local) -> Problem {
    match local {
        Local::Unusable(problem) | Local::Unreadable(problem) | Local::Locked(problem) => {
            Problem(problem.clone())
        }
        Local::Present { .. } | Local::None => Problem(String::new()),
    }
}

#[cfg(test)]
#[path = "start_error_tests.rs"]
mod tests;
