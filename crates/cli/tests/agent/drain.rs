//! The end of an agent: what was begun ends, its results can be fetched, and nobody who says nothing prolongs it.

use crate::{AUTHOR, agent};
use bindu_testkit::{
    AgentProcess, AgentSetup,
    http::{self, call, eventually, message},
};
use rustix::process::Signal;
use serde_json::json;
use std::{
    path::Path,
    process::ExitStatus,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};

/// An agent whose program answers when the file `go` is there.
fn waiting(disk: &Path, name: &str) -> AgentSetup {
    let script = "import os,sys,time\nfor line in sys.stdin:\n    while not os.path.exists('go'):\n        time.sleep(0.01)\n    print('{\"content\": \"late\"}', flush=True)\n";
    std::fs::write(disk.join("slow.py"), script).unwrap();
    agent(disk).named(AUTHOR, name).argument("--command").argument("python3 slow.py")
}

fn go(disk: &Path) {
    std::fs::write(disk.join("go"), "").unwrap();
}

/// Asks it to end; its status and how long it took.
fn end(mut agent: AgentProcess) -> JoinHandle<(ExitStatus, Duration)> {
    tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        (agent.terminate(), begun.elapsed())
    })
}

async fn not_ready(url: &str) {
    eventually("not ready", async || (http::get(&format!("{url}/readyz")).await.0 == 503).then_some(()))
        .await;
}

async fn working(url: &str, id: &str) {
    eventually("it is worked on", async || {
        let (_, task) = http::post(url, &call("tasks/get", &json!({"taskId": id}))).await;
        (task["result"]["status"]["state"] == "working").then_some(())
    })
    .await;
}

async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.trim_start_matches("http://")).await.unwrap()
}

