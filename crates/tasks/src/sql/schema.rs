//! The tables, and how they come to be.
//!
//! A migration only adds, so that the version before goes on working beside this one; `readable_by` in `bindu_storage` is
//! the oldest version of this list that may use the tables, whatever their own. All names begin with `bindu_`: in
//! PostgreSQL they lie in the schema of the agent's DID, beside the tables of Python Bindu, which nothing here touches.
//!
//! Columns hold 64-bit numbers, texts and bytes only. Times are milliseconds since 1970 by the database's clock; `changed`
//! is the nanoseconds of a status.

use super::session::{Dialect, Fault, Session};

/// A step from one version of the tables to the next.
struct Migration {
    /// The oldest version of the program's list that reads the tables after it.
    readable_by: i64,
    statements: &'static [&'static str],
    /// What only SQLite does besides.
    of_sqlite: &'static [&'static str],
}

/// In order: the first makes version 1. `{text}`, `{bytes}`, `{id}`, `{rowid}` are the types of a dialect.
const MIGRATIONS: [Migration; 3] = [FIRST, COUNTED, BOUND];

const FIRST: Migration = Migration {
    readable_by: 1,
    statements: &[
        "CREATE TABLE {s}bindu_tasks (
            task {id},
            task_key {bytes} NOT NULL UNIQUE,
            owner {bytes} NOT NULL,
            owner_client {text} NOT NULL,
            owner_subject {text} NOT NULL,
            id {text} NOT NULL,
            context {bytes} NOT NULL,
            context_id {text} NOT NULL,
            state {text} NOT NULL,
            phase BIGINT NOT NULL,
            changed BIGINT NOT NULL,
            number BIGINT NOT NULL,
            run BIGINT NOT NULL,
            replica {text} NOT NULL,
            lease_until BIGINT NOT NULL,
            bytes BIGINT NOT NULL,
            created BIGINT NOT NULL)",
        "CREATE INDEX bindu_tasks_list ON {s}bindu_tasks (owner, changed, task)",
        "CREATE INDEX bindu_tasks_context ON {s}bindu_tasks (owner, context)",
        "CREATE INDEX bindu_tasks_unfinished ON {s}bindu_tasks (owner) WHERE phase = 0",
        "CREATE INDEX bindu_tasks_lease ON {s}bindu_tasks (lease_until) WHERE phase = 0",
        "CREATE TABLE {s}bindu_events (
            task BIGINT NOT NULL,
            number BIGINT NOT NULL,
            run BIGINT NOT NULL,
            kind {text} NOT NULL,
            event {text} NOT NULL,
            PRIMARY KEY (task, number)){rowid}",
        "CREATE TABLE {s}bindu_messages (message {bytes} NOT NULL PRIMARY KEY, task BIGINT NOT NULL){rowid}",
        "CREATE INDEX bindu_messages_task ON {s}bindu_messages (task)",
        "CREATE TABLE {s}bindu_replays (
            replay {bytes} NOT NULL PRIMARY KEY,
            owner {bytes} NOT NULL,
            id {text} NOT NULL,
            ends BIGINT NOT NULL){rowid}",
        "CREATE INDEX bindu_replays_owner ON {s}bindu_replays (owner, ends)",
        "CREATE INDEX bindu_replays_ends ON {s}bindu_replays (ends)",
        "CREATE TABLE {s}bindu_pushes (
            task BIGINT NOT NULL,
            push {bytes} NOT NULL,
            id {text} NOT NULL,
            config {text} NOT NULL,
            delivered BIGINT NOT NULL,
            failures BIGINT NOT NULL,
            due BIGINT NOT NULL,
            PRIMARY KEY (task, push)){rowid}",
        "CREATE INDEX bindu_pushes_due ON {s}bindu_pushes (due)",
        "CREATE TABLE {s}bindu_feedback (task BIGINT NOT NULL PRIMARY KEY, feedback {text} NOT NULL){rowid}",
    ],
    of_sqlite: &[],
};

/// How many tasks each owner has, so that a list of many need not count them. In SQLite one writes at a time anyway; in
/// PostgreSQL all who write for one owner would wait for that row.
const COUNTED: Migration = Migration {
    readable_by: 1,
    statements: &[],
    of_sqlite: &[
        "CREATE TABLE bindu_counts (owner BLOB NOT NULL PRIMARY KEY, tasks BIGINT NOT NULL) WITHOUT ROWID",
        "INSERT INTO bindu_counts (owner, tasks) SELECT owner, count(*) FROM bindu_tasks GROUP BY owner",
        "CREATE TRIGGER bindu_tasks_one_more AFTER INSERT ON bindu_tasks BEGIN
            INSERT INTO bindu_counts (owner, tasks) VALUES (new.owner, 1)
            ON CONFLICT (owner) DO UPDATE SET tasks = tasks + 1; END",
        "CREATE TRIGGER bindu_tasks_one_less AFTER DELETE ON bindu_tasks BEGIN
            UPDATE bindu_counts SET tasks = tasks - 1 WHERE owner = old.owner;
            DELETE FROM bindu_counts WHERE owner = old.owner AND tasks <= 0; END",
    ],
};

