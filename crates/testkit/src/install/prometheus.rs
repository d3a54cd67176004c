//! Prometheus and promtool, which read the alerts: from their Go module.

use super::{installed, run, source_tree};
use sha2::{Digest as _, Sha256};
use std::{fs, path::PathBuf, process::Command};

/// Of all the ways to discover targets, the one that the tests use: the others are half of the build.
const TAGS: &str = "remove_all_sd,enable_kubernetes_sd";

/// The directory with the programs `prometheus` and `promtool`.
///
/// # Panics
/// If Go is missing or the build fails.
#[must_use]
pub fn prometheus() -> PathBuf {
    let source = source_tree().join("testing/prometheus");
    let mut digest = Sha256::new();
    digest.update(TAGS);
    for file in ["go.mod", "go.sum"] {
        digest.update(fs::read(source.join(file)).expect("a file of ours can be read"));
    }
    let version: String = digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    installed(&format!("prometheus-{version}"), "building Prometheus with Go (2 to 4 minutes)", |to| {
        // 1.2 GB that nothing else has a use for.
        let objects = tempfile::tempdir_in(to).expect("a directory in the cache");
        run(Command::new("go")
            .current_dir(&source)
            .env("CGO_ENABLED", "0")
            .env("GOCACHE", objects.path())
            .args(["build", "-mod=readonly", "-trimpath", "-ldflags", "-s -w", "-tags", TAGS, "-o"])
            .arg(to)
            .args(
                ["prometheus", "promtool"].map(|name| format!("github.com/prometheus/prometheus/cmd/{name}")),
            ));
    })
}
