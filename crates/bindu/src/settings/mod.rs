//! Settings: flag > environment > `.env` > file > default, merged in one place.
//!
//! [`registry`] declares every setting once, as a typed constant. [`Layers`] collects texts with where they came from;
//! [`Settings`] gives them their types and reports all mistakes together. What can't be read is a mistake, never a
//! default.

mod access;
mod file;
mod form;
mod json;
mod layers;
mod names;
mod page;
mod reader;
pub mod registry;
mod setting;
mod skills;
mod storage;
mod typed;
mod vault;

pub use access::{AuthChoice, CallChoice, PushChoice};
pub use form::{duration, is_origin};
pub use layers::{Layers, Origin, Resolved, Value};
pub use page::page;
pub use setting::{Content, Entry, Setting};
pub use skills::SkillSource;
pub use storage::{StorageChoice, StoragePlace, StorageType};
pub use typed::{HandlerChoice, HydraChoice, LogFormat, Settings};
pub use vault::{LoginMethod, VaultChoice, VaultDoubt};

#[cfg(test)]
mod hostile;
