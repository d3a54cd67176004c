//! DIDs: `did:bindu` (Python Bindu's, which does not depend on the key) and the conformant `did:key`.

use crate::{AgentId, PublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr};

/// A decentralised identifier: `did:`, a method name, `:`, and an id of that method.
///
/// Compared exactly, as W3C DID Core asks. It may hold characters that the W3C syntax forbids, because Python
/// Bindu made such identities; [`AgentName`] refuses to make new ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Did(String);

/// The text is not a DID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a DID (did:METHOD:ID)")]
pub struct DidError(String);

impl Did {
    /// `did:bindu:{author}:{name}:{agent id}`, author and name sanitised as Python Bindu does it.
    #[must_use]
    pub fn bindu(name: &AgentName, id: AgentId) -> Self {
        Self(format!("did:bindu:{}:{}:{id}", sanitised(&name.author), sanitised(&name.name)))
    }

    /// The conformant `did:key` of a public key: `did:key:z` + base58btc(`0xed01` + key), after the did:key
    /// specification. (Python Bindu's fallback leaves the multicodec prefix out; nothing else can read that.)
    #[must_use]
    pub fn key(key: &PublicKey) -> Self {
        Self(format!("did:key:{}", key.multibase()))
    }

    /// `did:web` of an origin, with the port's colon percent-encoded: `did:web:agents.example%3A3773`.
    #[must_use]
    pub fn web(host: &str, port: Option<u16>) -> Self {
        Self(port.map_or_else(|| format!("did:web:{host}"), |port| format!("did:web:{host}%3A{port}")))
    }

    /// The DID as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether Hydra can be asked about a client of this id: a `/` cannot be addressed there, however it is escaped.
    #[must_use]
    pub fn is_addressable(&self) -> bool {
        !self.0.contains('/')
    }
}

impl FromStr for Did {
    type Err = DidError;

    fn from_str(text: &str) -> Result<Self, DidError> {
        let error = || DidError(text.to_owned());
        let (method, id) =
            text.strip_prefix("did:").and_then(|rest| rest.split_once(':')).ok_or_else(error)?;
        let method_is_good =
            !method.is_empty() && method.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !method_is_good || id.is_empty() || id.chars().any(char::is_control) {
            return Err(error());
        }
        Ok(Self(text.to_owned()))
    }
}

