//! Sends events to where callers have asked for them: the receiver's headers, and a signature of our second key (RFC 9421)
//! that it can check with this agent's documents.

use crate::Metrics;
use bindu_a2a::dialect::Dialect;
use bindu_http_client::{GuardedClient, NotSent, epoch_seconds};
use bindu_identity::{
    DerivedKey, SigningKey,
    message_signature::{self, SignedRequest},
    sealed,
};
use bindu_keeper::HeldIdentity;
use bindu_tasks::{Delivery, NotDelivered, PushOutcome, PushSender, Sealer};
use futures_util::future::BoxFuture;
use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue},
};
use std::sync::Arc;
use url::Url;
use uuid::Uuid;

/// The receiver's own token, in the official SDKs.
const TOKEN: HeaderName = HeaderName::from_static("x-a2a-notification-token");

/// The version of what the body is.
const VERSION: HeaderName = HeaderName::from_static("a2a-version");

/// The answer of a receiver that wants nothing more (RFC 9110, 15.5.11).
const GONE: u16 = 410;

/// Sends events over HTTP.
pub struct HttpPushSender {
    client: GuardedClient,
    held: Arc<HeldIdentity>,
    metrics: Arc<Metrics>,
}

impl HttpPushSender {
    /// A sender that signs as this agent.
    #[must_use]
    pub fn new(client: GuardedClient, held: Arc<HeldIdentity>, metrics: Arc<Metrics>) -> Self {
        Self { client, held, metrics }
    }

    fn headers(&self, delivery: &Delivery) -> Option<HeaderMap> {
        let identity = self.held.current();
        let mut headers = plain_headers(delivery)?;
        let none = |_: &str| Vec::new();
        let url = &delivery.url;
        let request = SignedRequest {
            method: "POST",
            path: url.path(),
            query: url.query(),
            authority: &authority(url)?,
            header: &none,
            body: delivery.body.as_bytes(),
        };
        let key = DerivedKey::of(&identity.signing_key);
        let nonce = Uuid::new_v4().simple().to_string();
        let signed = message_signature::sign(&key, &identity.did, &request, epoch_seconds(), &nonce);
        for (name, value) in [
            ("content-digest", signed.content_digest),
            ("signature-input", signed.signature_input),
            ("signature", signed.signature),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::try_from(value).ok()?);
        }
        Some(headers)
    }
}

/// The headers without the signature; `None` for what cannot be one, which was refused when it was set.
fn plain_headers(delivery: &Delivery) -> Option<HeaderMap> {
    let secret = |text: &str| {
        let mut value = HeaderValue::from_str(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    };
    let mut headers = HeaderMap::new();
    let (media_type, version) = match delivery.dialect {
        Dialect::V1 => ("application/a2a+json", Some("1.0")),
        Dialect::V03 => ("application/json", Some("0.3")),
        Dialect::Bindu => ("application/json", None),
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    if let Some(version) = version {
        headers.insert(VERSION, HeaderValue::from_static(version));
    }
    if let Some(token) = &delivery.token {
        headers.insert(TOKEN, secret(token)?);
        if delivery.dialect == Dialect::Bindu {
            // Where Python Bindu puts it.
            headers.insert(AUTHORIZATION, secret(&format!("Bearer {token}"))?);
        }
    }
    if let Some(authentication) = &delivery.authentication
        && let Some(credentials) = &authentication.credentials
    {
        headers.insert(AUTHORIZATION, secret(&format!("{} {credentials}", authentication.scheme))?);
    }
    Some(headers)
}

/// Whom a request is for, as its `Host` header says.
fn authority(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

impl PushSender for HttpPushSender {
    fn check(&self, url: &Url) -> Result<(), String> {
        self.client.check(url).map_err(|refused| refused.to_string())
    }

    fn send(&self, delivery: Delivery) -> BoxFuture<'_, Result<(), NotDelivered>> {
        Box::pin(async move {
            let Some(headers) = self.headers(&delivery) else { return Err(NotDelivered::Gone) };
            match self.client.post(delivery.url, headers, delivery.body).await {
                Ok(()) => Ok(()),
                Err(NotSent::Refused(refused)) => Err(NotDelivered::Refused(refused.to_string())),
                Err(NotSent::Status(GONE)) => Err(NotDelivered::Gone),
                Err(error) => Err(NotDelivered::Failed(error.to_string())),
            }
        })
    }

    fn observe(&self, outcome: PushOutcome) {
        self.metrics.push(outcome.label());
    }

    fn backlog(&self, claimed: usize) {
        self.metrics.push_backlog(claimed);
    }
}

/// Seals the secrets of callers with the key ring that the agent holds.
pub struct RingSealer(Arc<HeldIdentity>);

impl RingSealer {
    /// A sealer with this ring, whatever it holds at each use.
    #[must_use]
    pub fn new(held: Arc<HeldIdentity>) -> Self {
        Self(held)
    }
}

impl Sealer for RingSealer {
    fn seal(&self, place: &str, secret: &str) -> Option<String> {
        sealed::seal(self.0.current().current_signing_key(), place, secret).ok()
    }

    fn open(&self, place: &str, text: &str) -> Option<String> {
        let keys = self.0.current().signing_keys();
        let keys = keys.iter().map(|key| -> &SigningKey { key });
        sealed::open(keys, place, text).ok().map(|secret| secret.to_string())
    }

    fn is_current(&self, text: &str) -> bool {
        sealed::is_sealed_with(self.0.current().current_signing_key(), text)
    }
}
