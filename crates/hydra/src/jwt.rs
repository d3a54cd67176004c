//! Access tokens that are JWTs (Hydra's `strategies.access_token: jwt`), checked with Hydra's public keys (RFC 7519,
//! RFC 9068 where Hydra follows it).
//!
//! Read by hand with ring: what is taken is one form with one algorithm, which the token has no say in, and a JWT library
//! would bring a second implementation of the cryptography. A signature says nothing about revocation.

use crate::{Hydra, HydraError, Introspection, lifetime};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bindu_http_client::{Method, Reply, epoch_seconds};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde_json::Value;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How far Hydra's replicas' clocks may be apart, for `nbf`; seconds.
const LEEWAY: u64 = 5;

/// Hydra's issuer and public keys.
pub struct KeySet {
    /// What tokens must bear as `iss`.
    pub issuer: String,
    keys: HashMap<String, RsaKey>,
    /// Hydra's clock at that instant, seconds since the epoch.
    clock: (Instant, u64),
}

struct RsaKey {
    n: Vec<u8>,
    e: Vec<u8>,
}

/// Why a JWT does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtProblem {
    /// Not the form of a JWT that Hydra signs.
    #[error("malformed")]
    Malformed,
    /// Signed with a key that is not in the set; a newer set may have it.
    #[error("unknown key")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("wrong signature")]
    WrongSignature,
    /// Another issuer's, or no client's.
    #[error("claims that do not count")]
    WrongClaims,
    /// Signed by Hydra for a client; but not of this time, by what we know of Hydra's clock, or without a word on its
    /// scopes. Hydra itself can tell.
    #[error("claims that only Hydra can judge")]
    Doubtful,
}

/// The key that a JWT says it was signed with.
///
/// # Errors
/// [`JwtProblem::Malformed`] where it is no JWT of the one form that is taken: RS256, with a `kid`, and nothing critical.
pub fn key_id(token: &str) -> Result<String, JwtProblem> {
    let (header, ..) = parts(token).ok_or(JwtProblem::Malformed)?;
    let header = json(header).ok_or(JwtProblem::Malformed)?;
    let is_taken = header.get("alg").is_some_and(|alg| alg == "RS256") && header.get("crit").is_none();
    let kid = header.get("kid").and_then(Value::as_str).filter(|_| is_taken);
    kid.map(str::to_owned).ok_or(JwtProblem::Malformed)
}

impl KeySet {
    /// How long ago it was fetched.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.clock.0.elapsed()
    }

    /// Whether a key is in the set.
    #[must_use]
    pub fn has(&self, key_id: &str) -> bool {
        self.keys.contains_key(key_id)
    }

    /// Checks a token's signature and claims, by Hydra's clock.
    ///
    /// # Errors
    /// The first [`JwtProblem`] that applies.
    pub fn check(&self, token: &str) -> Result<Introspection, JwtProblem> {
        let kid = key_id(token)?;
        let key = self.keys.get(&kid).ok_or(JwtProblem::UnknownKey)?;
        let (_, claims, signature) = parts(token).ok_or(JwtProblem::Malformed)?;
        let signed = token.rsplit_once('.').map(|(signed, _)| signed).ok_or(JwtProblem::Malformed)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| JwtProblem::Malformed)?;
        RsaPublicKeyComponents { n: &key.n, e: &key.e }
            .verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature)
            .map_err(|_| JwtProblem::WrongSignature)?;
        let claims = json(claims).ok_or(JwtProblem::Malformed)?;
        let (instant, date) = self.clock;
        self.accept(&claims, date + instant.elapsed().as_secs())
    }

    fn accept(&self, claims: &Value, now: u64) -> Result<Introspection, JwtProblem> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let texts = |name: &str| match claims.get(name) {
            Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
            Some(Value::Array(items)) => {
                items.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
            }
            _ => Vec::new(),
        };
        let number = |name: &str| claims.get(name).and_then(Value::as_u64);
        // An ID token is signed with a key of the same set; it has no `client_id`.
        let client_id = text("client_id").filter(|id| !id.is_empty() && text("jti").is_some());
        let (Some(client_id), Some(expires_at), true) =
            (client_id, number("exp"), text("iss") == Some(&self.issuer))
        else {
            return Err(JwtProblem::WrongClaims);
        };
        // Hydra writes one of the two, or both (`strategies.jwt.scope_claim`); neither for a token without scopes.
        let scopes =
            ["scp", "scope"].into_iter().find(|name| claims.get(*name).is_some_and(|value| !value.is_null()));
        let is_of_this_time = expires_at > now && number("nbf").unwrap_or_default() <= now + LEEWAY;
        match scopes {
            Some(scopes) if is_of_this_time => Ok(Introspection {
                client_id: client_id.to_owned(),
                subject: text("sub").unwrap_or_default().to_owned(),
                scopes: texts(scopes),
                audiences: texts("aud"),
                expires_in: Some(lifetime(expires_at - now - 1)),
            }),
            _ => Err(JwtProblem::Doubtful),
        }
    }
}

