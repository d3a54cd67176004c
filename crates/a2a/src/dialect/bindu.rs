//! SKELETON: to be written.
use super::Refusal;
use crate::{
    A2aError, Json,
    call::{Answer, Call, StreamItem},
};
use serde_json::value::RawValue;

pub(super) fn decode(_method: &str, _params: Option<&RawValue>) -> Result<Call, A2aError> {
    Err(A2aError::Internal)
}

pub(super) fn encode(_answer: &Answer) -> Json {
    Json::null()
}

pub(super) fn encode_event(_item: &StreamItem) -> Json {
    Json::null()
}

pub(super) fn refuse(error: &A2aError) -> Refusal {
    Refusal { status: 500, code: -32603, message: error.to_string(), data: None, retry_after: None }
}
