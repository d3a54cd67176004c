//! Container images without an engine and without a registry: OCI archives, as `docker load`, `podman load` and
//! `ctr images import` take them.
//!
//! The same contents give the same bytes: entries are sorted, owners are numbers, and all times are the one that the image
//! names. A list of what is built in is attached as BuildKit attaches it: a manifest of its own in the image's index, which
//! names the manifest that it is about.

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

/// What a file system holds, by absolute path without the leading slash.
#[derive(Debug, Clone, Default)]
pub struct Files(BTreeMap<String, Entry>);

#[derive(Debug, Clone)]
enum Entry {
    Directory { mode: u32, owner: u64 },
    File { mode: u32, content: Vec<u8> },
    Link { to: String },
}

impl Files {
    /// A directory, and those above it. It belongs to this user and group.
    #[must_use]
    pub fn directory(mut self, path: &str, mode: u32, owner: u64) -> Self {
        self.add_parents(path);
        self.0.insert(path.to_owned(), Entry::Directory { mode, owner });
        self
    }

    /// A file of root's with this content.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.add_parents(path);
        self.0.insert(path.to_owned(), Entry::File { mode, content: content.into() });
        self
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, to: &str) -> Self {
        self.add_parents(path);
        self.0.insert(path.to_owned(), Entry::Link { to: to.to_owned() });
        self
    }

    /// A program of this machine with the libraries that it is linked with, at the places where it looks for them.
    ///
    /// # Panics
    /// If one of them can't be read.
    #[must_use]
    pub fn program(self, path: &str, program: &Path) -> Self {
        let read = |path: &Path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut files = self.file(path, 0o755, read(program));
        // Of a program without libraries it says so, and ends with 1.
        let output = std::process::Command::new("ldd").arg(program).output().expect("ldd can be run");
        for word in String::from_utf8_lossy(&output.stdout).split_whitespace() {
            if word.starts_with('/') && Path::new(word).is_file() {
                files = files.file(word.trim_start_matches('/'), 0o755, read(Path::new(word)));
            }
        }
        files
    }

    fn add_parents(&mut self, path: &str) {
        for (index, _) in path.match_indices('/') {
            let parent = path.get(..index).unwrap_or_default().to_owned();
            self.0.entry(parent).or_insert(Entry::Directory { mode: 0o755, owner: 0 });
        }
    }

    fn tar(&self, time: u64) -> io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            let mut header = tar::Header::new_gnu();
            header.set_mtime(time);
            header.set_uid(0);
            header.set_gid(0);
            match entry {
                Entry::Directory { mode, owner } => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_mode(*mode);
                    header.set_uid(*owner);
                    header.set_gid(*owner);
                    header.set_size(0);
                    archive.append_data(&mut header, format!("{path}/"), io::empty())?;
                }
                Entry::File { mode, content } => {
                    header.set_mode(*mode);
                    header.set_size(content.len() as u64);
                    archive.append_data(&mut header, path, content.as_slice())?;
                }
                Entry::Link { to } => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_mode(0o777);
                    header.set_size(0);
                    archive.append_link(&mut header, path, to)?;
                }
            }
        }
        archive.into_inner()
    }
}

/// One image for one kind of machine.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// What is in it.
    pub files: Files,
    /// What is run, with its first arguments.
    pub entrypoint: Vec<String>,
    /// Its further arguments, if nobody names others.
    pub arguments: Vec<String>,
    /// `UID:GID`; root if empty.
    pub user: String,
    /// `NAME=VALUE`.
    pub environment: Vec<String>,
    /// Ports that it may listen on.
    pub ports: Vec<u16>,
    /// What it says of itself.
    pub labels: BTreeMap<String, String>,
    /// The list of what is built in, CycloneDX in JSON.
    pub materials: Option<Value>,
}

/// How layers are stored: compressed is smaller, plain is faster to make and to unpack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layers {
    /// By gzip.
    Compressed,
    /// As they are.
    Plain,
}

