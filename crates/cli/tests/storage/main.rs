//! Tasks survive: the whole program on real databases that are killed, full, failed over, cut off and locked, with the history
//! checker of `bindu_tasks::history` as the judge. Each case has its promise in its description (`docs/faults.md`).
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "a soak prints how often it hit what")]

#[path = "../shared/mod.rs"]
mod shared;

mod disks;
mod failover;
mod fleet;
mod kills;
mod seen;
mod soak;

use shared::*;

/// A number of the environment's.
fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
