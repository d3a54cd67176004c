//! Callers do not meet at a program: what one of them breaks, another does not wait for.

use super::{program, result};
use crate::{AUTHOR, hydra};
use bindu_testkit::{
    AgentProcess,
    caller::TestCaller,
    http::{call, eventually, message},
};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Works as it is told.
const SOURCE: &str = r#"
import json, os, sys, time
for line in sys.stdin:
    text = json.loads(line)["messages"][-1]["content"]
    with open("order", "a") as order: order.write(text + "\n")
    while text == "wait" and not os.path.exists("go"): time.sleep(0.01)
    if text == "poison": os._exit(9)
    if text == "slow": time.sleep(0.2)
    if text == "hang": time.sleep(600)
    print(json.dumps({"content": text}), flush=True)
"#;

async fn shared_agent(directory: &Path, name: &str) -> (AgentProcess, TestCaller, TestCaller) {
    let setup = program(directory, SOURCE).named(AUTHOR, name).set_all(hydra().await.environment());
    let callers = [format!("one-{name}"), format!("other-{name}")].map(|id| id.to_lowercase());
    let [one, other] = &callers;
    let callers = (TestCaller::new(hydra().await, one).await, TestCaller::new(hydra().await, other).await);
    (setup.set("BINDU_COMMAND_TIMEOUT", "60s").start().await, callers.0, callers.1)
}

async fn submit(caller: &TestCaller, agent: &AgentProcess, text: &str) -> String {
    let id = format!("{:032x}", rand::random::<u128>());
    let (status, sent) = caller.send(&agent.url, &message(&id, text)).await;
    assert_eq!(status, 200, "{sent}");
    id
}

async fn task(caller: &TestCaller, agent: &AgentProcess, id: &str) -> Value {
    caller.send(&agent.url, &call("tasks/get", &json!({"taskId": id}))).await.1["result"].clone()
}

fn has_ended(task: &Value) -> bool {
    !matches!(task["status"]["state"].as_str(), Some("submitted" | "working"))
}

async fn ask(caller: &TestCaller, agent: &AgentProcess, text: &str) -> Value {
    let id = submit(caller, agent, text).await;
    eventually("the task ends", async || Some(task(caller, agent, &id).await).filter(has_ended)).await
}

/// How many of these tasks have ended.
async fn ended(caller: &TestCaller, agent: &AgentProcess) -> usize {
    let (_, listed) = caller.send(&agent.url, &call("tasks/list", &json!({}))).await;
    let tasks = listed["result"].as_array().expect("a list of tasks").clone();
    tasks.iter().filter(|task| has_ended(task)).count()
}

fn starts(agent: &AgentProcess) -> usize {
    agent.log().matches("started the agent program").count()
}

fn order(directory: &Path) -> Vec<String> {
    let order = fs::read_to_string(directory.join("order")).unwrap_or_default();
    order.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_one_caller_do_not_stand_before_those_of_the_next() {
    let disk = tempfile::tempdir().unwrap();
    let (agent, one, other) = shared_agent(disk.path(), "Turns").await;
    submit(&one, &agent, "wait").await;
    for _ in 0..40 {
        submit(&one, &agent, "of the first caller").await;
    }
    let id = submit(&other, &agent, "hello").await;
    fs::write(disk.path().join("go"), "").unwrap();
    let task = eventually("it ends", async || Some(task(&other, &agent, &id).await).filter(has_ended)).await;
    assert_eq!(result(&task), "hello");
    let order = order(disk.path());
    let place = order.iter().position(|text| text == "hello").expect("it was asked");
    assert!(place <= 3, "{order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_breaks_the_program_waits_alone() {
    let disk = tempfile::tempdir().unwrap();
    let (agent, one, other) = shared_agent(disk.path(), "Poison").await;
    for _ in 0..20 {
        submit(&one, &agent, "poison").await;
    }
    // Until its pauses are long.
    eventually("it breaks the program some times", async || (ended(&one, &agent).await >= 5).then_some(()))
        .await;
    for _ in 0..5 {
        assert_eq!(result(&ask(&other, &agent, "hello").await), "hello");
    }
    let order = order(disk.path());
    let broken = order.iter().filter(|text| *text == "poison").count();
    assert!(broken < 20, "the other one waited for all of them: {order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_does_not_end_the_program_each_time() {
    let disk = tempfile::tempdir().unwrap();
    let (agent, one, other) = shared_agent(disk.path(), "Cancels").await;
    let cancel = async |text: &str| {
        let before = order(disk.path()).len();
        let id = submit(&one, &agent, text).await;
        eventually("it is worked on", async || (order(disk.path()).len() > before).then_some(())).await;
        let cancel = call("tasks/cancel", &json!({"taskId": id}));
        let (_, canceled) = one.send(&agent.url, &cancel).await;
        canceled["result"]["status"]["state"] == "canceled"
    };
    // Tasks that end soon: none costs the program.
    let mut canceled = 0;
    for _ in 0..20 {
        canceled += u32::from(cancel("slow").await);
    }
    assert!(canceled > 10, "most were cancelled in time");
    assert_eq!(result(&ask(&other, &agent, "hello").await), "hello");
    assert!(starts(&agent) < 10, "{}", agent.log());
    // One that does not end: it costs the program, after a while.
    assert!(cancel("hang").await);
    assert_eq!(result(&ask(&other, &agent, "hello").await), "hello");
    assert!(starts(&agent) >= 2, "{}", agent.log());
}

/// One caller leaves tasks hanging and cancels them, another one breaks the program with everybody's tasks in it, and the next
/// program is the first one's again: a third caller waits for some seconds, not for the time of the tasks that hang.
#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_and_who_breaks_do_not_keep_a_third_one_waiting() {
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
import json, os
print(json.dumps({"bindu": 2, "concurrency": 8}), flush=True)
for line in open(0):
    task = json.loads(line)
    text = "cancel" if "cancel" in task else task["messages"][-1]["content"]
    with open("order", "a") as order: order.write(text + "\n")
    if text == "poison": os._exit(9)
    if text == "hello": print(json.dumps({"task_id": task["task_id"], "content": text}), flush=True)
"#;
    let setup = program(disk.path(), source).named(AUTHOR, "Hangs").set_all(hydra().await.environment());
    let agent = setup.set("BINDU_COMMAND_TIMEOUT", "1h").start().await;
    let one = TestCaller::new(hydra().await, "hangs-one").await;
    let (other, third) = (
        TestCaller::new(hydra().await, "hangs-other").await,
        TestCaller::new(hydra().await, "hangs-third").await,
    );
    let read = async |count: usize, what: &str| {
        eventually(what, async || {
            (order(disk.path()).iter().filter(|text| *text == what).count() >= count).then_some(())
        })
        .await;
    };
    submit(&one, &agent, "hang").await;
    submit(&third, &agent, "hang").await;
    read(2, "hang").await;
    submit(&other, &agent, "poison").await;
    read(1, "poison").await;
    let id = submit(&one, &agent, "hang").await;
    read(3, "hang").await;
    one.send(&agent.url, &call("tasks/cancel", &json!({"taskId": id}))).await;
    read(1, "cancel").await;
    assert_eq!(result(&ask(&third, &agent, "hello").await), "hello");
}
