//! `cargo xtask bench start`: spawn to the first 200 of `/health`, and memory after it, ours and Python Bindu's in turn,
//! on the same servers, in one run; and what the default store of tasks adds to both.

use super::{AUTHOR, median};
use bindu_testkit::{AgentSetup, Hydra, OpenBao, PythonBindu, http, proxy::Proxy, server::resident_kib};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Rounds of each; the first of each warms the caches up and is left out.
const ROUNDS: usize = 6;

/// Rounds of the comparison of stores, whose difference is a few milliseconds; the first of each is left out.
const STORE_ROUNDS: usize = 22;

/// Times in milliseconds and memory in KiB, one of each a round.
#[derive(Default)]
pub(super) struct Sample {
    pub(super) milliseconds: Vec<f64>,
    pub(super) kib: Vec<f64>,
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only what SQLite, the default store of tasks, adds to a start with tasks in memory
    #[arg(long)]
    stores: bool,
    /// Only beside this program, an earlier release: `bindu` of 0.2.0, for example
    #[arg(long, value_name = "PROGRAM", conflicts_with = "stores")]
    against: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments) -> bool {
    let binary = crate::release_binary();
    if let Some(other) = &arguments.against {
        return super::against::run(&binary, other).await;
    }
    stores(&binary).await;
    if arguments.stores {
        return true;
    }
    let (bao, hydra) = (OpenBao::start().await, Hydra::start().await);
    println!(
        "spawn to the first 200 of /health, and resident memory after it; median (min-max) of {} rounds\n",
        ROUNDS - 1
    );
    println!("{:34}{:>24}{:>26}{:>9}", "", "ours", "Python Bindu", "ratio");
    for (what, name, with_servers, kept) in [
        ("alone, kept disk", "Alone", false, true),
        ("Vault and Hydra, kept disk", "Kept", true, true),
        ("Vault and Hydra, empty disk", "Restored", true, false),
    ] {
        let environment: Vec<(String, String)> = if with_servers {
            let vault = [("VAULT__ENABLED", "true"), ("VAULT__URL", &bao.url), ("VAULT__TOKEN", &bao.token)];
            vault
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into_iter()
                .chain(hydra.environment())
                .collect()
        } else {
            Vec::new()
        };
        let (ours_disk, theirs_disk) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let (mut ours, mut theirs) = (Sample::default(), Sample::default());
        for round in 0..ROUNDS {
            for disk in [&ours_disk, &theirs_disk].into_iter().filter(|_| !kept) {
                let _ = std::fs::remove_dir_all(disk.path().join(".bindu"));
            }
            let setup = AgentSetup::new(&binary, ours_disk.path()).named(AUTHOR, &format!("{name} Ours"));
            let setup = setup.set_all(environment.clone()).set("RUST_LOG", "warn");
            let agent = setup.start().await;
            let sample = (agent.start, memory(agent.pid()).await);
            agent.kill();
            if round > 0 {
                ours.add(sample);
            }
            let agent =
                PythonBindu::start(theirs_disk.path(), AUTHOR, &format!("{name} Theirs"), &environment).await;
            if let Some(agent) = agent {
                let sample = (agent.start, memory(agent.pid()).await);
                if round > 0 {
                    theirs.add(sample);
                }
            }
        }
        row(what, "ms", &ours.milliseconds, &theirs.milliseconds);
        row("", "MiB", &mebi(&ours.kib), &mebi(&theirs.kib));
    }
    latency(&binary, &bao, &hydra).await;
    true
}

