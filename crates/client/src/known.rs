//! The agents that were called before, by where they take calls, and the keys that they showed: trust by first use.
//!
//! Owns `known_agents.json`. The file decides: what is taken out of it is forgotten. It is changed entry by entry, under a
//! lock that every process takes which uses the same file, by compare-and-set: of two first calls one is the first. All
//! work with the file is done on threads for blocking work.

use bindu_identity::{Did, PublicKey, RotationStatement, rotation};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    fs::{File, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How many agents are remembered. Beyond, a new one is called on first use each time: an old one is never forgotten for
/// it, or whoever gets an agent to call many addresses would choose whom it forgets.
const MOST_AGENTS: usize = 10_000;

/// The longest address and DID together. Nobody has a longer one who wants to be called again.
const LONGEST_NAME: usize = 4_096;

/// The largest file that is read: ten thousand entries with their statements are far below.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// How many statements of an agent are remembered: those whose old key still counts, the newest.
const MOST_KEPT: usize = 8;

/// How long another process may hold the lock, which it takes for one write.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// The pause between two looks at the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// `open` fails at a symbolic link: whoever may write to the directory must not choose what is believed. And it does not wait
/// at a pipe for somebody who writes.
const OURS: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();

/// What is remembered of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Who it is.
    pub(crate) did: Did,
    /// Its key.
    #[serde(rename = "public_key")]
    pub(crate) key: PublicKey,
    /// How many rotations had led to that key: what is not above it is a replay.
    #[serde(default, skip_serializing_if = "is_first")]
    pub(crate) generation: u64,
    /// The statements that led to it whose old key still counts, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rotations: Vec<RotationStatement>,
}

/// So that an entry of an agent that has never rotated is one of 0.2.0's.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_first(generation: &u64) -> bool {
    *generation == 0
}

impl Known {
    /// An agent with this key, and what it says of how it came to it.
    pub(crate) fn new(did: Did, key: PublicKey, statements: &[RotationStatement], now: i64) -> Self {
        let line = rotation::line(statements, &did, &key);
        let generation = line.first().map_or(0, |newest| newest.generation);
        let rotations = counting(line.into_iter(), now);
        Self { did, key, generation, rotations }
    }

    /// The same agent after these rotations, oldest first.
    pub(crate) fn after(&self, chain: &[&RotationStatement], now: i64) -> Self {
        let newest = chain.last();
        Self {
            did: self.did.clone(),
            key: newest.map_or(self.key, |newest| newest.to),
            generation: newest.map_or(self.generation, |newest| newest.generation),
            rotations: counting(chain.iter().rev().copied().chain(&self.rotations), now),
        }
    }

    /// The keys that count at this moment (seconds since the epoch), the current one first.
    pub(crate) fn keys(&self, now: i64) -> Vec<PublicKey> {
        let earlier = rotation::overlapping(&self.rotations, &self.did, &self.key, now);
        std::iter::once(self.key).chain(earlier.into_iter().map(|link| link.from)).collect()
    }
}

/// The statements, newest first, whose old keys count.
fn counting<'a>(
    newest_first: impl Iterator<Item = &'a RotationStatement>,
    now: i64,
) -> Vec<RotationStatement> {
    newest_first.take_while(|link| link.is_in_overlap(now)).take(MOST_KEPT).cloned().collect()
}

/// What became of a change.
#[derive(Debug)]
pub(crate) enum Replaced {
    /// The entry is the new one, or it can't be kept, which was told.
    Done,
    /// Nothing was changed: another one was there already.
    Other(Box<Option<Known>>),
}

/// Why nothing is known about anybody: nothing may be believed then.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unusable(String);

type Entries = Map<String, Value>;

/// The agents that were called before, by where they take calls, and the keys that they showed. In a file if one is
/// given, else for this process only.
#[derive(Debug, Default)]
pub struct KnownAgents {
    inner: Arc<Inner>,
    /// One change at a time in this process, so that one thread at most waits for other processes.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    file: Option<PathBuf>,
    /// What is in no file, because there is none or because it could not be written.
    unsaved: Mutex<Entries>,
}

impl KnownAgents {
    /// Remembers in this file, as JSON: `{url: {"did": ..., "public_key": ...}}`, and `generation` and `rotations` if the
    /// agent has rotated. Beside it lies a lock file.
    #[must_use]
    pub fn in_file(file: PathBuf) -> Self {
        Self { inner: Arc::new(Inner { file: Some(file), unsaved: Mutex::default() }), ..Self::default() }
    }

    /// What is known of the agent that takes calls there.
    pub(crate) async fn of(&self, url: &str) -> Result<Option<Known>, Unusable> {
        let url = url.to_owned();
        self.blocking(move |inner| inner.find(&inner.read()?, &url)).await
    }

