//! The data directory: Python Bindu's files, and `identity.json`, `keyring/`, `archive/` and `lock` of our own.
//!
//! A directory is one agent's. Whose it is, is checked at each read, in the same call: what lies in another agent's
//! directory is never handed out. Nothing is written without the lock, and nothing before `identity.json` says whose
//! directory it is. How a file gets there is in [`files`].

mod error;
mod files;
mod identity;
mod record;
mod ring;
#[cfg(test)]
mod tests;

pub use error::{DirectoryError, DirectoryErrorKind, FileAccess};
use files::{Part, Role};
use identity::IDENTITY_FORMAT;
pub use identity::{Acknowledgement, IdentityFile};
pub(crate) use record::RecordFiles;
pub use ring::RingFile;

use crate::Fields;
use bindu_identity::{Did, Fingerprint};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

const PRIVATE_KEY: &str = "private.pem";
const PUBLIC_KEY: &str = "public.pem";
const CREDENTIALS: &str = "oauth_credentials.json";
const IDENTITY: &str = "identity.json";
const ARCHIVE: &str = "archive";

/// How the private keys in the archive are named, behind their fingerprint.
const PRIVATE_SUFFIX: &str = ".private.pem";

/// A file that is written to find out if one can be: swept like a half-written one.
const PROBE: &str = ".writing-probe";
const LOCK: &str = "lock";

/// An agent's data directory.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// The agent that we work for.
    did: Did,
    agent_id: String,
    /// Held for as long as the process may write. The kernel lets go of it when the process dies.
    lock: OnceLock<File>,
    /// Why the last attempt to open it for writing failed.
    refused: Mutex<Option<DirectoryErrorKind>>,
    /// One writer of this process at a time: most files are read, changed and replaced.
    turn: Mutex<()>,
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

