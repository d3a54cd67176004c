//! Any program as a handler: what it does wrong fails that task only.

mod answers;
mod callers;
mod ends;
mod lines;
mod second_protocol;

use crate::agent;
use bindu_testkit::{AgentProcess, http};
use std::{fs, path::Path};

/// Does what it is told: a whole zoo of bad programs in one.
const ZOO: &str = r#"
import json, os, sys, time
for line in sys.stdin:
    task = json.loads(line)
    text = task["messages"][-1]["content"]
    if text == "crash": os._exit(3)
    if text == "hang": time.sleep(60)
    if text == "garbage": print("this is no JSON", flush=True); continue
    if text == "ask": print(json.dumps({"content": "Which one?", "state": "input-required"}), flush=True); continue
    if text == "fail": print(json.dumps({"content": "cannot", "state": "failed"}), flush=True); continue
    if text == "twice": line = json.dumps({"content": "for Alice"}); print(line + "\n" + line, flush=True); continue
    if text == "leave": print(json.dumps({"content": "left"}), flush=True); os._exit(0)
    if text == "env": text = str("VAULT__TOKEN" in os.environ)
    if text == "turns": text = json.dumps([m["role"] for m in task["messages"]])
    print(json.dumps({"content": text}), flush=True)
"#;

async fn zoo(directory: &Path) -> AgentProcess {
    fs::write(directory.join("zoo.py"), ZOO).unwrap();
    // Longer than a program takes to start on a busy machine, since that counts.
    let setup = agent(directory).set("BINDU_COMMAND_TIMEOUT", "15s").set("VAULT__TOKEN", "canary");
    setup.argument("--command").argument("python3 'zoo.py'").start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_does_wrong_fails_that_task_only() {
    let disk = tempfile::tempdir().unwrap();
    let agent = zoo(disk.path()).await;
    assert_eq!(http::ask(&agent.url, "hello").await["artifacts"][0]["parts"][0]["text"], "hello");
    for bad in ["crash", "hang", "garbage"] {
        let task = http::ask(&agent.url, bad).await;
        assert_eq!(task["status"]["state"], "failed", "{bad}");
        assert_eq!(task.get("artifacts"), None, "{bad}");
        let next = http::ask(&agent.url, "still there").await;
        assert_eq!(next["artifacts"][0]["parts"][0]["text"], "still there", "after {bad}");
    }
    let log = agent.log();
    assert!(log.contains("no JSON") || log.contains("not a line of JSON"), "{log}");
}

/// What a program says beyond its answer is nobody else's answer; and one that has ended is started anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_programs_last_task_leaves_nothing_to_the_next_one() {
    let disk = tempfile::tempdir().unwrap();
    let agent = zoo(disk.path()).await;
    for (said, heard) in [("twice", "for Alice"), ("hello", "hello"), ("leave", "left"), ("hello", "hello")] {
        let task = http::ask(&agent.url, said).await;
        assert_eq!(task["artifacts"][0]["parts"][0]["text"], heard, "{said}: {task}");
        // The program may need a moment to be gone.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_can_ask_back_and_fail_by_itself() {
    let disk = tempfile::tempdir().unwrap();
    let agent = zoo(disk.path()).await;
    let task = http::ask(&agent.url, "ask").await;
    assert_eq!(task["status"]["state"], "input-required");
    assert_eq!(task["history"][1]["parts"][0]["text"], "Which one?");
    let id = task["id"].as_str().expect("an id");
    http::post(&agent.url, &http::message(id, "turns")).await;
    let done = http::eventually("the task ends", async || {
        let (_, task) =
            http::post(&agent.url, &http::call("tasks/get", &serde_json::json!({"taskId": id}))).await;
        (task["result"]["status"]["state"] == "completed").then(|| task["result"].clone())
    })
    .await;
    assert_eq!(done["artifacts"][0]["parts"][0]["text"], r#"["user", "agent", "user"]"#);
    assert_eq!(http::ask(&agent.url, "fail").await["status"]["state"], "failed");
    assert_eq!(
        http::ask(&agent.url, "env").await["artifacts"][0]["parts"][0]["text"],
        "False",
        "no token for the program"
    );
}

/// A program that hangs does not outlive its agent.
#[tokio::test(flavor = "multi_thread")]
async fn no_program_outlives_its_agent() {
    let disk = tempfile::tempdir().unwrap();
    let script = "import os,sys,time\nopen('program.pid', 'w').write(str(os.getpid()))\nfor line in sys.stdin: time.sleep(600)\n";
    fs::write(disk.path().join("hang.py"), script).unwrap();
    let setup = agent(disk.path())
        .set("BINDU_DRAIN_DEADLINE", "500ms")
        .argument("--command")
        .argument("python3 hang.py");
    let mut agent = setup.start().await;
    http::post(&agent.url, &http::message("hung", "x")).await;
    let pid = http::eventually("the program runs", async || {
        fs::read_to_string(disk.path().join("program.pid")).ok().filter(|pid| !pid.is_empty())
    })
    .await;
    assert!(tokio::task::spawn_blocking(move || agent.terminate()).await.unwrap().success());
    http::eventually("the program is gone", async || (!Path::new("/proc").join(&pid).exists()).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_fails_its_tasks() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).argument("--command").argument("no-such-program").start().await;
    assert_eq!(http::ask(&agent.url, "hello").await["status"]["state"], "failed");
    assert!(agent.log().contains("could not be started"), "{}", agent.log());
}

/// An agent whose handler is this Python program.
fn program(directory: &Path, source: &str) -> bindu_testkit::AgentSetup {
    fs::write(directory.join("program.py"), source).unwrap();
    agent(directory).argument("--command").argument("python3 program.py")
}

/// The text of a completed task's result, else its state.
fn result(task: &serde_json::Value) -> &str {
    let text = task["artifacts"][0]["parts"][0]["text"].as_str();
    text.or(task["status"]["state"].as_str()).unwrap_or("no state")
}

/// Whether a process is there, and no zombie.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Waits until a file holds a process id.
async fn pid_in(file: &Path) -> String {
    http::eventually("the process is there", async || {
        fs::read_to_string(file).ok().filter(|pid| pid.ends_with('\n')).map(|pid| pid.trim().to_owned())
    })
    .await
}

async fn is_gone(what: &str, pid: &str) {
    http::eventually(what, async || (!runs(pid)).then_some(())).await;
}
