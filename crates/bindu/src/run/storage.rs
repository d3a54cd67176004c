//! Opening the store of tasks that the settings name.

use crate::{
    ExitClass, Refusal,
    settings::{Settings, StoragePlace},
};
use bindu_keeper::Status;
use bindu_tasks::{
    Bounds, MemoryStore, NewFile, PostgresOptions, PostgresStore, Sealer, SqlBounds, SqliteError,
    SqliteOptions, SqliteStore, TaskStore,
};
use secrecy::ExposeSecret as _;
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// The file in the data directory.
const FILE: &str = "tasks.db";

/// How often is asked whether the store answers.
const LOOK: Duration = Duration::from_secs(5);

/// How often while it does not: callers come when it does.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long a start waits for a file that another program has locked.
const LOCKED: Duration = Duration::from_secs(60);

/// How long a write may take.
const STATEMENT: Duration = Duration::from_secs(10);

/// Makes the file of tasks that a first start needs, beside its place and while the identity is looked for. What fails here is tried
/// again, and told, when the store is opened.
pub(super) fn prepare(settings: &Settings, did: &str, has_directory: bool) -> JoinHandle<Option<NewFile>> {
    let is_file = matches!(settings.storage.place, StoragePlace::Unnamed | StoragePlace::Sqlite(_));
    let options = (is_file && has_directory).then(|| sqlite_options(settings, did, has_directory));
    tokio::spawn(async move { SqliteStore::prepare(&options?).await.ok().flatten() })
}

/// Opens the store of tasks, in the file that was prepared if there is one. `has_directory`: whether the data directory is this
/// process's alone, and can be written. `sealer` seals the secrets in a database.
///
/// Only a place that nobody has named gives way to memory, and only if it can't be written; what lies there and can't be used ends
/// the start, as does a place that was named. A database that is away does not: it is used when it comes.
///
/// # Errors
/// What cannot be used, with a hint.
pub async fn open(
    settings: &Settings,
    did: &str,
    (has_directory, prepared): (bool, Option<NewFile>),
    sealer: Option<Arc<dyn Sealer>>,
) -> Result<Arc<dyn TaskStore>, Refusal> {
    let sqlite = SqliteOptions { sealer: sealer.clone(), ..sqlite_options(settings, did, has_directory) };
    match &settings.storage.place {
        StoragePlace::Memory => Ok(memory(settings)),
        StoragePlace::Postgres(_) => {
            let options = postgres_options(settings, did).ok_or_else(not_sql)?;
            let options = PostgresOptions { sealer, ..options };
            let store = PostgresStore::open(options).map_err(|error| bad_url(&error))?;
            Ok(Arc::new(store))
        }
        StoragePlace::Unnamed if !has_directory => {
            tracing::warn!("tasks are kept in memory: the data directory cannot be used");
            Ok(memory(settings))
        }
        StoragePlace::Unnamed => match open_file(sqlite, prepared).await {
            Ok(store) => Ok(store),
            Err(error) if gives_way(&error) => {
                tracing::warn!(%error, cause = source(&error), "tasks are kept in memory");
                Ok(memory(settings))
            }
            Err(error) => Err(unusable(&error)),
        },
        StoragePlace::Sqlite(_) => open_file(sqlite, prepared).await.map_err(|error| unusable(&error)),
    }
}

