//! A call over HTTP+JSON: a method, a path with a query, and a body, each on a line of its own.
#![no_main]

use bindu_a2a::rest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let (Ok(method), Ok(path), body) = (std::str::from_utf8(next()), std::str::from_utf8(next()), next()) else {
        return;
    };
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    if let Ok(call) = rest::decode(method, path, query, body) {
        assert!(rest::is_path(path));
        let (method, path, body) = rest::ask(&call).expect("a call of A2A 1.0");
        let (path, query) = path.split_once('?').map_or((&*path, None), |(path, query)| (path, Some(query)));
        let body = body.map(bindu_a2a::Json::into_text).unwrap_or_default();
        assert_eq!(rest::decode(method, path, query, body.as_bytes()), Ok(call), "{method} {path}");
    }
});
