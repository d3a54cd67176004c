//! Which proxy a request goes through, as Go's clients (the `vault` command, Hydra's) read the same variables.
//!
//! One pure function, [`ProxySettings::for_url`], after `golang.org/x/net/http/httpproxy`: its published cases are the
//! tests. `reqwest` reads the variables as well, and sends loopback traffic to a proxy, so it is never asked.

use ipnet::IpNet;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};
use url::{Host, Url};

/// Proxies, by the variables that name them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// For `http` URLs (`HTTP_PROXY`).
    pub http: Option<Url>,
    /// For `https` URLs (`HTTPS_PROXY`).
    pub https: Option<Url>,
    /// What goes through neither (`NO_PROXY`).
    pub exempt: Exemptions,
    /// For every URL, whatever `NO_PROXY` says (`VAULT_PROXY_ADDR`, as the `vault` command has it). Not for loopback.
    pub all: Option<Url>,
}

/// The entries of `NO_PROXY`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exemptions(Vec<Exemption>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Exemption {
    /// `*`
    All,
    /// `10.0.0.0/8`
    Network(IpNet),
    /// `192.168.1.1`, `192.168.1.1:80`, `[2001:db8::1]:80`
    Address { address: IpAddr, port: Option<u16> },
    /// `example.com` (and what is below it), `.example.com` and `*.example.com` (below it only), each with a port or not.
    Domain { suffix: String, or_itself: bool, port: Option<u16> },
}

impl ProxySettings {
    /// The proxy for a URL; none where it is asked directly.
    #[must_use]
    pub fn for_url(&self, url: &Url) -> Option<&Url> {
        let host = url.host()?;
        if is_loopback(&host) {
            return None;
        }
        if let Some(all) = &self.all {
            return Some(all);
        }
        let proxy = match url.scheme() {
            "https" => self.https.as_ref(),
            "http" => self.http.as_ref(),
            _ => None,
        }?;
        (!self.exempt.cover(&host, url.port_or_known_default())).then_some(proxy)
    }
}

impl fmt::Debug for ProxySettings {
    /// Without the passwords that the URLs may hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |url: &Option<Url>| url.as_ref().map(crate::reply::origin);
        f.debug_struct("ProxySettings")
            .field("http", &shown(&self.http))
            .field("https", &shown(&self.https))
            .field("all", &shown(&self.all))
            .field("exempt", &self.exempt)
            .finish()
    }
}

/// A proxy's address: a URL, or a host with or without a port. Not one that this program cannot talk to (SOCKS).
#[must_use]
pub fn proxy_url(text: &str) -> Option<Url> {
    let whole = text.parse::<Url>().ok().filter(Url::has_host);
    whole.or_else(|| format!("http://{text}").parse().ok()).filter(|url: &Url| url.has_host())
}

/// Whether this host can only be this machine: `localhost` or a loopback address.
#[must_use]
pub fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.to_canonical().is_loopback(),
    }
}

impl Exemptions {
    /// Reads `NO_PROXY`. An entry that means nothing covers nothing, as in Go.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let entries = text.split(',').map(|entry| entry.trim().to_lowercase());
        Self(entries.filter_map(|entry| Exemption::read(&entry)).collect())
    }

    fn cover(&self, host: &Host<&str>, port: Option<u16>) -> bool {
        self.0.iter().any(|exemption| exemption.covers(host, port))
    }
}

impl Exemption {
    fn read(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::All);
        }
        if let Ok(network) = entry.parse() {
            return Some(Self::Network(network));
        }
        let (host, port) = split_port(entry)?;
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self::Address { address: address.to_canonical(), port });
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        let (or_itself, name) = match host.strip_prefix('.') {
            Some(name) => (false, name),
            None => (true, host),
        };
        // In the form in which a URL has it: `xn--...`.
        let name = match Host::parse(name) {
            Ok(Host::Domain(name)) => name,
            _ => name.to_owned(),
        };
        (!name.is_empty()).then(|| Self::Domain { suffix: format!(".{name}"), or_itself, port })
    }

    fn covers(&self, host: &Host<&str>, port: Option<u16>) -> bool {
        let fits = |wanted: &Option<u16>| wanted.is_none() || *wanted == port;
        match self {
            Self::All => true,
            Self::Network(network) => address(host).is_some_and(|address| network.contains(&address)),
            Self::Address { address: wanted, port } => address(host) == Some(*wanted) && fits(port),
            Self::Domain { suffix, or_itself, port } => {
                let Host::Domain(name) = host else { return false };
                let is_itself = *or_itself && suffix.strip_prefix('.') == Some(name);
                (name.ends_with(suffix.as_str()) || is_itself) && fits(port)
            }
        }
    }
}

