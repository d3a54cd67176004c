//! `cargo xtask bench lists`: how long a caller waits for a message and for `/livez`, alone and while another caller lists its
//! 5,000 tasks over eight connections.

use super::{AUTHOR, load};
use bindu_testkit::{AgentSetup, Hydra, caller::TestCaller, http};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How many tasks the caller has who lists them.
const TASKS: usize = 5_000;

/// Over how many connections it does.
const LISTERS: usize = 8;

/// How long is measured.
const MEASURED: Duration = Duration::from_secs(10);

/// Between two requests of the caller who waits.
const PAUSE: Duration = Duration::from_millis(2);

/// How many times as long as alone 95 of 100 requests may take.
const WANTED: f64 = 3.0;

pub(super) async fn run() -> bool {
    let binary = crate::release_binary();
    let hydra = Hydra::start().await;
    let lister = TestCaller::new(&hydra, "bench-lister").await;
    let waiter = TestCaller::new(&hydra, "bench-waiter").await;
    println!(
        "how long 95 of 100 requests of one caller take at most, alone and while another lists its {TASKS} tasks\n\
         over {LISTERS} connections, page by page ({MEASURED:?} each; wanted: {WANTED} times at most)\n"
    );
    let mut is_good = true;
    for storage in ["memory", "sqlite"] {
        let disk = tempfile::tempdir().expect("a directory");
        let setup = AgentSetup::new(&binary, disk.path()).named(AUTHOR, &format!("Lists {storage}"));
        let setup = setup.set_all(hydra.environment()).set("STORAGE_TYPE", storage).set("RUST_LOG", "warn");
        let agent = setup.start().await;
        http::healthy(&agent.url).await;
        let address = agent.url.trim_start_matches("http://").to_owned();
        fill(&address, &lister);
        let alone = measured(&address, &waiter);
        let listing = Listing::begin(&address, &lister);
        let beside = measured(&address, &waiter);
        let (lists, tasks) = listing.end();
        println!("storage {storage}: {lists} pages of {tasks} tasks were listed meanwhile");
        for (what, alone, beside) in [("message", alone.0, beside.0), ("/livez", alone.1, beside.1)] {
            let ratio = beside.as_secs_f64() / alone.as_secs_f64();
            println!("  {what:<10} alone {alone:>10.1?}   beside {beside:>10.1?}   {ratio:>5.1} x");
            is_good &= storage != "memory" || ratio <= WANTED;
        }
    }
    is_good
}

fn post(address: &str, token: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nA2A-Version: 1.0\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        token,
        body.len()
    )
    .into_bytes()
}

fn send(address: &str, caller: &TestCaller, number: usize) -> Vec<u8> {
    let parts = json!([{"text": "a message of some words, as people write them to agents"}]);
    let message = json!({"messageId": format!("m-{number}"), "role": "ROLE_USER", "parts": parts});
    let call =
        json!({"jsonrpc": "2.0", "id": number, "method": "SendMessage", "params": {"message": message}});
    post(address, &caller.token, &call)
}

fn list(address: &str, token: &str, page_token: &str) -> Vec<u8> {
    let params = json!({"pageSize": 100, "pageToken": page_token, "includeArtifacts": true});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": params});
    post(address, token, &call)
}

fn fill(address: &str, caller: &TestCaller) {
    let (sender, receiver) = std::sync::mpsc::channel();
    for number in 0..TASKS {
        let _ = sender.send(send(address, caller, number));
    }
    drop(sender);
    let filled = load::run(address, 16, receiver, Duration::from_secs(300));
    assert_eq!((filled.answered, filled.failed), (TASKS, 0), "the tasks are there");
}

/// The 95th percentiles: a message to its completed task, and `/livez`.
fn measured(address: &str, caller: &TestCaller) -> (Duration, Duration) {
    static NUMBER: AtomicUsize = AtomicUsize::new(1_000_000);
    let livez = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
    let mut stream = load::connect_blocking(address);
    let (mut messages, mut looks, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
    let mut timed = |request: &[u8]| {
        let asked = Instant::now();
        load::exchange_blocking(&mut stream, request, &mut buffer).expect("an answer");
        let took = asked.elapsed();
        let text = String::from_utf8_lossy(&buffer);
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        std::thread::sleep(PAUSE);
        took
    };
    let begun = Instant::now();
    while begun.elapsed() < MEASURED {
        messages.push(timed(&send(address, caller, NUMBER.fetch_add(1, Ordering::Relaxed))));
        looks.push(timed(&livez));
    }
    (percentile(messages), percentile(looks))
}

fn percentile(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() * 95 / 100).copied().unwrap_or_default()
}

/// Lists going on.
struct Listing {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(usize, usize)>>,
}

impl Listing {
    fn begin(address: &str, caller: &TestCaller) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let threads = (0..LISTERS).map(|_| {
            let (is_over, address, token) = (Arc::clone(&is_over), address.to_owned(), caller.token.clone());
            std::thread::spawn(move || {
                // The time that they need themselves is not the server's.
                #[cfg(target_os = "linux")]
                let _ = rustix::process::setpriority_process(None, 19);
                walk(&address, &token, &is_over)
            })
        });
        Self { threads: threads.collect(), is_over }
    }

    /// How many pages there were, and how many tasks were on a page.
    fn end(self) -> (usize, usize) {
        self.is_over.store(true, Ordering::Relaxed);
        let each = self.threads.into_iter().map(|thread| thread.join().expect("no panic"));
        let (pages, tasks) = each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        assert!(pages > 0, "nothing was listed");
        (pages, tasks / pages)
    }
}

/// Lists all pages, again and again; how many there were, and how many tasks.
fn walk(address: &str, token: &str, is_over: &AtomicBool) -> (usize, usize) {
    let (mut stream, mut buffer) = (load::connect_blocking(address), Vec::new());
    let (mut page_token, mut pages, mut tasks) = (String::new(), 0, 0);
    while !is_over.load(Ordering::Relaxed) {
        let request = list(address, token, &page_token);
        load::exchange_blocking(&mut stream, &request, &mut buffer).expect("an answer");
        let text = String::from_utf8_lossy(&buffer);
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        // Not parsed: the time of this machine is the server's.
        let member = text.rsplit_once("\"nextPageToken\":\"").and_then(|(_, rest)| rest.split_once('"'));
        page_token = member.map_or_else(String::new, |(token, _)| token.to_owned());
        pages += 1;
        tasks += text.matches("\"TASK_STATE_COMPLETED\"").count();
    }
    (pages, tasks)
}
