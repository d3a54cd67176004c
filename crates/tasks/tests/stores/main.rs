//! The task stores, on real files and a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod contract;
mod kills;
mod places;
mod postgres;
mod sqlite;
mod workload;
