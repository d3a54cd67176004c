//! PostgreSQL: for Hydra, and for tasks.

use super::process::ServerProcess;
use crate::{certificates::Certificate, install, ports};
use std::{
    net::TcpStream,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
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
    /// Its port.
    pub port: u16,
    directory: TempDir,
    process: Option<ServerProcess>,
    setup: PostgresSetup,
}

/// What is special about a server.
#[derive(Debug, Clone, Default)]
pub struct PostgresSetup {
    /// It speaks TLS with this certificate.
    pub tls: Option<Certificate>,
    /// It waits for the disk at each commit, as people's do.
    pub is_synced: bool,
    /// New tables lie on a disk of their own of so many bytes, which ends with the server. It takes root.
    pub table_bytes: Option<u64>,
}

impl Postgres {
    /// Starts one with an empty database. It does not wait for the disk: faster, and no test cuts the power.
    ///
    /// # Panics
    /// Where it doesn't start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(PostgresSetup::default())
    }

    /// Starts one that waits for the disk at each commit: for measurements.
    ///
    /// # Panics
    /// If it doesn't start.
    #[must_use]
    pub fn start_synced() -> Self {
        Self::start_with(PostgresSetup { is_synced: true, ..PostgresSetup::default() })
    }

    /// Starts one with an empty database and something special.
    ///
    /// # Panics
    /// If it doesn't start.
    #[must_use]
    pub fn start_with(setup: PostgresSetup) -> Self {
        let mut postgres = Self::without_data(setup);
        let data = postgres.data();
        std::fs::create_dir(&data).expect("a directory in a temporary one");
        give_away(&data);
        postgres.run("initdb", &["--auth=trust", "--username=postgres", "--no-sync", "-D"], Some(&data));
        if let Some(tls) = &postgres.setup.tls {
            for (from, to) in [(&tls.certificate, "server.crt"), (&tls.key, "server.key")] {
                let to = data.join(to);
                std::fs::copy(from, &to).expect("a certificate can be copied");
                std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                    .expect("a file of ours");
                give_away(&to);
            }
        }
        postgres.start_again();
        postgres.until_ready();
        if postgres.setup.table_bytes.is_some() {
            let place = postgres.small_disk();
            postgres.sql(&format!("CREATE TABLESPACE small LOCATION '{}'", place.display()));
            postgres.sql("ALTER DATABASE postgres SET default_tablespace = small");
        }
        postgres
    }

    fn without_data(setup: PostgresSetup) -> Self {
        let directory = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .expect("a temporary directory");
        let port = ports::free_pair();
        let dsn = format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable");
        std::fs::create_dir(directory.path().join("small")).expect("a directory in a temporary one");
        Self { dsn, port, directory, process: None, setup }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Where the disk for tables is, as the server sees it.
    fn small_disk(&self) -> PathBuf {
        self.directory.path().join("small")
    }

    /// Runs one of PostgreSQL's programs as the server's user; what it has said.
    fn run(&self, program: &str, arguments: &[&str], path: Option<&Path>) -> String {
        let mut command = Command::new(install::postgres().join(program));
        command.args(arguments).args(path).current_dir("/");
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        install::run(&mut command)
    }

    /// Does a statement as the superuser; what it gives, without decoration.
    ///
    /// # Panics
    /// If it is refused.
    pub fn sql(&self, statement: &str) -> String {
        let port = self.port.to_string();
        let line = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c"];
        self.run("psql", &[line.as_slice(), &[statement, "postgres"]].concat(), None).trim().to_owned()
    }

    /// Waits until it takes connections: one that listens may still be starting up.
    fn until_ready(&self) {
        let port = self.port.to_string();
        let begun = Instant::now();
        loop {
            let mut asked = Command::new(install::postgres().join("psql"));
            asked.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-Xqc", "SELECT 1", "postgres"]);
            if asked.current_dir("/").output().is_ok_and(|asked| asked.status.success()) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "PostgreSQL does not take connections");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A standby that this server's commits wait for.
    ///
    /// # Panics
    /// If it doesn't follow within half a minute.
    #[must_use]
    pub fn synchronous_standby(&self) -> Self {
        let mut standby = Self::without_data(PostgresSetup::default());
        give_away(standby.directory.path());
        self.until_ready();
        let (port, data) = (self.port.to_string(), standby.data());
        let line = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-R", "-X", "stream", "-c", "fast"];
        self.run("pg_basebackup", &[line.as_slice(), &["--no-sync", "-D"]].concat(), Some(&data));
        standby.start_again();
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.sql("SELECT pg_reload_conf()");
        let begun = Instant::now();
        while self.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") != "1" {
            assert!(begun.elapsed() < Duration::from_secs(30), "the standby does not follow");
            std::thread::sleep(Duration::from_millis(20));
        }
        standby
    }

    /// Makes a standby the primary. It waits for no standby of its own.
    ///
    /// # Panics
    /// If it can't be promoted.
    pub fn promote(&self) {
        self.run("pg_ctl", &["promote", "--wait", "-D"], Some(&self.data()));
    }

    /// Stops all of its processes in the middle of what they do, or lets them go on.
    ///
    /// # Panics
    /// If it does not run.
    pub fn freeze(&self, is_frozen: bool) {
        let pid_file = self.data().join("postmaster.pid");
        let server = self.pid();
        let signal = if is_frozen { rustix::process::Signal::STOP } else { rustix::process::Signal::CONT };
        for pid in std::iter::once(server).chain(backends(&pid_file)) {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// The server's process id.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).expect("it runs");
        text.lines().next().and_then(|pid| pid.parse().ok()).expect("a process id")
    }

    /// Fills the disk of its tables to the last byte, or makes room there again.
    ///
    /// # Panics
    /// If that has no effect.
    pub fn fill_tables(&self, is_full: bool) {
        let filler = self.small_disk().join("filler");
        let script = if is_full {
            format!("cat /dev/zero > {0} 2> /dev/null; test -s {0}", filler.display())
        } else {
            format!("rm {}", filler.display())
        };
        let mut enter = Command::new("nsenter");
        install::run(enter.args(["-t", &self.pid().to_string(), "-m", "sh", "-c", &script]));
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
        let mut arguments = Vec::new();
        if let Some(bytes) = self.setup.table_bytes {
            let mount = format!(
                "mount -t tmpfs -o size={bytes},uid={NOBODY},gid={NOBODY},mode=700 none {} && exec \"$@\"",
                self.small_disk().display()
            );
            arguments.extend(["unshare", "-m", "sh", "-c", &mount, "sh"].map(str::to_owned));
        }
        let before = arguments.len();
        arguments.push(program.display().to_string());
        arguments.extend([
            "-D".to_owned(),
            data.display().to_string(),
            "-p".to_owned(),
            self.port.to_string(),
        ]);
        arguments.extend(["-h", "127.0.0.1", "-k", ""].map(str::to_owned));
        if !self.setup.is_synced {
            arguments.push("-F".to_owned());
        }
        if self.setup.tls.is_some() {
            arguments.extend(["-c", "ssl=on"].map(str::to_owned));
        }
        let log = self.directory.path().join("postgres.log");
        if rustix::process::geteuid().is_root() {
            let user =
                ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"].map(str::to_owned);
            arguments.splice(before..before, user);
        }
        let (first, others) = arguments.split_first().expect("a program");
        self.process = Some(ServerProcess::start(Path::new(first), others, &[], &log));
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(begun.elapsed() < crate::http::LIMIT, "PostgreSQL does not listen:\n{said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Gives a file to the user that the server runs as.
fn give_away(path: &Path) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
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
