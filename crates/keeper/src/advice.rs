//! What to tell a person about a row of the table: the refusal with its exit code, or the hint that mends a degraded agent.

use crate::{
    ExitClass, Keeper, Refusal, StoreKind,
    machine::{Verdict, WriteFailure},
    plan::{
        TakenOver,
        keys::{HydraNames, Local, Observed, Plan, Row, Step, Store},
    },
};
use bindu_identity::PublicKey;
use bindu_store::{Outage, OutageReason, RecordName};

impl Keeper {
    /// The command that mends what a plan leaves degraded, if a person must decide.
    #[must_use]
    pub fn hint(&self, plan: &Plan, seen: &Observed) -> Option<String> {
        let path = self.store.locate(&self.keys_record());
        let undelete = format!("vault kv undelete -versions=N {path}");
        match (plan.row, plan.step) {
            (Row::PresentOlder, _) => Some(
                "the store was restored from a backup. Our key goes back with\n  bindu identity keep --apply\nthe store's counts \
                 after a start without the data directory"
                    .to_owned(),
            ),
            (Row::PresentForeign, _) => {
                let Local::Present { acknowledged: Some(known), .. } = &seen.local else { return None };
                Some(format!(
                    "our key goes back with\n  bindu identity keep --apply\nor by the store's history with\n  vault kv rollback \
                     -version={} {path}\nthe store's counts after a start without the data directory",
                    known.version
                ))
            }
            (Row::PresentOverwritten, Step::UseEarlier { version }) => Some(format!(
                "the right key goes back with\n  vault kv rollback -version={version} {path}\nthe store's counts after a start with\n  \
                 --take-over"
            )),
            (Row::PresentRolledBack, _) => Some(format!(
                "the right version goes back with\n  vault kv rollback -version=N {path}\nor, where the right key is held, with\n  \
                 bindu identity keep --apply"
            )),
            (Row::PresentUnproven, _) => {
                let HydraNames::Key { text, .. } = &seen.hydra else { return None };
                Some(format!(
                    "neither key is proven. Look at the history with\n  bindu identity history\nconsent to the store's key with\n  {}",
                    consent_to(text, seen)
                ))
            }
            (Row::AbsentNamedOtherwise, _) => Some(
                "Hydra names another key than this directory holds. Consent to this one with\n  bindu identity keep --apply"
                    .to_owned(),
            ),
            (Row::DeletedRunning, _) => {
                Some(format!("the record comes back with\n  {undelete}\nor with a restart on this disk"))
            }
            (Row::DeletedDoubtful, _) => Some(format!(
                "the record comes back with\n  {undelete}\nour key is written again with\n  bindu identity keep --apply"
            )),
            (Row::Malformed | Row::OfAnotherAgent, _) if seen.running => Some(format!(
                "look at its history with\n  vault kv metadata get {path}\nand bring a good version back with\n  vault kv rollback \
                 -version=N {path}"
            )),
            _ => None,
        }
    }

    /// What to tell about a start that ends without an identity.
    #[must_use]
    pub fn refusal(
        &self,
        verdict: Verdict,
        seen: Option<&Observed>,
        outage: Option<&Outage>,
        refused: Option<&str>,
    ) -> Refusal {
        let detail = outage.map_or("", |outage| outage.detail.as_str());
        match (verdict, seen) {
            (Verdict::Row(row), Some(seen)) => self.row_refusal(row, seen, outage),
            (Verdict::Row(row), None) => Refusal::new(ExitClass::Failed, row.explain(), ""),
            (Verdict::Write { failure, was_absent, is_new }, _) => {
                self.write_refusal(failure, was_absent, is_new, detail, refused)
            }
        }
    }

