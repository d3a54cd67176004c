//! The two records of an agent, in Python Bindu's shape: its keys and its OAuth client's credentials.
//!
//! A record is a JSON object. Fields that we don't know are kept when we write it again.

use bindu_identity::{AgentId, Did, Fingerprint};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use std::fmt;
use zeroize::Zeroize as _;

/// A record's version: 1 for the first, one more with each write.
pub type Version = u64;

/// Which record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RecordName {
    /// The keys of an agent.
    Keys(AgentId),
    /// The OAuth client's credentials of a DID.
    Credentials(Did),
}

impl RecordName {
    /// The path's segments below the store's prefix, Python Bindu's.
    #[must_use]
    pub fn segments(&self) -> Vec<String> {
        match self {
            Self::Keys(id) => vec!["agents".into(), id.to_string(), "did-keys".into()],
            Self::Credentials(did) => vec!["hydra".into(), "credentials".into(), did.to_string()],
        }
    }

    /// `keys` or `credentials`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Keys(_) => "keys",
            Self::Credentials(_) => "credentials",
        }
    }
}

/// A record that was read.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its version.
    pub version: Version,
    /// When this version was written, RFC 3339, where the store says so.
    pub written_at: Option<String>,
    /// Its content.
    pub fields: Fields,
}

/// A record's content: a JSON object whose values are secrets. Its `Debug` shows names only; values are wiped when
/// dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Takes a JSON object.
    #[must_use]
    pub fn new(object: Map<String, Value>) -> Self {
        Self(object)
    }

    /// The object, for writing it somewhere safe.
    #[must_use]
    pub fn expose(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Sets a field.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, Malformed> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Malformed { field: name, problem: "it is not a string" }),
        }
    }

    fn required(&self, name: &'static str) -> Result<&str, Malformed> {
        match self.text(name)? {
            None => Err(Malformed { field: name, problem: "it is missing" }),
            Some("") => Err(Malformed { field: name, problem: "it is empty" }),
            Some(text) => Ok(text),
        }
    }

    fn texts(&self, name: &'static str) -> Result<Vec<String>, Malformed> {
        let malformed = || Malformed { field: name, problem: "it is not a list of strings" };
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(malformed)).collect()
            }
            Some(_) => Err(malformed()),
        }
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        for value in self.0.values_mut() {
            if let Value::String(text) = value {
                text.zeroize();
            }
        }
    }
}

/// What is wrong with a record, without its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: {problem}")]
pub struct Malformed {
    /// The field, or `data` for the whole.
    pub field: &'static str,
    /// Why no agent can have written it.
    pub problem: &'static str,
}

/// The keys record: `private_key` and `public_key` as PEM, `did`, and our own `replaces` and `created_at`.
#[derive(Debug, Clone)]
pub struct KeyRecord {
    /// PKCS#8 PEM, plain or encrypted.
    pub private_key: SecretString,
    /// SPKI PEM. Missing only in a data directory, where a crash has lost it and no password is at hand to derive it.
    pub public_key: Option<String>,
    /// The agent's DID. Python Bindu accepts a record without it, and so do we.
    pub did: Option<String>,
    /// Fingerprints of the keys that this one rotates, newest first.
    pub replaces: Vec<Fingerprint>,
    /// When the key was made, RFC 3339.
    pub created_at: Option<String>,
}

impl KeyRecord {
    /// Reads the fields; whether the PEMs hold keys is for the reader to find out.
    ///
    /// # Errors
    /// [`Malformed`] with the first field that no agent can have written.
    pub fn from_fields(fields: &Fields) -> Result<Self, Malformed> {
        let replaces = fields.texts("replaces")?.iter().map(|text| text.parse()).collect::<Result<_, _>>();
        Ok(Self {
            private_key: SecretString::from(fields.required("private_key")?),
            public_key: fields.text("public_key")?.filter(|text| !text.is_empty()).map(str::to_owned),
            did: fields.text("did")?.map(str::to_owned),
            replaces: replaces
                .map_err(|_| Malformed { field: "replaces", problem: "it holds no fingerprints" })?,
            created_at: fields.text("created_at")?.map(str::to_owned),
        })
    }

