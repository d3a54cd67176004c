//! Checking the signatures of a card, anybody's: which key, which algorithm, and whether it fits.
//!
//! The keys are somebody else's to fetch and to trust. The algorithm is the key's, never the signature's to choose: an
//! Ed25519 key checks EdDSA, a P-256 key ES256, an RSA key RS256 and PS256.

use super::canonical;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bindu_identity::{
    DerivedKey, PublicKey,
    jws::{Jws, JwsError, Protected, signing_input},
};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// No rotation leaves more signatures on a card. More are not looked at.
const MAX_SIGNATURES: usize = 16;

/// No honest set is longer. More keys are not looked at.
const MAX_KEYS: usize = 64;

/// A public key for signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwkKey {
    /// Ed25519.
    Ed25519(PublicKey),
    /// P-256: the uncompressed point.
    P256(Vec<u8>),
    /// RSA.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
}

/// A key of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningJwk {
    /// Its id in the set.
    pub id: Option<String>,
    /// The key.
    pub key: JwkKey,
}

/// A set of keys (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeySet(Vec<SigningJwk>);

/// A signature of a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardSignature {
    /// `None` if it is not of its form.
    parts: Option<(Jws, Protected)>,
}

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureProblem {
    /// Not of its form.
    #[error("malformed")]
    Malformed,
    /// An algorithm, or an extension of JWS, that is not known here.
    #[error("an algorithm or an extension that is not supported")]
    Unsupported,
    /// The set has no key of this id that fits the algorithm.
    #[error("a key that is not in the key set")]
    UnknownKey,
    /// The key says no.
    #[error("wrong: the card was changed, or another key signed it")]
    WrongSignature,
}

impl KeySet {
    /// Reads a set. Keys that are of another kind or for another use are passed over; `None` for what is no set.
    #[must_use]
    pub fn read(set: &Value) -> Option<Self> {
        let keys = set.get("keys")?.as_array()?;
        Some(Self(keys.iter().take(MAX_KEYS).filter_map(SigningJwk::read).collect()))
    }

    /// A set of these keys, each with its thumbprint as its id.
    #[must_use]
    pub fn of(keys: &[PublicKey]) -> Self {
        let named = |key: &PublicKey| SigningJwk {
            id: Some(DerivedKey::thumbprint(key)),
            key: JwkKey::Ed25519(*key),
        };
        Self(keys.iter().map(named).collect())
    }
}

impl SigningJwk {
    fn read(key: &Value) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let bytes = |name| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        if text("use").is_some_and(|purpose| purpose != "sig") || key.get("d").is_some() {
            return None;
        }
        let read = match (text("kty")?, text("crv")) {
            ("OKP", Some("Ed25519")) => JwkKey::Ed25519(PublicKey::from_bytes(&bytes("x")?).ok()?),
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() != 32 || y.len() != 32 {
                    return None;
                }
                JwkKey::P256([&[4][..], &x, &y].concat())
            }
            ("RSA", _) => JwkKey::Rsa { n: bytes("n")?, e: bytes("e")? },
            _ => return None,
        };
        Some(Self { id: text("kid").map(str::to_owned), key: read })
    }

    /// Its thumbprint (RFC 7638).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = match &self.key {
            JwkKey::Ed25519(key) => return DerivedKey::thumbprint(key),
            JwkKey::P256(point) => {
                let (x, y) = point.get(1..).unwrap_or_default().split_at(32);
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y))
            }
            JwkKey::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n)),
        };
        URL_SAFE_NO_PAD.encode(Sha256::digest(jwk))
    }

    fn fits(&self, algorithm: &str) -> bool {
        match self.key {
            JwkKey::Ed25519(_) => matches!(algorithm, "EdDSA" | "Ed25519"),
            JwkKey::P256(_) => algorithm == "ES256",
            JwkKey::Rsa { .. } => matches!(algorithm, "RS256" | "PS256"),
        }
    }

    fn verifies(&self, algorithm: &str, payload: &[u8], jws: &Jws) -> bool {
        let checked = || {
            let input = signing_input(&jws.protected, payload);
            let signature = URL_SAFE_NO_PAD.decode(&jws.signature).ok()?;
            match &self.key {
                JwkKey::Ed25519(key) => jws.verify(payload, key).ok(),
                JwkKey::P256(point) => {
                    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(&input, &signature).ok()
                }
                JwkKey::Rsa { n, e } => {
                    let how = match algorithm {
                        "PS256" => &RSA_PSS_2048_8192_SHA256,
                        _ => &RSA_PKCS1_2048_8192_SHA256,
                    };
                    RsaPublicKeyComponents { n, e }.verify(how, &input, &signature).ok()
                }
            }
        };
        checked().is_some()
    }
}

