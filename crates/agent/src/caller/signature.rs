//! The proof that a caller is the DID that its token names: Bindu's request signature, or an HTTP message signature.

use super::{
    AuthRefusal, CallerKeys,
    keys::{Keys, epoch_seconds},
    single,
};
use axum::http::{HeaderMap, Method, Uri, header};
use bindu_identity::{
    Did, PublicKey,
    message_signature::{self, SignedRequest},
    request_signature::{self, Rejection, SignatureHeaders},
};
use sha2::{Digest as _, Sha256};
use std::time::Instant;

/// What a request is, as far as signatures go.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// What a signature must cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cover {
    /// The body says all: JSON-RPC, or a GET that changes nothing. Bindu's form will do.
    Body,
    /// Method and path say what is to be changed: Bindu's form covers neither.
    #[allow(dead_code, reason = "the HTTP+JSON routes of A2A 1.0 will ask for it; the rule is tested")]
    Request,
}

/// What makes a signed request this one and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    /// SHA-256 of the DID and what was signed.
    pub(crate) digest: [u8; 32],
    /// When it says it was signed, seconds since the epoch.
    pub(crate) signed_at: u64,
}

/// Checks the caller's signature, with its key looked at again where it fails.
pub(super) async fn prove(
    did: &Did,
    signed: &Signed<'_>,
    cover: Cover,
    (keys, deadline): (&Keys, Instant),
    own_authority: Option<&str>,
) -> Result<Proof, AuthRefusal> {
    let form = Form::of(signed, cover, own_authority)?;
    let known = keys.of(did, deadline).await?;
    let failed = match form.prove(did, &known) {
        Err(failed @ (AuthRefusal::BadSignature(Rejection::InvalidSignature) | AuthRefusal::NoPublicKey)) => {
            failed
        }
        decided => return decided,
    };
    let now = keys.again(did, deadline).await?;
    if now == known { Err(failed) } else { form.prove(did, &now) }
}

/// How a request is signed.
enum Form<'a> {
    Bindu { headers: SignatureHeaders<'a>, body: &'a str },
    Message { values: (String, String), signed: &'a Signed<'a>, cover: Cover, authority: String },
}

impl<'a> Form<'a> {
    /// The stronger one counts where there are both.
    fn of(signed: &'a Signed<'a>, cover: Cover, own_authority: Option<&str>) -> Result<Self, AuthRefusal> {
        let headers = signed.headers;
        if headers.contains_key("signature-input") || headers.contains_key("signature") {
            let joined = |name| {
                let values: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str()).collect();
                let values: Result<Vec<_>, _> = values.into_iter().collect();
                values.ok().filter(|values| !values.is_empty()).map(|values| values.join(", "))
            };
            let values =
                joined("signature-input").zip(joined("signature")).ok_or(AuthRefusal::NoSignature)?;
            let host = || single(headers, header::HOST.as_str()).unwrap_or_default().to_ascii_lowercase();
            let authority = own_authority.map_or_else(host, str::to_owned);
            return Ok(Self::Message { values, signed, cover, authority });
        }
        let headers = SignatureHeaders {
            did: single(headers, "x-did").ok_or(AuthRefusal::NoSignature)?,
            timestamp: single(headers, "x-did-timestamp").ok_or(AuthRefusal::NoSignature)?,
            signature: single(headers, "x-did-signature").ok_or(AuthRefusal::NoSignature)?,
        };
        if cover == Cover::Request {
            return Err(AuthRefusal::BadSignature(Rejection::CoversTooLittle));
        }
        let body = std::str::from_utf8(signed.body)
            .map_err(|_| AuthRefusal::BadSignature(Rejection::InvalidSignature))?;
        Ok(Self::Bindu { headers, body })
    }

    /// Checks the signature by the caller's keys, each form by those of its own: text that others choose is signed with
    /// the first ones.
    fn prove(&self, did: &Did, keys: &CallerKeys) -> Result<Proof, AuthRefusal> {
        let now = epoch_seconds();
        match self {
            Self::Bindu { .. } => self.by_one_of(did, keys.for_requests(now)),
            Self::Message { .. } => self.by_one_of(did, keys.for_messages(now)),
        }
    }

    fn by_one_of(&self, did: &Did, keys: impl Iterator<Item = PublicKey>) -> Result<Proof, AuthRefusal> {
        let mut refusal = AuthRefusal::NoPublicKey;
        for key in keys {
            match self.verify(did, &key) {
                Ok(proof) => return Ok(proof),
                // The only one that another key can change.
                Err(Rejection::InvalidSignature) => {
                    refusal = AuthRefusal::BadSignature(Rejection::InvalidSignature);
                }
                Err(rejection) => return Err(AuthRefusal::BadSignature(rejection)),
            }
        }
        Err(refusal)
    }

    fn verify(&self, did: &Did, key: &PublicKey) -> Result<Proof, Rejection> {
        let now = bindu_http_client::epoch_seconds();
        match self {
            Self::Bindu { headers, body } => {
                let verified = request_signature::verify(*headers, did, key, body, now)?;
                Ok(Proof::of(did, &verified.payload, verified.timestamp))
            }
            Self::Message { values, signed, cover, authority } => {
                let header = |name: &str| {
                    signed.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
                };
                let request = SignedRequest {
                    method: signed.method.as_str(),
                    path: signed.uri.path(),
                    query: signed.uri.query(),
                    authority,
                    header: &header,
                    body: signed.body,
                };
                let verified = message_signature::verify((&values.0, &values.1), &request, did, key, now)?;
                if *cover == Cover::Request && !verified.has_nonce {
                    return Err(Rejection::CoversTooLittle);
                }
                Ok(Proof::of(did, &verified.base, verified.created))
            }
        }
    }
}

