//! The two records of an agent, in Python Bindu's shape: its keys and its OAuth client's credentials.
//!
//! A record is a JSON object. Fields that we don't know are kept when we write it again.

use bindu_identity::{AgentId, Did, Lineage};
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

    fn number(&self, name: &'static str) -> Result<Option<u64>, Malformed> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                value.as_u64().map(Some).ok_or(Malformed { field: name, problem: "it is not a whole number" })
            }
        }
    }

    fn flag(&self, name: &'static str) -> Result<bool, Malformed> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => Err(Malformed { field: name, problem: "it is not a boolean" }),
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

/// The keys record: `private_key`, `public_key` and `did` as Python Bindu writes them, and our own fields: the key ring
/// and what the key knows of its past.
///
/// | field | form |
/// | --- | --- |
/// | `created_at` | when the current key was made, RFC 3339 |
/// | `generation` | how many rotations led to the current key; 0 at first |
/// | `replaces` | fingerprints of the keys that it replaced, newest first, separated by spaces |
/// | `rotations` | the rotation statements, newest first, as one JSON text (OpenBao refuses many strings) |
/// | `next_private_key`, `next_public_key` | PEM; a rotation is prepared |
/// | `next_at` | when the next key becomes the current one, RFC 3339 |
/// | `next_compromised` | `true` if the current key is in somebody else's hands: no overlap |
/// | `previous_private_key`, `previous_public_key` | PEM; the overlap of a rotation |
/// | `previous_until` | when the overlap ends, RFC 3339 |
/// | `revoke_tokens` | `true` after a withdrawal, until the client's tokens were revoked |
/// | `reconcile_interval` | the longest interval of all replicas that have written here, in seconds |
#[derive(Debug, Clone)]
pub struct KeyRecord {
    /// PKCS#8 PEM, plain or encrypted.
    pub private_key: SecretString,
    /// SPKI PEM. Missing only in a data directory, where a crash has lost it and no password is at hand to derive it.
    pub public_key: Option<String>,
    /// The agent's DID. Python Bindu accepts a record without it, and so do we.
    pub did: Option<String>,
    /// When the key was made, RFC 3339.
    pub created_at: Option<String>,
    /// The key's past; `None` in a record of a writer that knows no lineage (Python Bindu).
    pub lineage: Option<Lineage>,
    /// The key that a rotation has prepared.
    pub next: Option<RingKey>,
    /// The key that the last rotation has replaced, during the overlap.
    pub previous: Option<RingKey>,
    /// If the prepared key takes the place of one that is in somebody else's hands.
    pub next_compromised: bool,
    /// If a key was withdrawn, and the client's tokens are still to be revoked.
    pub revoke_tokens: bool,
    /// `reconcile_interval`, in seconds.
    pub reconcile_interval: Option<u64>,
}

/// A key beside the current one.
#[derive(Debug, Clone)]
pub struct RingKey {
    /// PKCS#8 PEM, plain or encrypted.
    pub private_key: SecretString,
    /// SPKI PEM.
    pub public_key: String,
    /// `next_at` or `previous_until`, RFC 3339.
    pub at: String,
}

/// The fields of a [`RingKey`].
struct RingFields {
    private_key: &'static str,
    public_key: &'static str,
    at: &'static str,
}

const NEXT: RingFields =
    RingFields { private_key: "next_private_key", public_key: "next_public_key", at: "next_at" };
const PREVIOUS: RingFields = RingFields {
    private_key: "previous_private_key",
    public_key: "previous_public_key",
    at: "previous_until",
};

impl RingKey {
    fn from_fields(fields: &Fields, names: &RingFields) -> Result<Option<Self>, Malformed> {
        if fields.text(names.private_key)?.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            private_key: SecretString::from(fields.required(names.private_key)?),
            public_key: fields.required(names.public_key)?.to_owned(),
            at: fields.required(names.at)?.to_owned(),
        }))
    }

    fn put(key: Option<&Self>, fields: &mut Fields, names: &RingFields) {
        for name in [names.private_key, names.public_key, names.at] {
            fields.remove(name);
        }
        if let Some(key) = key {
            fields.set(names.private_key, key.private_key.expose_secret());
            fields.set(names.public_key, key.public_key.as_str());
            fields.set(names.at, key.at.as_str());
        }
    }
}

impl KeyRecord {
    /// Reads the fields; whether the PEMs hold keys is for the reader to find out.
    ///
    /// # Errors
    /// [`Malformed`] with the first field that no agent can have written.
    pub fn from_fields(fields: &Fields) -> Result<Self, Malformed> {
        Ok(Self {
            private_key: SecretString::from(fields.required("private_key")?),
            public_key: fields.text("public_key")?.filter(|text| !text.is_empty()).map(str::to_owned),
            did: fields.text("did")?.map(str::to_owned),
            created_at: fields.text("created_at")?.map(str::to_owned),
            lineage: lineage(fields)?,
            next: RingKey::from_fields(fields, &NEXT)?,
            previous: RingKey::from_fields(fields, &PREVIOUS)?,
            next_compromised: fields.flag("next_compromised")?,
            revoke_tokens: fields.flag("revoke_tokens")?,
            reconcile_interval: fields.number("reconcile_interval")?,
        })
    }

