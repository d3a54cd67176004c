//! kill -9 of a `FileStore`'s writes, at each system call on its files.
#![allow(missing_docs, clippy::unwrap_used)]

use bindu_identity::{AgentId, Did, SigningKey, pem};
use bindu_store::{
    Answer, DataDirectory, Expected, Fields, FileStore, Record, RecordName, SecretStore, Version, WriteError,
};
use bindu_testkit::{
    install,
    kills::{self, Place},
};
use secrecy::ExposeSecret as _;
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

const ID: &str = "5c908f70-ec50-7e33-bf7d-2735c15d5c13";
const DID: &str = "did:bindu:a:b:5c908f70-ec50-7e33-bf7d-2735c15d5c13";

/// Which write is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    /// The first key, in a fresh directory.
    Create,
    /// Another key: `private.pem`, `public.pem` and the fields of our own change.
    Rotate,
    /// Over key files of Python Bindu's, which no `identity.json` knows.
    RotatePythons,
    /// Another key, encrypted with a password that this process does not have.
    RotateEncrypted,
    /// The same key with other fields, as a rotation is prepared.
    Prepare,
    /// The first credentials.
    CreateCredentials,
    /// Another secret.
    RewriteCredentials,
}

const WRITES: [Write; 7] = [
    Write::Create,
    Write::Rotate,
    Write::RotatePythons,
    Write::RotateEncrypted,
    Write::Prepare,
    Write::CreateCredentials,
    Write::RewriteCredentials,
];

impl Write {
    fn name(self) -> RecordName {
        match self {
            Self::CreateCredentials | Self::RewriteCredentials => {
                RecordName::Credentials(DID.parse::<Did>().unwrap())
            }
            _ => RecordName::Keys(ID.parse::<AgentId>().unwrap()),
        }
    }

    /// What is there before.
    fn before(self) -> Option<Fields> {
        match self {
            Self::Create | Self::CreateCredentials => None,
            Self::RewriteCredentials => Some(credentials("old")),
            Self::RotatePythons => {
                let mut fields = keys(1, false);
                for field in ["did", "replaces", "next_private_key"] {
                    fields.remove(field);
                }
                Some(fields)
            }
            Self::RotateEncrypted => Some(keys(1, true)),
            _ => Some(keys(1, false)),
        }
    }

    /// What is written.
    fn after(self) -> Fields {
        match self {
            Self::CreateCredentials | Self::RewriteCredentials => credentials("new"),
            Self::RotateEncrypted => keys(2, true),
            Self::Prepare => {
                let mut fields = keys(1, false);
                fields.set("next_private_key", "prepared");
                fields
            }
            _ => keys(2, false),
        }
    }

    fn version_before(self) -> Version {
        Version::from(self.before().is_some())
    }
}

/// A keys record; the same each time, in every process.
fn keys(number: u8, encrypted: bool) -> Fields {
    let key = SigningKey::from_seed(&[number; 32]);
    let private = match (encrypted, number) {
        (false, _) => pem::encode_private_key(&key).expose_secret().to_owned(),
        // Encryption is salted: each process would make another text. Nobody here could read it anyway.
        (true, _) => format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{number}\n"),
    };
    let mut fields = Fields::default();
    fields.set("private_key", private);
    fields.set("public_key", pem::encode_public_key(&key.public_key()));
    fields.set("did", DID);
    fields.set("replaces", json!([format!("replaced by {number}")]));
    fields.set("next_private_key", format!("next of {number}"));
    fields
}

fn credentials(secret: &str) -> Fields {
    let mut fields = Fields::default();
    fields.set("client_id", DID);
    fields.set("client_secret", secret);
    fields.set("a field of tomorrow", secret);
    fields
}

fn open(path: &Path) -> FileStore {
    let directory = DataDirectory::open(path, &DID.parse().unwrap(), ID).expect("opens");
    FileStore::new(Arc::new(directory), None)
}

/// A directory in which the write's old record is.
fn prepare(write: Write, path: &Path) {
    let Some(fields) = write.before() else { return };
    if write == Write::RotatePythons {
        std::fs::create_dir_all(path).unwrap();
        for (file, field) in [("private.pem", "private_key"), ("public.pem", "public_key")] {
            let text = fields.expose().get(field).unwrap().as_str().unwrap();
            std::fs::write(path.join(file), text).unwrap();
        }
        return;
    }
    let written = block_on(async { open(path).write(&write.name(), &fields, Expected::Absent).await });
    assert_eq!(written, Ok(1));
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The process that is killed: this test again, by itself, with the write's number in the environment.
#[test]
fn write_once() {
    let Some(number) = std::env::var("BINDU_TEST_WRITE").ok() else { return };
    let write = WRITES.get(number.parse::<usize>().unwrap()).copied().unwrap();
    let path = PathBuf::from(std::env::var_os("BINDU_TEST_DIRECTORY").unwrap());
    let expected = match write.version_before() {
        0 => Expected::Absent,
        version => Expected::Version(version),
    };
    let written = block_on(async { open(&path).write(&write.name(), &write.after(), expected).await });
    assert_eq!(written, Ok(write.version_before() + 1));
}

/// Runs the write in a process of its own under strace with these arguments. Whether it ended well.
fn run(write: Write, path: &Path, strace: &[String]) -> bool {
    let number = WRITES.iter().position(|known| *known == write).unwrap();
    let status = Command::new(install::strace())
        .args(strace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "write_once", "--test-threads=1", "--quiet"])
        .env("BINDU_TEST_WRITE", number.to_string())
        .env("BINDU_TEST_DIRECTORY", path)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    status.success()
}

