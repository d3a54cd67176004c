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

    let ours = measured("ours, A2A 1.0", &agent.url, send_1_0);
    let rust = OfficialAgent::start_rust().await;
    let theirs = measured("official Rust", &rust.url, send_1_0);
    ratio("ratio", ours, theirs, 1.5);
    drop(rust);
    if let Some(python) = OfficialAgent::start().await {
        let theirs = measured("official Python", &python.url, send_1_0);
        ratio("ratio", ours, theirs, 5.0);
    }

    let ours = measured("ours, Bindu's dialect", &agent.url, send_bindu);
    let python_disk = tempfile::tempdir().expect("a directory");
    match PythonBindu::start(python_disk.path(), AUTHOR, "Messages Python", &[]).await {
        None => println!("Python Bindu: skipped, there is no Python for it"),
        Some(python) => ratio("ratio", ours, measured("Python Bindu", &python.url, send_bindu), 50.0),
    }
    true
}

/// Messages a second.
pub(super) fn measured(name: &str, url: &str, request: fn(&str, usize) -> load::Request) -> f64 {
    let address = url.trim_start_matches("http://").to_owned();
    let (sender, receiver) = mpsc::sync_channel(4096);
    let to = address.clone();
    std::thread::spawn(move || {
        let mut number = 0;
        while sender.send(request(&to, number)).is_ok() {
            number += 1;
        }
    });
    let outcome = load::run(&address, CONNECTIONS, receiver, MEASURED);
    println!("{name:<24}{:>9.0} messages/s   {} failed", outcome.rate(), outcome.failed);
    outcome.rate()
}

pub(super) fn ratio(name: &str, ours: f64, theirs: f64, wanted: f64) {
    println!("{name:<24}{:>9.1} x            (wanted: {wanted} at least)", ours / theirs);
}

fn send_1_0(address: &str, number: usize) -> load::Request {
    // As text: this machine's time is the servers'.
    let message = format!(
        r#"{{"messageId":"m-{}-{number}","role":"ROLE_USER","parts":[{{"text":"hello"}}]}}"#,
        std::process::id()
    );
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{number},"method":"SendMessage","params":{{"message":{message}}}}}"#
    );
    post(address, "A2A-Version: 1.0\r\n", &body).into()
}

pub(super) fn send_bindu(address: &str, number: usize) -> load::Request {
    // Python Bindu takes UUIDs only.
    let id = format!("{number:08x}-0000-4000-8000-{:012x}", std::process::id());
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
