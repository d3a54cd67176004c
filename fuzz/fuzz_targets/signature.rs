//! Both forms of a caller's signature. Nothing here was signed, so nothing may verify.
#![no_main]

use bindu_identity::{
    Did, SigningKey,
    message_signature::{self, SignedRequest},
    request_signature::{self, SignatureHeaders},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str, &[u8])| {
    let (one, two, three, body) = input;
    let did: Did = "did:bindu:fuzz".parse().expect("a DID");
    let key = SigningKey::from_seed(&[0; 32]).public_key();
    let headers = SignatureHeaders { did: did.as_str(), timestamp: one, signature: two };
    let text = String::from_utf8_lossy(body);
    assert!(request_signature::verify(headers, &did, &key, &text, 1000).is_err());
    let header = |_: &str| vec![three];
    let request = SignedRequest {
        method: "POST",
        path: three,
        query: Some(one),
        authority: two,
        header: &header,
        body,
    };
    let parameters = format!("sig1={one};created=1000;keyid=\"did:bindu:fuzz#key-2\"");
    for input in [one, parameters.as_str()] {
        for signature in [
            two,
            "sig1=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==:",
        ] {
            assert!(message_signature::verify((input, signature), &request, &did, &key, 1000).is_err());
        }
    }
});
