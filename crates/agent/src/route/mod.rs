//! The routes, a file for each kind of them.

mod encoded;
pub(crate) mod health;
mod hear;
pub(crate) mod identity;
mod refuse;
pub(crate) mod rest;
pub(crate) mod rpc;
mod stream;

pub(crate) use encoded::EncodedEvents;
pub use hear::Extension;
