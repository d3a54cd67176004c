//! One rotation: from one key to the next.

use super::{LAST_EXACT_NUMBER, canonical, signed_bytes, time, verifies};
use crate::{Did, PublicKey, SigningKey, request_signature::WINDOW_SECONDS};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const LABEL: &str = "bindu/rotation/v1";

/// Signed by the old key: it gives way to another. The serde form is the public JSON form, where a key and a
/// signature are base58; members that are not listed here are not signed, and are ignored.
///
/// A value may come from anywhere: nothing in it counts before [`verify`](Self::verify).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RotationStatement {
    /// The agent.
    pub did: String,
    /// The old key, which signs.
    pub from: PublicKey,
    /// The new key.
    pub to: PublicKey,
    /// The new key's second key, `#key-2`, which no verifier can derive.
    pub to_second: PublicKey,
    /// How many rotations led to `to`: 1 for the first one.
    pub generation: u64,
    /// The [`hash`](Self::hash) of the statement before, where there is one.
    pub prev: Option<String>,
    /// When the new key became the current one: RFC 3339 in UTC, whole seconds (`2026-11-26T08:00:00Z`).
    pub at: String,
    /// Until when the old key counts beside the new one. Equal to `at` if it no longer counts at all.
    pub until: String,
    /// By `from`: base58 of 64 bytes.
    pub signature: String,
}

/// What a statement is made of.
pub struct NewRotation<'a> {
    /// The agent.
    pub did: &'a Did,
    /// The old key, which signs.
    pub from: &'a SigningKey,
    /// The new key.
    pub to: PublicKey,
    /// The new key's second key.
    pub to_second: PublicKey,
    /// The new key's generation, at least 1.
    pub generation: u64,
    /// The statement before.
    pub prev: Option<&'a RotationStatement>,
    /// RFC 3339; a fraction of a second is cut off.
    pub at: &'a str,
    /// RFC 3339, not before `at`; a fraction of a second is cut off.
    pub until: &'a str,
}

/// Why a statement does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// It is about another DID.
    #[error("the statement is about another agent")]
    OtherAgent,
    /// Two of its keys are one.
    #[error("the statement's keys are not different ones")]
    SameKey,
    /// Not 1 to 2^53 - 1.
    #[error("the statement's generation is no number of rotations")]
    Generation,
    /// `prev` is not a hash.
    #[error("the statement's `prev` is no hash of a statement")]
    Previous,
    /// Not RFC 3339 in UTC with whole seconds, or `until` is before `at`.
    #[error("the statement's times are not in order, or not in the form 2026-11-26T08:00:00Z")]
    Times,
    /// Signed by another key, or over other bytes.
    #[error("the signature is not the old key's over this")]
    Signature,
}

/// What is signed.
#[derive(Serialize)]
struct Signed<'a> {
    did: &'a str,
    from: &'a PublicKey,
    to: &'a PublicKey,
    to_second: &'a PublicKey,
    generation: u64,
    prev: Option<&'a str>,
    at: &'a str,
    until: &'a str,
}

impl RotationStatement {
    /// Signs with the old key.
    #[must_use]
    pub fn sign(new: &NewRotation<'_>) -> Self {
        let mut statement = Self {
            did: new.did.to_string(),
            from: new.from.public_key(),
            to: new.to,
            to_second: new.to_second,
            generation: new.generation,
            prev: new.prev.map(Self::hash),
            at: time::canonical(new.at),
            until: time::canonical(new.until),
            signature: String::new(),
        };
        statement.signature = new.from.sign(&statement.bytes()).to_string();
        statement
    }

    /// Whether the old key signed exactly this, and it is a rotation of this agent's. That `from` is the agent's key
    /// is for the reader to know, and whether another statement has followed.
    ///
    /// # Errors
    /// The first [`StatementError`] that applies; the signature is looked at last.
    pub fn verify(&self, did: &Did) -> Result<(), StatementError> {
        if self.did != did.as_str() {
            return Err(StatementError::OtherAgent);
        }
        // `to_second` signs what `to` must never sign, and the other way round.
        if self.from == self.to || self.to == self.to_second || self.from == self.to_second {
            return Err(StatementError::SameKey);
        }
        if !(1..=LAST_EXACT_NUMBER).contains(&self.generation) {
            return Err(StatementError::Generation);
        }
        if self.prev.as_deref().is_some_and(|hash| !is_hash(hash)) {
            return Err(StatementError::Previous);
        }
        let (at, until) = self.times().ok_or(StatementError::Times)?;
        if until < at {
            return Err(StatementError::Times);
        }
        if verifies(&self.from, &self.bytes(), &self.signature) {
            Ok(())
        } else {
            Err(StatementError::Signature)
        }
    }

    /// What the next statement's `prev` is: SHA-256 of the canonical JSON of the signed members, base64url without
    /// padding.
    #[must_use]
    pub fn hash(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(canonical(&self.signed())))
    }

    /// Whether the old key counts beside the new one: before `until`, and not before `at`, with the clock difference
    /// that a request's signature may have (300 s). `now` is in seconds since the epoch. Never if the two are equal.
    #[must_use]
    pub fn is_in_overlap(&self, now: i64) -> bool {
        let skew = i64::try_from(WINDOW_SECONDS).unwrap_or(i64::MAX);
        self.times().is_some_and(|(at, until)| at < until && at.saturating_sub(skew) <= now && now < until)
    }

    /// Epoch seconds of `at` and `until`.
    fn times(&self) -> Option<(i64, i64)> {
        Some((time::seconds(&self.at)?, time::seconds(&self.until)?))
    }

    fn signed(&self) -> Signed<'_> {
        Signed {
            did: &self.did,
            from: &self.from,
            to: &self.to,
            to_second: &self.to_second,
            generation: self.generation,
            prev: self.prev.as_deref(),
            at: &self.at,
            until: &self.until,
        }
    }

    /// What `from` signs.
    pub(super) fn bytes(&self) -> Vec<u8> {
        signed_bytes(LABEL, &canonical(&self.signed()))
    }
}

/// Whether a text is base64url, without padding, of 32 bytes.
fn is_hash(text: &str) -> bool {
    text.len() == 43 && URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32)
}
