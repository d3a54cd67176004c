//! The second protocol: many tasks at a time, many lines for one, a line for a cancellation.

use super::{program, result};
use crate::agent;
use bindu_testkit::{
    AgentProcess, AgentSetup, http,
    install::{node, source_tree},
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Greets, collects tasks until it has as many as it is told, and answers them backwards.
const BACKWARDS: &str = r#"
import json, sys
print(json.dumps({"bindu": 2, "concurrency": 4}), flush=True)
print("Loading the model", flush=True)
held = []
for line in sys.stdin:
    message = json.loads(line)
    assert message["bindu"] == [1, 2], line
    held.append((message["task_id"], message["messages"][-1]["content"]))
    if len(held) == 4:
        for id, text in reversed(held):
            print(json.dumps({"task_id": id, "content": text}), flush=True)
            print(json.dumps({"task_id": id, "content": "too much"}), flush=True)
        held = []
"#;

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_any_order_and_to_whom_they_belong() {
    let disk = tempfile::tempdir().unwrap();
    let agent = program(disk.path(), BACKWARDS).start().await;
    for round in 0..5 {
        let texts: Vec<String> = (0..4).map(|number| format!("{round} {number}")).collect();
        let tasks = join_all(texts.iter().map(|text| http::ask(&agent.url, text))).await;
        for (text, task) in texts.iter().zip(tasks) {
            assert_eq!(result(&task), text, "{task}");
        }
    }
    let log = agent.log();
    assert_eq!(log.matches("started the agent program").count(), 1, "{log}");
    assert!(log.contains("Loading the model"), "what is not used is told: {log}");
}

/// Greets only once it has read a task, as a program does that would work with an older agent as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_may_greet_when_it_has_read_its_first_task() {
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
import json, sys
greeted = False
for line in sys.stdin:
    task = json.loads(line)
    if not greeted and 2 in task["bindu"]: print(json.dumps({"bindu": 2, "concurrency": 2}), flush=True)
    greeted = True
    print(json.dumps({"task_id": task["task_id"], "artifact": {"text": "in "}}), flush=True)
    print(json.dumps({"task_id": task["task_id"], "progress": "half"}), flush=True)
    print(json.dumps({"task_id": task["task_id"], "artifact": {"text": "pieces"}}), flush=True)
    print(json.dumps({"task_id": task["task_id"], "state": "completed"}), flush=True)
"#;
    let agent = program(disk.path(), source).start().await;
    for _ in 0..3 {
        assert_eq!(result(&http::ask(&agent.url, "hello").await), "in pieces");
    }
}

/// What is wrong with one task fails that task, and the program goes on with the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_fails_one_task() {
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
import json, sys, threading
print('{"bindu": 2, "concurrency": 8}', flush=True)
def say(line): sys.stdout.write(line + "\n"); sys.stdout.flush()
kept = None
for line in sys.stdin:
    message = json.loads(line)
    if "cancel" in message: continue
    id, text = message["task_id"], message["messages"][-1]["content"]
    if text == "keep": kept = id
    elif text == "state": say(json.dumps({"task_id": id, "state": "done"}))
    elif text == "type": say(json.dumps({"task_id": id, "content": 7}))
    elif text == "empty": say(json.dumps({"task_id": id, "state": "completed"}))
    elif text == "hang": pass
    elif text == "release":
        say(json.dumps({"task_id": kept, "content": "kept"}))
        say(json.dumps({"task_id": id, "content": "released"}))
"#;
    let agent = program(disk.path(), source).set("BINDU_COMMAND_TIMEOUT", "30s").start().await;
    http::post(&agent.url, &http::message("kept", "keep")).await;
    for bad in ["state", "type", "empty"] {
        assert_eq!(result(&http::ask(&agent.url, bad).await), "failed", "{bad}");
    }
    assert_eq!(result(&http::ask(&agent.url, "release").await), "released");
    let kept = http::eventually("the kept one is answered", async || {
        let task = http::post(&agent.url, &http::call("tasks/get", &json!({"taskId": "kept"}))).await.1;
        (task["result"]["status"]["state"] == "completed").then(|| task["result"].clone())
    })
    .await;
    assert_eq!(result(&kept), "kept");
    assert_eq!(agent.log().matches("started the agent program").count(), 1);
}

