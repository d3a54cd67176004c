//! The project's own chores: `cargo xtask help` lists them.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "this is what it is for"
)]

mod bench;
#[cfg(test)]
mod circles;
mod demo;
mod dist;
mod fuzz;
mod guide;
mod image;
mod manifests;
mod readme;
mod soak;
mod test;

use clap::{Parser, Subcommand};
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own chores")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install the real servers that tests and demo need, in a cache outside the source tree
    Setup,
    /// What must hold at each commit: formatting, lints, docs, licences, tests, the demo, the guides
    Test {
        /// What a release needs besides: fuzzing, the archives, the image. CI runs this
        #[arg(long)]
        all: bool,
    },
    /// Kill an agent, wipe its disk, start it again: the same agent comes back
    Demo {
        /// On a real Kubernetes: a pod dies, callers see nothing
        #[arg(long)]
        cluster: bool,
    },
    /// Write docs/faults.md from the tests' own descriptions
    Faults,
    /// Write the table of docs/CONFIGURATION.md from the registry of settings
    Settings,
    /// Run races and kills for longer than `test` does, and print a summary
    Soak {
        /// How many times as long
        #[arg(long, default_value_t = 20)]
        repeat: usize,
        /// Instead: ten minutes in which logs, servers, programs and callers do their worst
        #[arg(long)]
        outside: bool,
        /// Instead: replicas and databases of tasks killed at random, with the history checker; each system call of a send
        #[arg(long)]
        storage: bool,
        /// How many replicas are killed with --storage
        #[arg(long, default_value_t = 1000)]
        kills: usize,
        /// How often the database is restarted with --storage
        #[arg(long, default_value_t = 20)]
        restarts: usize,
    },
    /// Feed each parser of outside bytes what it does not expect
    Fuzz {
        /// How long for each, in seconds
        #[arg(long, default_value_t = 20)]
        seconds: u64,
    },
    /// Run the README's quick start word for word
    Readme,
    /// Check everything in deploy/ with the real kubectl, helm, hadolint and nginx
    Manifests,
    /// Make a release: the static program in an archive, checksums, the list of what is built in
    Dist {
        /// For another target than this machine's musl: one that ends in -gnu is linked with glibc, statically
        #[arg(long)]
        target: Option<String>,
    },
    /// Make the container image of the static program, without an engine: an OCI archive
    Image {
        /// For which kinds of machines: amd64, arm64; this one's if none is named
        #[arg(long = "arch")]
        architectures: Vec<String>,
        /// Instead: build the Dockerfile, with buildah
        #[arg(long, conflicts_with = "architectures")]
        dockerfile: bool,
    },
    /// Run the command blocks of the guides, from the top of each page to its end
    Guides {
        /// Pages; all where none is named
        pages: Vec<PathBuf>,
    },
    /// Measure, beside Python Bindu, in one run
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().chore {
        Chore::Setup => {
            bindu_testkit::install::all();
            println!("setup: all is there, in {}", bindu_testkit::install::cache().display());
            true
        }
        Chore::Test { all } => test::run(all),
        Chore::Demo { cluster: true } => on_runtime(demo::cluster::run()),
        Chore::Demo { cluster: false } => on_runtime(demo::run()),
        Chore::Faults => {
            std::fs::write(bindu_testkit::faults::path(), bindu_testkit::faults::page())
                .expect("the page can be written");
            true
        }
        Chore::Settings => {
            let path = bindu_testkit::install::source_tree().join("docs/CONFIGURATION.md");
            let text = std::fs::read_to_string(&path).expect("the page can be read");
            let page = bindu::settings::page(&text).expect("the page has its marks");
            std::fs::write(path, page).expect("the page can be written");
            true
        }
        Chore::Soak { outside: true, .. } => soak::outside(),
        Chore::Soak { storage: true, kills, restarts, .. } => soak::storage(kills, restarts),
        Chore::Soak { repeat, .. } => soak::run(repeat),
        Chore::Fuzz { seconds } => fuzz::run(seconds),
        Chore::Readme => on_runtime(readme::run()),
        Chore::Manifests => manifests::run(),
        Chore::Dist { target } => dist::run(target),
        Chore::Image { dockerfile: true, .. } => image::from_dockerfile(),
        Chore::Image { architectures, .. } => image::run(&architectures),
        Chore::Guides { pages } => guide::run(&pages),
        Chore::Bench(bench) => on_runtime(bench::run(bench)),
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn on_runtime<T>(chore: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("the system has threads to give").block_on(chore)
}

/// A program, without what `cargo run` has set for this one: build scripts watch those variables, and would run again
/// at each change between a command under `cargo xtask` and the same command by hand.
fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        let is_of_this_run =
            ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix));
        if is_of_this_run {
            command.env_remove(name);
        }
    }
    command
}

/// Builds the `bindu` program for release, and says where it is. `BINDU_BINARY` names one that is there already.
fn release_binary() -> PathBuf {
    if let Some(binary) = std::env::var_os("BINDU_BINARY") {
        return PathBuf::from(binary).canonicalize().expect("BINDU_BINARY names a program");
    }
    eprintln!("building bindu for release ...");
    let status = program(Path::new(env!("CARGO")))
        .args(["build", "--quiet", "--release", "--package", "bindu-cli"])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "the release build fails");
    target_directory().join("release/bindu").canonicalize().expect("the build has left it there")
}

/// Where cargo leaves what it builds.
fn target_directory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| bindu_testkit::install::source_tree().join("target"));
    target.canonicalize().expect("something was built")
}
