//! The task stores, on real files and a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod answers;
mod contract;
mod failover;
mod kills;
mod places;
mod pooler;
mod postgres;
mod reach;
mod sealed;
mod shares;
mod sqlite;
mod workload;