    /// What to tell about a row that refuses, or that waited too long.
    #[must_use]
    pub fn row_refusal(&self, row: Row, seen: &Observed, outage: Option<&Outage>) -> Refusal {
        let path = self.store.locate(&self.keys_record());
        let detail = outage.map_or("", |outage| outage.detail.as_str());
        let failed = |message: String, hint: String| Refusal::new(ExitClass::Failed, message, hint);
        match row {
            Row::Malformed => failed(
                format!("{path} holds no usable key pair; nothing was changed"),
                if is_local(self.store_kind) {
                    format!("restore {path} from a backup, or move the data directory away to start as a new identity")
                } else {
                    format!("look at its history (vault kv metadata get {path}) and bring back a good version: vault kv rollback -version=N {path}")
                },
            )
            .because(problem_of_store(&seen.store)),
            Row::OfAnotherAgent => failed(
                format!("{path} is the record of another agent; nothing was changed"),
                "give this agent its own id (BINDU_AGENT_ID), or its author and name as they were".to_owned(),
            )
            .because(format!("its `did` is {}, ours is {}", problem_of_store(&seen.store), self.agent.did)),
            Row::DeletedNone => failed(
                format!("the keys record {path} was deleted, and there is no key here that it held; nothing was changed"),
                format!("bring it back with\n  vault kv undelete -versions=N {path}\nor, where a pod still holds the key, with\n  bindu identity keep --apply\nor give the identity up with\n  vault kv metadata delete {path}\nand a start with --take-over"),
            ),
            Row::AbsentNamed => {
                let named = match &seen.hydra {
                    HydraNames::Key { text, .. } => text.as_str(),
                    _ => "",
                };
                failed(
                    format!("there is no key at {path}, but Hydra's client of {} names one, so it exists somewhere; nothing was changed", self.agent.did),
                    format!("check the namespace, mount and prefix of Vault; if the old key is lost, consent to a new one with {}", consent_to(named, seen)),
                )
                .because(format!("Hydra names the key {named}"))
            }
            Row::AbsentRefused => failed(
                format!("there is no key at {path}, and `on_absent` is `refuse`"),
                "check the namespace, mount and prefix of Vault; for a first start set BINDU_ON_ABSENT=create".to_owned(),
            ),
            Row::AbsentBadName => Refusal::new(
                ExitClass::Usage,
                "no new identity can be made under this name",
                "choose an author and a name without : / ? # % and control characters (BINDU_AUTHOR, BINDU_NAME)",
            )
            .because(seen.name_problem.as_deref().unwrap_or_default()),
            Row::AbsentUnusable => failed(
                "the data directory remembers a key that can't be read, and the store has none; nothing was changed".to_owned(),
                "restore private.pem from a backup, or move the data directory away to start as a new identity".to_owned(),
            )
            .because(problem_of_local(&seen.local)),
            Row::AbsentUnreadable => Refusal::new(
                ExitClass::Usage,
                "the data directory can't be read, so a key may be there, and the store has none; nothing was changed",
                "let this user read it, or choose another with --data-dir or BINDU_DATA_DIR",
            )
            .because(problem_of_local(&seen.local)),
            Row::PresentRolledBack => failed(
                format!("{path} and Hydra name different keys, and rotation statements lead from the store's to Hydra's; nothing was changed"),
                format!("bring the right version back with\n  vault kv rollback -version=N {path}\nor, where the right key is held, with\n  bindu identity keep --apply\nor consent to the store's key with\n  {}", match &seen.hydra {
                    HydraNames::Key { text, .. } => consent_to(text, seen),
                    _ => "--take-over".to_owned(),
                }),
            )
            .because(row.explain()),
            Row::Locked => {
                let problem = match (&seen.store, &seen.local) {
                    (Store::Locked(problem), _) | (_, Local::Locked(problem)) => problem.as_str(),
                    _ => "",
                };
                Refusal::new(
                    ExitClass::Usage,
                    "the private key can't be opened; nothing was changed",
                    "set BINDU_KEY_PASSWORD_FILE to a file that holds its password",
                )
                .because(problem)
            }
            Row::WrongMountNone => self.wrong_mount(detail),
            Row::DeniedNone => Refusal::new(
                ExitClass::Denied,
                format!("Vault denies reading {path}, and there is no key on disk"),
                self.policy_hint(),
            ),
            Row::UnreadableNone => Refusal::new(
                ExitClass::Usage,
                "the data directory can't be read",
                "let this user read it (plain files, no symbolic links), or choose another with --data-dir or BINDU_DATA_DIR",
            )
            .because(detail),
            _ if outage.is_some_and(|outage| outage.reason == OutageReason::LoginRejected) => Refusal::new(
                ExitClass::Denied,
                "Vault does not accept the token or the login, and there is no key on disk",
                "give a token that is alive (VAULT__TOKEN or VAULT_TOKEN; see `vault token lookup`), or see why the \
                 login is refused: docs/VAULT.md, \"Logging in\"",
            )
            .because(detail),
            _ => Refusal::new(
                ExitClass::Unavailable,
                "the store gave no believable answer before the start deadline, and there is no key on disk",
                "see that Vault answers (VAULT__URL or VAULT_ADDR), or give it longer with BINDU_START_DEADLINE",
            )
            .because(detail),
        }
    }

