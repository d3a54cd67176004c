//! The endpoints of Ory Hydra that an agent uses: OAuth clients and introspection on the admin port, tokens on the
//! public one.
//!
//! Hydra is believed word for word or not at all: a 404 is an absence only in Hydra's own words, and while its database
//! is down it says `invalid_client` and `active: false` of everything, so a surprising negative counts only between two
//! good answers of `/health/ready` (FACTS §1.7). What to do about an answer is the keeper's to decide.

mod admin;
mod client_registry;
mod error;
mod introspection;
mod jwt;
mod readiness;
mod token;
mod token_source;

pub use admin::{AUTHENTICATION_METHOD, ClientRegistration, GRANT_TYPES, OAuthClient, PatchOperation};
pub use client_registry::ClientRegistry;
pub use error::HydraError;
pub use introspection::Introspection;
pub use jwt::{JwtProblem, KeySet, key_id};
pub use token::{AccessToken, SecretProof};
pub use token_source::{
    ClientCredentials, CredentialsSource, ProvenToken, TokenError, TokenSource, TokenSourceParts,
};

use bindu_http_client::{ClientError, HttpClient, HttpSettings, Method, Reply};
use readiness::Readiness;
use std::{sync::Arc, time::Duration};
use url::Url;

/// Where Hydra is.
#[derive(Clone)]
pub struct HydraSettings {
    /// The admin port's base URL.
    pub admin_url: Url,
    /// The public port's base URL.
    pub public_url: Url,
    /// Connection settings.
    pub http: HttpSettings,
}

/// A client of one Hydra.
#[derive(Clone)]
pub struct Hydra {
    client: HttpClient,
    settings: HydraSettings,
    readiness: Arc<Readiness>,
}

impl Hydra {
    /// A client with these settings. Opens no connection.
    ///
    /// # Errors
    /// Where the TLS settings can't be used.
    pub fn new(settings: HydraSettings) -> Result<Self, ClientError> {
        // One client for both ports: where either speaks TLS, it needs the authorities.
        let tls = [&settings.admin_url, &settings.public_url].into_iter().find(|url| url.scheme() == "https");
        let client = HttpClient::new(tls.unwrap_or(&settings.admin_url), &settings.http)?;
        Ok(Self { client, settings, readiness: Arc::default() })
    }

    /// Where it gives tokens.
    #[must_use]
    pub fn public_url(&self) -> &Url {
        &self.settings.public_url
    }

    /// Whether Hydra and its database are ready. While they are not, no negative answer of Hydra's means anything.
    ///
    /// # Errors
    /// [`HydraError::Unavailable`] where they are not, or do not answer.
    pub async fn ready(&self) -> Result<(), HydraError> {
        let request = self.client.request(Method::GET, self.admin(&["health", "ready"]));
        let reply = self.client.send("ready", request.header("Accept", "application/json")).await?;
        if reply.status == 200 && reply.has("status", "ok") {
            Ok(())
        } else {
            Err(HydraError::unavailable("it is not ready", &reply))
        }
    }

    fn admin(&self, segments: &[&str]) -> Url {
        extend(&self.settings.admin_url, segments)
    }

    fn public(&self, segments: &[&str]) -> Url {
        extend(&self.settings.public_url, segments)
    }

    async fn send_form(
        &self,
        operation: &'static str,
        url: Url,
        form: &[(&str, &str)],
    ) -> Result<Reply, HydraError> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self
            .client
            .request(Method::POST, url)
            .header("Accept", "application/json")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body);
        Ok(self.client.send(operation, request).await?)
    }
}

/// So many seconds, as somebody else says them; more than a year is as good as one, and fits any clock.
fn lifetime(seconds: u64) -> Duration {
    Duration::from_secs(seconds.min(366 * 24 * 3600))
}

fn extend(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// What the fuzz targets reach; no part of the interface.
#[cfg(fuzzing)]
pub mod fuzz {
    use crate::{HydraError, KeySet, introspection};
    use bindu_http_client::Reply;

    /// Reads an answer of a server that may be anything but Hydra.
    pub fn answer(status: u16, body: &[u8], token: &str) {
        let reply = Reply { status, body: body.to_vec(), ..Reply::default() };
        let _ = (HydraError::of(&reply), introspection::read(&reply));
        if let Ok(keys) = KeySet::read(&reply, &reply) {
            assert!(keys.check(token).is_err(), "nobody has signed this");
        }
    }
}
