//! SKELETON: the JSON-RPC 2.0 envelope.

use crate::{
    A2aError, Json,
    call::{Answer, StreamItem},
    dialect::{Dialect, Refusal},
};
use serde_json::value::RawValue;

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
    pub fn parse(_content_type: Option<&str>, _body: &'a [u8]) -> Result<Self, (Json, A2aError)> {
        Err((Json::null(), A2aError::Internal))
    }
}

/// The body of an answer, written once.
#[must_use]
pub fn answer(_dialect: Dialect, _id: &Json, _answer: &Answer) -> Vec<u8> {
    Vec::new()
}

/// One thing in a stream: the data of an SSE event, one line.
#[must_use]
pub fn event(_dialect: Dialect, _id: &Json, _item: &StreamItem) -> String {
    String::new()
}

/// The body of an error.
#[must_use]
pub fn refusal(_id: &Json, _refusal: &Refusal) -> Vec<u8> {
    Vec::new()
}
