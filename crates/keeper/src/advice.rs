//! What to tell a person about a row of the table: the refusal with its exit code, or the hint that mends a degraded agent.

use crate::{
    ExitClass, Keeper, Refusal,
    apply::is_local,
    observe::KeyObservation,
    plan::{
        TakenOver,
        keys::{HydraNames, Local, Observed, Plan, Row, Step, Store},
    },
};
use bindu_identity::PublicKey;
use bindu_store::{OutageReason, RecordName};

impl Keeper {
    /// The command that mends what a plan leaves degraded, where a person must decide.
    #[must_use]
    pub fn hint(&self, plan: &Plan, seen: &Observed) -> Option<String> {
        let path = self.store.locate(&self.keys_record());
        match (plan.row, plan.step, &seen.local) {
            (Row::PresentOlder, _, Local::Present { .. }) => Some(format!(
                "the store was restored from a backup: docs/VAULT_INTEGRATION.md, \"Backups of different days\", puts our \
                 key back to {path}; a start without the data directory takes the store's"
            )),
            (Row::PresentForeign, _, Local::Present { acknowledged: Some(version), .. }) => Some(format!(
                "`vault kv rollback -version={version} {path}` keeps our key; a start without the data directory takes the store's"
            )),
            (Row::PresentOverwritten, Step::UseEarlier { version }, _) => Some(format!(
                "`vault kv rollback -version={version} {path}` keeps the key that Hydra names; a start with --take-over takes the store's"
            )),
            (Row::DeletedRunning, ..) => Some(format!(
                "`vault kv undelete -versions=N {path}` brings it back; so does a restart on this disk"
            )),
            (Row::Malformed | Row::OfAnotherAgent, ..) if seen.running => Some(format!(
                "look at its history (`vault kv metadata get {path}`), then `vault kv rollback -version=N {path}`"
            )),
            _ => None,
        }
    }

    /// What to tell about a row that refuses, or that waited too long.
    #[must_use]
    pub fn refusal(&self, row: Row, observation: &KeyObservation) -> Refusal {
        let path = self.store.locate(&self.keys_record());
        let seen = &observation.seen;
        let failed = |message: String, hint: String| Refusal::new(ExitClass::Failed, message, hint);
        let outage = observation.outage.as_ref();
        match row {
            Row::Malformed => {
                let problem = match &seen.store {
                    Store::Malformed(problem) => problem.as_str(),
                    _ => "",
                };
                let hint = if is_local(self.store_kind) {
                    format!("restore {path} from a backup, or move the data directory away to start as a new identity")
                } else {
                    format!("look at its history (vault kv metadata get {path}) and bring back a good version: vault kv rollback -version=N {path}")
                };
                failed(format!("{path} holds no usable key pair; nothing was changed"), hint).because(problem)
            }
            Row::OfAnotherAgent => {
                let other = match &seen.store {
                    Store::OfAnotherAgent(did) => did.as_str(),
                    _ => "",
                };
                failed(
                    format!("{path} is the record of another agent; nothing was changed"),
                    "give this agent its own id (BINDU_AGENT_ID), or its author and name as they were".to_owned(),
                )
                .because(format!("its `did` is {other}, ours is {}", self.agent.did))
            }
            Row::DeletedNone => failed(
                format!("the keys record {path} was deleted, and there is no key here that it held; nothing was changed"),
                format!("bring it back with `vault kv undelete -versions=N {path}`, or give the identity up with `vault kv metadata delete {path}` and a start with --take-over"),
            ),
            Row::AbsentNamed => {
                let named = match &seen.hydra {
                    HydraNames::Key { key, .. } => key.as_str(),
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
            Row::AbsentUnusable => {
                let problem = match &seen.local {
                    Local::Unusable(problem) => problem.as_str(),
                    _ => "",
                };
                failed(
                    "the data directory remembers a key that can't be read, and the store has none; nothing was changed".to_owned(),
                    "restore private.pem from a backup, or move the data directory away to start as a new identity".to_owned(),
                )
                .because(problem)
            }
            Row::PresentRolledBack => failed(
                format!("{path} and Hydra name different keys; nothing was changed"),
                format!("see the history with `vault kv metadata get {path}`; bring the right version back with `vault kv rollback -version=N {path}`, or consent to the store's key with {}", match &seen.hydra { HydraNames::Key { key, .. } => consent_to(key, seen), _ => "--take-over".to_owned() }),
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
            Row::WrongMountNone => self.wrong_mount(outage.map_or("", |outage| outage.detail.as_str())),
            Row::DeniedNone => Refusal::new(
                ExitClass::Denied,
                format!("Vault denies reading {path}, and there is no key on disk"),
                self.policy_hint(),
            ),
            Row::UnavailableNone if outage.is_some_and(|outage| outage.reason == OutageReason::LoginRejected) => {
                Refusal::new(
                    ExitClass::Denied,
                    "Vault does not accept the token or the login, and there is no key on disk",
                    "give a token that is alive (VAULT__TOKEN or VAULT_TOKEN; see `vault token lookup`), or see why the \
                     login is refused: docs/VAULT.md, \"Logging in\"",
                )
                .because(outage.map_or("", |outage| outage.detail.as_str()))
            }
            Row::UnreadableNone => Refusal::new(
                ExitClass::Usage,
                "the data directory can't be read",
                "let this user read it (plain files, no symbolic links), or choose another with --data-dir or BINDU_DATA_DIR",
            )
            .because(outage.map_or("", |outage| outage.detail.as_str())),
            _ => Refusal::new(
                ExitClass::Unavailable,
                "the store gave no believable answer before the start deadline, and there is no key on disk",
                "see that Vault answers (VAULT__URL or VAULT_ADDR), or give it longer with BINDU_START_DEADLINE",
            )
            .because(outage.map_or("", |outage| outage.detail.as_str())),
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
