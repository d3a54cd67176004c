//! What can be wrong with a data directory, and with which file.

use bindu_identity::Did;
use std::{
    fmt, fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// A failed operation on a file of the data directory.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}{}", path.display(), in_brackets(access.as_ref()))]
pub struct DirectoryError {
    /// The operation.
    pub operation: &'static str,
    /// Its file.
    pub path: PathBuf,
    /// What can be done about it.
    pub kind: DirectoryErrorKind,
    /// Who owns the file that was refused, or the closest folder above it that can be seen. Only for errors that rights may
    /// explain.
    pub access: Option<FileAccess>,
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
    /// The directory is another agent's.
    OfAnotherAgent,
    /// Something is there, or may be there, and this process can't read it. Never an absence.
    Unreadable,
    /// No right to write: permissions, or a read-only file system.
    NotWritable,
    /// No space or quota left.
    Full,
    /// A symbolic link instead of a file.
    Link,
    /// A file whose content no agent can have written.
    Malformed,
    /// Anything else.
    Other,
}

/// The owner and the mode of a file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileAccess {
    /// The file, or the closest folder above it that can be seen.
    pub path: PathBuf,
    /// The owner's user id.
    pub uid: u32,
    /// The permission bits.
    pub mode: u32,
}

impl FileAccess {
    /// Of this path, or of the closest one above it.
    pub(super) fn of(path: &Path) -> Option<Self> {
        path.ancestors().find_map(|path| {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            let metadata = fs::symlink_metadata(path).ok()?;
            let mode = metadata.permissions().mode() & 0o7777;
            Some(Self { path: path.to_owned(), uid: metadata.uid(), mode })
        })
    }
}

impl fmt::Display for FileAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = rustix::process::geteuid().as_raw();
        let Self { path, uid, mode } = self;
        write!(f, "{} belongs to uid {uid}, mode {mode:04o}; this process runs as uid {us}", path.display())
    }
}

fn in_brackets(access: Option<&FileAccess>) -> String {
    access.map(|access| format!(" ({access})")).unwrap_or_default()
}

impl DirectoryError {
    pub(super) fn new(operation: &'static str, path: &Path, source: io::Error) -> Self {
        let kind = kind(operation, &source);
        let by_rights = matches!(kind, DirectoryErrorKind::Unreadable | DirectoryErrorKind::NotWritable);
        let access = by_rights.then(|| FileAccess::of(path)).flatten();
        Self { operation, path: path.to_owned(), kind, access, source }
    }

    pub(super) fn malformed(path: &Path, problem: &'static str) -> Self {
        Self::new("read", path, io::Error::new(io::ErrorKind::InvalidData, problem))
    }

    pub(super) fn in_use(path: &Path) -> Self {
        let source = io::Error::other("another process holds its lock");
        Self { kind: DirectoryErrorKind::InUse, ..Self::new("lock", path, source) }
    }

    pub(super) fn unclaimed(path: &Path, kind: DirectoryErrorKind) -> Self {
        let problem =
            "its keys are nobody's yet, and it can't be opened for writing to make them this agent's";
        Self { kind, ..Self::new("use", path, io::Error::other(problem)) }
    }

    pub(super) fn of_another(path: &Path, owner: &str, us: &Did) -> Self {
        let source = io::Error::other(format!("it is the directory of {owner}, not of {us}"));
        Self { kind: DirectoryErrorKind::OfAnotherAgent, ..Self::new("use", path, source) }
    }
}

fn kind(operation: &str, source: &io::Error) -> DirectoryErrorKind {
    match source.kind() {
        _ if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            DirectoryErrorKind::Link
        }
        io::ErrorKind::InvalidData => DirectoryErrorKind::Malformed,
        _ if operation == "read" => DirectoryErrorKind::Unreadable,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            DirectoryErrorKind::NotWritable
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DirectoryErrorKind::Full,
        _ => DirectoryErrorKind::Other,
    }
}
