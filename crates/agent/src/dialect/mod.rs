//! Python Bindu's errors on the routes beside A2A.

pub(crate) mod media;
pub(crate) mod rpc;