/// A task that hangs fails by itself, and the program is told; those beside it do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_hangs_fails_alone() {
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
import json, sys
print('{"bindu": 2, "concurrency": 8}', flush=True)
for line in sys.stdin:
    message = json.loads(line)
    if "cancel" in message:
        print(json.dumps({"task_id": message["cancel"], "state": "canceled"}), flush=True)
        print("was told", file=sys.stderr, flush=True)
        continue
    id, text = message["task_id"], message["messages"][-1]["content"]
    if text != "hang": print(json.dumps({"task_id": id, "content": text}), flush=True)
"#;
    let agent = program(disk.path(), source).set("BINDU_COMMAND_TIMEOUT", "15s").start().await;
    let is_over = std::cell::Cell::new(false);
    let hanging = async {
        let task = http::ask(&agent.url, "hang").await;
        is_over.set(true);
        task
    };
    let others = async {
        let mut answered = 0;
        while !is_over.get() {
            assert_eq!(result(&http::ask(&agent.url, "hello").await), "hello");
            answered += 1;
        }
        answered
    };
    let (hung, answered) = tokio::join!(hanging, others);
    assert_eq!(result(&hung), "failed");
    assert!(answered > 1, "others were answered in the meantime");
    http::eventually("the program is told", async || agent.log().contains("was told").then_some(())).await;
    assert_eq!(result(&http::ask(&agent.url, "hello").await), "hello");
    assert_eq!(agent.log().matches("started the agent program").count(), 1, "{}", agent.log());
}

