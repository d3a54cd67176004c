//! Killing a program at a chosen system call: strace lists the calls of one run, and in a later run sends SIGKILL at one
//! of them, before it takes effect. To be killed after a call is to be killed at the next one.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Calls on the data directory's files.
const ON_FILES: [&str; 11] = [
    "openat",
    "write",
    "fsync",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "fchmod",
    "flock",
];

/// Calls on the network: those that send, and those that find an answer.
const ON_SOCKETS: [&str; 6] = ["socket", "connect", "writev", "sendto", "recvfrom", "listen"];

/// Calls on a database's files: what SQLite locks, reads, writes, syncs and cuts.
const ON_DATABASES: [&str; 8] =
    ["openat", "pread64", "pwrite64", "fcntl", "fdatasync", "fsync", "ftruncate", "unlink"];

/// A place in a program's run: a system call of this name, the `nth` on this file, or of a thread on any socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The call.
    pub call: &'static str,
    /// The file below the data directory (empty: the directory itself); `None` for a call on a socket.
    pub file: Option<String>,
    /// Which of them, from 1.
    pub nth: usize,
}

/// The arguments with which strace records a run.
#[must_use]
pub fn recording(trace: &Path) -> Vec<String> {
    recording_of(trace, &[ON_FILES.as_slice(), ON_SOCKETS.as_slice()].concat())
}

/// The arguments with which strace records a run's calls on the files of its database.
#[must_use]
pub fn recording_database(trace: &Path) -> Vec<String> {
    recording_of(trace, &ON_DATABASES)
}

fn recording_of(trace: &Path, calls: &[&str]) -> Vec<String> {
    let calls = calls.join(",");
    ["-f", "-q", "-y", "-o", &trace.display().to_string(), "-e", &format!("trace={calls}")]
        .map(str::to_owned)
        .to_vec()
}

/// The arguments with which it kills the run at this place; the program runs in the directory `at`.
#[must_use]
pub fn killing(place: &Place, data_dir: &Path, at: &Path) -> Vec<String> {
    let mut arguments = vec!["-f".to_owned(), "-qq".to_owned(), "-o".to_owned(), "/dev/null".to_owned()];
    if let Some(file) = &place.file {
        let path = if file.is_empty() { data_dir.to_owned() } else { data_dir.join(file) };
        // Temporary files are opened by their absolute paths. strace knows a file that is there by both names, and one that
        // is not there yet by the name that it is told.
        let paths = if path.is_absolute() { vec![path] } else { vec![at.join(&path), path] };
        arguments.extend(paths.iter().flat_map(|path| ["-P".to_owned(), path.display().to_string()]));
    }
    let (call, nth) = (place.call, place.nth);
    let kill = format!("inject={call}:signal=KILL:when={nth}");
    arguments.extend(["-e".to_owned(), format!("trace={call}"), "-e".to_owned(), kill]);
    arguments
}

/// The places of a recorded run.
#[must_use]
pub fn places(trace: &str, data_dir: &Path) -> Vec<Place> {
    places_among(trace, data_dir, &ON_FILES, &ON_SOCKETS)
}

/// The places of a run that was recorded with [`recording_database`]: the calls on a database in this directory.
#[must_use]
pub fn places_on_database(trace: &str, data_dir: &Path, file: &str) -> Vec<Place> {
    let mut places = places_among(trace, data_dir, &ON_DATABASES, &[]);
    places.retain(|place| place.file.as_ref().is_some_and(|name| name.starts_with(file)));
    places
}

fn places_among(
    trace: &str,
    data_dir: &Path,
    files: &[&'static str],
    sockets: &[&'static str],
) -> Vec<Place> {
    let directory = data_dir.display().to_string();
    // strace counts calls in each thread by itself.
    let mut on_files: BTreeMap<(&'static str, String, &str), usize> = BTreeMap::new();
    let mut on_sockets: BTreeMap<(&'static str, &str), usize> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Some((name, arguments)) = rest.trim_start().split_once('(') else { continue };
        if let Some(call) = files.iter().find(|call| **call == name)
            && let Some((_, after)) = arguments.split_once(directory.as_str())
        {
            let file: PathBuf = after.split(['"', '>']).next().unwrap_or_default().into();
            let file = file.strip_prefix("/").unwrap_or(&file).display().to_string();
            *on_files.entry((*call, file, thread)).or_default() += 1;
        } else if let Some(call) = sockets.iter().find(|call| **call == name) {
            *on_sockets.entry((*call, thread)).or_default() += 1;
        }
    }
    let mut most_on_files: BTreeMap<(&'static str, String), usize> = BTreeMap::new();
    for ((call, file, _), count) in on_files {
        let known = most_on_files.entry((call, file)).or_default();
        *known = count.max(*known);
    }
    let files = most_on_files.into_iter().flat_map(|((call, file), count)| {
        (1..=count).map(move |nth| Place { call, file: Some(file.clone()), nth })
    });
    let mut most: BTreeMap<&'static str, usize> = BTreeMap::new();
    for ((call, _), count) in on_sockets {
        let known = most.entry(call).or_default();
        *known = count.max(*known);
    }
    let sockets = most
        .into_iter()
        .flat_map(|(call, count)| (1..=count).map(move |nth| Place { call, file: None, nth }));
    files.chain(sockets).collect()
}
