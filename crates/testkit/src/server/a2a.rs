//! The official A2A SDKs at work: their server as another agent, their clients as callers. The scripts are in `testing/a2a`.

use super::process::{ServerProcess, until_ok};
use crate::{install, ports};
use std::{
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// An agent made of an official SDK.
pub struct OfficialAgent {
    /// Its URL, for JSON-RPC and HTTP+JSON.
    pub url: String,
    _process: ServerProcess,
    _directory: TempDir,
}

impl OfficialAgent {
    /// Starts one of the Rust SDK, which says back what it is told.
    pub async fn start_rust() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = ports::free_pair();
        let log = directory.path().join("log");
        let program = install::official_rust_agent();
        let process = ServerProcess::start(&program, &[port.to_string()], &[], &log);
        let url = format!("http://127.0.0.1:{port}");
        until_ok(&format!("{url}/.well-known/agent-card.json"), &log).await;
        Self { url, _process: process, _directory: directory }
    }

    /// Starts one of the Python SDK; `None` if there is no Python for it.
    pub async fn start() -> Option<Self> {
        let python = install::a2a_python()?;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = ports::free_pair();
        let arguments = [script("server.py").display().to_string(), port.to_string(), (port + 1).to_string()];
        let log = directory.path().join("log");
        let process = ServerProcess::start(&python, &arguments, &[], &log);
        let url = format!("http://127.0.0.1:{port}");
        until_ok(&format!("{url}/.well-known/agent-card.json"), &log).await;
        Some(Self { url, _process: process, _directory: directory })
    }
}

/// A caller made of an official SDK.
#[derive(Debug, Clone, Copy)]
pub enum OfficialClient {
    /// Python, A2A 1.0.
    Python,
    /// Python, A2A 0.3.
    Python03,
    /// JavaScript.
    JavaScript,
    /// Rust, as a command line.
    Rust,
}

/// Lets an official SDK call an agent in every way; what it says, and whether all of it was good. `None` if there is no
/// Python for it.
pub async fn official_client(
    client: OfficialClient,
    url: &str,
    arguments: &[&str],
) -> Option<(bool, String)> {
    let mut command = match client {
        OfficialClient::Python => {
            let mut command = Command::new(install::a2a_python()?);
            command.arg(script("client.py"));
            command
        }
        OfficialClient::Python03 => {
            let mut command = Command::new(install::a2a_python_0_3()?);
            command.arg(script("client_0_3.py"));
            command
        }
        OfficialClient::JavaScript => {
            let (node, packages) = install::a2a_js();
            let mut command = Command::new(node);
            command.arg(script("client.mjs")).current_dir(packages);
            command
        }
        OfficialClient::Rust => Command::new("bash"),
    };
    if let OfficialClient::Rust = client {
        command.arg(script("client.sh")).arg(install::a2a_cli());
    }
    command.arg(url).args(arguments).env("PYTHONUNBUFFERED", "1");
    let output =
        tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("the SDK runs");
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    Some((output.status.success(), said))
}

fn script(name: &str) -> PathBuf {
    Path::new(&install::source_tree()).join("testing/a2a").join(name)
}
