//! The `bindu` program on real servers: OpenBao, Ory Hydra, Python Bindu. One program of tests, so that they share the
//! servers; each test has an agent name of its own.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod authentication;
mod bad_input;
mod bindings;
mod calls;
mod cards;
mod connections;
mod drain;
mod environment;
mod exact;
mod handlers;
mod hygiene;
mod imports;
mod interop;
mod kept;
mod log;
mod page;
mod permits;
mod probes;
mod protocol;
mod push;
mod restart;
mod resumed;
mod rotation_seen;
mod signatures;
mod start;
mod storage;
mod systemd;
mod tokens;
mod vault;
mod vault_setup;

#[path = "../shared/mod.rs"]
mod shared;

use shared::*;
