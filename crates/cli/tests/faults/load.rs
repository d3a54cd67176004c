//! Rotations while others call, and are called.

use crate::{AUTHOR, Names, agent, bao, full, hydra, names, public_key, repeat};
use bindu::{
    run::{Parts, outgoing},
    settings::{Layers, Settings},
};
use bindu_client::{AgentClient, CallOptions, Trust};
use bindu_identity::{PublicKey, pem, text_signature};
use bindu_keeper::HeldIdentity;
use bindu_testkit::{
    AgentProcess, AgentSetup, PythonBindu,
    caller::{TestCaller, now},
    http,
    server::run_script,
};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::sync::RwLock;

/// A2A's code for a task that is not there.
const TASK_NOT_FOUND: i64 = -32001;

/// Every so many calls of a caller goes to the replica that asks Python.
const ASKS_PYTHON: usize = 8;

/// One of the agent's replicas, as its callers see it.
struct Replica {
    url: String,
    setup: AgentSetup,
    process: Mutex<Option<AgentProcess>>,
    /// How often it was killed and started: odd while it is down.
    lives: AtomicUsize,
    /// Calls in flight of the caller that sends its requests again itself.
    by_itself: AtomicUsize,
    _disk: TempDir,
}

impl Replica {
    async fn start(setup: AgentSetup, disk: TempDir) -> Self {
        let process = setup.start().await;
        http::healthy(&process.url).await;
        let (url, process) = (process.url.clone(), Mutex::new(Some(process)));
        Self { url, setup, process, lives: AtomicUsize::new(0), by_itself: AtomicUsize::new(0), _disk: disk }
    }

    /// Kills it while it is called, and starts it again.
    async fn crash(&self) {
        http::eventually("it is called", async || (self.by_itself.load(SeqCst) > 0).then_some(())).await;
        self.lives.fetch_add(1, SeqCst);
        drop(self.process.lock().unwrap().take());
        self.setup.until_port_is_free().await;
        let again = self.setup.start().await;
        http::eventually("it is ready", async || {
            (http::get(&format!("{}/readyz", self.url)).await.0 == 200).then_some(())
        })
        .await;
        *self.process.lock().unwrap() = Some(again);
        self.lives.fetch_add(1, SeqCst);
    }

    fn log(&self) -> String {
        self.process.lock().unwrap().as_ref().map(AgentProcess::log).unwrap_or_default()
    }
}

/// What all callers share.
struct Fleet {
    names: Names,
    replicas: Vec<Replica>,
    /// The keys that one caller pins. Held for reading while it calls.
    pinned: RwLock<Vec<PublicKey>>,
    calls: AtomicUsize,
    /// Calls that were in flight on a replica when that was killed, and were made again.
    again: AtomicUsize,
    has_ended: AtomicBool,
}

impl Fleet {
    /// The replica for a caller's `number`th call: one that is up.
    fn replica(&self, number: usize) -> &Replica {
        let wish = if number % ASKS_PYTHON == ASKS_PYTHON - 1 { 2 } else { number % 2 };
        let up = (wish..wish + 3).map(|at| &self.replicas[at % 3]);
        up.into_iter()
            .find(|replica| replica.lives.load(SeqCst).is_multiple_of(2))
            .expect("one is killed at a time")
    }

    /// Makes calls until the end. One may fail if its replica was killed meanwhile; then it is made again.
    async fn keep_calling(&self, call: impl AsyncFn(&Replica, String) -> Result<(), String>) {
        let mut number = 0;
        while !self.has_ended.load(SeqCst) {
            let text = format!("call {number}");
            loop {
                let replica = self.replica(number);
                let life = replica.lives.load(SeqCst);
                match call(replica, text.clone()).await {
                    Ok(()) => break,
                    Err(error) => {
                        let was_killed = life % 2 == 1 || replica.lives.load(SeqCst) != life;
                        assert!(was_killed, "{text} to {}: {error}\n{}", replica.url, replica.log());
                        self.again.fetch_add(1, SeqCst);
                    }
                }
            }
            number += 1;
            self.calls.fetch_add(1, SeqCst);
        }
    }

    /// Waits until there were so many calls more.
    async fn calls(&self, more: usize) {
        let mut begun = self.calls.load(SeqCst);
        let want = begun + more;
        while begun < want {
            http::eventually("calls go on", async || (self.calls.load(SeqCst) > begun).then_some(())).await;
            begun = self.calls.load(SeqCst);
        }
    }
}

