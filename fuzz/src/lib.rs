//! What the fuzz targets of the dialects have in common.

use bindu_a2a::{Dialect, call::StreamItem, rpc::Request};
use serde_json::value::RawValue;

/// Reads a JSON-RPC request in a dialect, and its parameters as an answer and as an event. What is a value is written and
/// read again as the same value.
///
/// # Panics
/// If it is another.
pub fn check(dialect: Dialect, body: &[u8]) {
    let Ok(request) = Request::parse(None, body) else { return };
    let Ok(call) = dialect.decode(&request.method, request.params) else { return };
    let (method, params) = dialect.ask(&call).expect("a call of this dialect");
    // A UUID that Python Bindu's dialect has chosen for a message without one is written.
    assert_eq!(dialect.decode(method, Some(params.raw())).as_ref(), Ok(&call), "{params:?}");
    let Some(params) = request.params else { return };
    event(dialect, params);
    if let Ok(answer) = dialect.read_answer(&call, params) {
        let again = dialect.encode(&answer);
        assert!(dialect.read_answer(&call, again.raw()).is_ok(), "{again:?}");
    }
}

/// Reads an event in a dialect.
fn event(dialect: Dialect, raw: &RawValue) {
    if let Ok(event) = dialect.read_event(raw) {
        let item = StreamItem { number: 1, event };
        let again = dialect.encode_event(&item);
        // Times are written with milliseconds, so the second reading is compared with the third.
        let item = StreamItem { number: 1, event: dialect.read_event(again.raw()).expect("an event") };
        let last = dialect.read_event(dialect.encode_event(&item).raw());
        assert_eq!(last.as_ref(), Ok(&item.event));
    }
}
