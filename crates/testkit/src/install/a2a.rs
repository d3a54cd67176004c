//! The official A2A SDKs: what other people's agents and callers are made of.

use super::{installed, node, python::python, run, source_tree};
use sha2::{Digest as _, Sha256};
use std::{fs, path::PathBuf, process::Command};

/// The Python SDK of A2A 1.0.
pub const A2A_PYTHON: &str = "1.3.0";

/// The Python SDK of A2A 0.3.
pub const A2A_PYTHON_0_3: &str = "0.3.26";

/// The JavaScript SDK.
pub const A2A_JS: &str = "1.3.0";

/// The Python of an environment with the official SDK; `None` if no Python is new enough. In CI that is a failure.
///
/// # Panics
/// In CI without a Python that is new enough, and if the installation fails.
#[must_use]
pub fn a2a_python() -> Option<PathBuf> {
    environment("a2a-python", A2A_PYTHON, "http-server,grpc,signing")
}

/// The same with the SDK of A2A 0.3.
///
/// # Panics
/// As [`a2a_python`].
#[must_use]
pub fn a2a_python_0_3() -> Option<PathBuf> {
    environment("a2a-python", A2A_PYTHON_0_3, "http-server")
}

/// Where the packages of [`a2a_python`] are, with gRPC's among them.
///
/// # Panics
/// As [`a2a_python`].
#[must_use]
pub fn a2a_python_packages() -> Option<PathBuf> {
    let lib = a2a_python()?.parent()?.parent()?.join("lib");
    let version = fs::read_dir(lib).ok()?.next()?.ok()?;
    Some(version.path().join("site-packages"))
}

fn environment(name: &str, version: &str, extras: &str) -> Option<PathBuf> {
    let Some(python) = python() else {
        assert!(std::env::var_os("CI").is_none(), "the official Python SDK needs Python 3.12 or later");
        return None;
    };
    let what = format!("installing the A2A SDK {version} for Python");
    let place = installed(&format!("{name}-{version}"), &what, |to| {
        run(Command::new(&python).args(["-m", "venv", "--copies"]).arg(to.join("venv")));
        let requirement = format!("a2a-sdk[{extras}]=={version}");
        run(Command::new(to.join("venv/bin/python"))
            .args(["-m", "pip", "install", "--quiet", &requirement])
            .arg("uvicorn"));
    });
    Some(place.join("venv/bin/python"))
}

/// The Node program, and a directory in whose `node_modules` the official SDK is.
///
/// # Panics
/// If npm is not there, and the package can't be had.
#[must_use]
pub fn a2a_js() -> (PathBuf, PathBuf) {
    let place = installed(&format!("a2a-js-{A2A_JS}"), "installing the A2A SDK for JavaScript", |to| {
        let packages = [&format!("@a2a-js/sdk@{A2A_JS}"), "express", "@grpc/grpc-js", "@bufbuild/protobuf"];
        run(Command::new("npm")
            .current_dir(to)
            .args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
            .arg(to)
            .args(packages));
    });
    (node(), place)
}

/// An agent made of the official Rust SDK, built by the project in `testing/a2a/rust`.
///
/// # Panics
/// If the build fails.
#[must_use]
pub fn official_rust_agent() -> PathBuf {
    let source = source_tree().join("testing/a2a/rust");
    let mut digest = Sha256::new();
    for file in ["Cargo.toml", "Cargo.lock", "src/main.rs"] {
        digest.update(fs::read(source.join(file)).expect("a file of ours can be read"));
    }
    let version: String = digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let what = "building an agent of the official Rust SDK (1 to 3 minutes)";
    let place = installed(&format!("official-rust-agent-{version}"), what, |to| {
        let target = to.join("target");
        let mut command = Command::new("cargo");
        command.current_dir(&source).args(["build", "--quiet", "--release", "--locked", "--target-dir"]);
        run(command.arg(&target));
        fs::rename(target.join("release/official-rust-agent"), to.join("agent")).expect("it was just built");
        fs::remove_dir_all(&target).expect("what was built can be removed");
    });
    place.join("agent")
}
