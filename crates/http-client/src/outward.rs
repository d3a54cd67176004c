//! A client for URLs that somebody else has chosen: it connects to the addresses that [`AllowedTargets`] has checked and to
//! no others, never by a proxy, follows no redirect, and throws answers away.

use crate::{
    ClientError, TlsSettings,
    guard::{AllowedTargets, Refused},
    install_crypto_provider,
    reply::Problem,
};
use http::HeaderMap;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    error::Error,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::sync::OnceCell;
use url::Url;

/// Connecting takes one round trip, over a bad line a few.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection is used again for so long; the address that it leads to was checked.
const IDLE: Duration = Duration::from_secs(15);

/// How much of an answer is read, so that its connection can be used again.
const MAX_ANSWER: usize = 16 * 1024;

/// Looks up the addresses of a host.
pub trait Lookup: Send + Sync + 'static {
    /// The addresses of a host.
    fn addresses(&self, host: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;
}

/// Asks the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses(&self, host: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Why a request was not answered with success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSent {
    /// Nothing was sent there.
    #[error("nothing is sent there: {0}")]
    Refused(#[from] Refused),
    /// This machine has nothing to send it with: no authorities to trust, for example.
    #[error("{0}")]
    NoClient(String),
    /// There is no answer.
    #[error("{0}")]
    NoAnswer(Problem),
    /// The answer says that it failed; a redirect is one.
    #[error("it answered with status {0}")]
    Status(u16),
}

/// A client that connects to checked addresses only. Clones share their connections.
#[derive(Clone)]
pub struct GuardedClient(Arc<Guarded>);

struct Guarded {
    allowed: Arc<AllowedTargets>,
    lookup: Arc<dyn Lookup>,
    timeout: Duration,
    tls: TlsSettings,
    /// Made with the first request: reading the system's authorities takes milliseconds of a start, and most agents send
    /// nothing.
    client: OnceCell<reqwest::Client>,
}

impl GuardedClient {
    /// A client that takes public targets and these. `timeout` bounds a whole exchange.
    #[must_use]
    pub fn new(allowed: AllowedTargets, timeout: Duration, tls: TlsSettings, lookup: impl Lookup) -> Self {
        let (allowed, lookup) = (Arc::new(allowed), Arc::new(lookup));
        Self(Arc::new(Guarded { allowed, lookup, timeout, tls, client: OnceCell::new() }))
    }

    /// Whether something may be sent to a URL, as far as can be said without looking its host up.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        self.0.allowed.check_url(url)
    }

    /// Posts a body. Done once the answer's status is a success.
    ///
    /// # Errors
    /// [`NotSent`].
    pub async fn post(&self, url: Url, headers: HeaderMap, body: String) -> Result<(), NotSent> {
        // Addresses in a URL are not looked up: they are checked here.
        self.check(&url)?;
        let client = self.0.client.get_or_try_init(|| self.0.made()).await;
        let client = client.map_err(|error| NotSent::NoClient(error.to_string()))?;
        let request = client.post(url).headers(headers).body(body);
        let mut response = request.send().await.map_err(|error| problem(&error))?;
        let status = response.status();
        let mut read = 0;
        while read < MAX_ANSWER
            && let Ok(Some(chunk)) = response.chunk().await
        {
            read += chunk.len();
        }
        if status.is_success() { Ok(()) } else { Err(NotSent::Status(status.as_u16())) }
    }
}

impl Guarded {
    async fn made(self: &Arc<Self>) -> Result<reqwest::Client, ClientError> {
        let guarded = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || guarded.make()).await;
        made.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()))
    }

    fn make(&self) -> Result<reqwest::Client, ClientError> {
        install_crypto_provider();
        let resolver =
            CheckedResolver { allowed: Arc::clone(&self.allowed), lookup: Arc::clone(&self.lookup) };
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(self.timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .tcp_nodelay(true)
            .user_agent(concat!("bindu/", env!("CARGO_PKG_VERSION")));
        // Over https, so that the authorities are read; the resolver in it is replaced by ours.
        let base: Url = "https://receiver.invalid/".parse().map_err(|_| ClientError::ServerName)?;
        let builder = self.tls.apply(&base, builder)?.dns_resolver(Arc::new(resolver));
        builder.build().map_err(ClientError::Client)
    }
}

impl std::fmt::Debug for GuardedClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardedClient").field("allowed", &self.0.allowed).finish_non_exhaustive()
    }
}

/// What went wrong. The resolver's refusal is somewhere among the causes.
fn problem(error: &reqwest::Error) -> NotSent {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return NotSent::Refused(refused.clone());
        }
        cause = error.source();
    }
    NotSent::NoAnswer(Problem::of(error))
}

/// Gives the connector the addresses that it may connect to. Nobody looks the name up a second time.
struct CheckedResolver {
    allowed: Arc<AllowedTargets>,
    lookup: Arc<dyn Lookup>,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (allowed, host) = (Arc::clone(&self.allowed), name.as_str().to_owned());
        let addresses = self.lookup.addresses(host.clone());
        Box::pin(async move {
            let addresses = addresses.await?;
            allowed.check_all(&host, &addresses)?;
            // The connector puts the URL's port in place of 0.
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
