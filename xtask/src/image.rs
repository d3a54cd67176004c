//! `cargo xtask image`: the container image of the static program, without an engine: an OCI archive in `target/dist`.
//!
//! One layer with the program, Mozilla's authorities and `/data`; what it is, is in labels, and what is built in is attached
//! (CycloneDX). The same program gives the same archive, bit for bit. `docker load`, `podman load` and `ctr images import`
//! take it: each of them is tried.

use crate::dist;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bindu_testkit::{
    AgentSetup, Cluster, cluster,
    engines::{self, Engine},
    http,
    install::{self, source_tree},
    oci,
};
use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// Kinds of machines, as images and as Rust call them.
const ARCHITECTURES: [(&str, &str); 2] =
    [("amd64", "x86_64-unknown-linux-musl"), ("arm64", "aarch64-unknown-linux-musl")];

/// Makes the archive for these kinds of machines (this one's if none is named); whether it is good.
pub(crate) fn run(architectures: &[String]) -> bool {
    let own = [oci::architecture().to_owned()];
    let wanted = if architectures.is_empty() { own.as_slice() } else { architectures };
    let mut images = Vec::new();
    for architecture in wanted {
        let known = ARCHITECTURES.iter().find(|(name, _)| name == architecture);
        let Some((_, target)) = known else {
            println!("image: there is no target for {architecture}: amd64 or arm64");
            return false;
        };
        let binary = dist::static_binary(target);
        if architecture != oci::architecture() && !runs_elsewhere(&binary, target) {
            println!("image: the program for {architecture} does not run");
            return false;
        }
        images.push(image(architecture, target, &binary));
    }
    let (version, name) = (env!("CARGO_PKG_VERSION"), name());
    let dist = crate::target_directory().join("dist");
    fs::create_dir_all(&dist).expect("a directory for the release");
    let archive = dist.join(format!("bindu-{version}-{}.oci.tar", wanted.join("-")));
    let write = |to: &Path| {
        oci::write(&images, &name, time(), oci::Layers::Compressed, to).expect("the image can be written");
    };
    write(&archive);
    let again = tempfile::NamedTempFile::new().expect("a temporary file");
    write(again.path());
    let is_same = fs::read(&archive).ok() == fs::read(again.path()).ok();
    println!("image: {name} for {} is in {}", wanted.join(" and "), archive.display());
    if !is_same {
        println!("image: made twice, it differs");
    }
    is_same && (!wanted.contains(&own[0]) || starts(&archive, &name, version))
}

/// Does a program for another kind of machine run, as qemu has that machine? An agent starts, with a key and a store for
/// tasks, and answers a call: all the C and assembly in it has run then.
fn runs_elsewhere(binary: &Path, target: &str) -> bool {
    let machine = target.split('-').next().unwrap_or_default();
    let disk = tempfile::tempdir().expect("a temporary directory");
    let setup = AgentSetup::new(binary, disk.path()).under(&install::emulator(machine), Vec::new());
    let (_, version, _) = setup.clone().command(&["--version"]).output();
    println!("image: on {machine} it says: {}", version.trim());
    let task = crate::on_runtime(async {
        let agent = setup.named("alice@example.com", "Elsewhere").start().await;
        http::ask(&agent.url, "hello").await
    });
    let state = task["status"]["state"].as_str().unwrap_or_default();
    println!("image: on {machine} a call is {state}");
    version.trim() == concat!("bindu ", env!("CARGO_PKG_VERSION")) && state == "completed"
}

fn image(architecture: &str, target: &str, binary: &Path) -> oci::Image {
    let program = fs::read(binary).expect("the program can be read");
    let materials = tempfile::NamedTempFile::new().expect("a temporary file");
    dist::bill_of_materials(target, materials.path());
    let materials = fs::read(materials.path()).expect("the list was just written");
    let mut materials = serde_json::from_slice::<serde_json::Value>(&materials).expect("it is JSON");
    // The tool's own: a number for each list that it makes, and the moment.
    if let Some(list) = materials.as_object_mut() {
        list.remove("serialNumber");
    }
    if let Some(about) = materials["metadata"].as_object_mut() {
        about.remove("timestamp");
    }
    let files = oci::Files::default()
        .file("usr/local/bin/bindu", 0o755, program)
        .file("etc/ssl/certs/ca-certificates.crt", 0o644, authorities())
        .file("etc/passwd", 0o644, "root:x:0:0:root:/:/none\nnonroot:x:65532:65532:nonroot:/data:/none\n")
        .file("etc/group", 0o644, "root:x:0:\nnonroot:x:65532:\n")
        .directory("tmp", 0o1777, 0);
    oci::Image {
        architecture: architecture.to_owned(),
        labels: labels(),
        materials: Some(materials),
        ..cluster::agent(files)
    }
}

