//! The JSON-RPC 2.0 envelope. Ids come back exactly as they were sent.

use crate::{
    A2aError, Json,
    call::{Answer, StreamItem},
    dialect::{Answered, BareEvent, Dialect, Refusal, Streamed},
    json::{self, Kind, kind},
    media,
};
use serde::Serialize;
use serde_json::value::RawValue;

/// The only version there is.
const VERSION: &str = "2.0";

/// The longest id of a request, in bytes of its JSON.
const MAX_ID: usize = 1024;

/// A request: its id, its method and its parameters.
#[derive(Debug)]
pub struct Request<'a> {
    /// The id, exactly as it was sent: a string or a number.
    pub id: Json,
    /// The method.
    pub method: String,
    /// The parameters.
    pub params: Option<&'a RawValue>,
}

impl<'a> Request<'a> {
    /// Reads a request. The content type is that of the body, for the words of the error.
    ///
    /// # Errors
    /// The error, and the id to answer it with (`null` if there is none).
    pub fn parse(content_type: Option<&str>, body: &'a [u8]) -> Result<Self, (Json, A2aError)> {
        let nobody = |error| (Json::null(), error);
        let request = media::json(content_type, body).map_err(nobody)?;
        let refused = |problem: &str| A2aError::Request(problem.to_owned());
        let Some([id, version, method, params]) =
            json::members(request, ["id", "jsonrpc", "method", "params"])
        else {
            let is_list = kind(request) == Kind::List;
            let what = if is_list { "batches are not supported" } else { "it is not an object" };
            return Err(nobody(refused(what)));
        };
        let id = id.filter(|id| matches!(kind(id), Kind::String | Kind::Number));
        let Some(id) = id.map(Json::from) else {
            return Err(nobody(refused("`id` must be a string or a number")));
        };
        // A stream keeps it for as long as it lasts, and shows it with each event.
        if id.text().len() > MAX_ID {
            return Err(nobody(refused("`id` must be at most 1,024 bytes long")));
        }
        if version.and_then(json::text).as_deref() != Some(VERSION) {
            return Err((id, refused("`jsonrpc` must be \"2.0\"")));
        }
        match method.and_then(json::string) {
            Some(method) => Ok(Self { id, method, params }),
            None => Err((id, refused("`method` must be a string"))),
        }
    }
}

/// A request of ours.
#[must_use]
pub fn request(id: &Json, method: &str, params: &Json) -> Vec<u8> {
    #[derive(Serialize)]
    struct Asked<'a> {
        jsonrpc: &'static str,
        id: &'a Json,
        method: &'a str,
        params: &'a Json,
    }
    bytes(&Asked { jsonrpc: VERSION, id, method, params }, params.text().len())
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    jsonrpc: &'static str,
    result: T,
    id: &'a Json,
}

/// The body of an answer, written once.
#[must_use]
pub fn answer(dialect: Dialect, id: &Json, answer: &Answer) -> Vec<u8> {
    bytes(&Envelope { jsonrpc: VERSION, result: Answered(dialect, answer), id }, answer.bytes())
}

/// One thing in a stream: the data of an SSE event, one line.
#[must_use]
pub fn event(dialect: Dialect, id: &Json, item: &StreamItem) -> String {
    let event = &item.event;
    let line = match dialect {
        Dialect::Bindu => bytes(&BareEvent { id, event }, 2 * event.bytes()),
        Dialect::V1 | Dialect::V03 => {
            bytes(&Envelope { jsonrpc: VERSION, result: Streamed(dialect, event), id }, event.bytes())
        }
    };
    String::from_utf8(line).unwrap_or_default()
}

/// The body of an error.
#[must_use]
pub fn refusal(id: &Json, refusal: &Refusal) -> Vec<u8> {
    #[derive(Serialize)]
    struct Error<'a> {
        code: i32,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a Json>,
    }
    #[derive(Serialize)]
    struct Refused<'a> {
        jsonrpc: &'static str,
        error: Error<'a>,
        id: &'a Json,
    }
    let error = Error { code: refusal.code, message: &refusal.message, data: refusal.data.as_ref() };
    bytes(&Refused { jsonrpc: VERSION, error, id }, 0)
}

