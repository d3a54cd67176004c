//! Which targets a URL that somebody else has chosen may lead to (server-side request forgery).
//!
//! Pure: what is decided here is decided about a URL and about an address; who looks names up and connects is
//! [`GuardedClient`](crate::GuardedClient). Only addresses that are public by positive rules are taken: a range that a
//! later RFC reserves stays refused until a line here says otherwise.

use ipnet::IpNet;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};
use url::{Host, Url};

/// Why nothing is sent to a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Another scheme.
    #[error("its scheme is neither http nor https")]
    Scheme,
    /// There is no host.
    #[error("it names no host")]
    Host,
    /// A name or password in the URL: it would be sent in clear, and hides the host from readers.
    #[error("it holds a user name or a password")]
    UserInfo,
    /// An address that is not public.
    #[error("the address {0} is not a public one")]
    Address(IpAddr),
}

/// Targets that an operator has allowed though they are not public: hosts (`hook.example.com`), domains with all hosts below
/// (`.example.com`), addresses (`10.0.0.5`) and networks (`10.0.0.0/8`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowedTargets(Vec<Allowed>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    Host(String),
    /// With its dot.
    Below(String),
    Network(IpNet),
}

/// A text that names no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a host, a domain with a dot before it, an address or a network")]
pub struct NotATarget;

impl AllowedTargets {
    /// Reads a list of targets.
    ///
    /// # Errors
    /// [`NotATarget`].
    pub fn read<'a>(targets: impl IntoIterator<Item = &'a str>) -> Result<Self, NotATarget> {
        targets.into_iter().map(Allowed::from_str).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this host may be used whatever its addresses are.
    #[must_use]
    pub fn allows_host(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.0.iter().any(|allowed| match allowed {
            Allowed::Host(name) => *name == host,
            Allowed::Below(domain) => host.len() > domain.len() && host.ends_with(domain.as_str()),
            Allowed::Network(_) => false,
        })
    }

    /// Whether an address may be connected to: a public one, or one of an allowed network.
    ///
    /// # Errors
    /// [`Refused::Address`].
    pub fn check_address(&self, address: IpAddr) -> Result<(), Refused> {
        let plain = address.to_canonical();
        let is_allowed = self.0.iter().any(|allowed| match allowed {
            Allowed::Network(network) => network.contains(&address) || network.contains(&plain),
            Allowed::Host(_) | Allowed::Below(_) => false,
        });
        if is_allowed || is_public(address) { Ok(()) } else { Err(Refused::Address(address)) }
    }

    /// Whether something may be sent to a URL, as far as can be said without looking its host up. The URL is one that was
    /// parsed by the URL standard: numbers in any notation are addresses there, and names are in their ASCII form.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check_url(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::UserInfo);
        }
        match url.host() {
            None => Err(Refused::Host),
            Some(Host::Ipv4(address)) => self.check_address(address.into()),
            Some(Host::Ipv6(address)) => self.check_address(address.into()),
            Some(Host::Domain(name)) if name.trim_matches('.').is_empty() => Err(Refused::Host),
            Some(Host::Domain(_)) => Ok(()),
        }
    }

    /// The addresses of a host that may be connected to: all of them, or none. One that is refused among others is a sign
    /// that the name's owner tries (or that the name means something else in here).
    ///
    /// # Errors
    /// [`Refused::Address`].
    pub fn check_all(&self, host: &str, addresses: &[IpAddr]) -> Result<(), Refused> {
        if self.allows_host(host) {
            return Ok(());
        }
        addresses.iter().try_for_each(|address| self.check_address(*address))
    }
}

impl FromStr for Allowed {
    type Err = NotATarget;

    fn from_str(text: &str) -> Result<Self, NotATarget> {
        let bare = text.trim_matches(['[', ']']);
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        let (name, is_domain) = match text.strip_prefix('.') {
            Some(name) => (name, true),
            None => (text, false),
        };
        match Host::parse(name) {
            // What is parsed is what URLs are compared by: names in lower case and ASCII.
            Ok(Host::Domain(parsed)) if !name.contains(['*', ':', '/', '@']) => {
                let parsed = parsed.strip_suffix('.').unwrap_or(&parsed);
                match (parsed.is_empty() || parsed.starts_with('.'), is_domain) {
                    (true, _) => Err(NotATarget),
                    (false, true) => Ok(Self::Below(format!(".{parsed}"))),
                    (false, false) => Ok(Self::Host(parsed.to_owned())),
                }
            }
            _ => Err(NotATarget),
        }
    }
}

impl fmt::Display for AllowedTargets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, allowed) in self.0.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            match allowed {
                Allowed::Host(text) | Allowed::Below(text) => write!(f, "{comma}{text}")?,
                Allowed::Network(network) => write!(f, "{comma}{network}")?,
            }
        }
        Ok(())
    }
}

/// Whether an address is a public one: of a host on the internet, not of this machine, its network or its cloud.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// By IANA's registry of special addresses (RFC 6890), and one address that a cloud has taken out of the public ones.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match (a, b, c) {
        // This network, private, loopback, link-local (with the clouds' metadata), private, 6to4 relays, private.
        (0 | 10 | 127, _, _) | (169, 254, _) | (172, 16..=31, _) | (192, 88, 99) | (192, 168, _) => true,
        // Carrier-grade NAT (RFC 6598), with Alibaba's metadata.
        (100, 64..=127, _) => true,
        // Protocol assignments, with Oracle's metadata; documentation; benchmarks.
        (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) | (198, 18 | 19, _) => true,
        // Multicast, reserved, broadcast.
        (224..=255, _, _) => true,
        _ => false,
    };
    // Azure's host, which answers every virtual machine there.
    !is_special && address != Ipv4Addr::new(168, 63, 129, 16)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        // NAT64 by the well-known prefix (RFC 6052), which DNS64 makes of IPv4 addresses.
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => is_public_v4(embedded(g, h)),
        // Mapped IPv4 addresses: the system connects to the IPv4 address.
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0xffff) => is_public_v4(embedded(g, h)),
        // Protocol assignments with Teredo, documentation, 6to4 (which leads to IPv4 addresses), documentation.
        (0x2001, 0..=0x1ff | 0xdb8) | (0x2002, _) | (0x3fff, 0..=0xfff) => false,
        // Global unicast. All else: unspecified, loopback, compatible and translated IPv4, local NAT64, discard,
        // unique-local (with AWS's metadata), link-local, site-local, multicast, not assigned.
        (0x2000..=0x3fff, _) => !(matches!(e, 0 | 0x200) && f == 0x5efe) || is_public_v4(embedded(g, h)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
