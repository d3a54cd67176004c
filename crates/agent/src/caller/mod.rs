//! Who is calling: a typed value from the authentication layer, never a header that somebody could send.
//!
//! A request passes, in this order: `token` (whose token it is), `permit` (whether that client is let in, and has a
//! place), and, once its body is read, `signature` (that the client is the DID which it claims to be). What changes
//! something passes `replay` as well, once the call is known.

mod authenticate;
mod keys;
mod permit;
mod refusal;
mod remembered;
pub(crate) mod replay;
mod signature;
mod token;

pub use authenticate::{AuthSettings, Authenticator};
pub use keys::CallerKeys;
pub use permit::{PermitSettings, Rate, RateError};
pub use refusal::AuthRefusal;
pub(crate) use refusal::Challenge;
pub use replay::MOST_REMEMBERED;
pub(crate) use signature::{Cover, Proof, Signed};
pub use token::{JwtMode, MOST_FRESH, TokenSettings};

use axum::http::HeaderMap;
use bindu_hydra::Introspection;
use bindu_identity::Did;
use serde_json::{Value, json};
use std::{fmt, sync::Arc, time::Instant};

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Authentication is off.
    Anonymous,
    /// An OAuth client: Hydra has called its token active, and if its id is a DID it has signed the request.
    Client(Arc<TokenHolder>),
}

/// The OAuth client that holds a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHolder {
    owner: Owner,
    client_id: Arc<str>,
    claim: Claim,
    pub(crate) scopes: Vec<String>,
    pub(crate) audiences: Vec<String>,
    /// When Hydra was asked.
    asked: Instant,
}

/// What a client's id says of who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Claim {
    /// Not that it is a DID.
    Service,
    /// That it is this DID, which it has to prove.
    Did(Did),
    /// That it is a DID, and none that can be proved.
    Unprovable,
}

impl TokenHolder {
    fn of(active: Introspection, asked: Instant) -> Self {
        let client_id: Arc<str> = active.client_id.as_str().into();
        // Whatever looks like a DID must prove itself, in any case: a client `DID:x` is nobody's namesake.
        let looks_like_one =
            active.client_id.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("did:"));
        let claim = match active.client_id.parse() {
            _ if !looks_like_one => Claim::Service,
            Ok(did) => Claim::Did(did),
            Err(_) => Claim::Unprovable,
        };
        // A token that a client was given for somebody else: that one's tasks are not the client's own.
        let is_own = active.subject.is_empty() || active.subject == active.client_id;
        let owner = match is_own {
            true => Arc::clone(&client_id),
            false => format!("{client_id}\n{}", active.subject).into(),
        };
        let (scopes, audiences) = (active.scopes, active.audiences);
        Self { owner: Owner(Some(owner)), client_id, claim, scopes, audiences, asked }
    }

    /// The client's id.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The client's DID, if its id is one. Proved, in a [`Caller`].
    #[must_use]
    pub fn did(&self) -> Option<&Did> {
        match &self.claim {
            Claim::Did(did) => Some(did),
            _ => None,
        }
    }

    /// What its token allows.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    #[cfg(test)]
    pub(crate) fn named(client_id: &str) -> Self {
        let active = Introspection {
            client_id: client_id.to_owned(),
            subject: client_id.to_owned(),
            scopes: Vec::new(),
            audiences: Vec::new(),
            expires_in: None,
        };
        Self::of(active, Instant::now())
    }
}

impl Caller {
    /// Whose tasks this caller's are.
    #[must_use]
    pub fn owner(&self) -> Owner {
        match self {
            Self::Anonymous => Owner(None),
            Self::Client(client) => client.owner.clone(),
        }
    }

    /// The client, unless authentication is off.
    #[must_use]
    pub fn client(&self) -> Option<&TokenHolder> {
        match self {
            Self::Anonymous => None,
            Self::Client(client) => Some(client),
        }
    }

    /// What a handler's program gets to know of the caller.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.client().map_or(Value::Null, |client| {
            json!({
                "client_id": client.client_id(),
                "did": client.did().map(Did::as_str),
                "scopes": client.scopes,
            })
        })
    }
}

/// The owner of a task: a client, or everybody where authentication is off.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner(Option<Arc<str>>);

impl Owner {
    /// Whether nobody in particular owns it: authentication is off, and one caller can't be told from another.
    pub(crate) fn is_everybody(&self) -> bool {
        self.0.is_none()
    }

    #[cfg(test)]
    pub(crate) fn named(client_id: &str) -> Self {
        Self(Some(client_id.into()))
    }
}

impl fmt::Display for Owner {
    /// Without control characters: ids of clients are others' text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_deref().unwrap_or("everybody").escape_debug().fmt(f)
    }
}

/// A header that was sent exactly once: of two, nobody can say which one counts.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

#[cfg(fuzzing)]
pub(crate) fn fuzz(name: &str, value: &[u8], uri: &str) {
    use axum::http::{HeaderName, HeaderValue};
    let mut headers = HeaderMap::new();
    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value)) {
        headers.append(name, value);
    }
    let uri = uri.parse().unwrap_or_default();
    authenticate::fuzz(&headers, &uri);
    let _ = crate::audit::RequestId::of(&headers);
}