fn address(host: &Host<&str>) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(IpAddr::V4(*address)),
        Host::Ipv6(address) => Some(address.to_canonical()),
    }
}

/// `host:port` and `[address]:port` in their parts; an address of version 6 has no port without brackets. None where
/// there is no host.
fn split_port(entry: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match entry.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (entry, None),
        },
    };
    let port = match port {
        // A port that is none fits nothing, but must not become "any port".
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    (!host.is_empty()).then_some((host, port))
}

/// The address that leads out of this machine, or nothing: what a peer would have to call.
#[must_use]
pub fn outward_address() -> Option<IpAddr> {
    // Connecting a datagram socket sends nothing: it asks the routing table. The addresses are for documentation only
    // (RFC 5737, RFC 3849).
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok();
    let version4 = socket.and_then(|socket| {
        socket.connect("192.0.2.1:9").ok()?;
        socket.local_addr().ok()
    });
    let version6 = || {
        let socket = std::net::UdpSocket::bind("[::]:0").ok()?;
        socket.connect("[2001:db8::1]:9").ok()?;
        socket.local_addr().ok()
    };
    let found = version4.or_else(version6).map(|address| address.ip().to_canonical())?;
    (!found.is_loopback() && !found.is_unspecified()).then_some(found)
}

#[cfg(test)]
mod tests {
    //! The cases are those of `golang.org/x/net/http/httpproxy/proxy_test.go`, v0.62.0. Copyright 2017 The Go Authors. All
    //! rights reserved. Use of them is governed by Go's BSD-style licence (<https://go.dev/LICENSE>).
    use super::*;

    struct Case {
        http: &'static str,
        https: &'static str,
        no: &'static str,
        url: &'static str,
        want: &'static str,
    }

    const NONE: Case = Case { http: "", https: "", no: "", url: "http://example.com", want: "" };

    fn settings(http: &str, https: &str, no: &str) -> ProxySettings {
        let url = |text: &str| (!text.is_empty()).then(|| proxy_url(text).expect("a proxy"));
        ProxySettings { http: url(http), https: url(https), exempt: Exemptions::read(no), all: None }
    }

    /// `TestProxyForURL`, but for two of its cases about CGI, which this program is not, and one whose URL (with a zone)
    /// is none here.
    const CASES: &[Case] = &[
        Case { http: "127.0.0.1:8080", want: "http://127.0.0.1:8080", ..NONE },
        Case { http: "cache.corp.example.com:1234", want: "http://cache.corp.example.com:1234", ..NONE },
        Case { http: "cache.corp.example.com", want: "http://cache.corp.example.com", ..NONE },
        Case { http: "localhost", want: "http://localhost", ..NONE },
        Case { http: "https://cache.corp.example.com", want: "https://cache.corp.example.com", ..NONE },
        Case { http: "http://127.0.0.1:8080", want: "http://127.0.0.1:8080", ..NONE },
        Case { http: "https://127.0.0.1:8080", want: "https://127.0.0.1:8080", ..NONE },
        Case { http: "socks5://127.0.0.1", want: "socks5://127.0.0.1", ..NONE },
        Case { http: "foo://host", want: "foo://host", ..NONE },
        Case {
            http: "http.proxy.tld",
            https: "secure.proxy.tld",
            url: "http://insecure.tld/",
            want: "http://http.proxy.tld",
            ..NONE
        },
        Case {
            http: "http.proxy.tld",
            https: "secure.proxy.tld",
            url: "https://secure.tld/",
            want: "http://secure.proxy.tld",
            ..NONE
        },
        Case {
            http: "http.proxy.tld",
            https: "https://secure.proxy.tld",
            url: "https://secure.tld/",
            want: "https://secure.proxy.tld",
            ..NONE
        },
        Case { http: "http.proxy.tld", url: "https://secure.tld/", ..NONE },
        Case { http: "http.proxy.tld", url: "ftp://insecure.tld/", ..NONE },
        NONE,
        Case { no: "example.com", http: "proxy", url: "http://example.com/", ..NONE },
        Case { no: ".example.com", http: "proxy", url: "http://example.com/", want: "http://proxy", ..NONE },
        Case { no: "ample.com", http: "proxy", url: "http://example.com/", want: "http://proxy", ..NONE },
        Case { no: "example.com", http: "proxy", url: "http://foo.example.com/", ..NONE },
        Case { no: ".foo.com", http: "proxy", url: "http://example.com/", want: "http://proxy", ..NONE },
        Case { no: ".示例.com", http: "proxy", url: "http://www.示例.com", ..NONE },
        Case { no: "xn--fsq092h.com", http: "proxy", url: "http://www.示例.com", ..NONE },
        Case { no: "示例.com", http: "proxy", url: "http://www.xn--fsq092h.com", ..NONE },
    ];

