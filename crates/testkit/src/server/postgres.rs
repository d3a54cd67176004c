//! PostgreSQL, for Hydra.

use super::process::ServerProcess;
use crate::{install, ports};
use std::{
    net::TcpStream,
    os::unix::{fs::chown, process::CommandExt as _},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// It refuses to run as root; then it runs as `nobody`.
const NOBODY: u32 = 65534;

/// A server that can be stopped and started again.
pub struct Postgres {
    /// Where it is, as Hydra wants it.
    pub dsn: String,
    port: u16,
    directory: TempDir,
    process: Option<ServerProcess>,
}

impl Postgres {
    /// Starts one with an empty database.
    ///
    /// # Panics
    /// Where it doesn't start.
    #[must_use]
    pub fn start() -> Self {
        let directory = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .expect("a temporary directory");
        let data = directory.path().join("data");
        std::fs::create_dir(&data).expect("a directory in a temporary one");
        let mut initdb = Command::new(install::postgres().join("initdb"));
        initdb.args(["--auth=trust", "--username=postgres", "--no-sync", "-D"]).arg(&data).current_dir("/");
        if rustix::process::geteuid().is_root() {
            chown(&data, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
            initdb.uid(NOBODY).gid(NOBODY);
        }
        let made = initdb.output().expect("initdb can be run");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = ports::free_pair();
        let dsn = format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable&max_conns=8");
        let mut postgres = Self { dsn, port, directory, process: None };
        postgres.start_again();
        postgres
    }

    /// Stops it, as a database host that is lost, and waits until nothing of it is left: its backends would go on answering
    /// those who are connected.
    ///
    /// # Panics
    /// If a backend is there half a minute later.
    pub fn stop(&mut self) {
        let pid_file = self.directory.path().join("data/postmaster.pid");
        let backends = backends(&pid_file);
        self.process = None;
        let begun = Instant::now();
        for backend in backends {
            // Gone, or a process that nobody has waited for yet: neither answers.
            while is_postgres(backend) {
                let pid = i32::try_from(backend).ok().and_then(rustix::process::Pid::from_raw);
                let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
                assert!(begun.elapsed() < crate::http::LIMIT, "the backend {backend} is still there");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = std::fs::remove_file(pid_file);
    }

    /// A backup of everything, made while it stands still.
    pub fn backup(&mut self) -> TempDir {
        self.stop();
        let backup = tempfile::tempdir().expect("a temporary directory");
        copy(&self.directory.path().join("data"), &backup.path().join("data"));
        self.start_again();
        backup
    }

    /// Goes back to a backup.
    ///
    /// # Panics
    /// Where the files can't be replaced.
    pub fn restore(&mut self, backup: &TempDir) {
        self.stop();
        let data = self.directory.path().join("data");
        std::fs::remove_dir_all(&data).expect("a directory of ours");
        copy(&backup.path().join("data"), &data);
        self.start_again();
    }

    /// Starts it again with the data that it had.
    ///
    /// # Panics
    /// Where it doesn't listen within half a minute.
    pub fn start_again(&mut self) {
        let program = install::postgres().join("postgres");
        let data = self.directory.path().join("data");
        let mut arguments = vec![program.display().to_string()];
        arguments.extend([
            "-D".to_owned(),
            data.display().to_string(),
            "-p".to_owned(),
            self.port.to_string(),
        ]);
        arguments.extend(["-h", "127.0.0.1", "-k", "", "-F"].map(str::to_owned));
        let log = self.directory.path().join("postgres.log");
        let process = if rustix::process::geteuid().is_root() {
            let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups"].map(str::to_owned);
            ServerProcess::start(Path::new("setpriv"), &[user.to_vec(), arguments].concat(), &[], &log)
        } else {
            ServerProcess::start(&program, arguments.get(1..).unwrap_or_default(), &[], &log)
        };
        self.process = Some(process);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(begun.elapsed() < crate::http::LIMIT, "PostgreSQL does not listen:\n{said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The processes that a running server has started, by its file of its process id.
fn backends(pid_file: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(pid_file).unwrap_or_default();
    let Some(pid) = text.lines().next() else { return Vec::new() };
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Whether this process runs, and is PostgreSQL's. The command line of a process that has ended is empty.
fn is_postgres(pid: u32) -> bool {
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.contains("postgres")
}

/// With owners and modes, which PostgreSQL insists on.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.is_ok_and(|status| status.success()), "the data can be copied");
}