/// JSON of about so many bytes: a buffer that grows by doubling would cost three times them.
fn bytes(value: &impl Serialize, about: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(about + 512);
    match serde_json::to_writer(&mut out, value) {
        Ok(()) => out,
        Err(_) => Vec::new(),
    }
}

/// Reads a response: its result, or its error. `None` for what is not a response. Python Bindu's bare events, which have
/// neither, are their own result.
#[must_use]
pub fn response(status: u16, raw: &RawValue) -> Option<Result<&RawValue, Refusal>> {
    let [result, error, bare] = json::members(raw, ["result", "error", "kind"])?;
    // The error of Python Bindu's last event is a text beside the event.
    match (json::some(error).filter(|error| kind(error) == Kind::Object), result, bare) {
        (Some(error), ..) => Refusal::read(status, error).map(Err),
        (None, Some(result), _) => Some(Ok(result)),
        (None, None, bare) => bare.map(|_| Ok(raw)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_request_is_refused_with_its_code() {
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"x"}}"#, "x".repeat(1023));
        let cases: [(&[u8], i32); 10] = [
            (b"", -32700),
            (b"{", -32700),
            (b"\xff", -32700),
            (b"[]", -32600),
            (b"1", -32600),
            (b"{}", -32600),
            (br#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, -32600),
            (br#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, -32600),
            (br#"{"jsonrpc":"2.0","id":1,"method":2}"#, -32600),
            (long.as_bytes(), -32600),
        ];
        for (body, code) in cases {
            let (_, error) = Request::parse(None, body).expect_err("refused");
            for dialect in [Dialect::V1, Dialect::V03, Dialect::Bindu] {
                assert_eq!(dialect.refuse(&error).code, code, "{}", String::from_utf8_lossy(body));
            }
        }
        // Deep nesting ends in an error, not in a stack overflow.
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Request::parse(None, deep.as_bytes()).is_err());
    }

    #[test]
    fn responses_are_results_or_errors() {
        let raw = |text: &str| serde_json::from_str::<Box<RawValue>>(text).expect("JSON");
        let result = raw(r#"{"jsonrpc":"2.0","id":1,"result":null}"#);
        assert_eq!(response(200, &result).expect("one").expect("a result").get(), "null");
        let error = raw(r#"{"error":{"code":-32001,"message":"no"},"id":1}"#);
        let refusal = response(200, &error).expect("one").expect_err("an error");
        assert_eq!((refusal.code, refusal.message.as_str()), (-32001, "no"));
        let bare = raw(r#"{"kind":"status-update","task_id":"t","error":"it failed"}"#);
        assert!(matches!(response(200, &bare), Some(Ok(_))));
        assert!(response(200, &raw("{}")).is_none() && response(200, &raw("[]")).is_none());
    }

    proptest! {
        /// Ids come back as they were sent.
        #[test]
        fn ids_come_back_as_they_were_sent(
            id in "-?(0|[1-9][0-9]{0,60})(\\.[0-9]{1,40})?([eE](\\+?[0-9]{1,2}|-[0-9]{1,4}))?"
        ) {
            let body = format!(r#"{{"jsonrpc":"2.0","method":"x","id": {id} }}"#);
            let request = Request::parse(None, body.as_bytes());
            let (id_read, answered) = request.map(|request| {
                let refusal = Dialect::V1.refuse(&A2aError::TaskNotFound);
                (request.id.text().to_owned(), super::refusal(&request.id, &refusal))
            }).expect("a request");
            let end = format!("\"id\":{id}}}");
            prop_assert!(String::from_utf8_lossy(&answered).ends_with(&end));
            prop_assert_eq!(id_read, id);
        }
    }
}
