//! `cargo xtask bench streams`: a thousand streams of one task. Nine of ten are read, and get each event in its order; nobody reads
//! the others, which are cut off.

use super::AUTHOR;
use bindu_testkit::{
    AgentSetup,
    streams::{Streams, watch},
};

const STREAMS: Streams = Streams { readers: 900, stalled: 100, pieces: 60, bytes: 4_000 };

pub(super) async fn run() -> bool {
    let binary = crate::release_binary();
    let mut is_good = true;
    for storage in ["memory", "sqlite"] {
        let disk = tempfile::tempdir().expect("a directory");
        let setup = AgentSetup::new(&binary, disk.path()).named(AUTHOR, &format!("Streams {storage}"));
        let seen = watch(setup.set("STORAGE_TYPE", storage), disk.path(), STREAMS).await;
        let events = seen.whole * seen.events;
        println!(
            "storage {storage}: {} of {} readers got all {} events in order, in {:.1?} ({:.0} events/s)",
            seen.whole,
            STREAMS.readers,
            seen.events,
            seen.took,
            events as f64 / seen.took.as_secs_f64()
        );
        println!(
            "    {} of {} stalled streams were cut off; peak memory grew by {:.1} MiB",
            seen.cut_off,
            STREAMS.stalled,
            seen.grown as f64 / f64::from(1 << 20)
        );
        is_good &= seen.whole == STREAMS.readers && seen.cut_off == STREAMS.stalled;
    }
    is_good
}
