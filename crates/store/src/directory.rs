//! The data directory: Python Bindu's files, and `identity.json`, `archive/` and `lock` of our own.
//!
//! Owns how a file gets there: 0600 from its first byte, under a temporary name, synced, renamed, the directory
//! synced. A reader sees the old file or the new one, after a crash too. Nothing here is written without the lock.

use crate::{Fields, Version};
use bindu_identity::{Did, Fingerprint};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::OnceLock,
};

const PRIVATE_KEY: &str = "private.pem";
const PUBLIC_KEY: &str = "public.pem";
const CREDENTIALS: &str = "oauth_credentials.json";
const IDENTITY: &str = "identity.json";
const ARCHIVE: &str = "archive";
const LOCK: &str = "lock";
/// What a crash leaves of a file that was being written; swept when the lock is taken.
const TEMPORARY_PREFIX: &str = ".writing-";

/// `open` fails at a symbolic link.
const NO_LINK: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// The format of `identity.json` that this version writes.
const IDENTITY_FORMAT: u32 = 1;

/// An agent's data directory.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// Held for as long as the process may write. The kernel lets go of it when the process dies.
    lock: OnceLock<File>,
}

/// What went wrong with the directory, and where.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}")]
pub struct DirectoryError {
    /// What was tried.
    pub operation: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What can be done about it.
    pub kind: DirectoryErrorKind,
    /// The system's own words.
    #[source]
    pub source: io::Error,
}

/// What can be done about a [`DirectoryError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectoryErrorKind {
    /// Another process works in it.
    InUse,
    /// Not ours to write: permissions, or a read-only file system.
    NotWritable,
    /// No space or quota left.
    Full,
    /// A symbolic link where a file should be.
    Link,
    /// A file whose content no agent can have written.
    Malformed,
    /// Anything else.
    Other,
}

/// The two key files as they lie there; an empty file counts as none, since a crash of Python Bindu leaves one.
#[derive(Debug, Default)]
pub struct LocalPair {
    /// `private.pem`.
    pub private_key: Option<SecretString>,
    /// `public.pem`.
    pub public_key: Option<String>,
}

/// Whose directory it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryOwner {
    /// This agent's, by `identity.json` or by its credentials.
    This,
    /// It does not say: empty, or key files alone.
    Unknown,
    /// Another agent's.
    Another(String),
}

/// `identity.json`: what this directory remembers of its identity. No secret, but for what a [`FileStore`](crate::FileStore)
/// keeps of the records' further fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IdentityFile {
    /// The form of this file: 1.
    pub format: u32,
    /// The agent's DID.
    pub did: String,
    /// The agent's id.
    pub agent_id: String,
    /// The public key, base58.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// That the store holds `public_key`, as far as we know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
    /// Made while the store could not be asked: yields to the store's.
    #[serde(default)]
    pub provisional: bool,
    /// When the key was made or first met, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// What a `FileStore` remembers of each record: its version, a digest of its file, its further fields.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub records: Map<String, Value>,
}

/// That a key was read from the store, or written by an answered compare-and-set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// `vault` or `file`.
    pub store: String,
    /// At which version.
    pub version: Version,
}

impl IdentityFile {
    /// What an agent's directory says before anything is known of its key.
    #[must_use]
    pub fn new(did: &Did, agent_id: &str) -> Self {
        Self {
            format: IDENTITY_FORMAT,
            did: did.to_string(),
            agent_id: agent_id.to_owned(),
            ..Self::default()
        }
    }
}

impl DataDirectory {
    /// Looks at a directory without changing anything, not even whether it exists.
    #[must_use]
    pub fn look(path: &Path) -> Self {
        Self { path: path.to_owned(), lock: OnceLock::new() }
    }

