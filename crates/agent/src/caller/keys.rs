//! The public keys of callers, from their clients' metadata in Hydra: remembered for [`FRESH`], looked at again when a
//! signature fails, because the caller may have rotated. A pinned key takes the place of whatever Hydra says.
//!
//! A caller that rotates signs with its old key for a while. That one counts beside the key that Hydra names as long as a
//! statement of the old key itself says so (`bindu_identity::rotation`). A pinned caller's statements are not looked at:
//! who pins has said which keys count.

use super::{
    AuthRefusal, MOST_FRESH,
    remembered::{Answer, Lifetimes, Missing, Place, Remembered, Wish},
};
use bindu_hydra::{Hydra, HydraError, OAuthClient};
use bindu_identity::{Did, PublicKey, RotationStatement, rotation};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How long a caller's key counts, as long as a token at most: so late is a withdrawal noticed if the old key signs on.
const FRESH: Duration = MOST_FRESH;

/// Keys are asked for again after a bad signature, and after a refusal, not more often than this for one DID.
const REFRESH: Duration = Duration::from_secs(5);

/// How many earlier keys of one caller are tried, the newest. An agent holds one of them at most; more are those of
/// rotations in quick succession.
const MOST_EARLIER: usize = 4;

/// The keys of one caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallerKeys {
    /// Those that sign requests in Bindu's form: one, or as many as are pinned.
    pub request: Vec<PublicKey>,
    /// The second keys, for HTTP message signatures (RFC 9421).
    pub message: Vec<PublicKey>,
    /// Those that have given way and still count, newest first.
    earlier: Vec<Earlier>,
}

/// A key that has given way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Earlier {
    /// By which it did; it was verified, and says until when the key counts.
    by: RotationStatement,
    /// Its second key, where a statement or a binding of the caller's own names it.
    message: Option<PublicKey>,
}

impl CallerKeys {
    /// Keys that count whatever anybody says.
    #[must_use]
    pub fn pinned(request: Vec<PublicKey>, message: Vec<PublicKey>) -> Self {
        Self { request, message, earlier: Vec::new() }
    }

    /// What the client of this DID says, at this moment (seconds since the epoch).
    fn of(did: &Did, client: &OAuthClient, now: i64) -> Self {
        let read = |text: Option<&str>| text.and_then(|text| text.parse().ok());
        let current: Option<PublicKey> = read(client.public_key());
        Self {
            request: current.into_iter().collect(),
            message: read(client.derived_public_key()).into_iter().collect(),
            earlier: current.map(|current| earlier(did, client, &current, now)).unwrap_or_default(),
        }
    }

    /// The keys for requests in Bindu's form that count at this moment, the current one first.
    pub(super) fn for_requests(&self, now: i64) -> impl Iterator<Item = PublicKey> {
        let earlier = self.counting(now).map(|earlier| earlier.by.from);
        // After an undo the current key is an earlier one, too.
        self.request.iter().copied().chain(earlier.filter(|key| !self.request.contains(key)))
    }

    /// The keys for HTTP message signatures that count at this moment, the current one first.
    pub(super) fn for_messages(&self, now: i64) -> impl Iterator<Item = PublicKey> {
        self.message.iter().copied().chain(self.counting(now).filter_map(|earlier| earlier.message))
    }

    /// An answer may be remembered for longer than an old key counts.
    fn counting(&self, now: i64) -> impl Iterator<Item = &Earlier> {
        self.earlier.iter().take_while(move |earlier| earlier.by.is_in_overlap(now))
    }
}

/// The keys that gave way to the current one, and still count.
fn earlier(did: &Did, client: &OAuthClient, current: &PublicKey, now: i64) -> Vec<Earlier> {
    let statements = client.rotations();
    let line = rotation::line(&statements, did, current);
    let binding = client.second_key_binding().filter(|binding| binding.verify(did).is_ok());
    let counting = line.iter().enumerate().take_while(|(_, link)| link.is_in_overlap(now)).take(MOST_EARLIER);
    let earlier = counting.map(|(at, link)| {
        // The statement that led to the old key names its second one; its own binding does, too.
        let named = line.get(at + 1).map(|before| before.to_second);
        let bound = binding.as_ref().filter(|binding| binding.key == link.from).map(|binding| binding.second);
        Earlier { by: (*link).clone(), message: named.or(bound) }
    });
    earlier.collect()
}

/// Knows the keys of callers.
pub(super) struct Keys {
    hydra: Hydra,
    pinned: HashMap<Did, CallerKeys>,
    remembered: Remembered<Did, CallerKeys>,
}

impl Keys {
    pub(super) fn new(
        hydra: Hydra,
        pinned: HashMap<Did, CallerKeys>,
        stale_if_unavailable: Duration,
    ) -> Self {
        let lifetimes = Lifetimes { fresh: FRESH, stale: stale_if_unavailable };
        Self { hydra, pinned, remembered: Remembered::new(lifetimes) }
    }

    /// The keys of a caller.
    pub(super) async fn of(&self, did: &Did, deadline: Instant) -> Result<CallerKeys, AuthRefusal> {
        self.younger_than(did, FRESH, deadline).await
    }

    /// The keys of a caller whose signature has failed, as they are now; as they were where that is not long ago.
    pub(super) async fn again(&self, did: &Did, deadline: Instant) -> Result<CallerKeys, AuthRefusal> {
        self.younger_than(did, REFRESH, deadline).await
    }

    async fn younger_than(
        &self,
        did: &Did,
        age: Duration,
        deadline: Instant,
    ) -> Result<CallerKeys, AuthRefusal> {
        if let Some(pinned) = self.pinned.get(did) {
            return Ok(pinned.clone());
        }
        let question = |place: Place| {
            let (hydra, did) = (self.hydra.clone(), did.clone());
            async move {
                let _place = place.turn().await;
                match hydra.client(&did).await {
                    Ok(Some(client)) => {
                        Ok(Answer::Known(CallerKeys::of(&did, &client, epoch_seconds()), None))
                    }
                    Ok(None) | Err(HydraError::Unaddressable) => Ok(Answer::Refused(REFRESH)),
                    Err(error) => Err(error),
                }
            }
        };
        self.remembered
            .get(Wish { key: did, age: Some(age), deadline, fallback: None }, question)
            .await
            .map_err(|missing| match missing {
                Missing::Refused => AuthRefusal::NoPublicKey,
                Missing::Unavailable | Missing::Busy => AuthRefusal::Unavailable,
            })
    }
}

/// Seconds since the epoch, as statements count them.
pub(super) fn epoch_seconds() -> i64 {
    bindu_http_client::epoch_seconds().cast_signed()
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
