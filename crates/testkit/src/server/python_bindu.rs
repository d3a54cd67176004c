//! A real Python Bindu agent, and Python Bindu's own code run on our data.

use super::process::{ServerProcess, until_ok};
use crate::{install, ports};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A running Python Bindu agent. Its keys are in `.bindu` of its directory.
pub struct PythonBindu {
    /// Where it listens.
    pub url: String,
    /// From its spawn to the first 200 of `/health`.
    pub start: Duration,
    pid_file: PathBuf,
    _process: ServerProcess,
}

impl PythonBindu {
    /// Starts an agent in a directory; `None` where there is no Python for it.
    pub async fn start(
        directory: &Path,
        author: &str,
        name: &str,
        environment: &[(String, String)],
    ) -> Option<Self> {
        let python = install::python_bindu()?;
        let port = ports::free_pair();
        std::fs::copy(script("agent.py"), directory.join("agent.py")).expect("a script can be copied");
        let mut variables: BTreeMap<&str, &str> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let port_text = port.to_string();
        variables.extend([
            ("PEER_PORT", port_text.as_str()),
            ("PEER_AUTHOR", author),
            ("PEER_NAME", name),
            ("TELEMETRY_ENABLED", "false"),
        ]);
        let variables: Vec<(&str, &str)> = variables.into_iter().collect();
        let log = directory.join("python-bindu.log");
        let pid_file = directory.join("pid");
        // It works in its current directory, and says its process id for whoever measures its memory.
        let line = "cd \"$1\" && echo $$ > pid && exec \"$2\" agent.py";
        let arguments = ["-c", line, "sh", &directory.display().to_string(), &python.display().to_string()]
            .map(str::to_owned);
        let begun = Instant::now();
        let process = ServerProcess::start(Path::new("sh"), &arguments, &variables, &log);
        let url = format!("http://127.0.0.1:{port}");
        until_ok(&format!("{url}/health"), &log).await;
        Some(Self { url, start: begun.elapsed(), pid_file, _process: process })
    }

    /// Its process id.
    ///
    /// # Panics
    /// Where it has not written it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let text = std::fs::read_to_string(&self.pid_file).expect("it has written its process id");
        text.trim().parse().expect("a number")
    }
}

/// Runs one of `testing/python`'s scripts; the last line that it prints.
///
/// # Panics
/// Where the script fails.
pub async fn run_script(name: &str, arguments: &[&str], input: &str) -> Option<String> {
    let python = install::python_bindu()?;
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let stdin = scratch.path().join("input");
    std::fs::write(&stdin, input).expect("a file in a temporary directory");
    let mut command = Command::new(python);
    command.arg(script(name)).args(arguments).current_dir(scratch.path()).env("TELEMETRY_ENABLED", "false");
    command
        .stdin(std::fs::File::open(&stdin).expect("it was just written"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Elsewhere than on the runtime's own threads: a script takes seconds, and may call a server of this test's.
    let output =
        tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("Python runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    Some(text.trim().lines().last().unwrap_or_default().to_owned())
}

fn script(name: &str) -> PathBuf {
    install::source_tree().join("testing/python").join(name)
}
