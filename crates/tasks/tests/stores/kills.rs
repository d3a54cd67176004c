//! Processes that share a file and are killed while they write.

use crate::{
    places::{self, LEASE},
    workload::{self, Seen},
};
use bindu_a2a::{event::TaskEvent, model::TaskState};
use bindu_tasks::{SqlBounds, SqliteOptions, SqliteStore, TaskStore, history};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, atomic::AtomicBool},
};

const FILE: &str = "BINDU_TEST_TASKS";

/// The child: writes to the file until it is killed, and tells on stdout what was answered. Does nothing by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(path) = std::env::var(FILE) else { return };
    let options =
        SqliteOptions { lease: LEASE, bounds: bounds(), ..SqliteOptions::new(path, "did:bindu:test:store") };
    let store: Arc<dyn TaskStore> = Arc::new(SqliteStore::open(options).await.expect("a file"));
    let stop = Arc::new(AtomicBool::new(false));
    tokio::spawn(workload::take_over(Arc::clone(&store), Arc::clone(&stop)));
    let workers = (0..4).map(|_| {
        let tell = |seen: Seen| {
            // One write for a line: what was half written when it was killed is no line.
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(format!("@{}\n", seen.line()).as_bytes());
            let _ = out.flush();
        };
        workload::work(Arc::clone(&store), Arc::clone(&stop), tell)
    });
    futures_util::future::join_all(workers).await;
}

fn bounds() -> SqlBounds {
    SqlBounds { tasks_of_one: 100_000, ..SqlBounds::default() }
}

struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a writer; it is killed after so many lines. What it has told.
fn write_and_be_killed(path: &std::path::Path, lines: usize) -> Vec<Seen> {
    let child = Command::new(std::env::current_exe().expect("a test"))
        .args(["--exact", "kills::child", "--nocapture"])
        .env(FILE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process");
    let mut writer = Writer(child);
    let mut seen = Vec::new();
    let out = BufReader::new(writer.0.stdout.take().expect("a pipe"));
    for line in out.lines() {
        let Ok(line) = line else { break };
        // The first line stands behind what the test's runner says.
        seen.extend(line.split_once('@').and_then(|(_, line)| Seen::of(line)));
        if seen.len() == lines {
            // SIGKILL; what the pipe still holds was answered before.
            writer.0.kill().expect("it runs");
        }
    }
    seen
}

/// Two processes at a time write to one file, and are killed again and again in the middle of it.
///
/// Promise: what was answered is there, once, in its order; each task ends; who subscribes in a third process sees each log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_killed_in_the_middle_of_writes_lose_nothing() {
    let place = places::sqlite_with(|options| options.bounds = bounds()).await;
    let history = Arc::new(Mutex::new(history::History::default()));
    let stop = Arc::new(AtomicBool::new(false));
    let store = Arc::clone(&place.store) as Arc<dyn TaskStore>;
    let follower =
        tokio::spawn(workload::follow(Arc::clone(&store), Arc::clone(&stop), Arc::clone(&history)));
    let rounds: usize = std::env::var("BINDU_SOAK").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    let mut told = 0;
    for round in 0..6 * rounds {
        let path = place.options.path.clone();
        let killed = [37 + 61 * (round % 5), 150 + 17 * (round % 7)].map(|lines| {
            let path = path.clone();
            tokio::task::spawn_blocking(move || write_and_be_killed(&path, lines))
        });
        for killed in killed {
            let seen = killed.await.expect("no panic");
            assert!(seen.len() >= 37, "it was killed while it wrote");
            told += seen.len();
            let mut history = history.lock().expect("no panic");
            seen.into_iter().for_each(|seen| workload::note(&mut history, seen));
        }
    }
    assert!(told > 500);
    let mut end = history::History::default();
    workload::settle(&store, &mut end).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    follower.await.expect("no panic");
    let mut all = history.lock().expect("no panic").clone();
    all.logs = end.logs;
    all.is_over = true;
    assert!(
        all.subscriptions.iter().any(|subscription| subscription.events.len() > 2),
        "somebody has followed"
    );
    assert_eq!(history::check(&all), []);
    let is_failed = |(_, log): &(_, Vec<bindu_tasks::Numbered>)| {
        let last = log.last().map(|numbered| &numbered.event);
        matches!(last, Some(TaskEvent::Status(status)) if status.state == TaskState::Failed)
    };
    assert!(all.logs.iter().any(is_failed), "a run of a killed process was found");
}
