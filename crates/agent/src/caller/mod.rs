//! Who is calling: a typed value from the authentication layer, never a header that somebody could send.

mod authenticate;
mod refusal;

pub use authenticate::Authenticator;
pub use refusal::AuthRefusal;

use bindu_identity::Did;
use serde_json::{Value, json};
use std::fmt;

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Authentication is off.
    Anonymous,
    /// An OAuth client whose token Hydra has called active.
    Client {
        /// Its id.
        client_id: String,
        /// Its DID, if that is its id and its signature was verified.
        did: Option<Did>,
        /// What its token allows.
        scopes: Vec<String>,
    },
}

impl Caller {
    /// Whose tasks this caller's are.
    #[must_use]
    pub fn owner(&self) -> Owner {
        match self {
            Self::Anonymous => Owner(None),
            Self::Client { client_id, .. } => Owner(Some(client_id.clone())),
        }
    }

    /// What a handler's program gets to know of the caller.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Anonymous => Value::Null,
            Self::Client { client_id, did, scopes } => {
                json!({"client_id": client_id, "did": did.as_ref().map(Did::as_str), "scopes": scopes})
            }
        }
    }
}

/// The owner of a task: a client, or everybody where authentication is off.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner(Option<String>);

impl Owner {
    #[cfg(test)]
    pub(crate) fn named(client_id: &str) -> Self {
        Self(Some(client_id.to_owned()))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("everybody"))
    }
}
