//! The official A2A SDKs at work: their server as another agent, their clients as callers. The scripts are in `testing/a2a`.

use super::process::{ServerProcess, until_ok};
use crate::{install, ports};
use std::{
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// An official SDK as an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfficialServer {
    /// Python: `testing/a2a/server.py`.
    Python,
    /// JavaScript: `testing/a2a/server.mjs`.
    JavaScript,
    /// Rust: `testing/a2a/rust`.
    Rust,
}

/// An agent made of an official SDK.
pub struct OfficialAgent {
    /// Its URL, for JSON-RPC and HTTP+JSON.
    pub url: String,
    _process: ServerProcess,
    _directory: TempDir,
}

impl OfficialAgent {
    /// Starts one of the Rust SDK, which says back what it is told.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start_rust() -> Self {
        Self::offering(OfficialServer::Rust, "JSONRPC-1.0", true).await.expect("it needs no Python")
    }

    /// Starts one of the Python SDK with all interfaces; `None` if there is no Python for it.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start() -> Option<Self> {
        let all = "JSONRPC-1.0,HTTP+JSON-1.0,GRPC-1.0,JSONRPC-0.3";
        Self::offering(OfficialServer::Python, all, true).await
    }

    /// Starts one whose card offers these interfaces (`JSONRPC-1.0`, `HTTP+JSON-1.0`, `JSONRPC-0.3`; a comma between them),
    /// with streams or without. `None` if there is no Python for it.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn offering(server: OfficialServer, interfaces: &str, streams: bool) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = ports::free_pair();
        let (program, script, packages) = match server {
            OfficialServer::Python => (install::a2a_python()?, Some("server.py"), None),
            OfficialServer::JavaScript => {
                let (node, packages) = install::a2a_js();
                (node, Some("server.mjs"), Some(packages))
            }
            OfficialServer::Rust => (install::official_rust_agent(), None, None),
        };
        let how = if streams { "stream" } else { "poll" };
        let arguments = script.map(|name| self::script(name).display().to_string());
        let arguments =
            arguments.into_iter().chain([port.to_string(), interfaces.to_owned(), how.to_owned()]);
        let arguments: Vec<String> = arguments.collect();
        let packages = packages.map(|packages| packages.display().to_string());
        let environment: Vec<_> =
            packages.iter().map(|packages| ("A2A_PACKAGES", packages.as_str())).collect();
        let log = directory.path().join("log");
        let process = ServerProcess::start(&program, &arguments, &environment, &log);
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
            if let Some(packages) = arguments.contains(&"GRPC").then(install::a2a_python_packages).flatten() {
                command.env("GRPC_FROM", packages);
            }
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
