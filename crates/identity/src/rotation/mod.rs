//! Rotation statements: an old key says, by its own signature, which key it gives way to.
//!
//! Owns the format of the statements, what leads from one key to another, and what a key knows of its past
//! ([`Lineage`]). Decides nothing: who may rotate, and who follows, is decided elsewhere.
//!
//! The signed bytes are `0xFF`, a label, `0x00`, and the canonical JSON (RFC 8785) of the signed members. They begin
//! with a byte that no UTF-8 text contains, so no signature over a text, a request or an HTTP message is one over a
//! statement, whatever a caller makes an agent say.

mod chain;
mod lineage;
mod second_key;
mod statement;
mod time;

pub use chain::{MOST_STATEMENTS, chain, line, overlapping};
pub use lineage::{Lineage, LineageError};
pub use second_key::SecondKeyBinding;
pub use statement::{NewRotation, RotationStatement, StatementError};
pub use time::utc;

use crate::{PublicKey, Signature};
use serde::Serialize;

/// The first byte of everything that is signed here. No UTF-8 text contains it.
const NOT_TEXT: u8 = 0xFF;

/// JSON numbers are doubles (RFC 8785, I-JSON): above this, two numbers would have the same canonical form.
const LAST_EXACT_NUMBER: u64 = (1 << 53) - 1;

/// The canonical JSON (RFC 8785) of what is signed.
fn canonical(members: &impl Serialize) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(members).expect("strings and whole numbers have a canonical form")
}

/// The bytes to sign: what they are for, and their content.
fn signed_bytes(label: &str, canonical: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(label.len() + canonical.len() + 2);
    bytes.push(NOT_TEXT);
    bytes.extend_from_slice(label.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(canonical);
    bytes
}

/// Whether `signature`, base58 of 64 bytes, is the key's over these bytes.
fn verifies(key: &PublicKey, bytes: &[u8], signature: &str) -> bool {
    signature.parse::<Signature>().is_ok_and(|signature| key.verifies(bytes, &signature))
}

#[cfg(test)]
mod tests;
