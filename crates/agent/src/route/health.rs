//! `/health`, `/livez`, `/readyz`, `/metrics`: public, so nothing here but reasons from closed sets.

use crate::server::{AgentServer, Phase};
use axum::{
    Json,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bindu_keeper::Reason;
use serde_json::json;
use std::{fmt::Write as _, sync::Arc};

/// Python Bindu's shape; 200 whether healthy or degraded, since a degraded agent serves.
pub(crate) async fn health(State(server): State<Arc<AgentServer>>) -> Response {
    let state = server.status.snapshot();
    let reasons: Vec<&str> = state.reasons().into_iter().map(Reason::label).collect();
    let ready = server.phase() == Phase::Serving;
    let since = |seen: Option<(std::time::Instant, _)>| seen.map(|(at, _)| at.elapsed().as_secs());
    Json(json!({
        "version": server.cards.profile.version,
        "health": if reasons.is_empty() { "healthy" } else { "degraded" },
        "reasons": reasons,
        "seconds_since": {
            "store": since(state.store_seen),
            "hydra": since(state.hydra_seen),
            "reconciler": since(state.pass_seen),
        },
        "runtime": {
            "storage_backend": server.storage.backend(),
            "scheduler_backend": "InMemoryScheduler",
            "task_manager_running": true,
            "strict_ready": ready,
        },
        "application": {"penguin_id": server.identity().id.to_string(), "agent_did": server.identity().did.as_str()},
        "system": {"runtime": "rust", "platform": std::env::consts::OS},
        "status": "ok",
        "ready": ready,
        "uptime_seconds": server.started.elapsed().as_secs_f64(),
    }))
    .into_response()
}

/// Alive: nothing else. A server that is away must not restart a fleet.
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether requests should come here; with `?verbose`, each check and its reason.
pub(crate) async fn readyz(State(server): State<Arc<AgentServer>>, RawQuery(query): RawQuery) -> Response {
    let state = server.status.snapshot();
    let serving = server.phase() == Phase::Serving;
    let is_ready = serving && !state.is_unproven && !state.storage_is_awaited;
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose = query
        .is_some_and(|query| query.split('&').any(|part| part == "verbose" || part.starts_with("verbose=")));
    if !verbose {
        let text = if status == StatusCode::OK { "ok\n" } else { "not ready\n" };
        return (status, text).into_response();
    }
    let mut text = String::new();
    let phase = server.phase().label();
    let _ = writeln!(text, "[{}] serving: {phase}", if serving { '+' } else { '-' });
    for (check, reason) in [
        ("keys", state.keys),
        ("client", state.client),
        ("directory", state.directory),
        ("storage", state.storage.or(state.storage_is_awaited.then_some(Reason::StorageUnavailable))),
        ("clock", state.clock()),
        ("background", state.background()),
        ("reconciler", state.reconciler()),
    ] {
        match reason {
            None => _ = writeln!(text, "[+] {check}: ok"),
            Some(reason)
                if (check == "keys" && state.is_unproven)
                    || (check == "storage" && state.storage_is_awaited) =>
            {
                _ = writeln!(text, "[-] {check}: {}", reason.label())
            }
            // Degraded, and ready all the same.
            Some(reason) => _ = writeln!(text, "[~] {check}: {}", reason.label()),
        }
    }
    for (name, seen) in [("store", state.store_seen), ("hydra", state.hydra_seen)] {
        if let Some((at, _)) = seen {
            let _ = writeln!(text, "    {name}: last answer {} s ago", at.elapsed().as_secs());
        }
    }
    if let Some((at, _)) = state.pass_seen {
        let _ = writeln!(text, "    reconciler: last pass {} s ago", at.elapsed().as_secs());
    }
    for (name, skew) in [("store", state.store_skew), ("hydra", state.hydra_skew)] {
        if let Some(seconds) = skew {
            let _ = writeln!(text, "    {name}: our clock is {seconds} s ahead of it");
        }
    }
    let _ = writeln!(text, "{}", if status == StatusCode::OK { "ready" } else { "not ready" });
    (status, text).into_response()
}

/// Prometheus.
pub(crate) async fn metrics(State(server): State<Arc<AgentServer>>) -> Response {
    server.metrics.subscribers(server.tasks.subscribers());
    let text =
        server.metrics.render(&server.status.snapshot(), Some(&server.identity()), server.tasks.active());
    exposition(text)
}

/// Metrics in the OpenMetrics text format.
pub(crate) fn exposition(text: String) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")], text).into_response()
}