/// What the default store adds to a start: SQLite and memory in turn, each on a disk of its own that is kept; then on empty ones.
async fn stores(binary: &Path) {
    println!(
        "tasks in memory and in SQLite, the default: spawn to the first 200 of /health, and resident memory\n\
        half a second after it; median (min-max) of {} rounds in turn\n",
        STORE_ROUNDS - 1
    );
    println!("{:34}{:>24}{:>26}{:>12}", "", "memory", "SQLite", "SQLite adds");
    for (what, kept) in [("kept disk", true), ("empty disk", false)] {
        let disks = [tempfile::tempdir(), tempfile::tempdir()].map(|disk| disk.expect("a directory"));
        let mut samples = [Sample::default(), Sample::default()];
        for round in 0..STORE_ROUNDS {
            for (at, disk) in disks.iter().enumerate() {
                if !kept {
                    let _ = std::fs::remove_dir_all(disk.path().join(".bindu"));
                }
                let setup =
                    AgentSetup::new(binary, disk.path()).named(AUTHOR, "Stores").set("RUST_LOG", "warn");
                let setup = if at == 0 { setup.set("STORAGE_TYPE", "memory") } else { setup };
                let agent = setup.start().await;
                let sample = (agent.start, memory(agent.pid()).await);
                agent.kill();
                if round > 0 {
                    samples[at].add(sample);
                }
            }
        }
        let [in_memory, sqlite] = samples;
        compared(what, "ms", &in_memory.milliseconds, &sqlite.milliseconds, 5.0);
        compared("", "MiB", &mebi(&in_memory.kib), &mebi(&sqlite.kib), 3.0);
    }
    println!();
}

fn compared(what: &str, unit: &str, one: &[f64], other: &[f64], most: f64) {
    let adds = median(other) - median(one);
    println!(
        "{what:34}{:>24}{:>26}{adds:>+12.1} {unit}   (wanted: {most} at most)",
        spread(one, unit),
        spread(other, unit)
    );
}

/// How much longer a warm start takes with 50 ms of latency each way: one round trip, not a chain.
async fn latency(binary: &Path, bao: &OpenBao, hydra: &Hydra) {
    let (vault, admin) = (Proxy::start(&bao.url).await, Proxy::start(&hydra.admin_url).await);
    let disk = tempfile::tempdir().expect("a directory");
    let setup = AgentSetup::new(binary, disk.path())
        .named(AUTHOR, "Latency")
        .vault(bao)
        .set_all(hydra.environment())
        .set("VAULT__URL", &vault.url)
        .set("HYDRA__ADMIN_URL", &admin.url)
        .set("RUST_LOG", "warn");
    let agent = setup.start().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    agent.kill();
    let mut medians = Vec::new();
    for each_way in [Duration::ZERO, Duration::from_millis(50)] {
        vault.delay(each_way);
        admin.delay(each_way);
        let mut sample = Sample::default();
        for _ in 0..ROUNDS {
            let agent = setup.start().await;
            sample.milliseconds.push(agent.start.as_secs_f64() * 1000.0);
            agent.kill();
        }
        medians.push(median(&sample.milliseconds));
    }
    let [without, with] = medians.as_slice() else { return };
    println!(
        "\na warm start with 50 ms of latency each way takes {:.0} ms longer ({without:.0} -> {with:.0})",
        with - without
    );
}

/// Memory once the first work after listening is done.
pub(super) async fn memory(pid: u32) -> u64 {
    let begun = Instant::now();
    http::eventually("half a second", async || (begun.elapsed() > Duration::from_millis(500)).then_some(()))
        .await;
    resident_kib(pid).unwrap_or_default()
}

impl Sample {
    pub(super) fn add(&mut self, (start, kib): (Duration, u64)) {
        self.milliseconds.push(start.as_secs_f64() * 1000.0);
        self.kib.push(kib as f64);
    }
}

pub(super) fn mebi(kib: &[f64]) -> Vec<f64> {
    kib.iter().map(|kib| kib / 1024.0).collect()
}

pub(super) fn spread(values: &[f64], unit: &str) -> String {
    match (values.iter().copied().reduce(f64::min), values.iter().copied().reduce(f64::max)) {
        (Some(least), Some(most)) => format!("{:.1} ({least:.1}-{most:.1}) {unit}", median(values)),
        _ => "skipped".to_owned(),
    }
}

fn row(what: &str, unit: &str, ours: &[f64], theirs: &[f64]) {
    let ratio =
        if theirs.is_empty() { String::new() } else { format!("{:.0}x", median(theirs) / median(ours)) };
    println!("{what:34}{:>24}{:>26}{ratio:>9}", spread(ours, unit), spread(theirs, unit));
}
