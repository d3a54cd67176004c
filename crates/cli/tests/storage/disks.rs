//! Disks without room: the task store's own, and the file at its bound.

use crate::{AUTHOR, agent, seen::new_id};
use bindu_testkit::{AgentProcess, AgentSetup, http};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Works until the file `go` is there; the result of a task with `long` in it is long.
const WAITS: &str = r#"
long=$(head -c 60000 /dev/zero | tr '\0' x)
while read -r line; do
    while [ ! -e go ]; do sleep 0.05; done
    case "$line" in
        *long*) printf '{"content":"%s"}\n' "$long";;
        *) printf '{"content":"done"}\n';;
    esac
done
"#;

fn waiting(directory: &Path, name: &str) -> AgentSetup {
    fs::write(directory.join("waits.sh"), WAITS).unwrap();
    let setup = agent(directory).named(AUTHOR, name).set("BINDU_COMMAND_TIMEOUT", "1h");
    setup.argument("--command").argument("sh waits.sh")
}

/// Sends messages of this length until one is refused; those that were taken.
async fn fill(agent: &AgentProcess, length: usize) -> Vec<String> {
    let mut taken = Vec::new();
    loop {
        let id = new_id();
        let body = http::message(&id, &"m".repeat(length));
        let response = http::client().post(&agent.url).body(body.to_string()).send().await.unwrap();
        let (status, retry) = (response.status().as_u16(), response.headers().get("retry-after").cloned());
        let answer = response.text().await.unwrap();
        if status == 200 {
            taken.push(id);
            assert!(taken.len() < 2000, "there is a bound");
            continue;
        }
        assert_eq!(status, 503, "{answer}\n{}", agent.log());
        assert!(answer.contains("task store is full"), "{answer}");
        assert!(retry.is_some(), "{answer}");
        return taken;
    }
}

async fn task(url: &str, id: &str) -> Value {
    http::post(url, &http::call("tasks/get", &json!({"taskId": id}))).await.1["result"].clone()
}

async fn completes(agent: &AgentProcess, id: &str) -> Value {
    http::eventually("it completes", async || {
        let task = task(&agent.url, id).await;
        let state = task["status"]["state"].as_str().unwrap_or_default().to_owned();
        assert!(matches!(state.as_str(), "submitted" | "working" | "completed"), "{task}\n{}", agent.log());
        (state == "completed").then_some(task)
    })
    .await
}

/// Runs a command in the file systems that an agent sees.
fn inside(agent: &AgentProcess, directory: &Path, script: &str) {
    let mut enter = std::process::Command::new("nsenter");
    enter.args(["-t", &agent.pid().to_string(), "-U", "-m", "sh", "-c"]);
    bindu_testkit::install::run(enter.arg(format!("cd {} && {script}", directory.display())));
}

/// The data directory's disk is filled to the last byte while a task is worked on, with tasks in SQLite.
///
/// Promise: messages are refused with 503 and the reason; what is there is answered; the task's result, which has no room, is kept
/// and stored when there is room, as are all that were accepted; the identity's files are as they were.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_keeps_results_until_there_is_room() {
    let disk = tempfile::tempdir().unwrap();
    fs::create_dir(disk.path().join(".bindu")).unwrap();
    let script = "mount -t tmpfs -o size=12m none .bindu && exec \"$@\"";
    let arguments = ["-rm", "sh", "-c", script, "sh"].map(str::to_owned).to_vec();
    let setup = waiting(disk.path(), "Fills Up").under(Path::new("unshare"), arguments);
    let agent = setup.start().await;
    let files = "sha256sum .bindu/private.pem .bindu/public.pem .bindu/identity.json";
    inside(&agent, disk.path(), &format!("{files} > before"));
    let long = new_id();
    let (status, answer) = http::post(&agent.url, &http::message(&long, "long")).await;
    assert_eq!(status, 200, "{answer}");
    http::eventually("it is worked on", async || {
        (task(&agent.url, &long).await["status"]["state"] == "working").then_some(())
    })
    .await;
    inside(&agent, disk.path(), "cat /dev/zero > .bindu/filler 2> /dev/null; test -s .bindu/filler");
    let taken = fill(&agent, 50_000).await;
    fs::write(disk.path().join("go"), "").unwrap();
    http::eventually("the result has no room", async || {
        agent.log().contains("events could not be stored yet").then_some(())
    })
    .await;
    assert_eq!(task(&agent.url, &long).await["status"]["state"], "working", "what is there is answered");
    assert_eq!(http::get(&format!("{}/livez", agent.url)).await.0, 200);
    inside(&agent, disk.path(), &format!("{files} | cmp - before"));
    inside(&agent, disk.path(), "rm .bindu/filler");
    let task = completes(&agent, &long).await;
    assert_eq!(task["artifacts"][0]["parts"][0]["text"].as_str().map(str::len), Some(60_000));
    for id in &taken {
        completes(&agent, id).await;
    }
    assert_eq!(http::ask(&agent.url, "hello").await["status"]["state"], "completed");
    inside(&agent, disk.path(), &format!("{files} | cmp - before"));
}

/// The file at its `storage.max_bytes`, full of tasks that are worked on.
///
/// Promise: messages are refused with 503 and the reason; each task that was accepted completes with its result, and can be
/// fetched; the identity's key is the same after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_at_its_bound_takes_the_results_of_what_it_has_accepted() {
    let disk = tempfile::tempdir().unwrap();
    let setup = waiting(disk.path(), "At Its Bound").set("BINDU_STORAGE_MAX_BYTES", "1MiB");
    let agent = setup.start().await;
    let document = async |url: &str| http::get(&format!("{url}/.well-known/did.json")).await.1;
    let before = document(&agent.url).await;
    let taken = fill(&agent, 5_000).await;
    assert!(taken.len() > 20, "{}", taken.len());
    fs::write(disk.path().join("go"), "").unwrap();
    for id in &taken {
        let task = completes(&agent, id).await;
        assert_eq!(task["artifacts"][0]["parts"][0]["text"], "done");
    }
    assert!(fs::metadata(disk.path().join(".bindu/tasks.db")).unwrap().len() <= 1 << 20);
    agent.kill();
    let agent = setup.start().await;
    assert_eq!(document(&agent.url).await, before);
}
