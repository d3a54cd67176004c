//! The signature that a DID caller puts on a request: headers `X-DID`, `X-DID-Timestamp`, `X-DID-Signature`.
//!
//! Signed are the bytes of Python's `json.dumps({"body":…,"timestamp":…,"did":…}, sort_keys=True)`. It covers neither
//! method, path, query nor audience; who relies on it must know that (DESIGN, "Who may call").

use crate::{Did, PublicKey, Signature, SigningKey};
use std::fmt::Write as _;

/// How far a request's clock may be from ours, in seconds, both ways. Python Bindu's window.
pub const WINDOW_SECONDS: u64 = 300;

/// What the three headers say, as they were sent.
#[derive(Debug, Clone, Copy)]
pub struct SignatureHeaders<'a> {
    /// `X-DID`.
    pub did: &'a str,
    /// `X-DID-Timestamp`, seconds since the epoch.
    pub timestamp: &'a str,
    /// `X-DID-Signature`, base58 of 64 bytes.
    pub signature: &'a str,
}

/// Why a signature does not count. The names are those of the 403's `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The signer named is not the caller.
    #[error("did_mismatch")]
    DidMismatch,
    /// No plain decimal number, or more than [`WINDOW_SECONDS`] away.
    #[error("timestamp_out_of_window")]
    TimestampOutOfWindow,
    /// Not base58 of 64 bytes.
    #[error("malformed_signature")]
    MalformedSignature,
    /// Signed by another key, or over other bytes.
    #[error("invalid_signature")]
    InvalidSignature,
    /// An HTTP message signature that leaves the method, the target or the body open.
    #[error("signature_covers_too_little")]
    CoversTooLittle,
}

/// A signature that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRequest {
    /// What was signed; tells one request from another.
    pub payload: String,
    /// When it says it was, seconds since the epoch.
    pub timestamp: u64,
}

/// Signs a request body as `did` at `timestamp` (seconds since the epoch). A GET signs the empty body.
#[must_use]
pub fn sign(key: &SigningKey, did: &Did, body: &str, timestamp: u64) -> Signature {
    key.sign(payload(body, did.as_str(), timestamp).as_bytes())
}

/// Checks the headers of a request against its caller, its raw body, the caller's key and our clock.
///
/// # Errors
/// The first [`Rejection`] that applies.
pub fn verify(
    headers: SignatureHeaders<'_>,
    caller: &Did,
    key: &PublicKey,
    body: &str,
    now: u64,
) -> Result<VerifiedRequest, Rejection> {
    if headers.did != caller.as_str() {
        return Err(Rejection::DidMismatch);
    }
    let timestamp = decimal(headers.timestamp).ok_or(Rejection::TimestampOutOfWindow)?;
    if now.abs_diff(timestamp) > WINDOW_SECONDS {
        return Err(Rejection::TimestampOutOfWindow);
    }
    let signature: Signature = headers.signature.parse().map_err(|_| Rejection::MalformedSignature)?;
    let payload = payload(body, headers.did, timestamp);
    if key.verifies(payload.as_bytes(), &signature) {
        Ok(VerifiedRequest { payload, timestamp })
    } else {
        Err(Rejection::InvalidSignature)
    }
}

/// The signed text: keys sorted, separators `", "` and `": "`, everything but printable ASCII escaped.
#[must_use]
pub fn payload(body: &str, did: &str, timestamp: u64) -> String {
    let mut text = String::with_capacity(body.len() + did.len() + 64);
    text.push_str("{\"body\": ");
    push_python_string(&mut text, body);
    text.push_str(", \"did\": ");
    push_python_string(&mut text, did);
    let _ = write!(text, ", \"timestamp\": {timestamp}}}");
    text
}

