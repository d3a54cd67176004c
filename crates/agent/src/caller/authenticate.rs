//! Finding out who is calling: the token is introspected at Hydra, and a caller whose client id is a DID must have
//! signed the request with the key that Hydra holds for it.
//!
//! Nobody gets in unchecked: where Hydra can't be asked the answer is 503, never a guess. Nothing is cached yet.

use super::{AuthRefusal, Caller};
use axum::http::{HeaderMap, header};
use bindu_http::epoch_seconds;
use bindu_hydra::{Hydra, HydraError};
use bindu_identity::{
    Did, PublicKey,
    request_signature::{self, SignatureHeaders},
};
use secrecy::SecretString;
use std::time::Duration;

/// Finds out who is calling.
#[derive(Clone)]
pub struct Authenticator {
    hydra: Hydra,
    /// Bounds all of Hydra's work for one call (`HYDRA__TIMEOUT`).
    timeout: Duration,
}

impl Authenticator {
    /// An authenticator that asks this Hydra.
    #[must_use]
    pub fn new(hydra: Hydra, timeout: Duration) -> Self {
        Self { hydra, timeout }
    }

    /// The caller of a request with these headers and this body.
    ///
    /// # Errors
    /// Why it is not let in.
    pub async fn authenticate(&self, headers: &HeaderMap, body: &[u8]) -> Result<Caller, AuthRefusal> {
        let token = bearer(headers).ok_or(AuthRefusal::NoToken)?;
        let asked = tokio::time::timeout(self.timeout, self.identify(&token, headers, body)).await;
        asked.unwrap_or(Err(AuthRefusal::Unavailable))
    }

    async fn identify(
        &self,
        token: &SecretString,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Caller, AuthRefusal> {
        let active =
            self.hydra.introspect(token).await.map_err(unavailable)?.ok_or(AuthRefusal::InactiveToken)?;
        // For the client credentials grant, the only one served, the subject is the client.
        let caller =
            |did| Caller::Client { client_id: active.client_id.clone(), did, scopes: active.scopes.clone() };
        // Whatever looks like a DID must prove itself, in any case: a client `DID:x` is nobody's namesake.
        if !active.client_id.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("did:")) {
            return Ok(caller(None));
        }
        let did: Did = active.client_id.parse().map_err(|_| AuthRefusal::NoPublicKey)?;
        let signature = signature_headers(headers).ok_or(AuthRefusal::NoSignature)?;
        let body = std::str::from_utf8(body)
            .map_err(|_| AuthRefusal::BadSignature(request_signature::Rejection::InvalidSignature))?;
        let key = self.public_key(&did).await?;
        request_signature::verify(signature, &did, &key, body, epoch_seconds())
            .map_err(AuthRefusal::BadSignature)?;
        Ok(caller(Some(did)))
    }

    async fn public_key(&self, did: &Did) -> Result<PublicKey, AuthRefusal> {
        match self.hydra.client(did).await {
            Ok(Some(client)) => {
                client.public_key().and_then(|key| key.parse().ok()).ok_or(AuthRefusal::NoPublicKey)
            }
            Ok(None) | Err(HydraError::Unaddressable) => Err(AuthRefusal::NoPublicKey),
            Err(error) => Err(unavailable(error)),
        }
    }
}

fn unavailable(error: HydraError) -> AuthRefusal {
    tracing::warn!(%error, "a caller could not be checked");
    AuthRefusal::Unavailable
}

/// The one bearer token (RFC 6750 §2.1). One in the URL is not looked at: URLs end up in logs.
fn bearer(headers: &HeaderMap) -> Option<SecretString> {
    let value = single(headers, header::AUTHORIZATION.as_str())?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| SecretString::from(token))
}

fn signature_headers(headers: &HeaderMap) -> Option<SignatureHeaders<'_>> {
    Some(SignatureHeaders {
        did: single(headers, "x-did")?,
        timestamp: single(headers, "x-did-timestamp")?,
        signature: single(headers, "x-did-signature")?,
    })
}

/// A header that was sent exactly once: of two, nobody can say which one counts.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use secrecy::ExposeSecret as _;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_token_comes_once_and_in_the_header() {
        for good in ["Bearer abc", "bearer abc", "BEARER  abc"] {
            let token = bearer(&headers(&[("authorization", good)]));
            assert_eq!(token.expect("a token").expose_secret(), "abc");
        }
        for bad in [
            &[][..],
            &[("authorization", "Basic abc")],
            &[("authorization", "Bearer ")],
            &[("authorization", "Bearer")],
        ] {
            assert!(bearer(&headers(bad)).is_none(), "{bad:?}");
        }
        assert!(bearer(&headers(&[("authorization", "Bearer a"), ("authorization", "Bearer b")])).is_none());
    }

    #[test]
    fn signature_headers_come_once_each() {
        let all = [("x-did", "did:a:b"), ("x-did-timestamp", "1"), ("x-did-signature", "s")];
        assert!(signature_headers(&headers(&all)).is_some());
        assert!(signature_headers(&headers(&all[..2])).is_none());
        let twice = [all[0], all[1], all[2], ("x-did", "did:c:d")];
        assert!(signature_headers(&headers(&twice)).is_none());
    }
}