/// Another agent, which has a client in Hydra, as somebody who calls.
async fn caller(disk: &Path, name: &str) -> AgentClient {
    let setup = agent(disk).named(AUTHOR, name).set_all(hydra().await.environment());
    let once = setup.start().await;
    http::healthy(&once.url).await;
    once.kill();
    let data_dir = disk.join(".bindu").display().to_string();
    let own = [("BINDU_NAME", name), ("BINDU_AUTHOR", AUTHOR), ("BINDU_DATA_DIR", &data_dir)];
    let own = own.map(|(variable, value)| (variable.to_owned(), value.to_owned()));
    let environment = hydra().await.environment().into_iter().chain(own).collect();
    let settings = Settings::load(Layers::default().with_environment(environment, disk).unwrap()).unwrap();
    let keeper = Arc::new(Parts::look(&settings).unwrap().keeper);
    let identity = keeper.look_at_identity().await.unwrap();
    outgoing(&settings, &keeper, Some(Arc::new(HeldIdentity::new(identity)))).client
}

/// A caller of ours that looks at the agent's keys in one way.
async fn call_by(client: AgentClient, trust: Trust, fleet: &Fleet) {
    fleet
        .keep_calling(async |replica, text| {
            // Held to the end of the call.
            let pinned = match trust {
                Trust::Pinned => Some(fleet.pinned.read().await),
                _ => None,
            };
            let options = CallOptions {
                did: (trust == Trust::Hydra).then(|| fleet.names.did.parse().unwrap()),
                keys: pinned.as_deref().cloned().unwrap_or_default(),
                ..CallOptions::default()
            };
            let called = client.call_with(&replica.url, &text, &options).await;
            let reply = called.map_err(|error| format!("{trust:?}: {error}"))?;
            match (reply.text == text, reply.signed) {
                (true, Some(signed)) if signed == trust => Ok(()),
                _ => Err(format!("{trust:?}: {reply:?}")),
            }
        })
        .await;
}

/// A caller that sends signed requests itself, and if one breaks off sends it again with the same `messageId`, to the same
/// replica. How often it had to.
async fn call_again_itself(who: TestCaller, fleet: &Fleet) -> usize {
    let (sent_again, ids) = (AtomicUsize::new(0), AtomicUsize::new(0));
    fleet
        .keep_calling(async |replica, text| {
            let id = format!("load-{}", ids.fetch_add(1, SeqCst));
            replica.by_itself.fetch_add(1, SeqCst);
            let (task, again) = until_completed(&who, replica, &id, &text).await;
            replica.by_itself.fetch_sub(1, SeqCst);
            sent_again.fetch_add(again, SeqCst);
            let part = &task["artifacts"][0]["parts"][0];
            let signature = part["metadata"]["did.message.signature"].as_str().and_then(|it| it.parse().ok());
            let keys = fleet.pinned.read().await.clone();
            let is_signed = signature.is_some_and(|signature| {
                keys.iter().any(|key| text_signature::verify(key, &text, &signature))
            });
            assert!(part["text"] == text.as_str() && is_signed, "{task}");
            Ok(())
        })
        .await;
    sent_again.into_inner()
}

