//! The one redirect that is followed: a standby of Vault's that names its leader (307).
//!
//! The request bears a token. So it goes on once, over https, to the server's own host or to one that the operator has
//! named, and to nobody else.

use crate::{HttpClient, NoReply, Problem, Reply, reply};
use reqwest::header::HOST;
use std::{fmt, str::FromStr};
use url::{Host, Url};

/// A host that a redirect may lead to: with a port or, on any port, without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectHost {
    host: Host,
    port: Option<u16>,
}

impl FromStr for RedirectHost {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        // A scheme whose default port nobody writes keeps every port that is written.
        let url: Url = format!("bindu://{text}").parse().map_err(|_| NotAHost)?;
        let is_bare = text.chars().all(|c| !matches!(c, '/' | '?' | '#' | '@' | '*') && !c.is_whitespace());
        let host =
            url.host_str().filter(|_| is_bare).and_then(|host| Host::parse(host).ok()).ok_or(NotAHost)?;
        Ok(Self { host, port: url.port() })
    }
}

/// The text is not a host with or without a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it must be a host, with or without a port")]
pub struct NotAHost;

impl fmt::Display for RedirectHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => self.host.fmt(f),
        }
    }
}

/// Where a redirect may lead, or where it points and why it is not followed.
fn target(
    base: &Url,
    asked: &str,
    location: Option<&str>,
    allowed: &[RedirectHost],
) -> Result<Url, (String, String)> {
    let nowhere = || ("nowhere".to_owned(), "it names no usable address".to_owned());
    let from: Url = asked.parse().map_err(|_| nowhere())?;
    let url =
        location.and_then(|location| from.join(location).ok()).filter(Url::has_host).ok_or_else(nowhere)?;
    let to = reply::origin(&url);
    if url.scheme() != "https" {
        return Err((
            to,
            "the token goes on over https only; name the leader itself in VAULT_ADDR".to_owned(),
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err((to, "its address holds a name or a password".to_owned()));
    }
    let is_own = url.host() == base.host();
    let is_allowed = |host: &RedirectHost| {
        url.host().map(|host| host.to_owned()) == Some(host.host.clone())
            && host.port.is_none_or(|port| url.port_or_known_default() == Some(port))
    };
    if is_own || allowed.iter().any(is_allowed) {
        return Ok(url);
    }
    let host = url.host_str().unwrap_or_default();
    Err((to, format!("VAULT__REDIRECT_HOSTS={host} allows it")))
}

impl HttpClient {
    /// Sends a request on to where its answer points. What comes from there counts, another redirect as well.
    pub(crate) async fn follow(
        &self,
        operation: &'static str,
        reply: &Reply,
        request: reqwest::RequestBuilder,
    ) -> Result<Reply, NoReply> {
        let settings = &self.0.settings;
        let allowed = settings.redirect_hosts.as_deref().unwrap_or_default();
        let refused = |(to, why)| self.no_reply(&self.0.base, Problem::Redirected { to, why });
        let url = target(&self.0.base, &reply.url, reply.header("location"), allowed).map_err(refused)?;
        let to = || reply::origin(&url);
        let unusable = |error: crate::ClientError| refused((to(), error.to_string()));
        let client = self.redirected(&url).map_err(unusable)?;
        let (_, request) = request.build_split();
        let request = request.map_err(|_| self.no_reply(&self.0.base, Problem::NotSent))?;
        let mut again = client.request(request.method().clone(), url.clone());
        let headers = request.headers().iter().filter(|(name, _)| *name != HOST);
        for (name, value) in headers {
            again = again.header(name, value);
        }
        if let Some(body) = request.body().and_then(reqwest::Body::as_bytes) {
            again = again.body(body.to_vec());
        }
        let reply = client.send_once(operation, again).await?;
        match reply.status {
            307 => {
                Err(refused((to(), "that one redirects as well, and one redirect is followed".to_owned())))
            }
            _ => Ok(reply),
        }
    }

    /// A client for a redirect's target: the last one, where it is the same.
    fn redirected(&self, url: &Url) -> Result<HttpClient, crate::ClientError> {
        let mut known = self.0.redirected.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(client) = known.as_ref().filter(|client| client.0.base.origin() == url.origin()) {
            return Ok(client.clone());
        }
        let client = HttpClient::new(url, &self.0.settings)?;
        tracing::info!(to = reply::origin(url), "following a redirect of a standby");
        Ok(known.insert(client).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_to_a_host_that_is_ours_or_named() {
        let base: Url = "https://vault:8200".parse().expect("a URL");
        let allowed: Vec<RedirectHost> = ["vault-1", "vault-2:8200", "[2001:db8::1]:8200"]
            .iter()
            .map(|text| text.parse().expect("a host"))
            .collect();
        for (location, want) in [
            ("https://vault:8200/v1/x", true),
            ("https://vault:9999/v1/x", true),
            ("https://vault-1/v1/x", true),
            ("https://vault-1:1/v1/x", true),
            ("https://VAULT-2:8200/v1/x", true),
            ("https://[2001:db8::1]:8200/v1/x", true),
            ("/v1/y", true),
            ("https://vault-2:8201/v1/x", false),
            ("https://vault-2/v1/x", false),
            ("https://vault-3:8200/v1/x", false),
            ("https://vault.evil.example/v1/x", false),
            ("https://vault-1.evil.example/v1/x", false),
            ("https://vault-1@evil.example/v1/x", false),
            ("https://user:secret@vault-1/v1/x", false),
            ("http://vault:8200/v1/x", false),
            ("ftp://vault-1/x", false),
            ("https://", false),
        ] {
            let found = target(&base, "https://vault:8200/v1/x", Some(location), &allowed);
            assert_eq!(found.is_ok(), want, "{location}: {found:?}");
            assert!(!format!("{found:?}").contains("secret") || want, "{found:?}");
        }
        assert!(target(&base, "https://vault:8200/v1/x", None, &allowed).is_err());
        let plain: Url = "http://vault:8200".parse().expect("a URL");
        assert!(target(&plain, "http://vault:8200/v1/x", Some("https://vault:8201/v1/x"), &[]).is_ok());
    }

    #[test]
    fn hosts_are_read() {
        for bad in ["", "https://vault", "vault/x", "user@vault", "*.example.com", "vault:port", "a b"] {
            assert!(bad.parse::<RedirectHost>().is_err(), "{bad}");
        }
        let host: RedirectHost = "vault-1:443".parse().expect("a host");
        assert_eq!((host.to_string().as_str(), host.port), ("vault-1:443", Some(443)));
    }
}
