//! An agent of the official Python SDK, for our own client to call. The script: `testing/a2a/callee.py`.

use super::process::{ServerProcess, until_ok};
use crate::{install, ports};
use tempfile::TempDir;

/// An agent of the official Python SDK.
pub struct OfficialCallee {
    /// Its URL.
    pub url: String,
    _process: ServerProcess,
    _directory: TempDir,
}

impl OfficialCallee {
    /// Starts one whose card offers these interfaces (`JSONRPC-1.0`, `HTTP+JSON-1.0`, `JSONRPC-0.3`; a comma between them),
    /// with streams or without. `None` if there is no Python for it.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start(interfaces: &str, streams: bool) -> Option<Self> {
        let python = install::a2a_python()?;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = ports::free_pair();
        let script = install::source_tree().join("testing/a2a/callee.py").display().to_string();
        let how = if streams { "stream" } else { "poll" };
        let arguments = [script, port.to_string(), interfaces.to_owned(), how.to_owned()];
        let log = directory.path().join("log");
        let process = ServerProcess::start(&python, &arguments, &[], &log);
        let url = format!("http://127.0.0.1:{port}");
        until_ok(&format!("{url}/.well-known/agent-card.json"), &log).await;
        Some(Self { url, _process: process, _directory: directory })
    }
}
