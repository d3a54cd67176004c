//! Every outage, race and crash ends with one key and one client: shown on real servers, each case with its promise in
//! its description, from which `docs/faults.md` is made (`cargo xtask faults`).
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "a soak prints how often it hit what")]

#[path = "../shared/mod.rs"]
mod shared;

mod backups;
mod canary;
mod client;
mod clock;
mod compromised;
mod disk;
mod kills;
mod load;
mod matrix;
mod mounts;
mod outages;
mod outside;
mod pods;
mod python;
mod races;
mod ring;
mod rotation;
mod tokens;

use shared::*;

/// How many times as much `cargo xtask soak` asks for.
fn repeat() -> usize {
    std::env::var("BINDU_SOAK_REPEAT").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// The page that lists all this.
///
/// Promise: it says what the tests say; `cargo xtask faults` writes it.
#[test]
fn the_page_is_up_to_date() {
    let found = std::fs::read_to_string(bindu_testkit::faults::path()).unwrap_or_default();
    assert!(
        found == bindu_testkit::faults::page(),
        "docs/faults.md differs from the tests: run cargo xtask faults"
    );
}
