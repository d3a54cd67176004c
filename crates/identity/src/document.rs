//! DID documents: Python Bindu's, and the conformant did:web twin.

use crate::{DerivedKey, Did, PublicKey};
use serde::Serialize;

/// The document of a `did:bindu`, in Python Bindu's form. Field order is part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BinduDocument {
    #[serde(rename = "@context")]
    context: [&'static str; 2],
    id: String,
    created: String,
    authentication: Vec<BinduKey>,
}

/// A key in Python Bindu's form: the deprecated 2020 suite with a plain base58 key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct BinduKey {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    controller: String,
    #[serde(rename = "publicKeyBase58")]
    public_key: String,
}

impl BinduDocument {
    /// `created` is an RFC 3339 time; Python Bindu writes it with a `+00:00` offset. The current key is the first of
    /// `authentication`, the only one that Python Bindu reads; the keys of a rotation follow, named by their Multikey.
    #[must_use]
    pub fn new(did: &Did, key: &PublicKey, beside: &[PublicKey], created: &str) -> Self {
        let entry = |id: String, key: &PublicKey| BinduKey {
            id,
            kind: "Ed25519VerificationKey2020",
            controller: did.to_string(),
            public_key: key.to_string(),
        };
        let beside = beside.iter().map(|key| entry(format!("{did}#{}", key.multibase()), key));
        Self {
            context: ["https://www.w3.org/ns/did/v1", "https://getbindu.com/ns/v1"],
            id: did.to_string(),
            created: created.to_owned(),
            authentication: std::iter::once(entry(format!("{did}#key-1"), key)).chain(beside).collect(),
        }
    }
}

/// The did:web twin of an agent's document, for resolvers that know no `did:bindu` (W3C DID Core 1.0, Multikey from
/// W3C Controlled Identifiers 1.0).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WebDocument {
    #[serde(rename = "@context")]
    context: [&'static str; 2],
    id: String,
    also_known_as: [String; 2],
    verification_method: Vec<VerificationKey>,
    authentication: Vec<String>,
    assertion_method: Vec<String>,
}

/// A Multikey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationKey {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    controller: String,
    public_key_multibase: String,
}

impl WebDocument {
    /// The document that `web` resolves to, which names the agent's `did:bindu` and did:key beside it. `derived` is the
    /// second key; `beside` are the keys of a rotation, first and second ones, named by their Multikey.
    #[must_use]
    pub fn new(web: &Did, bindu: &Did, key: &PublicKey, derived: &PublicKey, beside: &[PublicKey]) -> Self {
        let named = |key: &PublicKey| (format!("{web}#{}", key.multibase()), *key);
        let keys: Vec<(String, PublicKey)> =
            [(format!("{web}#key-1"), *key), (DerivedKey::id(web), *derived)]
                .into_iter()
                .chain(beside.iter().map(named))
                .collect();
        let methods: Vec<String> = keys.iter().map(|(id, _)| id.clone()).collect();
        let verification_key = |(id, key): (String, PublicKey)| VerificationKey {
            id,
            kind: "Multikey",
            controller: web.to_string(),
            public_key_multibase: key.multibase(),
        };
        Self {
            context: ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
            id: web.to_string(),
            also_known_as: [bindu.to_string(), Did::key(key).to_string()],
            verification_method: keys.into_iter().map(verification_key).collect(),
            authentication: methods.clone(),
            assertion_method: methods,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    #[test]
    fn bindu_document_has_python_bindus_bytes() {
        let did: Did = "did:bindu:a:b:c".parse().expect("a DID");
        let document = BinduDocument::new(
            &did,
            &SigningKey::from_seed(&[0; 32]).public_key(),
            &[],
            "2026-11-23T13:48:58.684641+00:00",
        );
        assert_eq!(
            serde_json::to_string(&document).expect("serialises"),
            r#"{"@context":["https://www.w3.org/ns/did/v1","https://getbindu.com/ns/v1"],"id":"did:bindu:a:b:c","created":"2026-11-23T13:48:58.684641+00:00","authentication":[{"id":"did:bindu:a:b:c#key-1","type":"Ed25519VerificationKey2020","controller":"did:bindu:a:b:c","publicKeyBase58":"4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS"}]}"#
        );
    }

    #[test]
    fn web_document_names_its_twins() {
        let bindu: Did = "did:bindu:a:b:c".parse().expect("a DID");
        let key = SigningKey::from_seed(&[0; 32]).public_key();
        let derived = DerivedKey::of(&SigningKey::from_seed(&[0; 32])).public_key();
        let document = serde_json::to_value(WebDocument::new(
            &Did::web("localhost", Some(3773)),
            &bindu,
            &key,
            &derived,
            &[SigningKey::from_seed(&[1; 32]).public_key()],
        ))
        .expect("serialises");
        assert_eq!(document["verificationMethod"].as_array().map(Vec::len), Some(3));
        assert_eq!(document["authentication"][1], "did:web:localhost%3A3773#key-2");
        assert_eq!(document["id"], "did:web:localhost%3A3773");
        assert_eq!(document["alsoKnownAs"][0], "did:bindu:a:b:c");
        assert_eq!(
            document["verificationMethod"][0]["publicKeyMultibase"],
            "z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
        );
    }
}
