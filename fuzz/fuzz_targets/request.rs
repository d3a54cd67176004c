//! A JSON-RPC request, to the end of its parameters.
#![no_main]

use bindu_a2a::{Dialect, rpc::Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(request) = Request::parse(None, body)
        && let Ok(dialect) = Dialect::of(&request.method, None)
    {
        let _ = dialect.decode(&request.method, request.params);
    }
});
