//! Whose key a reply must be signed with, and why we believe that.

use crate::{
    CallError, CallOptions,
    card::{self, Card},
    known::{Known, KnownAgents, Replaced, Unusable},
};
use bindu_http_client::{HttpSettings, epoch_seconds};
use bindu_hydra::{ClientRegistry, HydraError};
use bindu_identity::{
    Did, PublicKey, RotationStatement,
    rotation::{self, MOST_STATEMENTS},
};
use serde::Deserialize as _;
use serde_json::Value;
use std::{collections::HashMap, fmt};
use url::Url;

/// How often an entry is looked at again because another call has changed it meanwhile.
const MOST_RACES: usize = 8;

/// By what an agent's key is believed to be its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Hydra names it for the DID that was asked for.
    Hydra,
    /// Our own settings name it.
    Pinned,
    /// The agent has shown it at the first call, and the same at each call since.
    FirstUse,
}

impl Trust {
    /// For people and programs, from a closed set.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Hydra => "the key in Hydra",
            Self::Pinned => "a pinned key",
            Self::FirstUse => "first use",
        }
    }
}

/// An agent's key has given way to another since the last call; each step is proved by a statement of the key before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The key of the last call.
    pub from: PublicKey,
    /// The key now.
    pub to: PublicKey,
    /// How many rotations have led to it.
    pub generation: u64,
}

impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its key {} gave way to {} (rotation {})", self.from, self.to, self.generation)
    }
}

/// An agent's keys, and whose they are.
#[derive(Debug)]
pub(crate) struct Trusted {
    pub(crate) did: String,
    /// A reply must be signed with one of them: an agent that rotates has two for a while.
    pub(crate) keys: Vec<PublicKey>,
    pub(crate) trust: Trust,
    /// What was learned at this call.
    pub(crate) change: Option<KeyChange>,
}

/// Where keys are known from.
pub(crate) struct Sources<'a> {
    pub(crate) hydra: Option<&'a dyn ClientRegistry>,
    pub(crate) pinned: &'a HashMap<Did, Vec<PublicKey>>,
    pub(crate) known: &'a KnownAgents,
    pub(crate) http: &'a HttpSettings,
}

impl Sources<'_> {
    /// The keys of the agent whose card this is, if it is the one that was asked for. Keys that were given with the call
    /// go before all others.
    pub(crate) async fn keys(&self, card: &Card, options: &CallOptions) -> Result<Trusted, CallError> {
        let (wanted, given) = (options.did.as_ref(), options.keys.as_slice());
        let found = card.did.as_ref().map_or("no DID", Did::as_str);
        if let Some(wanted) = wanted.filter(|wanted| card.did.as_ref() != Some(wanted)) {
            return Err(CallError::OtherAgent { wanted: wanted.clone(), found: found.to_owned() });
        }
        let did = found.to_owned();
        let pinned = card.did.as_ref().and_then(|did| self.pinned.get(did)).filter(|keys| !keys.is_empty());
        let given = Some(given).filter(|keys| !keys.is_empty());
        if let Some(keys) = given.or(pinned.map(Vec::as_slice)) {
            return Ok(Trusted { did, keys: keys.to_vec(), trust: Trust::Pinned, change: None });
        }
        match (wanted, self.hydra, &card.did) {
            (Some(wanted), Some(hydra), _) => {
                let keys = in_hydra(hydra, wanted).await?;
                Ok(Trusted { did, keys, trust: Trust::Hydra, change: None })
            }
            (Some(_), None, _) => {
                Err(no_key(&did, "without Hydra or a pinned key nobody can say whose it is"))
            }
            (None, _, Some(did)) => self.on_first_use(card, did).await,
            (None, _, None) => Err(no_key(&did, "it names no DID in its card")),
        }
    }

    /// The keys of an agent that shows the same one as at the first call, or a key that the known one gave way to.
    async fn on_first_use(&self, card: &Card, did: &Did) -> Result<Trusted, CallError> {
        let url = card.interface.as_str().trim_end_matches('/');
        let shown = self.shown(card, did).await?;
        let unusable = |error: Unusable| no_key(did.as_str(), &error.to_string());
        let now = epoch_seconds().cast_signed();
        let mut known = self.known.of(url).await.map_err(unusable)?;
        for _ in 0..MOST_RACES {
            let next = match &known {
                Some(known) if known.did == *did && known.key == shown => {
                    return Ok(Trusted::first_use(known, now, None));
                }
                Some(known) => match self.followed(card, known, (did, &shown), now).await? {
                    Some(next) => next,
                    // One of its replicas is behind.
                    None => return Ok(Trusted::first_use(known, now, None)),
                },
                // What it says of its past is no more to be believed than its key; but it keeps the past from coming back.
                None => {
                    let statements = self.rotations(card, did).await.unwrap_or_default();
                    Known::new(did.clone(), shown, &statements, now)
                }
            };
            match self.known.replace(url, known.as_ref(), &next).await.map_err(unusable)? {
                Replaced::Done => {
                    let change = known.map(|known| KeyChange {
                        from: known.key,
                        to: next.key,
                        generation: next.generation,
                    });
                    if let Some(change) = &change {
                        let (from, to) = (change.from.fingerprint(), change.to.fingerprint());
                        let generation = change.generation;
                        tracing::warn!(url, %did, %from, %to, generation, "a known agent has rotated its key");
                    }
                    return Ok(Trusted::first_use(&next, now, change));
                }
                Replaced::Other(other) => known = *other,
            }
        }
        Err(no_key(did.as_str(), "what is known of it changes all the time"))
    }

    /// The entry of a known agent that shows another key, if statements that it publishes lead there: by its own keys,
    /// one from another, none of them older than what is known. `None` if it shows an earlier key that still counts.
    async fn followed(
        &self,
        card: &Card,
        known: &Known,
        (did, shown): (&Did, &PublicKey),
        now: i64,
    ) -> Result<Option<Known>, CallError> {
        let is_earlier = known.did == *did && known.keys(now).contains(shown);
        let mut news = match known.did == *did {
            true => self.rotations(card, did).await.or_else(|lost| is_earlier.then(Vec::new).ok_or(lost))?,
            false => Vec::new(),
        };
        news.retain(|statement| statement.generation > known.generation);
        if let Some(chain) = rotation::chain(&news, did, &known.key, shown) {
            return Ok(Some(known.after(&chain, now)));
        }
        if is_earlier {
            return Ok(None);
        }
        Err(CallError::OtherKey {
            did: did.to_string(),
            known: format!("{} of {}", known.key, known.did),
            found: shown.to_string(),
        })
    }

    /// The key that the agent shows in its DID document.
    async fn shown(&self, card: &Card, did: &Did) -> Result<PublicKey, CallError> {
        let mut url = below(&card.interface, &["did", "resolve"]);
        url.query_pairs_mut().append_pair("did", did.as_str());
        let reply = card::get(&url, self.http).await?;
        let document = reply.json().filter(|_| reply.status == 200).unwrap_or_default();
        if document.get("id").and_then(Value::as_str) != Some(did.as_str()) {
            return Err(no_key(did.as_str(), "its DID document is not there, or another agent's"));
        }
        let key = document.pointer("/authentication/0/publicKeyBase58").and_then(Value::as_str);
        key.and_then(|key| key.parse().ok())
            .ok_or_else(|| no_key(did.as_str(), "its DID document names no usable key"))
    }

    /// The rotation statements that the agent publishes. Not verified.
    async fn rotations(&self, card: &Card, did: &Did) -> Result<Vec<RotationStatement>, CallError> {
        let url = below(&card.interface, &[".well-known", "did-rotation.json"]);
        let reply = card::get(&url, self.http).await?;
        let document = reply.json().filter(|_| reply.status == 200).unwrap_or_default();
        Ok(published(&document, did))
    }
}

