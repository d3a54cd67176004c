//! cargo-fuzz, which builds and runs the fuzz targets.

use super::{installed, run};
use std::{path::PathBuf, process::Command};

const VERSION: &str = "0.13.2";

/// The `cargo-fuzz` program, built from crates.io.
#[must_use]
pub fn cargo_fuzz() -> PathBuf {
    let place = installed(&format!("cargo-fuzz-{VERSION}"), "building cargo-fuzz", |place| {
        let mut command = Command::new("cargo");
        command
            .args(["install", "cargo-fuzz", "--quiet", "--locked", "--version", VERSION, "--root"])
            .arg(place);
        // Its artefacts are nobody else's.
        run(command.arg("--target-dir").arg(place.join("target")));
        std::fs::remove_dir_all(place.join("target")).expect("what was built can be removed");
    });
    place.join("bin/cargo-fuzz")
}
