//! The headers and the URL that say who is calling, and a JWT.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8], &str)| {
    let (name, value, uri) = input;
    for name in ["authorization", "x-request-id", name] {
        bindu_agent::fuzz::headers(name, value, uri);
    }
    let bearer = [b"Bearer ", value].concat();
    bindu_agent::fuzz::headers("authorization", &bearer, uri);
    let _ = bindu_hydra::key_id(uri);
});
