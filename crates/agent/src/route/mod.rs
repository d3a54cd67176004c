//! The routes, a file for each kind of them.

pub(crate) mod card;
pub(crate) mod health;
mod hear;
pub(crate) mod identity;
pub(crate) mod page;
mod refuse;
pub(crate) mod rest;
pub(crate) mod rpc;
mod stream;

pub(crate) use hear::{Done, Heard, activated, hear, named_version, perform, weight};
pub(crate) use refuse::{Failure, grpc_status, internal};
pub(crate) use stream::next_until_closing;
