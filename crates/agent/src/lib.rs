//! The A2A server of one agent.
//!
//! A request's way: `server` takes it, [`caller`] finds out who is calling, a dialect of `bindu_a2a` turns its JSON into a
//! call of the core's, `bindu_tasks::TaskService` does it, a [`handler`] answers, and the dialect turns the task back into
//! JSON. The bindings in `route` are thin.

mod audit;
mod body;
pub mod caller;
mod card;
mod connection;
mod connections;
mod grpc;
pub mod handler;
mod metrics;
mod places;
mod port;
mod probe;
mod push;
mod route;
mod server;

pub use bindu_a2a::{Json, card::CardProfile};
pub use card::signed as signed_card;
pub use metrics::Metrics;
pub use port::{PortError, ReservedPort};
pub use probe::Probes;
pub use push::{HttpPushSender, RingSealer};
pub use route::Extension;
pub use server::{AgentServer, HttpLimits, Phase, ServerSettings};

/// What the fuzz targets reach; no part of the interface.
#[cfg(fuzzing)]
pub mod fuzz {
    use crate::caller;

    /// Reads a line of a handler's program.
    pub fn program_line(line: &[u8]) {
        crate::handler::fuzz(line);
    }

    /// Reads the headers that say who is calling, and the URL.
    pub fn headers(name: &str, value: &[u8], uri: &str) {
        caller::fuzz(name, value, uri);
    }
}
