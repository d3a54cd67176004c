//! The dialects: A2A 1.0, A2A 0.3 and Python Bindu's, each a pure conversion between JSON and the core's types.
//!
//! Field names, states, error codes and HTTP statuses belong to the dialect. Nothing here knows HTTP, a clock or a task.
//! Each dialect converts both ways, so the same code serves an agent ([`Dialect::decode`], [`Dialect::encode`],
//! [`Dialect::encode_event`], [`Dialect::refuse`]) and a caller ([`Dialect::ask`], [`Dialect::read_answer`],
//! [`Dialect::read_event`], [`Refusal::read`]).

mod answer;
mod names;
mod part;
pub(crate) mod read;
mod refusal;
mod slash;
mod v1;
mod write;

pub use read::Malformed;
pub use refusal::Refusal;

pub(crate) use answer::{Answered, BareEvent};
pub(crate) use refusal::rest as refuse_rest;
pub(crate) use write::Streamed;

use crate::{
    A2aError, Json,
    call::{Answer, Call, StreamEvent, StreamItem},
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

impl Dialect {
    /// The dialect of a call, by its method's name and its version (the header's or the query parameter's value).
    ///
    /// # Errors
    /// [`A2aError::VersionNotSupported`]; it is to be refused in [`Dialect::refusing`].
    pub fn of(method: &str, version: Option<&str>) -> Result<Self, A2aError> {
        crate::version::dialect(method, version)
    }

    /// The dialect that a method's name alone suggests: A2A 1.0's are letters in `PascalCase`.
    #[must_use]
    pub fn of_method(method: &str) -> Self {
        let is_pascal_case = method.starts_with(|first: char| first.is_ascii_uppercase())
            && method.bytes().all(|byte| byte.is_ascii_alphabetic())
            && method.bytes().any(|byte| byte.is_ascii_lowercase());
        if is_pascal_case { Self::V1 } else { Self::Bindu }
    }

    /// The dialect in which a call is refused whose version is not supported.
    #[must_use]
    pub fn refusing(method: &str) -> Self {
        match Self::of_method(method) {
            Self::V1 => Self::V1,
            // It has a version, and Python Bindu's callers send none.
            Self::V03 | Self::Bindu => Self::V03,
        }
    }

    /// The dialect in which a request is refused whose method could not be read, by its version.
    #[must_use]
    pub fn of_version(version: Option<&str>) -> Self {
        match crate::version::Version::parse(version.unwrap_or_default()) {
            Ok(None) => Self::Bindu,
            Ok(Some(crate::version::Version::V03)) => Self::V03,
            Ok(Some(crate::version::Version::V1)) | Err(_) => Self::V1,
        }
    }

    /// Reads a call.
    ///
    /// # Errors
    /// [`A2aError::Method`] and [`A2aError::Params`].
    pub fn decode(self, method: &str, params: Option<&RawValue>) -> Result<Call, A2aError> {
        match self {
            Self::V1 => v1::decode(method, params),
            Self::V03 | Self::Bindu => slash::decode(self, method, params),
        }
    }

    /// An answer as JSON: the `result` of the JSON-RPC response. [`crate::rpc::answer`] writes the whole response at once.
    #[must_use]
    pub fn encode(self, answer: &Answer) -> Json {
        Json::of(&Answered(self, answer))
    }

    /// A thing in a stream as JSON: the `result` of the JSON-RPC response.
    #[must_use]
    pub fn encode_event(self, item: &StreamItem) -> Json {
        Json::of(&Streamed(self, &item.event))
    }

    /// An error as this dialect shows it.
    #[must_use]
    pub fn refuse(self, error: &A2aError) -> Refusal {
        match self {
            Self::V1 => refusal::v1(error),
            Self::V03 => refusal::v03(error),
            Self::Bindu => refusal::bindu(error),
        }
    }

    /// The method and the parameters of a call; `None` for a call that the dialect does not have.
    #[must_use]
    pub fn ask(self, call: &Call) -> Option<(&'static str, Json)> {
        Some(match self {
            Self::V1 => (v1::method(call)?, Json::of(&v1::Params(call))),
            Self::V03 | Self::Bindu => (slash::method(self, call)?, Json::of(&slash::Params(self, call))),
        })
    }

    /// Reads the answer to a call: the `result` of the JSON-RPC response.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_answer(self, call: &Call, result: &RawValue) -> Result<Answer, Malformed> {
        answer::read(self, call, result)
    }

    /// Reads one thing in a stream: the `result` of the JSON-RPC response. A2A 1.0 does not say whether a status is the
    /// last one of its stream: there, `is_final` is whether its state is terminal.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_event(self, result: &RawValue) -> Result<StreamEvent, Malformed> {
        answer::event(self, result)
    }
}

fn unknown_method(method: &str) -> A2aError {
    let shown: String = method.chars().take(64).collect();
    A2aError::Method(format!("Method '{shown}' is not implemented"))
}
