//! What Hydra says about a caller's token (RFC 7662).
//!
//! With its database down Hydra calls every token inactive, so a `false` is believed only between two good answers of
//! `/health/ready`. Those are shared: however many tokens turn out to be garbage, readiness is asked a few times a second.

use crate::lifetime;
use crate::{Hydra, HydraError};
use bindu_http_client::{Reply, epoch_seconds};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long before the question a good answer of `/health/ready` may lie. A database that goes and comes back within
/// this, with a question in between, goes unnoticed.
const READY_BEFORE: Duration = Duration::from_secs(1);

/// An active token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    /// The client that it was given to; for an agent its DID.
    pub client_id: String,
    /// The subject; for the client credentials grant the client id again.
    pub subject: String,
    /// Scopes granted.
    pub scopes: Vec<String>,
    /// Audiences granted.
    pub audiences: Vec<String>,
    /// How much longer it lived when Hydra answered, by Hydra's own clock: `exp` minus the answer's `Date`.
    pub expires_in: Option<Duration>,
}

impl Hydra {
    /// Asks whether a token is active; `None` is a refusal that can be believed. `place` is let go as soon as Hydra has
    /// answered for the first time: what comes after that is shared with others.
    ///
    /// # Errors
    /// Where it can't be found out.
    pub async fn introspect<Place>(
        &self,
        token: &SecretString,
        place: Place,
    ) -> Result<Option<Introspection>, HydraError> {
        let mut asked = Instant::now();
        if let Some(active) = self.introspect_once(token).await? {
            return Ok(Some(active));
        }
        drop(place);
        let before = asked.checked_sub(READY_BEFORE).unwrap_or(asked);
        if !self.readiness.was_good_between(before, asked) {
            self.readiness.good_after(self, asked).await?;
            let _place = self.readiness.place().await;
            asked = Instant::now();
            if let Some(active) = self.introspect_once(token).await? {
                return Ok(Some(active));
            }
        }
        self.readiness.good_after(self, asked).await.map(|()| None)
    }

    async fn introspect_once(&self, token: &SecretString) -> Result<Option<Introspection>, HydraError> {
        // No `scope`: with one, a token that lacks it would be called inactive.
        let form = [("token", token.expose_secret())];
        let reply =
            self.send_form("introspect", self.admin(&["admin", "oauth2", "introspect"]), &form).await?;
        read(&reply)
    }
}

/// What an answer says; `None` for a token that is not active.
pub(crate) fn read(reply: &Reply) -> Result<Option<Introspection>, HydraError> {
    if reply.status != 200 {
        return Err(HydraError::of(reply));
    }
    let body = reply.json().unwrap_or_default();
    let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    match body.get("active").and_then(Value::as_bool) {
        Some(false) => Ok(None),
        // A refresh token is active as well, and is not a key to anything here.
        Some(true) if body.get("token_use").is_some_and(|value| value != "access_token") => Ok(None),
        Some(true) if !text("client_id").is_empty() => Ok(Some(Introspection {
            client_id: text("client_id"),
            subject: text("sub"),
            scopes: text("scope").split_whitespace().map(str::to_owned).collect(),
            audiences: body
                .get("aud")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            expires_in: body.get("exp").and_then(Value::as_u64).map(|expires_at| {
                let now = reply.date().unwrap_or_else(epoch_seconds);
                // `Date` is rounded down: up to a second of that has passed.
                lifetime(expires_at.saturating_sub(now).saturating_sub(1))
            }),
        })),
        _ => Err(HydraError::unavailable("an answer that is not Hydra's", reply)),
    }
}
