//! Looking at another agent's card (A2A 1.0) without calling it: who signed it, with which key, and whether the documents of the
//! DID that it names list that key.
//!
//! All of that is at one origin, so it proves that the card, the keys and the documents are of one hand: whose hand it is, is
//! what TLS, a key that is known otherwise, or Hydra says.

use crate::{CallError, card};
use bindu_a2a::card::{CARD_PATH, CardProfile, CardSignature, JwkKey, KeySet, SignatureProblem};
use bindu_http_client::{HttpSettings, ProxySettings};
use bindu_identity::Did;
use serde_json::Value;
use std::time::Duration;
use url::Url;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A card, and what was found about its signatures.
#[derive(Debug)]
pub struct InspectedCard {
    /// Where it is.
    pub url: Url,
    /// The card.
    pub card: Value,
    /// The DID that it names.
    pub did: Option<Did>,
    /// Its signatures, in their order.
    pub signatures: Vec<InspectedSignature>,
    /// Why the documents of the DID could not be looked at.
    pub documents_problem: Option<String>,
}

/// What was found about a signature.
#[derive(Debug)]
pub struct InspectedSignature {
    /// The id of the key, as the signature says.
    pub key_id: Option<String>,
    /// Its algorithm.
    pub algorithm: Option<String>,
    /// Where its keys are, as it says.
    pub jku: Option<String>,
    /// Why it does not count; `None` for a good one.
    pub problem: Option<SignatureError>,
    /// The thumbprint of the key that verifies it.
    pub thumbprint: Option<String>,
    /// Whether the documents of the DID list that key; `None` if they are not there, or there is no DID.
    pub is_listed: Option<bool>,
}

/// Why a signature does not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The signature itself.
    #[error("{0}")]
    Signature(#[from] SignatureProblem),
    /// Its keys are elsewhere than the card, so they are not fetched.
    #[error("its keys are at another origin than the card")]
    OtherOrigin,
    /// Its keys can't be had.
    #[error("its keys can't be read: {0}")]
    NoKeys(String),
}

impl InspectedCard {
    /// Whether a signature is good, by a key that the DID's documents list if the card names a DID.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.signatures.iter().any(|signature| {
            signature.problem.is_none() && (self.did.is_none() || signature.is_listed == Some(true))
        })
    }
}

/// Fetches the card of the agent at `url` (which may be the card's own), and looks at its signatures.
///
/// # Errors
/// [`CallError::Address`], [`CallError::NoCard`], or [`CallError::Unavailable`] if nothing answers there.
pub async fn inspect_card(
    url: &str,
    allow_http: bool,
    proxies: ProxySettings,
) -> Result<InspectedCard, CallError> {
    let http = HttpSettings { proxies, ..HttpSettings::new(TIMEOUT) };
    let base = base_of(card::address(url, allow_http)?);
    let at = below(&base, CARD_PATH);
    let card =
        json(&at, &http).await?.map_err(|problem| CallError::NoCard { url: at.to_string(), problem })?;
    let did = CardProfile::did_of(&card);
    let (listed, documents_problem) = match &did {
        None => (None, None),
        Some(did) => match documents(&base, did, &http).await {
            Ok(keys) => (Some(keys), None),
            Err(problem) => (None, Some(problem)),
        },
    };
    let mut signatures = Vec::new();
    for signature in CardSignature::all(&card) {
        signatures.push(inspect(&signature, &card, &base, listed.as_deref(), &http).await);
    }
    Ok(InspectedCard { url: at, card, did, signatures, documents_problem })
}

/// Refuses a card whose signatures are all wrong. One whose keys are not to be had proves nothing, as one that is not signed.
pub(crate) async fn check(card: &Value, base: &Url, http: &HttpSettings) -> Result<(), CallError> {
    let mut is_wrong = false;
    for signature in CardSignature::all(card) {
        match inspect(&signature, card, base, None, http).await.problem {
            None => return Ok(()),
            Some(SignatureError::Signature(SignatureProblem::WrongSignature)) => is_wrong = true,
            Some(_) => {}
        }
    }
    let problem = format!("its signature is {}", SignatureProblem::WrongSignature);
    if is_wrong { Err(CallError::NoCard { url: base.to_string(), problem }) } else { Ok(()) }
}

