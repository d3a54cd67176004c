//! `cargo xtask bench message`: a message to its completed task, tasks in memory. A2A 1.0 (a send that waits) beside the
//! official Python and Rust servers; Python Bindu's dialect (a send, then looks at the task) beside Python Bindu.

use super::{AUTHOR, load};
use bindu_testkit::{AgentSetup, OfficialAgent, PythonBindu};
use std::{sync::mpsc, time::Duration};

/// Connections of the load, each with one message at a time.
const CONNECTIONS: usize = 16;

/// How long each rate is measured.
const MEASURED: Duration = Duration::from_secs(8);

pub(super) async fn run() -> bool {
    let binary = crate::release_binary();
    let disk = tempfile::tempdir().expect("a directory");
    let setup = AgentSetup::new(&binary, disk.path()).named(AUTHOR, "Messages").set("RUST_LOG", "warn");
    let agent = setup.set("STORAGE_TYPE", "memory").start().await;
    println!(
        "messages to completed tasks, no authentication, {CONNECTIONS} connections, {MEASURED:?} each\n"
    );

    let mut is_good = true;
    let ours = measured("ours, A2A 1.0", &agent.url, send_1_0);
    let rust = OfficialAgent::start_rust().await;
    let theirs = measured("official Rust", &rust.url, send_1_0);
    is_good &= ratio("ratio", ours, theirs, 1.5);
    drop(rust);
    if let Some(python) = OfficialAgent::start().await {
        let theirs = measured("official Python", &python.url, send_1_0);
        is_good &= ratio("ratio", ours, theirs, 5.0);
    }

    let ours = measured("ours, Bindu's dialect", &agent.url, send_bindu);
    let python_disk = tempfile::tempdir().expect("a directory");
    match PythonBindu::start(python_disk.path(), AUTHOR, "Messages Python", &[]).await {
        None => println!("Python Bindu: skipped, there is no Python for it"),
        Some(python) => {
            is_good &= ratio("ratio", ours, measured("Python Bindu", &python.url, send_bindu), 50.0);
        }
    }
    is_good
}

/// What a round gave.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    per_second: f64,
    /// How many of its messages were refused, or not completed.
    failed: usize,
}

/// Messages a second, each with an id that no round before has used.
pub(super) fn measured(name: &str, url: &str, request: fn(&str, MessageId) -> load::Request) -> Rate {
    let address = url.trim_start_matches("http://").to_owned();
    let (sender, receiver) = mpsc::sync_channel(4096);
    let (to, round) = (address.clone(), uuid::Uuid::new_v4());
    std::thread::spawn(move || {
        let mut number = 0;
        while sender.send(request(&to, MessageId { round, number })).is_ok() {
            number += 1;
        }
    });
    let outcome = load::run(&address, CONNECTIONS, receiver, MEASURED);
    println!("{name:<32}{:>9.0} messages/s   {} failed", outcome.rate(), outcome.failed);
    Rate { per_second: outcome.rate(), failed: outcome.failed }
}

/// Prints how often as many messages ours has completed; whether both rounds may be believed.
pub(super) fn ratio(name: &str, ours: Rate, theirs: Rate, wanted: f64) -> bool {
    let is_good = [ours, theirs].iter().all(|rate| rate.failed == 0 && rate.per_second > 0.0);
    if is_good {
        let ratio = ours.per_second / theirs.per_second;
        println!("{name:<32}{ratio:>9.1} x            (wanted: {wanted} at least)");
    } else {
        println!("{name:<32}    INVALID: messages were refused or not completed");
    }
    is_good
}

/// The id of a message: the random one of its round, with its number in front.
#[derive(Clone, Copy)]
pub(super) struct MessageId {
    round: uuid::Uuid,
    number: u32,
}

impl std::fmt::Display for MessageId {
    /// A UUID: Python Bindu takes nothing else.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (_, second, third, rest) = self.round.as_fields();
        uuid::Uuid::from_fields(self.number, second, third, rest).fmt(f)
    }
}

fn send_1_0(address: &str, id: MessageId) -> load::Request {
    // As text: this machine's time is the servers'.
    let message = format!(r#"{{"messageId":"{id}","role":"ROLE_USER","parts":[{{"text":"hello"}}]}}"#);
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"SendMessage","params":{{"message":{message}}}}}"#);
    post(address, "A2A-Version: 1.0\r\n", &body).into()
}

pub(super) fn send_bindu(address: &str, id: MessageId) -> load::Request {
    let message = format!(
        r#"{{"kind":"message","role":"user","messageId":"{id}","contextId":"{id}","taskId":"{id}","parts":[{{"kind":"text","text":"hello"}}]}}"#
    );
    let sent = format!(
        r#"{{"jsonrpc":"2.0","id":"{id}","method":"message/send","params":{{"message":{message},"configuration":{{"acceptedOutputModes":["text/plain"]}}}}}}"#
    );
    let poll =
        format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"tasks/get","params":{{"taskId":"{id}"}}}}"#);
    load::Request::polled(post(address, "", &sent), post(address, "", &poll))
}

fn post(address: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
