//! Answers of Hydra, Vault and other agents, who may be anything else, and of a handler's program.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &str, &[u8])| {
    let (status, text, body) = input;
    for status in [200, 404, status] {
        bindu_hydra::fuzz::answer(status, body, text);
        bindu_store::fuzz::answer(status, body);
    }
    bindu_agent::fuzz::program_line(body);
    if let Ok(said) = serde_json::from_slice(body) {
        bindu_client::fuzz::agent(&said, text);
    }
});
