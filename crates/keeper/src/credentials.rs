//! The credentials of our client, as its tokens are asked for.

use crate::Keeper;
use bindu_hydra::{ClientCredentials, CredentialsSource, TokenError, TokenSource, TokenSourceParts};
use bindu_store::{Answer, CredentialRecord};
use std::sync::Arc;

impl Keeper {
    /// Our own tokens, if there is a Hydra.
    #[must_use]
    pub fn token_source(self: &Arc<Self>) -> Option<TokenSource> {
        let (registry, _) = self.hydra.as_ref()?;
        Some(TokenSource::new(TokenSourceParts {
            did: self.agent.did.clone(),
            registry: Arc::clone(registry),
            credentials: Arc::clone(self) as Arc<dyn CredentialsSource>,
            proven: Arc::clone(&self.proven),
            jitter: self.jitter,
        }))
    }
}

#[async_trait::async_trait]
impl CredentialsSource for Keeper {
    /// The store's; if it can't be asked, the copy on the disk.
    async fn credentials(&self) -> Result<ClientCredentials, TokenError> {
        let did = &self.agent.did;
        let fields = match self.store.read(&self.credentials_record()).await {
            Answer::Present(record) => Some(record.fields),
            answer @ (Answer::Unavailable(_) | Answer::Denied) => {
                let directory = self.directory.as_ref();
                let copy = directory.and_then(|directory| directory.credentials(did).ok().flatten());
                Some(copy.ok_or_else(|| match answer {
                    Answer::Denied => TokenError::StoreDenied(did.clone()),
                    _ => TokenError::StoreUnavailable(did.clone()),
                })?)
            }
            _ => None,
        };
        let record = fields.and_then(|fields| CredentialRecord::from_fields(&fields).ok());
        let record = record.filter(|record| record.client_id == did.as_str());
        let record = record.ok_or_else(|| TokenError::NoCredentials(did.clone()))?;
        let scopes = self.token_scopes(&record.scopes).to_vec();
        Ok(ClientCredentials { secret: record.client_secret, next_secret: record.next_secret, scopes })
    }
}