    /// Makes the directory where it is missing, takes its lock, and sweeps what an earlier crash left half-written.
    ///
    /// # Errors
    /// [`DirectoryErrorKind::InUse`] where another process holds the lock; else why it can't be written.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let directory = Self::look(path);
        directory.open_again()?;
        Ok(directory)
    }

    /// The same for a directory that was looked at only, or could not be opened before. Does nothing to an open one.
    ///
    /// # Errors
    /// As [`DataDirectory::open`].
    pub fn open_again(&self) -> Result<(), DirectoryError> {
        if self.is_open() {
            return Ok(());
        }
        let path = self.path.as_path();
        let error = |operation| move |source| DirectoryError::new(operation, path, source);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(error("create"))?;
        tighten(path);
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(NO_LINK)
            .open(&lock_path)
            .map_err(|source| DirectoryError::new("open", &lock_path, source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DirectoryError {
                    operation: "lock",
                    path: path.to_owned(),
                    kind: DirectoryErrorKind::InUse,
                    source: io::Error::other("another process holds its lock"),
                });
            }
            Err(TryLockError::Error(source)) => return Err(DirectoryError::new("lock", &lock_path, source)),
        }
        self.sweep();
        let _ = self.lock.set(lock);
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this process may write here.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.lock.get().is_some()
    }

    /// Whose directory this is: by `identity.json`, else by the DIDs in `oauth_credentials.json`.
    ///
    /// # Errors
    /// Where one of them can't be read.
    pub fn owner(&self, did: &Did) -> Result<DirectoryOwner, DirectoryError> {
        if let Some(identity) = self.identity()? {
            return Ok(if identity.did == did.as_str() {
                DirectoryOwner::This
            } else {
                DirectoryOwner::Another(identity.did)
            });
        }
        let credentials = self.all_credentials()?;
        Ok(match credentials.keys().next() {
            None => DirectoryOwner::Unknown,
            Some(_) if credentials.contains_key(did.as_str()) => DirectoryOwner::This,
            Some(other) => DirectoryOwner::Another(other.clone()),
        })
    }

    /// The key files.
    ///
    /// # Errors
    /// Where one is there and can't be read.
    pub fn pair(&self) -> Result<LocalPair, DirectoryError> {
        Ok(LocalPair {
            private_key: self.read_text(PRIVATE_KEY)?.map(SecretString::from),
            public_key: self.read_text(PUBLIC_KEY)?,
        })
    }

    /// Writes the key files, the private one first: the public one can be derived from it.
    ///
    /// # Errors
    /// Where one can't be written; the other files are as they were.
    pub fn write_pair(&self, private_key: &SecretString, public_key: &str) -> Result<(), DirectoryError> {
        self.write(PRIVATE_KEY, private_key.expose_secret().as_bytes())?;
        self.write(PUBLIC_KEY, public_key.as_bytes())
    }

    /// Writes `public.pem` alone, where it was lost.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn write_public_key(&self, public_key: &str) -> Result<(), DirectoryError> {
        self.write(PUBLIC_KEY, public_key.as_bytes())
    }

    /// Keeps the current key files under `archive/`, named by `fingerprint` where the key can be read, before others take their place.
    ///
    /// # Errors
    /// Where the copy can't be written; then nothing else may be overwritten either.
    pub fn archive_pair(&self, fingerprint: Option<&Fingerprint>) -> Result<PathBuf, DirectoryError> {
        let pair = self.pair()?;
        let archive = self.path.join(ARCHIVE);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&archive)
            .map_err(|source| DirectoryError::new("create", &archive, source))?;
        // A key that can't be read has no fingerprint; a digest of its file names it as well.
        let name = fingerprint.map(ToString::to_string).unwrap_or_else(|| {
            let text =
                pair.private_key.as_ref().map(|key| key.expose_secret().as_bytes()).unwrap_or_default();
            let digest: String =
                Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("unreadable-{digest}")
        });
        let private_name = format!("{name}.private.pem");
        if let Some(private_key) = &pair.private_key {
            write_file(&archive, &private_name, private_key.expose_secret().as_bytes())?;
        }
        if let Some(public_key) = &pair.public_key {
            write_file(&archive, &format!("{name}.public.pem"), public_key.as_bytes())?;
        }
        Ok(archive.join(private_name))
    }

    /// `identity.json`, where there is one.
    ///
    /// # Errors
    /// Where it can't be read, or is not of a form that this version knows.
    pub fn identity(&self) -> Result<Option<IdentityFile>, DirectoryError> {
        let Some(text) = self.read_text(IDENTITY)? else { return Ok(None) };
        let path = self.path.join(IDENTITY);
        let identity: IdentityFile = serde_json::from_str(&text)
            .map_err(|_| DirectoryError::malformed(&path, "it is not an identity file of this agent's"))?;
        if identity.format == IDENTITY_FORMAT {
            Ok(Some(identity))
        } else {
            Err(DirectoryError::malformed(&path, "it was written by another version of bindu"))
        }
    }

    /// Replaces `identity.json`.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn write_identity(&self, identity: &IdentityFile) -> Result<(), DirectoryError> {
        let text = serde_json::to_string_pretty(identity).expect("an identity file has string keys only");
        self.write(IDENTITY, text.as_bytes())
    }

    /// The OAuth credentials of a DID, where there are some.
    ///
    /// # Errors
    /// Where the file can't be read, or is no JSON object of objects.
    pub fn credentials(&self, did: &Did) -> Result<Option<Fields>, DirectoryError> {
        match self.all_credentials()?.remove(did.as_str()) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Fields::new(fields))),
            Some(_) => {
                let path = self.path.join(CREDENTIALS);
                Err(DirectoryError::malformed(&path, "the entry of this DID is not an object"))
            }
        }
    }

    /// Writes the OAuth credentials of a DID; those of other DIDs in the same file stay.
    ///
    /// # Errors
    /// Where the file can't be read or written.
    pub fn write_credentials(&self, did: &Did, fields: &Fields) -> Result<(), DirectoryError> {
        let mut all = self.all_credentials()?;
        all.insert(did.to_string(), Value::Object(fields.expose().clone()));
        let text = serde_json::to_string_pretty(&all).expect("a JSON object serialises");
        self.write(CREDENTIALS, text.as_bytes())
    }

    fn all_credentials(&self) -> Result<Map<String, Value>, DirectoryError> {
        let Some(text) = self.read_text(CREDENTIALS)? else { return Ok(Map::new()) };
        serde_json::from_str(&text).map_err(|_| {
            DirectoryError::malformed(
                &self.path.join(CREDENTIALS),
                "it is not a JSON object of OAuth credentials",
            )
        })
    }

    /// A file's text; `None` where there is none, or nothing but white space in it.
    fn read_text(&self, name: &str) -> Result<Option<String>, DirectoryError> {
        let path = self.path.join(name);
        let mut text = String::new();
        // Whoever may write a link here could point it at any file of this user's.
        let opened = OpenOptions::new().read(true).custom_flags(NO_LINK).open(&path);
        match opened.and_then(|mut file| file.read_to_string(&mut text)) {
            Ok(_) if text.trim().is_empty() => Ok(None),
            Ok(_) => Ok(Some(text)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DirectoryError::new("read", &path, source)),
        }
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), DirectoryError> {
        if !self.is_open() {
            let source = io::Error::other("it was opened for reading only");
            return Err(DirectoryError::new("write", &self.path.join(name), source));
        }
        write_file(&self.path, name, content)
    }

    fn sweep(&self) {
        for directory in [&self.path, &self.path.join(ARCHIVE)] {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            let is_temporary = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(TEMPORARY_PREFIX);
            for entry in entries.filter(|entry| is_temporary(&entry.file_name())) {
                let _ = fs::remove_file(entry.path());
            }
        }
        for secret in [PRIVATE_KEY, CREDENTIALS, IDENTITY] {
            let path = self.path.join(secret);
            if let Ok(metadata) = fs::symlink_metadata(&path)
                && metadata.is_file()
                && metadata.permissions().mode() & 0o077 != 0
            {
                tracing::warn!(path = %path.display(), "others could read this file: setting its mode to 0600");
                let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o600));
            }
        }
    }
}

