//! Where tasks are kept: what a restart and a second replica see.

use crate::{AUTHOR, agent};
use bindu_testkit::{AgentSetup, Postgres, http};
use serde_json::{Value, json};

async fn task(url: &str, id: &str) -> Value {
    http::post(url, &http::call("tasks/get", &json!({"taskId": id}))).await.1["result"].clone()
}

async fn asked(url: &str) -> Value {
    let task = http::ask(url, "hello").await;
    assert_eq!(task["status"]["state"], "completed", "{task}");
    task
}

fn named(disk: &std::path::Path, name: &str) -> AgentSetup {
    agent(disk).named(AUTHOR, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_survive_a_kill_by_default() {
    let disk = tempfile::tempdir().unwrap();
    let setup = named(disk.path(), "Keeps Tasks");
    let agent = setup.start().await;
    let before = asked(&agent.url).await;
    agent.kill();
    let agent = setup.start().await;
    assert_eq!(task(&agent.url, before["id"].as_str().unwrap()).await, before);
    let file = disk.path().join(".bindu/tasks.db");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_on_one_postgres_are_one_agent_for_tasks() {
    let server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let dsn = server.dsn.clone();
    let disks = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let setup = |disk: &std::path::Path| {
        named(disk, "Replica").set("STORAGE_TYPE", "postgres").set("DATABASE_URL", &dsn)
    };
    let (code, said, told) = setup(disks[0].path()).command(&["storage", "migrate"]).output();
    assert_eq!((code, said.trim()), (0, "the tables went from version 0 to 3"), "{told}");
    let one = setup(disks[0].path()).start().await;
    let two = setup(disks[1].path()).start().await;
    let before = asked(&one.url).await;
    assert_eq!(task(&two.url, before["id"].as_str().unwrap()).await, before);
    one.kill();
    assert_eq!(task(&two.url, before["id"].as_str().unwrap()).await, before);
    assert!(!two.log().contains(&dsn), "the URL holds a password");
    let (code, said, told) = setup(disks[0].path()).command(&["storage", "check"]).output();
    assert_eq!((code, said.trim()), (0, "the store answers"), "{told}");
    let (code, said, told) = setup(disks[0].path()).command(&["storage", "prune"]).output();
    assert_eq!((code, said.trim()), (0, "forgot 0 tasks and 0 signed requests"), "{told}");
}

/// A server that is not started yet.
async fn stopped_postgres() -> Postgres {
    let started = tokio::task::spawn_blocking(|| {
        let mut server = Postgres::start();
        server.stop();
        server
    });
    started.await.unwrap()
}

async fn change(mut server: Postgres, change: fn(&mut Postgres)) -> Postgres {
    let changed = tokio::task::spawn_blocking(move || {
        change(&mut server);
        server
    });
    changed.await.unwrap()
}

/// `/readyz?verbose`: the status, and the line about the store of tasks.
async fn ready(url: &str) -> (u16, String) {
    let (status, text) = http::get(&format!("{url}/readyz?verbose")).await;
    let text = text.as_str().unwrap_or_default().to_owned();
    (status, text.lines().find(|line| line.contains("storage:")).unwrap_or_default().to_owned())
}

async fn becomes(url: &str, status: u16, line: &str) {
    http::eventually(line, async || (ready(url).await == (status, line.to_owned())).then_some(())).await;
}

/// Sends in two bindings, of which each is told to come again.
async fn refused_for_now(url: &str) {
    let body = http::message("5c908f70-ec50-7e33-bf7d-2735c15d5c14", "hello");
    let parts = json!({"role": "ROLE_USER", "messageId": "1", "parts": [{"text": "hello"}]});
    for (path, body) in [("/", body), ("/message:send", json!({"message": parts}))] {
        let request = http::client()
            .post(format!("{url}{path}"))
            .header("A2A-Version", if path == "/" { "" } else { "1.0" });
        let request = request.header("Content-Type", "application/json").body(body.to_string());
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 503, "{path}: nothing is answered that is not stored");
        assert!(response.headers().contains_key("retry-after"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_comes_late_is_waited_for_and_one_that_goes_is_not() {
    let server = stopped_postgres().await;
    let disk = tempfile::tempdir().unwrap();
    let agent = named(disk.path(), "Away").set("DATABASE_URL", &server.dsn).start().await;
    let url = &agent.url;
    // The identity and the listener are there; callers should go elsewhere.
    let health = http::get(&format!("{url}/health")).await.1;
    assert_eq!(health["runtime"]["storage_backend"], "PostgresStorage", "{health}");
    assert_eq!(http::get(&format!("{url}/livez")).await.0, 200);
    becomes(url, 503, "[-] storage: storage_unavailable").await;
    refused_for_now(url).await;
    becomes_degraded(url).await;
    assert_eq!(ready(url).await, (503, "[-] storage: storage_unavailable".to_owned()));

    let server = change(server, Postgres::start_again).await;
    becomes(url, 200, "[+] storage: ok").await;
    asked(url).await;

    // Afterwards an outage makes it degraded, not unready: it may answer what needs no store.
    let server = change(server, Postgres::stop).await;
    becomes(url, 200, "[~] storage: storage_unavailable").await;
    refused_for_now(url).await;
    let metrics = metrics(url).await;
    assert_eq!(metrics.value("bindu_degraded{reason=\"storage_unavailable\"}"), 1.0);
    assert!(metrics.value("bindu_storage_unavailable_total") >= 1.0);

    let server = change(server, Postgres::start_again).await;
    becomes(url, 200, "[+] storage: ok").await;
    asked(url).await;
    drop(server);
}

/// A database that nobody listens for: each command and the agent's log name where, why, and what helps; never the password.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_reached_is_named_with_its_cause() {
    let disk = tempfile::tempdir().unwrap();
    let setup =
        named(disk.path(), "Nowhere").set("DATABASE_URL", "postgres://u:not-to-be-shown@127.0.0.1:1/tasks");
    let cause = "127.0.0.1:1, database \"tasks\": Connection refused";
    let hint = "pg_isready -h 127.0.0.1 -p 1";
    for command in ["check", "migrate", "prune", "import"] {
        let (code, said, told) = setup.clone().command(&["storage", command]).output();
        assert!(code == 69 && said.is_empty(), "{command}: {code} {said} {told}");
        assert!(told.contains(cause) && told.contains(hint), "{command}: {told}");
        assert!(!told.contains("not-to-be-shown"), "{command}: {told}");
    }
    let agent = setup.start().await;
    let log = http::eventually("the log says why", async || {
        // Its quotes are escaped in JSON.
        let log = agent.log().replace('\\', "");
        (log.contains(cause) && log.contains(hint)).then_some(log)
    })
    .await;
    assert!(!log.contains("not-to-be-shown"));
}

async fn becomes_degraded(url: &str) {
    http::eventually("it is told", async || {
        let health = http::get(&format!("{url}/health")).await.1;
        health["reasons"].to_string().contains("storage_unavailable").then_some(())
    })
    .await;
}

/// What `/metrics` says.
struct Metrics(String);

impl Metrics {
    fn value(&self, series: &str) -> f64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {}", self.0)).parse().unwrap()
    }
}

async fn metrics(url: &str) -> Metrics {
    Metrics(http::get(&format!("{url}/metrics")).await.1.as_str().unwrap().to_owned())
}

/// An agent whose program answers when the file `go` is there.
fn waiting(disk: &std::path::Path, name: &str) -> AgentSetup {
    let script = "import os,sys,time\nfor line in sys.stdin:\n    while not os.path.exists('go'):\n        time.sleep(0.01)\n    print('{\"content\": \"late\"}', flush=True)\n";
    std::fs::write(disk.join("slow.py"), script).unwrap();
    named(disk, name).argument("--command").argument("python3 slow.py")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_tell_of_the_store() {
    let disk = tempfile::tempdir().unwrap();
    let setup = waiting(disk.path(), "Counts").set("BINDU_STORAGE_MAX_BYTES", "4MiB");
    let agent = setup.start().await;
    let health = http::get(&format!("{}/health", agent.url)).await.1;
    assert_eq!(health["runtime"]["storage_backend"], "SqliteStorage");
    let task_id = "5c908f70-ec50-7e33-bf7d-2735c15d5c15";
    assert_eq!(http::post(&agent.url, &http::message(task_id, "begin")).await.0, 200);
    http::eventually("it is worked on", async || {
        (task(&agent.url, task_id).await["status"]["state"] == "working").then_some(())
    })
    .await;
    // The file is looked at a moment after the start.
    http::eventually("its size is told", async || {
        let text =
            http::client().get(format!("{}/metrics", agent.url)).send().await.ok()?.text().await.ok()?;
        text.contains("bindu_storage_size_max_bytes ").then_some(())
    })
    .await;
    let seen = metrics(&agent.url).await;
    assert_eq!(seen.value("bindu_storage_info{backend=\"sqlite\"}"), 1.0);
    let commits = seen.value("bindu_storage_commit_duration_seconds_count");
    assert!(commits >= 1.0 && seen.value("bindu_storage_changes_total") >= commits);
    assert_eq!(seen.value("bindu_storage_commit_duration_seconds_bucket{le=\"+Inf\"}"), commits);
    assert!(seen.value("bindu_storage_commit_duration_seconds_sum") > 0.0);
    assert_eq!(seen.value("bindu_storage_lease_takeovers_total"), 0.0);
    assert_eq!(seen.value("bindu_storage_size_max_bytes"), f64::from(4 << 20));
    assert!(seen.value("bindu_storage_size_bytes") > 0.0);
    let most = seen.value("bindu_storage_connections_max");
    let open = ["in_use", "idle"]
        .map(|state| seen.value(&format!("bindu_storage_connections{{state=\"{state}\"}}")));
    assert!(open.iter().sum::<f64>() >= 1.0 && open.iter().sum::<f64>() <= most, "{open:?} of {most}");
    for none in ["leases_lost_total", "full_total", "unavailable_total", "queue_length"] {
        assert_eq!(seen.value(&format!("bindu_storage_{none}")), 0.0, "{none}");
    }
    for kind in ["tasks", "requests"] {
        assert_eq!(seen.value(&format!("bindu_storage_forgotten_total{{kind=\"{kind}\"}}")), 0.0);
    }
    // What a process leaves behind is taken over by the next one.
    agent.kill();
    let agent = setup.start().await;
    http::eventually("the run is taken over", async || {
        (metrics(&agent.url).await.value("bindu_storage_lease_takeovers_total") == 1.0).then_some(())
    })
    .await;
    // A full store refuses, and counts it.
    std::fs::write(disk.path().join("go"), "").unwrap();
    let long = "x".repeat(300_000);
    http::eventually("it is full", async || {
        let id = format!("{:032x}", rand::random::<u128>());
        (http::post(&agent.url, &http::message(&id, &long)).await.0 == 503).then_some(())
    })
    .await;
    assert!(metrics(&agent.url).await.value("bindu_storage_full_total") >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_named_is_never_replaced() {
    let disk = tempfile::tempdir().unwrap();
    let setup = named(disk.path(), "Named Store").set("DATABASE_URL", "sqlite:/nonexistent/tasks.db");
    let (code, _, told) = setup.command(&["run"]).output();
    assert_eq!(code, 64, "{told}");
    assert!(told.contains("/nonexistent/tasks.db"), "{told}");
    let secret = "postgres-password";
    let setup = named(disk.path(), "Named Store").set("DATABASE_URL", format!("mysql://u:{secret}@db/x"));
    let (code, said, told) = setup.command(&["config", "show"]).output();
    assert_eq!(code, 64);
    assert!(!said.contains(secret) && !told.contains(secret) && told.contains("storage.url"), "{told}");
}

/// Two names, one file that both are told to use.
///
/// Promise: the second is refused, whatever it is asked to do there, and the first works on.
#[tokio::test(flavor = "multi_thread")]
async fn another_agents_file_is_refused() {
    let disks = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let file = disks[0].path().join("shared.db");
    let setup = |disk: &tempfile::TempDir, name: &str| {
        named(disk.path(), name).set("DATABASE_URL", format!("sqlite:{}", file.display()))
    };
    let first = setup(&disks[0], "File First").start().await;
    let before = asked(&first.url).await;
    let second = setup(&disks[1], "File Second");
    for command in [&["run"][..], &["storage", "check"], &["storage", "migrate"], &["storage", "prune"]] {
        let (code, said, told) = second.clone().command(command).output();
        assert!(code == 64 && said.is_empty(), "{command:?}: {code} {said} {told}");
        assert!(told.contains("shared.db") && told.contains(":file_first:"), "{command:?}: {told}");
        assert!(told.contains("a file of its own"), "{command:?}: {told}");
    }
    asked(&first.url).await;
    assert_eq!(task(&first.url, before["id"].as_str().unwrap()).await, before);
    // A second process of the same agent, with a data directory of its own.
    let again = tempfile::tempdir().unwrap();
    let replica = setup(&again, "File First").start().await;
    assert_eq!(task(&replica.url, before["id"].as_str().unwrap()).await, before);
}

/// By Python's `sqlite3`, as an operator looks into the file.
fn python(file: &std::path::Path, lines: &str) -> std::process::Command {
    let mut python = std::process::Command::new("python3");
    let source = format!(
        "import sqlite3, sys, time\nfile = sqlite3.connect(sys.argv[1], isolation_level=None)\n{lines}"
    );
    python.arg("-c").arg(source).arg(file);
    python
}

/// Tasks that were promised to be kept are never silently replaced by an empty memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_default_file_that_is_there_and_cannot_be_used_ends_the_start() {
    type Harm = fn(&std::path::Path);
    let harms: [(&str, Harm); 6] = [
        ("garbage", |file| std::fs::write(file, "no database at all").unwrap()),
        ("cut short", |file| {
            let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
            file.set_len(6000).unwrap();
        }),
        ("a directory", |file| {
            std::fs::remove_file(file).unwrap();
            std::fs::create_dir(file).unwrap();
        }),
        ("a pipe", |file| {
            std::fs::remove_file(file).unwrap();
            bindu_testkit::install::run(std::process::Command::new("mkfifo").arg(file));
        }),
        ("of a later version", |file| {
            let done =
                python(file, "file.execute('UPDATE bindu_storage SET version = 999, readable_by = 999')")
                    .output();
            let done = done.unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }),
        ("gone, but for its log", |file| {
            std::fs::rename(file, file.with_extension("away")).unwrap();
            std::fs::write(file.with_extension("db-wal"), "a log").unwrap();
        }),
    ];
    for (what, harm) in harms {
        let disk = tempfile::tempdir().unwrap();
        let setup = named(disk.path(), "Harmed Store");
        let agent = setup.start().await;
        asked(&agent.url).await;
        agent.kill();
        let file = disk.path().join(".bindu/tasks.db");
        // What the log holds goes into the file.
        assert!(python(&file, "file.execute('PRAGMA wal_checkpoint(TRUNCATE)')").status().unwrap().success());
        let _ = std::fs::remove_file(file.with_extension("db-wal"));
        harm(&file);
        let (code, _, told) = setup.command(&["run"]).output();
        assert_eq!(code, 64, "{what}: {told}");
        assert!(told.contains("tasks.db"), "{what}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_somebody_looks_into_is_waited_for() {
    let disk = tempfile::tempdir().unwrap();
    let setup = named(disk.path(), "Looked Into");
    let agent = setup.start().await;
    let before = asked(&agent.url).await;
    agent.kill();
    let file = disk.path().join(".bindu/tasks.db");
    let mut looking =
        python(&file, "file.execute('BEGIN IMMEDIATE')\nprint('held', flush=True)\ntime.sleep(15)");
    let mut looking = looking.stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(looking.stdout.as_mut().unwrap(), &mut [0; 4]).unwrap();
    let agent = setup.start().await;
    assert!(looking.wait().unwrap().success());
    assert!(agent.log().contains("waiting for the file of tasks"), "it was locked: {}", agent.log());
    assert_eq!(task(&agent.url, before["id"].as_str().unwrap()).await, before);
}