/// Sends a message and looks at its task until that is completed. How often it was sent again, because the replica was killed.
async fn until_completed(who: &TestCaller, replica: &Replica, id: &str, text: &str) -> (Value, usize) {
    let (message, look) = (http::message(id, text), http::call("tasks/get", &json!({"taskId": id})));
    let (mut body, mut again) = (&message, 0);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        let life = replica.lives.load(SeqCst);
        let answer = async { who.request(&replica.url, body, now()).send().await?.text().await };
        let Ok(answer) = answer.await else {
            // It breaks off because the replica was killed, for no other reason.
            http::eventually("it is up again", async || {
                let now = replica.lives.load(SeqCst);
                (now.is_multiple_of(2) && now != life).then_some(())
            })
            .await;
            (body, again) = (&message, again + 1);
            continue;
        };
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let is_lost = answer["error"]["code"] == TASK_NOT_FOUND && replica.lives.load(SeqCst) > 0;
        match answer["result"]["status"]["state"].as_str() {
            Some("completed") => return (answer["result"].clone(), again),
            Some("submitted" | "working") => body = &look,
            // Its task went with the replica.
            None if is_lost => (body, again) = (&message, again + 1),
            // To be signed anew.
            None if answer["details"]["reason"] == "timestamp_before_start" => {}
            _ => panic!("{text} to {}: {answer}\n{}", replica.url, replica.log()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{text} to {} has no end", replica.url);
}

/// The agent's handler that asks another agent.
fn relay(disk: &Path) -> AgentSetup {
    let status = std::process::Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--example", "relay", "-p", "bindu"])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "the example builds");
    let binary = Path::new(env!("CARGO_BIN_EXE_bindu")).with_file_name("examples").join("relay");
    AgentSetup::new(binary, disk).command(&[])
}

/// Runs a command beside the callers.
async fn run(setup: &AgentSetup, arguments: &[&str]) {
    let command = setup.clone().command(arguments);
    let (code, _, stderr) = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
}

async fn record(names: &Names) -> (u64, Value) {
    bao().await.record(&names.keys_path()).await.expect("keys")
}

fn key_in(record: &Value, field: &str) -> PublicKey {
    pem::decode_public_key(record[field].as_str().expect("a PEM")).expect("a key")
}

async fn hydra_names(names: &Names, key: &PublicKey) {
    http::eventually("Hydra names the key", async || {
        let client = hydra().await.client(&names.did).await?;
        (client["metadata"]["public_key"] == key.to_string().as_str()).then_some(())
    })
    .await;
}

/// A rotation (prepare, activate, undo, retire) of an agent with three replicas under load. Four callers of ours (two by Hydra,
/// one that pins both keys, one by first use), one that sends its requests again itself, and a Python Bindu agent that calls
/// and is called by the third replica; each replica is killed once while it is called. 400 calls here, 10,000 in `soak`.
///
/// Promise: no call fails but those in flight on a killed replica, and these succeed when they are sent again with the same
/// `messageId`; each step is written once; one client and one key at the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_under_load() {
    let names = names("Under Load");
    let python_disk = tempfile::tempdir().unwrap();
    let python_names = crate::names("Python Under Load");
    let environment = hydra().await.environment();
    let Some(python) = PythonBindu::start(python_disk.path(), AUTHOR, &python_names.name, &environment).await
    else {
        return eprintln!("skipped: needs Python 3.12");
    };
    let mut replicas = Vec::new();
    for number in 0..3 {
        let disk = tempfile::tempdir().unwrap();
        let setup = match number {
            2 => relay(disk.path())
                .named(AUTHOR, &names.name)
                .vault(bao().await)
                .set_all(environment.clone())
                .set("UPSTREAM", &python.url)
                // Asking the other agent twice does no harm.
                .set("BINDU_RESUMABLE", "true"),
            _ => full(disk.path(), &names).await,
        };
        let setup = setup.set("BINDU_RECONCILE_INTERVAL", "1s").set("BINDU_ROTATION_OVERLAP", "10m");
        replicas.push(Replica::start(setup, disk).await);
    }
    let old = key_in(&record(&names).await.1, "public_key");
    let client_before = client(&names).await;
    let fleet = Fleet {
        names,
        replicas,
        pinned: RwLock::new(vec![old]),
        calls: AtomicUsize::new(0),
        again: AtomicUsize::new(0),
        has_ended: AtomicBool::new(false),
    };
    let disks: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let kinds = [Trust::Hydra, Trust::Hydra, Trust::Pinned, Trust::FirstUse];
    let mut callers = Vec::new();
    for (number, (trust, disk)) in kinds.into_iter().zip(&disks).enumerate() {
        let client = caller(disk.path(), &format!("Caller Under Load {number}")).await;
        callers.push(call_by(client, trust, &fleet));
    }
    let itself = TestCaller::new(hydra().await, "did:bindu:calls:under-load:1").await;
    let python_caller = PythonCaller::new(python_disk.path(), &python_names).await;
    let stop = python_caller.stop_file();
    let begun = Instant::now();
    // One task: what fails ends the test at once.
    let (_, new, sent_again, by_python) = tokio::join!(
        futures_util::future::join_all(callers),
        async {
            let new = rotate_and_undo(&fleet, old).await;
            fleet.has_ended.store(true, SeqCst);
            std::fs::write(stop, "").unwrap();
            new
        },
        call_again_itself(itself, &fleet),
        python_caller.keep_calling(&fleet),
    );
    println!(
        "{} calls of ours in {:?}, {} made again, {sent_again} requests sent again, Python: {by_python}",
        fleet.calls.load(SeqCst),
        begun.elapsed(),
        fleet.again.load(SeqCst),
    );
    assert!(sent_again > 0, "no request was in flight on a replica that was killed");
    assert_eq!(by_python["failures"], json!([]), "{by_python}");
    assert!(by_python["calls"].as_u64() > Some(5), "{by_python}");
    assert_ne!(old, new);
    let (version, last) = record(&fleet.names).await;
    assert_eq!(version, 5, "prepared, activated, undone, retired, each once");
    assert_eq!((key_in(&last, "public_key"), &last["generation"]), (old, &json!(2)));
    for replica in &fleet.replicas {
        http::healthy(&replica.url).await;
        assert_eq!(public_key(&replica.url, &fleet.names.did).await, old.to_string());
    }
    hydra_names(&fleet.names, &old).await;
    assert_eq!(client(&fleet.names).await, client_before, "one client, and its secret");
}

/// When the agent's client was made, and the stored secret, which is the client's.
async fn client(names: &Names) -> (Value, Value) {
    let client = hydra().await.client(&names.did).await.expect("a client");
    let (_, credentials) = bao().await.record(&names.credentials_path()).await.expect("credentials");
    let secret = credentials["client_secret"].clone();
    assert_eq!(hydra().await.token(&names.did, secret.as_str().expect("a secret")).await.0, 200);
    (client["created_at"].clone(), secret)
}

/// All steps, each replica killed once between them. The new key, which does not count any more at the end.
async fn rotate_and_undo(fleet: &Fleet, old: PublicKey) -> PublicKey {
    let (names, operator) = (&fleet.names, fleet.replicas[0].setup.clone());
    let each = if repeat() > 1 { 10_000 / 8 } else { 400 / 8 };
    fleet.calls(each).await;
    // Prepared. Who pins takes the new key on its list before it counts.
    let mut pinned = fleet.pinned.write().await;
    run(&operator, &["identity", "rotate", "--apply"]).await;
    let new = key_in(&record(names).await.1, "next_public_key");
    pinned.push(new);
    drop(pinned);
    fleet.replicas[0].crash().await;
    fleet.calls(each).await;
    // Activated by a replica.
    hydra_names(names, &new).await;
    fleet.calls(each).await;
    fleet.replicas[1].crash().await;
    fleet.calls(each).await;
    // Undone, while the replica that asks Python is killed.
    let undo = operator.set("BINDU_ROTATION_OVERLAP", "10s").set("BINDU_RECONCILE_INTERVAL", "1s");
    tokio::join!(run(&undo, &["identity", "undo", "--apply"]), fleet.replicas[2].crash());
    hydra_names(names, &old).await;
    fleet.calls(each).await;
    // Retired by a replica.
    http::eventually("the undone key is retired", async || {
        record(names).await.1.get("previous_private_key").is_none().then_some(())
    })
    .await;
    fleet.calls(3 * each).await;
    new
}

/// Python's agent, as somebody who calls until there is a file `stop` on its disk.
struct PythonCaller {
    disk: PathBuf,
    did: String,
    token: String,
}

impl PythonCaller {
    async fn new(disk: &Path, names: &Names) -> Self {
        let credentials = std::fs::read_to_string(disk.join(".bindu/oauth_credentials.json")).unwrap();
        let credentials: Value = serde_json::from_str(&credentials).unwrap();
        let secret = credentials[&names.did]["client_secret"].as_str().expect("a secret");
        let (status, token) = hydra().await.token(&names.did, secret).await;
        assert_eq!(status, 200, "{token}");
        let token = token["access_token"].as_str().expect("a token").to_owned();
        Self { disk: disk.to_owned(), did: names.did.clone(), token }
    }

    fn stop_file(&self) -> PathBuf {
        self.disk.join("stop")
    }

    /// Calls the first two replicas in turn.
    async fn keep_calling(self, fleet: &Fleet) -> Value {
        let data_dir = self.disk.join(".bindu").display().to_string();
        let stop = self.stop_file().display().to_string();
        let urls = [&fleet.replicas[0].url, &fleet.replicas[1].url];
        let arguments = [&data_dir, &self.did, &stop, urls[0], urls[1]].map(String::as_str);
        let said = run_script("call_signed.py", &arguments, &self.token).await;
        serde_json::from_str(&said.expect("Python is there")).expect("JSON")
    }
}
