//! Push notifications of the running program: what a receiver gets, when, once, and what may be a receiver.

mod receiver;
mod secrets;
mod targets;

use crate::{AUTHOR, agent, bao};
use bindu_testkit::{AgentProcess, AgentSetup, Postgres, http, install};
use receiver::Receiver;
use serde_json::{Value, json};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// A secret of a caller's that belongs to its receiver and nowhere else.
const TOKEN: &str = "a-token-of-the-receivers";
const CREDENTIALS: &str = "credentials-of-the-receivers";

/// An agent whose receivers are on this machine.
fn setup(disk: &Path, name: &str) -> AgentSetup {
    agent(disk).named(AUTHOR, name).set("BINDU_PUSH_ALLOWED_HOSTS", "127.0.0.1")
}

fn config(url: &str) -> Value {
    let authentication = json!({"scheme": "Bearer", "credentials": CREDENTIALS});
    json!({"id": "hook", "url": url, "token": TOKEN, "authentication": authentication})
}

/// A call of A2A 1.0's.
fn call(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

/// Sends a message whose task's events go to a URL; the task's id.
async fn sent(agent: &AgentProcess, url: &str) -> String {
    let message = json!({"messageId": uuid(), "role": "ROLE_USER", "parts": [{"text": "hello"}]});
    let configuration = json!({"returnImmediately": true, "taskPushNotificationConfig": config(url)});
    let params = json!({"message": message, "configuration": configuration});
    let (status, answer) = http::post(&agent.url, &call("SendMessage", &params)).await;
    let id = answer["result"]["task"]["id"].as_str();
    id.unwrap_or_else(|| panic!("{status} {answer}")).to_owned()
}

fn uuid() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Waits until a task has ended.
async fn ended(agent: &AgentProcess, task: &str) {
    http::eventually("the task ends", async || {
        let (_, answer) = http::post(&agent.url, &call("GetTask", &json!({"id": task}))).await;
        (answer["result"]["status"]["state"] == "TASK_STATE_COMPLETED").then_some(())
    })
    .await;
}

/// How many deliveries have come to this.
async fn outcomes(agent: &AgentProcess, outcome: &str) -> u64 {
    let (_, metrics) = http::get(&format!("{}/metrics", agent.url)).await;
    let name = format!("bindu_push_deliveries_total{{outcome=\"{outcome}\"}} ");
    let lines = metrics.as_str().unwrap_or_default().lines();
    lines.filter_map(|line| line.strip_prefix(&name)).find_map(|count| count.parse().ok()).unwrap_or(0)
}

async fn comes_to(agent: &AgentProcess, outcome: &str) {
    patiently(outcome, async || outcomes(agent, outcome).await > 0).await;
}

/// Waits for something that a lease of a minute may hold up: of a process that was killed while it delivered.
async fn patiently(what: &str, holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(150), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What a receiver of one task has to take, whatever it refused before.
fn events(task: &str) -> Vec<String> {
    ["task", "TASK_STATE_WORKING", "artifactUpdate", "TASK_STATE_COMPLETED"]
        .map(|kind| format!("{kind} {task}"))
        .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_refuses_comes_again_later_in_order_and_signed() {
    let disk = tempfile::tempdir().unwrap();
    let (receiver, elsewhere) = (Receiver::start(200).await, Receiver::start(200).await);
    receiver.redirects_to(&format!("http://127.0.0.1:{}/", elsewhere.port));
    // The task at first; then an event is refused, redirected and refused again.
    receiver.answers([500, 200, 200, 500, 307, 429]);
    let agent = setup(disk.path(), "Told Again").start().await;
    let task = sent(&agent, &format!("http://127.0.0.1:{}/hook?a=b", receiver.port)).await;
    receiver.has_the_end(&task).await;
    assert_eq!(receiver.taken(), events(&task), "in order, each once");
    assert!(elsewhere.got().is_empty(), "no redirect is followed");
    let got = receiver.got();
    for (from, to) in [(0, 1), (3, 6)] {
        let again: Vec<_> = got[from..=to].iter().map(receiver::Got::event).collect();
        assert!(again.iter().all(|event| *event == again[0]), "the same event until it is taken: {again:?}");
    }
    // Tried again at once, as others were taken before it; then after 1 s and 2 s, each less up to a half.
    let waited = got[6].at - got[3].at;
    assert!(waited >= Duration::from_millis(1500), "{waited:?}");
    let (_, jwks) = http::get(&format!("{}/.well-known/jwks.json", agent.url)).await;
    for one in &got {
        assert_eq!(one.target, "/hook?a=b");
        assert_eq!(one.header("x-a2a-notification-token"), TOKEN);
        assert_eq!(one.header("authorization"), format!("Bearer {CREDENTIALS}"));
        assert_eq!(one.header("content-type"), "application/a2a+json");
        let covered = verified(one.for_verifier(&jwks)).await.expect("a good signature");
        for part in ["@method", "@authority", "@path", "@query", "content-digest", "nonce"] {
            assert!(covered.contains(part), "{covered}");
        }
    }
    let mut forged = got[0].for_verifier(&jwks);
    forged["target"] = json!("/hook?a=c");
    verified(forged).await.expect_err("another target is not what was signed");
    http::eventually("a configuration ends with its task", async || {
        let (_, answer) =
            http::post(&agent.url, &call("ListTaskPushNotificationConfigs", &json!({"taskId": task}))).await;
        let configs = answer["result"]["configs"].as_array().map_or(0, Vec::len);
        (answer.get("error").is_none() && configs == 0).then_some(())
    })
    .await;
    for secret in [TOKEN, CREDENTIALS, "a=b"] {
        assert!(!agent.log().contains(secret), "{}", agent.log());
    }
}

/// What another implementation of RFC 9421 says of a request.
async fn verified(request: Value) -> Result<String, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), request.to_string()).unwrap();
    let mut command = std::process::Command::new(install::node());
    command.arg(install::source_tree().join("testing/a2a/verify_signature.mjs")).arg(file.path());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    if output.status.success() { Ok(said) } else { Err(said) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_acceptance_and_delivery_loses_nothing_and_repeats_nothing() {
    let disk = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(503).await;
    let setup = setup(disk.path(), "Killed Before It Told");
    let agent = setup.start().await;
    let task = sent(&agent, &format!("http://127.0.0.1:{}/", receiver.port)).await;
    ended(&agent, &task).await;
    http::eventually("it was refused", async || (!receiver.got().is_empty()).then_some(())).await;
    agent.kill();
    let refused = receiver.got().len();
    receiver.always(200);
    let agent = setup.start().await;
    receiver.has_the_end(&task).await;
    assert_eq!(receiver.taken(), events(&task), "each once");
    let got = receiver.got();
    assert!(refused > 0 && got.len() == refused + 4, "{refused} of {}", got.len());
    let secrets = got.iter().map(|got| (got.header("x-a2a-notification-token"), got.header("authorization")));
    assert!(secrets.clone().all(|(token, bearer)| token == TOKEN && bearer.ends_with(CREDENTIALS)));
    // After the end and another restart nothing comes again.
    let count = outcomes(&agent, "delivered").await;
    assert_eq!(count, 4);
    agent.kill();
    let agent = setup.start().await;
    let other = sent(&agent, &format!("http://127.0.0.1:{}/", receiver.port)).await;
    receiver.has_the_end(&other).await;
    assert_eq!(receiver.taken(), [events(&task), events(&other)].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_on_postgres_deliver_each_event_once() {
    let server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let dsn = server.dsn.clone();
    let disks = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let replica = async |disk: &Path| {
        // One identity, so one key that seals: it is in the store.
        setup(disk, "Two That Tell").vault(bao().await).set("DATABASE_URL", &dsn)
    };
    let first = replica(disks[0].path()).await.start().await;
    let second = replica(disks[1].path()).await.start().await;
    let receiver = Receiver::start(200).await;
    // The first ones are refused, so that both replicas meet waits of each other's.
    receiver.answers([503, 503, 503, 503]);
    let url = format!("http://127.0.0.1:{}/", receiver.port);
    let mut tasks = Vec::new();
    for number in 0..20 {
        tasks.push(sent(if number % 2 == 0 { &first } else { &second }, &url).await);
    }
    for task in &tasks {
        receiver.has_the_end(task).await;
    }
    let taken = receiver.taken();
    for task in &tasks {
        let of_task: Vec<_> = taken.iter().filter(|event| event.ends_with(task)).cloned().collect();
        assert_eq!(of_task, events(task), "each once, in order");
    }
    let delivered = [outcomes(&first, "delivered").await, outcomes(&second, "delivered").await];
    assert_eq!(delivered.iter().sum::<u64>(), taken.len() as u64, "{delivered:?}");
    for agent in [&first, &second] {
        assert_eq!(outcomes(agent, "sealed").await, 0, "each opens what the other has sealed");
    }
}
