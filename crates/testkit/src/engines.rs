//! Real container engines that load an image and run it, each in namespaces of its own: nothing of it is left, and nothing of
//! the machine is changed. They need what a `Cluster` needs.

use crate::install;
use serde_json::Value;
use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// Who loads images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// `docker load`, of Docker 20.10: it reads what versions before 25 read.
    Docker,
    /// `podman load`.
    Podman,
}

/// What an engine says of an image that it has loaded, and what the image has printed.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The answer of `image inspect`.
    pub inspected: Value,
    /// What the container has printed.
    pub printed: String,
}

impl Engine {
    /// Loads an archive and runs the image of this name, as a container without rights and without a network.
    ///
    /// # Panics
    /// If the engine refuses, or the container does not end well.
    #[must_use]
    pub fn run(self, archive: &Path, name: &str, arguments: &[&str]) -> Loaded {
        let directory = tempfile::Builder::new().prefix("bindu-engine-").tempdir();
        let directory = directory.expect("a temporary directory");
        let script = match self {
            Self::Docker => "docker.sh",
            Self::Podman => "podman.sh",
        };
        let mut command = in_namespaces(script, directory.path(), &["--net"]);
        let printed = install::run(command.arg(archive).arg(name).args(arguments));
        let inspected = fs::read(directory.path().join("inspected")).expect("the script has written it");
        let inspected: Value = serde_json::from_slice(&inspected).expect("engines answer with JSON");
        Loaded { inspected: inspected[0].clone(), printed }
    }
}

/// Builds the image of deploy/docker/Dockerfile, from bases that are made here, and writes it as an archive.
///
/// # Panics
/// If the build fails.
pub fn build(tree: &Path, name: &str, archive: &Path) {
    let directory = tempfile::Builder::new().prefix("bindu-engine-").tempdir();
    let directory = directory.expect("a temporary directory");
    let said = |program: &str, arguments: &[&str]| {
        install::run(Command::new(program).current_dir(tree).args(arguments)).trim().to_owned()
    };
    let toolchain = said("rustc", &["--print", "sysroot"]);
    let rustup = said("sh", &["-c", "command -v rustup"]);
    let mut command = in_namespaces("build.sh", directory.path(), &[]);
    command.arg(tree).arg(name).arg(archive);
    command
        .env("TOOLCHAIN", toolchain)
        .env("RUSTUP", rustup)
        .env("REVISION", said("git", &["rev-parse", "HEAD"]));
    command.env("DEBOOTSTRAP_DIR", install::engines().join("usr/share/debootstrap"));
    install::run(&mut command);
}

/// A script of testing/engines in namespaces of its own. All of its processes end with it.
fn in_namespaces(script: &str, directory: &Path, more: &[&str]) -> Command {
    let (engines, node) = (install::engines(), install::node_tools());
    let mut command = Command::new("unshare");
    command.args(["--fork", "--pid", "--kill-child", "--mount", "--mount-proc", "--uts", "--ipc"]);
    command.args(more);
    command.args(["--propagation", "private", "bash"]);
    command
        .arg(install::source_tree().canonicalize().expect("the tree").join("testing/engines").join(script));
    let below = |folders: &[&str]| {
        let found =
            [&engines, &node].into_iter().flat_map(|root| folders.iter().map(|folder| root.join(folder)));
        std::env::join_paths(found).expect("no colon in the cache's path")
    };
    let library = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let mut path = below(&["usr/bin", "usr/sbin", "sbin"]);
    path.push(":");
    path.push(std::env::var_os("PATH").as_deref().unwrap_or(OsStr::new("/usr/bin:/bin")));
    command.env("PATH", path).env("LD_LIBRARY_PATH", below(&[&library, &library[4..]]));
    command.env("DIRECTORY", directory).stdin(Stdio::null());
    command
}
