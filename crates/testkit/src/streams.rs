//! Many streams of one task: most are read, some are not. The tests hold them to their order, `cargo xtask bench streams` prints
//! how long it takes.

use crate::{AgentSetup, http, server::memory_kib};
use serde_json::json;
use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

/// How many streams there are, and what they bring.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    /// Those that are read.
    pub readers: usize,
    /// Those of which nobody reads.
    pub stalled: usize,
    /// The pieces of the task's result.
    pub pieces: usize,
    /// The bytes of each.
    pub bytes: usize,
}

/// What has come of them.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The readers that got each event once, in the order of its number, with the same bytes as all others.
    pub whole: usize,
    /// How many events that were.
    pub events: usize,
    /// The stalled streams that were cut off before their end.
    pub cut_off: usize,
    /// From the first piece to the end of the last reader.
    pub took: Duration,
    /// By how many bytes the agent's peak memory has grown.
    pub grown: usize,
}

/// An agent that writes its pieces when it is told to: when there is a file named `go`.
fn program(directory: &Path, streams: &Streams) -> String {
    let Streams { pieces, bytes, .. } = streams;
    let script = format!(
        r#"import json, os, sys, time
print(json.dumps({{"bindu": 2}}), flush=True)
for line in sys.stdin:
    task = json.loads(line)
    if "cancel" in task:
        continue
    while not os.path.exists("go"):
        time.sleep(0.01)
    for number in range({pieces}):
        piece = ("%d " % number).ljust({bytes}, "x")
        print(json.dumps({{"task_id": task["task_id"], "artifact": {{"text": piece}}}}), flush=True)
    print(json.dumps({{"task_id": task["task_id"], "state": "completed"}}), flush=True)
"#
    );
    std::fs::write(directory.join("pieces.py"), script).expect("a file");
    "python3 pieces.py".to_owned()
}

/// Lets an agent of these settings, which runs in this directory, write to so many streams.
///
/// # Panics
/// If the agent does not take the task, or the streams.
pub async fn watch(setup: AgentSetup, directory: &Path, streams: Streams) -> Seen {
    let command = program(directory, &streams);
    let agent = setup
        // Longer than the readers, all of one process, need on a busy machine.
        .set("BINDU_WRITE_TIMEOUT", "20s")
        .set("RUST_LOG", "warn")
        .argument("--command")
        .argument(&command)
        .start()
        .await;
    let address: SocketAddr = agent.url.trim_start_matches("http://").parse().expect("an address");
    let (status, sent) = http::post(&agent.url, &http::message(&"5".repeat(32), "write")).await;
    assert_eq!(status, 200, "{sent}");
    // Written as a UUID is.
    let id = &sent["result"]["id"];
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SubscribeToTask", "params": {"id": id}});
    let body = body.to_string();
    // Without chunks, so that what comes is the events.
    let request = format!(
        "POST / HTTP/1.0\r\nContent-Type: application/json\r\nA2A-Version: 1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stalled = Vec::new();
    for _ in 0..streams.stalled {
        stalled.push(connect(address, &request, true).await);
    }
    let mut readers = Vec::new();
    for _ in 0..streams.readers {
        readers.push(connect(address, &request, false).await);
    }
    let all = streams.readers + streams.stalled;
    let subscribers = async || {
        let (_, metrics) = http::get(&format!("{}/metrics", agent.url)).await;
        let metrics = metrics.as_str().unwrap_or_default().to_owned();
        let line = metrics.lines().find_map(|line| line.strip_prefix("bindu_subscribers "))?;
        line.trim().parse::<f64>().ok()
    };
    http::eventually("all streams are there", async || (subscribers().await? as usize == all).then_some(()))
        .await;
    let before = memory_kib(agent.pid(), "VmRSS").expect("it runs");
    let begun = Instant::now();
    std::fs::write(directory.join("go"), "").expect("a file");
    let mut reading = JoinSet::new();
    for reader in readers {
        reading.spawn(events(reader));
    }
    let read: Vec<Vec<(u64, Arc<[u8]>)>> = reading.join_all().await;
    let took = begun.elapsed();
    let longest = read.iter().max_by_key(|events| events.len()).cloned().unwrap_or_default();
    let whole = read.iter().filter(|events| is_whole(events, &longest)).count();
    http::eventually("the stalled ones are cut off", async || (subscribers().await? == 0.0).then_some(()))
        .await;
    let grown = memory_kib(agent.pid(), "VmHWM").expect("it runs").saturating_sub(before) as usize * 1024;
    let mut cut_off = 0;
    for mut stream in stalled {
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text).await;
        let has_end = text.windows(20).any(|window| window == b"TASK_STATE_COMPLETED");
        cut_off += usize::from(!has_end);
    }
    Seen { whole, events: longest.len(), cut_off, took, grown }
}

async fn connect(address: SocketAddr, request: &str, is_stalled: bool) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    if is_stalled {
        socket.set_recv_buffer_size(4096).expect("a small buffer");
    }
    let mut stream = socket.connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    stream
}

/// The events of a stream to its end: each one's number and data.
async fn events(mut stream: TcpStream) -> Vec<(u64, Arc<[u8]>)> {
    let (mut bytes, mut events, mut has_head) = (Vec::new(), Vec::new(), false);
    loop {
        let read = stream.read_buf(&mut bytes).await.unwrap_or(0);
        let mut from = 0;
        while let Some(length) = find(&bytes[from..], if has_head { b"\n\n" } else { b"\r\n\r\n" }) {
            let block = &bytes[from..from + length];
            from += length + if has_head { 2 } else { 4 };
            if !std::mem::replace(&mut has_head, true) || block.starts_with(b":") {
                continue;
            }
            let event = block.strip_prefix(b"id: ").and_then(|rest| {
                let (id, data) = rest.split_at(rest.iter().position(|byte| *byte == b'\n')?);
                Some((std::str::from_utf8(id).ok()?.parse().ok()?, Arc::from(data)))
            });
            events.push(event.unwrap_or((0, Arc::from(block))));
        }
        bytes.drain(..from);
        if read == 0 {
            return events;
        }
    }
}

/// Only the end of what was there is looked at again, and what is behind it.
fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The task first, then each event behind it, once, up to the task's end.
fn is_whole(events: &[(u64, Arc<[u8]>)], longest: &[(u64, Arc<[u8]>)]) -> bool {
    let Some((_, rest)) = events.split_first() else { return false };
    // The messages of a task's history have numbers, too, and are no events of a stream.
    let numbers = events.windows(2).all(|two| two[0].0 < two[1].0);
    let ends =
        rest.last().is_some_and(|(_, data)| data.windows(20).any(|window| window == b"TASK_STATE_COMPLETED"));
    numbers && ends && longest.ends_with(rest)
}
