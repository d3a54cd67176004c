//! How we talk to servers: one client for each, every answer bounded in time and size, no redirect followed but one of
//! Vault's, no path, header or body in an error.
//!
//! What an answer means is for the store and Hydra crates to say.

mod echo;
mod guard;
pub mod named_file;
mod outward;
mod proxy;
mod redirect;
mod reply;
mod tls;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, Once, PoisonError},
    time::{Duration, SystemTime},
};
use url::Url;

pub use guard::{AllowedTargets, NotATarget, Refused, is_public};
pub use outward::{GuardedClient, Lookup, NotSent, SystemLookup};
pub use proxy::{Exemptions, ProxySettings, is_loopback, outward_address, proxy_url};
pub use redirect::RedirectHost;
pub use reply::{NoReply, Problem, Reply};
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
    /// Which proxy a request goes through.
    pub proxies: ProxySettings,
    /// Hosts that a 307 may lead to, beside the server's own; `None` follows no redirect at all.
    pub redirect_hosts: Option<Vec<RedirectHost>>,
    /// Who counts.
    pub observer: Arc<dyn RequestObserver>,
}

impl HttpSettings {
    /// The system's authorities, no proxy, no redirect, nobody counting.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            tls: TlsSettings::default(),
            proxies: ProxySettings::default(),
            redirect_hosts: None,
            observer: Arc::new(NoObserver),
        }
    }
}

/// A client for one server. Certificates that change in their files count from the next request on.
#[derive(Clone)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    base: Url,
    settings: HttpSettings,
    current: Mutex<Current>,
    /// The client for where a redirect has led to.
    redirected: Mutex<Option<HttpClient>>,
}

/// The client in use, and the certificates that it was made with.
struct Current {
    client: reqwest::Client,
    stamps: Vec<tls::Stamp>,
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
    /// A file whose content can't be used.
    #[error("{} can't be used: {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why, without the content.
        problem: String,
    },
    /// The name that the server's certificate must have.
    #[error("the server name must be a host name")]
    ServerName,
    /// The system's authorities, or TLS itself.
    #[error("TLS can't be used: {0}")]
    Tls(String),
    /// All of them together.
    #[error("the connection settings cannot be used")]
    Client(#[source] reqwest::Error),
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
        let redirected = Mutex::default();
        Ok(Self(Arc::new(Inner { base: base.clone(), settings: settings.clone(), current, redirected })))
    }

    /// Begins a request.
    pub fn request(&self, method: Method, url: Url) -> reqwest::RequestBuilder {
        let Inner { settings, .. } = &*self.0;
        // A proxy is told the host itself, not the name in its certificate.
        let (url, host) = match settings.proxies.for_url(&url) {
            Some(_) => (url, None),
            None => settings.tls.rename(url),
        };
        let request = self.client().request(method, url);
        match host {
            Some(host) => request.header("Host", host),
            None => request,
        }
    }

    /// The client with the certificates that there are now. What can't be used leaves the old ones.
    fn client(&self) -> reqwest::Client {
        let Inner { base, settings, current, .. } = &*self.0;
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
        let again = self.0.settings.redirect_hosts.as_ref().and_then(|_| request.try_clone());
        let reply = self.send_once(operation, request).await?;
        match again.filter(|_| reply.status == 307) {
            Some(again) => self.follow(operation, &reply, again).await,
            None => Ok(reply),
        }
    }

    async fn send_once(
        &self,
        operation: &'static str,
        request: reqwest::RequestBuilder,
    ) -> Result<Reply, NoReply> {
        let reply = self.exchange(request).await;
        let outcome = match &reply {
            Ok(reply) => match reply.status {
                200..300 => "ok",
                300..400 => "redirect",
                400..500 => "client_error",
                _ => "server_error",
            },
            Err(no_reply) => no_reply.outcome(),
        };
        let observer = &self.0.settings.observer;
        observer.observe(operation, outcome);
        if let Some(seconds) = reply.as_ref().ok().and_then(|reply| reply::skew(&reply.headers)) {
            observer.skew(seconds);
        }
        reply
    }

    async fn exchange(&self, request: reqwest::RequestBuilder) -> Result<Reply, NoReply> {
        let (client, request) = request.build_split();
        let base = &self.0.base;
        let unsent = |_| self.no_reply(base, Problem::NotSent);
        let request = request.map_err(unsent)?;
        let url = self.asked(request.url());
        let secrets = echo::Secrets::of(&request);
        let failed = |error: reqwest::Error| self.no_reply(&url, Problem::of(&error));
        let mut response = client.execute(request).await.map_err(failed)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.no_reply(&url, Problem::TooLong(MAX_ANSWER)));
            }
            body.extend_from_slice(&chunk);
        }
        if status >= 400 {
            body = secrets.redact(body);
        }
        let proxy = self.0.settings.proxies.for_url(&url).map(reply::origin);
        let asked = format!("{}{}", reply::origin(&url), url.path());
        let reply = Reply { status, headers, body, url: asked, proxy };
        match url.scheme() == "http" && reply.wants_tls() {
            true => Err(self.no_reply(&url, Problem::SpeaksTls)),
            false => Ok(reply),
        }
    }

    fn no_reply(&self, url: &Url, problem: Problem) -> NoReply {
        let proxy = self.0.settings.proxies.for_url(url).map(reply::origin);
        NoReply { asked: reply::origin(url), proxy, problem }
    }

    /// The URL as it was meant, where [`TlsSettings::rename`] has changed it.
    fn asked(&self, url: &Url) -> Url {
        let Inner { base, settings, .. } = &*self.0;
        let mut url = url.clone();
        if url.host_str() == settings.tls.server_name.as_deref() && settings.tls.server_name.is_some() {
            let _ = url.set_host(base.host_str());
        }
        url
    }
}

/// Now, in whole seconds since the epoch.
#[must_use]
pub fn epoch_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn client(base: &Url, settings: &HttpSettings) -> Result<reqwest::Client, ClientError> {
    install_crypto_provider();
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(settings.timeout)
        .tcp_nodelay(true)
        .user_agent(concat!("bindu/", env!("CARGO_PKG_VERSION")));
    if settings.proxies != ProxySettings::default() {
        let (proxies, base, name) =
            (settings.proxies.clone(), base.clone(), settings.tls.server_name.clone());
        builder = builder.proxy(reqwest::Proxy::custom(move |url| {
            // A request by the name in the certificate goes to the server itself: see `HttpClient::request`.
            let is_renamed = url.host_str() == name.as_deref() && url.host_str() != base.host_str();
            if is_renamed { None } else { proxies.for_url(url).cloned() }
        }));
    }
    settings.tls.apply(base, builder)?.build().map_err(ClientError::Client)
}

/// ring, not aws-lc: it needs no CMake and links a megabyte less.
fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that the host program has installed one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
