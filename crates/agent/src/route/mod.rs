//! The routes, a file for each kind of them.

pub(crate) mod card;
pub(crate) mod health;
pub(crate) mod identity;
pub(crate) mod page;
pub(crate) mod rpc;
