//! Observing: the store, the data directory and Hydra, all at the same time, turned into what the tables know.
//!
//! Reads only. What was read travels beside what was observed of it, so that applying a plan asks for nothing twice.

use crate::{
    Identity, Keeper,
    plan::{TakenOver, client, keys},
};
use bindu_hydra::{HydraError, OAuthClient};
use bindu_identity::{Did, Fingerprint, PublicKey, SigningKey, pem};
use bindu_store::{
    Answer, CredentialRecord, DirectoryErrorKind, Fields, KeyRecord, Outage, RecordName, Version,
};
use secrecy::SecretString;
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::time::timeout;

/// What was observed of the keys, and the keys themselves.
#[derive(Debug)]
pub struct KeyObservation {
    /// What the table decides by.
    pub seen: keys::Observed,
    pub(crate) store_key: Option<FoundKey>,
    pub(crate) local_key: Option<FoundKey>,
    /// The key of the earlier version that `seen.earlier` names.
    pub(crate) earlier_key: Option<FoundKey>,
    /// What an unavailable store said.
    pub outage: Option<Outage>,
}

/// A key and what lay beside it.
#[derive(Debug, Clone)]
pub(crate) struct FoundKey {
    pub(crate) signing_key: Arc<SigningKey>,
    /// As it was found, encrypted or not.
    pub(crate) private_pem: SecretString,
    pub(crate) created_at: Option<String>,
    pub(crate) version: Option<Version>,
    pub(crate) replaces: Vec<Fingerprint>,
    /// When this version was written, by the store's clock.
    pub(crate) written_at: Option<String>,
    /// Made while the store could not be asked.
    pub(crate) provisional: bool,
    /// `public.pem` is missing or holds something else.
    pub(crate) public_is_lost: bool,
}

impl FoundKey {
    /// The key of a running agent.
    pub(crate) fn held(identity: &Identity) -> Self {
        Self {
            signing_key: Arc::clone(&identity.signing_key),
            private_pem: identity.private_pem.clone(),
            created_at: Some(identity.created_at.clone()),
            version: identity.version,
            replaces: identity.replaces.clone(),
            written_at: None,
            provisional: identity.provisional,
            public_is_lost: false,
        }
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        self.signing_key.public_key()
    }
}

/// What was observed of the OAuth client, and the credentials themselves.
#[derive(Debug)]
pub struct ClientObservation {
    /// The credentials record: its version and content.
    pub(crate) store: client::Store,
    pub(crate) record: Option<CredentialRecord>,
    /// The record as it was read, with fields that we don't know.
    pub(crate) fields: Option<Fields>,
    pub(crate) local: Option<CredentialRecord>,
    /// `None`: not asked, or not answered in time.
    pub(crate) hydra: Option<ClientAnswer>,
    /// The key that Hydra named when the record's earlier versions were read, and what they say about it.
    pub(crate) earlier: (Option<String>, keys::Earlier),
    /// The question that was not answered in time: its answer is still worth having.
    pub(crate) asked: Option<AbortOnDrop<ClientAnswer>>,
}

/// Hydra's answer about our client.
pub(crate) type ClientAnswer = Result<Option<OAuthClient>, HydraError>;

/// How long an observation may wait for whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) store: Duration,
    /// Beyond the store's answer.
    pub(crate) hydra: Duration,
}

impl Keeper {
    /// Looks at the data directory: fast, and no network.
    pub(crate) fn observe_local(&self) -> (keys::Local, Option<FoundKey>) {
        let Some(directory) = &self.directory else { return (keys::Local::None, None) };
        let (pair, identity) = match (directory.pair(), directory.identity()) {
            (Ok(pair), Ok(identity)) => (pair, identity),
            // Claimed since the start looked at it.
            (Err(error), _) | (_, Err(error)) if error.kind == DirectoryErrorKind::OfAnotherAgent => {
                self.status.directory_is_unusable(crate::Reason::DirectoryOfAnotherAgent);
                return (keys::Local::None, None);
            }
            (Err(error), _) | (_, Err(error)) => {
                return (keys::Local::Unusable(format!("{error}: {}", error.source)), None);
            }
        };
        let Some(private_pem) = pair.private_key else {
            let remembered = identity.as_ref().and_then(|identity| identity.public_key.clone());
            return match (remembered, pair.public_key) {
                (None, None) => (keys::Local::None, None),
                _ => (keys::Local::Unusable("private.pem is missing or empty".to_owned()), None),
            };
        };
        let signing_key = match pem::decode_private_key(&private_pem, self.key_password.as_ref()) {
            Ok(key) => Arc::new(key),
            Err(error @ (pem::PemError::Encrypted | pem::PemError::WrongPassword)) => {
                return (keys::Local::Locked(format!("private.pem: {error}")), None);
            }
            Err(error) => return (keys::Local::Unusable(format!("private.pem: {error}")), None),
        };
        let key = signing_key.public_key();
        let identity =
            identity.filter(|identity| identity.public_key.as_deref() == Some(key.to_string().as_str()));
        let acknowledged = identity
            .as_ref()
            .and_then(|identity| identity.acknowledged.as_ref())
            .filter(|acknowledged| acknowledged.store == self.store_kind.label())
            .map(|acknowledged| acknowledged.version);
        let found = FoundKey {
            signing_key,
            private_pem,
            provisional: identity.as_ref().is_some_and(|identity| identity.provisional),
            created_at: identity.and_then(|identity| identity.created_at),
            version: acknowledged,
            replaces: Vec::new(),
            written_at: None,
            public_is_lost: pair.public_key.and_then(|text| pem::decode_public_key(&text).ok()) != Some(key),
        };
        (keys::Local::Present { key, acknowledged }, Some(found))
    }

