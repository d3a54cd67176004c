//! The signature on an artifact's text: base58 of Ed25519 over the plain UTF-8 text, nothing around it.
//!
//! The text comes from a handler and so, with an echo agent, from the caller; the key is the one that signs requests.
//! An agent that signs anything would sign a request in its own name for whoever asks. So text that could be a
//! request's payload is never signed.

use crate::{PublicKey, Signature, SigningKey};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use std::fmt;

/// The metadata key under which the signature travels with its text part.
pub const METADATA_KEY: &str = "did.message.signature";

/// Signs a text, or declines: `None` where the text could pass as a request payload.
#[must_use]
pub fn sign(key: &SigningKey, text: &str) -> Option<Signature> {
    if could_be_request_payload(text) { None } else { Some(key.sign(text.as_bytes())) }
}

/// Whether the signature is the key's over exactly this text.
#[must_use]
pub fn verify(key: &PublicKey, text: &str, signature: &Signature) -> bool {
    key.verifies(text.as_bytes(), signature)
}

/// Any JSON object with a request payload's three members; and, whatever follows, what begins as a payload begins,
/// because a verifier may read JSON that our parser refuses (a number of 400 digits, a lone surrogate).
fn could_be_request_payload(text: &str) -> bool {
    let trimmed = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if trimmed.starts_with("{\"body\"") {
        return true;
    }
    let mut found = Found::default();
    // Whatever is behind the object, or breaks it: more is declined than could be read.
    let _ = serde_json::Deserializer::from_str(trimmed).deserialize_map(&mut found);
    found == Found([true; 3])
}

/// Which of a payload's members an object has. Nothing of it is kept: the text may be anything that a caller has sent.
#[derive(Default, PartialEq)]
struct Found([bool; 3]);

impl<'de> Visitor<'de> for &mut Found {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Member(place)) = map.next_key()? {
            if let Some(found) = place.and_then(|place| self.0.get_mut(place)) {
                *found = true;
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Which of a payload's members a name is.
struct Member(Option<usize>);

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Member;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Member, E> {
                Ok(Member(["body", "did", "timestamp"].iter().position(|member| *member == name)))
            }
        }
        deserializer.deserialize_str(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Did, request_signature};

    fn key() -> SigningKey {
        SigningKey::from_seed(&[0; 32])
    }

    #[test]
    fn signs_plain_text() {
        let signature = sign(&key(), "héllo").expect("plain text is signed");
        assert!(verify(&key().public_key(), "héllo", &signature));
        assert!(!verify(&key().public_key(), "hello", &signature));
    }

    /// COMPAT's fault m: a caller makes an echo agent say a payload, and takes the signature for a request.
    #[test]
    fn a_request_cannot_be_forged_through_an_echo() {
        let did: Did = "did:bindu:test".parse().expect("a DID");
        let payload = request_signature::payload("{}", did.as_str(), 1000);
        assert_eq!(sign(&key(), &payload), None);
        for variant in [
            format!(" {payload}\n"),
            format!("\u{feff}{payload}"),
            r#"{"timestamp":1,"did":"x","body":""}"#.to_owned(),
            r#"{"body": "", "did": "x", "timestamp": 1, "more": [1]}"#.to_owned(),
            r#"{"\u0062ody":"","did":"x","timestamp":1}"#.to_owned(),
            format!(r#"{{"body": "", "did": "x", "timestamp": {}}}"#, "9".repeat(400)),
        ] {
            assert_eq!(sign(&key(), &variant), None, "{variant}");
        }
    }

    #[test]
    fn other_json_is_signed() {
        for text in [r#"{"answer": 42}"#, r#"{"body": 1}"#.replace("body", "head").as_str(), "[]", "{", ""] {
            assert!(sign(&key(), text).is_some(), "{text}");
        }
    }

    proptest::proptest! {
        /// Whatever the body, no payload of the request signature is ever signed as a text.
        #[test]
        fn no_payload_is_signed(body in ".*", did in "did:[a-z]{1,5}:.*", timestamp: u64) {
            proptest::prop_assert_eq!(sign(&key(), &request_signature::payload(&body, &did, timestamp)), None);
        }
    }
}
