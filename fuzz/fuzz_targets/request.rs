//! A JSON-RPC request, to the end of its parameters.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| bindu_agent::fuzz::request(body));