impl CardSignature {
    /// The signatures of a card, in their order.
    #[must_use]
    pub fn all(card: &Value) -> Vec<Self> {
        let listed = card.get("signatures").and_then(Value::as_array);
        listed.into_iter().flatten().take(MAX_SIGNATURES).map(Self::read).collect()
    }

    fn read(signature: &Value) -> Self {
        let jws = Jws::deserialize(signature).ok();
        Self { parts: jws.and_then(|jws| jws.header().ok().map(|header| (jws, header))) }
    }

    fn header(&self) -> Option<&Protected> {
        self.parts.as_ref().map(|(_, header)| header)
    }

    /// The id of the key that it says it was made with.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.header()?.kid.as_deref()
    }

    /// Where that key is, as it says.
    #[must_use]
    pub fn jku(&self) -> Option<&str> {
        self.header()?.jku.as_deref()
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Option<&str> {
        self.header().map(|header| header.alg.as_str())
    }

    /// Checks it; the key of the set that has made it. Of a signature without an id any key that fits may be the one.
    ///
    /// # Errors
    /// The first [`SignatureProblem`] that applies.
    pub fn verify<'a>(&self, card: &Value, keys: &'a KeySet) -> Result<&'a SigningJwk, SignatureProblem> {
        let (jws, header) = self.parts.as_ref().ok_or(SignatureProblem::Malformed)?;
        let is_known = matches!(header.alg.as_str(), "EdDSA" | "Ed25519" | "ES256" | "RS256" | "PS256");
        if !is_known || header.crit.is_some() {
            return Err(SignatureProblem::Unsupported);
        }
        let payload = canonical(card).ok_or(SignatureProblem::Malformed)?;
        let is_meant =
            |key: &&SigningJwk| key.fits(&header.alg) && (header.kid.is_none() || key.id == header.kid);
        let mut found = SignatureProblem::UnknownKey;
        for key in keys.0.iter().filter(is_meant) {
            if key.verifies(&header.alg, &payload, jws) {
                return Ok(key);
            }
            found = SignatureProblem::WrongSignature;
        }
        Err(found)
    }
}

