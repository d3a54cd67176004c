//! `cargo xtask bench start --against PROGRAM`: this program beside an earlier release of it, in turn, on the same servers, in
//! one run: spawn to ready, memory after it, and what a start asks Vault and Hydra.

use super::{
    AUTHOR, median,
    start::{Sample, mebi, memory, spread},
};
use bindu_testkit::{AgentSetup, Hydra, OpenBao, proxy::Proxy};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Rounds of each, in turn; the first of each warms the caches up and is left out.
const ROUNDS: usize = 22;

/// Rounds in which requests are counted, by proxies that take a time of their own; the first is left out.
const COUNTED_ROUNDS: usize = 4;

/// How an agent finds what it starts from.
const SITUATIONS: [(&str, bool, bool); 3] = [
    ("alone, kept disk", false, true),
    ("Vault and Hydra, kept disk", true, true),
    ("Vault and Hydra, empty disk", true, false),
];

/// A program, and what it is told besides.
struct Lane {
    what: &'static str,
    program: PathBuf,
    /// `STORAGE_TYPE`.
    storage: Option<&'static str>,
}

pub(super) async fn run(ours: &Path, other: &Path) -> bool {
    let Ok(other) = other.canonicalize() else {
        println!("there is no program {}", other.display());
        return false;
    };
    println!("before: {}\nnow: {}\n", version(&other), version(ours));
    let lane = |what, program: &Path, storage| Lane { what, program: program.to_owned(), storage };
    // Before SQLite was the default, tasks were in memory: both are compared with that.
    let lanes = [
        lane("before", &other, None),
        lane("now, tasks in memory", ours, Some("memory")),
        lane("now", ours, None),
    ];
    let (bao, hydra) = (OpenBao::start().await, Hydra::start().await);
    println!("median (min-max) of {} rounds in turn\n", ROUNDS - 1);
    let [before, in_memory, now] = &lanes;
    println!("{:34}{:>28}{:>28}{:>28}", "", before.what, in_memory.what, now.what);
    for (what, with_servers, kept) in SITUATIONS {
        let world = World { bao: &bao, hydra: &hydra, with_servers, kept };
        let samples = world.times(&lanes).await;
        let row = |what: &str, of: &dyn Fn(&Sample) -> String| {
            let cells: String = samples.iter().map(|sample| format!("{:>28}", of(sample))).collect();
            println!("{what:34}{cells}");
        };
        row(what, &|sample| spread(&sample.milliseconds, "ms"));
        row("", &|sample| spread(&mebi(&sample.kib), "MiB"));
        if with_servers {
            let counts = world.requests(&lanes).await;
            let cells: String =
                counts.iter().map(|count| format!("{:>28}", format!("{count:.0} requests"))).collect();
            println!("{:34}{cells}", "");
        }
    }
    true
}

/// What `--version` says.
fn version(program: &Path) -> String {
    let said =
        Command::new(program).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said).trim().to_owned()
}

/// The servers of a situation.
struct World<'a> {
    bao: &'a OpenBao,
    hydra: &'a Hydra,
    with_servers: bool,
    kept: bool,
}

impl World<'_> {
    /// Starts all in turn.
    async fn times(&self, lanes: &[Lane; 3]) -> [Sample; 3] {
        let disks = disks();
        let mut samples = [Sample::default(), Sample::default(), Sample::default()];
        for round in 0..ROUNDS {
            for (at, lane) in lanes.iter().enumerate() {
                self.clear(&disks[at]);
                let agent = self.setup(lane, disks[at].path(), "Times").start().await;
                let sample = (agent.start, memory(agent.pid()).await);
                agent.kill();
                if round > 0 {
                    samples[at].add(sample);
                }
            }
        }
        samples
    }

    /// How many requests a start makes, and its first work after it.
    async fn requests(&self, lanes: &[Lane; 3]) -> [f64; 3] {
        let vault = Proxy::start(&self.bao.url).await;
        let admin = Proxy::start(&self.hydra.admin_url).await;
        let public = Proxy::start(&self.hydra.public_url).await;
        let seen = || [&vault, &admin, &public].map(|proxy| proxy.take_seen().len()).iter().sum::<usize>();
        let disks = disks();
        let mut counts = [0.0; 3];
        for (at, lane) in lanes.iter().enumerate() {
            let mut all = Vec::new();
            for round in 0..COUNTED_ROUNDS {
                self.clear(&disks[at]);
                let setup = self.setup(lane, disks[at].path(), "Requests").set("VAULT__URL", &vault.url);
                let setup = setup.set("HYDRA__ADMIN_URL", &admin.url).set("HYDRA__PUBLIC_URL", &public.url);
                let _ = seen();
                let agent = setup.start().await;
                let _ = memory(agent.pid()).await;
                agent.kill();
                if round > 0 {
                    all.push(seen() as f64);
                }
            }
            counts[at] = median(&all);
        }
        counts
    }

    fn setup(&self, lane: &Lane, disk: &Path, name: &str) -> AgentSetup {
        // One identity for each, so that none finds what another has left.
        let name = format!("{name} {} {} {}", lane.what.replace(',', ""), self.with_servers, self.kept);
        let setup = AgentSetup::new(&lane.program, disk).named(AUTHOR, &name).set("RUST_LOG", "warn");
        let setup = match lane.storage {
            Some(storage) => setup.set("STORAGE_TYPE", storage),
            None => setup,
        };
        match self.with_servers {
            true => setup.vault(self.bao).set_all(self.hydra.environment()),
            false => setup,
        }
    }

    fn clear(&self, disk: &tempfile::TempDir) {
        if !self.kept {
            let _ = std::fs::remove_dir_all(disk.path().join(".bindu"));
        }
    }
}

fn disks() -> [tempfile::TempDir; 3] {
    [tempfile::tempdir(), tempfile::tempdir(), tempfile::tempdir()].map(|disk| disk.expect("a directory"))
}
