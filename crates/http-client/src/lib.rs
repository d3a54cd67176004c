//! How we talk to servers: one client for each, every answer bounded in time and size, no redirect followed, no URL,
//! header or body in an error.
//!
//! What an answer means is for the store and Hydra crates to say.

mod tls;

use http::HeaderMap;
use reqwest::redirect;
use serde_json::Value;
use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, Once, PoisonError},
    time::{Duration, SystemTime},
};
use url::Url;

pub use reqwest::Method;
pub use tls::TlsSettings;

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
    /// What TLS goes by.
    pub tls: TlsSettings,
    /// Who counts.
    pub observer: Arc<dyn RequestObserver>,
}

impl HttpSettings {
    /// The system's authorities, nobody counting.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, tls: TlsSettings::default(), observer: Arc::new(NoObserver) }
    }
}

/// A client for one server. Certificates that change in their files count from the next request on.
#[derive(Clone)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    base: Url,
    settings: HttpSettings,
    current: Mutex<Current>,
}

/// The client in use, and the certificates that it was made with.
struct Current {
    client: reqwest::Client,
    stamps: Vec<tls::Stamp>,
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoReply {
    /// No connection.
    #[error("no connection")]
    Unreachable,
    /// A connection that TLS does not accept, in rustls' words.
    #[error("TLS: {0}")]
    Untrusted(String),
    /// Not in time.
    #[error("no answer in time")]
    TimedOut,
    /// Cut off, too long, or no HTTP.
    #[error("the answer broke off, is no HTTP or is too long")]
    Broken,
}

/// The client can't be built from its settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A file can't be read.
    #[error("{} can't be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file without what belongs into it.
    #[error("{} holds no certificate", path.display())]
    NoCertificate {
        /// The file or the directory.
        path: PathBuf,
    },
    /// A file that is no PEM of certificates and keys.
    #[error("{} is not usable as PEM", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        source: reqwest::Error,
    },
    /// The name that the server's certificate must have.
    #[error("the server name must be a host name")]
    ServerName,
    /// All of them together.
    #[error("the TLS settings cannot be used")]
    Unusable(#[source] reqwest::Error),
}

impl HttpClient {
    /// A client for the server at `base`.
    ///
    /// # Errors
    /// Where a certificate can't be read.
    pub fn new(base: &Url, settings: &HttpSettings) -> Result<Self, ClientError> {
        if settings.tls.server_name.as_deref().is_some_and(|name| !tls::is_server_name(name)) {
            return Err(ClientError::ServerName);
        }
        let stamps = settings.tls.stamps();
        let client = client(base, settings)?;
        let current = Mutex::new(Current { client, stamps });
        Ok(Self(Arc::new(Inner { base: base.clone(), settings: settings.clone(), current })))
    }

    /// Begins a request.
    pub fn request(&self, method: Method, url: Url) -> reqwest::RequestBuilder {
        let (url, host) = self.0.settings.tls.rename(url);
        let request = self.client().request(method, url);
        match host {
            Some(host) => request.header("Host", host),
            None => request,
        }
    }

    /// The client with the certificates that there are now. What can't be used leaves the old ones.
    fn client(&self) -> reqwest::Client {
        let Inner { base, settings, current } = &*self.0;
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = settings.tls.stamps();
        if stamps != current.stamps {
            match client(base, settings) {
                Ok(client) => {
                    tracing::info!("certificates have changed: the new ones count");
                    current.client = client;
                }
                // Half of a pair, maybe: the other half changes the stamps again.
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "certificates have changed and can't be used: the old ones count");
                }
            }
            current.stamps = stamps;
        }
        current.client.clone()
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
            Err(NoReply::Untrusted(_)) => "untrusted",
            Err(NoReply::TimedOut) => "timed_out",
            Err(NoReply::Broken) => "broken",
        };
        let observer = &self.0.settings.observer;
        observer.observe(operation, outcome);
        if let Some(seconds) = reply.as_ref().ok().and_then(|reply| skew(&reply.headers)) {
            observer.skew(seconds);
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

fn client(base: &Url, settings: &HttpSettings) -> Result<reqwest::Client, ClientError> {
    install_crypto_provider();
    let builder = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(settings.timeout)
        .tcp_nodelay(true)
        .user_agent(concat!("bindu/", env!("CARGO_PKG_VERSION")));
    settings.tls.apply(base, builder)?.build().map_err(ClientError::Unusable)
}

fn no_reply(error: reqwest::Error) -> NoReply {
    if error.is_timeout() {
        NoReply::TimedOut
    } else if let Some(words) = tls_words(&error) {
        NoReply::Untrusted(words)
    } else if error.is_connect() {
        NoReply::Unreachable
    } else {
        NoReply::Broken
    }
}

/// What rustls has against a connection. Its words name certificates and hosts, no secret.
fn tls_words(error: &reqwest::Error) -> Option<String> {
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(error.to_string());
        }
        // An I/O error's source is that of the error inside, not that error: look inside first.
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inside.map(|inside| inside as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    None
}

/// ring, not aws-lc: it needs no CMake and links a megabyte less.
fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that the host program has installed one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
