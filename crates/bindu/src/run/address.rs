//! Where the agent is called, for its card, its did:web and its client in Hydra.

use crate::{ExitClass, Refusal, settings::Settings};
use std::net::{IpAddr, SocketAddr};

/// The agent's own URL, without a slash at its end: the one that was given, else what it listens on.
///
/// # Errors
/// If it listens on all addresses and authentication is on: callers check what the card says, and tokens are meant for
/// it, so a guess would be refused by them or point at another host.
pub(super) fn own_url(settings: &Settings, address: SocketAddr) -> Result<String, Refusal> {
    if let Some(url) = given(settings) {
        return Ok(url);
    }
    if !address.ip().is_unspecified() {
        return Ok(format!("http://{address}"));
    }
    if settings.hydra.is_some() {
        return Err(Refusal::new(
            ExitClass::Usage,
            format!(
                "the agent listens on all addresses ({address}), and nobody says at which one it is called; nothing was changed"
            ),
            "set BINDU_DEPLOYMENT_URL to the address that callers use, such as https://echo.example.com",
        ));
    }
    let url = format!("http://{}", reachable(address.port()));
    tracing::warn!(
        url,
        "the agent listens on all addresses and BINDU_DEPLOYMENT_URL is not set: its card names this one"
    );
    Ok(url)
}

/// The same by the settings alone, before anything listens.
#[must_use]
pub fn agent_url(settings: &Settings) -> String {
    let host = settings.host.trim_matches(['[', ']']);
    given(settings).unwrap_or_else(|| match host.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => format!("http://{}", reachable(settings.port)),
        Ok(address) => format!("http://{}", SocketAddr::new(address, settings.port)),
        Err(_) => format!("http://{host}:{}", settings.port),
    })
}

/// The one that was given, without the slash that parsing puts behind a bare host.
fn given(settings: &Settings) -> Option<String> {
    settings.deployment_url.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned())
}

/// An address of this machine that others may reach: the one that leads out, else the host's name, else loopback.
fn reachable(port: u16) -> String {
    if let Some(address) = bindu_http_client::outward_address() {
        return SocketAddr::new(address, port).to_string();
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_name =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    format!("{}:{port}", if is_name { name.as_str() } else { "127.0.0.1" })
}
