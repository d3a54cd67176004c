//! A start that ended without an identity: its exit code, and how to fix it.

use super::{Hint, KEEP};
use crate::{ExitClass, Refusal};
use bindu_keeper::{StartError, StoreKind};
use bindu_store::{Outage, OutageReason};
use std::error::Error as _;

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        let refusal = Self::new(class(&error), error.to_string(), start(&error));
        match error.source() {
            // Its reason is for metrics; its detail says the same to people.
            Some(source) => match source.downcast_ref::<Outage>() {
                Some(outage) => refusal.because(&outage.detail),
                None => refusal.because_of(source),
            },
            None => refusal,
        }
    }
}

/// The exit code's meaning.
#[must_use]
pub fn class(error: &StartError) -> ExitClass {
    match error {
        StartError::Malformed { .. }
        | StartError::OfAnotherAgent { .. }
        | StartError::Deleted { .. }
        | StartError::Named { .. }
        | StartError::CreationForbidden { .. }
        | StartError::KeyUnusable { .. }
        | StartError::RolledBack { .. }
        | StartError::WrongMount { .. }
        | StartError::WriteRefused { .. } => ExitClass::Failed,
        StartError::BadName { .. }
        | StartError::DirectoryUnreadable { .. }
        | StartError::Locked { .. }
        | StartError::StoreUnreadable { .. }
        | StartError::DirectoryNotWritable { .. }
        | StartError::NotKept { .. } => ExitClass::Usage,
        StartError::ReadDenied { .. } | StartError::LoginRejected { .. } | StartError::WriteDenied { .. } => {
            ExitClass::Denied
        }
        StartError::Unavailable { .. }
        | StartError::HistoryUnavailable { .. }
        | StartError::WriteUnavailable { .. } => ExitClass::Unavailable,
        StartError::Bug { .. } => ExitClass::Bug,
    }
}

/// How to fix it.
#[must_use]
pub fn start(error: &StartError) -> Hint {
    match error {
        StartError::Malformed { path, kind: StoreKind::File, .. } => restore(path),
        StartError::Malformed { path, kind: StoreKind::Vault, .. } => good_version(path),
        StartError::OfAnotherAgent { .. } => Hint::new("give this agent its own id with")
            .setting("BINDU_AGENT_ID=UUID")
            .words("or its author and name as they were with")
            .setting("BINDU_AUTHOR=AUTHOR")
            .setting("BINDU_NAME=NAME"),
        StartError::Deleted { path, version, destroyed } => Hint::default()
            .undelete("bring it back with", (path, *version, *destroyed))
            .words("where a pod still holds the key, it goes back with")
            .command(KEEP)
            .words("or give the identity up with")
            .command(format!("vault kv metadata delete {path}"))
            .words("and a start with")
            .take_over(),
        StartError::Named { kind, named, .. } => look_elsewhere(*kind)
            .words("or, if the old key is lost, consent to a new one with")
            .consent(named),
        StartError::CreationForbidden { kind, .. } => {
            look_elsewhere(*kind).words("or, for a first start, set").setting("BINDU_ON_ABSENT=create")
        }
        StartError::BadName { .. } => {
            Hint::new("choose an author and a name without : / ? # % and control characters")
                .setting("BINDU_AUTHOR=AUTHOR")
                .setting("BINDU_NAME=NAME")
        }
        StartError::KeyUnusable { .. } => restore("private.pem"),
        StartError::DirectoryUnreadable { .. } => {
            Hint::new("let this user read it, or choose another with").data_dir()
        }
        StartError::RolledBack { path, named, .. } => {
            rolled_back(path).words("or consent to the store's key with").consent(named)
        }
        StartError::Locked { .. } => {
            Hint::new("name a file that holds its password with").setting("BINDU_KEY_PASSWORD_FILE=FILE")
        }
        StartError::WrongMount { .. } => Hint::new("check")
            .setting("VAULT__MOUNT")
            .setting("VAULT_NAMESPACE")
            .words("or make the mount with")
            .command("vault secrets enable -path=MOUNT -version=2 kv"),
        StartError::ReadDenied { policy, .. } | StartError::WriteDenied { policy, .. } => needed(policy),
        StartError::StoreUnreadable { .. } => {
            Hint::new("let this user read it (plain files, no symbolic links), or choose another with")
                .data_dir()
        }
        StartError::LoginRejected { .. } => Hint::new("give a token that is alive with")
            .setting("VAULT__TOKEN=TOKEN")
            .setting("VAULT_TOKEN=TOKEN")
            .words("what a token is worth is told by")
            .command("vault token lookup")
            .words("why a login is refused: docs/VAULT.md, \"Logging in\""),
        StartError::Unavailable { outage: Some(outage) }
        | StartError::WriteUnavailable { outage: Some(outage), .. }
            if outage.reason == OutageReason::Untrusted =>
        {
            Hint::new("name the authority that has signed Vault's certificate with")
                .setting("VAULT_CACERT=FILE")
                .words("or, if the certificate is for another name, that name with")
                .setting("VAULT_TLS_SERVER_NAME=NAME")
        }
        StartError::Unavailable { .. }
        | StartError::HistoryUnavailable { .. }
        | StartError::WriteUnavailable { .. } => Hint::new("see that Vault answers at the address of")
            .address()
            .words("or give it longer with")
            .deadline(),
        StartError::WriteRefused { .. } => Hint::new(
            "nothing was changed; see the store's own words above, and what this agent may do there with",
        )
        .command("bindu vault check"),
        StartError::DirectoryNotWritable { .. } => {
            Hint::new("make it writable for this user, or choose another with").data_dir()
        }
        StartError::NotKept { is_full: true, .. } => {
            Hint::new("make room on this disk, or choose another directory with").data_dir()
        }
        StartError::NotKept { is_full: false, .. } => {
            Hint::new("make the data directory writable, or choose another with").data_dir()
        }
        StartError::Bug { .. } => Hint::new("this is a bug: please report it, with the log of a start with")
            .setting("RUST_LOG=debug"),
    }
}

/// Files that hold no key.
pub(super) fn restore(path: &str) -> Hint {
    Hint::new(format!("restore {path} from a backup, or start as a new identity with")).data_dir()
}

/// A store's record that holds no key of ours: to one of its earlier versions.
pub(super) fn good_version(path: &str) -> Hint {
    Hint::new("look at its history with")
        .command(format!("vault kv metadata get {path}"))
        .words("and bring a good version back with")
        .command(format!("vault kv rollback -version=N {path}"))
}

pub(super) fn rolled_back(path: &str) -> Hint {
    Hint::new("bring the right version back with")
        .command(format!("vault kv rollback -version=N {path}"))
        .words("or, where the right key is held, write it back with")
        .command(KEEP)
}

pub(super) fn needed(policy: &[String]) -> Hint {
    Hint::new("the token's policy needs")
        .policy(policy)
        .words("all of it is printed by")
        .command("bindu vault policy")
}

/// A key that may be at another place.
fn look_elsewhere(kind: StoreKind) -> Hint {
    match kind {
        StoreKind::Vault => Hint::new("check namespace, mount and prefix of Vault").place(),
        StoreKind::File => Hint::new("check the data directory").data_dir(),
    }
}
