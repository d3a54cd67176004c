//! Takes over finished tasks of Python Bindu (2026.36.7), whose tables lie in the same schema. They are read in a read-only
//! transaction, so that nothing here can change them.

use super::{
    group::error,
    key,
    open::Open,
    postgres::{PostgresOptions, PostgresStore},
    session::{Backend as _, Fault, Row, Session, Value},
    store::Core,
    stored,
    write::{self, EVENT_BYTES, RESULTS, TASK_BYTES},
};
use crate::{Owner, StoreError, TaskKey};
use bindu_a2a::{
    Dialect, Json,
    call::{Answer, Call},
    event::{ArtifactChunk, TaskEvent},
    model::Task,
};
use jiff::Timestamp;
use serde_json::value::RawValue;
use sqlx::Postgres;
use std::sync::Arc;

/// How many tasks are fetched at a time.
const AT_ONCE: usize = 50;

/// The states in which a task of Python Bindu changes no more (`terminal_states` of its settings).
const FINISHED: &str = "('completed', 'failed', 'canceled', 'rejected')";

/// How many tasks that cannot be read are named.
const NAMED: usize = 100;

/// What was found in Python Bindu's tables, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Finished tasks that were taken over; with a plan: that would be.
    pub taken: usize,
    /// Finished tasks that are here already.
    pub here: usize,
    /// Finished tasks that are older than what is kept, and would be forgotten at once.
    pub too_old: usize,
    /// Tasks that are not finished: they stay Python Bindu's.
    pub unfinished: usize,
    /// Finished tasks that cannot be taken over: how many.
    pub unreadable: usize,
    /// The ids of some of those, and why.
    pub problems: Vec<(String, String)>,
}

/// Why nothing was imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The schema has no tables of Python Bindu.
    #[error("the schema {0} has no tables of Python Bindu")]
    NoTables(String),
    /// The database does not answer, or refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Fault> for ImportError {
    fn from(fault: Fault) -> Self {
        Self::Store(error(fault))
    }
}

/// Takes finished tasks over, or looks what would be taken over. Safe to repeat: what is here is left as it is.
///
/// # Errors
/// [`ImportError`]. What was taken over before stays.
pub(super) async fn import(options: PostgresOptions, applies: bool) -> Result<Imported, ImportError> {
    let schema = super::schema_of(&options.did);
    // One reads, one writes.
    let options = PostgresOptions { connections: options.connections.max(2), ..options };
    let store = PostgresStore::open(options).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let core = &store.core;
    // Not by way of `read`, which makes our tables: a plan changes nothing.
    let mut session = core.backend.look().await?;
    if !has_table(&mut session, &schema, "tasks").await? {
        return Err(ImportError::NoTables(schema));
    }
    if applies {
        core.backend.ready().await?;
    }
    let has_ours = applies || has_table(&mut session, &schema, "bindu_tasks").await?;
    let mut imported = Imported { unfinished: unfinished(&mut session).await?, ..Imported::default() };
    open_cursor(&mut session, &schema).await?;
    let oldest = Timestamp::now() - core.rules.bounds.age;
    loop {
        let rows = session.rows(&format!("FETCH {AT_ONCE} FROM bindu_import"), Vec::new()).await?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            let id = row.text(0)?.to_owned();
            let found = match Found::of(row) {
                Ok(found) if found.bytes > core.rules.bounds.task_bytes.saturating_mul(RESULTS) => {
                    Err("it is larger than what is kept of one task".to_owned())
                }
                found => found,
            };
            match found {
                Err(problem) => imported.note(id, problem),
                Ok(found) if found.task.status.timestamp < oldest => imported.too_old += 1,
                Ok(found) => match found.take(core, has_ours, applies).await {
                    Ok(true) => imported.taken += 1,
                    Ok(false) => imported.here += 1,
                    Err(Fault::Refused(problem)) => imported.note(id, problem),
                    Err(fault) => return Err(fault.into()),
                },
            }
        }
    }
    session.roll_back().await;
    Ok(imported)
}