impl Proof {
    fn of(did: &Did, signed: &str, signed_at: u64) -> Self {
        let digest =
            Sha256::new().chain_update(did.as_str()).chain_update([0]).chain_update(signed).finalize();
        Self { digest: digest.into(), signed_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use bindu_identity::{DerivedKey, SigningKey};

    const BODY: &[u8] = b"{}";

    fn did() -> Did {
        "did:bindu:a:b".parse().expect("a DID")
    }

    fn key() -> SigningKey {
        SigningKey::from_seed(&[0; 32])
    }

    /// What becomes of a request with these headers where method and path must be covered.
    fn change(headers: &HeaderMap) -> Result<Proof, AuthRefusal> {
        let uri = Uri::from_static("/tasks/1:cancel");
        let signed = Signed { method: &Method::POST, uri: &uri, headers, body: BODY };
        let form = Form::of(&signed, Cover::Request, None)?;
        form.verify(&did(), &DerivedKey::of(&key()).public_key()).map_err(AuthRefusal::BadSignature)
    }

    fn message(nonce: &str) -> HeaderMap {
        let none = |_: &str| Vec::new();
        let request = SignedRequest {
            method: "POST",
            path: "/tasks/1:cancel",
            query: None,
            authority: "agent",
            header: &none,
            body: BODY,
        };
        let now = bindu_http_client::epoch_seconds();
        let signed = message_signature::sign(&DerivedKey::of(&key()), &did(), &request, now, nonce);
        let pairs = [
            ("host", "agent".to_owned()),
            ("content-digest", signed.content_digest),
            ("signature-input", signed.signature_input),
            ("signature", signed.signature),
        ];
        pairs
            .into_iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    #[test]
    fn what_a_rest_call_changes_must_be_signed_with_method_path_and_nonce() {
        let now = bindu_http_client::epoch_seconds();
        let signature = request_signature::sign(&key(), &did(), "{}", now).to_string();
        let mut bindu = HeaderMap::new();
        for (name, value) in [
            ("x-did", did().to_string()),
            ("x-did-timestamp", now.to_string()),
            ("x-did-signature", signature),
        ] {
            bindu.insert(name, HeaderValue::from_str(&value).expect("a value"));
        }
        let too_little = Err(AuthRefusal::BadSignature(Rejection::CoversTooLittle));
        assert_eq!(change(&bindu), too_little, "Bindu's form covers neither");
        assert_eq!(change(&message("")), too_little, "without a nonce");
        assert!(change(&message("n1")).is_ok());
        assert_ne!(change(&message("n1")), change(&message("n2")), "each is a request of its own");
        assert_eq!(change(&HeaderMap::new()), Err(AuthRefusal::NoSignature));
    }
}