/// The kind of this machine, in the words of images.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Writes an archive with one image, for each kind of machine that is given, under this full name
/// (`docker.io/library/bindu:0.2.0`). `time` is when it was made, in seconds after 1970.
///
/// # Errors
/// If the file can't be written.
pub fn write(images: &[Image], name: &str, time: u64, layers: Layers, to: &Path) -> io::Result<()> {
    let mut archive = Archive { tar: tar::Builder::new(Vec::new()), time, written: Vec::new() };
    let (mut manifests, mut for_old_engines) = (Vec::new(), Vec::new());
    for image in images {
        let (descriptor, old) = archive.image(image, name, layers)?;
        let attached = image.materials.as_ref().map(|list| archive.attached(list, name, &descriptor));
        manifests.push(descriptor);
        manifests.extend(attached.transpose()?);
        for_old_engines.push(old);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    let mut index = archive.blob(INDEX, &to_bytes(&index))?;
    let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    index["annotations"] =
        json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
    let top = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [index]});
    archive.file("index.json", &to_bytes(&top))?;
    archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    // Docker before version 25 reads this alone. It knows one kind of machine: this one, if it is among them.
    let own = images.iter().position(|image| image.architecture == architecture()).unwrap_or(0);
    if let Some(old) = for_old_engines.get(own) {
        archive.file("manifest.json", &to_bytes(&json!([old])))?;
    }
    File::create(to)?.write_all(&archive.tar.into_inner()?)
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

struct Archive {
    tar: tar::Builder<Vec<u8>>,
    time: u64,
    written: Vec<String>,
}

impl Archive {
    /// The image's descriptor, and what old engines are told.
    fn image(&mut self, image: &Image, name: &str, layers: Layers) -> io::Result<(Value, Value)> {
        let layer = image.files.tar(self.time)?;
        let uncompressed = digest(&layer);
        let layer = match layers {
            Layers::Plain => self.blob(LAYER, &layer)?,
            Layers::Compressed => {
                let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
                gzip.write_all(&layer)?;
                self.blob(&format!("{LAYER}+gzip"), &gzip.finish()?)?
            }
        };
        let made = rfc_3339(self.time);
        let ports: BTreeMap<_, _> =
            image.ports.iter().map(|port| (format!("{port}/tcp"), json!({}))).collect();
        let mut run = json!({
            "Entrypoint": image.entrypoint, "Cmd": image.arguments, "Env": image.environment,
            "ExposedPorts": ports, "Labels": image.labels, "WorkingDir": "/",
        });
        if !image.user.is_empty() {
            run["User"] = json!(image.user);
        }
        let config = json!({
            "created": made, "architecture": image.architecture, "os": "linux", "config": run,
            "rootfs": {"type": "layers", "diff_ids": [uncompressed]},
            "history": [{"created": made, "created_by": "cargo xtask image"}],
        });
        let config = self.blob(CONFIG, &to_bytes(&config))?;
        let old = json!({
            "Config": path_of(&config), "RepoTags": [name.trim_start_matches("docker.io/library/")],
            "Layers": [path_of(&layer)],
        });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
            "annotations": image.labels,
        });
        let mut descriptor = self.blob(MANIFEST, &to_bytes(&manifest))?;
        descriptor["platform"] = json!({"architecture": image.architecture, "os": "linux"});
        Ok((descriptor, old))
    }

    /// The descriptor of a statement (in-toto) about an image: what is built into it.
    fn attached(&mut self, materials: &Value, name: &str, about: &Value) -> io::Result<Value> {
        const STATEMENT: &str = "application/vnd.in-toto+json";
        let kind = "https://cyclonedx.org/bom";
        let hash = about["digest"].as_str().unwrap_or_default().trim_start_matches("sha256:");
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v0.1", "predicateType": kind,
            "subject": [{"name": name, "digest": {"sha256": hash}}], "predicate": materials,
        });
        let mut layer = self.blob(STATEMENT, &to_bytes(&statement))?;
        let content = layer["digest"].clone();
        layer["annotations"] = json!({"in-toto.io/predicate-type": kind});
        let config = json!({
            "architecture": "unknown", "os": "unknown", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [content]},
        });
        let config = self.blob(CONFIG, &to_bytes(&config))?;
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        let mut descriptor = self.blob(MANIFEST, &to_bytes(&manifest))?;
        descriptor["platform"] = json!({"architecture": "unknown", "os": "unknown"});
        descriptor["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": about["digest"],
        });
        Ok(descriptor)
    }

    /// Stores something by its digest; its descriptor.
    fn blob(&mut self, kind: &str, content: &[u8]) -> io::Result<Value> {
        let digest = digest(content);
        let descriptor = json!({"mediaType": kind, "digest": digest, "size": content.len()});
        let path = path_of(&descriptor);
        if !self.written.contains(&path) {
            self.file(&path, content)?;
            self.written.push(path);
        }
        Ok(descriptor)
    }

    fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(self.time);
        header.set_size(content.len() as u64);
        self.tar.append_data(&mut header, path, content)
    }
}