impl Imported {
    fn note(&mut self, id: String, problem: String) {
        self.unreadable += 1;
        if self.problems.len() < NAMED {
            self.problems.push((id, problem));
        }
    }
}

async fn has_table<S: Session>(session: &mut S, schema: &str, table: &str) -> Result<bool, Fault> {
    let find =
        "SELECT CAST(count(*) AS BIGINT) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')";
    let rows = session.rows(find, vec![schema.into(), table.into()]).await?;
    Ok(rows.first().map_or(Ok(0), |row| row.int(0))? > 0)
}

async fn unfinished<S: Session>(session: &mut S) -> Result<usize, Fault> {
    let count = format!("SELECT CAST(count(*) AS BIGINT) FROM {{s}}tasks WHERE state NOT IN {FINISHED}");
    let rows = session.rows(&count, Vec::new()).await?;
    let count = rows.first().map_or(Ok(0), |row| row.count(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Opens a cursor over the finished tasks, oldest first: id, owner, time of creation, the task as its callers see it, the last
/// feedback. One snapshot of the whole, of which a page at a time is in memory.
async fn open_cursor(session: &mut Open<Postgres>, schema: &str) -> Result<(), Fault> {
    // Between two pages the transaction waits for our own writes.
    for setting in ["statement_timeout = 60000", "idle_in_transaction_session_timeout = 600000"] {
        session.execute(&format!("SET LOCAL {setting}"), Vec::new()).await?;
    }
    // Tables that were made before tasks had owners have no such column.
    let column = "SELECT CAST(count(*) AS BIGINT) FROM information_schema.columns
        WHERE table_schema = $1 AND table_name = 'tasks' AND column_name = 'owner_did'";
    let rows = session.rows(column, vec![schema.into()]).await?;
    let owner = match rows.first().map_or(Ok(0), |row| row.int(0))? {
        0 => "NULL",
        _ => "t.owner_did",
    };
    let feedback = match has_table(session, schema, "task_feedback").await? {
        true => {
            "(SELECT CAST(f.feedback_data AS TEXT) FROM {s}task_feedback AS f WHERE f.task_id = t.id
                ORDER BY f.id DESC LIMIT 1)"
        }
        false => "CAST(NULL AS TEXT)",
    };
    let declare = format!(
        "DECLARE bindu_import NO SCROLL CURSOR FOR SELECT CAST(t.id AS TEXT), CAST({owner} AS TEXT),
        CAST(floor(extract(epoch FROM t.created_at) * 1000) AS BIGINT),
        CAST(json_build_object('id', t.id, 'context_id', t.context_id, 'kind', 'task', 'status',
            json_build_object('state', t.state, 'timestamp',
                to_char(t.state_timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')),
            'history', t.history, 'artifacts', t.artifacts, 'metadata', t.metadata) AS TEXT),
        {feedback}
        FROM {{s}}tasks AS t WHERE t.state IN {FINISHED} ORDER BY t.created_at, t.id"
    );
    session.execute(&declare, Vec::new()).await.map(|_| ())
}

/// A finished task of Python Bindu.
struct Found {
    key: TaskKey,
    task: Task,
    events: Vec<TaskEvent>,
    feedback: Option<Json>,
    /// When it was made, in milliseconds.
    created: i64,
    bytes: usize,
}

impl Found {
    fn of(row: &Row) -> Result<Self, String> {
        let column = |at| row.text(at).map_err(|fault| fault.to_string());
        // The client's id; nothing of tasks that were made with authentication off.
        let owner = match column(1)? {
            "" => Owner::Everybody,
            client => Owner::Client { id: client.into(), subject: None },
        };
        let raw: &RawValue = serde_json::from_str(column(3)?).map_err(|error| error.to_string())?;
        let asked = Call::Get { task_id: column(0)?.to_owned(), history_length: None };
        let task = match Dialect::Bindu.read_answer(&asked, raw) {
            Ok(Answer::Found(view)) => view.task,
            Ok(_) => return Err("it is not a task".to_owned()),
            Err(malformed) => return Err(malformed.to_string()),
        };
        let feedback = match column(4)? {
            "" => None,
            text => serde_json::from_str::<&RawValue>(text).ok().map(Json::from),
        };
        let events = events(&task);
        let bytes = TASK_BYTES + events.iter().map(|event| event.bytes() + EVENT_BYTES).sum::<usize>();
        let created = row.int(2).map_err(|fault| fault.to_string())?;
        Ok(Self { key: TaskKey { owner, id: task.id.clone() }, task, events, feedback, created, bytes })
    }

    /// Takes the task over; whether it was not here.
    async fn take(
        &self,
        core: &Core<super::PostgresBackend>,
        has_ours: bool,
        applies: bool,
    ) -> Result<bool, Fault> {
        if !applies {
            return Ok(!has_ours || !self.is_here(core).await?);
        }
        let mut session = core.backend.write().await?;
        match self.write(&mut session).await {
            Ok(is_new) => session.commit().await.map(|()| is_new),
            // Another import, at the same time.
            Err(Fault::Again(_)) => {
                session.roll_back().await;
                Ok(false)
            }
            Err(fault) => {
                session.roll_back().await;
                Err(fault)
            }
        }
    }

    async fn is_here(&self, core: &Core<super::PostgresBackend>) -> Result<bool, Fault> {
        let mut session = core.backend.look().await?;
        let find = "SELECT task FROM {s}bindu_tasks WHERE task_key = $1";
        let rows = session.rows(find, vec![key::task(&self.key).into()]).await?;
        session.commit().await?;
        Ok(!rows.is_empty())
    }

    async fn write<S: Session>(&self, session: &mut S) -> Result<bool, Fault> {
        let task_key = key::task(&self.key);
        if write::hold(session, task_key).await?.is_some() {
            return Ok(false);
        }
        // Phase 2: it has ended, so that nobody's lease is looked for.
        let insert = "INSERT INTO {s}bindu_tasks (task_key, owner, owner_client, owner_subject, id, context,
            context_id, state, phase, changed, number, run, replica, lease_until, bytes, created)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 2, $9, $10, 1, '', 0, $11, $12) RETURNING task";
        let (client, subject) = key::columns(&self.key.owner);
        let values: Vec<Value> = vec![
            task_key.into(),
            key::owner(&self.key.owner).into(),
            client.into(),
            subject.into(),
            key::escaped(&self.key.id).into(),
            key::context(&self.key.owner, &self.task.context_id).into(),
            key::escaped(&self.task.context_id).into(),
            stored::state_name(self.task.status.state).into(),
            write::nanos(self.task.status.timestamp).into(),
            self.events.len().into(),
            self.bytes.into(),
            self.created.into(),
        ];
        let rows = session.rows(insert, values).await?;
        let task = rows.first().ok_or_else(|| Fault::Again("nothing was inserted".to_owned()))?.int(0)?;
        write::add_events(session, task, 0, 1, &self.events).await?;
        if let Some(feedback) = &self.feedback {
            let keep = "INSERT INTO {s}bindu_feedback (task, feedback) VALUES ($1, $2)";
            session.execute(keep, vec![task.into(), feedback.text().into()]).await?;
        }
        Ok(true)
    }
}

/// The events that make a finished task: its messages, its results, its last status.
fn events(task: &Task) -> Vec<TaskEvent> {
    let messages = task.history.iter().map(|message| TaskEvent::Message(Arc::clone(message)));
    let results = task.artifacts.iter().flat_map(|artifact| {
        let last = artifact.chunks.len().saturating_sub(1);
        artifact.chunks.iter().enumerate().map(move |(at, parts)| {
            TaskEvent::Artifact(Arc::new(ArtifactChunk {
                id: artifact.id.clone(),
                name: artifact.name.clone(),
                description: artifact.description.clone(),
                parts: Arc::clone(parts),
                metadata: artifact.metadata.clone(),
                extensions: artifact.extensions.clone(),
                append: at > 0,
                is_last: at == last,
            }))
        })
    });
    let status = TaskEvent::Status(task.status.clone());
    messages.chain(results).chain([status]).collect()
}
