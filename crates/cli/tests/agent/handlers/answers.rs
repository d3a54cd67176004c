//! No caller gets another's answer, whatever a program writes and whenever.

use super::{is_gone, program, result};
use bindu_testkit::http;
use futures_util::future::join_all;

/// Says more than it is asked, after a while, and reads its next task afterwards.
const LATE: &str = r#"
import json, os, sys, time
for line in sys.stdin:
    task = json.loads(line)
    text = task["messages"][-1]["content"]
    print(json.dumps({"content": text}), flush=True)
    if text.startswith("late"):
        time.sleep(float(text.split()[1]))
        print(json.dumps({"content": "somebody else's"}), flush=True)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_comes_late_is_nobodys_answer() {
    let disk = tempfile::tempdir().unwrap();
    let agent = program(disk.path(), LATE).start().await;
    for (number, late) in ["late 0.001", "late 0.05", "late 0.2", "late 0.5"].into_iter().enumerate() {
        assert_eq!(result(&http::ask(&agent.url, late).await), late);
        for nonce in 0..3 {
            let nonce = format!("nonce {number} {nonce}");
            assert_eq!(result(&http::ask(&agent.url, &nonce).await), nonce, "after {late}");
        }
    }
    let log = agent.log();
    assert!(log.contains("more than was asked") && log.contains("somebody else"), "it was said:\n{log}");
}

/// Without another task: whoever asks next would wait for the end of the old program.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_program_that_writes_is_ended() {
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
import json, os, sys, threading
for line in sys.stdin:
    print(json.dumps({"content": str(os.getpid())}), flush=True)
    threading.Timer(0.3, lambda: (sys.stdout.write("x"), sys.stdout.flush())).start()
"#;
    let agent = program(disk.path(), source).start().await;
    let first = http::ask(&agent.url, "hello").await;
    let pid = result(&first).to_owned();
    assert!(super::runs(&pid), "{first}");
    is_gone("a program that wrote half a line, and was asked nothing", &pid).await;
    let second = http::ask(&agent.url, "hello").await;
    assert_ne!(result(&second), pid);
}

/// A program that says whose answers its answers are can't be misunderstood, and has to go on saying so.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_echoes_the_id_is_safe_with_threads_too() {
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
import json, sys, threading, time
def later(line): time.sleep(0.15); print(line, flush=True)
for line in sys.stdin:
    task = json.loads(line)
    text = task["messages"][-1]["content"]
    id = {"task_id": task["task_id"]}
    print(json.dumps({"content": text, **id}), flush=True)
    if text == "again": threading.Thread(target=later, args=[json.dumps({"content": "old", **id})]).start()
    if text == "nameless": threading.Thread(target=later, args=[json.dumps({"content": "old"})]).start()
    if text in ("again", "nameless"): time.sleep(0.1); id = sys.stdin.readline(); time.sleep(0.3)
    if text in ("again", "nameless"):
        task = json.loads(id)
        print(json.dumps({"content": task["messages"][-1]["content"], "task_id": task["task_id"]}), flush=True)
"#;
    let agent = program(disk.path(), source).start().await;
    for text in ["again", "nameless"] {
        assert_eq!(result(&http::ask(&agent.url, text).await), text);
        let next = http::ask(&agent.url, "mine").await;
        assert!(["mine", "failed"].contains(&result(&next)), "after {text}: {next}");
        assert_eq!(result(&http::ask(&agent.url, "hello").await), "hello");
    }
}

/// Everything at once, on two workers: what comes back is what was asked, or a failure.
#[tokio::test(flavor = "multi_thread")]
async fn each_answer_carries_its_askers_nonce() {
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
import json, os, random, sys, time
def say(text): sys.stdout.write(text); sys.stdout.flush()
for line in sys.stdin:
    task = json.loads(line)
    text = task["messages"][-1]["content"]
    answer = json.dumps({"content": text}) + "\n"
    kind = random.randrange(12)
    if kind == 0: say(answer + answer)
    elif kind == 1: say(answer); time.sleep(random.random() / 20); say(answer)
    elif kind == 2: say(answer + answer[:5])
    elif kind == 3: say(answer[:5]); os._exit(1)
    elif kind == 4: say(answer[:5]); time.sleep(random.random() / 50); say(answer[5:])
    elif kind == 5: say(answer); os._exit(0)
    else: say(answer)
"#;
    let agent = program(disk.path(), source).set("BINDU_COMMAND_WORKERS", "2").start().await;
    let callers = (0..8).map(async |caller| {
        let mut good = 0;
        for number in 0..40 {
            let nonce = format!("{caller} {number}");
            let task = http::ask(&agent.url, &nonce).await;
            match result(&task) {
                "failed" => {}
                text => {
                    assert_eq!(text, nonce, "{task}");
                    good += 1;
                }
            }
        }
        good
    });
    let good: u32 = join_all(callers).await.into_iter().sum();
    assert!(good > 8 * 40 / 2, "{good} of 320 were answered");
    assert!(agent.log().contains("more than was asked"), "it did write too much");
}

/// A cancelled task's answer is thrown away, and the next task finds the same program.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_tasks_answer_is_not_the_next_ones() {
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
import json, os, sys, time
for line in sys.stdin:
    text = json.loads(line)["messages"][-1]["content"]
    if text.startswith("slow"):
        open(text, "w").close()
        while not os.path.exists("go " + text): time.sleep(0.01)
    print(json.dumps({"content": f"{text} {os.getpid()}"}), flush=True)
"#;
    let agent = program(disk.path(), source).start().await;
    // On a busy machine a program may be too late, and be ended for it.
    for attempt in 0..5 {
        let slow = format!("slow {attempt}");
        let first = http::ask(&agent.url, "first").await;
        let pid = result(&first).strip_prefix("first ").expect("a pid").to_owned();
        http::post(&agent.url, &http::message(&slow, &slow)).await;
        http::eventually("it is worked on", async || disk.path().join(&slow).exists().then_some(())).await;
        let cancel = http::call("tasks/cancel", &serde_json::json!({"taskId": slow}));
        assert_eq!(http::post(&agent.url, &cancel).await.1["result"]["status"]["state"], "canceled");
        std::fs::write(disk.path().join(format!("go {slow}")), "").unwrap();
        let next = http::ask(&agent.url, "next").await;
        assert!(result(&next).starts_with("next "), "{next}");
        if result(&next) == format!("next {pid}") {
            return;
        }
    }
    panic!("the program was ended each time");
}
