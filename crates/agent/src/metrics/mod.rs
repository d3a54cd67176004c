//! Metrics, in the Prometheus format. Names are those of INTERFACE.md and Python Bindu; label values are from closed
//! sets.

mod storage;

use bindu_http_client::RequestObserver;
use bindu_keeper::{Identity, Reason, StatusSnapshot};
use bindu_tasks::TaskStore;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::{
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::{Duration, SystemTime},
};
use storage::StorageFigures;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpLabels {
    method: &'static str,
    endpoint: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    op: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabels {
    server: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AgentLabels {
    agent_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabels {
    part: &'static str,
}

/// For what is there or not, and has no labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoLabels {}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IdentityLabels {
    did: String,
    key_fingerprint: String,
    source: &'static str,
}

/// All metrics of an agent.
pub struct Metrics {
    registry: Registry,
    http_requests: Family<HttpLabels, Counter>,
    http_duration: Histogram,
    http_in_flight: Gauge,
    http_response_bytes: Counter,
    tasks_active: Family<AgentLabels, Gauge>,
    store_requests: Family<RequestLabels, Counter>,
    hydra_requests: Family<RequestLabels, Counter>,
    store_seen: Gauge<f64, AtomicU64>,
    hydra_seen: Gauge<f64, AtomicU64>,
    clock_skew: Family<ServerLabels, Gauge>,
    auth_decisions: Family<DecisionLabels, Counter>,
    subscribers: Gauge,
    push_deliveries: Family<OutcomeLabels, Counter>,
    push_backlog: Gauge,
    degraded: Family<ReasonLabels, Gauge>,
    passes: Family<OutcomeLabels, Counter>,
    identity: Family<IdentityLabels, Gauge>,
    start_duration: Gauge<f64, AtomicU64>,
    token_expiry: Family<NoLabels, Gauge<f64, AtomicU64>>,
    token_lasts: OnceLock<Box<TokenLasts>>,
    pass_seen: Gauge<f64, AtomicU64>,
    restarts: Family<PartLabels, Counter>,
    log_dropped: Counter,
    log_drops: OnceLock<fn() -> u64>,
    storage: StorageFigures,
}

/// How much longer the token of the store lasts.
type TokenLasts = dyn Fn() -> Option<Duration> + Send + Sync;

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut metrics = Self {
            registry: Registry::default(),
            http_requests: Family::default(),
            http_duration: Histogram::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0]),
            http_in_flight: Gauge::default(),
            http_response_bytes: Counter::default(),
            tasks_active: Family::default(),
            store_requests: Family::default(),
            hydra_requests: Family::default(),
            store_seen: Gauge::default(),
            hydra_seen: Gauge::default(),
            clock_skew: Family::default(),
            auth_decisions: Family::default(),
            subscribers: Gauge::default(),
            push_deliveries: Family::default(),
            push_backlog: Gauge::default(),
            degraded: Family::default(),
            passes: Family::default(),
            identity: Family::default(),
            start_duration: Gauge::default(),
            token_expiry: Family::default(),
            token_lasts: OnceLock::new(),
            pass_seen: Gauge::default(),
            restarts: Family::default(),
            log_dropped: Counter::default(),
            log_drops: OnceLock::new(),
            storage: StorageFigures::default(),
        };
        let mut registry = Registry::default();
        registry.register("http_requests", "HTTP requests", metrics.http_requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "How long an HTTP request took",
            metrics.http_duration.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "HTTP requests being answered",
            metrics.http_in_flight.clone(),
        );
        registry.register(
            "http_response_size_bytes",
            "Bytes of HTTP response bodies",
            metrics.http_response_bytes.clone(),
        );
        registry.register("agent_tasks_active", "Tasks that are not ended", metrics.tasks_active.clone());
        registry.register("bindu_store_requests", "Requests to the store", metrics.store_requests.clone());
        registry.register("bindu_hydra_requests", "Requests to Hydra", metrics.hydra_requests.clone());
        registry.register(
            "bindu_store_last_success_timestamp_seconds",
            "When the store last gave a believable answer",
            metrics.store_seen.clone(),
        );
        registry.register(
            "bindu_auth_decisions",
            "Callers let in or refused",
            metrics.auth_decisions.clone(),
        );
        registry.register(
            "bindu_push_deliveries",
            "Events sent to receivers, by outcome",
            metrics.push_deliveries.clone(),
        );
        registry.register(
            "bindu_push_backlog",
            "Push configurations that wait here for their turn or their receiver",
            metrics.push_backlog.clone(),
        );
        registry.register(
            "bindu_subscribers",
            "Streams of tasks that are being read",
            metrics.subscribers.clone(),
        );
        registry.register(
            "bindu_hydra_last_success_timestamp_seconds",
            "When Hydra last gave a believable answer",
            metrics.hydra_seen.clone(),
        );
        registry.register(
            "bindu_clock_skew_seconds",
            "By how much our clock is ahead of a server's, by its Date",
            metrics.clock_skew.clone(),
        );
        registry.register("bindu_degraded", "1 for each reason that applies", metrics.degraded.clone());
        registry.register("bindu_reconcile", "Passes of the reconciler", metrics.passes.clone());
        registry.register("bindu_identity_info", "The identity in use", metrics.identity.clone());
        registry.register(
            "bindu_start_duration_seconds",
            "From reserving the port to listening",
            metrics.start_duration.clone(),
        );
        registry.register(
            "bindu_vault_token_expiry_timestamp_seconds",
            "When the token of Vault ends, unless it is renewed",
            metrics.token_expiry.clone(),
        );
        registry.register(
            "bindu_reconcile_last_timestamp_seconds",
            "When the last pass of the reconciler ended",
            metrics.pass_seen.clone(),
        );
        registry.register(
            "bindu_background_restarts",
            "Work in the background that had ended or panicked and was begun again",
            metrics.restarts.clone(),
        );
        registry.register(
            "bindu_log_lines_dropped",
            "Log lines that could not be written",
            metrics.log_dropped.clone(),
        );
        registry.register_collector(Box::new(metrics.storage.clone()));
        metrics.registry = registry;
        Arc::new(metrics)
    }

    /// Counts requests to the store.
    #[must_use]
    pub fn store_observer(&self) -> Arc<dyn RequestObserver> {
        Arc::new(Requests(self.store_requests.clone()))
    }

    /// Counts requests to Hydra.
    #[must_use]
    pub fn hydra_observer(&self) -> Arc<dyn RequestObserver> {
        Arc::new(Requests(self.hydra_requests.clone()))
    }

    /// Says where to ask how much longer the store's token lasts; the first to say so counts.
    pub fn watch_token(&self, lasts: impl Fn() -> Option<Duration> + Send + Sync + 'static) {
        let _ = self.token_lasts.set(Box::new(lasts));
    }

    /// Says which store of tasks to ask for its figures; the first to be named counts.
    pub fn watch_storage(&self, store: &Arc<dyn TaskStore>) {
        self.storage.watch(store);
    }

    /// Says where to ask how many log lines were dropped; the first to say so counts.
    pub fn watch_log(&self, drops: fn() -> u64) {
        let _ = self.log_drops.set(drops);
    }

    /// Shows a part of the background work, as never begun again.
    pub fn background_work(&self, part: &'static str) {
        let _ = self.restarts.get_or_create(&PartLabels { part });
    }

    /// Counts that a part of the background work was begun again.
    pub fn background_restart(&self, part: &'static str) {
        self.restarts.get_or_create(&PartLabels { part }).inc();
    }

    /// Notes how long the start took.
    pub fn started(&self, took: Duration) {
        self.start_duration.set(took.as_secs_f64());
    }

    pub(crate) fn request_begins(&self) {
        self.http_in_flight.inc();
    }

    pub(crate) fn request_ends(
        &self,
        (method, endpoint, status): (&'static str, &'static str, u16),
        took: Duration,
        bytes: u64,
    ) {
        self.http_in_flight.dec();
        self.http_requests.get_or_create(&HttpLabels { method, endpoint, status }).inc();
        self.http_duration.observe(took.as_secs_f64());
        self.http_response_bytes.inc_by(bytes);
    }

    pub(crate) fn auth_decision(&self, outcome: &'static str, reason: &'static str) {
        self.auth_decisions.get_or_create(&DecisionLabels { outcome, reason }).inc();
    }

    pub(crate) fn push(&self, outcome: &'static str) {
        self.push_deliveries.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    pub(crate) fn push_backlog(&self, claimed: usize) {
        self.push_backlog.set(i64::try_from(claimed).unwrap_or(i64::MAX));
    }

    pub(crate) fn subscribers(&self, subscribers: usize) {
        self.subscribers.set(i64::try_from(subscribers).unwrap_or(i64::MAX));
    }

    /// Everything as text, with the state as of now.
    pub(crate) fn render(
        &self,
        state: &StatusSnapshot,
        identity: Option<&Identity>,
        active: usize,
    ) -> String {
        let reasons = state.reasons();
        for reason in Reason::ALL {
            let applies = i64::from(reasons.contains(&reason));
            self.degraded.get_or_create(&ReasonLabels { reason: reason.label() }).set(applies);
        }
        for (outcome, count) in [("ok", state.passes.0), ("incomplete", state.passes.1)] {
            let passes = self.passes.get_or_create(&OutcomeLabels { outcome });
            passes.inc_by(count.saturating_sub(passes.get()));
        }
        if let Some(drops) = self.log_drops.get() {
            self.log_dropped.inc_by(drops().saturating_sub(self.log_dropped.get()));
        }
        for (seen, gauge) in [
            (state.store_seen, &self.store_seen),
            (state.hydra_seen, &self.hydra_seen),
            (state.pass_seen, &self.pass_seen),
        ] {
            if let Some((_, at)) = seen {
                let since = at.duration_since(SystemTime::UNIX_EPOCH);
                gauge.set(since.map_or(0.0, |since| since.as_secs_f64()));
            }
        }
        for (server, skew) in [("store", state.store_skew), ("hydra", state.hydra_skew)] {
            if let Some(seconds) = skew {
                self.clock_skew.get_or_create(&ServerLabels { server }).set(seconds);
            }
        }
        self.token_expiry.clear();
        if let Some(left) = self.token_lasts.get().and_then(|lasts| lasts()) {
            let end = (SystemTime::now() + left).duration_since(SystemTime::UNIX_EPOCH);
            let end = end.map_or(0.0, |since| since.as_secs_f64());
            self.token_expiry.get_or_create(&NoLabels {}).set(end);
        }
        if let Some(identity) = identity {
            self.identity.clear();
            let labels = IdentityLabels {
                did: identity.did.to_string(),
                key_fingerprint: identity.public_key.fingerprint().to_string(),
                source: identity.source.label(),
            };
            self.identity.get_or_create(&labels).set(1);
            let agent = AgentLabels { agent_id: identity.did.to_string() };
            self.tasks_active.get_or_create(&agent).set(i64::try_from(active).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

struct Requests(Family<RequestLabels, Counter>);

impl RequestObserver for Requests {
    fn observe(&self, op: &'static str, outcome: &'static str) {
        self.0.get_or_create(&RequestLabels { op, outcome }).inc();
    }
}