    /// The fields to write.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        let mut fields = Fields::default();
        fields.set("private_key", self.private_key.expose_secret());
        if let Some(public_key) = &self.public_key {
            fields.set("public_key", public_key.as_str());
        }
        if let Some(did) = &self.did {
            fields.set("did", did.as_str());
        }
        if !self.replaces.is_empty() {
            fields.set("replaces", self.replaces.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
        if let Some(created_at) = &self.created_at {
            fields.set("created_at", created_at.as_str());
        }
        fields
    }
}

/// The credentials record of an OAuth client, Python Bindu's fields.
#[derive(Debug, Clone)]
pub struct CredentialRecord {
    /// The agent's id.
    pub agent_id: String,
    /// The client's id: the DID.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: SecretString,
    /// RFC 3339.
    pub created_at: String,
    /// The scopes that the client was registered with.
    pub scopes: Vec<String>,
    /// The key whose take-over was consented to.
    pub taken_over: Option<String>,
}

impl CredentialRecord {
    /// Reads the fields. `agent_id`, `created_at` and `scopes` may be missing, `client_id` and `client_secret` not.
    ///
    /// # Errors
    /// [`Malformed`] with the first field that no agent can have written.
    pub fn from_fields(fields: &Fields) -> Result<Self, Malformed> {
        Ok(Self {
            agent_id: fields.text("agent_id")?.unwrap_or_default().to_owned(),
            client_id: fields.required("client_id")?.to_owned(),
            client_secret: SecretString::from(fields.required("client_secret")?),
            created_at: fields.text("created_at")?.unwrap_or_default().to_owned(),
            scopes: fields.texts("scopes")?,
            taken_over: fields.text("taken_over")?.map(str::to_owned),
        })
    }

    /// The fields to write.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        let mut fields = Fields::default();
        fields.set("agent_id", self.agent_id.as_str());
        fields.set("client_id", self.client_id.as_str());
        fields.set("client_secret", self.client_secret.expose_secret());
        fields.set("created_at", self.created_at.as_str());
        fields.set("scopes", self.scopes.clone());
        if let Some(taken_over) = &self.taken_over {
            fields.set("taken_over", taken_over.as_str());
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        match value {
            Value::Object(object) => Fields::new(object),
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn keys_written_by_python_bindu_are_read() {
        let record = KeyRecord::from_fields(&fields(
            json!({"private_key": "p", "public_key": "q", "did": "did:bindu:x"}),
        ));
        let record = record.expect("well-formed");
        assert_eq!(record.did.as_deref(), Some("did:bindu:x"));
        assert!(record.replaces.is_empty());
    }

    #[test]
    fn each_bad_field_is_named() {
        let cases = [
            (json!({"public_key": "q"}), "private_key"),
            (json!({"private_key": null, "public_key": "q"}), "private_key"),
            (json!({"private_key": "", "public_key": "q"}), "private_key"),
            (json!({"private_key": 1, "public_key": "q"}), "private_key"),
            (json!({"private_key": "p", "public_key": 1}), "public_key"),
            (json!({"private_key": "p", "public_key": "q", "did": 7}), "did"),
            (json!({"private_key": "p", "public_key": "q", "replaces": "x"}), "replaces"),
            (json!({"private_key": "p", "public_key": "q", "replaces": ["x"]}), "replaces"),
        ];
        for (value, field) in cases {
            assert_eq!(
                KeyRecord::from_fields(&fields(value.clone())).err().map(|e| e.field),
                Some(field),
                "{value}"
            );
        }
    }

    #[test]
    fn debug_shows_names_only() {
        let shown = format!("{:?}", fields(json!({"client_secret": "hunter2"})));
        assert_eq!(shown, r#"{"client_secret"}"#);
    }
}