    #[test]
    fn gos_cases_of_urls() {
        for case in CASES {
            let settings = settings(case.http, case.https, case.no);
            let url = case.url.parse().expect("a URL");
            let found = settings.for_url(&url).map(|proxy| proxy.as_str().trim_end_matches('/').to_owned());
            let Case { http, https, no, url, want } = case;
            assert_eq!(found.unwrap_or_default(), *want, "{http:?} {https:?} {no:?} {url}");
        }
    }

    /// `UseProxyTests`.
    const HOSTS: &[(&str, bool)] = &[
        ("localhost", false),
        ("127.0.0.1", false),
        ("127.0.0.2", false),
        ("[::1]", false),
        ("[::2]", true),
        ("192.168.1.1", false),
        ("192.168.1.2", true),
        ("192.168.1.3", false),
        ("192.168.1.4", true),
        ("10.0.0.2", false),
        ("[2001:db8::52:0:1]", false),
        ("[2001:db8::52:0:2]", true),
        ("[2001:db8::52:0:3]", false),
        ("[2002:db8:a::123]", false),
        ("[fe80::424b:c8be:1643:a1b6]", true),
        ("barbaz.net", true),
        ("www.barbaz.net", false),
        ("foobar.com", false),
        ("www.foobar.com", false),
        ("foofoobar.com", true),
        ("baz.com", true),
        ("localhost.net", true),
        ("local.localhost", true),
        ("barbarbaz.net", true),
        ("wildcard.io", true),
        ("nested.wildcard.io", false),
        ("awildcard.io", true),
    ];

    const NO_PROXY: &str = "foobar.com, .barbaz.net, *.wildcard.io, 192.168.1.1, 192.168.1.2:81, 192.168.1.3:80, \
                            10.0.0.0/30, 2001:db8::52:0:1, [2001:db8::52:0:2]:443, [2001:db8::52:0:3]:80, \
                            2002:db8:a::45/64";

    fn is_used(no: &str, host: &str) -> bool {
        let url = format!("http://{host}:80").parse().expect("a URL");
        settings("proxy", "", no).for_url(&url).is_some()
    }

    /// `TestUseProxy`, `TestInvalidNoProxy`, `TestAllNoProxy`.
    #[test]
    fn gos_cases_of_hosts() {
        for (host, want) in HOSTS {
            assert_eq!(is_used(NO_PROXY, host), *want, "{host}");
            assert!(!is_used("*", host), "{host}");
        }
        assert!(is_used(":1", "example.com"));
    }

    #[test]
    fn vaults_own_proxy_is_for_all_but_loopback() {
        let all = ProxySettings { all: proxy_url("proxy:3128"), ..settings("other", "other", "*") };
        for (url, want) in [
            ("https://vault.example.com:8200", true),
            ("http://vault.example.com", true),
            ("https://127.0.0.1:8200", false),
            ("http://localhost:8200", false),
            ("https://[::ffff:127.0.0.1]:8200", false),
        ] {
            let found = all.for_url(&url.parse().expect("a URL")).map(Url::as_str);
            assert_eq!(found, want.then_some("http://proxy:3128/"), "{url}");
        }
        assert!(!format!("{:?}", settings("http://me:canary@proxy", "", "")).contains("canary"));
    }
}
