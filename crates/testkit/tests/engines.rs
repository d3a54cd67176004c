//! What `oci` writes is what container engines load.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use bindu_testkit::{
    Cluster,
    engines::Engine,
    oci::{self, Files, Image, Layers},
};
use serde_json::json;
use std::path::Path;

/// An image for this kind of machine and one for another, with what `cargo xtask image` puts in.
fn archive(layers: Layers, to: &Path) -> &'static str {
    let other = if oci::architecture() == "amd64" { "arm64" } else { "amd64" };
    let images = [other, oci::architecture()].map(|architecture| Image {
        architecture: architecture.into(),
        files: Files::default()
            .program("usr/bin/say", Path::new("/bin/echo"))
            .directory("data", 0o700, 65532),
        entrypoint: vec!["/usr/bin/say".into(), "said:".into()],
        arguments: vec!["nothing".into()],
        user: "65532:65532".into(),
        environment: vec!["ANSWER=42".into()],
        ports: vec![3773],
        labels: [("org.opencontainers.image.title".to_owned(), "it".to_owned())].into(),
        materials: Some(json!({"components": []})),
    });
    let name = "docker.io/library/it:1";
    oci::write(&images, name, 1_700_000_000, layers, to).unwrap();
    name
}

#[test]
fn docker_and_podman_load_an_archive_and_run_its_image() {
    if !Cluster::can_run_here() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("it.tar");
    for layers in [Layers::Compressed, Layers::Plain] {
        let name = archive(layers, &file);
        for engine in [Engine::Docker, Engine::Podman] {
            let loaded = engine.run(&file, name, &["a", "word"]);
            assert_eq!(loaded.printed, "said: a word\n", "{engine:?} {layers:?}");
            assert_eq!(engine.run(&file, "it:1", &[]).printed, "said: nothing\n", "by its short name");
            let seen = &loaded.inspected;
            assert_eq!(seen["Architecture"], oci::architecture(), "{engine:?}: {seen}");
            assert_eq!(seen["Created"], "2023-11-14T22:13:20Z", "{engine:?}");
            let settings = &seen["Config"];
            assert_eq!(settings["User"], "65532:65532", "{engine:?}");
            assert_eq!(settings["Labels"]["org.opencontainers.image.title"], "it", "{engine:?}");
            assert!(settings["ExposedPorts"]["3773/tcp"].is_object(), "{engine:?}");
        }
    }
}
