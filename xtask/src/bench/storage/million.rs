//! A file of SQLite's with many tasks: how long it takes to open it, and to list a page.

use super::{answer, at, submission};
use crate::bench::median;
use bindu_tasks::{ListQuery, Owner, SqliteOptions, SqliteStore, TaskStore};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{path::Path, time::Instant};

/// A page of a list, if its caller does not say.
const PAGE: usize = 50;

/// How many pages are read.
const PAGES: u64 = 400;

pub(super) async fn run(tasks: u64) {
    // As many as a caller keeps (`BINDU_STORAGE_MAX_TASKS`), and all of them one caller's.
    for callers in [tasks.div_ceil(5_000), 1] {
        let disk = tempfile::tempdir().expect("a directory");
        let path = disk.path().join("tasks.db");
        eprintln!("making {tasks} tasks of {callers} callers ...");
        fill(&path, tasks, callers).await;
        measure(&path, tasks, callers).await;
    }
}

fn caller(number: u64) -> Owner {
    Owner::Client { id: format!("did:bindu:bench:caller:{number}").into(), subject: None }
}

fn options(path: &Path) -> SqliteOptions {
    SqliteOptions { max_bytes: 1 << 36, is_alone: true, ..SqliteOptions::new(path, "did:bindu:test:store") }
}

/// One task of each caller's is made by the store; all others are copies of it.
async fn fill(path: &Path, tasks: u64, callers: u64) {
    let store = SqliteStore::open(options(path)).await.expect("a file");
    for number in 0..callers {
        let submitted = store.submit(submission(&caller(number), "hello")).await.expect("taken");
        store.append(&submitted.run.expect("it is new"), answer("hello")).await.expect("stored");
    }
    drop(store);
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .pragma("cache_size", "-200000")
        .pragma("synchronous", "OFF");
    let mut connection = SqliteConnection::connect_with(&connect).await.expect("the same file");
    let copies = tasks / callers - 1;
    let columns = "owner, owner_client, owner_subject, id, context, context_id, state, phase";
    let others = "number, run, replica, lease_until, bytes, created";
    let copy = format!(
        "WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {copies})
        INSERT INTO bindu_tasks (task_key, {columns}, changed, {others})
        SELECT randomblob(32), {columns}, changed - n * 1000003, {others} FROM counted, bindu_tasks WHERE task <= {callers};
        INSERT INTO bindu_events (task, number, run, kind, event)
        SELECT t.task, e.number, e.run, e.kind, e.event FROM bindu_tasks AS t
        CROSS JOIN bindu_events AS e ON e.task = 1 + (t.task - 1) % {callers} WHERE t.task > {callers}"
    );
    connection.execute(sqlx::raw_sql(AssertSqlSafe(copy))).await.expect("copied");
    connection.close().await.expect("closed");
}

async fn measure(path: &Path, tasks: u64, callers: u64) {
    let mut opened = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let store = SqliteStore::open(options(path)).await.expect("the same file");
        store.check().await.expect("it answers");
        opened.push(milliseconds(begun));
        drop(store);
    }
    let store = SqliteStore::open(options(path)).await.expect("the same file");
    let (mut first, mut next, mut token, mut total) = (Vec::new(), Vec::new(), String::new(), 0);
    for number in 0..PAGES {
        let owner = caller((number / 4 * 7919) % callers);
        if number % 4 == 0 {
            token.clear();
        }
        let is_first = token.is_empty();
        let query = ListQuery { page_size: PAGE, page_token: token, ..ListQuery::default() };
        let begun = Instant::now();
        let page = store.list(&owner, &query).await.expect("a page");
        if is_first { &mut first } else { &mut next }.push(milliseconds(begun));
        assert_eq!(page.tasks.len(), PAGE);
        (token, total) = (page.next_page_token, page.total_size);
    }
    let mib = std::fs::metadata(path).map_or(0, |file| file.len()) >> 20;
    println!("{tasks} tasks of {callers} callers in SQLite ({mib} MiB), {total} of each");
    println!(
        "open, until it answers  {:>9.2} ms (median of 5)           (wanted: 50 at most)",
        median(&opened)
    );
    for (what, times) in [("first page of 50", first), ("pages after it", next)] {
        println!(
            "{what:<24}{:>9.2} ms (median), {:.2} (95 %), {:.2} (most)   (wanted: 5 at most)",
            median(&times),
            at(&times, 0.95),
            at(&times, 1.0)
        );
    }
    println!();
}

fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}