    /// Asks the store and Hydra at the same time. `local` is what the directory (or the running agent) holds.
    pub(crate) async fn observe(
        &self,
        local: (keys::Local, Option<FoundKey>),
        patience: Patience,
        running: bool,
    ) -> (KeyObservation, ClientObservation) {
        let did = &self.agent.did;
        // Hydra's answer has a task of its own: where nobody may wait for it, it's taken only if it is there.
        let hydra = self.hydra.as_ref().filter(|_| did.is_addressable()).map(|(hydra, _)| {
            let (hydra, did) = (hydra.clone(), did.clone());
            AbortOnDrop(tokio::spawn(async move { hydra.client(&did).await }))
        });
        let keys_name = self.keys_record();
        let credentials_name = RecordName::Credentials(did.clone());
        let keys =
            async { timeout(patience.store, self.store.read(&keys_name)).await.unwrap_or_else(|_| hung()) };
        let credentials = async {
            match &self.hydra {
                None => None,
                Some(_) => Some(
                    timeout(patience.store, self.store.read(&credentials_name))
                        .await
                        .unwrap_or_else(|_| hung()),
                ),
            }
        };
        let (keys, credentials) = tokio::join!(keys, credentials);
        let (hydra, asked) = match hydra {
            None => (None, None),
            Some(mut task) => match timeout(patience.hydra, &mut task.0).await {
                Ok(answer) => (answer.ok(), None),
                Err(_) => (None, Some(task)),
            },
        };
        self.note_answers(&keys, hydra.as_ref());

        let outage = match &keys {
            Answer::Unavailable(outage) => Some(outage.clone()),
            _ => None,
        };
        let (mut store, mut store_key) = self.keys_in(keys);
        let (local, local_key) = local;
        let names = self.hydra_names(hydra.as_ref());
        let (earlier, earlier_key) = self.look_back(&mut store, store_key.as_mut(), &local, &names).await;
        let named = match &names {
            keys::HydraNames::Key { key, .. } => Some(key.clone()),
            _ => None,
        };
        let (client_store, record, fields) = credentials_in(credentials, did);
        let seen = keys::Observed {
            store,
            local,
            hydra: names,
            running,
            seen_for: Duration::ZERO,
            earlier,
            lost: false,
            taken_over: match &client_store {
                client::Store::Present { taken_over, .. } => {
                    taken_over.clone().map_or(TakenOver::Nothing, TakenOver::Key)
                }
                client::Store::Absent => TakenOver::Nothing,
                _ => TakenOver::Unknown,
            },
            age: store_key.as_ref().and_then(|key| self.age(key)),
            provisional: local_key.as_ref().is_some_and(|key| key.provisional),
            name_problem: self.agent.name.problem().map(|problem| problem.to_string()),
        };
        let local = self.local_credentials();
        let earlier = (named, earlier);
        let client = ClientObservation { store: client_store, record, fields, local, hydra, earlier, asked };
        (KeyObservation { seen, store_key, local_key, earlier_key, outage }, client)
    }

    /// The local copy of the credentials; with a `FileStore` that is the store itself.
    fn local_credentials(&self) -> Option<CredentialRecord> {
        if self.store_kind == crate::StoreKind::File {
            return None;
        }
        let fields = self.directory.as_ref()?.credentials(&self.agent.did).ok()??;
        let record = CredentialRecord::from_fields(&fields).ok()?;
        (record.client_id == self.agent.did.as_str()).then_some(record)
    }

