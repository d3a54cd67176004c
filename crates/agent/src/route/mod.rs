//! The routes, a file for each kind of them.

pub(crate) mod health;
pub(crate) mod identity;
pub(crate) mod rpc;