impl DataDirectory {
    /// Looks at a directory for this agent, changing nothing, not even whether it exists.
    #[must_use]
    pub fn look(path: &Path, did: &Did, agent_id: &str) -> Self {
        Self {
            path: path.to_owned(),
            did: did.clone(),
            agent_id: agent_id.to_owned(),
            lock: OnceLock::new(),
            refused: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    /// Makes the directory if it is missing, takes its lock, and sweeps what an earlier crash left half-written. Key files
    /// that nobody has claimed yet become this agent's.
    ///
    /// # Errors
    /// [`DirectoryErrorKind::InUse`] if another process holds the lock, [`DirectoryErrorKind::OfAnotherAgent`]; else why it
    /// can't be read or written.
    pub fn open(path: &Path, did: &Did, agent_id: &str) -> Result<Self, DirectoryError> {
        let directory = Self::look(path, did, agent_id);
        directory.open_again()?;
        Ok(directory)
    }

    /// The same for a directory that was looked at only, or could not be opened before. Does nothing to an open one.
    ///
    /// # Errors
    /// As [`DataDirectory::open`].
    pub fn open_again(&self) -> Result<(), DirectoryError> {
        let _turn = lock(&self.turn);
        if self.is_open() {
            return Ok(());
        }
        let opened = self.claim_and_lock();
        *lock(&self.refused) = opened.as_ref().err().map(|error| error.kind);
        let _ = self.lock.set(opened?);
        Ok(())
    }

    fn claim_and_lock(&self) -> Result<File, DirectoryError> {
        // Another agent's directory is left as it is.
        self.refuse_another()?;
        files::make_folder(&self.path)?;
        let lock = self.take_lock()?;
        // Whoever held the lock until now may have claimed it.
        self.refuse_another()?;
        tighten(&self.path);
        self.sweep();
        if self.holds_unclaimed_keys()? {
            let text = IdentityFile::new(&self.did, &self.agent_id).to_text();
            let claim = Part { name: IDENTITY, content: text.as_bytes(), role: Role::Decides };
            files::replace(&self.path, &[claim])?;
        }
        Ok(lock)
    }

    fn take_lock(&self) -> Result<File, DirectoryError> {
        let path = self.path.join(LOCK);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600).custom_flags(files::OURS);
        let lock = options.open(&path).map_err(|source| DirectoryError::new("open", &path, source))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(DirectoryError::in_use(&self.path)),
            Err(TryLockError::Error(source)) => Err(DirectoryError::new("lock", &path, source)),
        }
    }

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// If this process may write here.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.lock.get().is_some()
    }

    /// The id of the agent whose directory this is, for an agent that has no other name.
    ///
    /// # Errors
    /// If `identity.json` can't be read.
    pub fn remembered_agent_id(path: &Path) -> Result<Option<String>, DirectoryError> {
        Ok(read_identity(path)?.map(|identity| identity.agent_id))
    }

    /// Whose directory this is: by `identity.json`, else by the DIDs in `oauth_credentials.json`.
    ///
    /// # Errors
    /// If one of them can't be read.
    pub fn owner(&self, did: &Did) -> Result<DirectoryOwner, DirectoryError> {
        if let Some(identity) = read_identity(&self.path)? {
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
    /// If one is there and can't be read, or the directory is another agent's.
    pub fn pair(&self) -> Result<LocalPair, DirectoryError> {
        self.keys(|| self.read_pair())
    }

    /// Writes the key files, the private one first: the public one can be derived from it.
    ///
    /// # Errors
    /// If one can't be written; on a full disk all files are as they were.
    pub fn write_pair(&self, private_key: &SecretString, public_key: &str) -> Result<(), DirectoryError> {
        let _turn = lock(&self.turn);
        self.replace(&pair_parts(private_key, public_key))
    }

    /// Writes `public.pem` alone, if it was lost.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write_public_key(&self, public_key: &str) -> Result<(), DirectoryError> {
        let _turn = lock(&self.turn);
        self.replace(&[Part { name: PUBLIC_KEY, content: public_key.as_bytes(), role: Role::Content }])
    }

    /// Keeps the current key files under `archive/`, before others take their place; named by `fingerprint` if the key can
    /// be read.
    ///
    /// # Errors
    /// If the copy can't be written; then nothing else may be overwritten either.
    pub fn archive_pair(&self, fingerprint: Option<&Fingerprint>) -> Result<PathBuf, DirectoryError> {
        let _turn = lock(&self.turn);
        self.must_be_open()?;
        let pair = self.pair()?;
        // A key that can't be read has no fingerprint; a digest of its file names it as well.
        let name = fingerprint.map(ToString::to_string).unwrap_or_else(|| {
            let text =
                pair.private_key.as_ref().map(|key| key.expose_secret().as_bytes()).unwrap_or_default();
            let digest: String =
                Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("unreadable-{digest}")
        });
        let (private_name, public_name) = (format!("{name}{PRIVATE_SUFFIX}"), format!("{name}.public.pem"));
        let mut parts = Vec::new();
        if let Some(private_key) = &pair.private_key {
            let content = private_key.expose_secret().as_bytes();
            parts.push(Part { name: &private_name, content, role: Role::Content });
        }
        if let Some(public_key) = &pair.public_key {
            parts.push(Part { name: &public_name, content: public_key.as_bytes(), role: Role::Content });
        }
        let archive = self.path.join(ARCHIVE);
        files::make_folder(&archive)?;
        files::replace(&archive, &parts)?;
        Ok(archive.join(private_name))
    }

    /// Finds out if both the directory and its archive can be written: a failure of one of them is over only then.
    ///
    /// # Errors
    /// If one of them can't.
    pub fn probe(&self) -> Result<(), DirectoryError> {
        let _turn = lock(&self.turn);
        self.must_be_open()?;
        let archive = self.path.join(ARCHIVE);
        files::make_folder(&archive)?;
        for folder in [&self.path, &archive] {
            files::replace(folder, &[Part { name: PROBE, content: b"", role: Role::Content }])?;
            let path = folder.join(PROBE);
            fs::remove_file(&path).map_err(|source| DirectoryError::new("remove", &path, source))?;
        }
        Ok(())
    }

    /// The private keys under `archive/`: by whose fingerprint they are named, and where they lie.
    ///
    /// # Errors
    /// If the archive can't be listed.
    pub fn archived(&self) -> Result<Vec<(String, PathBuf)>, DirectoryError> {
        let archive = self.path.join(ARCHIVE);
        let entries = match fs::read_dir(&archive) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(DirectoryError::new("list", &archive, source)),
        };
        let name = |path: &PathBuf| {
            let name = path.file_name()?.to_str()?.strip_suffix(PRIVATE_SUFFIX)?;
            Some(name.to_owned())
        };
        let mut found: Vec<_> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter_map(|path| name(&path).map(|name| (name, path)))
            .collect();
        found.sort();
        Ok(found)
    }

    /// `identity.json`, if there is one.
    ///
    /// # Errors
    /// If it can't be read, is not of a form that this version knows, or is another agent's.
    pub fn identity(&self) -> Result<Option<IdentityFile>, DirectoryError> {
        self.guarded(|| read_identity(&self.path))
    }

    /// Replaces `identity.json`, except for its `records`: these are the `FileStore`'s.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write_identity(&self, identity: &IdentityFile) -> Result<(), DirectoryError> {
        let _turn = lock(&self.turn);
        let records = self.identity()?.map(|known| known.records).unwrap_or_default();
        let text = IdentityFile { records, ..identity.clone() }.to_text();
        self.replace(&[Part { name: IDENTITY, content: text.as_bytes(), role: Role::Content }])
    }

    /// The OAuth credentials of a DID, if there are some.
    ///
    /// # Errors
    /// If the file can't be read, is no JSON object of objects, or the directory is another agent's.
    pub fn credentials(&self, did: &Did) -> Result<Option<Fields>, DirectoryError> {
        match self.guarded(|| self.all_credentials())?.remove(did.as_str()) {
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
    /// If the file can't be read or written.
    pub fn write_credentials(&self, did: &Did, fields: &Fields) -> Result<(), DirectoryError> {
        let _turn = lock(&self.turn);
        let text = self.credentials_with(did, fields)?;
        self.replace(&[Part { name: CREDENTIALS, content: text.as_bytes(), role: Role::Content }])
    }

    /// Reads something that no other agent's directory may answer.
    fn guarded<T>(&self, read: impl FnOnce() -> Result<T, DirectoryError>) -> Result<T, DirectoryError> {
        self.refuse_another()?;
        let answer = read()?;
        // It may have been claimed while it was read: a key never comes before its owner's name.
        self.refuse_another()?;
        Ok(answer)
    }

    /// Reads key files. If this process could not open a directory that nobody has claimed, somebody else may claim it, and
    /// the keys with it.
    fn keys<T: HoldsKeys>(
        &self,
        read: impl FnOnce() -> Result<T, DirectoryError>,
    ) -> Result<T, DirectoryError> {
        let keys = self.guarded(read)?;
        let refused = *lock(&self.refused);
        match (self.owner(&self.did)?, refused) {
            (DirectoryOwner::Another(owner), _) => {
                Err(DirectoryError::of_another(&self.path, &owner, &self.did))
            }
            (DirectoryOwner::Unknown, Some(kind)) if keys.holds_keys() => {
                Err(DirectoryError::unclaimed(&self.path, kind))
            }
            _ => Ok(keys),
        }
    }

    fn refuse_another(&self) -> Result<(), DirectoryError> {
        match self.owner(&self.did)? {
            DirectoryOwner::Another(owner) => Err(DirectoryError::of_another(&self.path, &owner, &self.did)),
            DirectoryOwner::This | DirectoryOwner::Unknown => Ok(()),
        }
    }

    fn holds_unclaimed_keys(&self) -> Result<bool, DirectoryError> {
        if self.identity()?.is_some() {
            return Ok(false);
        }
        match self.guarded(|| self.read_pair()) {
            Ok(pair) => Ok(pair.holds_keys()),
            // What can't be read can't be used either.
            Err(error) if error.kind != DirectoryErrorKind::OfAnotherAgent => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// `identity.json` as it is, or as it is when the directory becomes ours.
    fn claimed_identity(&self) -> Result<IdentityFile, DirectoryError> {
        let known = self.identity()?;
        Ok(known.unwrap_or_else(|| IdentityFile::new(&self.did, &self.agent_id)))
    }

    fn read_pair(&self) -> Result<LocalPair, DirectoryError> {
        Ok(LocalPair {
            private_key: self.read_text(PRIVATE_KEY)?.map(SecretString::from),
            public_key: self.read_text(PUBLIC_KEY)?,
        })
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

    fn credentials_with(&self, did: &Did, fields: &Fields) -> Result<String, DirectoryError> {
        let mut all = self.guarded(|| self.all_credentials())?;
        all.insert(did.to_string(), Value::Object(fields.expose().clone()));
        Ok(serde_json::to_string_pretty(&all).expect("a JSON object serialises"))
    }

    fn read_text(&self, name: &str) -> Result<Option<String>, DirectoryError> {
        files::read_text(&self.path.join(name))
    }

    fn must_be_open(&self) -> Result<(), DirectoryError> {
        if self.is_open() {
            return Ok(());
        }
        let source = std::io::Error::other("it was opened for reading only");
        Err(DirectoryError::new("write", &self.path, source))
    }

    /// Writes whose directory it is, unless it says so.
    fn claim(&self) -> Result<(), DirectoryError> {
        self.replace(&[])
    }

    /// Replaces files, all or none. Whose directory it is, is written before anything else.
    fn replace(&self, parts: &[Part<'_>]) -> Result<(), DirectoryError> {
        self.must_be_open()?;
        let is_claimed = self.identity()?.is_some();
        let text = IdentityFile::new(&self.did, &self.agent_id).to_text();
        let claim = Part { name: IDENTITY, content: text.as_bytes(), role: Role::Decides };
        // A new `identity.json` that comes first is a claim as well.
        let claims = is_claimed || parts.first().is_some_and(|part| part.name == IDENTITY);
        let all: Vec<_> = (!claims).then_some(claim).into_iter().chain(parts.iter().copied()).collect();
        if all.is_empty() { Ok(()) } else { files::replace(&self.path, &all) }
    }

    fn sweep(&self) {
        for directory in [self.path.clone(), self.path.join(ARCHIVE), self.path.join(ring::FOLDER)] {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            let is_temporary =
                |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(files::TEMPORARY_PREFIX);
            for entry in entries.filter(|entry| is_temporary(&entry.file_name())) {
                let _ = fs::remove_file(entry.path());
            }
        }
        let ring = RingFile::ALL.map(|file| Path::new(ring::FOLDER).join(file.name()));
        let others = [PRIVATE_KEY, CREDENTIALS, IDENTITY].map(PathBuf::from);
        for secret in others.iter().chain(&ring) {
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

/// Something that may hold key files.
trait HoldsKeys {
    fn holds_keys(&self) -> bool;
}

impl HoldsKeys for LocalPair {
    fn holds_keys(&self) -> bool {
        self.private_key.is_some() || self.public_key.is_some()
    }
}

impl HoldsKeys for Option<SecretString> {
    fn holds_keys(&self) -> bool {
        self.is_some()
    }
}

fn pair_parts<'a>(private_key: &'a SecretString, public_key: &'a str) -> Vec<Part<'a>> {
    let private_key = private_key.expose_secret().as_bytes();
    vec![
        Part { name: PRIVATE_KEY, content: private_key, role: Role::Content },
        Part { name: PUBLIC_KEY, content: public_key.as_bytes(), role: Role::Derived },
    ]
}

fn read_identity(directory: &Path) -> Result<Option<IdentityFile>, DirectoryError> {
    let path = directory.join(IDENTITY);
    let Some(text) = files::read_text(&path)? else { return Ok(None) };
    let identity: IdentityFile = serde_json::from_str(&text)
        .map_err(|_| DirectoryError::malformed(&path, "it is not an identity file of an agent"))?;
    if identity.format == IDENTITY_FORMAT {
        Ok(Some(identity))
    } else {
        Err(DirectoryError::malformed(&path, "it was written by another version of bindu"))
    }
}

/// Python Bindu made the directory readable for all. If we may not change that (a volume of somebody else's), the
/// files' own modes still hold.
fn tighten(path: &Path) {
    if fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0) {
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
