//! The agent id: the UUID under which an agent's records lie in the store.

use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// An agent's id, a UUID shown in lower case with dashes.
///
/// It depends on author and name alone, never on the key, so an agent with an empty disk knows where its key lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(Uuid);

/// The text is not a UUID in any of the forms that Python's `uuid.UUID` reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a UUID")]
pub struct AgentIdError(String);

impl AgentId {
    /// The id of an agent that was given none: the first 32 hex digits of `sha256("{author}:{name}")`, both as
    /// written by the user. No version or variant bits are set (Python Bindu's form).
    #[must_use]
    pub fn derive(author: &str, name: &str) -> Self {
        let digest = Sha256::digest(format!("{author}:{name}").as_bytes());
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(digest.iter()) {
            *to = *from;
        }
        Self(Uuid::from_bytes(bytes))
    }

    /// An id that was drawn at random, for an agent that has no name.
    #[must_use]
    pub fn from_random_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

impl FromStr for AgentId {
    type Err = AgentIdError;

    /// Reads what Python's `uuid.UUID` reads: upper case, without dashes, in braces, as a URN.
    fn from_str(text: &str) -> Result<Self, AgentIdError> {
        let bare = text.replace("urn:", "").replace("uuid:", "");
        let hex: String = bare.trim_matches(['{', '}']).chars().filter(|c| *c != '-').collect();
        if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(AgentIdError(text.to_owned()));
        }
        Uuid::parse_str(&hex).map(Self).map_err(|_| AgentIdError(text.to_owned()))
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derives_python_bindus_vector() {
        let id = AgentId::derive("Alice.Smith@Example.com", "Echo Agent");
        assert_eq!(id.to_string(), "5c908f70-ec50-7e33-bf7d-2735c15d5c13");
    }

    #[test]
    fn reads_every_form_that_python_reads() {
        let want = "5c908f70-ec50-7e33-bf7d-2735c15d5c13";
        for form in [
            "5c908f70-ec50-7e33-bf7d-2735c15d5c13",
            "5C908F70EC507E33BF7D2735C15D5C13",
            "{5c908f70-ec50-7e33-bf7d-2735c15d5c13}",
            "urn:uuid:5c908f70-ec50-7e33-bf7d-2735c15d5c13",
        ] {
            assert_eq!(form.parse::<AgentId>().map(|id| id.to_string()), Ok(want.to_owned()), "{form}");
        }
        for bad in ["", "echo", "5c908f70-ec50-7e33-bf7d-2735c15d5c1", "5c908f70-ec50-7e33-bf7d-2735c15d5c1g"]
        {
            assert!(bad.parse::<AgentId>().is_err(), "{bad}");
        }
    }
}
