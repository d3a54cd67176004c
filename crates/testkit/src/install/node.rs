//! Node, from npm's `node` package, which installs the binary of this machine's architecture.

use super::{installed, run};
use std::{path::PathBuf, process::Command};

const NODE: &str = "24.21.0";

/// The `node` program of a version whose `readline` ends lines at U+2028 (FACTS 8). Debian's is older.
///
/// # Panics
/// Where npm is not there, and the package can't be had.
#[must_use]
pub fn node() -> PathBuf {
    let place = installed(&format!("node-{NODE}"), "installing Node (130 MB)", |to| {
        run(Command::new("npm").current_dir(to).arg("install").arg("--prefix").arg(to).args([
            "--no-save",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            &format!("node@{NODE}"),
        ]));
    });
    place.join("node_modules/node/bin/node")
}
