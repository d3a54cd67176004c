//! A stderr that is closed, full, read by nobody or flooded: it changes nothing else.

use crate::{AUTHOR, agent, authentication::guarded, bao, hydra, names};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bindu_testkit::{
    AgentProcess, AgentSetup, OpenBao,
    http::{self, call, eventually},
};
use serde_json::{Value, json};
use std::{
    io::{PipeReader, Read as _, pipe},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

/// A run whose stderr is redirected by a shell.
fn redirected(setup: &AgentSetup, how: &str) -> AgentSetup {
    let script = format!("exec \"$@\" {how}");
    setup.clone().under(Path::new("sh"), ["-c", &script, "sh"].map(str::to_owned).to_vec())
}

/// A number of the metrics.
async fn metric(agent: &AgentProcess, line: &str) -> u64 {
    let (_, text) = http::get(&format!("{}/metrics", agent.url)).await;
    let text = text.as_str().unwrap_or_default();
    let found = text.lines().find_map(|found| found.strip_prefix(line));
    found.and_then(|rest| rest.trim().parse().ok()).unwrap_or_else(|| panic!("{line} is missing in\n{text}"))
}

async fn dropped(agent: &AgentProcess) -> u64 {
    metric(agent, "bindu_log_lines_dropped_total").await
}

/// That everything but the log works: requests, refusals, tasks, the reconciler.
async fn works(agent: &AgentProcess) {
    let passes = "bindu_reconcile_total{outcome=\"ok\"}";
    let before = metric(agent, passes).await;
    for _ in 0..20 {
        assert_eq!(http::get(&format!("{}/livez", agent.url)).await.0, 200);
        let (status, _) = http::post(&agent.url, &call("tasks/get", &json!({"taskId": "x"}))).await;
        assert!([200, 401].contains(&status), "{status}");
    }
    eventually("passes go on", async || (metric(agent, passes).await >= before + 2).then_some(())).await;
    http::healthy(&agent.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_or_full_stderr_changes_nothing() {
    for (how, is_lost) in [("2>/dev/full", true), ("2>&-", false), ("<&- >&- 2>&-", false)] {
        let disk = tempfile::tempdir().unwrap();
        let setup = agent(disk.path()).set("BINDU_RECONCILE_INTERVAL", "1s").set("RUST_LOG", "debug");
        let mut agent = redirected(&setup, how).start().await;
        works(&agent).await;
        assert_eq!(http::ask(&agent.url, "hello").await["status"]["state"], "completed");
        if is_lost {
            assert!(dropped(&agent).await > 0, "{how}");
        } else {
            // No socket has taken its place: what is written there would go to a caller.
            let stderr = std::fs::read_link(format!("/proc/{}/fd/2", agent.pid())).unwrap();
            assert_eq!(stderr, Path::new("/dev/null"), "{how}");
        }
        assert!(agent.terminate().success(), "{how}");
    }
}

/// An agent that logs in to Vault, and whose login nobody else uses.
async fn with_login(disk: &Path, name: &str) -> (OpenBao, AgentSetup) {
    let bao = OpenBao::start().await;
    let administrator = agent(disk).named(AUTHOR, name).set("VAULT_ADDR", &bao.url);
    let administrator = administrator.set("VAULT_TOKEN", &bao.token);
    let setup = ["vault", "setup", "--apply", "--auth", "approle", "--role", "logged"];
    let (code, _, told) = administrator.command(&setup).output();
    assert_eq!(code, 0, "{told}");
    for (path, field, method) in [("role-id", "role_id", "GET"), ("secret-id", "secret_id", "POST")] {
        let path = format!("auth/approle/role/logged/{path}");
        let (status, answer) = bao.call(method, &path, Some(json!({}))).await;
        assert_eq!(status, 200, "{answer}");
        std::fs::write(disk.join(field), answer["data"][field].as_str().unwrap()).unwrap();
    }
    let setup = agent(disk).named(AUTHOR, name).set("VAULT__ENABLED", "true").set("VAULT_ADDR", &bao.url);
    let setup = setup.set_all(hydra().await.environment());
    let setup = setup.set("VAULT__AUTH", "approle").set("BINDU_RECONCILE_INTERVAL", "1s");
    let setup = setup.set("VAULT__ROLE_ID_FILE", "role_id").set("VAULT__SECRET_ID_FILE", "secret_id");
    (bao, setup)
}

/// That it ends soon when asked to, and takes its token with it.
async fn ends_well(mut agent: AgentProcess, bao: &OpenBao) {
    let begun = Instant::now();
    let status = tokio::task::spawn_blocking(move || agent.terminate()).await.unwrap();
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    let (_, left) = bao.call("LIST", "auth/token/accessors", None).await;
    assert_eq!(left["data"]["keys"].as_array().unwrap().len(), 1, "the root token alone is left: {left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_dies_changes_nothing() {
    let disk = tempfile::tempdir().unwrap();
    let (bao, setup) = with_login(disk.path(), "Dead Reader").await;
    let (mut reader, writer) = pipe().unwrap();
    let mut agent = setup.set("RUST_LOG", "debug").spawn_to(Stdio::null(), writer.into());
    agent.listens().await.expect("it starts");
    let mut some = [0; 64];
    assert!(reader.read(&mut some).unwrap() > 0);
    drop(reader);
    works(&agent).await;
    assert!(dropped(&agent).await > 0);
    ends_well(agent, &bao).await;
}

/// Makes an agent log until its pipe and its queue are full: each JWT of a known key with a wrong signature is a line of
/// `debug`.
async fn flood(agent: &AgentProcess) {
    let (client, begun) = (http::client(), Instant::now());
    let public = &hydra().await.public_url;
    let (_, keys) = http::get(&format!("{}/.well-known/jwks.json", public.trim_end_matches('/'))).await;
    let head = json!({"alg": "RS256", "kid": keys["keys"][0]["kid"]}).to_string();
    let token = format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(head));
    while dropped(agent).await == 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "no line is dropped");
        let refused = (0..200).map(|_| client.post(&agent.url).bearer_auth(&token).body("{}").send());
        for answer in futures_util::future::join_all(refused).await {
            assert_eq!(answer.unwrap().status().as_u16(), 401);
        }
    }
}

fn make_nonblocking(pipe: &std::io::PipeWriter) {
    let flags = rustix::fs::fcntl_getfl(pipe).unwrap();
    rustix::fs::fcntl_setfl(pipe, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_nobody_reads_holds_nothing_up() {
    for (name, is_blocking) in [("Unread", true), ("Unread Nonblocking", false)] {
        let disk = tempfile::tempdir().unwrap();
        let (bao, setup) = with_login(disk.path(), name).await;
        let (reader, writer) = pipe().unwrap();
        if !is_blocking {
            make_nonblocking(&writer);
        }
        let setup = setup.set("RUST_LOG", "trace").set("LOG_FORMAT", "json");
        let mut agent = setup.spawn_to(Stdio::null(), writer.into());
        agent.listens().await.expect("it starts");
        flood(&agent).await;
        works(&agent).await;
        let before = dropped(&agent).await;
        // It is read again: what is missing is told, and what is logged now arrives.
        let reading = std::thread::spawn(move || read_lines(reader));
        eventually("nothing is dropped any more", async || {
            let before = dropped(&agent).await;
            tokio::time::sleep(Duration::from_millis(1500)).await;
            (dropped(&agent).await == before).then_some(())
        })
        .await;
        let missing = dropped(&agent).await;
        assert!(missing >= before);
        ends_well(agent, &bao).await;
        let lines = reading.join().unwrap();
        let told: u64 = lines.iter().filter(|line| line["target"] == "bindu::log").filter_map(lost).sum();
        assert_eq!(told, missing, "blocking: {is_blocking}");
        assert!(lines.iter().any(|line| line["message"] == "asked to end by SIGTERM"));
    }
}

fn lost(line: &Value) -> Option<u64> {
    line["lines"].as_u64()
}

/// All lines until the end; each must be whole.
fn read_lines(mut reader: PipeReader) -> Vec<Value> {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parse).collect()
}

/// A file system without room for another line, and then with some.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_disk_is_told_when_there_is_room_again() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Full Log").set_all(hydra().await.environment());
    let setup =
        setup.set("BINDU_RECONCILE_INTERVAL", "1s").set("RUST_LOG", "debug").set("LOG_FORMAT", "json");
    let script = "mkdir log && mount -t tmpfs -o size=64k none log && exec \"$@\" 2>>log/agent.log";
    let arguments = ["-rm", "sh", "-c", script, "sh"].map(str::to_owned).to_vec();
    let mut agent = setup.under(Path::new("unshare"), arguments).start().await;
    flood(&agent).await;
    works(&agent).await;
    let full = dropped(&agent).await;
    let mount = format!(
        "nsenter -t {} -U -m mount -o remount,size=64m {}",
        agent.pid(),
        disk.path().join("log").display()
    );
    let status = std::process::Command::new("sh").args(["-c", &mount]).status().unwrap();
    assert!(status.success(), "{mount}");
    let inside = Path::new(&format!("/proc/{}/root", agent.pid()))
        .join(disk.path().join("log/agent.log").strip_prefix("/").unwrap());
    let told = || {
        let text = String::from_utf8_lossy(&std::fs::read(&inside).unwrap()).into_owned();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines: Vec<Value> = lines.filter(|line| line["target"] == "bindu::log").collect();
        (lines.len(), lines.iter().filter_map(lost).sum::<u64>())
    };
    eventually("it is told", async || (told().1 >= full).then_some(())).await;
    assert_eq!(told(), (1, dropped(&agent).await), "once, with all of them");
    works(&agent).await;
    assert!(agent.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_anonymous_caller_does_not_fill_the_log() {
    let disk = tempfile::tempdir().unwrap();
    let mut agent = guarded(disk.path(), "Flooded").await;
    let until = Instant::now() + Duration::from_secs(3);
    let callers = (0..4).map(|_| {
        let (client, url) = (http::client(), agent.url.clone());
        tokio::spawn(async move {
            let mut refused = 0_u64;
            while Instant::now() < until {
                let answer = client.post(&url).body("{}").send().await.unwrap();
                assert_eq!(answer.status().as_u16(), 401);
                refused += 1;
            }
            refused
        })
    });
    let mut refused = 0;
    for caller in callers.collect::<Vec<_>>() {
        refused += caller.await.unwrap();
    }
    assert!(refused > 100, "{refused}");
    let counted = "bindu_auth_decisions_total{outcome=\"refused\",reason=\"no_token\"}";
    assert_eq!(metric(&agent, counted).await, refused, "each one counts");
    // Another kind of refusal is not lost among them.
    let other = http::client().post(&agent.url).bearer_auth("nonsense").header("X-Request-Id", "another");
    assert_eq!(http::answer(other.body("{}")).await.0, 401);
    eventually("the other one is told", async || agent.log().contains("another").then_some(())).await;
    assert!(agent.terminate().success());
    let lines: Vec<Value> = agent.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of_kind: Vec<&Value> = lines.iter().filter(|line| line["why"] == "no_token").collect();
    let written = of_kind.iter().filter(|line| line["message"] == "refused a caller").count() as u64;
    let left_out: u64 = of_kind.iter().filter_map(|line| line["more"].as_u64()).sum();
    assert!((1..=20).contains(&written), "{written} lines for {refused} refusals");
    assert_eq!(written + left_out, refused, "what was left out is summed up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_nobody_gets_is_no_success() {
    let disk = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 6] = [
        &["--help"],
        &["--version"],
        &["run", "--help"],
        &["completions", "bash"],
        &["config", "show"],
        &["vault", "policy"],
    ];
    let setup = agent(disk.path()).named(AUTHOR, &names("Full Stdout").name);
    for command in commands {
        let full = redirected(&setup.clone().command(command), ">/dev/full");
        let (code, _, told) = full.output();
        assert_eq!(code, 1, "{command:?}: {told}");
        assert!(told.contains("could not be written") && !told.contains("panicked"), "{command:?}: {told}");
        let (code, ..) = redirected(&setup.clone().command(command), ">/dev/full 2>/dev/full").output();
        assert_eq!(code, 1, "{command:?}, and nobody to tell");
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let status = setup.clone().command(command).spawn_to(writer.into(), Stdio::null()).wait();
        assert_eq!(status.code(), Some(1), "{command:?}, to a reader that has ended");
    }
    for (how, code) in [("2>/dev/full", 64), ("2>&-", 64)] {
        let wrong = redirected(&setup.clone().command(&["no-such-command"]), how);
        assert_eq!(wrong.output().0, code);
        let refused = redirected(&setup.clone().command(&["vault", "check"]), how);
        assert_eq!(refused.output().0, code);
    }
}

/// A refusal goes to where nobody reads: the process ends all the same, with its code.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_start_ends_though_nobody_reads() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Refused Unread").vault(bao().await);
    let setup = setup.set("BINDU_ON_ABSENT", "refuse").set("RUST_LOG", "trace");
    let setup = setup.set_all(hydra().await.environment());
    let (_reader, writer) = pipe().unwrap();
    // Full to the last byte before the agent begins.
    make_nonblocking(&writer);
    let mut filler = writer.try_clone().unwrap();
    while std::io::Write::write(&mut filler, &[b'x'; 4096]).is_ok() {}
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags - rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut agent = setup.spawn_to(Stdio::null(), writer.into());
    let status = tokio::task::spawn_blocking(move || agent.wait()).await.unwrap();
    assert_eq!(status.code(), Some(1));
}

/// A program that logs more than a pipe holds, to a log that nobody reads, that is full or that is gone: its callers get their
/// answers, and where the log is read its lines are there as it wrote them.
#[tokio::test(flavor = "multi_thread")]
async fn a_programs_stderr_holds_up_nobody() {
    let source = r#"
import json, sys
for line in sys.stdin:
    task = json.loads(line)
    for number in range(3000): print(f"program line {number} " + "y" * 100, file=sys.stderr, flush=True)
    print(json.dumps({"content": task["messages"][-1]["content"]}), flush=True)
"#;
    for how in ["unread", "gone", "full", "read"] {
        let disk = tempfile::tempdir().unwrap();
        std::fs::write(disk.path().join("program.py"), source).unwrap();
        let setup =
            agent(disk.path()).named(AUTHOR, "Loud").argument("--command").argument("python3 program.py");
        let (reader, writer) = pipe().unwrap();
        let (mut reader, mut agent) = match how {
            "full" => (None, redirected(&setup, "2>/dev/full").spawn()),
            "read" => (None, setup.spawn()),
            _ => (Some(reader), setup.spawn_to(Stdio::null(), writer.into())),
        };
        agent.listens().await.expect("it starts");
        if how == "gone" {
            reader.take();
        }
        for text in ["one", "two"] {
            let task = http::ask(&agent.url, text).await;
            assert_eq!(task["artifacts"][0]["parts"][0]["text"], text, "{how}");
        }
        match how {
            "read" => {
                let line = format!("\nprogram line 2999 {}\n", "y".repeat(100));
                eventually("its lines are there", async || agent.log().contains(&line).then_some(())).await;
            }
            _ => assert!(dropped(&agent).await > 0, "{how}"),
        }
        let status = tokio::task::spawn_blocking(move || agent.terminate()).await.unwrap();
        assert!(status.success(), "{how}: {status}");
    }
}
