//! HTTP message signatures (RFC 9421) with Ed25519, in the one profile that is taken here: the signature covers the
//! method, the path, the query where there is one and the body (`content-digest`, RFC 9530), says when it was made, and
//! names the signer's second key ([`DerivedKey`]).
//!
//! The first key is never taken: it signs text that others choose, and a signature base is text.

use crate::{
    DerivedKey, Did, PublicKey, Signature,
    request_signature::{Rejection, WINDOW_SECONDS},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sfv::{BareItem, Dictionary, FieldType as _, InnerList, Item, ListEntry, Parser};
use sha2::{Digest as _, Sha256, Sha512};
use std::fmt::Write as _;

/// More covered components than any signer has a reason to name.
const MOST_COMPONENTS: usize = 32;

/// What of a request can be signed.
pub struct SignedRequest<'a> {
    /// `GET`, `POST` ...
    pub method: &'a str,
    /// The path as it is on the wire.
    pub path: &'a str,
    /// The query without its `?`.
    pub query: Option<&'a str>,
    /// Whom the request is for: `host` or `host:port`, in lower case.
    pub authority: &'a str,
    /// A header's values, in order, by its name in lower case.
    pub header: &'a dyn Fn(&str) -> Vec<&'a str>,
    /// The body as it is on the wire.
    pub body: &'a [u8],
}

/// A signature that was found good.
#[derive(Debug, PartialEq, Eq)]
pub struct VerifiedMessage {
    /// What was signed; tells one request from another.
    pub base: String,
    /// When, seconds since the epoch.
    pub created: u64,
    /// Whether a nonce makes the request unique.
    pub has_nonce: bool,
}

/// The headers of a signed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageHeaders {
    /// `Content-Digest`.
    pub content_digest: String,
    /// `Signature-Input`.
    pub signature_input: String,
    /// `Signature`.
    pub signature: String,
}

/// Signs a request: method, authority, path, query and body, with a nonce.
#[must_use]
pub fn sign(
    key: &DerivedKey,
    did: &Did,
    request: &SignedRequest<'_>,
    created: u64,
    nonce: &str,
) -> MessageHeaders {
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(request.body)));
    let mut names = vec!["@method", "@authority", "@path"];
    if request.query.is_some() {
        names.push("@query");
    }
    names.push("content-digest");
    let listed = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" ");
    // A DID may hold what a structured string can't (Python Bindu made such); then nothing verifies.
    let key_id = DerivedKey::id(did).replace(['"', '\\'], "");
    let parameters =
        format!("({listed});created={created};nonce=\"{nonce}\";keyid=\"{key_id}\";alg=\"ed25519\"");
    let mut base = String::new();
    for name in names {
        let value = if name == "content-digest" {
            digest.clone()
        } else {
            derived(name, request).unwrap_or_default()
        };
        let _ = writeln!(base, "\"{name}\": {value}");
    }
    let _ = write!(base, "\"@signature-params\": {parameters}");
    let signature = STANDARD.encode(key.sign(base.as_bytes()).to_bytes());
    MessageHeaders {
        content_digest: digest,
        signature_input: format!("sig1={parameters}"),
        signature: format!("sig1=:{signature}:"),
    }
}

/// Checks the signature that `signature_input` and `signature` (the headers' values) describe. `key` is the caller's
/// second key.
///
/// # Errors
/// The first [`Rejection`] that applies.
pub fn verify(
    (signature_input, signature): (&str, &str),
    request: &SignedRequest<'_>,
    caller: &Did,
    key: &PublicKey,
    now: u64,
) -> Result<VerifiedMessage, Rejection> {
    let inputs: Dictionary =
        Parser::new(signature_input).parse().map_err(|_| Rejection::MalformedSignature)?;
    let signatures: Dictionary = Parser::new(signature).parse().map_err(|_| Rejection::MalformedSignature)?;
    // One, so that nobody has to guess which of several counts.
    let [(label, ListEntry::InnerList(input))] = inputs.iter().collect::<Vec<_>>()[..] else {
        return Err(Rejection::MalformedSignature);
    };
    let signature = match signatures.get(label) {
        Some(ListEntry::Item(Item { bare_item: BareItem::ByteSequence(bytes), .. }))
            if signatures.len() == 1 =>
        {
            Signature::from_bytes(bytes).map_err(|_| Rejection::MalformedSignature)?
        }
        _ => return Err(Rejection::MalformedSignature),
    };
    let parameters = Parameters::read(input)?;
    if parameters.key_id != DerivedKey::id(caller) {
        let names_the_caller = parameters.key_id.split('#').next() == Some(caller.as_str());
        return Err(if names_the_caller { Rejection::InvalidSignature } else { Rejection::DidMismatch });
    }
    let is_late = parameters.expires.is_some_and(|expires| expires < now);
    if now.abs_diff(parameters.created) > WINDOW_SECONDS || is_late {
        return Err(Rejection::TimestampOutOfWindow);
    }
    let base = signature_base(input, request)?;
    if key.verifies(base.as_bytes(), &signature) {
        Ok(VerifiedMessage { base, created: parameters.created, has_nonce: parameters.has_nonce })
    } else {
        Err(Rejection::InvalidSignature)
    }
}

