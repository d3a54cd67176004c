//! The README's quick start, word for word: its commands are taken from the page and run.

use bindu_testkit::{http, install::source_tree};
use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Where the quick start says that the agent listens.
const URL: &str = "http://127.0.0.1:3773";

/// Runs the quick start; whether it does what the page says.
pub(crate) async fn run() -> bool {
    let page = std::fs::read_to_string(source_tree().join("README.md")).expect("the README can be read");
    let blocks = quick_start(&page);
    let [start, call, show] = blocks.as_slice() else {
        println!("the quick start has {} command blocks, not a start, a call and a look", blocks.len());
        return false;
    };
    let data = tempfile::tempdir().expect("a temporary directory");
    // Built before, so that what is waited for below is a start and not a compiler.
    crate::release_binary();
    let shell = |script: &str| {
        let mut command = crate::program(Path::new("sh"));
        command
            .args(["-ec", script])
            .current_dir(source_tree())
            .env("BINDU_DATA_DIR", data.path())
            .process_group(0);
        command
    };
    let mut seen = Vec::new();
    for _ in 0..2 {
        let agent = Running(shell(start).stderr(Stdio::null()).spawn().expect("a shell"));
        http::eventually("the agent of the quick start answers", async || {
            let answer = http::client().get(format!("{URL}/livez")).send().await;
            answer.is_ok_and(|answer| answer.status().as_u16() == 200).then_some(())
        })
        .await;
        // The page says "then": a person is slower than the echo.
        let answers = shell(&call.replace("\n\n", "\n\nsleep 1\n")).output().expect("a shell");
        let answers = String::from_utf8_lossy(&answers.stdout).into_owned();
        let looked = shell(show).stderr(Stdio::null()).output().expect("a shell");
        let looked = String::from_utf8_lossy(&looked.stdout).into_owned();
        println!("{answers}\n{looked}");
        if !answers.contains("\"state\":\"completed\"") || !looked.contains("fingerprint") {
            return false;
        }
        seen.push(looked);
        drop(agent);
        // The shell is gone; the agent answers its callers to the end.
        http::eventually("the agent of the quick start has ended", async || {
            tokio::net::TcpStream::connect(URL.trim_start_matches("http://")).await.is_err().then_some(())
        })
        .await;
    }
    seen.first() == seen.last()
}

/// The command blocks between the heading "Quick start" and the next one.
fn quick_start(page: &str) -> Vec<String> {
    let section = page.split("\n## Quick start\n").nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let blocks = section.split("```sh\n").skip(1);
    blocks.filter_map(|block| block.split("```").next()).map(|block| block.trim().to_owned()).collect()
}

/// A process group that ends with this value, as by Ctrl-C.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", "--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}
