//! The manifests and the chart as they are, on a real Kubernetes with a real Vault (OpenBao, with TLS, which asks the API
//! server whose a token is) and Hydra.
//!
//! The tests share one cluster. What disturbs others (a sealed Vault, a drained node) waits until nobody else is there.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

mod alerts;
mod callers;
mod chart;
mod database;
mod lives;
mod logins;
mod policies;
mod probes;
mod rollouts;
mod security;
mod several;
mod world;

use world::{Agent, Shared, everybody, nobody_else, replicas};
