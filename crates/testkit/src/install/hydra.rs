//! Ory Hydra, built from its Go module by the program in `testing/hydra`.

use super::{installed, run, source_tree};
use sha2::{Digest as _, Sha256};
use std::{fs, path::PathBuf, process::Command};

/// The `hydra` program.
///
/// # Panics
/// Where Go is missing or the build fails.
#[must_use]
pub fn hydra() -> PathBuf {
    let source = source_tree().join("testing/hydra");
    let mut digest = Sha256::new();
    for file in ["go.mod", "go.sum", "main.go"] {
        digest.update(fs::read(source.join(file)).expect("a file of ours can be read"));
    }
    let version: String = digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let place = installed(&format!("hydra-{version}"), "building Ory Hydra with Go (2 to 6 minutes)", |to| {
        run(Command::new("go")
            .current_dir(&source)
            .env("CGO_ENABLED", "1")
            .args(["build", "-mod=readonly", "-trimpath", "-tags", "sqlite,sqlite_omit_load_extension", "-o"])
            .arg(to.join("hydra"))
            .arg("."));
    });
    place.join("hydra")
}
