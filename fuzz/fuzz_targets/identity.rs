//! What identities are read from: keys, DIDs, records, texts that are signed.
#![no_main]

use bindu_identity::{
    AgentId, Did, Fingerprint, PublicKey, Signature, SigningKey, pem, request_signature, text_signature,
};
use bindu_store::{CredentialRecord, Fields, KeyRecord};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = (text.parse::<PublicKey>(), text.parse::<Signature>(), text.parse::<Fingerprint>());
    let _ =
        (text.parse::<AgentId>(), pem::decode_private_key(&text.into(), None), pem::decode_public_key(text));
    if let Ok(did) = text.parse::<Did>() {
        assert_eq!(did.as_str(), text);
    }
    let key = SigningKey::from_seed(&[0; 32]);
    let payload = request_signature::payload(text, "did:bindu:fuzz", 1000);
    assert!(text_signature::sign(&key, &payload).is_none(), "a request's payload is never signed as text");
    if let Ok(serde_json::Value::Object(members)) = serde_json::from_str(text) {
        let fields = Fields::new(members);
        let _ = (KeyRecord::from_fields(&fields), CredentialRecord::from_fields(&fields));
    }
});
