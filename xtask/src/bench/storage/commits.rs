//! Changes that are committed and answered each second by the store itself, beside pgbench, which inserts and updates the
//! same rows in the same tables of the same server.

use super::{answer, submission};
use bindu_tasks::{
    Figures, Owner, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore, TaskStore, schema_of,
};
use bindu_testkit::{Postgres, install};
use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Callers of ours, and clients of pgbench's.
const CLIENTS: [usize; 2] = [16, 64];

/// How long each is measured, after a second that is not.
const MEASURED: Duration = Duration::from_secs(8);

const TEXT: &str = "hello";

/// Whether pgbench, if it is there, has done its part.
pub(super) async fn run() -> bool {
    println!(
        "changes that are committed and answered: a message that begins a task, then its answer; synced at each commit\n"
    );
    let disk = tempfile::tempdir().expect("a directory");
    let sqlite = SqliteStore::open(SqliteOptions::new(disk.path().join("tasks.db"), "did:bindu:test:store"))
        .await
        .expect("a file");
    let sqlite = Arc::new(sqlite);
    for clients in CLIENTS {
        rate("SQLite", Arc::clone(&sqlite) as _, clients, || sqlite.figures()).await;
    }
    drop(sqlite);
    let server = Postgres::start_synced();
    let did = "did:bindu:bench:storage:commits";
    let store = PostgresStore::open(PostgresOptions::new(server.dsn.as_str(), did)).expect("a URL");
    let store = Arc::new(store);
    store.check().await.expect("it answers");
    let mut is_good = true;
    for clients in CLIENTS {
        let ours = rate("PostgreSQL", Arc::clone(&store) as _, clients, || store.figures()).await;
        for mode in ["simple", "extended", "prepared"] {
            let theirs = match pgbench(&server, &schema_of(did), clients, mode) {
                Pgbench::Commits(theirs) => theirs,
                Pgbench::Missing => {
                    println!("pgbench: skipped, it is not there");
                    continue;
                }
                Pgbench::Failed => {
                    println!("pgbench -M {mode:<10}{clients:>4} clients    INVALID: it has failed");
                    is_good = false;
                    continue;
                }
            };
            println!(
                "pgbench -M {mode:<10}{clients:>4} clients{theirs:>9.0} commits/s    ours: {:.2} of it   (wanted: 0.50 at least)",
                ours / theirs
            );
        }
    }
    println!();
    is_good
}

/// Changes a second.
async fn rate(name: &str, store: Arc<dyn TaskStore>, clients: usize, figures: impl Fn() -> Figures) -> f64 {
    let (stop, counted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let work = |_| {
        let (store, stop, counted) = (Arc::clone(&store), Arc::clone(&stop), Arc::clone(&counted));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let submitted = store.submit(submission(&Owner::Everybody, TEXT)).await.expect("taken");
                counted.fetch_add(1, Ordering::Relaxed);
                let run = submitted.run.expect("it is new");
                store.append(&run, answer(TEXT)).await.expect("stored");
                counted.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let all: Vec<_> = (0..clients).map(work).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (begun, before, earlier) = (Instant::now(), counted.load(Ordering::Relaxed), figures());
    tokio::time::sleep(MEASURED).await;
    let rate = (counted.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
    let Figures { commits, changes, .. } = figures();
    let (commits, changes) = (commits - earlier.commits, changes - earlier.changes);
    stop.store(true, Ordering::Relaxed);
    for one in all {
        one.await.expect("no panic");
    }
    println!(
        "{name:<20}{clients:>5} callers{rate:>9.0} changes/s    {:.1} in a commit",
        changes as f64 / commits.max(1) as f64
    );
    rate
}

/// What became of pgbench.
enum Pgbench {
    /// Commits a second.
    Commits(f64),
    Missing,
    Failed,
}

fn pgbench(server: &Postgres, schema: &str, clients: usize, mode: &str) -> Pgbench {
    let beside = install::postgres().join("pgbench");
    let program = if beside.is_file() { beside } else { "pgbench".into() };
    let scratch = tempfile::tempdir().expect("a directory");
    let script = scratch.path().join("script.sql");
    std::fs::write(&script, transactions(schema)).expect("a file in a temporary directory");
    let url = server.dsn.split('?').next().unwrap_or_default();
    let seconds = MEASURED.as_secs().to_string();
    let output = Command::new(program)
        .args(["--no-vacuum", "--jobs", "2", "--protocol", mode, "--time", &seconds, "--client"])
        .arg(clients.to_string())
        .arg("--file")
        .args([script.as_os_str(), url.as_ref()])
        .output();
    let Ok(output) = output else { return Pgbench::Missing };
    let text = String::from_utf8_lossy(&output.stdout);
    let scripts =
        text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
    match scripts {
        // Each script is two transactions.
        Some(scripts) if output.status.success() => Pgbench::Commits(2.0 * scripts),
        _ => {
            eprintln!("{text}{}", String::from_utf8_lossy(&output.stderr));
            Pgbench::Failed
        }
    }
}

/// The rows of a message that begins a task, and of its answer, as the store writes them.
fn transactions(schema: &str) -> String {
    let events = |first: u64, events: Vec<(&str, String)>| {
        let row = |(at, (kind, text)): (usize, (&str, String))| {
            // What follows a colon would be a variable, in a text as well.
            let text = text.replace(':', "\\072");
            format!("(CAST(:task AS BIGINT), {}, 1, '{kind}', E'{text}')", first + at as u64)
        };
        events.into_iter().enumerate().map(row).collect::<Vec<_>>().join(", ")
    };
    let status = |state: &str| {
        (
            "status",
            format!(r#"{{"v":1,"status":{{"state":"{state}","at":"2026-11-26T12:00:00.000000001Z"}}}}"#),
        )
    };
    let id = uuid::Uuid::new_v4();
    let message = (
        "message",
        format!(
            r#"{{"v":1,"message":{{"id":"{id}","context":"{id}","task":"{id}","role":"user","parts":[{{"text":"{TEXT}"}}]}}}}"#
        ),
    );
    let artifact = (
        "artifact",
        format!(
            r#"{{"v":1,"artifact":{{"id":"{id}","name":"answer","parts":[{{"text":"{TEXT}"}}],"append":false,"last":true}}}}"#
        ),
    );
    let begun = events(1, vec![message, status("submitted")]);
    let ended = events(3, vec![status("working"), artifact, status("completed")]);
    let now = "CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)";
    format!(
        "\\set key random(1, 9000000000000000)
BEGIN;
INSERT INTO {schema}.bindu_tasks (task_key, owner, owner_client, owner_subject, id, context, context_id, state, phase, changed, \
        number, run, replica, lease_until, bytes, created) VALUES (sha256(int8send(CAST(:key AS BIGINT))), sha256('owner'), '', '', '{id}', \
        sha256('context'), '{id}', 'submitted', 0, CAST(:key AS BIGINT), 2, 1, '{id}', {now} + 30000, 1000, {now}) RETURNING task \\gset
INSERT INTO {schema}.bindu_events (task, number, run, kind, event) VALUES {begun};
COMMIT;
BEGIN;
UPDATE {schema}.bindu_tasks SET number = number + 3, bytes = bytes + 900, state = 'completed', phase = 2, changed = CAST(:key AS BIGINT), \
        lease_until = {now} + 30000 WHERE task_key = sha256(int8send(CAST(:key AS BIGINT))) AND run = 1 AND phase <> 2 RETURNING task \\gset
INSERT INTO {schema}.bindu_events (task, number, run, kind, event) VALUES {ended};
COMMIT;
"
    )
}
