//! The public keys of callers, from their clients' metadata in Hydra: remembered for [`FRESH`], looked at again when a
//! signature fails, because the caller may have rotated. A pinned key takes the place of whatever Hydra says.

use super::{
    AuthRefusal,
    remembered::{Answer, Lifetimes, Missing, Place, Remembered, Wish},
};
use bindu_hydra::{Hydra, HydraError, OAuthClient};
use bindu_identity::{Did, PublicKey};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How long a caller's key counts: so late is a rotation noticed where the old key signs on.
const FRESH: Duration = Duration::from_secs(60);

/// Keys are asked for again after a bad signature, and after a refusal, not more often than this for one DID.
const REFRESH: Duration = Duration::from_secs(5);

/// The keys of one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerKeys {
    /// The one that signs requests in Bindu's form.
    pub request: Option<PublicKey>,
    /// The second one, for HTTP message signatures (RFC 9421).
    pub message: Option<PublicKey>,
}

impl CallerKeys {
    fn of(client: &OAuthClient) -> Self {
        let read = |text: Option<&str>| text.and_then(|text| text.parse().ok());
        Self { request: read(client.public_key()), message: read(client.derived_public_key()) }
    }
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
            return Ok(*pinned);
        }
        let question = |place: Place| {
            let (hydra, did) = (self.hydra.clone(), did.clone());
            async move {
                let _place = place.turn().await;
                match hydra.client(&did).await {
                    Ok(Some(client)) => Ok(Answer::Known(CallerKeys::of(&client), None)),
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