    /// Puts an entry in the place of the one that is expected there.
    pub(crate) async fn replace(
        &self,
        url: &str,
        expected: Option<&Known>,
        new: &Known,
    ) -> Result<Replaced, Unusable> {
        if url.len() + new.did.as_str().len() > LONGEST_NAME {
            return Err(Unusable("its address and DID are too long to be remembered".to_owned()));
        }
        let _turn = self.turn.lock().await;
        let (url, expected, new) = (url.to_owned(), expected.cloned(), new.clone());
        self.blocking(move |inner| inner.replace(&url, expected.as_ref(), &new)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Unusable> + Send + 'static,
    ) -> Result<T, Unusable> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.unwrap_or_else(|_| Err(Unusable("the program is ending".to_owned())))
    }
}

impl Inner {
    /// What is in the file.
    fn read(&self) -> Result<Entries, Unusable> {
        let Some(file) = &self.file else { return Ok(Entries::new()) };
        let bytes = match read(file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entries::new()),
            Err(error) => return Err(Unusable(format!("{} can't be read: {error}", file.display()))),
        };
        serde_json::from_slice(&bytes)
            .map_err(|_| Unusable(format!("{} is not of its form; mend it, or remove it", file.display())))
    }

    /// The entry of an address: the file's, or one that is newer and could not be put there.
    fn find(&self, entries: &Entries, url: &str) -> Result<Option<Known>, Unusable> {
        let parse = |entry: &Value| Known::deserialize(entry);
        let saved = entries.get(url).map(parse).transpose().map_err(|_| {
            let file = self.file.as_deref().unwrap_or(Path::new("")).display();
            Unusable(format!("the entry of {url} in {file} is not of its form; mend it, or remove it"))
        })?;
        let unsaved = self.unsaved().get(url).and_then(|entry| parse(entry).ok());
        Ok(match (saved, unsaved) {
            (Some(saved), Some(unsaved)) if unsaved.generation > saved.generation => Some(unsaved),
            (saved, unsaved) => saved.or(unsaved),
        })
    }

    fn replace(&self, url: &str, expected: Option<&Known>, new: &Known) -> Result<Replaced, Unusable> {
        let lock = self.file.as_deref().map(lock);
        let (may_write, problem) = match lock {
            Some(Ok(lock)) => (Some(lock), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        let mut entries = self.read()?;
        let found = self.find(&entries, url)?;
        if found.as_ref() != expected {
            return Ok(Replaced::Other(Box::new(found)));
        }
        let known = entries.len() + self.unsaved().len();
        if found.is_none() && known >= MOST_AGENTS {
            tracing::warn!(
                url,
                known,
                "the agent's key is not kept for the next call: too many agents are known"
            );
            return Ok(Replaced::Done);
        }
        let entry = serde_json::to_value(new).expect("an entry is strings and numbers");
        let written = match (&self.file, may_write) {
            (Some(file), Some(_lock)) => {
                entries.insert(url.to_owned(), entry.clone());
                // A start of the agent sweeps what it takes for a crash's, and that may be what was just being written.
                write(file, &entries).or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => write(file, &entries),
                    _ => Err(error),
                })
            }
            _ => Err(problem.unwrap_or_else(|| io::Error::other("there is no file"))),
        };
        match written {
            Ok(()) => drop(self.unsaved().remove(url)),
            Err(error) => {
                if self.file.is_some() {
                    tracing::warn!(%error, url, "the agent's key could not be kept for the next process");
                }
                self.unsaved().insert(url.to_owned(), entry);
            }
        }
        Ok(Replaced::Done)
    }

    fn unsaved(&self) -> MutexGuard<'_, Entries> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the lock of a file, which ends with the handle, and with the process.
fn lock(file: &Path) -> io::Result<File> {
    let path = file.with_extension("lock");
    let lock =
        File::options().create(true).truncate(false).write(true).mode(0o600).custom_flags(OURS).open(path)?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds its lock"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Whole or not at all: under another name (one that a start of the agent sweeps), synced, renamed.
fn write(file: &Path, entries: &Entries) -> io::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let temporary = file.with_file_name(format!(".writing-{name}-{}", uuid::Uuid::new_v4()));
    let mut written = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let text = serde_json::to_string_pretty(entries)?;
    let renamed = written
        .write_all(format!("{text}\n").as_bytes())
        .and_then(|()| written.sync_all())
        .and_then(|()| std::fs::rename(&temporary, file));
    if renamed.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    renamed?;
    match file.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::options().read(true).custom_flags(OURS).open(file)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(..=MOST_BYTES) => Ok(bytes),
        _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large")),
    }
}

#[cfg(test)]
#[path = "known_tests.rs"]
mod tests;
