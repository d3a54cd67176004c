//! `identity.json`: whose directory it is, and what it remembers.

use crate::Version;
use bindu_identity::Did;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// The format of `identity.json` that this version writes.
pub(super) const IDENTITY_FORMAT: u32 = 1;

/// `identity.json`: what this directory remembers of its identity. No secret, except for the further fields of a
/// [`FileStore`](crate::FileStore)'s records.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IdentityFile {
    /// The form of this file: 1.
    pub format: u32,
    /// The agent's DID.
    pub did: String,
    /// The agent's id.
    pub agent_id: String,
    /// The public key, base58.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// That the store holds `public_key`, as far as we know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
    /// Made while the store could not be asked: yields to the store's.
    #[serde(default)]
    pub provisional: bool,
    /// When the key was made or first met, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// How many rotations led to the key; absent in files of version 0.2.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Fingerprints of the keys that it replaced, newest first, separated by spaces.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub replaces: String,
    /// The rotation statements, newest first, as one JSON text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rotations: String,
    /// When `keyring/next.pem` becomes the current key, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<String>,
    /// Until when `keyring/previous.pem` counts beside the current key, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_until: Option<String>,
    /// The versions of a `FileStore`'s records, and their further fields. Written by the `FileStore` alone.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub records: Map<String, Value>,
    /// Every other field, kept as it was read.
    #[serde(flatten)]
    pub further: Map<String, Value>,
}

/// That a key was read from the store, or written by an answered compare-and-set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// `vault` or `file`.
    pub store: String,
    /// At which version.
    pub version: Version,
    /// Where in the store: namespace and path; absent in files of version 0.2.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// If Hydra named this key then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub named: bool,
}

impl IdentityFile {
    /// The content before anything is known of the agent's key: whose directory it is.
    #[must_use]
    pub fn new(did: &Did, agent_id: &str) -> Self {
        Self {
            format: IDENTITY_FORMAT,
            did: did.to_string(),
            agent_id: agent_id.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("an identity file has string keys only")
    }
}

/// Names only, if a record's further fields may be secret.
impl fmt::Debug for IdentityFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityFile")
            .field("did", &self.did)
            .field("agent_id", &self.agent_id)
            .field("public_key", &self.public_key)
            .field("acknowledged", &self.acknowledged)
            .field("provisional", &self.provisional)
            .field("records", &self.records.keys().collect::<Vec<_>>())
            .field("further", &self.further.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
