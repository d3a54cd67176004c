//! The dialects: A2A 1.0, A2A 0.3 and Python Bindu's, each a pure conversion between JSON and the core's types.
//!
//! Field names, states, error codes and HTTP statuses belong to the dialect. Nothing here knows HTTP, a clock or a task.
//! Each dialect converts both ways, so the same code serves an agent (`decode`, `encode`, `encode_event`, `refuse`) and a
//! caller (`ask`, `read_answer`, `read_event`, `read_refusal`).

mod bindu;
mod v03;
mod v1;

use crate::{
    A2aError, Json,
    call::{Answer, Call, StreamItem},
};
use serde_json::value::RawValue;

/// A dialect of A2A.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// A2A 1.0: `SendMessage`, ProtoJSON.
    V1,
    /// A2A 0.3: `message/send` with the version header.
    V03,
    /// Python Bindu's: `message/send` without it.
    Bindu,
}

/// An error as a dialect shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The JSON-RPC code.
    pub code: i32,
    /// The message for the caller.
    pub message: String,
    /// The `data` of the JSON-RPC error.
    pub data: Option<Json>,
    /// How long to wait, in seconds, if waiting helps.
    pub retry_after: Option<u64>,
}

impl Dialect {
    /// The dialect of a call, by its method's name and its version (the header's or the query parameter's value).
    ///
    /// # Errors
    /// [`A2aError::VersionNotSupported`]; it is to be refused in [`Dialect::of_method`].
    pub fn of(method: &str, version: Option<&str>) -> Result<Self, A2aError> {
        crate::version::dialect(method, version)
    }

    /// The dialect that a method's name alone suggests.
    #[must_use]
    pub fn of_method(method: &str) -> Self {
        if method.contains('/') { Self::Bindu } else { Self::V1 }
    }

    /// Reads a call.
    ///
    /// # Errors
    /// [`A2aError::Method`] and [`A2aError::Params`].
    pub fn decode(self, method: &str, params: Option<&RawValue>) -> Result<Call, A2aError> {
        match self {
            Self::V1 => v1::decode(method, params),
            Self::V03 => v03::decode(method, params),
            Self::Bindu => bindu::decode(method, params),
        }
    }

    /// An answer as JSON: the `result` of the JSON-RPC response.
    #[must_use]
    pub fn encode(self, answer: &Answer) -> Json {
        match self {
            Self::V1 => v1::encode(answer),
            Self::V03 => v03::encode(answer),
            Self::Bindu => bindu::encode(answer),
        }
    }

    /// A thing in a stream as JSON: the `result` of the JSON-RPC response.
    #[must_use]
    pub fn encode_event(self, item: &StreamItem) -> Json {
        match self {
            Self::V1 => v1::encode_event(item),
            Self::V03 => v03::encode_event(item),
            Self::Bindu => bindu::encode_event(item),
        }
    }

    /// An error as this dialect shows it.
    #[must_use]
    pub fn refuse(self, error: &A2aError) -> Refusal {
        match self {
            Self::V1 => v1::refuse(error),
            Self::V03 => v03::refuse(error),
            Self::Bindu => bindu::refuse(error),
        }
    }
}
