//! A call, an answer and an event of A2A 1.0: what is read is written again, and read as the same.
#![no_main]

use bindu_fuzz::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| check(bindu_a2a::Dialect::V1, data));
