//! `cargo xtask bench signed`: calls with live tokens of a real Hydra, each signed anew, against our agent and Python
//! Bindu's; our agent's processor time beside that of the bare signature check; memory after many callers.

use super::{AUTHOR, load};
use bindu_identity::{SigningKey, request_signature, text_signature};
use bindu_testkit::{
    AgentSetup, Hydra, PythonBindu,
    caller::{TestCaller, now},
    http,
    server::resident_kib,
};
use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

/// Connections of the load, each with one request at a time.
const CONNECTIONS: usize = 16;

/// Callers of the load that is timed.
const TIMED_CALLERS: usize = 16;

/// How long each rate is measured.
const MEASURED: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Callers of the reads after which memory is measured; 0 leaves that part out
    #[arg(long, default_value_t = 10_000)]
    callers: usize,
    /// Those reads
    #[arg(long, default_value_t = 1_000_000)]
    reads: usize,
    /// Signed mutations whose memory is measured
    #[arg(long, default_value_t = 60_000)]
    mutations: usize,
}

pub(super) async fn run(arguments: Arguments) -> bool {
    let binary = crate::release_binary();
    let hydra = Hydra::start().await;
    let disk = tempfile::tempdir().expect("a directory");
    let setup = AgentSetup::new(&binary, disk.path()).named(AUTHOR, "Signed").set_all(hydra.environment());
    let setup = setup.set("RUST_LOG", "warn");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let callers = callers(&hydra, "timed", TIMED_CALLERS).await;
    println!(
        "signed tasks/list with live tokens, each request signed anew (before the clock runs), {CONNECTIONS} connections\n"
    );

    let checks = checks_per_cpu_second();
    let ours = timed(&agent.url, &callers, Some(agent.pid()));
    let checks_after = checks_per_cpu_second();
    let checks = (checks + checks_after) / 2.0;
    let per_cpu_second = ours.outcome.answered as f64 / ours.cpu_seconds;
    println!("ours            {:>9.0} calls/s   {} failed", ours.outcome.rate(), ours.outcome.failed);
    println!("                {per_cpu_second:>9.0} calls per CPU-second of the server (utime + stime)");
    println!("strict checks   {checks:>9.0} per CPU-second (one thread, the same payloads, not in batches)");
    println!(
        "                {:>9.2} calls per check                         (wanted: 0.40 at least)",
        per_cpu_second / checks
    );

    let python_disk = tempfile::tempdir().expect("a directory");
    match PythonBindu::start(python_disk.path(), AUTHOR, "Signed Python", &hydra.environment()).await {
        None => println!("Python Bindu    skipped: there is no Python for it"),
        Some(python) => {
            let theirs = timed(&python.url, &callers, None);
            println!(
                "Python Bindu    {:>9.0} calls/s   {} failed",
                theirs.outcome.rate(),
                theirs.outcome.failed
            );
            println!(
                "ratio           {:>9.1} x                                       (wanted: 30 at least)",
                ours.outcome.rate() / theirs.outcome.rate()
            );
        }
    }
    agent.kill();
    if arguments.callers > 0 {
        memory(&setup, &hydra, &arguments).await;
    }
    true
}

struct Timed {
    outcome: load::Outcome,
    cpu_seconds: f64,
}

/// Measures the rate for a while, after a short load that says how many requests that takes.
fn timed(url: &str, callers: &[Arc<TestCaller>], pid: Option<u32>) -> Timed {
    let address = url.trim_start_matches("http://");
    let short = Duration::from_secs(2);
    let estimate = load::run(address, CONNECTIONS, ready(callers, address, 40_000, read), short).rate();
    let wanted = (estimate * MEASURED.as_secs_f64() * 1.3) as usize + CONNECTIONS;
    let requests = ready(callers, address, wanted, read);
    let before = pid.map_or(0.0, cpu_seconds);
    let outcome = load::run(address, CONNECTIONS, requests, MEASURED);
    Timed { outcome, cpu_seconds: pid.map_or(0.0, cpu_seconds) - before }
}

/// So many requests, made before they are needed.
fn ready(
    callers: &[Arc<TestCaller>],
    address: &str,
    count: usize,
    body: fn(usize) -> String,
) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    for number in 0..count {
        let caller = &callers[number % callers.len()];
        let _ = sender.send(request(caller, address, &body(number)));
    }
    receiver
}

/// The same, made while they are sent.
fn on_the_way(
    callers: Vec<Arc<TestCaller>>,
    address: &str,
    count: usize,
    body: fn(usize) -> String,
) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::sync_channel(4096);
    let address = address.to_owned();
    std::thread::spawn(move || {
        for number in 0..count {
            let caller = &callers[number % callers.len()];
            if sender.send(request(caller, &address, &body(number))).is_err() {
                break;
            }
        }
    });
    receiver
}

