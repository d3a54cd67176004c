//! What HTTP lets anybody do to a server: long bodies, slow headers, connections that say nothing.

use crate::{AUTHOR, agent, authentication::guarded, hydra};
use bindu_testkit::server::resident_kib;
use bindu_testkit::{
    caller::TestCaller,
    http::{self, call, eventually},
};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.trim_start_matches("http://")).await.unwrap()
}

/// What comes until the server closes the connection, and after how long.
async fn until_closed(mut stream: TcpStream) -> (String, Duration) {
    let (begun, mut answer) = (Instant::now(), Vec::new());
    let _ = tokio::time::timeout(http::LIMIT, stream.read_to_end(&mut answer)).await.expect("it is closed");
    (String::from_utf8_lossy(&answer).into_owned(), begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_says_where_to_get_a_token() {
    let disk = tempfile::tempdir().unwrap();
    let agent = guarded(disk.path(), "Challenges").await;
    let response = http::client().post(&agent.url).body("{}").send().await.unwrap();
    assert_eq!(response.status().as_u16(), 401);
    let challenge = response.headers()["www-authenticate"].to_str().unwrap();
    let metadata =
        challenge.split("resource_metadata=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    let (status, resource) = http::get(metadata).await;
    assert_eq!((status, &resource["resource"]), (200, &json!(agent.url)), "{resource}");
    let issuer = resource["authorization_servers"][0].as_str().unwrap();
    let (status, discovery) =
        http::get(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))).await;
    assert_eq!((status, &discovery["issuer"]), (200, &json!(issuer)));
    let (status, keys) = http::get(resource["jwks_uri"].as_str().unwrap()).await;
    assert_eq!((status, &keys["keys"][0]["crv"]), (200, &json!("Ed25519")));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_an_end() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Bodies").set_all(hydra().await.environment());
    let agent = setup.set("BINDU_BODY_TIMEOUT", "1s").start().await;
    let service = TestCaller::new(hydra().await, "hygiene-bodies").await;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", service.token);
    let begin = async |rest: &str| {
        let mut stream = connect(&agent.url).await;
        stream.write_all(format!("{head}{rest}").as_bytes()).await.unwrap();
        stream
    };
    let (answer, _) = until_closed(begin("Content-Length: 3000000\r\n\r\n").await).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "it is not waited for, which would be 408: {answer}");
    let (answer, _) = until_closed(begin("Content-Length: 10\r\n\r\n{").await).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let mut stream = begin("Transfer-Encoding: chunked\r\n\r\n").await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..40 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let (answer, _) = until_closed(stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    let nobody = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n";
    let mut stream = connect(&agent.url).await;
    stream.write_all(nobody.as_bytes()).await.unwrap();
    let (answer, _) = until_closed(stream).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "nobody makes us wait for a body without a token: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_cut_off_and_slow_nobody_down() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Idle").set_all(hydra().await.environment());
    let agent = setup.set("BINDU_HEADER_TIMEOUT", "15s").start().await;
    let service = TestCaller::new(hydra().await, "hygiene-idle").await;
    assert_eq!(service.send(&agent.url, &call("tasks/list", &json!({}))).await.0, 200);
    let mut idle = Vec::new();
    for number in 0..300 {
        let mut stream = connect(&agent.url).await;
        if number % 2 == 0 {
            stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nX-").await.unwrap();
        }
        idle.push(stream);
    }
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(service.send(&agent.url, &call("tasks/list", &json!({}))).await.0, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "20 calls beside them took {:?}", begun.elapsed());
    for stream in idle {
        let (answer, _) = until_closed(stream).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "they were cut off after {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_there_may_be_wait() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Crowded").set("BINDU_MAX_CONNECTIONS", "5");
    let agent = setup.set("BINDU_HEADER_TIMEOUT", "2s").start().await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(connect(&agent.url).await);
    }
    eventually("it answers again once they are cut off", async || {
        let answer = http::client().get(format!("{}/livez", agent.url)).send().await;
        answer.is_ok_and(|answer| answer.status().as_u16() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_call_where_they_may() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Pages");
    let preflight = async |url: &str, origin: &str| {
        let request = http::client().request(reqwest::Method::OPTIONS, url).header("Origin", origin);
        let response = request.header("Access-Control-Request-Method", "POST").send().await.unwrap();
        response.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap().to_owned())
    };
    let closed = setup.start().await;
    assert_eq!(preflight(&closed.url, "https://app.example.com").await, None);
    drop(closed);
    let open = setup.set("BINDU_CORS_ORIGINS", "[\"https://app.example.com\"]").start().await;
    assert_eq!(
        preflight(&open.url, "https://app.example.com").await.as_deref(),
        Some("https://app.example.com")
    );
    assert_eq!(preflight(&open.url, "https://evil.example.com").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_not_let_in_by_accident() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).set("BINDU_HOST", "0.0.0.0");
    crate::assert_refused(
        setup.output(),
        64,
        &["who may call", "nothing was changed", "AUTH__ENABLED=false"],
    );
    assert!(!disk.path().join(".bindu").exists(), "nothing was changed");
    let agent = setup.set("AUTH__ENABLED", "false").start().await;
    assert_eq!(http::get(&format!("{}/livez", agent.url)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_one_line_of_the_audit_log_without_secrets() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Audited").set_all(hydra().await.environment());
    let agent = setup.set("LOG_FORMAT", "json").set("RUST_LOG", "trace").start().await;
    let caller = TestCaller::new(hydra().await, "did:bindu:audited:caller:1").await;
    let request = http::client().post(&agent.url).bearer_auth(&caller.token).header("X-Request-Id", "req-42");
    assert_eq!(http::answer(request.body("{}")).await.0, 403);
    let line = eventually("the line is there", async || {
        agent.log().lines().find(|line| line.contains("req-42")).map(str::to_owned)
    })
    .await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    for (name, value) in [
        ("who", caller.id.as_str()),
        ("what", "POST /"),
        ("why", "missing_signature_headers"),
        ("target", "audit"),
    ] {
        assert_eq!(line[name], value, "{line}");
    }
    let body = caller.token.trim_start_matches("ory_at_");
    assert!(!agent.log().contains(body), "the token is in the log");
}

/// A frame of one byte keeps a whole read buffer alive, unless it is copied and let go.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_byte_by_byte_costs_its_bytes() {
    let disk = tempfile::tempdir().unwrap();
    let agent = guarded(disk.path(), "Drips").await;
    let before = resident_kib(agent.pid()).unwrap();
    let mut stream = connect(&agent.url).await;
    stream.set_nodelay(true).unwrap();
    let head = "POST /did/resolve HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..59_999 {
        stream.write_all(b" ").await.unwrap();
        tokio::task::yield_now().await;
    }
    let after = resident_kib(agent.pid()).unwrap();
    assert!(after < before + 20 * 1024, "{before} KiB, then {after} KiB for 60 kB");
    stream.write_all(b" ").await.unwrap();
    let (answer, _) = until_closed(stream).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}