impl DirectoryError {
    fn new(operation: &'static str, path: &Path, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                DirectoryErrorKind::NotWritable
            }
            _ if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                DirectoryErrorKind::Link
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DirectoryErrorKind::Full,
            io::ErrorKind::InvalidData => DirectoryErrorKind::Malformed,
            _ => DirectoryErrorKind::Other,
        };
        Self { operation, path: path.to_owned(), kind, source }
    }

    fn malformed(path: &Path, problem: &'static str) -> Self {
        Self::new("read", path, io::Error::new(io::ErrorKind::InvalidData, problem))
    }
}

/// Python Bindu made the directory readable for all. Where we may not change that (a volume of somebody else's), the
/// files' own modes still hold.
fn tighten(path: &Path) {
    if fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0) {
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    }
}

fn write_file(directory: &Path, name: &str, content: &[u8]) -> Result<(), DirectoryError> {
    let path = directory.join(name);
    let error = |source| DirectoryError::new("write", &path, source);
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .suffix(name)
        .rand_bytes(0)
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(directory)
        .map_err(error)?;
    file.write_all(content).map_err(error)?;
    file.as_file().sync_all().map_err(error)?;
    file.persist(&path).map_err(|failed| error(failed.error))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did() -> Did {
        "did:bindu:a:b:c".parse().expect("a DID")
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn files_are_0600_and_the_directory_0700() {
        let parent = tempfile::tempdir().expect("a directory");
        let path = parent.path().join(".bindu");
        fs::create_dir(&path).expect("a directory as Python Bindu makes it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        let directory = DataDirectory::open(&path).expect("opens");
        directory.write_pair(&SecretString::from("private"), "public").expect("writes");
        directory.write_credentials(&did(), &Fields::default()).expect("writes");
        directory.write_identity(&IdentityFile::new(&did(), "c")).expect("writes");
        assert_eq!(mode(&path), 0o700);
        for name in [PRIVATE_KEY, PUBLIC_KEY, CREDENTIALS, IDENTITY, LOCK] {
            assert_eq!(mode(&path.join(name)), 0o600, "{name}");
        }
    }

    #[test]
    fn looking_creates_nothing() {
        let parent = tempfile::tempdir().expect("a directory");
        let path = parent.path().join(".bindu");
        let directory = DataDirectory::look(&path);
        assert!(directory.pair().expect("readable").private_key.is_none());
        assert_eq!(directory.owner(&did()).expect("readable"), DirectoryOwner::Unknown);
        assert!(directory.write_public_key("x").is_err());
        assert!(!path.exists());
    }

    #[test]
    fn a_second_process_is_told_so() {
        let parent = tempfile::tempdir().expect("a directory");
        let _first = DataDirectory::open(parent.path()).expect("opens");
        let second = DataDirectory::open(parent.path()).expect_err("is locked");
        assert_eq!(second.kind, DirectoryErrorKind::InUse);
    }

    #[test]
    fn the_owner_is_named_by_identity_or_credentials() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = DataDirectory::open(parent.path()).expect("opens");
        let other: Did = "did:bindu:other:x:y".parse().expect("a DID");
        directory.write_credentials(&other, &Fields::default()).expect("writes");
        assert_eq!(directory.owner(&did()).expect("readable"), DirectoryOwner::Another(other.to_string()));
        directory.write_credentials(&did(), &Fields::default()).expect("writes");
        assert_eq!(directory.owner(&did()).expect("readable"), DirectoryOwner::This);
        directory.write_identity(&IdentityFile::new(&other, "y")).expect("writes");
        assert_eq!(directory.owner(&did()).expect("readable"), DirectoryOwner::Another(other.to_string()));
    }

    #[test]
    fn leftovers_of_a_crash_are_swept_and_empty_files_are_no_files() {
        let parent = tempfile::tempdir().expect("a directory");
        let leftover = parent.path().join(".writing-abc");
        fs::write(&leftover, "half").expect("writes");
        fs::write(parent.path().join(PUBLIC_KEY), "").expect("writes");
        let directory = DataDirectory::open(parent.path()).expect("opens");
        assert!(!leftover.exists());
        assert!(directory.pair().expect("readable").public_key.is_none());
    }
}