struct Parameters {
    created: u64,
    expires: Option<u64>,
    key_id: String,
    has_nonce: bool,
}

impl Parameters {
    fn read(input: &InnerList) -> Result<Self, Rejection> {
        let malformed = Rejection::MalformedSignature;
        let text = |name: &str| match input.params.get(name) {
            None => Ok(None),
            Some(BareItem::String(text)) => Ok(Some(text.as_str().to_owned())),
            Some(_) => Err(malformed),
        };
        let seconds = |name: &str| match input.params.get(name) {
            None => Ok(None),
            Some(BareItem::Integer(number)) => {
                u64::try_from(i64::from(*number)).map(Some).map_err(|_| malformed)
            }
            Some(_) => Err(malformed),
        };
        if text("alg")?.is_some_and(|algorithm| algorithm != "ed25519") {
            return Err(malformed);
        }
        Ok(Self {
            created: seconds("created")?.ok_or(malformed)?,
            expires: seconds("expires")?,
            key_id: text("keyid")?.ok_or(malformed)?,
            has_nonce: text("nonce")?.is_some_and(|nonce| !nonce.is_empty()),
        })
    }
}

/// The text that was signed (RFC 9421 §2.5), if it covers what it must.
fn signature_base(input: &InnerList, request: &SignedRequest<'_>) -> Result<String, Rejection> {
    if input.items.len() > MOST_COMPONENTS {
        return Err(Rejection::MalformedSignature);
    }
    let (mut base, mut covered) = (String::new(), Vec::new());
    for item in &input.items {
        let BareItem::String(name) = &item.bare_item else { return Err(Rejection::MalformedSignature) };
        let name = name.as_str();
        // Parameters change what is covered (`;req`, `;key`, `;tr`): none is needed for this profile. A component
        // named twice is an error of the signer's (§2.5).
        if !item.params.is_empty() || covered.contains(&name) {
            return Err(Rejection::MalformedSignature);
        }
        let value = if name.starts_with('@') {
            derived(name, request).ok_or(Rejection::MalformedSignature)?
        } else {
            let values = (request.header)(name);
            if values.is_empty() || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return Err(Rejection::InvalidSignature);
            }
            values.iter().map(|value| value.trim()).collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(base, "\"{name}\": {value}");
        covered.push(name);
    }
    let has = |name: &str| covered.contains(&name);
    let whole = has("@target-uri") || has("@request-target");
    let target = whole || (has("@path") && (request.query.is_none() || has("@query")));
    let body = request.body.is_empty() || (has("content-digest") && digest_is_right(request));
    if !has("@method") || !target {
        return Err(Rejection::CoversTooLittle);
    }
    if !body {
        return Err(if has("content-digest") {
            Rejection::InvalidSignature
        } else {
            Rejection::CoversTooLittle
        });
    }
    let parameters =
        vec![ListEntry::InnerList(input.clone())].serialize().ok_or(Rejection::MalformedSignature)?;
    let _ = write!(base, "\"@signature-params\": {parameters}");
    Ok(base)
}

/// A derived component's value (RFC 9421 §2.2); `None` for one that is not taken.
fn derived(name: &str, request: &SignedRequest<'_>) -> Option<String> {
    let target = || match request.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.to_owned(),
    };
    match name {
        "@method" => Some(request.method.to_owned()),
        "@authority" => Some(request.authority.to_owned()),
        "@path" => Some(request.path.to_owned()),
        "@query" => Some(format!("?{}", request.query.unwrap_or_default())),
        "@request-target" => Some(target()),
        // `@target-uri` and `@scheme` need the scheme that the caller has used, which a proxy has changed.
        _ => None,
    }
}