/// Crashes, cancellations, answers twice and late, with many tasks in the program: what comes back is what was asked, or
/// a failure, and every task ends.
#[tokio::test(flavor = "multi_thread")]
async fn each_answer_carries_its_askers_nonce() {
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
import json, os, random, sys
print('{"bindu": 2, "concurrency": 6}', flush=True)
def say(id, text): print(json.dumps({"task_id": id, "content": text}), flush=True)
held = []
for line in sys.stdin:
    message = json.loads(line)
    if "cancel" in message:
        print(json.dumps({"task_id": message["cancel"], "state": "canceled"}), flush=True)
        held = [(id, text) for id, text in held if id != message["cancel"]]
        continue
    held.append((message["task_id"], message["messages"][-1]["content"]))
    random.shuffle(held)
    kind = random.randrange(20)
    if kind == 0: os._exit(1)
    if kind == 1: print("a banner", flush=True)
    if kind == 2: say(*held[0])
    # The last ones wait for the next line, unless nothing may come any more.
    while held and random.randrange(4): say(*held.pop())
    if len(held) > 2:
        for id, text in held: say(id, text)
        held = []
"#;
    let agent = program(disk.path(), source).set("BINDU_COMMAND_WORKERS", "2").start().await;
    let over = std::cell::Cell::new(0);
    let callers = (0..8).map(async |caller| {
        let mut good = 0;
        for number in 0..25 {
            let nonce = format!("{caller} {number}");
            match result(&http::ask(&agent.url, &nonce).await) {
                "failed" => {}
                text => {
                    assert_eq!(text, nonce);
                    good += 1;
                }
            }
        }
        over.set(over.get() + 1);
        good
    });
    // What is held needs a further line; some of those are cancelled.
    let others = async {
        for number in 0.. {
            let id = format!("other {number}");
            http::post(&agent.url, &http::message(&id, &id)).await;
            if number % 3 == 0 {
                http::post(&agent.url, &http::call("tasks/cancel", &json!({"taskId": id}))).await;
            }
            if over.get() == 8 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let (good, ()) = tokio::join!(join_all(callers), others);
    let good: u32 = good.into_iter().sum();
    assert!(good > 8 * 25 / 2, "{good} of 200 were answered");
    assert!(agent.log().matches("started the agent program").count() > 2, "it crashed: {}", agent.log());
}

/// Runs an example with what it says and hears written to files.
fn recorded(directory: &Path, command: &str) -> AgentSetup {
    let script = format!("tee in.jsonl | {command} | tee out.jsonl");
    fs::write(directory.join("run.sh"), script).unwrap();
    agent(directory).argument("--command").argument("sh run.sh")
}

/// Each recorded line is what the schema says.
fn assert_of_the_schema(directory: &Path, file: &str, definition: &str) {
    let schema = fs::read(source_tree().join("docs/handler-protocol.schema.json")).unwrap();
    let mut schema: Value = serde_json::from_slice(&schema).unwrap();
    schema.as_object_mut().unwrap().remove("anyOf");
    schema["$ref"] = format!("#/$defs/{definition}").into();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let lines = fs::read_to_string(directory.join(file)).unwrap();
    assert!(lines.lines().count() > 10, "{file}: {lines}");
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let errors: Vec<String> = validator.iter_errors(&line).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{file}: {line}: {errors:?}");
    }
}

async fn state(agent: &AgentProcess, id: &str) -> String {
    let (_, task) = http::post(&agent.url, &http::call("tasks/get", &json!({"taskId": id}))).await;
    task["result"]["status"]["state"].as_str().unwrap_or_default().to_owned()
}

async fn example(directory: &Path, command: &str) {
    let agent = recorded(directory, command).start().await;
    assert_eq!(result(&http::ask(&agent.url, "hello").await), "You said: hello");
    assert_eq!(result(&http::ask(&agent.url, "count 3").await), "1 2 3 ");
    assert_eq!(http::ask(&agent.url, "").await["history"][1]["parts"][0]["text"], "What about?");
    // Cancelled by a line: the program goes on.
    http::post(&agent.url, &http::message("long", "count 100000")).await;
    let out = || fs::read_to_string(directory.join("out.jsonl")).unwrap_or_default();
    http::eventually("it counts", async || out().contains("1 of 100000").then_some(())).await;
    let cancel = http::call("tasks/cancel", &json!({"taskId": "long"}));
    assert_eq!(http::post(&agent.url, &cancel).await.1["result"]["status"]["state"], "canceled");
    http::eventually("it stops", async || out().contains("canceled").then_some(())).await;
    assert_eq!(state(&agent, "long").await, "canceled");
    // Slow ones do not keep quick ones waiting.
    http::post(&agent.url, &http::message("slow", "count 200")).await;
    let texts: Vec<String> = (0..30).map(|number| format!("nonce {number}")).collect();
    let tasks = join_all(texts.iter().map(|text| http::ask(&agent.url, text))).await;
    for (text, task) in texts.iter().zip(tasks) {
        assert_eq!(result(&task), format!("You said: {text}"));
    }
    assert_eq!(state(&agent, "slow").await, "working");
    assert_eq!(agent.log().matches("started the agent program").count(), 1, "{}", agent.log());
    assert_of_the_schema(directory, "in.jsonl", "ToProgram");
    assert_of_the_schema(directory, "out.jsonl", "SecondProtocol");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_example_works() {
    let disk = tempfile::tempdir().unwrap();
    let file = source_tree().join("examples/python/agent.py");
    example(disk.path(), &format!("python3 '{}'", file.display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_example_works() {
    let disk = tempfile::tempdir().unwrap();
    let node = tokio::task::spawn_blocking(node).await.unwrap();
    let file = source_tree().join("examples/node/agent.js");
    example(disk.path(), &format!("'{}' '{}'", node.display(), file.display())).await;
}

/// A line that is too long fails its own task; the other callers' go on in the same program.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_too_long_fails_its_own_task() {
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
import json, sys
print('{"bindu": 2, "concurrency": 8}', flush=True)
held = []
for line in sys.stdin:
    message = json.loads(line)
    if "cancel" in message: continue
    id, text = message["task_id"], message["messages"][-1]["content"]
    if text == "held": held.append(id); continue
    print(json.dumps({"task_id": id, "content": "x" * 9_000_000 if text == "long" else text}), flush=True)
    if text == "free":
        for other in held: print(json.dumps({"task_id": other, "content": "still here"}), flush=True)
"#;
    let agent = program(disk.path(), source).start().await;
    let others = async {
        assert_eq!(result(&http::ask(&agent.url, "first").await), "first");
        for _ in 0..3 {
            assert_eq!(result(&http::ask(&agent.url, "long").await), "failed");
            assert_eq!(result(&http::ask(&agent.url, "after").await), "after");
        }
        assert_eq!(result(&http::ask(&agent.url, "free").await), "free");
    };
    let (held, ()) = tokio::join!(http::ask(&agent.url, "held"), others);
    assert_eq!(result(&held), "still here");
    let log = agent.log();
    assert_eq!(log.matches("started the agent program").count(), 1, "{log}");
    assert!(log.contains("its line is longer than 2 MiB"), "{log}");
}

/// Another message comes while a piece of the result is out: the run that it begins writes the result in the piece's place.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_takes_the_place_of_pieces_that_an_earlier_run_has_left() {
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
import json, sys
print('{"bindu": 2, "concurrency": 8}', flush=True)
for line in sys.stdin:
    message = json.loads(line)
    if "cancel" in message: continue
    id, text = message["task_id"], message["messages"][-1]["content"]
    print(json.dumps({"task_id": id, "artifact": {"text": "a piece of " + text}}), flush=True)
    if text == "ask": print(json.dumps({"task_id": id, "content": "Which?", "state": "input-required"}), flush=True)
    if text == "whole": print(json.dumps({"task_id": id, "content": "the whole"}), flush=True)
    if text == "pieces": print(json.dumps({"task_id": id, "state": "completed"}), flush=True)
"#;
    let agent = program(disk.path(), source).start().await;
    for (first, last, wanted) in [
        ("held", "whole", "the whole"),
        ("ask", "whole", "the whole"),
        ("held", "pieces", "a piece of pieces"),
        ("ask", "pieces", "a piece of pieces"),
    ] {
        let id = format!("{first}, then {last}");
        let send = async |text: &str| {
            let mut body = http::message(&format!("{id}: {text}"), text);
            for name in ["taskId", "contextId"] {
                body["params"]["message"][name] = json!(id);
            }
            http::post(&agent.url, &body).await.1
        };
        let get = async || {
            http::post(&agent.url, &http::call("tasks/get", &json!({"taskId": id}))).await.1["result"].take()
        };
        send(first).await;
        http::eventually("a piece is out", async || {
            let task = get().await;
            let is_ready = first == "held" || task["status"]["state"] == "input-required";
            (task["artifacts"][0].is_object() && is_ready).then_some(())
        })
        .await;
        send(last).await;
        let task = http::eventually("it ends", async || {
            let task = get().await;
            (task["status"]["state"] == "completed").then_some(task)
        })
        .await;
        let artifacts = task["artifacts"].as_array().unwrap();
        assert_eq!(artifacts.len(), 1, "{first}, {last}: {task:#}");
        let parts = artifacts[0]["parts"].as_array().unwrap();
        let text: String = parts.iter().map(|part| part["text"].as_str().unwrap()).collect();
        assert_eq!(text, wanted, "{first}, {last}");
        assert!(artifacts[0].to_string().contains("did.message.signature"), "it is signed: {task:#}");
    }
}
