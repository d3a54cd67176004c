//! The A2A server of one agent.
//!
//! A request's way: `server` takes it, [`caller`] finds out who is calling, `dialect` turns its JSON into the core
//! model of [`task`], a [`handler`] answers, and the dialect turns the task back into JSON. The core model has the
//! shapes of A2A 1.0; each dialect is a conversion at the edge.

mod audit;
mod body;
pub mod caller;
mod card;
mod clock;
mod connection;
mod connections;
mod dialect;
mod fair;
pub mod handler;
mod metrics;
mod port;
mod probe;
mod route;
mod server;
pub mod task;

pub use bindu_a2a::{Json, card::CardProfile};
pub use card::signed as signed_card;
pub use metrics::Metrics;
pub use port::{PortError, ReservedPort};
pub use probe::Probes;
pub use server::{AgentServer, HttpLimits, Phase, ServerSettings};

/// What the fuzz targets reach; no part of the interface.
#[cfg(fuzzing)]
pub mod fuzz {
    use crate::{caller, dialect};

    /// Reads a JSON-RPC request to the end of its parameters.
    pub fn request(body: &[u8]) {
        let headers = axum::http::HeaderMap::new();
        if let Ok(request) = dialect::rpc::RpcRequest::parse(&headers, body) {
            let _ = dialect::bindu::call(&request.method, request.params);
        }
    }

    /// Reads a line of a handler's program.
    pub fn program_line(line: &[u8]) {
        crate::handler::fuzz(line);
    }

    /// Reads the headers that say who is calling, and the URL.
    pub fn headers(name: &str, value: &[u8], uri: &str) {
        caller::fuzz(name, value, uri);
    }
}
