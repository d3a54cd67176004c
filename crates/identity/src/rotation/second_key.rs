//! `#key-2` and the key that it belongs to: derived from its private half, so no verifier can check that by itself.

use super::{StatementError, canonical, signed_bytes, verifies};
use crate::{DerivedKey, Did, PublicKey, SigningKey};
use serde::{Deserialize, Serialize};

const LABEL: &str = "bindu/second-key/v1";

/// Signed by a key: this is my second key. The serde form is the public JSON form, as a
/// [`RotationStatement`](super::RotationStatement)'s is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SecondKeyBinding {
    /// The agent.
    pub did: String,
    /// The agent's key, which signs.
    pub key: PublicKey,
    /// Its second key.
    pub second: PublicKey,
    /// By `key`: base58 of 64 bytes.
    pub signature: String,
}

/// What is signed.
#[derive(Serialize)]
struct Signed<'a> {
    did: &'a str,
    key: &'a PublicKey,
    second: &'a PublicKey,
}

impl SecondKeyBinding {
    /// Binds a key's second key to it.
    #[must_use]
    pub fn sign(did: &Did, key: &SigningKey) -> Self {
        let mut binding = Self {
            did: did.to_string(),
            key: key.public_key(),
            second: DerivedKey::of(key).public_key(),
            signature: String::new(),
        };
        binding.signature = key.sign(&binding.bytes()).to_string();
        binding
    }

    /// Whether `key` signed exactly this for this agent. That `key` is the agent's is for the reader to know.
    ///
    /// # Errors
    /// [`StatementError::OtherAgent`], [`StatementError::SameKey`] or [`StatementError::Signature`].
    pub fn verify(&self, did: &Did) -> Result<(), StatementError> {
        if self.did != did.as_str() {
            return Err(StatementError::OtherAgent);
        }
        if self.key == self.second {
            return Err(StatementError::SameKey);
        }
        if verifies(&self.key, &self.bytes(), &self.signature) {
            Ok(())
        } else {
            Err(StatementError::Signature)
        }
    }

    /// What `key` signs.
    pub(super) fn bytes(&self) -> Vec<u8> {
        signed_bytes(LABEL, &canonical(&Signed { did: &self.did, key: &self.key, second: &self.second }))
    }
}
