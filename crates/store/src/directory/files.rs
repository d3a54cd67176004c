//! How a file gets into the directory, and how one is read.
//!
//! A reader sees the old file or the new one, after a crash too: 0600 from the first byte, under a temporary name, synced,
//! renamed, the directory synced. Files that belong together are all written and synced before the first of them is
//! renamed, so a full disk changes none of them.

use super::DirectoryError;
use rustix::fs::OFlags;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// What a crash leaves of a file that was being written; swept when the lock is taken.
pub(super) const TEMPORARY_PREFIX: &str = ".writing-";

/// `open` fails at a symbolic link, and does not wait at a pipe for somebody who writes.
pub(super) const OURS: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();

/// The largest file of ours that is read, in bytes: lineages and statements grow, and not so far.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// One of the files that are replaced together.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    pub(super) content: &'a [u8],
    pub(super) role: Role,
}

/// What a file is for the others that are replaced with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Says how the next ones are read: on the disk before they are.
    Decides,
    /// What is written.
    Content,
    /// Made again by whoever misses it: no failure.
    Derived,
}

/// Replaces files in their order, all or none but for a crash in between: then the first ones.
pub(super) fn replace(directory: &Path, parts: &[Part<'_>]) -> Result<(), DirectoryError> {
    let mut written = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let path = directory.join(part.name);
        let file = write_temporary(directory, number, part);
        written.push((part.role, file.map_err(|source| DirectoryError::new("write", &path, source))?, path));
    }
    for (role, file, path) in written {
        match file.persist(&path) {
            Err(_) if role == Role::Derived => {}
            Err(failed) => return Err(DirectoryError::new("write", &path, failed.error)),
            Ok(_) if role == Role::Decides => sync(directory)?,
            Ok(_) => {}
        }
    }
    sync(directory)
}

fn write_temporary(directory: &Path, number: usize, part: &Part<'_>) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(&format!("{TEMPORARY_PREFIX}{number}-"))
        .suffix(part.name)
        .rand_bytes(0)
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    file.write_all(part.content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Takes a file away; nothing is done if there is none.
pub(super) fn remove(directory: &Path, name: &str) -> Result<(), DirectoryError> {
    let path = directory.join(name);
    match fs::remove_file(&path) {
        Ok(()) => sync(directory),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(DirectoryError::new("remove", &path, source)),
    }
}

/// Makes a folder of ours, and those above it.
pub(super) fn make_folder(path: &Path) -> Result<(), DirectoryError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| DirectoryError::new("create", path, source))
}

fn sync(directory: &Path) -> Result<(), DirectoryError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|source| DirectoryError::new("sync", directory, source))
}

/// A file's text; `None` if there is none, or nothing but white space in it.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, DirectoryError> {
    // Whoever may write a link here could point it at any file of this user's.
    let opened = OpenOptions::new().read(true).custom_flags(OURS).open(path);
    match opened.and_then(text_of) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => hidden(path).map_or(Ok(None), Err),
        Err(source) => Err(DirectoryError::new("read", path, source)),
    }
}

/// The text of a file that we can have written.
fn text_of(file: File) -> io::Result<String> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    match u64::try_from(text.len()) {
        Ok(..=MAX_BYTES) => Ok(text),
        _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 16 MiB")),
    }
}

/// Why a file that seems to be missing may be there all the same: a link above it leads nowhere, as to a volume that is not
/// mounted.
fn hidden(path: &Path) -> Option<DirectoryError> {
    for folder in path.parent()?.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
        match (fs::metadata(folder), fs::symlink_metadata(folder)) {
            (Ok(_), _) => return None,
            (Err(_), Ok(_)) => {
                let to = fs::read_link(folder).unwrap_or_else(|_| PathBuf::from("somewhere"));
                let problem =
                    format!("{} is a link to {}, which is not there", folder.display(), to.display());
                return Some(DirectoryError::new("read", path, io::Error::other(problem)));
            }
            (Err(source), _) if source.kind() != io::ErrorKind::NotFound => {
                return Some(DirectoryError::new("read", path, source));
            }
            _ => {}
        }
    }
    None
}
