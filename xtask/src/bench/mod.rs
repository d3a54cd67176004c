//! `cargo xtask bench`: measured beside Python Bindu, in one run; a ratio, never an assertion.

mod against;
mod lists;
mod load;
mod memory;
mod message;
mod signed;
mod start;
mod storage;
mod streams;

use clap::Subcommand;

const AUTHOR: &str = "bench@example.com";

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Spawn to ready, and memory after it, with and without Vault and Hydra
    Start(start::Arguments),
    /// A message to its completed task, beside Python Bindu and the official Python and Rust servers
    Message,
    /// How long a caller waits while another lists its 5,000 tasks
    Lists,
    /// A thousand streams of one task, a tenth of them unread
    Streams,
    /// The memory that callers cost: bodies of every shape, refused ones, reads, and answers that nobody reads
    Memory,
    /// The stores of tasks: messages beside Python Bindu, commits beside pgbench, a million tasks
    Storage(storage::Arguments),
    /// Signed calls with live tokens, beside the bare rate of signature checks; memory after many callers
    Signed(signed::Arguments),
}

pub(crate) async fn run(bench: Bench) -> bool {
    match bench {
        Bench::Start(arguments) => start::run(arguments).await,
        Bench::Message => message::run().await,
        Bench::Lists => lists::run().await,
        Bench::Streams => streams::run().await,
        Bench::Memory => memory::run().await,
        Bench::Storage(arguments) => storage::run(arguments).await,
        Bench::Signed(arguments) => signed::run(arguments).await,
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