/// Whose file it is: one row. In PostgreSQL the schema's name says so.
const BOUND: Migration = Migration {
    readable_by: 1,
    statements: &[],
    of_sqlite: &["CREATE TABLE bindu_agent (did TEXT NOT NULL)"],
};

/// Which version the tables have.
const VERSIONS: &str =
    "CREATE TABLE IF NOT EXISTS {s}bindu_storage (version BIGINT NOT NULL, readable_by BIGINT NOT NULL)";

/// The version of the tables that this program makes.
pub(super) fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// What a migration has found and done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// The version that the tables had; 0 if there were none.
    pub from: i64,
    /// The version that they have now.
    pub to: i64,
}

/// Brings the tables to the version of this program, in a transaction that nobody else's overlaps.
pub(super) async fn migrate<S: Session>(session: &mut S, dialect: &Dialect) -> Result<Migrated, Fault> {
    session.execute(VERSIONS, Vec::new()).await?;
    let rows = session.rows("SELECT version, readable_by FROM {s}bindu_storage", Vec::new()).await?;
    let (from, readable_by) = match rows.first() {
        Some(row) => (row.int(0)?, row.int(1)?),
        None => (0, 0),
    };
    if from > newest() {
        return match readable_by <= newest() {
            true => Ok(Migrated { from, to: from }),
            false => Err(Fault::Refused(format!(
                "the task store has version {from} of its tables, this program reads up to {}",
                newest()
            ))),
        };
    }
    if from == newest() {
        return Ok(Migrated { from, to: from });
    }
    let done = usize::try_from(from).unwrap_or(0);
    let mut readable_by = readable_by;
    for migration in MIGRATIONS.iter().skip(done) {
        let of_sqlite = match dialect {
            Dialect::Sqlite => migration.of_sqlite,
            Dialect::Postgres(_) => &[],
        };
        for statement in migration.statements.iter().chain(of_sqlite) {
            session.execute(&typed(statement, dialect), Vec::new()).await?;
        }
        readable_by = readable_by.max(migration.readable_by);
    }
    session.execute("DELETE FROM {s}bindu_storage", Vec::new()).await?;
    let note = "INSERT INTO {s}bindu_storage (version, readable_by) VALUES ($1, $2)";
    session.execute(note, vec![newest().into(), readable_by.into()]).await?;
    Ok(Migrated { from, to: newest() })
}

/// Binds a file that belongs to nobody.
pub(super) const BIND: &str = "INSERT INTO bindu_agent (did) VALUES ($1)";

/// Binds a file that belongs to no agent to this one. The DID of the agent to which it belongs, if that is another one.
pub(super) async fn bind<S: Session>(session: &mut S, did: &str) -> Result<Option<String>, Fault> {
    let rows = session.rows("SELECT did FROM bindu_agent", Vec::new()).await?;
    match rows.first() {
        Some(row) => Ok(Some(row.text(0)?.to_owned()).filter(|bound| bound != did)),
        None => {
            session.execute(BIND, vec![did.into()]).await?;
            Ok(None)
        }
    }
}

/// All statements that make the tables of a new file, in one transaction.
pub(super) fn script() -> String {
    let dialect = Dialect::Sqlite;
    let mut script = "BEGIN IMMEDIATE;\n".to_owned();
    let mut add = |statement: &str| {
        script.push_str(&dialect.text(&typed(statement, &dialect)));
        script.push_str(";\n");
    };
    add(VERSIONS);
    for migration in &MIGRATIONS {
        migration.statements.iter().chain(migration.of_sqlite).for_each(|statement| add(statement));
    }
    let readable_by = MIGRATIONS.iter().map(|migration| migration.readable_by).max().unwrap_or(0);
    add(&format!(
        "INSERT INTO {{s}}bindu_storage (version, readable_by) VALUES ({}, {readable_by})",
        newest()
    ));
    add("COMMIT");
    script
}

/// A statement with the types of a dialect. PostgreSQL compares texts by their bytes, as SQLite does.
fn typed(statement: &str, dialect: &Dialect) -> String {
    let [text, bytes, id, rowid] = match dialect {
        Dialect::Sqlite => ["TEXT", "BLOB", "INTEGER PRIMARY KEY", " WITHOUT ROWID"],
        Dialect::Postgres(_) => {
            ["TEXT COLLATE \"C\"", "BYTEA", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", ""]
        }
    };
    statement.replace("{text}", text).replace("{bytes}", bytes).replace("{id}", id).replace("{rowid}", rowid)
}
