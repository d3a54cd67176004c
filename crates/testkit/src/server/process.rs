//! Processes that end with the test, whatever becomes of it.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A server process. It ends when this value is dropped, and when the process that holds it dies: its keeper, a shell,
/// waits on a pipe that the kernel closes then.
pub(crate) struct ServerProcess {
    keeper: Child,
}

impl ServerProcess {
    /// Starts a program; what it says goes to `log`.
    pub(crate) fn start(
        program: &Path,
        arguments: &[String],
        environment: &[(&str, &str)],
        log: &Path,
    ) -> Self {
        let log = File::create(log).expect("a log file in a temporary directory");
        let script = "\"$@\" & server=$!; trap 'kill -9 $server' EXIT; read -r _";
        let keeper = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("a shell");
        Self { keeper }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Waits until something answers with 200.
pub(crate) async fn until_ok(url: &str, log: &Path) {
    until_ok_by(&crate::http::client(), url, log).await;
}

/// The same, asked by this client.
pub(crate) async fn until_ok_by(client: &reqwest::Client, url: &str, log: &Path) {
    let begun = Instant::now();
    while begun.elapsed() < crate::http::LIMIT {
        let request = client.get(url).timeout(Duration::from_secs(20));
        if let Ok(response) = request.send().await
            && response.status().as_u16() == 200
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let said = std::fs::read_to_string(log).unwrap_or_default();
    panic!("{url} did not answer; the server said:\n{said}");
}

/// The resident memory of a process, in KiB.
#[must_use]
pub fn resident_kib(pid: u32) -> Option<u64> {
    memory_kib(pid, "VmRSS")
}

/// The memory of a process, in KiB: resident now (`VmRSS`), or at the most so far (`VmHWM`).
#[must_use]
pub fn memory_kib(pid: u32, which: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}
