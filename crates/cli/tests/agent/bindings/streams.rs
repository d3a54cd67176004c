//! Streams: order, subscription, silence, readers that stall, and many of them.

use super::{Event, Speech, Sse, slow};
use crate::agent;
use bindu_testkit::{
    AgentProcess, http,
    streams::{Streams, watch},
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// What an event says: its kind, and the state if it has one.
fn kind(speech: Speech, event: &Event) -> String {
    let result = &event.data["result"];
    let state = |status: &Value| status["state"].as_str().unwrap_or_default().to_owned();
    match speech {
        Speech::V1 => {
            let (kind, inner) =
                result.as_object().and_then(|object| object.iter().next()).expect("one member");
            match kind.as_str() {
                "task" => "task".to_owned(),
                "statusUpdate" => state(&inner["status"]).trim_start_matches("TASK_STATE_").to_lowercase(),
                "artifactUpdate" => "artifact".to_owned(),
                other => other.to_owned(),
            }
        }
        _ => match result["kind"].as_str().unwrap_or_default() {
            "status-update" => state(&result["status"]),
            "artifact-update" => "artifact".to_owned(),
            other => other.to_owned(),
        },
    }
}

async fn subscribers(agent: &AgentProcess) -> f64 {
    let (_, metrics) = http::get(&format!("{}/metrics", agent.url)).await;
    let metrics = metrics.as_str().expect("text");
    let line = metrics.lines().find(|line| line.starts_with("bindu_subscribers ")).expect("the gauge");
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_the_task_and_ends_with_its_end() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).start().await;
    for speech in Speech::ALL {
        let request = speech.request(&agent.url, "message/stream", &speech.saying("streamed"));
        let stream = Sse::all(request).await;
        let kinds: Vec<String> = stream.events.iter().map(|event| kind(speech, event)).collect();
        assert_eq!(kinds.first().map(String::as_str), Some("task"), "{speech:?}: {kinds:?}");
        assert_eq!(kinds.last().map(String::as_str), Some("completed"), "{kinds:?}");
        assert_eq!(kinds.iter().filter(|kind| *kind == "artifact").count(), 1, "{kinds:?}");
        assert!(stream.ids().windows(2).all(|two| two[0] < two[1]), "{:?}", stream.ids());
        for event in &stream.events {
            assert_eq!((&event.data["jsonrpc"], &event.data["id"]), (&json!("2.0"), &json!("call-1")));
        }
        let last = &stream.events[stream.events.len() - 1].data["result"];
        assert_eq!(last.get("final").is_some(), speech != Speech::V1, "1.0 has no `final`: {last}");
    }
    assert_eq!(subscribers(&agent).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_gets_what_it_has_missed() {
    let disk = tempfile::tempdir().unwrap();
    let command = slow(disk.path(), 1.0);
    let agent = agent(disk.path()).argument("--command").argument(&command).start().await;
    for speech in Speech::ALL {
        let request = speech.request(&agent.url, "message/stream", &speech.saying("x"));
        let mut response = request.send().await.unwrap();
        let mut first = Sse::default();
        while first.events.is_empty() {
            first.take(&response.chunk().await.unwrap().expect("an event"));
        }
        // Its connection breaks off.
        drop(response);
        let task = &first.events[0].data["result"];
        let task = if speech == Speech::V1 { &task["task"] } else { task };
        let id = task["id"].as_str().expect("the task comes first");
        let subscribe = || speech.request(&agent.url, "tasks/resubscribe", &speech.of_task(id));
        let has = first.events[0].id.to_string();
        let (whole, rest) =
            tokio::join!(Sse::all(subscribe()), Sse::all(subscribe().header("Last-Event-ID", has)));
        assert_eq!(kind(speech, &whole.events[0]), "task");
        assert!(rest.events.iter().all(|event| event.id > first.events[0].id), "{:?}", rest.ids());
        assert_ne!(kind(speech, &rest.events[0]), "task");
        let last = |stream: &Sse| stream.events.last().cloned();
        assert_eq!(last(&whole), last(&rest), "the same events in the same order");
        // The task has ended.
        let (status, refused) = http::answer(subscribe()).await;
        assert_eq!(refused["error"]["code"], -32004, "{status} {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_says_that_it_is_there() {
    let disk = tempfile::tempdir().unwrap();
    let command = slow(disk.path(), 1.0);
    let agent = agent(disk.path())
        .argument("--command")
        .argument(&command)
        .set("BINDU_STREAM_KEEP_ALIVE", "100ms")
        .start()
        .await;
    let stream = Sse::all(Speech::V1.request(&agent.url, "message/stream", &Speech::V1.saying("x"))).await;
    assert!(stream.comments >= 3, "{} comments in a second", stream.comments);
}

/// All readers of one task get all of its events in the same order, and one that reads nothing is in nobody's way.
#[tokio::test(flavor = "multi_thread")]
async fn many_read_one_task() {
    let disk = tempfile::tempdir().unwrap();
    let command = slow(disk.path(), 6.0);
    let agent = agent(disk.path()).argument("--command").argument(&command).start().await;
    let mut params = Speech::V1.saying("x");
    params["configuration"] = json!({"returnImmediately": true});
    let (_, sent) = Speech::V1.call(&agent.url, "message/send", &params).await;
    let id = sent["result"]["task"]["id"].as_str().expect("a task").to_owned();
    let client = http::client();
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SubscribeToTask", "params": {"id": id}}).to_string();
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(client.post(&agent.url).body(body.clone()).send().await.unwrap());
    }
    let readers = join_all((0..200).map(|_| Sse::all(client.post(&agent.url).body(body.clone())))).await;
    let said = |stream: &Sse| -> Vec<Event> {
        stream.events.iter().filter(|event| event.data["result"].get("task").is_none()).cloned().collect()
    };
    let longest = readers.iter().map(said).max_by_key(Vec::len).expect("200 of them");
    assert!(longest.len() >= 2, "{longest:?}");
    for reader in &readers {
        assert_eq!(kind(Speech::V1, &reader.events[0]), "task");
        assert!(longest.ends_with(&said(reader)), "{:?} and {longest:?}", reader.events);
        assert_eq!(reader.events.last(), longest.last());
    }
}

/// Nine of ten streams are read, and bring each event once and in its order; of the others nobody reads, and they are cut off.
/// `cargo xtask bench streams` has a thousand with tasks in SQLite as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_read_one_task_in_order_and_those_that_stall_are_cut_off() {
    let in_memory = Streams { readers: 900, stalled: 100, pieces: 60, bytes: 4_000 };
    let in_sqlite = Streams { readers: 180, stalled: 20, ..in_memory };
    for (storage, streams) in [("memory", in_memory), ("sqlite", in_sqlite)] {
        let disk = tempfile::tempdir().unwrap();
        let seen = watch(agent(disk.path()).set("STORAGE_TYPE", storage), disk.path(), streams).await;
        // The task, the pieces, the last one, and the end.
        assert!(seen.events >= streams.pieces + 3, "{storage}: {seen:?}");
        assert_eq!((seen.whole, seen.cut_off), (streams.readers, streams.stalled), "{storage}: {seen:?}");
    }
}

/// A connection of which nobody reads, with a small buffer.
fn stalled(agent: &AgentProcess, body: &str) -> TcpStream {
    let address: SocketAddr = agent.url.trim_start_matches("http://").parse().unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalls_is_cut_off() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).set("BINDU_WRITE_TIMEOUT", "500ms").start().await;
    let long = "x".repeat(1_900_000);
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": Speech::V1.saying(&long),
    });
    let mut stream = stalled(&agent, &body.to_string());
    http::eventually("it has a stream", async || (subscribers(&agent).await > 0.0).then_some(())).await;
    http::eventually("it is cut off", async || (subscribers(&agent).await == 0.0).then_some(())).await;
    // What is left of it in the buffers is not all.
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read);
    assert!(read.len() < 3 * long.len(), "{}", read.len());
    assert_eq!(http::ask(&agent.url, "and others").await["status"]["state"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_streams_with_their_last_event() {
    let disk = tempfile::tempdir().unwrap();
    let command = slow(disk.path(), 1.5);
    let mut agent = agent(disk.path()).argument("--command").argument(&command).start().await;
    let url = agent.url.clone();
    let request = Speech::V1.request(&url, "message/stream", &Speech::V1.saying("x"));
    let mut response = request.send().await.unwrap();
    let mut stream = Sse::default();
    stream.take(&response.chunk().await.unwrap().expect("the task"));
    let ended = tokio::task::spawn_blocking(move || agent.terminate());
    while let Some(bytes) = response.chunk().await.expect("a whole stream") {
        stream.take(&bytes);
    }
    assert_eq!(stream.events.last().map(|event| kind(Speech::V1, event)), Some("completed".to_owned()));
    assert!(ended.await.unwrap().success());
}
