//! Settings: flag > environment > `.env` > file > default, merged in one place.
//!
//! [`registry`] knows every setting once. [`Layers`] collects texts with where they came from; [`Settings`] gives them
//! their types and reports all mistakes together.

mod access;
mod layers;
mod page;
pub mod registry;
mod typed;
mod vault;

pub use access::{AuthChoice, CallChoice, is_origin};
pub use layers::{Layers, Origin, Resolved, Value};
pub use page::page;
pub use typed::{HandlerChoice, HydraChoice, LogFormat, Settings, VaultChoice, duration};
