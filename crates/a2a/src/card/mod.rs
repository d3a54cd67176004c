//! Agent cards: what an agent says of itself, in the form of A2A 1.0 (with the fields of 0.3 beside it) and in Python Bindu's.
//!
//! Pure: a card is made from its [`CardProfile`] and an identity, signed by keys that are handed in, and checked against
//! keys that somebody else has fetched. Nothing here reads a file, opens a connection or knows the time.

mod bindu;
mod hybrid;
pub mod negotiation;
mod shape;
mod signature;
mod skill;

pub use hybrid::{NotSignable, SignedCard};
pub use shape::canonical;
pub use signature::{CardSignature, JwkKey, KeySet, SignatureProblem, SigningJwk};
pub use skill::{Documentation, Skill, SkillError};

use bindu_identity::{AgentId, Did};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The path of the card of A2A 1.0.
pub const CARD_PATH: &str = "/.well-known/agent-card.json";

/// The extension by which a card says whose it is. A change that old readers misread gets another URI.
pub const DID_EXTENSION: &str = "urn:bindu:a2a:extension:did:v1";

/// The name of the one security scheme on a card.
const SCHEME: &str = "oauth2";

/// Python Bindu's description of an agent that has none. A2A wants one.
const NO_DESCRIPTION: &str = "An AI agent exposed as an A2A agent.";

/// What an agent takes and gives, if its skills don't say otherwise.
const MODES: [&str; 2] = ["text/plain", "application/json"];

/// What the cards say beside the identity: all of it from the configuration.
#[derive(Debug, Clone, Default)]
pub struct CardProfile {
    /// The agent's name, as written.
    pub name: String,
    /// Its author, as written.
    pub author: String,
    /// What it does; may be empty.
    pub description: String,
    /// Where it is called, without a slash at its end.
    pub url: String,
    /// Its version.
    pub version: String,
    /// Where it is called over gRPC: `host:port`.
    pub grpc: Option<String>,
    /// What it can do, for everybody.
    pub skills: Vec<Skill>,
    /// What it can do besides, for some callers.
    pub private_skills: Vec<Skill>,
    /// Which callers those are, by their client ids.
    pub private_callers: BTreeSet<String>,
    /// How to get a token; none while authentication is off.
    pub oauth: Option<OAuth>,
    /// What the server does beside answering.
    pub abilities: Abilities,
}

/// What a server does beside answering.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    /// It streams.
    pub streaming: bool,
    /// It sends events to webhooks.
    pub push_notifications: bool,
}

/// How to get a token: OAuth 2.0 client credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OAuth {
    /// The token endpoint.
    pub token_url: String,
    /// The scopes, with what each allows.
    pub scopes: BTreeMap<String, String>,
}

/// Whose card it is.
#[derive(Debug, Clone, Copy)]
pub struct CardIdentity<'a> {
    /// The DID.
    pub did: &'a Did,
    /// The agent's id.
    pub id: AgentId,
    /// When the process started, in seconds since the epoch (Python Bindu's card says it).
    pub started: u64,
}

impl CardProfile {
    /// The description, or Python Bindu's words for none.
    #[must_use]
    pub fn description(&self) -> &str {
        if self.description.is_empty() { NO_DESCRIPTION } else { &self.description }
    }

    /// Whether there is more to see for some callers.
    #[must_use]
    pub fn has_private_part(&self) -> bool {
        !self.private_skills.is_empty() || !self.private_callers.is_empty()
    }

    /// Whether a client may see the private skills.
    #[must_use]
    pub fn shows_private_part_to(&self, client_id: &str) -> bool {
        self.private_callers.contains(client_id)
    }

    /// A path of this agent's as a URL.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url.trim_end_matches('/'))
    }

    /// A skill by its id, else by its name, as Python Bindu finds it. Private ones are not found.
    #[must_use]
    pub fn skill(&self, wanted: &str) -> Option<&Skill> {
        self.skills.iter().find(|skill| skill.id == wanted || skill.name == wanted)
    }

    /// The DID that a card of either form names. The extension decides; Python Bindu's cards have the DID as an extension's URI.
    #[must_use]
    pub fn did_of(card: &Value) -> Option<Did> {
        let extensions = card.pointer("/capabilities/extensions")?.as_array()?;
        let uri = |extension: &Value| extension.get("uri").and_then(Value::as_str).map(str::to_owned);
        let ours = extensions.iter().find(|extension| uri(extension).as_deref() == Some(DID_EXTENSION));
        match ours {
            Some(extension) => extension.pointer("/params/did")?.as_str()?.parse().ok(),
            None => extensions.iter().find_map(|extension| uri(extension)?.parse().ok()),
        }
    }
}

/// Puts a member into an object.
fn put(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = object {
        members.insert(name.to_owned(), value);
    }
}
