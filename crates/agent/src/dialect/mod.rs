//! Dialects: JSON at the edge, the core model inside. Python Bindu's is the first; A2A 1.0 and 0.3 come beside it.

pub(crate) mod bindu;
pub(crate) mod media;
pub(crate) mod rpc;
