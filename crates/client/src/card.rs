//! The other agent's card: who it says it is, and where it takes calls.

use crate::{CallError, inspect};
use bindu_a2a::Dialect;
use bindu_http_client::{HttpClient, HttpSettings, Method};
use bindu_identity::Did;
use serde_json::Value;
use url::{Host, Url};

/// What we need of a card.
#[derive(Debug)]
pub(crate) struct Card {
    /// Where calls go.
    pub(crate) interface: Url,
    /// Who it says it is, where it is a DID.
    pub(crate) did: Option<Did>,
    /// How it is called.
    pub(crate) protocol: Protocol,
    /// Whether it streams.
    pub(crate) streams: bool,
    /// Where its tokens are from, as it says: the token endpoints of client credentials.
    pub(crate) token_urls: Vec<Url>,
}

/// How an agent is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// JSON-RPC, in a dialect.
    Rpc(Dialect),
    /// HTTP+JSON of A2A 1.0.
    Rest,
}

/// An address of another agent's: https, or plain http on this machine.
pub(crate) fn address(text: &str, allow_http: bool) -> Result<Url, CallError> {
    let error = |problem| CallError::Address { url: text.to_owned(), problem };
    let mut url: Url = text.parse().map_err(|_| error("it is no URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        let _ = (url.set_username(""), url.set_password(None));
        return Err(CallError::Address { url: url.to_string(), problem: "it holds a name or a password" });
    }
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => Ok(url),
        ("http", Some(host)) if allow_http || is_loopback(&host) => Ok(url),
        ("http", Some(_)) => Err(error("plain http beyond this machine shows the token to the network")),
        _ => Err(error("it must begin with https://")),
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.to_canonical().is_loopback(),
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
    }
}

/// Fetches the card of the agent at `base`: A2A's, else Python Bindu's. An interface on another origin counts only where
/// `allowed` names it.
pub(crate) async fn fetch(
    base: &Url,
    http: &HttpSettings,
    allowed: &[String],
    allow_http: bool,
) -> Result<Card, CallError> {
    let mut problem = None;
    for file in ["agent-card.json", "agent.json"] {
        let mut url = base.clone();
        url.set_query(None);
        url.set_fragment(None);
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend([".well-known", file]);
        }
        let reply = get(&url, http).await?;
        let no_card = |problem: String| CallError::NoCard { url: url.to_string(), problem };
        match (reply.status, reply.json().filter(Value::is_object)) {
            (200, Some(card)) => {
                let found = read(base, &card, allowed, allow_http)?;
                // An agent with a DID signs its replies, by keys that are found otherwise.
                if found.did.is_none() {
                    inspect::check(&card, base, http).await?;
                }
                return Ok(found);
            }
            (200, None) => problem = Some(no_card("it is no JSON".to_owned())),
            (status, _) => problem = Some(no_card(format!("status {status}"))),
        }
    }
    Err(problem.unwrap_or_else(|| CallError::NoCard { url: base.to_string(), problem: "nothing".to_owned() }))
}

pub(crate) fn read(
    base: &Url,
    card: &Value,
    allowed: &[String],
    allow_http: bool,
) -> Result<Card, CallError> {
    let no_card = |problem: &str| CallError::NoCard { url: base.to_string(), problem: problem.to_owned() };
    let did = did_of(card);
    let (protocol, interface) = interface(card, did.is_some())
        .ok_or_else(|| no_card("it has no `url`, and names no interface that is spoken here"))?;
    let interface = address(interface, allow_http)?;
    let origin = interface.origin().ascii_serialization();
    if interface.origin() != base.origin() && !allowed.contains(&origin) {
        return Err(CallError::OtherOrigin { base: base.to_string(), interface: origin });
    }
    let streams = card.pointer("/capabilities/streaming").and_then(Value::as_bool).unwrap_or_default();
    Ok(Card { interface, did, protocol, streams, token_urls: token_urls(card) })
}

