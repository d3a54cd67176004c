//! Connections that are kept open: by callers, and by a proxy before the agent.

use crate::{AUTHOR, agent};
use bindu_testkit::{
    AgentProcess, Nginx,
    http::{self, call, eventually},
};
use rustix::process::Signal;
use serde_json::json;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

const GOOD: &[u8] = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";

async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.trim_start_matches("http://")).await.unwrap()
}

async fn answered(stream: &mut TcpStream) {
    stream.write_all(GOOD).await.unwrap();
    let mut text = String::new();
    while !text.ends_with("ok\n") {
        let mut buffer = [0; 1024];
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "it was closed after {text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

/// After how long a connection is closed.
async fn closed_after(mut stream: TcpStream) -> Duration {
    let (begun, mut rest) = (Instant::now(), Vec::new());
    let closed = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await;
    let _ = closed.expect("it is closed");
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_pauses_have_times_of_their_own() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Kept");
    let setup = setup.set("BINDU_HEADER_TIMEOUT", "1s").set("BINDU_IDLE_TIMEOUT", "14s");
    let agent = setup.start().await;
    let mut kept = connect(&agent.url).await;
    answered(&mut kept).await;
    sleep(Duration::from_secs(3)).await;
    answered(&mut kept).await;
    // A request that has begun does not have the time of a pause.
    kept.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    let took = closed_after(kept).await;
    assert!(took < Duration::from_secs(12), "half of a request was waited for {took:?}");
    let took = closed_after(connect(&agent.url).await).await;
    assert!(took < Duration::from_secs(12), "a new connection without a word was waited for {took:?}");
    let mut slow = connect(&agent.url).await;
    let begun = Instant::now();
    while slow.write_all(b"G").await.is_ok() && begun.elapsed() < Duration::from_secs(30) {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(12), "byte by byte, for {:?}", begun.elapsed());
    let mut idle = connect(&agent.url).await;
    answered(&mut idle).await;
    let took = closed_after(idle).await;
    assert!(took >= Duration::from_secs(13), "an idle connection was closed after {took:?}");
}

/// The ports of this machine that hold a connection to a port of it.
fn connected_to(url: &str) -> BTreeSet<String> {
    let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
    let remote = format!("0100007F:{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let established = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, to, state) = (words.next()?, words.next()?, words.next()?);
        (to == remote && state == "01").then(|| local.to_owned())
    });
    established.collect()
}

/// A real nginx that keeps its connections to an agent for as long as it does by default, 60 s.
async fn nginx_before(agent: &AgentProcess) -> Nginx {
    let upstream = agent.url.trim_start_matches("http://");
    Nginx::start_with(
        &format!("upstream agent {{ server {upstream}; keepalive 64; keepalive_timeout 60s; }}"),
        |address| {
            format!(
                "listen {address};\nlocation / {{ proxy_pass http://agent; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}"
            )
        },
    )
    .await
}

/// Before an agent with its own default, 75 s: who closes first is the proxy, after its 60 s, and no request meets a closed
/// connection, whether it comes soon, in the last moment of the 60 s, or after them.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_closes_its_connections_before_the_agent_does() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).named(AUTHOR, "Behind Nginx").start().await;
    let proxy = nginx_before(&agent).await;
    eventually("the test's own connections are gone", async || {
        connected_to(&agent.url).is_empty().then_some(())
    })
    .await;
    let list = async || {
        let (status, answer) =
            http::post(&format!("http://{}", proxy.address), &call("tasks/list", &json!({}))).await;
        assert_eq!(status, 200, "{answer}");
    };
    list().await;
    let kept = connected_to(&agent.url);
    assert_eq!(kept.len(), 1, "nginx keeps its connection: {kept:?}");
    // Longer than headers may take (15 s), so that it is the time of a pause that counts.
    sleep(Duration::from_secs(17)).await;
    assert_eq!(connected_to(&agent.url), kept, "the agent keeps it as well");
    list().await;
    assert_eq!(connected_to(&agent.url), kept, "it is used again");
    let used = Instant::now();
    // 58 s, where the agent's header time-out, and one of 30 s, would be long over.
    sleep(Duration::from_secs(58)).await;
    assert_eq!(connected_to(&agent.url), kept, "the agent keeps it for as long as nginx does");
    while !connected_to(&agent.url).is_empty() {
        assert!(used.elapsed() < Duration::from_secs(74), "nginx closes first, after its 60 s");
        sleep(Duration::from_millis(100)).await;
    }
    list().await;
    assert!(connected_to(&agent.url).is_disjoint(&kept), "on a connection of its own");
}

/// A POST that meets a closing connection is a 502, since nginx sends it to nobody else. So it is with a time-out below the
/// proxy's, and not with the default. That the two meet is made sure of by stopping nginx: it finds the request first, and
/// behind it that the agent has closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_post_meets_a_closing_connection_only_below_the_proxys_time() {
    for (idle, expected) in [(Some("2s"), "502"), (None, "200")] {
        let disk = tempfile::tempdir().unwrap();
        let mut setup = agent(disk.path()).named(AUTHOR, "Closing");
        if let Some(idle) = idle {
            setup = setup.set("BINDU_IDLE_TIMEOUT", idle);
        }
        let agent = setup.start().await;
        let proxy = nginx_before(&agent).await;
        let mut client = TcpStream::connect(&proxy.address).await.unwrap();
        let others = connected_to(&agent.url);
        assert_eq!(listed(&mut client).await, "200");
        let kept: BTreeSet<_> = connected_to(&agent.url).difference(&others).cloned().collect();
        assert_eq!(kept.len(), 1, "nginx keeps its connection");
        proxy.signal(Signal::STOP);
        client.write_all(&list_request()).await.unwrap();
        let stopped = Instant::now();
        // One that comes is waited for; that none comes is seen in twice the time that it would take.
        let longest = if idle.is_some() { http::LIMIT } else { Duration::from_secs(4) };
        while stopped.elapsed() < longest && !kept.is_disjoint(&connected_to(&agent.url)) {
            sleep(Duration::from_millis(20)).await;
        }
        let has_closed = kept.is_disjoint(&connected_to(&agent.url));
        assert_eq!(has_closed, idle.is_some(), "{idle:?}: who closes the connection");
        proxy.signal(Signal::CONT);
        assert_eq!(status(&mut client).await, expected, "with a time-out of {idle:?}");
    }
}

fn list_request() -> Vec<u8> {
    let body = call("tasks/list", &json!({})).to_string();
    format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn listed(stream: &mut TcpStream) -> String {
    stream.write_all(&list_request()).await.unwrap();
    status(stream).await
}

/// The status of an answer that is one packet.
async fn status(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 4096];
    let length = stream.read(&mut buffer).await.unwrap();
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    text.split(' ').nth(1).unwrap_or_default().to_owned()
}