/// Opens a file. One that another program has locked (a backup, a look into it) is waited for.
async fn open_file(
    options: SqliteOptions,
    mut prepared: Option<NewFile>,
) -> Result<Arc<dyn TaskStore>, SqliteError> {
    let until = Instant::now() + LOCKED;
    let mut is_told = false;
    loop {
        match SqliteStore::open_with(options.clone(), prepared.take()).await {
            Ok(store) => return Ok(Arc::new(store)),
            Err(error @ SqliteError::Locked { .. }) if Instant::now() < until => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(%error, "waiting for the file of tasks");
                }
                // SQLite itself waits for a lock, and for nothing else.
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether the default place can't be used at all, and nothing lies there: then tasks are kept in memory. A file that is there and
/// can't be used holds tasks that were promised to be kept.
fn gives_way(error: &SqliteError) -> bool {
    match error {
        SqliteError::Open { path, .. } | SqliteError::Unusable { path, .. } => {
            path.symlink_metadata().map_or(true, |file| file.is_file() && file.len() == 0)
        }
        // Another agent's is its directory: this one works without it.
        SqliteError::Network { .. } | SqliteError::OtherAgent { .. } => true,
        _ => false,
    }
}

/// Tells the status whether the store answers, and the log why not, for ever.
pub(super) async fn watch(store: Arc<dyn TaskStore>, status: Arc<Status>) {
    let mut told = None;
    loop {
        let problem = store.check().await.err().map(|error| error.to_string());
        let answers = problem.is_none();
        status.task_store_answers(answers);
        match &problem {
            // Once for each cause.
            Some(problem) if told.as_ref() != Some(problem) => {
                let hint = store.hint().unwrap_or_else(|| "docs/STORAGE.md".to_owned());
                tracing::warn!(problem, hint, "the task store does not answer");
            }
            None if told.is_some() => tracing::info!("the task store answers again"),
            _ => {}
        }
        told = problem;
        tokio::time::sleep(if answers { LOOK } else { LOOK_AGAIN }).await;
    }
}

/// What a database keeps.
fn bounds(settings: &Settings) -> SqlBounds {
    SqlBounds {
        remembered_of_one: settings.auth.replay_quota,
        age: settings.storage.retention,
        tasks_of_one: settings.storage.max_tasks,
        ..SqlBounds::default()
    }
}

fn memory(settings: &Settings) -> Arc<dyn TaskStore> {
    let bounds = Bounds { remembered_of_one: settings.auth.replay_quota, ..Bounds::default() };
    Arc::new(MemoryStore::new(bounds))
}

/// How the settings' file is opened.
#[must_use]
pub fn sqlite_options(settings: &Settings, did: &str, has_directory: bool) -> SqliteOptions {
    let named: Option<PathBuf> = match &settings.storage.place {
        StoragePlace::Sqlite(path) => path.clone(),
        _ => None,
    };
    // Whoever holds the directory's lock is alone with what lies in it; a path that was named may be shared.
    let is_alone = has_directory && named.is_none();
    SqliteOptions {
        max_bytes: u64::try_from(settings.storage.max_bytes).unwrap_or(u64::MAX),
        is_alone,
        bounds: bounds(settings),
        ..SqliteOptions::new(named.unwrap_or_else(|| settings.data_dir.join(FILE)), did)
    }
}

/// How the settings' database is used; nothing if it is not PostgreSQL.
#[must_use]
pub fn postgres_options(settings: &Settings, did: &str) -> Option<PostgresOptions> {
    let StoragePlace::Postgres(url) = &settings.storage.place else { return None };
    Some(PostgresOptions {
        listen_url: settings.storage.listen_url.as_ref().map(|url| url.expose_secret().to_owned()),
        connections: u32::try_from(settings.storage.connections).unwrap_or(u32::MAX),
        statement_timeout: STATEMENT,
        bounds: SqlBounds { bytes_of_one: 1 << 30, ..bounds(settings) },
        ..PostgresOptions::new(url.expose_secret(), did)
    })
}

fn source(error: &SqliteError) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

fn not_sql() -> Refusal {
    Refusal::new(ExitClass::Usage, "the settings name no database", "set DATABASE_URL")
}

/// A URL that cannot be used.
fn bad_url(error: &bindu_tasks::BadUrl) -> Refusal {
    Refusal::new(ExitClass::Usage, error.to_string(), "DATABASE_URL=postgres://user:password@host/name")
}

/// A file that cannot be used.
pub fn unusable(error: &SqliteError) -> Refusal {
    let (class, hint) = match error {
        SqliteError::Network { .. } => (
            ExitClass::Usage,
            "keep tasks in PostgreSQL (DATABASE_URL), or name a local path: DATABASE_URL=sqlite:PATH"
                .to_owned(),
        ),
        SqliteError::Locked { .. } => {
            (ExitClass::Unavailable, "end the program that has it open, and start again".to_owned())
        }
        SqliteError::OtherAgent { .. } => (
            ExitClass::Usage,
            "give each agent a file of its own: DATABASE_URL=sqlite:PATH\nor keep tasks in PostgreSQL, where each has its schema: DATABASE_URL=postgres://user:password@host/name"
                .to_owned(),
        ),
        SqliteError::Orphan { log } => (
            ExitClass::Usage,
            format!("put the file of tasks back beside it, or begin anew: rm {}", log.display()),
        ),
        SqliteError::Open { path, .. } | SqliteError::Unusable { path, .. } => (
            ExitClass::Usage,
            format!(
                "put a backup back (docs/STORAGE.md), or begin anew without its tasks: mv {0} {0}.old; rm -f {0}-wal {0}-shm",
                path.display()
            ),
        ),
        _ => (ExitClass::Failed, "see docs/STORAGE.md".to_owned()),
    };
    Refusal::new(class, error.to_string(), hint).because_source(error)
}
