//! The second key of an identity: for signatures that are ours, never for text that somebody else chose.
//!
//! Python Bindu's text signature signs raw text, and that text is the caller's: an echo agent asked to say the right
//! bytes would sign a request, a card or an HTTP message for whoever asks. So HTTP message signatures (RFC 9421) and
//! whatever of our own comes later use a key of their own, which a text signature can't be mistaken for. It is derived
//! from the first one, so that it needs no storage and comes back with it.

use crate::{Did, PublicKey, Signature, SigningKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use zeroize::Zeroizing;

/// HKDF's `info` (RFC 5869). Changing it changes every agent's second key.
const LABEL: &[u8] = b"bindu/jws/v1";

/// The second key, `#key-2` of the agent's DID documents.
#[derive(Debug)]
pub struct DerivedKey(Arc<SigningKey>);

impl DerivedKey {
    /// The second key that belongs to a first one: HKDF-SHA256 of its seed, without salt.
    #[must_use]
    pub fn of(key: &SigningKey) -> Self {
        Self(key.derived(|| {
            let mut seed = Zeroizing::new([0; 32]);
            Hkdf::<Sha256>::new(None, key.seed().as_ref())
                .expand(LABEL, seed.as_mut())
                .expect("32 bytes are less than HKDF's limit of 8,160");
            SigningKey::from_seed(&seed)
        }))
    }

    /// Its public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.0.public_key()
    }

    /// How signatures name it: `DID#key-2`.
    #[must_use]
    pub fn id(did: &Did) -> String {
        format!("{did}#key-2")
    }

    /// The JWK thumbprint of a public key (RFC 7638, RFC 8037 appendix A.3): the `kid` that no two keys share.
    #[must_use]
    pub fn thumbprint(key: &PublicKey) -> String {
        // The required members in the order of their names, without white space.
        let x = URL_SAFE_NO_PAD.encode(key.as_bytes());
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        URL_SAFE_NO_PAD.encode(Sha256::digest(jwk.as_bytes()))
    }

    /// Inside this crate only: what may be signed is decided where the formats are.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Signature {
        self.0.sign(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python: `HKDF(SHA256(), 32, None, b"bindu/jws/v1").derive(bytes(32))` of `cryptography`.
    #[test]
    fn it_is_hkdf_of_the_seed() {
        let key = DerivedKey::of(&SigningKey::from_seed(&[0; 32]));
        assert_eq!(key.public_key().to_string(), "7Gbg9EA9ofdkR35zKVpoRRuYe9g9PBUzcEsHedhhYSo5");
        assert_ne!(key.public_key(), SigningKey::from_seed(&[0; 32]).public_key());
    }

    /// The key and the thumbprint of RFC 8037, appendix A.
    #[test]
    fn the_thumbprint_is_the_rfcs() {
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").expect("base64url");
        let key = PublicKey::from_bytes(&x).expect("a key");
        assert_eq!(DerivedKey::thumbprint(&key), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
