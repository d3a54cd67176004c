//! The agent's cards as they are served: made once for each identity that is held, and signed with every second key of its
//! ring, so that a rotation changes them at once and a request costs a copy.

use axum::{
    body::Bytes,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bindu_a2a::{
    A2aError, Json,
    card::{CardIdentity, CardProfile, SignedCard},
};
use bindu_identity::DerivedKey;
use bindu_keeper::Identity;
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, Mutex, PoisonError};

/// How long a card may be kept without asking again: it lists the keys of a rotation before they sign anything, and a
/// rotation takes twice the reconciler's interval, a minute, before it does.
const MAX_AGE: &str = "public, max-age=60";

/// The cards of an agent.
pub(crate) struct Cards {
    pub(crate) profile: CardProfile,
    /// Seconds since the epoch.
    started_at: u64,
    latest: Mutex<Option<(Arc<Identity>, Arc<Rendered>)>>,
}

/// A card, ready to be sent.
struct Rendered {
    body: Bytes,
    etag: HeaderValue,
}

impl Cards {
    pub(crate) fn new(profile: CardProfile, started_at: u64) -> Self {
        Self { profile, started_at, latest: Mutex::default() }
    }

    pub(crate) fn who<'a>(&self, identity: &'a Identity) -> CardIdentity<'a> {
        CardIdentity { did: &identity.did, id: identity.id, started: self.started_at }
    }

    /// Answers a request for the card, which may have it already.
    pub(crate) fn answer(&self, identity: &Arc<Identity>, if_none_match: Option<&HeaderValue>) -> Response {
        let card = self.rendered(identity);
        let headers = [
            (header::ETAG, card.etag.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static(MAX_AGE)),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ];
        let etag = card.etag.to_str().unwrap_or_default();
        if if_none_match.and_then(|value| value.to_str().ok()).is_some_and(|known| names(known, etag)) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, card.body.clone()).into_response()
    }

    fn rendered(&self, identity: &Arc<Identity>) -> Arc<Rendered> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, card)) = latest.as_ref()
            && Arc::ptr_eq(of, identity)
        {
            return Arc::clone(card);
        }
        let card = Arc::new(self.render(identity));
        *latest = Some((Arc::clone(identity), Arc::clone(&card)));
        card
    }

    /// Strong, so a hash of all bytes (RFC 9110 §8.8.1). Signatures are part of them: Ed25519 signs alike each time, so
    /// restarts and replicas agree, and whoever holds a card signed by a key of the past gets the new one.
    fn render(&self, identity: &Identity) -> Rendered {
        let card = signed(&self.profile, &self.who(identity), identity, false);
        let body = Bytes::from(card.json.to_string());
        let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(&body)));
        let etag = HeaderValue::from_str(&tag).expect("base64 makes a header");
        Rendered { body, etag }
    }

    /// The card for a caller that is known (`GetExtendedAgentCard`): with the private skills if it may see them.
    pub(crate) fn extended(&self, identity: &Identity, client_id: Option<&str>) -> Result<Json, A2aError> {
        if !self.profile.has_extended_card() {
            return Err(A2aError::UnsupportedOperation("this agent has no extended card".to_owned()));
        }
        let is_shown = client_id.is_some_and(|id| self.profile.shows_private_part_to(id));
        Ok(Json::of(&signed(&self.profile, &self.who(identity), identity, is_shown).json))
    }
}

/// A card, signed with the second keys of the ring: the current one first, then those of a rotation.
#[must_use]
pub fn signed(
    profile: &CardProfile,
    who: &CardIdentity<'_>,
    identity: &Identity,
    with_private: bool,
) -> SignedCard {
    let make = if with_private { CardProfile::extended_card } else { CardProfile::agent_card };
    let current = Arc::clone(identity.current_signing_key());
    let ring = identity.signing_keys();
    let others = ring.iter().filter(|key| key.public_key() != current.public_key());
    let keys: Vec<DerivedKey> =
        std::iter::once(&current).chain(others).map(|key| DerivedKey::of(key)).collect();
    make(profile, who, &keys).unwrap_or_else(|error| {
        // The settings let nothing empty through: a bug of ours. Callers can do without a signature better than without a card.
        tracing::error!(%error, "the card is served without its signatures");
        SignedCard { json: profile.unsigned_card(who, with_private), key_ids: Vec::new() }
    })
}

/// Whether `If-None-Match` names a tag (RFC 9110 §13.1.2: compared weakly).
fn names(known: &str, etag: &str) -> bool {
    known.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == etag)
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_tag_is_named_in_a_list_weakly_or_by_a_star() {
        for good in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*", " \"a\" "] {
            assert!(names(good, "\"a\""), "{good}");
        }
        for bad in ["", "a", "\"A\"", "\"ab\"", "w/\"a\""] {
            assert!(!names(bad, "\"a\""), "{bad}");
        }
    }
}