impl Trusted {
    fn first_use(known: &Known, now: i64, change: Option<KeyChange>) -> Self {
        Self { did: known.did.to_string(), keys: known.keys(now), trust: Trust::FirstUse, change }
    }
}

/// The statements of a `did-rotation.json`: what is none is left out.
pub(crate) fn published(document: &Value, did: &Did) -> Vec<RotationStatement> {
    let is_its_own = document.get("did").and_then(Value::as_str) == Some(did.as_str());
    let statements = document.get("statements").and_then(Value::as_array).filter(|_| is_its_own);
    let statements = statements.into_iter().flatten().take(MOST_STATEMENTS);
    statements.filter_map(|statement| RotationStatement::deserialize(statement).ok()).collect()
}

/// A path below where the agent takes calls.
fn below(interface: &Url, segments: &[&str]) -> Url {
    let mut url = interface.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url.set_query(None);
    url.set_fragment(None);
    url
}

fn no_key(did: &str, problem: &str) -> CallError {
    CallError::NoKey { did: did.to_owned(), problem: problem.to_owned() }
}

/// The key that Hydra names, and those that gave way to it and still count.
async fn in_hydra(hydra: &dyn ClientRegistry, did: &Did) -> Result<Vec<PublicKey>, CallError> {
    let no_key = |problem: String| CallError::NoKey { did: did.to_string(), problem };
    match hydra.client(did).await {
        Ok(Some(client)) => {
            let current: PublicKey = client
                .public_key()
                .and_then(|key| key.parse().ok())
                .ok_or_else(|| no_key("its client in Hydra names no usable key".to_owned()))?;
            let (statements, now) = (client.rotations(), epoch_seconds().cast_signed());
            let earlier = rotation::overlapping(&statements, did, &current, now);
            Ok(std::iter::once(current).chain(earlier.into_iter().map(|link| link.from)).collect())
        }
        Ok(None) => Err(no_key("Hydra has no client of this DID".to_owned())),
        Err(error @ HydraError::Unavailable { .. }) => {
            Err(CallError::Unavailable { url: "Hydra".to_owned(), detail: error.to_string() })
        }
        Err(error) => Err(no_key(error.to_string())),
    }
}
