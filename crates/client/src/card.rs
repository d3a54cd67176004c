//! The other agent's card: who it says it is, and where it takes calls.

use crate::CallError;
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
}

/// An address of another agent's: https, or plain http on this machine.
pub(crate) fn address(text: &str, allow_http: bool) -> Result<Url, CallError> {
    let error = |problem| CallError::Address { url: text.to_owned(), problem };
    let url: Url = text.parse().map_err(|_| error("it is no URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(error("it holds a name or a password"));
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

/// Fetches the card of the agent at `base`. An interface on another origin counts only where `allowed` names it.
pub(crate) async fn fetch(
    base: &Url,
    http: &HttpSettings,
    allowed: &[String],
    allow_http: bool,
) -> Result<Card, CallError> {
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend([".well-known", "agent.json"]);
    }
    let reply = get(&url, http).await?;
    let no_card = |problem: String| CallError::NoCard { url: url.to_string(), problem };
    if reply.status != 200 {
        return Err(no_card(format!("status {}", reply.status)));
    }
    read(base, &reply.json().ok_or_else(|| no_card("it is no JSON".to_owned()))?, allowed, allow_http)
}

pub(crate) fn read(
    base: &Url,
    card: &Value,
    allowed: &[String],
    allow_http: bool,
) -> Result<Card, CallError> {
    let no_card = |problem: &str| CallError::NoCard { url: base.to_string(), problem: problem.to_owned() };
    let interface = card.get("url").and_then(Value::as_str).ok_or_else(|| no_card("it has no `url`"))?;
    let interface = address(interface, allow_http)?;
    let origin = interface.origin().ascii_serialization();
    if interface.origin() != base.origin() && !allowed.contains(&origin) {
        return Err(CallError::OtherOrigin { base: base.to_string(), interface: origin });
    }
    let extensions = card.pointer("/capabilities/extensions").and_then(Value::as_array);
    let did = extensions
        .into_iter()
        .flatten()
        .find_map(|extension| extension.get("uri").and_then(Value::as_str).and_then(|uri| uri.parse().ok()));
    Ok(Card { interface, did })
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
}
