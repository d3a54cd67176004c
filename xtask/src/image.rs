//! `cargo xtask image`: the container image of the static program, without an engine: an OCI archive in `target/dist`.
//!
//! One layer with the program, Mozilla's authorities and `/data`; what it is, is in labels, and what is built in is attached
//! (CycloneDX). The same program gives the same archive, bit for bit. `docker load`, `podman load` and `ctr images import`
//! take it.

use crate::dist;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bindu_testkit::{
    Cluster, cluster,
    install::{self, source_tree},
    oci,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

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
        if architecture != oci::architecture() && !has_cross_compiler(target) {
            println!(
                "image: {architecture}: no C compiler for {target} (ring is C and assembly): install \
                 gcc-aarch64-linux-gnu, or name one in CC_{}",
                target.replace('-', "_")
            );
            return false;
        }
        images.push(image(architecture, target));
    }
    let version = env!("CARGO_PKG_VERSION");
    let dist = crate::target_directory().join("dist");
    fs::create_dir_all(&dist).expect("a directory for the release");
    let archive = dist.join(format!("bindu-{version}-{}.oci.tar", wanted.join("-")));
    let name = format!("docker.io/library/bindu:{version}");
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

fn image(architecture: &str, target: &str) -> oci::Image {
    let program = fs::read(dist::static_binary(target)).expect("the program can be read");
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

/// Is there a C compiler for another kind of machine? Cargo's build scripts look for these, too.
fn has_cross_compiler(target: &str) -> bool {
    let named = std::env::var_os(format!("CC_{}", target.replace('-', "_")));
    let candidates = ["aarch64-linux-musl-gcc", "aarch64-linux-gnu-gcc"].map(PathBuf::from);
    named.map(PathBuf::from).into_iter().chain(candidates).any(|compiler| {
        Command::new(compiler).arg("--version").output().is_ok_and(|output| output.status.success())
    })
}

/// Loads it as containerd does and starts it, as nobody and on a file system that can't be written.
fn starts(archive: &Path, name: &str, version: &str) -> bool {
    if !Cluster::can_run() {
        println!("image: not started: it needs root");
        return true;
    }
    let runtime = tokio::runtime::Runtime::new().expect("the system has threads to give");
    let said = runtime.block_on(async {
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
    said.trim() == format!("bindu {version}")
}