/// Waits until the server closes a connection; after how long.
async fn until_closed(mut stream: TcpStream) -> Duration {
    let begun = Instant::now();
    let mut buffer = Vec::new();
    let closed = tokio::time::timeout(http::LIMIT, stream.read_to_end(&mut buffer)).await;
    let _ = closed.expect("it is closed");
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn results_can_be_fetched_after_the_last_task_has_ended() {
    let disk = tempfile::tempdir().unwrap();
    let agent = waiting(disk.path(), "Drained").set("BINDU_DRAIN_GRACE", "20s").start().await;
    let (url, id) = (agent.url.clone(), "drained");
    http::post(&url, &message(id, "x")).await;
    working(&url, id).await;
    let ended = end(agent);
    not_ready(&url).await;
    let (status, refused) = http::post(&url, &message("new", "x")).await;
    assert_eq!(status, 503, "no new work: {refused}");
    go(disk.path());
    let client = http::client();
    eventually("the result", async || {
        let request = client.post(&url).body(call("tasks/get", &json!({"taskId": id})).to_string());
        let answer = request.send().await.expect("it still answers");
        assert_eq!(answer.headers()["connection"], "close", "each answer may be the last");
        let task: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        (task["result"]["artifacts"][0]["parts"][0]["text"] == "late").then_some(())
    })
    .await;
    let (status, took) = ended.await.unwrap();
    assert!(status.success());
    assert!(took < Duration::from_secs(15), "it was fetched: nothing else to wait for, after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_nobody_fetches_waits_for_the_grace() {
    let disk = tempfile::tempdir().unwrap();
    let agent = waiting(disk.path(), "Unfetched").set("BINDU_DRAIN_GRACE", "2s").start().await;
    let url = agent.url.clone();
    http::post(&url, &message("unfetched", "x")).await;
    working(&url, "unfetched").await;
    let ended = end(agent);
    not_ready(&url).await;
    let begun = Instant::now();
    go(disk.path());
    let (status, _) = ended.await.unwrap();
    assert!(status.success());
    assert!(begun.elapsed() >= Duration::from_secs(2), "it could not be fetched for {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grace_ends_with_the_deadline() {
    let disk = tempfile::tempdir().unwrap();
    let setup = waiting(disk.path(), "Deadline").set("BINDU_DRAIN_GRACE", "1h");
    let agent = setup.set("BINDU_DRAIN_DEADLINE", "2s").start().await;
    let url = agent.url.clone();
    http::post(&url, &message("deadline", "x")).await;
    working(&url, "deadline").await;
    go(disk.path());
    let (status, took) = end(agent).await.unwrap();
    assert!(status.success());
    assert!((Duration::from_secs(2)..Duration::from_secs(20)).contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_does_not_prolong_it() {
    let disk = tempfile::tempdir().unwrap();
    let setup = waiting(disk.path(), "Silent").set("BINDU_HEADER_TIMEOUT", "5m");
    let agent = setup.set("BINDU_IDLE_TIMEOUT", "5m").set("BINDU_DRAIN_DEADLINE", "5m").start().await;
    let url = agent.url.clone();
    http::post(&url, &message("silent", "x")).await;
    working(&url, "silent").await;
    let new = connect(&url).await;
    let mut idle = connect(&url).await;
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    let mut half = connect(&url).await;
    half.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nX-").await.unwrap();
    let mut half_body = connect(&url).await;
    half_body.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{").await.unwrap();
    assert!(half_body.read(&mut buffer).await.unwrap() > 0, "it is answered without its body");
    let ended = end(agent);
    not_ready(&url).await;
    // While the task runs: who is between two requests is told so at once, who is new may still ask.
    until_closed(idle).await;
    let mut fresh = connect(&url).await;
    fresh.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    fresh.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    assert!(!ended.is_finished());
    go(disk.path());
    let _ = http::post(&url, &call("tasks/get", &json!({"taskId": "silent"}))).await;
    let (status, took) = ended.await.unwrap();
    assert!(status.success());
    assert!(took < Duration::from_secs(60), "it took {took:?}");
    until_closed(new).await;
    until_closed(half).await;
    until_closed(half_body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_being_taken_is_finished() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).named(AUTHOR, "Taken").start().await;
    let url = agent.url.clone();
    // Three copies of it come back: in the message, the answer's message and the artifact.
    http::post(&url, &message("large", &"x".repeat(1_900_000))).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(url.trim_start_matches("http://").parse().unwrap()).await.unwrap();
    let ask = call("tasks/get", &json!({"taskId": "large"})).to_string();
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{ask}", ask.len());
    eventually("it is done", async || {
        let (_, task) = http::post(&url, &call("tasks/get", &json!({"taskId": "large"}))).await;
        (task["result"]["status"]["state"] == "completed").then_some(())
    })
    .await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut taken = vec![0; 1000];
    stream.read_exact(&mut taken).await.unwrap();
    let ended = end(agent);
    eventually("it does not listen any more", async || {
        TcpStream::connect(url.trim_start_matches("http://")).await.is_err().then_some(())
    })
    .await;
    assert!(!ended.is_finished(), "it waits for who takes its answer");
    stream.read_to_end(&mut taken).await.unwrap();
    let text = String::from_utf8(taken).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!(body.len().to_string(), length, "all of it");
    assert!(ended.await.unwrap().0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_signal_ends_it_without_a_drain() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).named(AUTHOR, "Signalled").start().await;
    for (signal, word) in [
        (Signal::HUP, "SIGHUP changes nothing"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::ALARM, "SIGALRM"),
    ] {
        agent.signal(signal);
        eventually(word, async || agent.log().contains(word).then_some(())).await;
    }
    agent.signal(Signal::PIPE);
    assert_eq!(http::ask(&agent.url, "still here").await["status"]["state"], "completed");
    drop(agent);
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let disk = tempfile::tempdir().unwrap();
        let mut agent = waiting(disk.path(), "Asked").start().await;
        let url = agent.url.clone();
        http::post(&url, &message("asked", "x")).await;
        working(&url, "asked").await;
        agent.signal(signal);
        not_ready(&url).await;
        go(disk.path());
        eventually("the result", async || {
            let (_, task) = http::post(&url, &call("tasks/get", &json!({"taskId": "asked"}))).await;
            (task["result"]["status"]["state"] == "completed").then_some(())
        })
        .await;
        let status = tokio::task::spawn_blocking(move || agent.wait()).await.unwrap();
        assert!(status.success(), "{signal:?}: {status}");
    }
}
