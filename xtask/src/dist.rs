//! `cargo xtask dist`: what a release is made of, in `target/dist`.
//!
//! One archive with the static program and what belongs beside it, the list of everything that is built into it
//! (CycloneDX), and the checksums of both. The same commit gives the same archive: paths of this machine are taken out of
//! the program, times and owners out of the archive.

use bindu_testkit::install::{self, source_tree};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What belongs beside the program, and what it is called there.
const BESIDE: [(&str, &str); 6] = [
    ("LICENSE", "LICENSE"),
    ("README.md", "README.md"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    (".env.vault.example", "env.vault.example"),
    ("deploy/systemd/bindu@.service", "systemd/bindu@.service"),
    ("deploy/systemd/agent.env.example", "systemd/agent.env.example"),
];

/// Makes a release; whether all of it is there and works.
pub(crate) fn run(target: Option<String>) -> bool {
    let version = env!("CARGO_PKG_VERSION");
    let Some(notes) = release_notes(version) else {
        println!("CHANGELOG.md has no section `## {version}`");
        return false;
    };
    let target = target.unwrap_or_else(|| format!("{}-unknown-linux-musl", std::env::consts::ARCH));
    let binary = static_binary(&target);
    let name = format!("bindu-{version}-{target}");
    let dist = crate::target_directory().join("dist");
    let _ = fs::remove_dir_all(&dist);
    let contents = dist.join(&name);
    fs::create_dir_all(contents.join("systemd")).expect("a directory for the release");
    fs::copy(&binary, contents.join("bindu")).expect("the program can be copied");
    for (from, to) in BESIDE {
        fs::copy(source_tree().join(from), contents.join(to))
            .unwrap_or_else(|error| panic!("{from}: {error}"));
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = install::run(Command::new(&binary).args(["completions", shell]));
        fs::create_dir_all(contents.join("completions")).expect("a directory for the release");
        fs::write(contents.join("completions").join(format!("bindu.{shell}")), script)
            .expect("it can be written");
    }
    let archive = format!("{name}.tar.gz");
    let when =
        install::run(Command::new("git").current_dir(source_tree()).args(["log", "-1", "--format=%ct"]));
    let tar = "tar --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX";
    let line = format!("{tar} --mtime=@{} -cf - {name} | gzip -9n > {archive}", when.trim());
    install::run(Command::new("bash").current_dir(&dist).args(["-euo", "pipefail", "-c", &line]));
    fs::remove_dir_all(&contents).expect("what is in the archive need not lie beside it");
    let materials = format!("{name}.cdx.json");
    bill_of_materials(&target, &dist.join(&materials));
    fs::write(dist.join("RELEASE_NOTES.md"), notes).expect("it can be written");
    let sums = install::run(Command::new("sha256sum").current_dir(&dist).args([&archive, &materials]));
    fs::write(dist.join("SHA256SUMS"), &sums).expect("it can be written");
    print!("{sums}");
    println!("dist: all is in {}", dist.display());
    looks_right(&dist, &name)
}

/// What CHANGELOG.md says of a version.
fn release_notes(version: &str) -> Option<String> {
    let log = fs::read_to_string(source_tree().join("CHANGELOG.md")).expect("the changelog can be read");
    let (_, section) = log.split_once(&format!("\n## {version}"))?;
    let section = section.split("\n## ").next()?;
    Some(format!("# Bindu {version}{}\n", section.trim_end()))
}

/// As somebody who downloads it: the checksums, the program on a machine without any library, what it says of itself.
fn looks_right(dist: &Path, name: &str) -> bool {
    install::run(Command::new("sha256sum").current_dir(dist).args(["--check", "--quiet", "SHA256SUMS"]));
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    install::run(
        Command::new("tar")
            .arg("-xzf")
            .arg(dist.join(format!("{name}.tar.gz")))
            .arg("-C")
            .arg(elsewhere.path()),
    );
    let root = elsewhere.path().join(name);
    // Nothing but the archive: a program that needs a loader or a library does not start here.
    let mut alone = Command::new("unshare");
    alone.args(["--user", "--map-root-user", "--root"]).arg(&root).args(["/bindu", "--version"]);
    let version = install::run(&mut alone);
    let materials = fs::read_to_string(dist.join(format!("{name}.cdx.json"))).expect("it was just written");
    let materials: serde_json::Value = serde_json::from_str(&materials).expect("JSON");
    let parts = materials["components"].as_array().map_or(0, Vec::len);
    let program = fs::read(root.join("bindu")).expect("the program");
    let home = std::env::var("HOME").unwrap_or_default();
    let names_this_machine = !home.is_empty()
        && program.windows(home.len() + 1).any(|bytes| bytes == format!("{home}/").as_bytes());
    println!("{} in {} bytes, {parts} parts in the bill of materials", version.trim(), program.len());
    if names_this_machine {
        println!("the program names paths of this machine");
    }
    version.trim() == format!("bindu {}", env!("CARGO_PKG_VERSION")) && parts > 100 && !names_this_machine
}

/// Has Rust's own part of a target installed.
pub(crate) fn add_target(target: &str) {
    let library = install::run(Command::new("rustc").args(["--print", "target-libdir", "--target", target]));
    if !Path::new(library.trim()).is_dir() {
        let added = Command::new("rustup").args(["target", "add", target]).status();
        assert!(
            added.is_ok_and(|added| added.success()),
            "rustup can't add {target}; `cargo xtask dist --target {}-unknown-linux-gnu` links glibc statically instead, \
             which looks names up by libraries of the machine that it runs on",
            std::env::consts::ARCH
        );
    }
}

/// The program without any library outside of itself.
pub(crate) fn static_binary(target: &str) -> PathBuf {
    add_target(target);
    eprintln!("building the static program ...");
    let variable = target.replace('-', "_");
    let mut build = crate::program(Path::new(env!("CARGO")));
    build.current_dir(source_tree()).args([
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "bindu-cli",
    ]);
    let glibc = if target.ends_with("-gnu") { " -C target-feature=+crt-static" } else { "" };
    let is_of_another_kind = !target.starts_with(std::env::consts::ARCH);
    // Rust brings what links musl; the machine's own linker knows its own kind of machine only.
    let linker = if is_of_another_kind { " -C linker=rust-lld" } else { "" };
    build.args(["--target", target]).env("RUSTFLAGS", without_paths() + glibc + linker);
    if is_of_another_kind {
        let machine = target.split('-').next().unwrap_or_default();
        build.env(format!("CC_{variable}"), install::cross_compiler(machine));
    } else if target.ends_with("-musl")
        && !Command::new("musl-gcc").arg("--version").output().is_ok_and(|output| output.status.success())
    {
        // ring's, mimalloc's and SQLite's C needs a compiler, and of the library only what all have; Rust brings musl to link with.
        build.env(format!("CC_{variable}"), "cc");
        // glibc's names for large files are not musl's, where all files are.
        build.env("LIBSQLITE3_FLAGS", "-DSQLITE_DISABLE_LFS");
    }
    let status = build.status();
    assert!(status.is_ok_and(|status| status.success()), "the static build fails");
    crate::target_directory()
        .join(target)
        .join("release/bindu")
        .canonicalize()
        .expect("the build has left it there")
}

fn without_paths() -> String {
    let home =
        std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")));
    let tree = source_tree().canonicalize().expect("the source tree");
    format!(
        "--remap-path-prefix={}=cargo --remap-path-prefix={}=bindu",
        home.unwrap_or_default(),
        tree.display()
    )
}

/// What is built into the program, by the tool of CycloneDX.
pub(crate) fn bill_of_materials(target: &str, to: &Path) {
    let mut command = crate::program(&install::cargo_cyclonedx());
    command.current_dir(source_tree()).args([
        "cyclonedx",
        "--format",
        "json",
        "--quiet",
        "--spec-version",
        "1.5",
    ]);
    command.args([
        "--target",
        target,
        "--manifest-path",
        "crates/cli/Cargo.toml",
        "--override-filename",
        "bindu-sbom",
    ]);
    install::run(&mut command);
    // It writes one beside each crate of the workspace, with the paths of this machine in it.
    let tree = source_tree().canonicalize().expect("the source tree");
    let crates = fs::read_dir(tree.join("crates")).into_iter().flatten().flatten().map(|entry| entry.path());
    for directory in crates.chain([tree.join("xtask")]) {
        let written = directory.join("bindu-sbom.json");
        if directory.ends_with("crates/cli") {
            let text = fs::read_to_string(&written).expect("the tool has written it");
            fs::write(to, text.replace(&tree.display().to_string(), "bindu")).expect("it can be written");
        }
        let _ = fs::remove_file(written);
    }
}