impl Hydra {
    /// Fetches the issuer and the public keys from the public port.
    ///
    /// # Errors
    /// [`HydraError::Unavailable`] where an answer is not what Hydra says.
    pub async fn key_set(&self) -> Result<KeySet, HydraError> {
        let get = async |operation, segments: &[&str]| {
            let request = self.client.request(Method::GET, self.public(segments));
            self.client.send(operation, request.header("Accept", "application/json")).await
        };
        let (discovery, keys) = tokio::join!(
            get("discovery", &[".well-known", "openid-configuration"]),
            get("key_set", &[".well-known", "jwks.json"])
        );
        KeySet::read(&discovery?, &keys?)
    }
}

impl KeySet {
    /// Reads Hydra's answers about itself and its keys.
    pub(crate) fn read(discovery: &Reply, keys: &Reply) -> Result<Self, HydraError> {
        let issuer = discovery.json().and_then(|body| body.get("issuer")?.as_str().map(str::to_owned));
        let issuer = issuer.filter(|issuer| discovery.status == 200 && !issuer.is_empty());
        let issuer =
            issuer.ok_or_else(|| HydraError::unavailable("an answer that is not Hydra's", discovery))?;
        let date = keys.date().unwrap_or_else(epoch_seconds);
        let found = keys.json().filter(|_| keys.status == 200).as_ref().and_then(rsa_keys);
        let found = found.ok_or_else(|| HydraError::unavailable("an answer that is not Hydra's", keys))?;
        Ok(Self { issuer, keys: found, clock: (Instant::now(), date) })
    }
}

/// The set's RSA keys for signatures, by their ids; others are passed over.
fn rsa_keys(set: &Value) -> Option<HashMap<String, RsaKey>> {
    let keys = set.get("keys")?.as_array()?;
    let read = |key: &Value| {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let is_ours = text("kty") == Some("RSA")
            && text("alg").is_none_or(|alg| alg == "RS256")
            && text("use").is_none_or(|purpose| purpose == "sig");
        let number = |name| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        is_ours.then(|| Some((text("kid")?.to_owned(), RsaKey { n: number("n")?, e: number("e")? })))?
    };
    Some(keys.iter().filter_map(read).collect())
}

fn parts(token: &str) -> Option<(&str, &str, &str)> {
    let mut parts = token.split('.');
    let all = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(all)
}

fn json(part: &str) -> Option<Value> {
    let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
    value.is_object().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set() -> KeySet {
        KeySet { issuer: "https://hydra".to_owned(), keys: HashMap::new(), clock: (Instant::now(), 1000) }
    }

    fn token(header: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.AAAA", encode(header), encode(&json!({})))
    }

    #[test]
    fn the_token_has_no_say_in_the_algorithm() {
        assert_eq!(key_id(&token(&json!({"alg": "RS256", "kid": "a"}))), Ok("a".to_owned()));
        for header in [
            json!({"alg": "none", "kid": "a"}),
            json!({"alg": "HS256", "kid": "a"}),
            json!({"alg": "rs256", "kid": "a"}),
            json!({"alg": "RS256"}),
            json!({"alg": "RS256", "kid": "a", "crit": ["b64"]}),
            json!([]),
        ] {
            assert_eq!(key_id(&token(&header)), Err(JwtProblem::Malformed), "{header}");
        }
        for odd in ["", ".", "..", "a.b.c.d", "a b.c.d"] {
            assert_eq!(key_id(odd), Err(JwtProblem::Malformed), "{odd}");
        }
        let unknown = set().check(&token(&json!({"alg": "RS256", "kid": "a"})));
        assert_eq!(unknown.err(), Some(JwtProblem::UnknownKey));
    }

    #[test]
    fn claims_are_checked_one_by_one() {
        let good = json!({
            "iss": "https://hydra", "exp": 2000, "nbf": 1000, "client_id": "c", "scp": ["agent:read"], "jti": "1",
        });
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            set().accept(&claims, 1000)
        };
        let accepted = with("aud", json!(["x"])).expect("good");
        assert_eq!((accepted.expires_in, accepted.scopes.len()), (Some(Duration::from_secs(999)), 1));
        for (name, value, problem) in [
            ("iss", json!("https://hydra/"), JwtProblem::WrongClaims),
            ("exp", json!(1000), JwtProblem::Doubtful),
            ("exp", json!("2000"), JwtProblem::WrongClaims),
            ("exp", json!(null), JwtProblem::WrongClaims),
            ("nbf", json!(1006), JwtProblem::Doubtful),
            ("client_id", json!(""), JwtProblem::WrongClaims),
            ("client_id", json!(null), JwtProblem::WrongClaims),
            ("scp", json!(null), JwtProblem::Doubtful),
            ("jti", json!(null), JwtProblem::WrongClaims),
        ] {
            assert_eq!(with(name, value.clone()), Err(problem), "{name} {value}");
        }
        let mut text = good.clone();
        text["scope"] = text["scp"].take();
        text["scope"] = json!("agent:read agent:write");
        assert_eq!(set().accept(&text, 1000).expect("good").scopes.len(), 2);
    }
}
