//! PgBouncer, in transaction mode.

use super::process::ServerProcess;
use crate::{install, ports};
use std::{
    net::TcpStream,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A running pooler before a server.
pub struct PgBouncer {
    /// Its port.
    pub port: u16,
    _process: ServerProcess,
    _directory: TempDir,
}

impl PgBouncer {
    /// Starts one with so many connections to the server on this port.
    ///
    /// # Panics
    /// If it does not listen within half a minute.
    #[must_use]
    pub fn start(server: u16, connections: usize) -> Self {
        let directory = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .expect("a temporary directory");
        let port = ports::free_pair();
        let config = format!(
            "[databases]\npostgres = host=127.0.0.1 port={server} user=postgres\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = {connections}\nmax_client_conn = 200\n"
        );
        let path = directory.path().join("pgbouncer.ini");
        std::fs::write(&path, config).expect("a file in a temporary directory");
        // Copied: the user that it runs as need not be let into the cache.
        let program = directory.path().join("pgbouncer");
        for file in install::pgbouncer() {
            let name = file.file_name().expect("a file");
            std::fs::copy(&file, directory.path().join(name)).expect("a file can be copied");
        }
        let mut arguments = Vec::new();
        if rustix::process::geteuid().is_root() {
            arguments.extend(["--reuid", "65534", "--regid", "65534", "--clear-groups"].map(str::to_owned));
        }
        arguments.extend([program.display().to_string(), path.display().to_string()]);
        let log = directory.path().join("pgbouncer.log");
        let libraries = directory.path().display().to_string();
        let environment = [("LD_LIBRARY_PATH", libraries.as_str())];
        let process = ServerProcess::start(std::path::Path::new("setpriv"), &arguments, &environment, &log);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(30), "PgBouncer does not listen:\n{said}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { port, _process: process, _directory: directory }
    }
}