    /// The fields to write.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        self.over(&Fields::default())
    }

    /// The fields to write over a record that is there: its fields that we don't know stay.
    #[must_use]
    pub fn over(&self, there: &Fields) -> Fields {
        let mut fields = there.clone();
        fields.set("private_key", self.private_key.expose_secret());
        for (name, value) in
            [("public_key", &self.public_key), ("did", &self.did), ("created_at", &self.created_at)]
        {
            match value {
                Some(value) => fields.set(name, value.as_str()),
                None => _ = fields.remove(name),
            }
        }
        // Ours write it even where it is empty: a record without it was written by somebody who doesn't know it.
        if let Some(lineage) = &self.lineage {
            fields.set("generation", lineage.generation);
            fields.set("replaces", lineage.replaces_text());
            match lineage.statements.is_empty() {
                true => _ = fields.remove("rotations"),
                false => fields.set("rotations", lineage.statements_text()),
            }
        }
        RingKey::put(self.next.as_ref(), &mut fields, &NEXT);
        RingKey::put(self.previous.as_ref(), &mut fields, &PREVIOUS);
        for (name, flag) in
            [("next_compromised", self.next_compromised), ("revoke_tokens", self.revoke_tokens)]
        {
            match flag {
                true => fields.set(name, true),
                false => _ = fields.remove(name),
            }
        }
        if let Some(seconds) = self.reconcile_interval {
            fields.set("reconcile_interval", seconds);
        }
        fields
    }
}

/// The lineage in a record. Version 0.2.0 wrote `replaces` as a list, and no `generation`.
fn lineage(fields: &Fields) -> Result<Option<Lineage>, Malformed> {
    let malformed = |field, problem| move |_| Malformed { field, problem };
    let replaces = match fields.expose().get("replaces") {
        Some(Value::Array(_)) => Some(fields.texts("replaces")?.join(" ")),
        _ => fields.text("replaces")?.map(str::to_owned),
    };
    let generation = fields.number("generation")?;
    if generation.is_none() && replaces.as_ref().is_none_or(|text| text.trim().is_empty()) {
        return Ok(None);
    }
    let replaces = Lineage::parse_replaces(replaces.as_deref().unwrap_or_default())
        .map_err(malformed("replaces", "it holds no fingerprints"))?;
    let statements = match fields.text("rotations")? {
        None | Some("") => Vec::new(),
        Some(text) => Lineage::parse_statements(text)
            .map_err(malformed("rotations", "it is not a list of rotation statements"))?,
    };
    let known = u64::try_from(replaces.len()).unwrap_or(u64::MAX);
    Ok(Some(Lineage { generation: generation.unwrap_or(known), replaces, statements }))
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
    /// The secret that a rotation has prepared, until it is proved.
    pub next_secret: Option<SecretString>,
    /// How many rotations of the secret led to this one.
    pub generation: u64,
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
            next_secret: fields
                .text("next_client_secret")?
                .filter(|text| !text.is_empty())
                .map(SecretString::from),
            generation: fields.number("generation")?.unwrap_or(0),
        })
    }

    /// The fields to write.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        self.over(&Fields::default())
    }

    /// The fields to write over a record that is there: its fields that we don't know stay.
    #[must_use]
    pub fn over(&self, there: &Fields) -> Fields {
        let mut fields = there.clone();
        fields.set("agent_id", self.agent_id.as_str());
        fields.set("client_id", self.client_id.as_str());
        fields.set("client_secret", self.client_secret.expose_secret());
        fields.set("created_at", self.created_at.as_str());
        fields.set("scopes", self.scopes.clone());
        match &self.taken_over {
            Some(taken_over) => fields.set("taken_over", taken_over.as_str()),
            None => _ = fields.remove("taken_over"),
        }
        match &self.next_secret {
            Some(next) => fields.set("next_client_secret", next.expose_secret()),
            None => _ = fields.remove("next_client_secret"),
        }
        if self.generation > 0 {
            fields.set("generation", self.generation);
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
        assert_eq!(record.lineage, None);
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
    fn credentials_over_others_keep_what_is_unknown_and_drop_what_is_over() {
        let there = fields(json!({
            "client_id": "did:bindu:x", "client_secret": "old", "next_client_secret": "new", "taken_over": "key",
            "of tomorrow": [1],
        }));
        let read = CredentialRecord::from_fields(&there).expect("well-formed");
        let next = read.next_secret.clone().expect("a secret");
        let promoted = CredentialRecord { client_secret: next, next_secret: None, generation: 1, ..read };
        let written = promoted.over(&there);
        let text = |name: &str| written.expose().get(name).cloned();
        assert_eq!(text("client_secret"), Some(json!("new")));
        assert_eq!(text("next_client_secret"), None);
        assert_eq!((text("taken_over"), text("of tomorrow")), (Some(json!("key")), Some(json!([1]))));
        assert_eq!(text("generation"), Some(json!(1)));
    }

    #[test]
    fn debug_shows_names_only() {
        let shown = format!("{:?}", fields(json!({"client_secret": "hunter2"})));
        assert_eq!(shown, r#"{"client_secret"}"#);
    }
}
