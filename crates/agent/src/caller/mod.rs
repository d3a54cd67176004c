//! Who is calling: a typed value from the authentication layer, never a header that somebody could send.
//!
//! A request passes, in this order: `token` (whose token it is), `permit` (whether that client is let in), and, once its
//! body is read, `signature` (that the client is the DID which it claims to be). What changes something passes `replay` as
//! well, once the call is known. A refusal is a reason with its words; its body is the binding's (`crate::route::refuse`).

mod authenticate;
mod keys;
mod permit;
mod refusal;
mod remembered;
mod replay;
mod signature;
mod token;

pub use authenticate::{AuthSettings, Authenticator};
pub use keys::CallerKeys;
pub use permit::{PermitSettings, Rate, RateError};
pub use refusal::AuthRefusal;
pub(crate) use replay::Beginning;
pub(crate) use signature::{Cover, Proof, Signed};
pub use token::{JwtMode, MOST_FRESH, TokenSettings};

pub use bindu_tasks::{Caller, Client, Owner};

use axum::http::HeaderMap;
use bindu_hydra::Introspection;
use bindu_identity::Did;
use std::{sync::Arc, time::Instant};

/// The OAuth client that holds a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenHolder {
    client: Arc<Client>,
    owner: Owner,
    claim: Claim,
    audiences: Vec<String>,
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
        let id: Arc<str> = active.client_id.as_str().into();
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
        let subject = (!is_own).then(|| active.subject.into());
        let did = match &claim {
            Claim::Did(did) => Some(did.clone()),
            Claim::Service | Claim::Unprovable => None,
        };
        let client = Arc::new(Client { id, subject, did, scopes: active.scopes });
        let owner = Caller::Client(Arc::clone(&client)).owner();
        Self { client, owner, claim, audiences: active.audiences, asked }
    }

    /// The client's id.
    fn client_id(&self) -> &str {
        &self.client.id
    }

    #[cfg(test)]
    pub(crate) fn named(client_id: &str) -> Self {
        Self::with_scopes(client_id, &[])
    }

    #[cfg(test)]
    pub(crate) fn with_scopes(client_id: &str, scopes: &[&str]) -> Self {
        let active = Introspection {
            client_id: client_id.to_owned(),
            subject: client_id.to_owned(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            audiences: Vec::new(),
            expires_in: None,
        };
        Self::of(active, Instant::now())
    }
}

/// The owner that a client of this id is.
#[cfg(test)]
pub(crate) fn owner_named(client_id: &str) -> Owner {
    TokenHolder::named(client_id).owner
}

/// A header that was sent exactly once: of two, nobody can say which one counts.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

#[cfg(fuzzing)]
pub(crate) fn fuzz(headers: &HeaderMap, uri: &axum::http::Uri) {
    authenticate::fuzz(headers, uri);
}
