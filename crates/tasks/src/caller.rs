//! The caller of an agent: a typed value from the authentication layer, never a header that somebody could send.

use bindu_identity::Did;
use serde_json::{Value, json};
use std::{fmt, sync::Arc};

/// The caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Authentication is off.
    Anonymous,
    /// An OAuth client: Hydra has called its token active, and if its id is a DID it has signed the request.
    Client(Arc<Client>),
}

/// An OAuth client that calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The client's id.
    pub id: Arc<str>,
    /// The subject of its token, if the token was issued for somebody else than the client itself.
    pub subject: Option<Arc<str>>,
    /// The client's DID, if its id is one. Proved.
    pub did: Option<Did>,
    /// The scopes of its token.
    pub scopes: Vec<String>,
}

/// The owner of a task: a client (with the subject that it acts for), or everybody if authentication is off. An id of a
/// task means something only together with its owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// Authentication is off: one caller cannot be told from another.
    Everybody,
    /// A client.
    Client {
        /// The client's id.
        id: Arc<str>,
        /// The subject, if it is another than the client.
        subject: Option<Arc<str>>,
    },
}

impl Caller {
    /// The caller whose tasks these are, as far as the store knows him: without the scopes of the token that he had. A client
    /// whose id is a DID has proved it when he sent his message.
    #[must_use]
    pub fn of(owner: &Owner) -> Self {
        match owner {
            Owner::Everybody => Self::Anonymous,
            Owner::Client { id, subject } => Self::Client(Arc::new(Client {
                id: Arc::clone(id),
                subject: subject.clone(),
                did: id.parse().ok(),
                scopes: Vec::new(),
            })),
        }
    }

    /// The owner of this caller's tasks.
    #[must_use]
    pub fn owner(&self) -> Owner {
        match self {
            Self::Anonymous => Owner::Everybody,
            Self::Client(client) => {
                Owner::Client { id: Arc::clone(&client.id), subject: client.subject.clone() }
            }
        }
    }

    /// The client, unless authentication is off.
    #[must_use]
    pub fn client(&self) -> Option<&Client> {
        match self {
            Self::Anonymous => None,
            Self::Client(client) => Some(client),
        }
    }

    /// What a handler's program learns of the caller.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.client().map_or(Value::Null, |client| {
            json!({
                "client_id": &*client.id,
                "did": client.did.as_ref().map(Did::as_str),
                "scopes": client.scopes,
            })
        })
    }
}

impl Owner {
    /// Whether it is nobody in particular.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        *self == Self::Everybody
    }
}

impl fmt::Display for Owner {
    /// Without control characters: ids of clients are others' text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("everybody"),
            Self::Client { id, subject: None } => id.escape_debug().fmt(f),
            Self::Client { id, subject: Some(subject) } => {
                write!(f, "{} for {}", id.escape_debug(), subject.escape_debug())
            }
        }
    }
}
