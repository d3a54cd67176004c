//! Ed25519 keys and signatures.

use ed25519_dalek::Signer as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    str::FromStr,
    sync::{Arc, OnceLock},
};
use zeroize::Zeroizing;

/// The private half of an agent's identity. Wiped from memory when dropped; it has no `Debug`, no `Clone` and no way
/// out but [`pem`](crate::pem).
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    /// The second key, once it was derived: each message's result is signed by it.
    derived: OnceLock<Arc<SigningKey>>,
}

impl SigningKey {
    /// Draws a new key from the operating system's random source.
    ///
    /// # Errors
    /// Where the system has no random source to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut())?;
        Ok(Self::from_seed(&seed))
    }

    /// The key of a 32-byte seed (RFC 8032's private key).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { key: ed25519_dalek::SigningKey::from_bytes(seed), derived: OnceLock::new() }
    }

    pub(crate) fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.key.verifying_key())
    }

    /// Signs bytes. Inside this crate only: what may be signed is decided in [`request_signature`](crate::request_signature),
    /// [`text_signature`](crate::text_signature) and [`rotation`](crate::rotation), because one key serves all.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.key.sign(bytes))
    }

    /// The key that is derived from this one, which `derive` does once.
    pub(crate) fn derived(&self, derive: impl FnOnce() -> Self) -> Arc<Self> {
        Arc::clone(self.derived.get_or_init(|| Arc::new(derive())))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public_key())
    }
}

/// An Ed25519 public key that is a point of full order. Shown, and compared with what Hydra holds, as base58 of its
/// 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

/// The text or bytes are no usable Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 public key (32 bytes, base58)")]
pub struct PublicKeyError;

impl PublicKey {
    /// Reads 32 raw bytes; points of small order are refused, since anything verifies under them.
    ///
    /// # Errors
    /// [`PublicKeyError`] where the bytes are no point, or one of small order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PublicKeyError> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| PublicKeyError)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| PublicKeyError)?;
        if key.is_weak() { Err(PublicKeyError) } else { Ok(Self(key)) }
    }

    /// The 32 raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// `z` + base58btc(`0xed01` + key): the multibase form of a Multikey and of a did:key.
    #[must_use]
    pub fn multibase(&self) -> String {
        let mut bytes = vec![0xed, 0x01];
        bytes.extend_from_slice(self.as_bytes());
        format!("z{}", bs58::encode(bytes).into_string())
    }

    /// What people compare.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let digest = Sha256::digest(self.as_bytes());
        Fingerprint(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether the signature is this key's over exactly these bytes, verified strictly (canonical S, no small-order
    /// points).
    #[must_use]
    pub fn verifies(&self, bytes: &[u8], signature: &Signature) -> bool {
        self.0.verify_strict(bytes, &signature.0).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.as_bytes()).into_string())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        // 32 bytes are at most 44 digits; the limit keeps a long text from costing quadratic time.
        if text.len() > 44 {
            return Err(PublicKeyError);
        }
        Self::from_bytes(&bs58::decode(text).into_vec().map_err(|_| PublicKeyError)?)
    }
}

/// As text: base58, nothing else.
impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The name of a public key: lower-case hex of SHA-256 over its 32 raw bytes
/// (`openssl pkey -pubin -in public.pem -outform DER | tail -c 32 | sha256sum`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The 64 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&PublicKey> for Fingerprint {
    fn from(key: &PublicKey) -> Self {
        key.fingerprint()
    }
}

impl From<&Self> for Fingerprint {
    fn from(fingerprint: &Self) -> Self {
        fingerprint.clone()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        let good = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if good { Ok(Self(text.to_owned())) } else { Err(PublicKeyError) }
    }
}

/// An Ed25519 signature, shown as base58 of its 64 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature(ed25519_dalek::Signature);

/// The text is not base58 of 64 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 signature (64 bytes, base58)")]
pub struct SignatureError;

impl Signature {
    /// Takes 64 raw bytes.
    ///
    /// # Errors
    /// [`SignatureError`] where there are more or fewer.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        let bytes: &[u8; 64] = bytes.try_into().map_err(|_| SignatureError)?;
        Ok(Self(ed25519_dalek::Signature::from_bytes(bytes)))
    }

    /// The 64 raw bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 64] {
        self.0.to_bytes()
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each result has one: `bs58` takes a third as long as the signature itself.
        let mut digits = [0; 88];
        let count = five8::encode_64(&self.0.to_bytes(), &mut digits);
        let digits = digits.get(..usize::from(count)).unwrap_or(&digits);
        f.write_str(std::str::from_utf8(digits).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Signature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        // 64 bytes are at most 88 digits.
        if text.len() > 88 {
            return Err(SignatureError);
        }
        Self::from_bytes(&bs58::decode(text).into_vec().map_err(|_| SignatureError)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_key_is_shown_and_read_as_base58() {
        let key = SigningKey::from_seed(&[0; 32]).public_key();
        assert_eq!(key.to_string(), "4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS");
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(key.fingerprint().as_str().parse(), Ok(key.fingerprint()));
    }

    #[test]
    fn small_order_and_malformed_keys_are_refused() {
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        assert_eq!(PublicKey::from_bytes(&identity_point), Err(PublicKeyError));
        assert_eq!(PublicKey::from_bytes(&[0; 32]), Err(PublicKeyError));
        assert_eq!(PublicKey::from_bytes(&[1; 31]), Err(PublicKeyError));
        assert!("0OIl".parse::<PublicKey>().is_err());
        assert!("1".repeat(1000).parse::<PublicKey>().is_err());
    }

    #[test]
    fn debug_of_a_signing_key_shows_no_seed() {
        let shown = format!("{:?}", SigningKey::from_seed(&[7; 32]));
        assert!(!shown.contains("7, 7"), "{shown}");
        assert!(shown.starts_with("SigningKey(of "), "{shown}");
    }

    /// RFC 8032, 7.1: tests 1 to 3.
    #[test]
    fn signatures_are_the_rfcs() {
        let bytes = |hex: &str| -> Vec<u8> {
            let digits = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).expect("ASCII"));
            digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
        };
        for (seed, public, message, signature) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
            (
                "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
        ] {
            let key = SigningKey::from_seed(bytes(seed).as_slice().try_into().expect("32 bytes"));
            assert_eq!(key.public_key().as_bytes().as_slice(), bytes(public));
            assert_eq!(key.sign(&bytes(message)).to_bytes().as_slice(), bytes(signature));
        }
    }

    proptest::proptest! {
        #[test]
        fn a_signature_is_shown_as_base58(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 64), zeros in 0..=64_usize) {
            bytes[..zeros].fill(0);
            let signature = Signature::from_bytes(&bytes).expect("64 bytes");
            let shown = signature.to_string();
            proptest::prop_assert_eq!(&shown, &bs58::encode(&bytes).into_string());
            proptest::prop_assert_eq!(shown.parse(), Ok(signature));
        }
    }
}
