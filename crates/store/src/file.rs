//! `FileStore`: the records in the data directory, for an agent without a Vault.
//!
//! The files are Python Bindu's; versions, and the fields for which Python has no file, lie in `identity.json`. A file
//! that somebody else has replaced (Python Bindu, a person) counts as the next version.

use crate::{
    Answer, DataDirectory, DirectoryError, DirectoryErrorKind, Expected, Fields, IdentityFile, Malformed,
    Outage, OutageReason, Record, RecordName, SecretStore, Version, WriteError,
};
use bindu_identity::{Did, pem};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, Mutex, PoisonError};

/// A [`SecretStore`] of one agent, in its data directory.
pub struct FileStore {
    directory: Arc<DataDirectory>,
    did: Did,
    agent_id: String,
    /// Opens an encrypted private key, where its public half must be derived.
    password: Option<SecretString>,
    /// Readers and writers of this process, one at a time; other processes are kept out by the directory's lock.
    turn: Mutex<()>,
}

/// What `identity.json` remembers of a record.
struct Remembered {
    version: Version,
    digest: String,
    extra: Map<String, Value>,
}

impl FileStore {
    /// The store of the agent whose directory this is.
    #[must_use]
    pub fn new(
        directory: Arc<DataDirectory>,
        did: Did,
        agent_id: String,
        password: Option<SecretString>,
    ) -> Self {
        Self { directory, did, agent_id, password, turn: Mutex::new(()) }
    }

    fn identity(&self) -> Result<IdentityFile, DirectoryError> {
        Ok(self.directory.identity()?.unwrap_or_else(|| IdentityFile::new(&self.did, &self.agent_id)))
    }

    /// The fields in the files, and the text that tells one version from another.
    fn content(&self, name: &RecordName) -> Result<Option<(Fields, SecretString)>, DirectoryError> {
        match name {
            RecordName::Keys(_) => {
                let pair = self.directory.pair()?;
                let Some(private_key) = pair.private_key else { return Ok(None) };
                let mut fields = Fields::default();
                fields.set("private_key", private_key.expose_secret());
                // A public.pem that was lost or damaged is not news: it can be derived.
                let derived = || {
                    pem::decode_private_key(&private_key, self.password.as_ref())
                        .ok()
                        .map(|key| pem::encode_public_key(&key.public_key()))
                };
                let readable = pair.public_key.as_ref().filter(|text| pem::decode_public_key(text).is_ok());
                if let Some(public_key) = readable.cloned().or_else(derived).or(pair.public_key) {
                    fields.set("public_key", public_key);
                }
                Ok(Some((fields, private_key)))
            }
            RecordName::Credentials(did) => Ok(self.directory.credentials(did)?.map(|fields| {
                let text = SecretString::from(Value::Object(fields.expose().clone()).to_string());
                (fields, text)
            })),
        }
    }

    fn current(&self, name: &RecordName) -> Result<Option<Record>, DirectoryError> {
        let Some((mut fields, text)) = self.content(name)? else { return Ok(None) };
        let version = match remembered(&self.identity()?, name) {
            None => 1,
            Some(known) if known.digest == digest(&text) => {
                for (field, value) in known.extra {
                    fields.set(&field, value);
                }
                known.version
            }
            Some(known) => known.version + 1,
        };
        Ok(Some(Record { version, written_at: None, fields }))
    }

    fn put(&self, name: &RecordName, fields: &Fields, version: Version) -> Result<(), DirectoryError> {
        let mut extra = Map::new();
        match name {
            RecordName::Keys(_) => {
                let text = |field| fields.expose().get(field).and_then(Value::as_str).unwrap_or_default();
                let private_key = SecretString::from(text("private_key"));
                self.directory.write_pair(&private_key, text("public_key"))?;
                extra.extend(fields.expose().iter().map(|(field, value)| (field.clone(), value.clone())));
                extra.remove("private_key");
                extra.remove("public_key");
            }
            RecordName::Credentials(did) => self.directory.write_credentials(did, fields)?,
        }
        let mut identity = self.identity()?;
        if let Some((_, text)) = self.content(name)? {
            let entry = json!({"version": version, "digest": digest(&text), "extra": extra});
            identity.records.insert(name.kind().to_owned(), entry);
        }
        self.directory.write_identity(&identity)
    }

    fn write_now(
        &self,
        name: &RecordName,
        fields: &Fields,
        expected: Expected,
    ) -> Result<Version, WriteError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current(name).map_err(write_error)?.map(|record| record.version);
        let next = match (expected, current) {
            (Expected::Absent, None) => 1,
            (Expected::Version(expected), Some(current)) if expected == current => current + 1,
            _ => return Err(WriteError::Conflict),
        };
        self.put(name, fields, next).map_err(write_error)?;
        Ok(next)
    }
}

#[async_trait::async_trait]
impl SecretStore for FileStore {
    async fn read(&self, name: &RecordName) -> Answer {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match self.current(name) {
            Ok(Some(record)) => Answer::Present(record),
            Ok(None) => Answer::Absent,
            Err(error) if error.kind == DirectoryErrorKind::Malformed => {
                Answer::Malformed(Malformed { field: "data", problem: "its file holds something else" })
            }
            Err(error) => Answer::Unavailable(outage(&error)),
        }
    }

    /// Files have no history but the archive, which is for people.
    async fn read_version(&self, name: &RecordName, version: Version) -> Answer {
        match self.read(name).await {
            Answer::Present(record) if record.version == version => Answer::Present(record),
            Answer::Present(_) => Answer::Absent,
            other => other,
        }
    }

    async fn write(
        &self,
        name: &RecordName,
        fields: &Fields,
        expected: Expected,
    ) -> Result<Version, WriteError> {
        self.write_now(name, fields, expected)
    }

    fn locate(&self, name: &RecordName) -> String {
        let file = match name {
            RecordName::Keys(_) => "private.pem",
            RecordName::Credentials(_) => "oauth_credentials.json",
        };
        self.directory.path().join(file).display().to_string()
    }
}

fn remembered(identity: &IdentityFile, name: &RecordName) -> Option<Remembered> {
    let entry = identity.records.get(name.kind())?;
    Some(Remembered {
        version: entry.get("version")?.as_u64()?,
        digest: entry.get("digest")?.as_str()?.to_owned(),
        extra: entry.get("extra").and_then(Value::as_object).cloned().unwrap_or_default(),
    })
}

fn digest(text: &SecretString) -> String {
    Sha256::digest(text.expose_secret().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn outage(error: &DirectoryError) -> Outage {
    Outage::new(OutageReason::Unreadable, format!("{error}: {}", error.source))
}

fn write_error(error: DirectoryError) -> WriteError {
    match error.kind {
        DirectoryErrorKind::NotWritable => WriteError::Denied,
        _ => WriteError::Unavailable(outage(&error)),
    }
}