async fn inspect(
    signature: &CardSignature,
    card: &Value,
    base: &Url,
    listed: Option<&[String]>,
    http: &HttpSettings,
) -> InspectedSignature {
    let own = |text: Option<&str>| text.map(str::to_owned);
    let mut inspected = InspectedSignature {
        key_id: own(signature.key_id()),
        algorithm: own(signature.algorithm()),
        jku: own(signature.jku()),
        problem: None,
        thumbprint: None,
        is_listed: None,
    };
    let keys = match keys(signature.jku(), base, http).await {
        Ok(keys) => keys,
        Err(problem) => return InspectedSignature { problem: Some(problem), ..inspected },
    };
    match signature.verify(card, &keys) {
        Err(problem) => inspected.problem = Some(problem.into()),
        Ok(key) => {
            inspected.thumbprint = Some(key.thumbprint());
            inspected.is_listed = listed.map(|listed| match &key.key {
                JwkKey::Ed25519(key) => listed.contains(&key.multibase()),
                _ => false,
            });
        }
    }
    inspected
}

/// The keys that a signature names, by default ours at the well-known path. Whose keys are elsewhere could be anybody's.
async fn keys(jku: Option<&str>, base: &Url, http: &HttpSettings) -> Result<KeySet, SignatureError> {
    let url = match jku {
        None => below(base, "/.well-known/jwks.json"),
        Some(jku) => jku.parse().map_err(|_| SignatureError::OtherOrigin)?,
    };
    if url.origin() != base.origin() {
        return Err(SignatureError::OtherOrigin);
    }
    let set = json(&url, http).await.map_err(|error| SignatureError::NoKeys(error.to_string()))?;
    let set = set.map_err(SignatureError::NoKeys)?;
    KeySet::read(&set).ok_or_else(|| SignatureError::NoKeys("it is not a key set".to_owned()))
}

/// The keys, in their multibase form, that the did:web document at the agent's own address lists for signatures; it must name
/// the DID as one that is the same.
async fn documents(base: &Url, did: &Did, http: &HttpSettings) -> Result<Vec<String>, String> {
    let document =
        json(&below(base, "/.well-known/did.json"), http).await.map_err(|error| error.to_string())??;
    let names = document.get("alsoKnownAs").and_then(Value::as_array);
    let is_same = |name: &Value| name.as_str() == Some(did.as_str());
    if !document.get("id").is_some_and(is_same) && !names.is_some_and(|names| names.iter().any(is_same)) {
        return Err(format!("the document there is not that of {did}"));
    }
    // Only what may assert something counts (W3C Controlled Identifiers 1.0, 2.3.2).
    let asserts = document.get("assertionMethod").and_then(Value::as_array).cloned().unwrap_or_default();
    let methods = document.get("verificationMethod").and_then(Value::as_array);
    let key = |method: &Value| {
        let is_for_it = method.get("id").is_some_and(|id| asserts.contains(id));
        is_for_it.then(|| method.get("publicKeyMultibase")?.as_str().map(str::to_owned))?
    };
    Ok(methods.into_iter().flatten().filter_map(key).collect())
}

/// The agent's address, given its own or its card's.
fn base_of(mut url: Url) -> Url {
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/');
    let path = path.split_once("/.well-known/").map_or(path, |(base, _)| base).to_owned();
    url.set_path(&path);
    url
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// JSON from there; the inner error is an answer that is none.
async fn json(url: &Url, http: &HttpSettings) -> Result<Result<Value, String>, CallError> {
    let reply = card::get(url, http).await?;
    if reply.status != 200 {
        return Ok(Err(format!("status {}", reply.status)));
    }
    Ok(reply.json().ok_or_else(|| "it is not JSON".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_agents_or_its_cards() {
        let base = |text: &str| base_of(text.parse().expect("a URL")).to_string();
        for (text, want) in [
            ("http://a", "http://a/"),
            ("http://a/x/?q#f", "http://a/x"),
            ("http://a/.well-known/agent-card.json", "http://a/"),
            ("http://a/x/.well-known/agent.json", "http://a/x"),
        ] {
            assert_eq!(base(text), want);
        }
        assert_eq!(
            below(&base_of("http://a/x".parse().expect("a URL")), CARD_PATH).path(),
            "/x/.well-known/agent-card.json"
        );
    }
}
