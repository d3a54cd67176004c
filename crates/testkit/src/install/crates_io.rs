//! Programs that are built from crates.io.

use super::{installed, run};
use std::{path::PathBuf, process::Command};

const CARGO_FUZZ: &str = "0.13.2";
const CARGO_CYCLONEDX: &str = "0.5.9";
const A2A_CLI: &str = "0.4.5";

/// `cargo-fuzz`, which builds and runs the fuzz targets.
#[must_use]
pub fn cargo_fuzz() -> PathBuf {
    built("cargo-fuzz", CARGO_FUZZ)
}

/// `cargo-cyclonedx`, which lists what is built into a program.
#[must_use]
pub fn cargo_cyclonedx() -> PathBuf {
    built("cargo-cyclonedx", CARGO_CYCLONEDX)
}

/// `a2acli`, the official Rust client of A2A.
#[must_use]
pub fn a2a_cli() -> PathBuf {
    built("a2a-cli", A2A_CLI).with_file_name("a2acli")
}

fn built(name: &str, version: &str) -> PathBuf {
    let place = installed(&format!("{name}-{version}"), &format!("building {name}"), |place| {
        let mut command = Command::new("cargo");
        command.args(["install", name, "--quiet", "--locked", "--version", version, "--root"]).arg(place);
        // Its artefacts are nobody else's.
        run(command.arg("--target-dir").arg(place.join("target")));
        std::fs::remove_dir_all(place.join("target")).expect("what was built can be removed");
    });
    place.join("bin").join(name)
}