/// As text.
impl Serialize for Did {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Did {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An author and a name, as their owner wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentName {
    /// Who is responsible for the agent, usually an e-mail address.
    pub author: String,
    /// What the agent is called.
    pub name: String,
}

/// The longest author or name of a new identity, in bytes: an e-mail address has at most 254. The DID that both are part of is
/// sent in headers, is a path in Vault, and an id in Hydra.
const MAX_NAME: usize = 256;

/// Why no *new* identity may be made under an author or a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameProblem {
    /// Nothing but white space.
    #[error("the {field} is empty")]
    Empty {
        /// `author` or `name`.
        field: &'static str,
    },
    /// A whole file, or a variable that was filled by accident.
    #[error("the {field} has {length} bytes, and at most 256 make a DID that others take")]
    TooLong {
        /// `author` or `name`.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// Quotes or white space around it: `docker run --env-file`, a copied line or a template has left them there.
    #[error("the {field} {value:?} has {what} around it, which look like an accident")]
    Around {
        /// `author` or `name`.
        field: &'static str,
        /// As it was written.
        value: String,
        /// `quotes` or `spaces`.
        what: &'static str,
    },
    /// A character that ends or splits a DID, or that can't be shown.
    #[error("the {field} {value:?} contains {character:?}, which makes an invalid or ambiguous DID")]
    Character {
        /// `author` or `name`.
        field: &'static str,
        /// As it was written.
        value: String,
        /// The first offending one.
        character: char,
    },
}

impl AgentName {
    /// The first reason why no new identity may be made under this name. One that exists already is still loaded.
    #[must_use]
    pub fn problem(&self) -> Option<NameProblem> {
        problem_in("author", &self.author).or_else(|| problem_in("name", &self.name))
    }
}

fn problem_in(field: &'static str, value: &str) -> Option<NameProblem> {
    if value.len() > MAX_NAME {
        return Some(NameProblem::TooLong { field, length: value.len() });
    }
    if value.trim().is_empty() {
        return Some(NameProblem::Empty { field });
    }
    let around = |what| Some(NameProblem::Around { field, value: value.to_owned(), what });
    if value.trim() != value {
        return around("spaces");
    }
    if value.starts_with(['"', '\'', '`', '\u{201c}']) || value.ends_with(['"', '`', '\u{201d}']) {
        return around("quotes");
    }
    let hidden = |c: &char| {
        matches!(
            c,
            '\u{feff}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'
                ..='\u{202e}' | '\u{2028}' | '\u{2029}'
        )
    };
    if let Some(character) = value.chars().find(hidden) {
        return Some(NameProblem::Character { field, value: value.to_owned(), character });
    }
    let character = value.chars().find(|c| matches!(c, ':' | '/' | '?' | '#' | '%') || c.is_control())?;
    Some(NameProblem::Character { field, value: value.to_owned(), character })
}

/// Python Bindu's `lower() -> ' ' to '_' -> '@' to '_at_' -> '.' to '_'`, and nothing else.
fn sanitised(text: &str) -> String {
    text.to_lowercase().replace(' ', "_").replace('@', "_at_").replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    fn name(author: &str, name: &str) -> AgentName {
        AgentName { author: author.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn bindu_did_is_python_bindus_vector() {
        let name = name("Alice.Smith@Example.com", "Echo Agent");
        let did = Did::bindu(&name, AgentId::derive(&name.author, &name.name));
        assert_eq!(
            did.as_str(),
            "did:bindu:alice_smith_at_example_com:echo_agent:5c908f70-ec50-7e33-bf7d-2735c15d5c13"
        );
        assert_eq!(name.problem(), None);
    }

    /// Seeds 0, 1 and 2 (32-byte big-endian): the vectors of A2A.md, made with other implementations.
    #[test]
    fn did_key_is_conformant() {
        let vectors = [
            (0u8, "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"),
            (1, "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG"),
            (2, "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"),
        ];
        for (last, want) in vectors {
            let mut seed = [0; 32];
            seed[31] = last;
            assert_eq!(Did::key(&SigningKey::from_seed(&seed).public_key()).as_str(), want);
        }
    }

    #[test]
    fn names_that_break_a_did_are_problems() {
        let accidents =
            ["\"echo\"", "'echo'", "\"echo", "echo ", " echo", "echo\r", "\u{feff}echo", "e\u{202e}cho"];
        for bad in
            ["a:b", "a/b", "x?y", "A&B#1", "50%", "a\nb", "tab\there", "", "   "].into_iter().chain(accidents)
        {
            assert!(name("alice", bad).problem().is_some(), "{bad:?}");
            assert!(name(bad, "echo").problem().is_some(), "{bad:?}");
        }
        assert!(name("alice", &"a".repeat(MAX_NAME + 1)).problem().is_some(), "too long");
        for good in
            ["a".repeat(MAX_NAME).as_str(), "héllo wörld", "Bob's agent", "5\" screen", "می\u{200c}خواهم"]
        {
            assert!(name("alice", good).problem().is_none(), "{good:?}: unambiguous, if not ASCII");
        }
    }

    #[test]
    fn parses_dids_and_nothing_else() {
        for good in ["did:bindu:a:b:c", "did:key:z6Mk", "did:web:host%3A3773", "did:bindu:test"] {
            assert!(good.parse::<Did>().is_ok(), "{good}");
        }
        for bad in
            ["", "did:", "did:bindu", "did:bindu:", "did::x", "DID:bindu:x", "did:Bindu:x", "did:b:\n", "x"]
        {
            assert!(bad.parse::<Did>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_slash_cannot_be_addressed() {
        let did = Did::bindu(&name("alice", "a/b"), AgentId::derive("alice", "a/b"));
        assert!(!did.is_addressable());
    }
}
