//! The key files' formats: PKCS#8 v1 and SPKI in PEM, plain or encrypted (PBES2).
//!
//! Version 1 on purpose: OpenSSL before 3.5 and Python's `cryptography` refuse the version 2 that ed25519-dalek writes
//! by default. A pair in these forms is what Python Bindu keeps in `.bindu/` and in Vault.

use crate::{PublicKey, SigningKey};
use pkcs8::{
    AlgorithmIdentifierRef, EncryptedPrivateKeyInfoRef, LineEnding, ObjectIdentifier, PrivateKeyInfoRef,
    SecretDocument,
    der::{Decode as _, Encode as _, EncodePem as _, asn1::OctetStringRef, pem::PemLabel as _},
    pkcs5::pbes2,
    spki::{Document, SubjectPublicKeyInfoRef},
};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

/// RFC 8410's id-Ed25519.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// PBKDF2 rounds when we encrypt: what `cryptography` reads at once and still costs an attacker a tenth of a second per
/// guess and core. (Python Bindu writes 2,048.)
const PBKDF2_ROUNDS: u32 = 100_000;

/// Why a PEM text is no key of ours. Never holds any of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// Nothing there, as a crash between `open` and `write` leaves it.
    #[error("it is empty")]
    Empty,
    /// No PEM, or a damaged one.
    #[error("it is not a PEM text, or a damaged one")]
    NotPem,
    /// A PEM of something else.
    #[error("it is a PEM of something else, not {expected:?}")]
    WrongLabel {
        /// The label that belongs there.
        expected: &'static str,
    },
    /// A key of another algorithm, or damaged inside the PEM.
    #[error("it is not an Ed25519 key")]
    NotEd25519,
    /// The private key's own public half is another.
    #[error("its two halves do not belong together")]
    Mismatch,
    /// A password is needed and none was given.
    #[error("it is encrypted and no password was given")]
    Encrypted,
    /// The password does not open it, or its cipher is not one that we read.
    #[error("it is encrypted and the password does not open it")]
    WrongPassword,
}

/// Whether the text claims to be an encrypted private key.
#[must_use]
pub fn is_encrypted(text: &str) -> bool {
    text.trim_start().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----")
}

/// Writes a private key as PKCS#8 v1 PEM, 119 bytes with its final line feed.
#[must_use]
pub fn encode_private_key(key: &SigningKey) -> SecretString {
    let der = private_key_der(key);
    let pem = SecretDocument::try_from(der.as_slice())
        .and_then(|document| document.to_pem(PrivateKeyInfoRef::PEM_LABEL, LineEnding::LF))
        .expect("48 bytes of DER that we wrote fit a PEM");
    SecretString::from(pem.as_str())
}

/// Writes a private key as encrypted PKCS#8 PEM: PBES2 with PBKDF2-HMAC-SHA256, a 16-byte salt and AES-256-CBC, as
/// `cryptography` writes it.
///
/// # Errors
/// Where the system has no random source to give.
pub fn encode_encrypted_private_key(
    key: &SigningKey,
    password: &SecretString,
) -> Result<SecretString, getrandom::Error> {
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    getrandom::fill(&mut salt)?;
    getrandom::fill(&mut iv)?;
    let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(PBKDF2_ROUNDS, &salt, iv)
        .expect("a 16-byte salt and this number of rounds are in range");
    let der = private_key_der(key);
    let pem = PrivateKeyInfoRef::try_from(der.as_slice())
        .map_err(|_| ())
        .and_then(|info| info.encrypt_with_params(parameters, password.expose_secret()).map_err(|_| ()))
        .and_then(|sealed| {
            sealed.to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF).map_err(|_| ())
        })
        .expect("DER that we wrote can be encrypted and fits a PEM");
    Ok(SecretString::from(pem.as_str()))
}

/// Reads a private key: PKCS#8 v1 or v2, plain or encrypted.
///
/// # Errors
/// [`PemError`], which says what is wrong and never quotes the text.
pub fn decode_private_key(
    text: &SecretString,
    password: Option<&SecretString>,
) -> Result<SigningKey, PemError> {
    let text = text.expose_secret().trim();
    if text.is_empty() {
        return Err(PemError::Empty);
    }
    let (label, document) = SecretDocument::from_pem(text).map_err(|_| PemError::NotPem)?;
    if label == PrivateKeyInfoRef::PEM_LABEL {
        return private_key_from_der(document.as_bytes());
    }
    if label != EncryptedPrivateKeyInfoRef::PEM_LABEL {
        return Err(PemError::WrongLabel { expected: PrivateKeyInfoRef::PEM_LABEL });
    }
    let password = password.ok_or(PemError::Encrypted)?;
    let sealed = EncryptedPrivateKeyInfoRef::from_der(document.as_bytes()).map_err(|_| PemError::NotPem)?;
    let opened = sealed.decrypt(password.expose_secret()).map_err(|_| PemError::WrongPassword)?;
    private_key_from_der(opened.as_bytes())
}

/// Writes a public key as SPKI PEM, 113 bytes with its final line feed.
#[must_use]
pub fn encode_public_key(key: &PublicKey) -> String {
    SubjectPublicKeyInfoRef {
        algorithm: AlgorithmIdentifierRef { oid: ED25519, parameters: None },
        subject_public_key: pkcs8::der::asn1::BitStringRef::from_bytes(key.as_bytes())
            .expect("32 bytes fit a bit string"),
    }
    .to_pem(LineEnding::LF)
    .expect("an SPKI of 44 bytes fits a PEM")
}

