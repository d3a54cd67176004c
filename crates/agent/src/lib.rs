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
mod encoded;
mod grpc;
pub mod handler;
mod long;
mod metrics;
mod places;
mod port;
mod probe;
mod push;
mod route;
mod serve;
mod server;

pub use bindu_a2a::{Json, card::CardProfile};
pub use card::signed as signed_card;
pub use metrics::Metrics;
pub use port::{PortError, ReservedPort};
pub use probe::Probes;
pub use push::{HttpPushSender, RingSealer};
pub use server::{AgentServer, Extension, HttpLimits, Phase, ServerSettings};

/// What the fuzz targets reach; no part of the interface.
#[cfg(fuzzing)]
pub mod fuzz {
    /// Reads a line of a handler's program.
    pub fn program_line(line: &[u8]) {
        crate::handler::fuzz(line);
    }

    /// Reads the headers that say who is calling, and the URL.
    pub fn headers(name: &str, value: &[u8], uri: &str) {
        use axum::http::{HeaderMap, HeaderName, HeaderValue};
        let mut headers = HeaderMap::new();
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
        crate::caller::fuzz(&headers, &uri.parse().unwrap_or_default());
        let _ = crate::audit::RequestId::of(&headers);
    }
}
