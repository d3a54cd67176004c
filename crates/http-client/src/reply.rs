//! A server's answer, and why there is none.

use http::HeaderMap;
use serde_json::Value;
use std::{
    fmt, io,
    time::{Duration, SystemTime},
};
use url::Url;

/// A server's whole answer.
#[derive(Default)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body. May hold secrets: never into an error or a log.
    pub body: Vec<u8>,
    /// What was asked: the URL without user, password, query and fragment. Empty where a test has made it.
    pub url: String,
    /// The proxy through which it came: the answer may be its own.
    pub proxy: Option<String>,
}

impl Reply {
    /// What was asked, and through which proxy, for people. Empty where a test has made it.
    #[must_use]
    pub fn asked(&self) -> String {
        match &self.proxy {
            Some(proxy) => format!("{} through the proxy {proxy}", self.url),
            None => self.url.clone(),
        }
    }

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

    /// Whether a TLS listener says that plain http has come to it. Go's servers (Vault, OpenBao, Hydra) and nginx answer
    /// so, in a page of their own; there is no other sign.
    pub(crate) fn wants_tls(&self) -> bool {
        const SAY_SO: [&[u8]; 2] = [
            b"Client sent an HTTP request to an HTTPS server",
            b"The plain HTTP request was sent to HTTPS port",
        ];
        let says = |words: &[u8]| self.body.windows(words.len()).any(|window| window == words);
        self.status == 400 && self.body.len() < 4096 && SAY_SO.into_iter().any(says)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({}, {} bytes)", self.status, self.body.len())
    }
}

/// By how much our clock is ahead of the `Date` that an answer bears (RFC 9110 §6.6.1: whole seconds).
pub(crate) fn skew(headers: &HeaderMap) -> Option<i64> {
    Some(i64::try_from(crate::epoch_seconds()).ok()?.saturating_sub(i64::try_from(date(headers)?).ok()?))
}

fn date(headers: &HeaderMap) -> Option<u64> {
    let date = httpdate::parse_http_date(headers.get("date")?.to_str().ok()?).ok()?;
    date.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// There is no whole answer: who was asked, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoReply {
    /// Who was asked: scheme, host and port.
    pub asked: String,
    /// The proxy that was to pass it on.
    pub proxy: Option<String>,
    /// Why.
    pub problem: Problem,
}

/// Why there is no whole answer. Each is mended elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The host's name is not known.
    #[error("no connection: the name {0} does not resolve")]
    NoSuchHost(String),
    /// Nobody listens there.
    #[error("no connection: refused, nothing listens there")]
    Refused,
    /// No connection, in the system's words.
    #[error("no connection{}", .0.as_deref().map(|words| format!(": {words}")).unwrap_or_default())]
    Unreachable(Option<String>),
    /// https was asked of a server that speaks http.
    #[error("it speaks plain http: the address must begin with http://, or TLS be turned on there")]
    SpeaksPlainHttp,
    /// http was asked of a server that speaks https.
    #[error("it speaks TLS: the address must begin with https://")]
    SpeaksTls,
    /// A connection that TLS does not accept, in words for people.
    #[error("TLS: {0}")]
    Untrusted(String),
    /// A redirect that is not followed.
    #[error("it redirects to {to}, which is not followed: {why}")]
    Redirected {
        /// Where to: scheme, host and port.
        to: String,
        /// Why not, or what allows it.
        why: String,
    },
    /// Not in time.
    #[error("no answer in time")]
    TimedOut,
    /// The proxy does not connect us to the server.
    #[error("the proxy does not connect to it: {0}")]
    ProxyRefused(String),
    /// The answer was cut off.
    #[error("the answer broke off")]
    Broken,
    /// What came is not an answer.
    #[error("what came is not HTTP")]
    NotHttp,
    /// The answer is longer than is read, in bytes.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The request could not be built.
    #[error("the request could not be built")]
    NotSent,
}

impl NoReply {
    /// A label for metrics, from a closed set.
    pub(crate) fn outcome(&self) -> &'static str {
        match self.problem {
            Problem::NoSuchHost(_)
            | Problem::Refused
            | Problem::Unreachable(_)
            | Problem::ProxyRefused(_) => "unreachable",
            Problem::Untrusted(_) | Problem::SpeaksPlainHttp => "untrusted",
            Problem::TimedOut => "timed_out",
            Problem::Redirected { .. } => "redirect",
            Problem::Broken
            | Problem::NotHttp
            | Problem::TooLong(_)
            | Problem::NotSent
            | Problem::SpeaksTls => "broken",
        }
    }
}

