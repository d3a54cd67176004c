//! nginx, as it stands before agents and servers.

use super::process::ServerProcess;
use crate::{http::eventually, install, ports};
use std::path::Path;
use tempfile::TempDir;

/// A running nginx.
pub struct Nginx {
    /// Where it listens: `127.0.0.1:PORT`.
    pub address: String,
    _process: ServerProcess,
    directory: TempDir,
}

impl Nginx {
    /// Starts one with this `server` block, which is given the address to listen on.
    pub async fn start(server: impl FnOnce(&str) -> String) -> Self {
        Self::start_with("", server).await
    }

    /// The same with more for its `http` block.
    pub async fn start_with(http: &str, server: impl FnOnce(&str) -> String) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let address = format!("127.0.0.1:{}", ports::free_pair());
        let place = directory.path().display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String = temporary.map(|kind| format!("{kind}_temp_path {place}/{kind};\n")).concat();
        // One process, which is not root's nor a daemon: it ends with the test.
        let config = format!(
            "daemon off;\nmaster_process off;\npid {place}/nginx.pid;\nerror_log {place}/error.log;\n\
             events {{}}\nhttp {{\n{temporary}access_log {place}/access.log;\n{http}\nserver {{\n{}\n}}\n}}\n",
            server(&address)
        );
        let path = directory.path().join("nginx.conf");
        std::fs::write(&path, config).expect("a file in a temporary directory");
        let arguments = ["-p", &place.to_string(), "-c", &path.display().to_string()].map(str::to_owned);
        let process =
            ServerProcess::start(&install::nginx(), &arguments, &[], &directory.path().join("nginx.log"));
        let nginx = Self { address, _process: process, directory };
        eventually("nginx listens", async || {
            let connected = tokio::net::TcpStream::connect(&nginx.address).await;
            let log = std::fs::read_to_string(nginx.directory.path().join("nginx.log")).unwrap_or_default();
            assert!(!log.contains("[emerg]"), "{log}");
            connected.ok().map(|_| ())
        })
        .await;
        nginx
    }

    /// Stops it, or lets it go on.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid =
            std::fs::read_to_string(self.directory.path().join("nginx.pid")).expect("it has said its id");
        let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// The requests that it has taken: lines of its access log.
    #[must_use]
    pub fn taken(&self) -> Vec<String> {
        let log: &Path = &self.directory.path().join("access.log");
        std::fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}
