//! For tests, the demo and the benchmarks: real servers, installed and started by the project's own code on free ports
//! in temporary directories and stopped whatever happens; a scripted proxy for faults; fakes for faults and time; the conformance suite that each
//! [`SecretStore`](bindu_store::SecretStore) must pass.
//!
//! What goes wrong in here is a panic with its reason: a test has no better use for it.
#![allow(
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "progress is for whoever waits; what is not there is a panic"
)]

pub mod caller;
pub mod certificates;
pub mod cluster;
pub mod conformance;
pub mod engines;
pub mod fake;
pub mod faults;
pub mod http;
pub mod install;
pub mod kills;
pub mod kubernetes;
pub mod memory;
pub mod oci;
mod ports;
pub mod proxy;
pub mod server;
pub mod streams;
pub mod wire;

pub use cluster::Cluster;
pub use server::{
    AgentProcess, AgentSetup, Hydra, Nginx, OfficialAgent, OfficialClient, OfficialServer, OpenBao,
    PgBouncer, Postgres, PostgresSetup, PythonBindu, RaftOpenBao, official_client,
};
pub use wire::Wire;