/// The DID that a card names: in Bindu's extension, or as the URI of an extension (Python Bindu).
fn did_of(card: &Value) -> Option<Did> {
    let extensions = card.pointer("/capabilities/extensions")?.as_array()?;
    extensions.iter().find_map(|extension| {
        let text = |pointer| extension.pointer(pointer).and_then(Value::as_str);
        [text("/params/did"), text("/uri")].into_iter().flatten().find_map(|did| did.parse().ok())
    })
}

/// How and where an agent is called. One with a DID is of Bindu's kind: it is called in its dialect, in which the caller
/// chooses the ids, so that a message whose answer was lost can be looked for.
fn interface(card: &Value, has_did: bool) -> Option<(Protocol, &str)> {
    let text = |value: &'_ Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let interfaces = card.get("supportedInterfaces").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let find = |binding: &str, version: &str| {
        let is_it = |interface: &&Value| {
            let versions = text(interface, "protocolVersion").unwrap_or_default();
            text(interface, "protocolBinding").as_deref() == Some(binding)
                && (versions == version || versions.starts_with(&format!("{version}.")))
        };
        interfaces.iter().find(is_it).and_then(|interface| interface.get("url")?.as_str())
    };
    let legacy = card.get("url").and_then(Value::as_str);
    if has_did {
        let url = legacy.or_else(|| find("JSONRPC", "0.3")).or_else(|| find("JSONRPC", "1"))?;
        return Some((Protocol::Rpc(Dialect::Bindu), url));
    }
    let is_json_rpc =
        text(card, "preferredTransport").is_none_or(|transport| transport.eq_ignore_ascii_case("JSONRPC"));
    let is_bindu = text(card, "kind").is_some() && card.get("agentTrust").is_some();
    find("JSONRPC", "1")
        .map(|url| (Protocol::Rpc(Dialect::V1), url))
        .or_else(|| find("HTTP+JSON", "1").map(|url| (Protocol::Rest, url)))
        .or_else(|| find("JSONRPC", "0.3").map(|url| (Protocol::Rpc(Dialect::V03), url)))
        .or_else(|| {
            let dialect = if is_bindu { Dialect::Bindu } else { Dialect::V03 };
            legacy.filter(|_| is_json_rpc).map(|url| (Protocol::Rpc(dialect), url))
        })
}

/// The token endpoints of a card's OAuth 2.0 schemes, in the form of 1.0 or of 0.3.
fn token_urls(card: &Value) -> Vec<Url> {
    let schemes = card.get("securitySchemes").and_then(Value::as_object);
    let url = |scheme: &Value| {
        let flows = scheme.pointer("/oauth2SecurityScheme/flows").or_else(|| scheme.get("flows"))?;
        flows.pointer("/clientCredentials/tokenUrl")?.as_str()?.parse().ok()
    };
    schemes.into_iter().flatten().filter_map(|(_, scheme)| url(scheme)).collect()
}