    /// What to tell about a write that failed.
    fn write_refusal(
        &self,
        failure: WriteFailure,
        was_absent: bool,
        is_new: bool,
        detail: &str,
        refused: Option<&str>,
    ) -> Refusal {
        let path = self.store.locate(&self.keys_record());
        let directory =
            "make the data directory writable, or choose another with --data-dir or BINDU_DATA_DIR";
        match failure {
            WriteFailure::Refused => Refusal::new(
                ExitClass::Failed,
                format!("the store refused the keys record at {path}"),
                "nothing was changed; see the store's own words above",
            )
            .because(refused.unwrap_or_default()),
            WriteFailure::Denied if is_local(self.store_kind) => Refusal::new(
                ExitClass::Usage,
                format!("the data directory can't be written: {path}"),
                "make it writable for this user, or choose another with --data-dir or BINDU_DATA_DIR",
            ),
            WriteFailure::Unavailable { .. } if is_local(self.store_kind) => Refusal::new(
                ExitClass::Usage,
                match is_new {
                    true => format!("the key can't be kept in {path}, so none was made"),
                    false => format!("the key can't be written to {path}; the old one is still there"),
                },
                if detail.contains("No space") {
                    "make room on this disk, or choose another directory with --data-dir or BINDU_DATA_DIR"
                } else {
                    directory
                },
            )
            .because(detail),
            WriteFailure::Unavailable { reason: OutageReason::WrongMount, .. } => self.wrong_mount(detail),
            WriteFailure::Denied => {
                Refusal::new(ExitClass::Denied, format!("Vault denies writing {path}"), self.policy_hint())
                    .because(if was_absent {
                        "there is no record, and none may be created"
                    } else {
                        "the record may not be updated"
                    })
            }
            WriteFailure::Unavailable { .. } | WriteFailure::Conflict => Refusal::new(
                ExitClass::Unavailable,
                format!("the keys could not be written to {path} before the start deadline"),
                "see that Vault answers, or give it longer with BINDU_START_DEADLINE",
            )
            .because(detail),
        }
    }

    pub(crate) fn wrong_mount(&self, detail: &str) -> Refusal {
        Refusal::new(
            ExitClass::Failed,
            "the store's mount is not there, or is not KV version 2; nothing was changed",
            "check VAULT__MOUNT and VAULT_NAMESPACE, or make the mount: vault secrets enable -path=MOUNT -version=2 kv",
        )
        .because(detail)
    }

    pub(crate) fn policy_hint(&self) -> String {
        let rule = |name: &RecordName| {
            // Quoted as HCL quotes: a name with a quote in it must not end its path.
            format!(
                "path {:?} {{ capabilities = [\"create\", \"read\", \"update\"] }}",
                self.store.policy_path(name)
            )
        };
        let keys = rule(&self.keys_record());
        let credentials = rule(&self.credentials_record());
        format!("the token's policy needs\n  {keys}\n  {credentials}")
    }
}

/// The flag that consents: by the key's fingerprint, where the record has consented to another one before.
fn consent_to(named: &str, seen: &Observed) -> String {
    match (&seen.taken_over, named.parse::<PublicKey>()) {
        (TakenOver::Nothing, _) | (_, Err(_)) => "--take-over".to_owned(),
        (_, Ok(key)) => format!("--take-over={}", key.fingerprint()),
    }
}

/// If the store is the directory itself.
fn is_local(kind: StoreKind) -> bool {
    kind == StoreKind::File
}

fn problem_of_store(store: &Store) -> &str {
    match store {
        Store::Malformed(problem) | Store::OfAnotherAgent(problem) | Store::Locked(problem) => problem,
        _ => "",
    }
}

fn problem_of_local(local: &Local) -> &str {
    match local {
        Local::Unusable(problem) | Local::Unreadable(problem) | Local::Locked(problem) => problem,
        _ => "",
    }
}