/// Whether every digest that we know is the body's, and there is one at least.
fn digest_is_right(request: &SignedRequest<'_>) -> bool {
    let value = (request.header)("content-digest").join(", ");
    let Ok(digests) = Parser::new(&value).parse::<Dictionary>() else { return false };
    let mut known = 0;
    for (name, entry) in &digests {
        let right = match name.as_str() {
            "sha-256" => Sha256::digest(request.body).to_vec(),
            "sha-512" => Sha512::digest(request.body).to_vec(),
            _ => continue,
        };
        let ListEntry::Item(Item { bare_item: BareItem::ByteSequence(digest), .. }) = entry else {
            return false;
        };
        if *digest != right {
            return false;
        }
        known += 1;
    }
    known > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    const BODY: &[u8] = b"{\"hello\": \"world\"}";

    fn key() -> SigningKey {
        SigningKey::from_seed(&[0; 32])
    }

    fn did() -> Did {
        "did:bindu:test".parse().expect("a DID")
    }

    fn signed() -> MessageHeaders {
        let none = |_: &str| Vec::new();
        sign(&DerivedKey::of(&key()), &did(), &request("POST", "/a", Some("b=c"), &none, BODY), 1000, "n1")
    }

    fn request<'a>(
        method: &'a str,
        path: &'a str,
        query: Option<&'a str>,
        header: &'a dyn Fn(&str) -> Vec<&'a str>,
        body: &'a [u8],
    ) -> SignedRequest<'a> {
        SignedRequest { method, path, query, authority: "agent.example:3773", header, body }
    }

    /// Verifies with one thing changed.
    fn check(
        headers: &MessageHeaders,
        (method, path, query, body): (&str, &str, Option<&str>, &[u8]),
        now: u64,
    ) -> Result<VerifiedMessage, Rejection> {
        let header = |name: &str| {
            if name == "content-digest" { vec![headers.content_digest.as_str()] } else { Vec::new() }
        };
        verify(
            (&headers.signature_input, &headers.signature),
            &request(method, path, query, &header, body),
            &did(),
            &DerivedKey::of(&key()).public_key(),
            now,
        )
    }

    const GOOD: (&str, &str, Option<&str>, &[u8]) = ("POST", "/a", Some("b=c"), BODY);

    #[test]
    fn what_is_signed_verifies_and_nothing_else() {
        let headers = signed();
        let verified = check(&headers, GOOD, 1000).expect("good");
        assert!(verified.has_nonce && verified.created == 1000);
        for other in [
            ("PUT", "/a", Some("b=c"), BODY),
            ("POST", "/b", Some("b=c"), BODY),
            ("POST", "/a", None, BODY),
            ("POST", "/a", Some("b=d"), BODY),
            ("POST", "/a", Some("b=c"), b"{}".as_slice()),
        ] {
            assert_eq!(check(&headers, other, 1000), Err(Rejection::InvalidSignature), "{other:?}");
        }
        for now in [699, 1301] {
            assert_eq!(check(&headers, GOOD, now), Err(Rejection::TimestampOutOfWindow));
        }
    }

    #[test]
    fn what_covers_too_little_is_refused() {
        for (listed, want) in [
            ("(\"@path\" \"@query\" \"content-digest\")", Rejection::CoversTooLittle),
            ("(\"@method\" \"@path\" \"content-digest\")", Rejection::CoversTooLittle),
            ("(\"@method\" \"@path\" \"@query\")", Rejection::CoversTooLittle),
            ("()", Rejection::CoversTooLittle),
            ("(\"@method\" \"@method\")", Rejection::MalformedSignature),
            ("(\"@method\";req)", Rejection::MalformedSignature),
            ("(\"@status\")", Rejection::MalformedSignature),
            ("(\"x-missing\")", Rejection::InvalidSignature),
        ] {
            let headers = MessageHeaders {
                signature_input: format!("sig1={listed};created=1000;keyid=\"did:bindu:test#key-2\""),
                ..signed()
            };
            assert_eq!(check(&headers, GOOD, 1000), Err(want), "{listed}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (input, signature) in [
            ("", ""),
            ("sig1", "sig1=:AA==:"),
            ("sig1=();created=1000;keyid=\"did:bindu:test#key-2\"", "sig1=:AA==:"),
            ("sig1=();created=\"1000\";keyid=\"did:bindu:test#key-2\"", "sig2=:AA==:"),
            ("sig1=(), sig2=()", "sig1=:AA==:"),
            ("sig1=();keyid=\"did:bindu:test#key-2\"", "sig1=1"),
        ] {
            let headers = MessageHeaders {
                signature_input: input.to_owned(),
                signature: signature.to_owned(),
                ..signed()
            };
            assert_eq!(
                check(&headers, GOOD, 1000),
                Err(Rejection::MalformedSignature),
                "{input} {signature}"
            );
        }
        let stranger = signed().signature_input.replace("did:bindu:test", "did:bindu:other");
        let headers = MessageHeaders { signature_input: stranger, ..signed() };
        assert_eq!(check(&headers, GOOD, 1000), Err(Rejection::DidMismatch));
    }

    /// An echo agent signs what it is told with its first key: a signature base as well.
    #[test]
    fn a_base_signed_as_text_is_no_signature() {
        let headers = signed();
        let base = check(&headers, GOOD, 1000).expect("good").base;
        let text = crate::text_signature::sign(&key(), &base).expect("text is signed");
        let forged = STANDARD.encode(text.to_bytes());
        for key_id in ["did:bindu:test#key-2", "did:bindu:test#key-1"] {
            let headers = MessageHeaders {
                signature: format!("sig1=:{forged}:"),
                signature_input: headers.signature_input.replace("did:bindu:test#key-2", key_id),
                ..headers.clone()
            };
            assert_eq!(check(&headers, GOOD, 1000), Err(Rejection::InvalidSignature), "{key_id}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(input in ".*", signature in ".*") {
            let headers = MessageHeaders { signature_input: input, signature, ..signed() };
            proptest::prop_assert!(check(&headers, GOOD, 1000).is_err());
        }
    }
}
