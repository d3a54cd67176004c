//! A real nginx, as a reverse proxy.

use super::process::{ServerProcess, until_ok};
use crate::{install, ports};

/// A running nginx. It ends when it is dropped.
pub struct Nginx {
    /// Where it listens.
    pub url: String,
    _process: ServerProcess,
    _directory: tempfile::TempDir,
}

impl Nginx {
    /// Starts one with these directives in its `http` block, and these in its only `server`. `/nginx` answers for itself.
    ///
    /// # Panics
    /// Where it does not start.
    pub async fn start(http: &str, server: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (at, port) = (directory.path().display(), ports::free_pair());
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
            .collect();
        // Workers as another user could not write below the directory.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let config = format!(
            "{user}\ndaemon off;\npid {at}/pid;\nerror_log stderr info;\nworker_processes 1;\n\
             events {{ worker_connections 256; }}\n\
             http {{\naccess_log off;\n{paths}{http}\nserver {{\nlisten 127.0.0.1:{port};\n\
             location = /nginx {{ return 200; }}\n{server}\n}}\n}}\n"
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, config).expect("a file in a temporary directory");
        let log = directory.path().join("log");
        let arguments = ["-e", "stderr", "-c", &file.display().to_string()].map(str::to_owned);
        let process = ServerProcess::start(&install::nginx(), &arguments, &[], &log);
        let url = format!("http://127.0.0.1:{port}");
        until_ok(&format!("{url}/nginx"), &log).await;
        Self { url, _process: process, _directory: directory }
    }
}
