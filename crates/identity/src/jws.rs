//! JSON Web Signatures (RFC 7515) with Ed25519 (RFC 8037), made with the second key ([`DerivedKey`]): for agent cards and
//! whatever else of our own is JSON.
//!
//! Signed and verified are bytes: which bytes stand for a document (canonical JSON, RFC 8785) is its format's to say. The
//! first key never signs one: it signs text that others choose, and a signing input is text.

use crate::{DerivedKey, PublicKey, Signature};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// No honest header is longer; it bounds what a stranger makes us decode.
const MAX_PROTECTED: usize = 8 * 1024;

/// A JWS in its flattened form without its payload (RFC 7515 §7.2.2, appendix F).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jws {
    /// The protected header: base64url of JSON.
    pub protected: String,
    /// The signature: base64url.
    pub signature: String,
}

/// What a protected header says. A member that comes twice makes it malformed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protected {
    /// The algorithm.
    pub alg: String,
    /// The key's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The URL of the key set that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jku: Option<String>,
    /// What is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typ: Option<String>,
    /// Extensions that a verifier must understand. We understand none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crit: Option<Vec<String>>,
}

/// Why a JWS does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// Not of its form.
    #[error("the signature is malformed")]
    Malformed,
    /// Another algorithm than EdDSA, or an extension that has to be understood.
    #[error("the signature has an algorithm or an extension that is not supported")]
    Unsupported,
    /// Not the key's over these bytes.
    #[error("the signature is wrong")]
    WrongSignature,
}

/// Signs a payload. `kid` is the thumbprint of the second key; `typ` keeps one kind of document from being taken for another.
#[must_use]
pub fn sign(key: &DerivedKey, typ: &str, jku: Option<&str>, payload: &[u8]) -> Jws {
    let header = Protected {
        alg: "EdDSA".to_owned(),
        kid: Some(DerivedKey::thumbprint(&key.public_key())),
        jku: jku.map(str::to_owned),
        typ: Some(typ.to_owned()),
        crit: None,
    };
    let header = serde_json::to_vec(&header).expect("texts have a JSON form");
    let protected = URL_SAFE_NO_PAD.encode(header);
    let signature = key.sign(&signing_input(&protected, payload));
    Jws { signature: URL_SAFE_NO_PAD.encode(signature.to_bytes()), protected }
}

/// What is signed (RFC 7515 §5.1).
#[must_use]
pub fn signing_input(protected: &str, payload: &[u8]) -> Vec<u8> {
    let mut input = String::with_capacity(protected.len() + 1 + payload.len() * 4 / 3 + 4);
    input.push_str(protected);
    input.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut input);
    input.into_bytes()
}

impl Jws {
    /// What the protected header says.
    ///
    /// # Errors
    /// [`JwsError::Malformed`] if it is not base64url of a JSON object with texts.
    pub fn header(&self) -> Result<Protected, JwsError> {
        if self.protected.len() > MAX_PROTECTED {
            return Err(JwsError::Malformed);
        }
        let header = URL_SAFE_NO_PAD.decode(&self.protected).map_err(|_| JwsError::Malformed)?;
        // `serde` reads a struct from a list, too.
        if header.trim_ascii_start().first() != Some(&b'{') {
            return Err(JwsError::Malformed);
        }
        serde_json::from_slice(&header).map_err(|_| JwsError::Malformed)
    }

    /// Checks that this is the key's signature over the payload, by EdDSA, whatever else the header says.
    ///
    /// # Errors
    /// The first [`JwsError`] that applies.
    pub fn verify(&self, payload: &[u8], key: &PublicKey) -> Result<(), JwsError> {
        let header = self.header()?;
        if !matches!(header.alg.as_str(), "EdDSA" | "Ed25519") || header.crit.is_some() {
            return Err(JwsError::Unsupported);
        }
        let signature = URL_SAFE_NO_PAD.decode(&self.signature).map_err(|_| JwsError::Malformed)?;
        let signature = Signature::from_bytes(&signature).map_err(|_| JwsError::Malformed)?;
        match key.verifies(&signing_input(&self.protected, payload), &signature) {
            true => Ok(()),
            false => Err(JwsError::WrongSignature),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    /// RFC 8037, appendix A.4 and A.5.
    #[test]
    fn the_example_of_the_rfc_verifies() {
        let key = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").expect("base64url");
        let key = PublicKey::from_bytes(&key).expect("a key");
        let jws = Jws {
            protected: "eyJhbGciOiJFZERTQSJ9".to_owned(),
            signature:
                "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
                    .to_owned(),
        };
        let payload = b"Example of Ed25519 signing";
        assert_eq!(
            signing_input(&jws.protected, payload),
            b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
        );
        assert_eq!(jws.verify(payload, &key), Ok(()));
        assert_eq!(jws.verify(b"another", &key), Err(JwsError::WrongSignature));
    }

    #[test]
    fn what_is_signed_verifies_and_nothing_else_does() {
        let key = DerivedKey::of(&SigningKey::from_seed(&[7; 32]));
        let jws = sign(&key, "JOSE", Some("https://a.example/.well-known/jwks.json"), b"{}");
        let header = jws.header().expect("ours");
        assert_eq!(header.kid.as_deref(), Some(DerivedKey::thumbprint(&key.public_key()).as_str()));
        assert_eq!((header.alg.as_str(), header.typ.as_deref()), ("EdDSA", Some("JOSE")));
        assert_eq!(jws.verify(b"{}", &key.public_key()), Ok(()));
        let first = SigningKey::from_seed(&[7; 32]).public_key();
        assert_eq!(jws.verify(b"{}", &first), Err(JwsError::WrongSignature));
        let with = |header: &str| Jws { protected: URL_SAFE_NO_PAD.encode(header), ..jws.clone() };
        for (header, problem) in [
            (r#"{"alg":"none"}"#, JwsError::Unsupported),
            (r#"{"alg":"HS256"}"#, JwsError::Unsupported),
            (r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#, JwsError::Unsupported),
            (r#"{"alg":"EdDSA","alg":"EdDSA"}"#, JwsError::Malformed),
            (r#"{"kid":"x"}"#, JwsError::Malformed),
            (r#"["EdDSA"]"#, JwsError::Malformed),
            (r#"{"alg":"EdDSA"}"#, JwsError::WrongSignature),
        ] {
            assert_eq!(with(header).verify(b"{}", &key.public_key()), Err(problem), "{header}");
        }
        let long = Jws { protected: "A".repeat(MAX_PROTECTED + 4), ..jws.clone() };
        assert_eq!(long.header(), Err(JwsError::Malformed));
        let padded = Jws { signature: format!("{}=", jws.signature), ..jws };
        assert_eq!(padded.verify(b"{}", &key.public_key()), Err(JwsError::Malformed));
    }
}
