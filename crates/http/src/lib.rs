//! How we talk to servers: one client for each, every answer bounded in time and size, no redirect followed, no URL,
//! header or body in an error.
//!
//! What an answer means is for the store and Hydra crates to say.

use http::HeaderMap;
use reqwest::redirect;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use std::{
    sync::{Arc, Once},
    time::{Duration, SystemTime},
};
use url::Url;

pub use reqwest::Method;

/// The longest answer that is read, in bytes: a Vault record is at most 1 MiB on its raft storage, a page of 250 Hydra
/// clients about 250 kB.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Connecting takes one round trip; who needs longer is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Is told of each request to a server once it has ended, for metrics. Called on the request's path: must not block.
pub trait RequestObserver: Send + Sync {
    /// `operation` and `outcome` are from closed sets, fit for a metric's labels.
    fn observe(&self, operation: &'static str, outcome: &'static str);

    /// By how many seconds our clock is ahead of the server's, by an answer's `Date`; negative where it is behind.
    fn skew(&self, _seconds: i64) {}
}

/// Counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl RequestObserver for NoObserver {
    fn observe(&self, _: &'static str, _: &'static str) {}
}

/// How to reach a server.
#[derive(Clone)]
pub struct HttpSettings {
    /// How long a whole exchange may take.
    pub timeout: Duration,
    /// Certificates (PEM) of the authorities to trust instead of the system's.
    pub authorities: Option<Vec<u8>>,
    /// A certificate to show, with its chain and its key (PEM).
    pub identity: Option<SecretString>,
    /// Trusts any certificate.
    pub dangerous_accept_any_certificate: bool,
    /// Who counts.
    pub observer: Arc<dyn RequestObserver>,
}

impl HttpSettings {
    /// The system's authorities, nobody counting.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            authorities: None,
            identity: None,
            dangerous_accept_any_certificate: false,
            observer: Arc::new(NoObserver),
        }
    }
}

/// A client for one server.
#[derive(Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    observer: Arc<dyn RequestObserver>,
}

/// A server's whole answer.
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body. May hold secrets: never into an error or a log.
    pub body: Vec<u8>,
}

/// Why there is no whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoReply {
    /// No connection, or none that TLS accepts.
    #[error("no connection")]
    Unreachable,
    /// Not in time.
    #[error("no answer in time")]
    TimedOut,
    /// Cut off, too long, or no HTTP.
    #[error("the answer broke off, is no HTTP or is too long")]
    Broken,
}

/// The client can't be built from its settings.
#[derive(Debug, thiserror::Error)]
#[error("the TLS settings cannot be used")]
pub struct ClientError(#[source] reqwest::Error);

impl HttpClient {
    /// A client for the server at `base`.
    ///
    /// # Errors
    /// Where a certificate can't be read.
    pub fn new(base: &Url, settings: &HttpSettings) -> Result<Self, ClientError> {
        install_crypto_provider();
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(settings.timeout)
            .tcp_nodelay(true)
            .user_agent(concat!("bindu/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &settings.authorities {
            let certificates = reqwest::Certificate::from_pem_bundle(pem).map_err(ClientError)?;
            builder = builder.tls_certs_only(certificates);
        } else if base.scheme() == "http" {
            // No TLS to this server: the system's authorities, a megabyte of them, stay unread.
            builder = builder.tls_certs_only([]);
        }
        if let Some(pem) = &settings.identity {
            let identity =
                reqwest::Identity::from_pem(pem.expose_secret().as_bytes()).map_err(ClientError)?;
            builder = builder.identity(identity);
        }
        if settings.dangerous_accept_any_certificate {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        let client = builder.build().map_err(ClientError)?;
        Ok(Self { client, observer: Arc::clone(&settings.observer) })
    }

    /// Begins a request.
    pub fn request(&self, method: Method, url: Url) -> reqwest::RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends a request and reads the whole answer. `operation` is the label it is counted under.
    ///
    /// # Errors
    /// [`NoReply`] where there is no whole answer; any status is an answer.
    pub async fn send(
        &self,
        operation: &'static str,
        request: reqwest::RequestBuilder,
    ) -> Result<Reply, NoReply> {
        let reply = exchange(request).await;
        let outcome = match &reply {
            Ok(reply) => match reply.status {
                200..300 => "ok",
                300..400 => "redirect",
                400..500 => "client_error",
                _ => "server_error",
            },
            Err(NoReply::Unreachable) => "unreachable",
            Err(NoReply::TimedOut) => "timed_out",
            Err(NoReply::Broken) => "broken",
        };
        self.observer.observe(operation, outcome);
        if let Some(seconds) = reply.as_ref().ok().and_then(|reply| skew(&reply.headers)) {
            self.observer.skew(seconds);
        }
        reply
    }
}

impl Reply {
    /// The body as JSON, where it is some.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether the body is a JSON object with this text as this member.
    #[must_use]
    pub fn has(&self, member: &str, text: &str) -> bool {
        self.json().and_then(|body| body.get(member)?.as_str().map(|found| found == text)).unwrap_or(false)
    }

    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// When the server says that it answered (`Date`, RFC 9110 §6.6.1), seconds since the epoch.
    #[must_use]
    pub fn date(&self) -> Option<u64> {
        date(&self.headers)
    }

    /// How long the server asks to be left alone (`Retry-After` in seconds; RFC 9110's date form is rare and ignored).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.trim().parse().ok().map(Duration::from_secs)
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reply({}, {} bytes)", self.status, self.body.len())
    }
}

/// Now, in whole seconds since the epoch.
#[must_use]
pub fn epoch_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// By how much our clock is ahead of the `Date` that an answer bears (RFC 9110 §6.6.1: whole seconds).
fn skew(headers: &HeaderMap) -> Option<i64> {
    Some(i64::try_from(epoch_seconds()).ok()?.saturating_sub(i64::try_from(date(headers)?).ok()?))
}

fn date(headers: &HeaderMap) -> Option<u64> {
    let date = httpdate::parse_http_date(headers.get("date")?.to_str().ok()?).ok()?;
    date.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<Reply, NoReply> {
    let mut response = request.send().await.map_err(no_reply)?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(no_reply)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(NoReply::Broken);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply { status, headers, body })
}

fn no_reply(error: reqwest::Error) -> NoReply {
    if error.is_timeout() {
        NoReply::TimedOut
    } else if error.is_connect() {
        NoReply::Unreachable
    } else {
        NoReply::Broken
    }
}

/// ring, not aws-lc: it needs no CMake and links a megabyte less.
fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that the host program has installed one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