fn places(write: Write) -> Vec<Place> {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    prepare(write, &path);
    let trace = parent.path().join("trace");
    assert!(run(write, &path, &kills::recording(&trace)), "{write:?} goes well");
    let text = std::fs::read_to_string(&trace).unwrap();
    kills::places(&text, &path).into_iter().filter(|place| place.file.is_some()).collect()
}

fn record(store: &FileStore, name: &RecordName) -> Option<Record> {
    match block_on(store.read(name)) {
        Answer::Present(record) => Some(record),
        Answer::Absent => None,
        other => panic!("{other:?}"),
    }
}

/// kill -9 at every open, write, fsync, rename, mkdir and lock of a `FileStore`: the first key, another key, one over Python
/// Bindu's files, one that is encrypted, other fields of the same key, the first credentials, other credentials.
///
/// Promise: the next read gives exactly the old record or the new one, all fields included, at its own version; the next
/// write goes through; no half-written file is left; `public.pem` is the key's again.
#[test]
fn a_file_store_killed_at_each_system_call() {
    for write in WRITES {
        let (mut hit, mut old, mut new) = (0, 0, 0);
        let places = places(write);
        for place in &places {
            let parent = tempfile::tempdir().unwrap();
            let path = parent.path().join("data");
            prepare(write, &path);
            hit += usize::from(!run(write, &path, &kills::killing(place, &path, parent.path())));
            let how = format!("{write:?} killed at {place:?}");
            let (store, name) = (open(&path), write.name());
            let found = record(&store, &name);
            if found.is_some() {
                let identity = std::fs::read_to_string(path.join("identity.json")).unwrap();
                assert!(!identity.contains("\"before\""), "{how}: the other version is forgotten");
            }
            let version = found.as_ref().map_or(0, |record| record.version);
            match found.as_ref().map(|record| &record.fields) {
                Some(fields) if *fields == write.after() => {
                    assert_eq!(version, write.version_before() + 1, "{how}");
                    new += 1;
                }
                fields => {
                    assert!(fields == write.before().as_ref(), "{how}: neither old nor new: {fields:?}");
                    assert_eq!(version, write.version_before(), "{how}");
                    old += 1;
                }
            }
            let expected = if version == 0 { Expected::Absent } else { Expected::Version(version) };
            let stale = if version == 0 { Expected::Version(1) } else { Expected::Absent };
            let mut next = write.after();
            next.set("next_private_key", "another");
            assert_eq!(block_on(store.write(&name, &next, stale)), Err(WriteError::Conflict), "{how}");
            assert_eq!(block_on(store.write(&name, &next, expected)), Ok(version + 1), "{how}");
            assert_eq!(record(&store, &name).map(|record| record.fields), Some(next), "{how}");
            let entries = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name());
            let names: Vec<_> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
            assert!(!names.iter().any(|name| name.starts_with(".writing-")), "{how}: {names:?}");
        }
        assert!(places.len() >= 10, "{write:?}: {places:?}");
        // The order of calls is the same each time.
        assert_eq!(hit, places.len(), "{write:?}: every place was hit");
        assert!(old > 0 && new > 0, "{write:?}: {old} old, {new} new");
    }
}

#[test]
fn a_replaced_private_key_is_the_next_version() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    prepare(Write::Rotate, &path);
    let old = keys(1, false);
    // Somebody has put another key in place of ours: the next version, without our fields.
    let theirs = pem::encode_private_key(&SigningKey::from_seed(&[9; 32]));
    std::fs::write(path.join("private.pem"), theirs.expose_secret()).unwrap();
    let store = open(&path);
    let found = record(&store, &Write::Rotate.name()).unwrap();
    assert_eq!(found.version, 2);
    assert!(found.fields != old && !found.fields.expose().contains_key("replaces"));
    // Its public half is derived: the file is still the old key's.
    let public = found.fields.expose().get("public_key").unwrap().as_str().unwrap().to_owned();
    assert_eq!(pem::decode_public_key(&public).unwrap(), SigningKey::from_seed(&[9; 32]).public_key());
}
