//! Probes on an address of their own, from the first moment of a start: `/livez`, `/readyz`, `/metrics` and nothing else.
//! The agent's own port listens only once there is a checked identity; until then this is where a start can be watched.

use crate::{
    AgentServer, Metrics,
    connection::ConnectionLimits,
    connections::{self, Stage},
    route::health,
};
use axum::{
    Router,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use bindu_keeper::Status;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch};

/// Kubelets and scrapers; each needs a connection for a moment.
const LIMITS: ConnectionLimits = ConnectionLimits {
    most: 512,
    header_timeout: Duration::from_secs(2),
    // Longer than the usual pause between two scrapes.
    idle_timeout: Duration::from_secs(75),
    write_timeout: Duration::from_secs(30),
};

/// What probes are answered from.
pub struct Probes {
    server: OnceLock<Arc<AgentServer>>,
    status: Arc<Status>,
    metrics: Arc<Metrics>,
}

impl Probes {
    /// Probes of an agent that starts.
    #[must_use]
    pub fn new(status: Arc<Status>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { server: OnceLock::new(), status, metrics })
    }

    /// From now on the agent serves, and answers for itself.
    pub fn started(&self, server: Arc<AgentServer>) {
        // An error says that it was told before.
        let _ = self.server.set(server);
    }

    /// Answers for as long as it is polled.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let router = Router::new()
            .route("/livez", get(health::livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self);
        // A sender that is gone would be an end.
        let (_serving, stages) = watch::channel(Stage::Serving);
        connections::serve(listener, router, LIMITS, stages).await;
    }
}

async fn readyz(State(probes): State<Arc<Probes>>, query: RawQuery) -> Response {
    match probes.server.get() {
        Some(server) => health::readyz(State(Arc::clone(server)), query).await,
        None => (StatusCode::SERVICE_UNAVAILABLE, "[-] serving: starting\n").into_response(),
    }
}

async fn metrics(State(probes): State<Arc<Probes>>) -> Response {
    match probes.server.get() {
        Some(server) => health::metrics(State(Arc::clone(server))).await,
        None => health::exposition(probes.metrics.render(&probes.status.snapshot(), None, 0)),
    }
}
