//! What Hydra says about a caller's token (RFC 7662).

use crate::{Hydra, HydraError};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

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
    /// End of life, seconds since the epoch by Hydra's clock.
    pub expires_at: Option<u64>,
}

impl Hydra {
    /// Asks whether a token is active; `None` is a refusal, between two good answers of `/health/ready`.
    ///
    /// # Errors
    /// Where it can't be found out.
    pub async fn introspect(&self, token: &SecretString) -> Result<Option<Introspection>, HydraError> {
        if let Some(active) = self.introspect_once(token).await? {
            return Ok(Some(active));
        }
        self.ready().await?;
        let second = self.introspect_once(token).await?;
        if second.is_none() {
            self.ready().await?;
        }
        Ok(second)
    }

    async fn introspect_once(&self, token: &SecretString) -> Result<Option<Introspection>, HydraError> {
        // No `scope`: with one, a token that lacks it would be called inactive.
        let form = [("token", token.expose_secret())];
        let reply =
            self.send_form("introspect", self.admin(&["admin", "oauth2", "introspect"]), &form).await?;
        if reply.status != 200 {
            return Err(HydraError::of(&reply));
        }
        let body = reply.json().unwrap_or_default();
        let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        match body.get("active").and_then(Value::as_bool) {
            Some(false) => Ok(None),
            // A refresh token is active as well, and is not a key to anything here.
            Some(true) if body.get("token_use").is_some_and(|value| value == "refresh_token") => Ok(None),
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
                expires_at: body.get("exp").and_then(Value::as_u64),
            })),
            _ => Err(HydraError::unavailable("an answer that is not Hydra's", &reply)),
        }
    }
}
