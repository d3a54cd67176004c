//! Messages whose handler ended with its agent: handled again if the handler may do that, never otherwise.

use crate::agent;
use bindu_testkit::{AgentProcess, AgentSetup, Postgres, http};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Notes each line that it gets, by its attempt. The first time it hangs; so does `never` each time. `half` has then told a part
/// of its result.
const HANGS_AT_FIRST: &str = r#"
import json, sys, time
print(json.dumps({"bindu": 2, "concurrency": 8}), flush=True)
for line in sys.stdin:
    task = json.loads(line)
    if "cancel" in task: continue
    attempt, text, id = task.get("attempt", 1), task["messages"][-1]["content"], task["task_id"]
    if text == "half": print(json.dumps({"task_id": id, "artifact": {"text": "the first half"}}), flush=True)
    with open("asked.txt", "a") as asked: asked.write(f"{text} {attempt} {json.dumps(task['caller'])}\n")
    if attempt > 1 and text != "never": print(json.dumps({"task_id": id, "content": f"at attempt {attempt}"}), flush=True)
"#;

fn hanging(disk: &Path) -> AgentSetup {
    fs::write(disk.join("program.py"), HANGS_AT_FIRST).unwrap();
    let setup = agent(disk).argument("--command").argument("python3 program.py");
    setup.set("BINDU_DRAIN_DEADLINE", "1s").set("BINDU_DRAIN_GRACE", "0s")
}

/// The lines that the program has got for this text.
fn asked(disk: &Path, text: &str) -> Vec<String> {
    let all = fs::read_to_string(disk.join("asked.txt")).unwrap_or_default();
    all.lines().filter(|line| line.starts_with(text)).map(str::to_owned).collect()
}

/// Sends a message under its own text as the task's id, and waits until the program has it.
async fn send(agent: &AgentProcess, disk: &Path, text: &str) {
    let (status, answer) = http::post(&agent.url, &http::message(text, text)).await;
    assert_eq!(status, 200, "{answer}");
    until_asked(disk, text, 1).await;
}

async fn until_asked(disk: &Path, text: &str, times: usize) {
    http::eventually("the program has it", async || (asked(disk, text).len() == times).then_some(())).await;
}

async fn look(url: &str, id: &str) -> Value {
    http::post(url, &http::call("tasks/get", &json!({"taskId": id}))).await.1["result"].clone()
}

async fn ended(url: &str, id: &str) -> Value {
    http::eventually("the task ends", async || {
        let task = look(url, id).await;
        ["completed", "failed"].contains(&task["status"]["state"].as_str()?).then_some(task)
    })
    .await
}

fn reason(task: &Value) -> &Value {
    &task["status"]["message"]["metadata"]["reason"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumable_handler_gets_its_message_again_after_a_kill() {
    let disk = tempfile::tempdir().unwrap();
    let setup = hanging(disk.path()).set("BINDU_RESUMABLE", "true");
    let agent = setup.start().await;
    for text in ["hello", "half"] {
        send(&agent, disk.path(), text).await;
    }
    http::eventually("a part is told", async || {
        look(&agent.url, "half").await["artifacts"].is_array().then_some(())
    })
    .await;
    agent.kill();
    let agent = setup.start().await;
    let done = ended(&agent.url, "hello").await;
    assert_eq!(done["artifacts"][0]["parts"][0]["text"], "at attempt 2", "{done}");
    assert_eq!(done["history"].as_array().map(Vec::len), Some(2), "the message is there once: {done}");
    assert_eq!(asked(disk.path(), "hello"), ["hello 1 null", "hello 2 null"]);
    let failed = ended(&agent.url, "half").await;
    assert_eq!((&failed["status"]["state"], reason(&failed)), (&json!("failed"), &json!("interrupted")));
    assert_eq!(asked(disk.path(), "half"), ["half 1 null"], "callers have read a part of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_handler_gets_no_message_twice() {
    let disk = tempfile::tempdir().unwrap();
    let agent = hanging(disk.path()).start().await;
    send(&agent, disk.path(), "hello").await;
    agent.kill();
    let agent = hanging(disk.path()).start().await;
    let failed = ended(&agent.url, "hello").await;
    assert_eq!((&failed["status"]["state"], reason(&failed)), (&json!("failed"), &json!("interrupted")));
    assert_eq!(asked(disk.path(), "hello"), ["hello 1 null"]);
}

/// An agent whose drain has no more time says so itself: no caller waits for the next start to hear it.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_that_ends_leaves_undone_has_failed_or_runs_again() {
    for (resumable, state) in [("false", "failed"), ("true", "completed")] {
        let disk = tempfile::tempdir().unwrap();
        let setup = hanging(disk.path()).set("BINDU_RESUMABLE", resumable);
        let mut agent = setup.start().await;
        send(&agent, disk.path(), "hello").await;
        assert!(tokio::task::spawn_blocking(move || agent.terminate()).await.unwrap().success());
        let agent = setup.start().await;
        let task = ended(&agent.url, "hello").await;
        assert_eq!(task["status"]["state"], state, "{task}");
        assert_eq!(asked(disk.path(), "hello").len(), if state == "failed" { 1 } else { 2 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_ends_its_agent_each_time_fails_in_the_end() {
    let disk = tempfile::tempdir().unwrap();
    let setup = hanging(disk.path()).set("BINDU_RESUMABLE", "true");
    let mut agent = setup.start().await;
    send(&agent, disk.path(), "never").await;
    for times in [2, 3] {
        agent.kill();
        agent = setup.start().await;
        until_asked(disk.path(), "never", times).await;
    }
    agent.kill();
    let agent = setup.start().await;
    let failed = ended(&agent.url, "never").await;
    assert_eq!(reason(&failed), "interrupted", "{failed}");
    assert_eq!(asked(disk.path(), "never"), ["never 1 null", "never 2 null", "never 3 null"]);
}

/// How long a run lasts whose replica says nothing, as docs/STORAGE.md has it. A replica takes nothing over before it has had answers
/// of the database for as long.
const LEASE: Duration = Duration::from_secs(30);

/// Where others share the store, an agent that ends gives its messages up: nobody waits for its lease.
#[tokio::test(flavor = "multi_thread")]
async fn another_replica_goes_on_at_once_with_what_one_that_ends_has_begun() {
    let server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let dsn = server.dsn.clone();
    let disks = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let setup = |disk: &Path| hanging(disk).set("DATABASE_URL", &dsn).set("BINDU_RESUMABLE", "true");
    let two = setup(disks[1].path()).start().await;
    let up = Instant::now();
    let [mine, theirs] = disks.each_ref().map(|disk| disk.path().join(".bindu"));
    fs::create_dir(&mine).unwrap();
    for file in ["private.pem", "public.pem", "identity.json"] {
        fs::copy(theirs.join(file), mine.join(file)).unwrap();
    }
    let mut one = setup(disks[0].path()).start().await;
    tokio::time::sleep_until((up + LEASE).into()).await;
    send(&one, disks[0].path(), "hello").await;
    let url = two.url.clone();
    assert_eq!(look(&url, "hello").await["status"]["state"], "working");
    assert!(tokio::task::spawn_blocking(move || one.terminate()).await.unwrap().success());
    let given_up = Instant::now();
    let done = ended(&url, "hello").await;
    assert!(given_up.elapsed() < LEASE, "after {:?}", given_up.elapsed());
    assert_eq!(done["artifacts"][0]["parts"][0]["text"], "at attempt 2", "{done}");
    assert_eq!(asked(disks[1].path(), "hello"), ["hello 2 null"]);
}
