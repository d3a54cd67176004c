//! An agent under test, and where its log goes.

use bindu_testkit::{AgentProcess, http};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Who reads a log from a named pipe.
pub(super) struct Reader {
    fifo: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Reader {
    /// A reader, and the pipe's other end for an agent.
    pub(super) fn start(directory: &Path) -> (Self, fs::File) {
        let fifo = directory.join("log.fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().is_ok_and(|status| status.success()), "mkfifo");
        let mut reader = Self { fifo, log: directory.join("read.log"), child: None };
        reader.again();
        // Waits until there is a reader.
        let writer = fs::File::options().write(true).open(&reader.fifo).expect("a pipe");
        (reader, writer)
    }

    pub(super) fn again(&mut self) {
        let log = fs::File::options().create(true).append(true).open(&self.log).expect("a file");
        let cat = Command::new("cat").arg(&self.fifo).stdin(Stdio::null()).stdout(log).spawn();
        self.child = Some(cat.expect("cat"));
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
        }
    }

    /// Stops it, or lets it go on.
    pub(super) fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw).expect("it runs");
        rustix::process::kill_process(pid, signal).expect("it gets the signal");
    }

    /// How many bytes are in the pipe.
    pub(super) fn unread(&self) -> u64 {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("a flag");
        let pipe = fs::File::options().read(true).custom_flags(flags).open(&self.fifo).expect("a pipe");
        rustix::io::ioctl_fionread(&pipe).expect("a number")
    }

    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A log on a small file system of its own, in the agent's mount namespace.
pub(super) struct LogDisk {
    inside: PathBuf,
}

impl LogDisk {
    /// What makes it, before the agent runs there: for `unshare`.
    pub(super) fn arguments() -> Vec<String> {
        let script = "mkdir log && mount -t tmpfs -o size=8m none log && exec \"$@\" 2>>log/agent.log";
        ["-rm", "sh", "-c", script, "sh"].map(str::to_owned).to_vec()
    }

    pub(super) fn of(agent: &AgentProcess, directory: &Path) -> Self {
        let root = PathBuf::from(format!("/proc/{}/root", agent.pid()));
        Self { inside: root.join(directory.strip_prefix("/").expect("an absolute path")).join("log") }
    }

    /// Fills it to the last byte, by somebody else's file.
    pub(super) fn fill(&self) {
        use std::io::Write as _;
        let mut file = fs::File::create(self.inside.join("filler")).expect("a file");
        while file.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
        // The rest of the log's own last page: there is no room but in whole pages.
        let left = rustix::fs::statvfs(&self.inside).expect("it is there").f_bavail;
        assert_eq!(left, 0, "it is full");
    }

    /// Empties it: the log too, as `logrotate` with `copytruncate` does.
    pub(super) fn empty(&self) {
        fs::remove_file(self.inside.join("filler")).expect("it is there");
        let log = fs::File::options().write(true).open(self.inside.join("agent.log")).expect("the log");
        log.set_len(0).expect("it can be cut");
    }

    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.inside.join("agent.log")).unwrap_or_default()).into_owned()
    }
}

/// All metrics of an agent that are whole numbers, by name and labels.
pub(super) async fn metrics(agent: &AgentProcess) -> BTreeMap<String, u64> {
    let (_, text) = http::get(&format!("{}/metrics", agent.url)).await;
    let lines = text.as_str().expect("a text").lines().filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    lines.collect()
}

/// The sum over all labels.
pub(super) fn sum(metrics: &BTreeMap<String, u64>, name: &str) -> u64 {
    let found = metrics.iter().filter(|(found, _)| found.split('{').next() == Some(name));
    found.map(|(_, value)| value).sum()
}

/// Memory (KiB) and open descriptors.
pub(super) fn size(agent: &AgentProcess) -> (u64, usize) {
    let kib = bindu_testkit::server::resident_kib(agent.pid()).expect("it runs");
    (kib, fs::read_dir(format!("/proc/{}/fd", agent.pid())).expect("it runs").count())
}

/// How often its programs did which deed.
pub(super) fn deeds(directory: &Path) -> BTreeMap<String, u64> {
    let mut deeds = BTreeMap::new();
    for deed in fs::read_to_string(directory.join("deeds")).unwrap_or_default().lines() {
        *deeds.entry(deed.to_owned()).or_default() += 1;
    }
    deeds
}

/// The processes that work in this directory.
pub(super) fn processes_in(directory: &Path) -> Vec<String> {
    let all = fs::read_dir("/proc").expect("processes").filter_map(Result::ok);
    let within =
        all.filter(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == directory));
    let name = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
    within.map(name).map(|line| line.replace('\0', " ")).collect()
}
