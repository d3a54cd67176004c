//! The records of a [`FileStore`](crate::FileStore): their files, and what `identity.json` says of their versions.

use super::{
    CREDENTIALS, DataDirectory, DirectoryError, IDENTITY,
    files::{Part, Role},
    lock, pair_parts,
};
use crate::Fields;
use bindu_identity::Did;
use secrecy::SecretString;
use serde_json::Value;

/// The files of a record that is written.
pub(crate) enum RecordFiles<'a> {
    /// `private.pem` and `public.pem`.
    Pair(&'a SecretString, &'a str),
    /// The entry of a DID in `oauth_credentials.json`.
    Credentials(&'a Did, &'a Fields),
    /// What the files hold stays as it is.
    Unchanged,
}

impl DataDirectory {
    /// Writes what `identity.json` says of a record whose files stay as they are.
    pub(crate) fn write_entry(&self, kind: &str, entry: Value) -> Result<(), DirectoryError> {
        let _turn = lock(&self.turn);
        let text = self.identity_with(kind, entry)?;
        self.replace(&[Part { name: IDENTITY, content: text.as_bytes(), role: Role::Content }])
    }

    /// Writes a record's files between two forms of the entry that `identity.json` has of it: `during` tells which
    /// version the files hold, whether they are the old ones or the new ones; `after` needs the new ones.
    pub(crate) fn write_record(
        &self,
        kind: &str,
        files: &RecordFiles<'_>,
        (during, after): (Value, Value),
    ) -> Result<(), DirectoryError> {
        if let RecordFiles::Unchanged = files {
            return self.write_entry(kind, after);
        }
        let _turn = lock(&self.turn);
        let (during, after) = (self.identity_with(kind, during)?, self.identity_with(kind, after)?);
        let credentials = match files {
            RecordFiles::Credentials(did, fields) => self.credentials_with(did, fields)?,
            _ => String::new(),
        };
        let identity = |text, role| Part { name: IDENTITY, content: text, role };
        let mut parts = vec![identity(during.as_bytes(), Role::Decides)];
        match files {
            RecordFiles::Pair(private_key, public_key) => parts.extend(pair_parts(private_key, public_key)),
            _ => parts.push(Part { name: CREDENTIALS, content: credentials.as_bytes(), role: Role::Content }),
        }
        parts.push(identity(after.as_bytes(), Role::Derived));
        self.replace(&parts)
    }

    fn identity_with(&self, kind: &str, entry: Value) -> Result<String, DirectoryError> {
        let mut identity = self.claimed_identity()?;
        identity.records.insert(kind.to_owned(), entry);
        Ok(identity.to_text())
    }
}
