//! gRPC over HTTP/2: a prefix of five bytes around each message, and the status behind them.

use crate::places::Place;
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bindu_a2a::{A2aError, grpc::Status};
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::convert::Infallible;

/// Whether the message is compressed, and its length.
const PREFIX: usize = 5;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// What is escaped in a status's message.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// The longest message and the longest details that are sent: headers have to fit.
const MAX_MESSAGE: usize = 1024;
const MAX_DETAILS: usize = 4096;

/// The one message of a request.
pub(super) fn unframe(body: &Bytes) -> Result<Bytes, A2aError> {
    let broken = |problem: &str| A2aError::Parse(problem.to_owned());
    let Some(([flag, length @ ..], message)) = body.split_first_chunk::<PREFIX>() else {
        return Err(broken("the message is missing"));
    };
    if *flag != 0 {
        return Err(A2aError::Media("The message is compressed: send it as it is".to_owned()));
    }
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if message.len() != length {
        return Err(broken("there is not exactly one message"));
    }
    Ok(body.slice_ref(message))
}

fn prefix(length: usize) -> [u8; PREFIX] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [0, a, b, c, d]
}

/// A message of a stream, in pieces: what many readers share is not copied.
pub(super) fn pieces(message: Bytes) -> [Bytes; 2] {
    [Bytes::copy_from_slice(&prefix(message.len())), message]
}

/// An answer, with its caller's place: HTTP/2 lets go of it when it has gone out.
pub(super) struct Message {
    bytes: Vec<u8>,
    _place: Place,
}

impl Message {
    pub(super) fn new(bytes: Vec<u8>, place: Place) -> Self {
        Self { bytes, _place: place }
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A response with one message.
pub(super) fn respond(message: Message) -> Response {
    let length = Bytes::copy_from_slice(&prefix(message.bytes.len()));
    let frames = [Frame::data(length), Frame::data(Bytes::from_owner(message)), Frame::trailers(done())];
    response(Body::new(StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)))))
}

/// A response with these frames.
pub(super) fn response(body: Body) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The end of what was answered.
pub(super) fn done() -> HeaderMap {
    HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))])
}

/// A response with nothing but a status.
pub(super) fn refused(status: &Status) -> Response {
    let mut response = response(Body::empty());
    let headers = response.headers_mut();
    headers.insert(STATUS, status.code.into());
    let shown: String = status.message.chars().take(MAX_MESSAGE).collect();
    let shown = utf8_percent_encode(&shown, ESCAPED).to_string();
    headers.extend(HeaderValue::from_str(&shown).ok().map(|shown| (MESSAGE, shown)));
    if status.details.len() <= MAX_DETAILS {
        let details = HeaderValue::from_str(&STANDARD_NO_PAD.encode(&status.details));
        headers.extend(details.ok().map(|details| (DETAILS, details)));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_exactly_one_message_that_is_not_compressed() {
        let framed = |bytes: &'static [u8]| unframe(&Bytes::from_static(bytes));
        assert_eq!(framed(b"\0\0\0\0\x02hi"), Ok(Bytes::from_static(b"hi")));
        assert_eq!(framed(b"\0\0\0\0\0"), Ok(Bytes::new()));
        for bad in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x03hi", b"\0\0\0\0\x01hi", b"\0\0\0\0\0\0\0\0\0\0"] {
            assert!(matches!(framed(bad), Err(A2aError::Parse(_))), "{bad:?}");
        }
        assert!(matches!(framed(b"\x01\0\0\0\x02hi"), Err(A2aError::Media(_))));
    }

    #[test]
    fn a_status_is_escaped() {
        let status = Status { code: 5, message: "100 % é\n".to_owned(), details: vec![1, 2] };
        let response = refused(&status);
        let header = |name| response.headers().get(name).map(HeaderValue::as_bytes);
        assert_eq!(header(STATUS), Some(&b"5"[..]));
        assert_eq!(header(MESSAGE), Some(&b"100 %25 %C3%A9%0A"[..]));
        assert_eq!(header(DETAILS), Some(&b"AQI"[..]));
    }
}
