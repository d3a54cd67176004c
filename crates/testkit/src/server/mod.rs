//! Real servers, each on free ports of its own in a temporary directory.

mod a2a;
mod agent;
mod hydra;
mod nginx;
mod openbao;
mod openbao_raft;
mod pgbouncer;
mod postgres;
mod process;
mod python_bindu;

pub use a2a::{OfficialAgent, OfficialClient, OfficialServer, official_client};
pub use agent::{AgentProcess, AgentSetup};
pub use hydra::Hydra;
pub use nginx::Nginx;
pub use openbao::OpenBao;
pub use openbao_raft::RaftOpenBao;
pub use pgbouncer::PgBouncer;
pub use postgres::{Postgres, PostgresSetup};
pub use process::{memory_kib, resident_kib};
pub use python_bindu::{PythonBindu, run_script};