/// GETs from another agent.
pub(crate) async fn get(url: &Url, http: &HttpSettings) -> Result<bindu_http_client::Reply, CallError> {
    let unavailable = |detail: String| CallError::Unavailable { url: url.to_string(), detail };
    let client = HttpClient::new(url, http).map_err(|error| unavailable(error.to_string()))?;
    let request = client.request(Method::GET, url.clone()).header("Accept", "application/json");
    client.send("call", request).await.map_err(|error| unavailable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for good in ["https://a.example", "http://127.0.0.1:3773", "http://[::1]:1", "http://localhost"] {
            assert!(address(good, false).is_ok(), "{good}");
        }
        for bad in [
            "http://a.example",
            "http://10.0.0.1",
            "http://127.0.0.1.evil.example",
            "http://localhost.evil.example",
            "ftp://a.example",
            "a.example",
            "https://user:secret@a.example",
        ] {
            assert!(address(bad, false).is_err(), "{bad}");
        }
        assert!(address("http://agent.default.svc", true).is_ok());
    }

    #[test]
    fn a_card_sends_calls_to_its_own_origin_only() {
        let base: Url = "https://a.example/agent".parse().expect("a URL");
        let card =
            |url: &str| json!({"url": url, "capabilities": {"extensions": [{"uri": "did:bindu:a:b:c"}]}});
        let good = read(&base, &card("https://a.example/calls"), &[], false).expect("good");
        assert_eq!(good.did.expect("a DID").as_str(), "did:bindu:a:b:c");
        for elsewhere in ["https://b.example/", "https://a.example:444/", "https://a.example.b.example/"] {
            let refused = read(&base, &card(elsewhere), &[], false);
            assert!(matches!(refused, Err(CallError::OtherOrigin { .. })), "{elsewhere}");
        }
        assert!(read(&base, &card("https://b.example/"), &["https://b.example".to_owned()], false).is_ok());
        assert!(read(&base, &card("http://b.example/"), &["http://b.example".to_owned()], false).is_err());
        assert!(read(&base, &json!({}), &[], false).is_err());
    }

    #[test]
    fn an_agent_is_called_in_the_newest_way_that_its_card_offers() {
        let base: Url = "https://a.example/".parse().expect("a URL");
        let at = |path: &str, binding: &str, version: &str| json!({"url": format!("https://a.example/{path}"), "protocolBinding": binding, "protocolVersion": version});
        let [v1, v03, bindu] = [Dialect::V1, Dialect::V03, Dialect::Bindu].map(Protocol::Rpc);
        let did = json!({"extensions": [{"uri": "urn:x", "params": {"did": "did:bindu:a:b:c"}}]});
        for (card, want) in [
            (
                json!({"supportedInterfaces": [at("g", "GRPC", "1.0"), at("r", "HTTP+JSON", "1.0"), at("j", "JSONRPC", "1.0")]}),
                Some((v1, "j")),
            ),
            (
                json!({"supportedInterfaces": [at("o", "JSONRPC", "0.3"), at("j", "JSONRPC", "1.0.1")]}),
                Some((v1, "j")),
            ),
            (
                json!({"supportedInterfaces": [at("o", "JSONRPC", "0.3"), at("r", "HTTP+JSON", "1.0")]}),
                Some((Protocol::Rest, "r")),
            ),
            (json!({"supportedInterfaces": [at("o", "JSONRPC", "0.3.0")]}), Some((v03, "o"))),
            (json!({"supportedInterfaces": [at("g", "GRPC", "1.0"), at("n", "JSONRPC", "2.0")]}), None),
            (json!({"url": "https://a.example/old", "protocolVersion": "0.3.0"}), Some((v03, "old"))),
            (json!({"url": "https://a.example/old", "preferredTransport": "GRPC"}), None),
            (json!({"url": "https://a.example/b", "kind": "agent", "agentTrust": {}}), Some((bindu, "b"))),
            (
                json!({"url": "https://a.example/b", "capabilities": did, "supportedInterfaces": [at("j", "JSONRPC", "1.0")]}),
                Some((bindu, "b")),
            ),
        ] {
            let found = read(&base, &card, &[], false).ok();
            let found = found.as_ref().map(|card| (card.protocol, card.interface.path().trim_matches('/')));
            assert_eq!(found, want, "{card}");
        }
        let scheme = json!({"o": {"oauth2SecurityScheme": {"flows": {"clientCredentials": {"tokenUrl": "https://h.example/t"}}}}});
        let card = json!({"securitySchemes": scheme, "supportedInterfaces": [at("j", "JSONRPC", "1.0")], "capabilities": {"streaming": true}});
        let card = read(&base, &card, &[], false).expect("a card");
        assert_eq!((card.streams, card.token_urls.len()), (true, 1));
    }
}