/// Reads a public key from SPKI PEM.
///
/// # Errors
/// [`PemError`], which says what is wrong.
pub fn decode_public_key(text: &str) -> Result<PublicKey, PemError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(PemError::Empty);
    }
    let (label, document) = Document::from_pem(text).map_err(|_| PemError::NotPem)?;
    if label != SubjectPublicKeyInfoRef::PEM_LABEL {
        return Err(PemError::WrongLabel { expected: SubjectPublicKeyInfoRef::PEM_LABEL });
    }
    let spki = SubjectPublicKeyInfoRef::from_der(document.as_bytes()).map_err(|_| PemError::NotEd25519)?;
    if spki.algorithm.oid != ED25519 {
        return Err(PemError::NotEd25519);
    }
    let bytes = spki.subject_public_key.as_bytes().ok_or(PemError::NotEd25519)?;
    PublicKey::from_bytes(bytes).map_err(|_| PemError::NotEd25519)
}

fn private_key_der(key: &SigningKey) -> Zeroizing<Vec<u8>> {
    let seed = key.seed();
    // RFC 8410: the private key is itself an OCTET STRING inside the OCTET STRING.
    let mut inner = Zeroizing::new([0; 34]);
    let (header, body) = inner.split_at_mut(2);
    header.copy_from_slice(&[0x04, 0x20]);
    body.copy_from_slice(seed.as_ref());
    let info = PrivateKeyInfoRef {
        algorithm: AlgorithmIdentifierRef { oid: ED25519, parameters: None },
        private_key: OctetStringRef::new(inner.as_ref()).expect("34 bytes fit an octet string"),
        public_key: None,
    };
    Zeroizing::new(info.to_der().expect("a seed of 32 bytes fits PKCS#8"))
}

fn private_key_from_der(der: &[u8]) -> Result<SigningKey, PemError> {
    let info = PrivateKeyInfoRef::try_from(der).map_err(|_| PemError::NotEd25519)?;
    if info.algorithm.oid != ED25519 {
        return Err(PemError::NotEd25519);
    }
    let inner = info.private_key.as_bytes();
    let seed: Zeroizing<[u8; 32]> = match inner.split_at_checked(2) {
        Some(([0x04, 0x20], seed)) => Zeroizing::new(seed.try_into().map_err(|_| PemError::NotEd25519)?),
        _ => return Err(PemError::NotEd25519),
    };
    let key = SigningKey::from_seed(&seed);
    match info.public_key.map(|bits| bits.as_bytes().map(PublicKey::from_bytes)) {
        None => Ok(key),
        Some(Some(Ok(public))) if public == key.public_key() => Ok(key),
        Some(_) => Err(PemError::Mismatch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by Python `cryptography` for the seed of 32 zero bytes.
    const PYTHON_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END PRIVATE KEY-----\n";
    const PYTHON_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAO2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=\n-----END PUBLIC KEY-----\n";

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    fn zero_key() -> SigningKey {
        SigningKey::from_seed(&[0; 32])
    }

    #[test]
    fn writes_pythons_bytes() {
        let private = encode_private_key(&zero_key());
        assert_eq!(private.expose_secret(), PYTHON_PRIVATE);
        assert_eq!(private.expose_secret().len(), 119);
        let public = encode_public_key(&zero_key().public_key());
        assert_eq!(public, PYTHON_PUBLIC);
        assert_eq!(public.len(), 113);
    }

    #[test]
    fn reads_pythons_bytes() {
        let key = decode_private_key(&secret(PYTHON_PRIVATE), None).map(|key| key.public_key());
        assert_eq!(key, Ok(zero_key().public_key()));
        assert_eq!(decode_public_key(PYTHON_PUBLIC), Ok(zero_key().public_key()));
        let crlf = PYTHON_PRIVATE.replace('\n', "\r\n");
        assert!(decode_private_key(&secret(&crlf), None).is_ok(), "an editor's line endings");
    }

    #[test]
    fn encrypted_keys_open_with_their_password_only() {
        let sealed = encode_encrypted_private_key(&zero_key(), &secret("right")).expect("random bytes");
        assert!(is_encrypted(sealed.expose_secret()));
        let opened = decode_private_key(&sealed, Some(&secret("right"))).map(|key| key.public_key());
        assert_eq!(opened, Ok(zero_key().public_key()));
        assert_eq!(decode_private_key(&sealed, None).err(), Some(PemError::Encrypted));
        assert_eq!(decode_private_key(&sealed, Some(&secret("wrong"))).err(), Some(PemError::WrongPassword));
    }

    #[test]
    fn what_is_no_key_is_named() {
        let cases = [
            ("", PemError::Empty),
            (" \n", PemError::Empty),
            ("hello", PemError::NotPem),
            (&PYTHON_PRIVATE[..80], PemError::NotPem),
            (PYTHON_PUBLIC, PemError::WrongLabel { expected: "PRIVATE KEY" }),
            // An X25519 key: the same length, another algorithm.
            (
                "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n\
                 -----END PRIVATE KEY-----\n",
                PemError::NotEd25519,
            ),
        ];
        for (text, want) in cases {
            assert_eq!(decode_private_key(&secret(text), None).err(), Some(want), "{text:?}");
        }
        assert_eq!(decode_public_key("").err(), Some(PemError::Empty));
        assert_eq!(
            decode_public_key(PYTHON_PRIVATE).err(),
            Some(PemError::WrongLabel { expected: "PUBLIC KEY" })
        );
    }
}
