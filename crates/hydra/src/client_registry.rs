//! The seam to the OAuth server: what the keeper asks about the agent's own client.

use crate::{AccessToken, ClientRegistration, Hydra, HydraError, OAuthClient, PatchOperation, SecretProof};
use bindu_identity::Did;
use secrecy::SecretString;

/// A registry of OAuth clients, and the tokens that a client gets there by its secret.
///
/// - **Atomic**: [`create_client`](Self::create_client) is the claim to an id: of any number of callers at most one succeeds,
///   the others get [`HydraError::Conflict`]. A patch takes effect wholly or not at all, and is *not* compared with
///   anything: the last one wins. Who patches has made sure before that it may (the fence of `keeper`).
/// - **Absence** is a positive statement: `Ok(None)` and [`HydraError::NoClient`] mean that the registry itself has said
///   that there is no such client. Every doubt is [`HydraError::Unavailable`].
/// - **A refusal proves nothing by itself**: while its database is down the registry refuses the right secret
///   ([`HydraError::InvalidClient`]). [`prove_secret`](Self::prove_secret) believes a refusal only between two good answers
///   of [`ready`](Self::ready).
/// - **Cancellation**: a write whose future is dropped is undecided, as after [`HydraError::Unavailable`]. Ask for the client
///   before drawing any conclusion.
/// - **Repeats**: reads, tokens and revocations are safe to repeat; so is a patch that sets the same values; a repeated
///   create ends in [`HydraError::Conflict`], which says nothing about whose secret is there.
/// - **Time** is not bounded here beyond the connection's own timeout: who asks sets its own.
#[async_trait::async_trait]
pub trait ClientRegistry: Send + Sync {
    /// The client of a DID, or `None` if there is none.
    ///
    /// # Errors
    /// Every answer that is not the registry's own is [`HydraError::Unavailable`].
    async fn client(&self, did: &Did) -> Result<Option<OAuthClient>, HydraError>;

    /// Registers a client: the atomic claim to its id.
    ///
    /// # Errors
    /// [`HydraError::Conflict`] if the id is taken. After [`HydraError::Unavailable`] it is undecided.
    async fn create_client(&self, registration: &ClientRegistration) -> Result<(), HydraError>;

    /// Changes some members of a client; all others stay as they are.
    ///
    /// # Errors
    /// After [`HydraError::Unavailable`] it is undecided.
    async fn patch_client(&self, did: &Did, operations: &[PatchOperation]) -> Result<(), HydraError>;

    /// Gets a token with these scopes, for an audience that the client was registered with if one is named.
    ///
    /// # Errors
    /// [`HydraError::InvalidClient`] is no proof of anything: see [`prove_secret`](Self::prove_secret).
    async fn token(
        &self,
        did: &Did,
        secret: &SecretString,
        scopes: &[String],
        audience: Option<&str>,
    ) -> Result<AccessToken, HydraError>;

    /// Asks if the registry and its database are ready. While they are not, no negative answer means anything.
    ///
    /// # Errors
    /// [`HydraError::Unavailable`] if they are not, or do not answer.
    async fn ready(&self) -> Result<(), HydraError>;

    /// Ends all live tokens of a client: opaque ones at once, JWTs for all that introspect.
    ///
    /// # Errors
    /// Every answer that does not confirm it.
    async fn revoke_all_tokens(&self, did: &Did) -> Result<(), HydraError>;

    /// Finds out if the registry accepts a secret. A refusal counts only between two good answers of
    /// [`ready`](Self::ready).
    ///
    /// # Errors
    /// If it can't be found out.
    async fn prove_secret(
        &self,
        did: &Did,
        secret: &SecretString,
        scopes: &[String],
    ) -> Result<SecretProof, HydraError> {
        match self.token(did, secret, scopes, None).await {
            Ok(token) => return Ok(SecretProof::Works(token)),
            Err(HydraError::InvalidClient) => {}
            Err(other) => return Err(other),
        }
        self.ready().await?;
        match self.token(did, secret, scopes, None).await {
            Ok(token) => Ok(SecretProof::Works(token)),
            Err(HydraError::InvalidClient) => self.ready().await.map(|()| SecretProof::Wrong),
            Err(other) => Err(other),
        }
    }
}

#[async_trait::async_trait]
impl ClientRegistry for Hydra {
    async fn client(&self, did: &Did) -> Result<Option<OAuthClient>, HydraError> {
        Self::client(self, did).await
    }

    async fn create_client(&self, registration: &ClientRegistration) -> Result<(), HydraError> {
        Self::create_client(self, registration).await
    }

    async fn patch_client(&self, did: &Did, operations: &[PatchOperation]) -> Result<(), HydraError> {
        Self::patch_client(self, did, operations).await
    }

    async fn token(
        &self,
        did: &Did,
        secret: &SecretString,
        scopes: &[String],
        audience: Option<&str>,
    ) -> Result<AccessToken, HydraError> {
        Self::token(self, did, secret, scopes, audience).await
    }

    async fn ready(&self) -> Result<(), HydraError> {
        Self::ready(self).await
    }

    async fn revoke_all_tokens(&self, did: &Did) -> Result<(), HydraError> {
        Self::revoke_all_tokens(self, did).await
    }
}
