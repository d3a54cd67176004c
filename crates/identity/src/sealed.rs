//! Secrets that others have entrusted to an agent, sealed with its key before a database sees them.
//!
//! ChaCha20-Poly1305 (RFC 8439) with a key that is derived from the identity's first one, under a label of its own. The
//! thumbprint of the identity's key stands beside the ciphertext, so that a reader with a key ring knows which key opens
//! it, and an operator sees which rows still have to be sealed again after a rotation.
//!
//! Whoever reads the database learns nothing; whoever may write to it cannot move a secret to another place, because the
//! place is authenticated. It can put an older secret of the same place back.

use crate::{DerivedKey, SigningKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

/// HKDF's `info`. Changing it makes every sealed secret unreadable.
const LABEL: &[u8] = b"bindu/seal/v1";

/// What a sealed text begins with: its form.
const PREFIX: &str = "sealed:v1:";

/// A text is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The system has no random source to give.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// It was not written by [`seal`], or by a later version.
    #[error("not a sealed text of this version")]
    NotSealed,
    /// The key that sealed it is not in the key ring any more.
    #[error("sealed with a key that is not in the key ring")]
    UnknownKey,
    /// It was changed, or belongs to another place.
    #[error("a sealed text that was changed or moved")]
    Broken,
}

/// The key that an identity's key seals with. It signs nothing.
#[derive(Clone)]
pub struct SealingKey {
    /// The thumbprint of the identity's key.
    thumbprint: String,
    key: Zeroizing<[u8; 32]>,
}

impl SealingKey {
    /// The sealing key of an identity's key.
    #[must_use]
    pub fn of(key: &SigningKey) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, key.seed().as_ref())
            .expand(LABEL, bytes.as_mut())
            .expect("32 bytes are less than HKDF's limit of 8,160");
        Self { thumbprint: DerivedKey::thumbprint(&key.public_key()), key: bytes }
    }

    /// The name of the key in what it seals.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    fn cipher(&self) -> Result<LessSafeKey, SealError> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, self.key.as_ref()).map_err(|_| SealError::Broken)?;
        Ok(LessSafeKey::new(key))
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey").field("thumbprint", &self.thumbprint).finish_non_exhaustive()
    }
}

/// Seals a secret for a place: a text that names where it is kept, and that has to be given again to open it.
///
/// # Errors
/// [`SealError::NoRandomness`].
pub fn seal(key: &SealingKey, place: &str, secret: &str) -> Result<String, SealError> {
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
    let mut text = secret.as_bytes().to_vec();
    key.cipher()?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(place), &mut text)
        .map_err(|_| SealError::Broken)?;
    let mut bytes = nonce.to_vec();
    bytes.append(&mut text);
    Ok(format!("{PREFIX}{}:{}", key.thumbprint, URL_SAFE_NO_PAD.encode(bytes)))
}

/// Opens what was sealed for this place with one of these keys.
///
/// # Errors
/// The first of [`SealError`] that applies.
pub fn open<'a>(
    keys: impl IntoIterator<Item = &'a SealingKey>,
    place: &str,
    sealed: &str,
) -> Result<Zeroizing<String>, SealError> {
    let (thumbprint, text) = parts(sealed).ok_or(SealError::NotSealed)?;
    let mut bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| SealError::NotSealed)?);
    let key = keys.into_iter().find(|key| key.thumbprint == thumbprint);
    let cipher = key.ok_or(SealError::UnknownKey)?.cipher()?;
    let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN).ok_or(SealError::NotSealed)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::NotSealed)?;
    let opened = cipher.open_in_place(nonce, aad(place), text).map_err(|_| SealError::Broken)?;
    String::from_utf8(opened.to_vec()).map(Zeroizing::new).map_err(|_| SealError::Broken)
}

/// Whether a text is sealed.
#[must_use]
pub fn is_sealed(text: &str) -> bool {
    parts(text).is_some()
}

/// Whether a text is sealed with this key; after a rotation the others are sealed again.
#[must_use]
pub fn is_sealed_with(key: &SealingKey, text: &str) -> bool {
    parts(text).is_some_and(|(thumbprint, _)| thumbprint == key.thumbprint)
}

fn parts(sealed: &str) -> Option<(&str, &str)> {
    sealed.strip_prefix(PREFIX)?.split_once(':')
}

fn aad(place: &str) -> Aad<&[u8]> {
    Aad::from(place.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SealingKey {
        SealingKey::of(&SigningKey::from_seed(&[seed; 32]))
    }

    #[test]
    fn what_is_sealed_is_opened_by_the_same_key_for_the_same_place_only() {
        let (old, new) = (key(1), key(2));
        let sealed = seal(&old, "here", "a token \u{1f600}").expect("sealed");
        assert!(!sealed.contains("token") && is_sealed(&sealed));
        assert_eq!(open([&new, &old], "here", &sealed).expect("opened").as_str(), "a token \u{1f600}");
        assert_eq!(open([&new], "here", &sealed), Err(SealError::UnknownKey));
        assert_eq!(open([&old], "there", &sealed), Err(SealError::Broken));
        assert_ne!(seal(&old, "here", "a token \u{1f600}"), Ok(sealed), "each time with another nonce");
    }

    #[test]
    fn a_rotation_seals_it_again() {
        let (old, new) = (key(1), key(2));
        let sealed = seal(&old, "here", "secret").expect("sealed");
        assert!(is_sealed_with(&old, &sealed) && !is_sealed_with(&new, &sealed));
        let again =
            seal(&new, "here", &open([&new, &old], "here", &sealed).expect("opened")).expect("sealed");
        assert!(is_sealed_with(&new, &again));
        assert_eq!(open([&new], "here", &again).expect("without the old key").as_str(), "secret");
    }

    #[test]
    fn each_changed_byte_is_found() {
        let sealed = seal(&key(1), "here", "secret").expect("sealed");
        let (head, text) = sealed.rsplit_once(':').expect("parts");
        let bytes = URL_SAFE_NO_PAD.decode(text).expect("base64url");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let changed = format!("{head}:{}", URL_SAFE_NO_PAD.encode(changed));
            assert_eq!(open([&key(1)], "here", &changed), Err(SealError::Broken), "byte {at}");
        }
        for length in 0..bytes.len() {
            let short = format!("{head}:{}", URL_SAFE_NO_PAD.encode(&bytes[..length]));
            assert!(open([&key(1)], "here", &short).is_err(), "{length} bytes");
        }
        for odd in ["", "secret", "sealed:v1:", "sealed:v2:a:b", "sealed:v1:a", "sealed:v1:a:!"] {
            assert_eq!(open([&key(1)], "here", odd), Err(SealError::NotSealed), "{odd}");
        }
    }

    /// Computed with Python's `cryptography`: HKDF-SHA256 of the seed, ChaCha20Poly1305, nonce of zeros. A change of label,
    /// cipher or form would make stored secrets unreadable.
    #[test]
    fn the_form_is_the_one_that_is_stored() {
        let sealed = include_str!("sealed_vector.txt").trim();
        assert_eq!(open([&key(0)], "task/config/token", sealed).expect("opened").as_str(), "a stored token");
    }
}
