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

/// Where the agent is called: what of its address a proxy may have taken out of a request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Own<'a> {
    /// `host` or `host:port`, if it is known.
    pub(crate) authority: Option<&'a str>,
    /// The path before all of ours, without a slash at its end; empty for none.
    pub(crate) prefix: &'a str,
}

impl Own<'_> {
    /// The path as the caller has called it. A proxy has stripped the prefix, so it is put back; never left out, since
    /// the path behind it alone may be another agent's on the same host. The prefix itself is called with a slash and
    /// without.
    fn called(self, path: &str) -> Vec<String> {
        match (self.prefix, path) {
            ("", path) => vec![path.to_owned()],
            (prefix, "/") => vec![format!("{prefix}/"), prefix.to_owned()],
            (prefix, path) => vec![format!("{prefix}{path}")],
        }
    }
}

/// What a signature must cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cover {
    /// The body says all: JSON-RPC, or a GET that changes nothing. Bindu's form will do.
    Body,
    /// Method and path say what is to be changed: Bindu's form covers neither.
    Request,
    /// There is no signature: gRPC has none. Who must sign is not let in.
    Nothing,
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
    own: Own<'_>,
) -> Result<Proof, AuthRefusal> {
    let form = Form::of(signed, cover, own)?;
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
    Bindu {
        headers: SignatureHeaders<'a>,
        body: &'a str,
    },
    Message {
        values: (String, String),
        signed: &'a Signed<'a>,
        cover: Cover,
        authority: String,
        paths: Vec<String>,
    },
}

impl<'a> Form<'a> {
    /// The stronger one counts where there are both.
    fn of(signed: &'a Signed<'a>, cover: Cover, own: Own<'_>) -> Result<Self, AuthRefusal> {
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
            let authority = own.authority.map_or_else(host, str::to_owned);
            let paths = own.called(signed.uri.path());
            return Ok(Self::Message { values, signed, cover, authority, paths });
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
            Self::Message { values, signed, cover, authority, paths } => {
                let header = |name: &str| {
                    signed.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
                };
                let mut verified = Err(Rejection::InvalidSignature);
                for path in paths {
                    let request = SignedRequest {
                        method: signed.method.as_str(),
                        path,
                        query: signed.uri.query(),
                        authority,
                        header: &header,
                        body: signed.body,
                    };
                    verified = message_signature::verify((&values.0, &values.1), &request, did, key, now);
                    if verified.is_ok() {
                        break;
                    }
                }
                let verified = verified?;
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
        change_at("/tasks/1:cancel", "", headers)
    }

    /// The same at a path as it arrives behind a proxy that strips this prefix.
    fn change_at(path: &'static str, prefix: &str, headers: &HeaderMap) -> Result<Proof, AuthRefusal> {
        let uri = Uri::from_static(path);
        let signed = Signed { method: &Method::POST, uri: &uri, headers, body: BODY };
        let form = Form::of(&signed, Cover::Request, Own { authority: None, prefix })?;
        form.verify(&did(), &DerivedKey::of(&key()).public_key()).map_err(AuthRefusal::BadSignature)
    }

    fn message(nonce: &str) -> HeaderMap {
        message_at("/tasks/1:cancel", nonce)
    }

    fn message_at(path: &str, nonce: &str) -> HeaderMap {
        let none = |_: &str| Vec::new();
        let request = SignedRequest {
            method: "POST",
            path,
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

    /// What was signed for one agent of a host is not for another one.
    #[test]
    fn behind_a_stripped_prefix_the_path_is_the_one_that_was_called() {
        for (arrives, prefix, called) in [
            ("/tasks/1:cancel", "/echo", "/echo/tasks/1:cancel"),
            ("/", "/echo", "/echo/"),
            ("/", "/echo", "/echo"),
            ("/", "/a/b", "/a/b"),
            ("/", "", "/"),
        ] {
            let headers = message_at(called, "n1");
            assert!(change_at(arrives, prefix, &headers).is_ok(), "{called}");
        }
        let bad = Err(AuthRefusal::BadSignature(Rejection::InvalidSignature));
        for (arrives, prefix, called) in [
            ("/tasks/1:cancel", "/echo", "/tasks/1:cancel"),
            ("/tasks/1:cancel", "/echo", "/other/tasks/1:cancel"),
            ("/tasks/1:cancel", "", "/echo/tasks/1:cancel"),
            ("/", "/echo", "/"),
            ("/", "/echo", "/echo//"),
        ] {
            assert_eq!(change_at(arrives, prefix, &message_at(called, "n1")), bad, "{called}");
        }
    }
}