/// ASCII digits only: `str::parse` would take a `+`, and Python's `int()` takes `１０００`.
fn decimal(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Python's `json.dumps` of a string with `ensure_ascii=True`. serde_json writes non-ASCII and DEL as they are.
fn push_python_string(to: &mut String, text: &str) {
    to.push('"');
    for character in text.chars() {
        match character {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            '\u{8}' => to.push_str("\\b"),
            '\u{c}' => to.push_str("\\f"),
            ' '..='~' => to.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(to, "\\u{unit:04x}");
                }
            }
        }
    }
    to.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &str =
        "3SfU4VPTHLbzZzCn17ZqU6y2tnzHQbdo2nnXQr6XZXk34XgyzwSKRrCYEWRmmGXrV39mdkyhTsy5oasfTpNuqyM2";
    const BODY: &str = r#"{"test": "value"}"#;

    fn did() -> Did {
        "did:bindu:test".parse().expect("a DID")
    }

    fn key() -> SigningKey {
        SigningKey::from_seed(&[0; 32])
    }

    fn check(did: &str, timestamp: &str, signature: &str, body: &str, now: u64) -> Result<(), Rejection> {
        let caller = "did:bindu:test".parse().expect("a DID");
        verify(SignatureHeaders { did, timestamp, signature }, &caller, &key().public_key(), body, now)
            .map(|_| ())
    }

    #[test]
    fn python_bindus_fixture() {
        assert_eq!(
            payload(BODY, "did:bindu:test", 1000),
            r#"{"body": "{\"test\": \"value\"}", "did": "did:bindu:test", "timestamp": 1000}"#
        );
        assert_eq!(sign(&key(), &did(), BODY, 1000).to_string(), SIGNATURE);
        assert_eq!(check("did:bindu:test", "1000", SIGNATURE, BODY, 1000), Ok(()));
    }

    /// What `python3 -c 'import json; print(json.dumps("…"))'` prints for each.
    #[test]
    fn escapes_as_python_does() {
        let cases = [
            ("é", r#""\u00e9""#),
            ("😀", r#""\ud83d\ude00""#),
            ("\u{7f}", r#""\u007f""#),
            ("\u{1}\u{8}\u{c}\n\r\t", r#""\u0001\b\f\n\r\t""#),
            ("/\\\"", r#""/\\\"""#),
            ("\u{2028}", r#""\u2028""#),
        ];
        for (text, want) in cases {
            let mut got = String::new();
            push_python_string(&mut got, text);
            assert_eq!(got, want);
        }
    }

    #[test]
    fn the_window_is_300_seconds_both_ways() {
        for (now, want) in [
            (1300, Ok(())),
            (700, Ok(())),
            (1301, Err(Rejection::TimestampOutOfWindow)),
            (699, Err(Rejection::TimestampOutOfWindow)),
        ] {
            assert_eq!(check("did:bindu:test", "1000", SIGNATURE, BODY, now), want, "now {now}");
        }
    }

    #[test]
    fn every_other_byte_is_refused() {
        assert_eq!(check("did:bindu:other", "1000", SIGNATURE, BODY, 1000), Err(Rejection::DidMismatch));
        assert_eq!(check("did:bindu:test", "1000", SIGNATURE, "{}", 1000), Err(Rejection::InvalidSignature));
        assert_eq!(check("did:bindu:test", "1001", SIGNATURE, BODY, 1000), Err(Rejection::InvalidSignature));
        for short in ["", "1", "3SfU4VPTHLbzZzCn17ZqU6y2tnzHQbdo2nnXQr6XZXk34", "0OIl"] {
            assert_eq!(
                check("did:bindu:test", "1000", short, BODY, 1000),
                Err(Rejection::MalformedSignature)
            );
        }
        for odd in ["", "+1000", "1_000", " 1000", "１０００", "-1", "1e3", "99999999999999999999"] {
            assert_eq!(
                check("did:bindu:test", odd, SIGNATURE, BODY, 1000),
                Err(Rejection::TimestampOutOfWindow),
                "{odd}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_signed_verifies(body in ".*", timestamp in 0u64..4_000_000_000) {
            let signature = sign(&key(), &did(), &body, timestamp).to_string();
            let text = timestamp.to_string();
            proptest::prop_assert_eq!(check("did:bindu:test", &text, &signature, &body, timestamp), Ok(()));
        }

        #[test]
        fn the_payload_is_ascii_json_of_the_same_text(body in ".*") {
            let payload = payload(&body, "did:bindu:test", 1);
            proptest::prop_assert!(payload.is_ascii());
            let read: serde_json::Value = serde_json::from_str(&payload).expect("JSON");
            proptest::prop_assert_eq!(read["body"].as_str(), Some(body.as_str()));
        }
    }
}