    fn keys_in(&self, answer: Answer) -> (keys::Store, Option<FoundKey>) {
        let record = match answer {
            Answer::Absent => return (keys::Store::Absent, None),
            Answer::Deleted { version, destroyed } => {
                return (keys::Store::Deleted { version, destroyed }, None);
            }
            Answer::Denied => return (keys::Store::Denied, None),
            Answer::Unavailable(outage) => return (keys::Store::Unavailable(outage.reason), None),
            Answer::Malformed(malformed) => return (keys::Store::Malformed(malformed.to_string()), None),
            Answer::Present(record) => record,
        };
        let version = record.version;
        match self.key_in(&record.fields) {
            Ok(mut found) => {
                found.version = Some(version);
                found.written_at = record.written_at;
                let key = found.public_key();
                (keys::Store::Present { key, version, replaces: found.replaces.clone() }, Some(found))
            }
            Err(answer) => (*answer, None),
        }
    }

    /// The key pair in a record, or why there is none.
    pub(crate) fn key_in(&self, fields: &Fields) -> Result<FoundKey, Box<keys::Store>> {
        let malformed = |field: &str, problem: &dyn std::fmt::Display| {
            Box::new(keys::Store::Malformed(format!("field `{field}`: {problem}")))
        };
        let record =
            KeyRecord::from_fields(fields).map_err(|error| malformed(error.field, &error.problem))?;
        if let Some(did) = record.did.filter(|did| did != self.agent.did.as_str()) {
            return Err(Box::new(keys::Store::OfAnotherAgent(did)));
        }
        let signing_key =
            pem::decode_private_key(&record.private_key, self.key_password.as_ref()).map_err(|error| {
                match error {
                    pem::PemError::Encrypted | pem::PemError::WrongPassword => {
                        Box::new(keys::Store::Locked(error.to_string()))
                    }
                    other => malformed("private_key", &other),
                }
            })?;
        let public_pem =
            record.public_key.ok_or_else(|| malformed("public_key", &"it is missing or empty"))?;
        let public_key =
            pem::decode_public_key(&public_pem).map_err(|error| malformed("public_key", &error))?;
        if public_key != signing_key.public_key() {
            return Err(malformed("public_key", &"it does not belong to `private_key`"));
        }
        Ok(FoundKey {
            signing_key: Arc::new(signing_key),
            private_pem: record.private_key,
            created_at: record.created_at,
            version: None,
            replaces: record.replaces,
            written_at: None,
            provisional: false,
            public_is_lost: false,
        })
    }

    fn hydra_names(&self, hydra: Option<&Result<Option<OAuthClient>, HydraError>>) -> keys::HydraNames {
        match hydra {
            _ if self.hydra.is_none() || !self.agent.did.is_addressable() => keys::HydraNames::NotAsked,
            None | Some(Err(_)) => keys::HydraNames::Unknown,
            Some(Ok(None)) => keys::HydraNames::NoClient,
            Some(Ok(Some(client))) => match client.public_key() {
                None => keys::HydraNames::NoKey,
                Some(key) => keys::HydraNames::Key { key: key.to_owned(), version: client.key_version() },
            },
        }
    }

    fn note_answers(&self, keys: &Answer, hydra: Option<&Result<Option<OAuthClient>, HydraError>>) {
        let now = Some((Instant::now(), SystemTime::now()));
        self.status.update(|state| {
            if !matches!(keys, Answer::Unavailable(_)) {
                state.store_seen = now;
            }
            if matches!(hydra, Some(Ok(_))) {
                state.hydra_seen = now;
            }
        });
    }
}

/// The credentials in an answer; `None` where they were not asked for.
pub(crate) fn credentials_in(
    answer: Option<Answer>,
    did: &Did,
) -> (client::Store, Option<CredentialRecord>, Option<Fields>) {
    let record = match answer {
        None | Some(Answer::Unavailable(_)) => return (client::Store::Unavailable, None, None),
        Some(Answer::Absent) => return (client::Store::Absent, None, None),
        Some(Answer::Deleted { version, .. }) => return (client::Store::Deleted { version }, None, None),
        Some(Answer::Denied) => return (client::Store::Denied, None, None),
        Some(Answer::Malformed(_)) => return (client::Store::Malformed, None, None),
        Some(Answer::Present(record)) => record,
    };
    match CredentialRecord::from_fields(&record.fields) {
        Ok(credentials) if credentials.client_id == did.as_str() => {
            let store = client::Store::Present {
                version: record.version,
                taken_over: credentials.taken_over.clone(),
            };
            (store, Some(credentials), Some(record.fields))
        }
        _ => (client::Store::Malformed, None, None),
    }
}

fn hung() -> Answer {
    Answer::Unavailable(Outage::new(bindu_store::OutageReason::TimedOut, "the store gave no answer in time"))
}

/// A task that ends with whoever waits for it.
#[derive(Debug)]
pub(crate) struct AbortOnDrop<T>(pub(crate) tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
