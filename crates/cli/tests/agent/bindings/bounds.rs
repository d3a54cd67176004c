//! What callers may cost at a time, measured on the running program: its memory, not its speed. `cargo xtask bench memory` measures
//! all shapes of bodies, on the release program.

use super::Speech;
use crate::{AUTHOR, agent, hydra};
use bindu_testkit::{
    AgentProcess,
    caller::{TestCaller, now},
    http::{self, call},
    memory,
    server::memory_kib,
};
use serde_json::json;
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const MIB: usize = 1024 * 1024;

/// Bytes of memory: now (`VmRSS`), or at the most so far (`VmHWM`).
fn resident(agent: &AgentProcess, which: &str) -> usize {
    memory_kib(agent.pid(), which).expect("it runs") as usize * 1024
}

/// A connection with a small buffer on this side.
fn connect(agent: &AgentProcess) -> TcpStream {
    let address: SocketAddr = agent.url.trim_start_matches("http://").parse().unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    TcpStream::from(socket)
}

fn head(length: usize, more: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\n{more}Content-Length: {length}\r\n\r\n"
    )
}

/// Found: answers that were written by one thread and freed by others stayed in memory, a hundred of them: 310 MiB for 5 MiB of
/// messages. What an allocator keeps is seen in bursts of the longest bodies and answers.
#[tokio::test(flavor = "multi_thread")]
async fn bursts_of_long_bodies_and_answers_are_bounded() {
    let names = ["accepted: empty objects", "refused: empty objects", "reads: long tasks, and lists of them"];
    for storage in ["memory", "sqlite"] {
        let disk = tempfile::tempdir().unwrap();
        let setup = agent(disk.path()).set("STORAGE_TYPE", storage);
        let costs = memory::costs_of(&setup, None, |name| names.contains(&name)).await;
        assert_eq!(costs.len(), names.len());
        for cost in costs {
            assert!(cost.is_bounded(), "{storage}: {cost}");
        }
    }
}

/// Found: twenty answers that nobody read held 290 MiB, with authentication off.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_are_bounded() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).start().await;
    let long = "x".repeat(1_900_000);
    let task = http::ask(&agent.url, &long).await;
    let body = call("tasks/get", &json!({"taskId": task["id"]})).to_string();
    let before = resident(&agent, "VmRSS");
    let mut readers: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut reader = connect(&agent);
            reader.write_all(format!("{}{body}", head(body.len(), "")).as_bytes()).unwrap();
            reader
        })
        .collect();
    let (mut served, mut refused) = (0, 0);
    for reader in &mut readers {
        reader.set_read_timeout(Some(Duration::from_secs(25))).unwrap();
        let mut start = [0; 12];
        reader.read_exact(&mut start).unwrap();
        match &start {
            b"HTTP/1.1 200" => served += 1,
            b"HTTP/1.1 429" => refused += 1,
            other => panic!("{}", String::from_utf8_lossy(other)),
        }
    }
    assert!(served >= 2 && refused >= 4, "{served} served, {refused} refused");
    let grown = resident(&agent, "VmHWM").saturating_sub(before);
    assert!(grown < 4 * long.len() + memory::CONSTANT, "{} MiB for {served} answers", grown / MIB);
    // Whoever asks for less is not held up by them.
    let (_, small) = Speech::V1.call(&agent.url, "message/send", &Speech::V1.saying("small")).await;
    assert_eq!(small["result"]["task"]["status"]["state"], "TASK_STATE_COMPLETED", "{small}");
    // And what they held is given back when they are gone.
    drop(readers);
    http::eventually("a long answer has room again", async || {
        let (status, answer) =
            http::post(&agent.url, &call("tasks/get", &json!({"taskId": task["id"]}))).await;
        (status == 200 && answer["result"]["id"] == task["id"]).then_some(())
    })
    .await;
}

/// Found: 256 bodies of tokens without their key held 512 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_callers_that_have_proved_nothing_are_bounded() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Bodies Held").set_all(hydra().await.environment());
    let agent = setup.start().await;
    let mut stolen = Vec::new();
    for number in 0..3 {
        stolen.push(TestCaller::new(hydra().await, &format!("did:bindu:stolen:caller:{number}")).await.token);
    }
    let honest = TestCaller::new(hydra().await, "did:bindu:honest:caller:1").await;
    crate::signatures::past_the_start(&agent.url, &honest).await;
    let before = resident(&agent, "VmRSS");
    let body = vec![b'x'; 2 * MIB - 1];
    let mut senders = Vec::new();
    for number in 0..100 {
        let mut sender = connect(&agent);
        let token = format!("Authorization: Bearer {}\r\n", stolen[number % stolen.len()]);
        sender.write_all(head(2 * MIB, &token).as_bytes()).unwrap();
        sender.set_nonblocking(true).unwrap();
        senders.push((sender, 0));
    }
    // All but the last byte, as far as it is taken.
    for _ in 0..100 {
        for (sender, sent) in &mut senders {
            if let Ok(more) = sender.write(&body[*sent..]) {
                *sent += more;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(senders.iter().filter(|(_, sent)| *sent > MIB).count() >= 6, "some of them are taken");
    let grown = resident(&agent, "VmHWM").saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
    // Whoever has proved who it is sends as much as ever.
    let long = http::message("long", &"y".repeat(1_500_000));
    let (status, answer) = http::answer(honest.request(&agent.url, &long, now())).await;
    assert_eq!((status, &answer["result"]["id"]), (200, &json!("long")));
}
