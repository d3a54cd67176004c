//! `FileStore`: the records in the data directory, for an agent without a Vault.
//!
//! The files are Python Bindu's; versions, and the fields for which Python has no file, lie in `identity.json`. A file
//! that somebody else has replaced (Python Bindu, a person) counts as the next version.
//!
//! A write is killed at any place without harm: `identity.json` first says which digest the old version's file has and
//! which the new one's, then the file is replaced, then the old version is forgotten. Each read finds the one that the
//! file has.

use crate::{
    Answer, DataDirectory, DirectoryError, DirectoryErrorKind, Expected, Fields, Malformed, Outage,
    OutageReason, Record, RecordName, SecretStore, Version, WriteError, directory::RecordFiles,
};
use bindu_identity::pem;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, Mutex, PoisonError};

/// A [`SecretStore`] of one agent, in its data directory.
pub struct FileStore {
    directory: Arc<DataDirectory>,
    /// Opens an encrypted private key, if its public half must be derived.
    password: Option<SecretString>,
    /// Readers and writers of this process, one at a time; other processes are kept out by the directory's lock.
    turn: Mutex<()>,
}

/// A version of a record, as `identity.json` remembers it.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Remembered {
    version: Version,
    /// Of the file that holds the secret.
    digest: String,
    /// The keys record's `public_key`: `public.pem` is written after `private.pem`, and may be another version's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    /// The fields for which Python Bindu has no file.
    #[serde(default)]
    extra: Map<String, Value>,
    /// The version before, while the file may still be that one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Box<Remembered>>,
}

/// The files of a record as they are.
struct Content {
    fields: Fields,
    digest: String,
}

impl FileStore {
    /// The store of the agent whose directory this is.
    #[must_use]
    pub fn new(directory: Arc<DataDirectory>, password: Option<SecretString>) -> Self {
        Self { directory, password, turn: Mutex::new(()) }
    }

    fn content(&self, name: &RecordName) -> Result<Option<Content>, DirectoryError> {
        match name {
            RecordName::Keys(_) => {
                let pair = self.directory.pair()?;
                let Some(private_key) = pair.private_key else { return Ok(None) };
                let mut fields = Fields::default();
                fields.set("private_key", private_key.expose_secret());
                // A public.pem that is lost, damaged or another key's is not news: it can be derived.
                let derived = pem::decode_private_key(&private_key, self.password.as_ref())
                    .ok()
                    .map(|key| pem::encode_public_key(&key.public_key()));
                if let Some(public_key) = derived.or(pair.public_key) {
                    fields.set("public_key", public_key);
                }
                Ok(Some(Content { fields, digest: digest(private_key.expose_secret()) }))
            }
            RecordName::Credentials(did) => Ok(self.directory.credentials(did)?.map(|fields| {
                let digest = digest(&Value::Object(fields.expose().clone()).to_string());
                Content { fields, digest }
            })),
        }
    }

    /// The record, and what `identity.json` remembers of this version.
    fn current(&self, name: &RecordName) -> Result<Option<(Record, Remembered)>, DirectoryError> {
        let Some(Content { mut fields, digest }) = self.content(name)? else { return Ok(None) };
        let remembered = self.remembered(name)?;
        let was_killed = remembered.as_ref().is_some_and(|known| known.before.is_some());
        let found = match remembered {
            None => Remembered { version: 1, digest, ..Remembered::default() },
            Some(known) if known.digest == digest => Remembered { before: None, ..known },
            Some(Remembered { before: Some(before), .. }) if before.digest == digest => *before,
            Some(known) => Remembered { version: known.version + 1, digest, ..Remembered::default() },
        };
        if was_killed && self.directory.is_open() {
            // The write is over now, one way or the other: the version that the file is not of is forgotten, secrets included.
            // On a full disk later: what is there can be read all the same.
            let _ = self.directory.write_entry(name.kind(), json!(found));
        }
        for (field, value) in &found.extra {
            fields.set(field, value.clone());
        }
        if let Some(public_key) = &found.public_key {
            fields.set("public_key", public_key.as_str());
        }
        Ok(Some((Record { version: found.version, written_at: None, fields }, found)))
    }

    fn remembered(&self, name: &RecordName) -> Result<Option<Remembered>, DirectoryError> {
        let Some(identity) = self.directory.identity()? else { return Ok(None) };
        // An entry that no version of this program has written counts as none: the file itself is there.
        Ok(identity.records.get(name.kind()).and_then(|entry| serde_json::from_value(entry.clone()).ok()))
    }

    fn put(
        &self,
        name: &RecordName,
        fields: &Fields,
        version: Version,
        current: Option<Remembered>,
    ) -> Result<(), DirectoryError> {
        let text = |field| fields.expose().get(field).and_then(Value::as_str);
        let private_key = SecretString::from(text("private_key").unwrap_or_default());
        let after = match name {
            RecordName::Keys(_) => {
                let mut extra = fields.expose().clone();
                extra.remove("private_key");
                extra.remove("public_key");
                let (digest, public_key) = (digest(private_key.expose_secret()), text("public_key"));
                let public_key = public_key.map(str::to_owned);
                Remembered { version, digest, public_key, extra, before: None }
            }
            RecordName::Credentials(_) => {
                let digest = digest(&Value::Object(fields.expose().clone()).to_string());
                Remembered { version, digest, ..Remembered::default() }
            }
        };
        let files = match name {
            _ if current.as_ref().is_some_and(|current| current.digest == after.digest) => {
                RecordFiles::Unchanged
            }
            RecordName::Keys(_) => RecordFiles::Pair(&private_key, text("public_key").unwrap_or_default()),
            RecordName::Credentials(did) => RecordFiles::Credentials(did, fields),
        };
        let during = Remembered { before: current.map(Box::new), ..after.clone() };
        self.directory.write_record(name.kind(), &files, (json!(during), json!(after)))
    }

    fn write_now(
        &self,
        name: &RecordName,
        fields: &Fields,
        expected: Expected,
    ) -> Result<Version, WriteError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current(name).map_err(write_error)?.map(|(_, remembered)| remembered);
        let next = match (expected, &current) {
            (Expected::Absent, None) => 1,
            (Expected::Version(expected), Some(current)) if expected == current.version => expected + 1,
            _ => return Err(WriteError::Conflict),
        };
        self.put(name, fields, next, current).map_err(write_error)?;
        Ok(next)
    }
}

#[async_trait::async_trait]
impl SecretStore for FileStore {
    async fn read(&self, name: &RecordName) -> Answer {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match self.current(name) {
            Ok(Some((record, _))) => Answer::Present(record),
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

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
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
