//! What is in a line: characters that others take for its end, halves of characters, words that are no answer.

use super::{program, result};
use crate::agent;
use bindu_testkit::{http, install::node};
use std::fs;

/// The program of docs/HANDLERS.md, by Node's `readline`.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_one_line_for_node_too() {
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
const lines = require("node:readline").createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const text = JSON.parse(line).messages.at(-1).content;
  process.stdout.write(JSON.stringify({ content: `You said: ${text}` }) + "\n");
});
"#;
    fs::write(disk.path().join("agent.js"), source).unwrap();
    let node = tokio::task::spawn_blocking(node).await.unwrap();
    let command = format!("'{}' agent.js", node.display());
    let agent = agent(disk.path()).argument("--command").argument(&command).start().await;
    for text in ["a\u{2028}b", "a\u{2029}b\u{85}c", "a\r\nb\u{b}c", "\u{1f600}"] {
        assert_eq!(result(&http::ask(&agent.url, text).await), format!("You said: {text}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_character_is_replaced_and_the_rest_is_read() {
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
import json, sys
for line in sys.stdin:
    text = json.loads(line)["messages"][-1]["content"]
    print(json.dumps({"content": text[0] + "\ud83d" + text[1:]}), flush=True)
"#;
    let agent = program(disk.path(), source).start().await;
    assert_eq!(result(&http::ask(&agent.url, "ab\u{1f600}").await), "a\u{fffd}b\u{1f600}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_no_answer_is_in_the_log() {
    for (banner, task) in [
        ("print('Loading the\\x1b[1m model', flush=True)", ""),
        ("", "print('Loading the model', flush=True)"),
    ] {
        let disk = tempfile::tempdir().unwrap();
        let source = format!(
            "import json, sys\n{banner}\nfor line in sys.stdin:\n    {task}\n    print(json.dumps({{'content': 'x'}}), flush=True)\n"
        );
        let agent = program(disk.path(), &source).start().await;
        assert_eq!(result(&http::ask(&agent.url, "hello").await), "failed");
        http::eventually("the log shows it", async || {
            let log = agent.log();
            assert!(!log.contains('\u{1b}'), "escaped: {log}");
            log.contains("Loading the").then_some(())
        })
        .await;
    }
}

/// A prompt, or a closed stdin: what never gets a task is told at once, and not when the task's time is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_takes_no_task_is_told_at_once() {
    for (source, told) in [
        (
            "import sys\nsys.stdout.write('> '); sys.stdout.flush()\nsys.stdin.readline()\nimport time; time.sleep(600)",
            "`> `",
        ),
        ("import os, time\nos.close(0)\ntime.sleep(600)", "it has closed its stdin"),
    ] {
        let disk = tempfile::tempdir().unwrap();
        let agent = program(disk.path(), source).start().await;
        let begun = std::time::Instant::now();
        assert_eq!(result(&http::ask(&agent.url, "hello").await), "failed");
        assert!(begun.elapsed().as_secs() < 120, "the time of a task is 300 s");
        assert!(agent.log().contains(told), "{}", agent.log());
    }
}

/// JSON that lies so deep that no caller could read it, nor the agent sign it, fails the task, and not the agent.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_lies_too_deep_fails_its_task() {
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
import json, sys
for line in sys.stdin:
    deep = int(json.loads(line)["messages"][-1]["content"])
    print('{"parts": [{"data": ' + '{"a":' * deep + '1' + '}' * deep + '}]}', flush=True)
"#;
    let agent = program(disk.path(), source).start().await;
    for (deep, wanted) in [("90", "completed"), ("130", "failed"), ("100000", "failed"), ("3", "completed")] {
        let task = http::ask(&agent.url, deep).await;
        assert_eq!(task["status"]["state"], wanted, "{deep}");
    }
}
