//! Sends events to where callers have asked for them: the receiver's headers, and a signature of our second key (RFC 9421)
//! that it can check with this agent's documents.

use crate::Metrics;
use bindu_a2a::dialect::Dialect;
use bindu_http_client::{GuardedClient, NotSent, epoch_seconds};
use bindu_identity::{
    DerivedKey, Did, PublicKey, SigningKey,
    message_signature::{self, SignedRequest},
    sealed::{self, SealingKey},
};
use bindu_keeper::HeldIdentity;
use bindu_tasks::{Delivery, NotDelivered, PushOutcome, PushSender, Sealer};
use futures_util::future::BoxFuture;
use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue},
};
use std::sync::{Arc, Mutex, PoisonError};
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
}

/// All headers of a delivery, signed by the second key that belongs to this first one.
fn headers(delivery: &Delivery, key: &SigningKey, did: &Did) -> Option<HeaderMap> {
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
    let nonce = Uuid::new_v4().simple().to_string();
    let signed = message_signature::sign(&DerivedKey::of(key), did, &request, epoch_seconds(), &nonce);
    for (name, value) in [
        ("content-digest", signed.content_digest),
        ("signature-input", signed.signature_input),
        ("signature", signed.signature),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::try_from(value).ok()?);
    }
    Some(headers)
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
            let identity = self.held.current();
            let Some(headers) = headers(&delivery, &identity.signing_key, &identity.did) else {
                return Err(NotDelivered::Gone);
            };
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

/// How many keys are remembered to open what they have sealed: the ring's, and some before.
const REMEMBERED: usize = 8;

/// Seals the secrets of callers with the key ring that the agent holds.
///
/// What a key has sealed is opened for as long as the process lives, even if the key was compromised and left the ring at once:
/// until everything is sealed again. For that it remembers keys that can seal and sign nothing.
pub struct RingSealer {
    held: Arc<HeldIdentity>,
    /// By the keys of the ring, the newest last.
    known: Mutex<Vec<(PublicKey, SealingKey)>>,
}

impl RingSealer {
    /// A sealer with this ring, whatever it holds at each use.
    #[must_use]
    pub fn new(held: Arc<HeldIdentity>) -> Self {
        Self { held, known: Mutex::default() }
    }

    /// The keys that are known now, and the current one.
    fn keys(&self) -> (Vec<SealingKey>, SealingKey) {
        let identity = self.held.current();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key_of = |key: &SigningKey| {
            let public = key.public_key();
            if let Some((_, sealing)) = known.iter().find(|(known, _)| *known == public) {
                return sealing.clone();
            }
            if known.len() >= REMEMBERED {
                known.remove(0);
            }
            let sealing = SealingKey::of(key);
            known.push((public, sealing.clone()));
            sealing
        };
        for key in identity.signing_keys() {
            key_of(&key);
        }
        let current = key_of(identity.current_signing_key());
        (known.iter().map(|(_, key)| key.clone()).collect(), current)
    }
}

impl Sealer for RingSealer {
    fn seal(&self, place: &str, secret: &str) -> Option<String> {
        sealed::seal(&self.keys().1, place, secret).ok()
    }

    fn open(&self, place: &str, text: &str) -> Option<String> {
        sealed::open(&self.keys().0, place, text).ok().map(|secret| secret.to_string())
    }

    fn is_current(&self, text: &str) -> bool {
        sealed::is_sealed_with(&self.keys().1, text)
    }

    fn current(&self) -> String {
        self.keys().1.thumbprint().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, body::Bytes, extract::State, http::HeaderMap as Headers, routing::post};
    use bindu_a2a::call::PushAuthentication;
    use bindu_http_client::{AllowedTargets, SystemLookup, TlsSettings};
    use std::time::Duration;
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    type Got = (Headers, Bytes);

    async fn take(State(sender): State<UnboundedSender<Got>>, headers: Headers, body: Bytes) {
        let _ = sender.send((headers, body));
    }

    fn delivery(url: &str, dialect: Dialect) -> Delivery {
        let authentication =
            PushAuthentication { scheme: "Bearer".to_owned(), credentials: Some("a credential".to_owned()) };
        Delivery {
            url: url.parse().expect("a URL"),
            dialect,
            body: r#"{"task":{}}"#.to_owned(),
            token: Some("a token".into()),
            authentication: Some(Arc::new(authentication)),
        }
    }

    /// A real receiver checks what it got with the agent's second public key, and with nothing else of it.
    #[tokio::test]
    async fn a_receiver_can_verify_what_it_is_sent() {
        let (sender, mut received) = unbounded_channel();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let receiver = Router::new().route("/hook", post(take)).with_state(sender);
        let _receiver = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
            axum::serve(listener, receiver).await
        }));
        let (key, did) = (SigningKey::from_seed(&[7; 32]), "did:bindu:test".parse::<Did>().expect("a DID"));
        let sent = delivery(&format!("http://{address}/hook?a=b"), Dialect::V1);
        let client = |allowed: &[&str]| {
            let allowed = AllowedTargets::read(allowed.iter().copied()).expect("targets");
            GuardedClient::new(allowed, Duration::from_secs(20), TlsSettings::default(), SystemLookup)
        };
        let signed = headers(&sent, &key, &did).expect("headers");
        let refused = client(&[]).post(sent.url.clone(), signed.clone(), sent.body.clone()).await;
        assert!(matches!(refused, Err(NotSent::Refused(_))), "{refused:?}");
        client(&["127.0.0.1"]).post(sent.url.clone(), signed, sent.body.clone()).await.expect("taken");
        let (got, body) = received.recv().await.expect("a request");
        assert!(received.try_recv().is_err(), "the first one was refused before it was sent");
        let value = |name: &str| got.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert_eq!(value("content-type"), "application/a2a+json");
        assert_eq!(value("x-a2a-notification-token"), "a token");
        assert_eq!(value("authorization"), "Bearer a credential");
        assert_eq!(value("a2a-version"), "1.0");
        let check = |body: &[u8], path: &str| {
            let header =
                |name: &str| got.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
            let request = SignedRequest {
                method: "POST",
                path,
                query: Some("a=b"),
                authority: value("host"),
                header: &header,
                body,
            };
            let signature = (value("signature-input"), value("signature"));
            let public = DerivedKey::of(&key).public_key();
            message_signature::verify(signature, &request, &did, &public, epoch_seconds())
        };
        assert!(check(&body, "/hook").expect("verified").has_nonce);
        assert!(check(b"{}", "/hook").is_err() && check(&body, "/other").is_err());
    }

    #[test]
    fn each_dialect_has_its_headers() {
        let value = |headers: &HeaderMap, name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        for (dialect, media_type, version) in [
            (Dialect::V1, "application/a2a+json", Some("1.0")),
            (Dialect::V03, "application/json", Some("0.3")),
            (Dialect::Bindu, "application/json", None),
        ] {
            let headers = plain_headers(&delivery("https://hook.example/", dialect)).expect("headers");
            assert_eq!(value(&headers, "content-type").as_deref(), Some(media_type));
            assert_eq!(value(&headers, "a2a-version").as_deref(), version);
            assert_eq!(value(&headers, "authorization").as_deref(), Some("Bearer a credential"));
            assert!(!format!("{headers:?}").contains("a token"), "secrets are not shown");
        }
        let bare = Delivery { authentication: None, ..delivery("https://hook.example/", Dialect::Bindu) };
        let headers = plain_headers(&bare).expect("headers");
        assert_eq!(
            value(&headers, "authorization").as_deref(),
            Some("Bearer a token"),
            "as Python Bindu has it"
        );
    }
}
