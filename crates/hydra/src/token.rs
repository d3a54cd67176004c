//! Access tokens by the client credentials grant, and what they prove about a secret.

use crate::{Hydra, HydraError, lifetime};
use bindu_identity::Did;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use std::time::Duration;

/// An access token.
#[derive(Debug, Clone)]
pub struct AccessToken {
    /// The token itself.
    pub token: SecretString,
    /// How long it lasts from now on; Hydra rounds down, to 0 even.
    pub expires_in: Duration,
}

/// Whether Hydra accepts a secret.
#[derive(Debug)]
pub enum SecretProof {
    /// It gave this token for it.
    Works(AccessToken),
    /// It refuses it, while it and its database are well.
    Wrong,
}

impl Hydra {
    /// Asks for a token with these scopes, for an audience that the client has been registered with if one is named.
    /// (Without `scope` Hydra grants none.)
    ///
    /// # Errors
    /// [`HydraError::InvalidClient`] is no proof of anything: see [`ClientRegistry::prove_secret`](crate::ClientRegistry::prove_secret).
    pub async fn token(
        &self,
        did: &Did,
        secret: &SecretString,
        scopes: &[String],
        audience: Option<&str>,
    ) -> Result<AccessToken, HydraError> {
        let scope = scopes.join(" ");
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", did.as_str()),
            // In the form, not in a Basic header: a DID's colons would have to be escaped there, twice.
            ("client_secret", secret.expose_secret()),
            ("scope", scope.as_str()),
        ];
        form.extend(audience.map(|audience| ("audience", audience)));
        let reply = self.send_form("token", self.public(&["oauth2", "token"]), &form).await?;
        let body = reply.json().unwrap_or_default();
        match (reply.status, body.get("access_token").and_then(Value::as_str)) {
            (200, Some(token)) => Ok(AccessToken {
                token: SecretString::from(token),
                expires_in: lifetime(body.get("expires_in").and_then(Value::as_u64).unwrap_or(0)),
            }),
            (200, None) => Err(HydraError::unavailable("an answer that is not Hydra's", &reply)),
            _ => Err(HydraError::of(&reply)),
        }
    }
}
