//! The signature on a whole artifact, by the second key: who brought it forth, for which task, and when.
//!
//! Bindu's [`crate::text_signature`] covers one text and nothing around it: it can be cut out and shown elsewhere. This one
//! covers all parts, the ids of the task and the artifact, the DID and the time. What is signed begins with a byte that is no UTF-8
//! and a name of its own, so no other signature of ours can equal it.

use crate::{DerivedKey, Did, PublicKey, Signature, SigningKey, canonical};
use serde_json::value::RawValue;

/// The extension of A2A under whose URI the signature travels in an artifact's metadata. A change that old readers misread gets
/// another URI.
pub const EXTENSION: &str = "urn:bindu:a2a:extension:artifact-signature:v1";

/// What every signed payload begins with.
const PREFIX: &[u8] = b"\xffbindu/artifact/v1\0";

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub struct SignedArtifact<'a> {
    /// The task's id.
    pub task_id: &'a str,
    /// The artifact's id.
    pub artifact_id: &'a str,
    /// The agent.
    pub did: &'a Did,
    /// When, RFC 3339 in UTC.
    pub time: &'a str,
    /// All parts, as A2A 1.0 has them: JSON lists, one after the other.
    pub parts: &'a [&'a RawValue],
}

impl SignedArtifact<'_> {
    /// Signs it with the second key that belongs to this first one.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> Option<Signature> {
        Some(DerivedKey::of(key).sign(&self.payload()?))
    }

    /// Whether the signature is this second key's.
    #[must_use]
    pub fn verify(&self, second_key: &PublicKey, signature: &Signature) -> bool {
        self.payload().is_some_and(|payload| second_key.verifies(&payload, signature))
    }

    /// The prefix, then JCS (RFC 8785); `None` for what JCS has no form for.
    fn payload(&self) -> Option<Vec<u8>> {
        let Self { task_id, artifact_id, did, time, parts } = self;
        let long: usize = parts.iter().map(|list| list.get().len()).sum();
        let mut payload = Vec::with_capacity(long + 512);
        payload.extend(PREFIX);
        // In the order of their names.
        for (name, text) in [("{\"artifact_id\":", artifact_id), (",\"did\":", &did.as_str())] {
            payload.extend(name.as_bytes());
            canonical::write_text(text, &mut payload).ok()?;
        }
        payload.extend(b",\"parts\":");
        canonical::write_list(parts, &mut payload).ok()?;
        for (name, text) in [(",\"task_id\":", task_id), (",\"time\":", time)] {
            payload.extend(name.as_bytes());
            canonical::write_text(text, &mut payload).ok()?;
        }
        payload.push(b'}');
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_covers_everything() {
        let key = SigningKey::from_seed(&[0; 32]);
        let second = DerivedKey::of(&key).public_key();
        let (did, other): (Did, Did) =
            ("did:bindu:a".parse().expect("a DID"), "did:bindu:b".parse().expect("a DID"));
        let raw = |text| serde_json::from_str::<&RawValue>(text).expect("JSON");
        let parts = [raw(r#"[{"text": "hello"}, {"data": {"b": 1, "a": 2}}]"#)];
        let fewer = [raw(r#"[{"text": "hello"}]"#)];
        let reordered = [fewer[0], raw(r#"[{"data": {"a": 2, "b": 1}}]"#)];
        let signed = SignedArtifact {
            task_id: "t",
            artifact_id: "a",
            did: &did,
            time: "2026-01-01T00:00:00Z",
            parts: &parts,
        };
        let signature = signed.sign(&key).expect("it can be signed");
        assert!(signed.verify(&second, &signature));
        assert!(SignedArtifact { parts: &reordered, ..signed }.verify(&second, &signature), "the same JSON");
        for forged in [
            SignedArtifact { task_id: "u", ..signed },
            SignedArtifact { artifact_id: "b", ..signed },
            SignedArtifact { did: &other, ..signed },
            SignedArtifact { time: "2026-01-01T00:00:01Z", ..signed },
            SignedArtifact { parts: &fewer, ..signed },
        ] {
            assert!(!forged.verify(&second, &signature), "{forged:?}");
        }
        assert!(!signed.verify(&key.public_key(), &signature), "not the first key's");
    }

    /// Text that an echo agent signs for its caller is never this.
    #[test]
    fn it_begins_as_no_text_does() {
        let did = "did:bindu:a".parse().expect("a DID");
        let parts = [];
        let signed = SignedArtifact { task_id: "", artifact_id: "", did: &did, time: "", parts: &parts };
        assert!(String::from_utf8(signed.payload().expect("JSON")).is_err());
    }
}