impl fmt::Display for NoReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proxy {
            None => write!(f, "{}: {}", self.asked, self.problem),
            Some(proxy) => write!(f, "{} through the proxy {proxy}: {}", self.asked, self.problem),
        }
    }
}

impl std::error::Error for NoReply {}

/// Scheme, host and port: what of a URL may be shown.
pub(crate) fn origin(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

/// A name that has no address.
#[derive(Debug, thiserror::Error)]
#[error("{host} does not resolve")]
pub(crate) struct Unresolved {
    pub(crate) host: String,
    pub(crate) source: io::Error,
}

impl Problem {
    pub(crate) fn of(error: &reqwest::Error) -> Self {
        let found = causes(error).find_map(|cause| {
            if let Some(unresolved) = cause.downcast_ref::<Unresolved>() {
                return Some(Self::NoSuchHost(unresolved.host.clone()));
            }
            cause.downcast_ref::<rustls::Error>().map(of_tls)
        });
        if let Some(found) = found.filter(|_| !error.is_timeout()) {
            return found;
        }
        let system = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>());
        let system = system.filter(|error| error.raw_os_error().is_some()).last();
        match system.map(io::Error::kind) {
            _ if error.is_timeout() => Self::TimedOut,
            Some(io::ErrorKind::ConnectionRefused) => Self::Refused,
            Some(_) if error.is_connect() => Self::Unreachable(system.map(ToString::to_string)),
            // A proxy that refuses, a handshake that is broken off: the innermost error says it.
            None if error.is_connect() => {
                let words = causes(error).last().map(ToString::to_string);
                words.as_deref().and_then(of_tunnel).unwrap_or(Self::Unreachable(words))
            }
            _ => {
                let mut of_http = causes(error).filter_map(|cause| cause.downcast_ref::<hyper::Error>());
                if of_http.any(hyper::Error::is_parse) { Self::NotHttp } else { Self::Broken }
            }
        }
    }
}

/// What a proxy has against a connection through it. The error's type is private to hyper-util, and it drops the status.
fn of_tunnel(words: &str) -> Option<Problem> {
    let words = match words.strip_prefix("tunnel error: ")? {
        "unsuccessful" => "it refused CONNECT",
        "proxy authorization required" => "it asks for a user and a password (407)",
        "unexpected end of file" => "it closed the connection at CONNECT",
        other => other,
    };
    Some(Problem::ProxyRefused(words.to_owned()))
}

/// What rustls has against a connection. Its words name certificates and hosts, no secret.
fn of_tls(error: &rustls::Error) -> Problem {
    use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
    match error {
        // What came is no TLS record: in practice "HTTP/1.1 400 Bad Request".
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => Problem::SpeaksPlainHttp,
        Error::AlertReceived(AlertDescription::HandshakeFailure) => Problem::Untrusted(format!(
            "{error}: the server found nothing in common; a certificate with a P-521 key cannot be checked here"
        )),
        Error::InvalidCertificate(
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
        ) => Problem::Untrusted(
            "its certificate is signed by an algorithm that cannot be checked here (P-521, say): RSA, P-256, P-384 and \
             Ed25519 can"
                .to_owned(),
        ),
        Error::InvalidCertificate(problem) => {
            Problem::Untrusted(format!("invalid peer certificate: {}", of_certificate(problem)))
        }
        _ => Problem::Untrusted(error.to_string()),
    }
}

/// What is wrong with a certificate. rustls shows its own types for some of it.
fn of_certificate(problem: &rustls::CertificateError) -> String {
    use rustls::CertificateError;
    match problem {
        CertificateError::UnknownIssuer => "it is signed by an authority that is not trusted here".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().map(|name| bare_name(name)).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            format!("it is for {names}, and not for {}", expected.to_str())
        }
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired, by the clock of this machine".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet, by the clock of this machine".to_owned()
        }
        // webpki's own words are Rust's.
        CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => {
            "it signs itself (or is an authority's) and is not trusted here".to_owned()
        }
        CertificateError::Other(other) => other.0.to_string(),
        other => other.to_string(),
    }
}

/// `localhost` of `DnsName("localhost")`.
fn bare_name(shown: &str) -> &str {
    let inside = shown.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inside.unwrap_or(shown).trim_matches('"')
}

/// An error's causes. An I/O error's source is that of the error inside, not that error: inside comes first.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |error| {
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inside.map(|inside| inside as &(dyn std::error::Error + 'static)).or_else(|| error.source())
    })
}

#[cfg(test)]
mod tests;
