//! A call, an answer and an event of Python Bindu's dialect: what is read is written again, and read as the same.
#![no_main]

use bindu_fuzz::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| check(bindu_a2a::Dialect::Bindu, data));
