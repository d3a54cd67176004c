//! The A2A protocol without HTTP.
//!
//! One core model in the shapes of A2A 1.0 ([`model`]), the events that a task is made of ([`event`]), what can be asked of
//! an agent and what it answers ([`call`]), and why it may refuse ([`A2aError`]). The dialects (A2A 1.0, A2A 0.3, Python
//! Bindu's) are pure conversions between JSON and these types: they know no HTTP, no clock and no task store.

pub mod call;
pub mod card;
pub mod dialect;
mod error;
pub mod event;
pub mod grpc;
pub mod json;
pub mod media;
pub mod model;
mod parts;
pub mod rest;
pub mod rpc;
pub mod version;

pub use dialect::Dialect;
pub use error::A2aError;
pub use json::Json;
pub use parts::{Content, Part, Parts, PartsBuilder, is_base64};