fn read(number: usize) -> String {
    let id = format!("{number:08x}-0000-4000-8000-000000000000");
    format!("{{\"jsonrpc\": \"2.0\", \"id\": \"{id}\", \"method\": \"tasks/list\", \"params\": {{}}}}")
}

fn mutation(number: usize) -> String {
    let id = format!("{number:08x}-0000-4000-9000-{:012x}", u64::from(std::process::id()));
    http::message(&id, "hello").to_string()
}

fn request(caller: &TestCaller, address: &str, body: &str) -> Vec<u8> {
    let (did, at) = (caller.did(), now());
    let signature = request_signature::sign(&caller.key, &did, body, at);
    format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAuthorization: Bearer {}\r\n\
         X-DID: {did}\r\nX-DID-Timestamp: {at}\r\nX-DID-Signature: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
        caller.token,
        body.len()
    )
    .into_bytes()
}

/// Registers callers, and gets each a token.
async fn callers(hydra: &Hydra, group: &str, count: usize) -> Vec<Arc<TestCaller>> {
    let mut callers = Vec::with_capacity(count);
    let numbers: Vec<usize> = (0..count).collect();
    for some in numbers.chunks(8) {
        let each = some.iter().map(async |number| {
            Arc::new(TestCaller::new(hydra, &format!("did:bindu:bench:{group}:{number}")).await)
        });
        callers.extend(futures_util::future::join_all(each).await);
    }
    callers
}

/// How many strict signature checks one thread does in a second of its processor time.
fn checks_per_cpu_second() -> f64 {
    let key = SigningKey::from_seed(&[7; 32]);
    let signed: Vec<_> = (0..2_000)
        .map(|number| {
            // The bytes that a request's check has to hash; signed as text, which the key does for any text but those.
            let text =
                format!("-{}", request_signature::payload(&read(number), "did:bindu:bench:timed:1", now()));
            let signature = text_signature::sign(&key, &text).expect("it is no payload");
            (text, signature)
        })
        .collect();
    let public = key.public_key();
    let (begun, before, mut checked) = (Instant::now(), thread_cpu_seconds(), 0usize);
    while begun.elapsed() < Duration::from_secs(3) {
        for (text, signature) in &signed {
            assert!(text_signature::verify(&public, text, signature), "it is signed so");
        }
        checked += signed.len();
    }
    checked as f64 / (thread_cpu_seconds() - before)
}

fn thread_cpu_seconds() -> f64 {
    stat_seconds("/proc/thread-self/stat")
}

fn cpu_seconds(pid: u32) -> f64 {
    stat_seconds(&format!("/proc/{pid}/stat"))
}

/// utime + stime (proc_pid_stat(5)), in hundredths of a second on Linux.
fn stat_seconds(path: &str) -> f64 {
    let stat = std::fs::read_to_string(path).expect("the process is there");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}

/// Memory after many reads by many callers, and what each remembered mutation takes.
async fn memory(setup: &AgentSetup, hydra: &Hydra, arguments: &Arguments) {
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let address = agent.url.trim_start_matches("http://");
    let mebi = || resident_kib(agent.pid()).unwrap_or_default() as f64 / 1024.0;
    println!("\nregistering {} callers in Hydra ...", arguments.callers);
    let callers = callers(hydra, "many", arguments.callers).await;
    let before = mebi();
    let requests = on_the_way(callers.clone(), address, arguments.reads, read);
    let outcome = load::run(address, CONNECTIONS, requests, Duration::from_secs(3600));
    println!(
        "memory          {:>9.1} MiB after {} signed reads by {} callers, {} failed   (before: {before:.1}; wanted: less than 40)",
        mebi(),
        outcome.answered,
        callers.len(),
        outcome.failed
    );
    // The store of tasks is filled first: what comes on top of it is what is remembered of the signatures.
    let few: Vec<_> = callers.into_iter().take(100).collect();
    let fill = on_the_way(few.clone(), address, 25_000, mutation);
    load::run(address, CONNECTIONS, fill, Duration::from_secs(600));
    let full = mebi();
    let requests = on_the_way(few, address, arguments.mutations, |number| mutation(number + 25_000));
    let outcome = load::run(address, CONNECTIONS, requests, Duration::from_secs(600));
    println!(
        "                {:>9.0} bytes per remembered mutation ({} of them, {} failed; beside 10,000 tasks)",
        (mebi() - full) * 1024.0 * 1024.0 / outcome.answered.max(1) as f64,
        outcome.answered,
        outcome.failed
    );
}