fn path_of(descriptor: &Value) -> String {
    let digest = descriptor["digest"].as_str().unwrap_or_default();
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

fn digest(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    hash.iter().fold("sha256:".to_owned(), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn to_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// A time as configurations of images want it.
fn rfc_3339(time: u64) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time);
    // `Sat, 01 Jan 2000 00:00:00 GMT`: day, month and year are at fixed places.
    let date = httpdate::fmt_http_date(at);
    let part = |range: std::ops::Range<usize>| date.get(range).unwrap_or_default();
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|month| *month == part(8..11)).map_or(1, |index| index + 1);
    format!("{}-{month:02}-{}T{}Z", part(12..16), part(5..7), part(17..25))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        Image {
            architecture: "amd64".into(),
            files: Files::default().directory("data", 0o700, 65532).file("usr/bin/it", 0o755, "#!"),
            entrypoint: vec!["/usr/bin/it".into()],
            user: "65532:65532".into(),
            materials: Some(json!({"components": []})),
            ..Image::default()
        }
    }

    fn written(layers: Layers) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        write(&[image()], "docker.io/library/it:1", 1_700_000_000, layers, file.path())
            .expect("it is written");
        fs::read(file.path()).expect("it is there")
    }

    #[test]
    fn the_same_contents_give_the_same_bytes() {
        for layers in [Layers::Compressed, Layers::Plain] {
            assert!(written(layers) == written(layers));
        }
    }

    #[test]
    fn everything_that_is_named_is_there_with_its_digest() {
        let bytes = written(Layers::Compressed);
        let mut blobs = BTreeMap::new();
        let mut archive = tar::Archive::new(bytes.as_slice());
        for entry in archive.entries().expect("an archive") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            let mut content = Vec::new();
            io::Read::read_to_end(&mut entry, &mut content).expect("its content");
            blobs.insert(path, content);
        }
        let read = |path: &str| serde_json::from_slice::<Value>(&blobs[path]).expect("JSON");
        let index = read(&path_of(&read("index.json")["manifests"][0]));
        let [manifest, statement] = index["manifests"].as_array().expect("a list").as_slice() else {
            panic!("an image and what is attached to it: {index}");
        };
        assert_eq!(statement["annotations"]["vnd.docker.reference.digest"], manifest["digest"]);
        for descriptor in [manifest, statement] {
            let found = &blobs[&path_of(descriptor)];
            assert_eq!(descriptor["digest"], digest(found));
            let inner = read(&path_of(descriptor));
            for part in [&inner["config"], &inner["layers"][0]] {
                assert_eq!(part["digest"], digest(&blobs[&path_of(part)]));
                assert_eq!(part["size"], blobs[&path_of(part)].len());
            }
        }
        let old = read("manifest.json");
        assert_eq!(old[0]["RepoTags"][0], "it:1");
        let config = read(old[0]["Config"].as_str().expect("a path"));
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        assert_eq!(config["config"]["User"], "65532:65532");
    }
}