fn name() -> String {
    format!("docker.io/library/bindu:{}", env!("CARGO_PKG_VERSION"))
}

fn labels() -> BTreeMap<String, String> {
    let revision = install::run(Command::new("git").current_dir(source_tree()).args(["rev-parse", "HEAD"]));
    [
        ("title", "bindu"),
        ("description", "An AI agent that keeps its identity"),
        ("licenses", "Apache-2.0"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("revision", revision.trim()),
    ]
    .map(|(name, value)| (format!("org.opencontainers.image.{name}"), value.to_owned()))
    .into_iter()
    .collect()
}

/// The moment of the commit, as everything in the image is dated.
fn time() -> u64 {
    let time =
        install::run(Command::new("git").current_dir(source_tree()).args(["log", "-1", "--format=%ct"]));
    time.trim().parse().expect("git prints seconds")
}

/// Mozilla's authorities, as the lock file has them: those of this machine would make another image on each machine.
fn authorities() -> String {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text += "-----BEGIN CERTIFICATE-----\n";
        for line in STANDARD.encode(certificate).as_bytes().chunks(64) {
            text += &String::from_utf8_lossy(line);
            text += "\n";
        }
        text += "-----END CERTIFICATE-----\n";
    }
    text
}

/// Loads it as containerd, Docker and podman do, and starts it, as nobody and on a file system that can't be written.
fn starts(archive: &Path, name: &str, version: &str) -> bool {
    if !Cluster::can_run() {
        println!("image: not started: it needs root");
        return true;
    }
    let said = crate::on_runtime(async {
        let cluster = Cluster::start(&[archive]).await;
        cluster
            .until("a namespace has its account", || {
                cluster.try_kubectl(&["get", "serviceaccount", "default"]).status.success().then_some(())
            })
            .await;
        let overrides = r#"{"spec": {"containers": [{"name": "look", "image": "NAME", "args": ["--version"],
            "imagePullPolicy": "Never", "securityContext": {"runAsNonRoot": true, "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}}"#;
        let overrides = format!("--overrides={}", overrides.replace("NAME", name));
        cluster.kubectl(&["run", "look", "--restart=Never", &format!("--image={name}"), &overrides]);
        cluster
            .until("it has ended", || {
                let pod = cluster.object(&["pod", "look"]);
                let phase = pod["status"]["phase"].as_str().unwrap_or_default();
                matches!(phase, "Succeeded" | "Failed").then_some(())
            })
            .await;
        cluster.kubectl(&["logs", "look"])
    });
    println!("image: in a pod it says: {}", said.trim());
    said.trim() == format!("bindu {version}") && is_loaded(archive, name, &[Engine::Docker, Engine::Podman])
}

/// Do these engines load and run it?
fn is_loaded(archive: &Path, name: &str, engines: &[Engine]) -> bool {
    engines.iter().all(|engine| {
        let loaded = engine.run(archive, name, &["--version"]);
        println!("image: loaded by {engine:?} it says: {}", loaded.printed.trim());
        let settings = &loaded.inspected["Config"];
        loaded.printed.trim() == concat!("bindu ", env!("CARGO_PKG_VERSION"))
            && settings["User"] == "65532:65532"
            && settings["Labels"]["org.opencontainers.image.title"] == "bindu"
    })
}

/// Builds the image from deploy/docker/Dockerfile, as people do who have an engine; whether it comes out and runs.
pub(crate) fn from_dockerfile() -> bool {
    if !Cluster::can_run_here() {
        return true;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let archive = directory.path().join("bindu.tar");
    let begun = std::time::Instant::now();
    // The toolchain is lent to the build, which can't add to it.
    let own = ARCHITECTURES.iter().find(|(name, _)| *name == oci::architecture());
    dist::add_target(own.expect("images are made for this kind of machine").1);
    engines::build(&source_tree().canonicalize().expect("the tree"), &name(), &archive);
    println!("image: the Dockerfile is built after {} s", begun.elapsed().as_secs());
    is_loaded(&archive, &name(), &[Engine::Docker, Engine::Podman])
}