impl From<JwsError> for SignatureProblem {
    fn from(error: JwsError) -> Self {
        match error {
            JwsError::Malformed => Self::Malformed,
            JwsError::Unsupported => Self::Unsupported,
            _ => Self::WrongSignature,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bindu_identity::{SigningKey, jws};
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
    };
    use serde_json::json;

    fn card() -> Value {
        json!({"name": "n", "description": "d", "url": "http://legacy"})
    }

    fn ours() -> (Value, PublicKey) {
        let key = DerivedKey::of(&SigningKey::from_seed(&[3; 32]));
        let mut card = card();
        let payload = canonical(&card).expect("a card");
        card["signatures"] = json!([jws::sign(&key, "JOSE", None, &payload)]);
        (card, key.public_key())
    }

    #[test]
    fn the_key_is_found_by_its_id_and_decides_the_algorithm() {
        let (card, key) = ours();
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(key.as_bytes())});
        let with = |name: &str, value: Value| {
            let mut jwk = jwk.clone();
            jwk["kid"] = json!(DerivedKey::thumbprint(&key));
            jwk[name] = value;
            let set = KeySet::read(&json!({"keys": [jwk, {"kty": "oct", "k": "AAAA"}, 1]})).expect("a set");
            CardSignature::all(&card)[0].verify(&card, &set).err()
        };
        assert_eq!(with("use", json!("sig")), None);
        let unknown = Some(SignatureProblem::UnknownKey);
        assert_eq!(with("kid", json!("another")), unknown);
        assert_eq!(with("use", json!("enc")), unknown);
        assert_eq!(with("crv", json!("X25519")), unknown);
        assert_eq!(with("d", json!("AAAA")), unknown, "a private key that was published is nobody's");
        let other = URL_SAFE_NO_PAD.encode(SigningKey::from_seed(&[4; 32]).public_key().as_bytes());
        assert_eq!(with("x", json!(other)), Some(SignatureProblem::WrongSignature));
        assert_eq!(KeySet::read(&json!({"keys": {}})), None);
    }

    /// Cards of others: ECDSA, as the official SDKs' examples have it.
    #[test]
    fn es256_is_read_too() {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.as_ref(), &random)
            .expect("a key");
        let point = pair.public_key().as_ref().to_vec();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let set = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "e", "x": encode(&point[1..33]), "y": encode(&point[33..])}]});
        let set = KeySet::read(&set).expect("a set");
        let mut card = card();
        let protected = encode(br#"{"alg":"ES256","kid":"e","typ":"JOSE"}"#);
        let input = signing_input(&protected, &canonical(&card).expect("a card"));
        let signature = encode(pair.sign(&random, &input).expect("it signs").as_ref());
        card["signatures"] = json!([{"protected": protected, "signature": signature, "header": {"x": 1}}]);
        let signature = &CardSignature::all(&card)[0];
        assert!(signature.verify(&card, &set).is_ok());
        card["url"] = json!("http://another");
        assert!(signature.verify(&card, &set).is_ok(), "not covered");
        card["description"] = json!("another");
        assert_eq!(signature.verify(&card, &set).err(), Some(SignatureProblem::WrongSignature));
    }

    #[test]
    fn odd_signatures_are_problems_and_no_panics() {
        let (good, key) = ours();
        let set = KeySet::of(&[key]);
        let header = |header: &str| json!({"protected": URL_SAFE_NO_PAD.encode(header), "signature": "AAAA"});
        for (signature, want) in [
            (json!(1), SignatureProblem::Malformed),
            (json!({}), SignatureProblem::Malformed),
            (json!({"protected": "%", "signature": ""}), SignatureProblem::Malformed),
            (header("[]"), SignatureProblem::Malformed),
            (header(r#"{"alg":"none"}"#), SignatureProblem::Unsupported),
            (header(r#"{"alg":"HS256","kid":"x"}"#), SignatureProblem::Unsupported),
            (header(r#"{"alg":"EdDSA","crit":[]}"#), SignatureProblem::Unsupported),
            (header(r#"{"alg":"RS256"}"#), SignatureProblem::UnknownKey),
            (header(r#"{"alg":"EdDSA"}"#), SignatureProblem::WrongSignature),
        ] {
            let mut card = good.clone();
            card["signatures"] = json!([signature]);
            assert_eq!(CardSignature::all(&card)[0].verify(&card, &set).err(), Some(want), "{signature}");
        }
        for odd in [json!(null), json!({"signatures": {}}), json!({"signatures": []}), json!([])] {
            assert!(CardSignature::all(&odd).is_empty(), "{odd}");
        }
    }

    /// RFC 7638, 3.1.
    #[test]
    fn the_thumbprint_of_an_rsa_key_is_the_rfcs() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj\
                 hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ\
                 vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK\
                 nqDKgw";
        let jwk = SigningJwk::read(
            &json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}),
        );
        assert_eq!(jwk.expect("a key").thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }
}
