//! Where the stores of these tests are.

use bindu_tasks::{PostgresOptions, PostgresStore, SqlBounds, SqliteOptions, SqliteStore, TaskStore};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// A lease that a test can wait for.
pub(crate) const LEASE: Duration = Duration::from_millis(1500);

/// One PostgreSQL for all tests that leave it as it is; each takes a DID of its own.
pub(crate) fn shared_postgres() -> &'static str {
    static SERVER: OnceLock<bindu_testkit::Postgres> = OnceLock::new();
    &SERVER.get_or_init(bindu_testkit::Postgres::start).dsn
}

pub(crate) fn did() -> String {
    format!("did:bindu:test:store:{}", uuid::Uuid::new_v4())
}

pub(crate) fn postgres_options(dsn: &str, did: &str) -> PostgresOptions {
    PostgresOptions { lease: LEASE, connections: 6, ..PostgresOptions::new(dsn, did) }
}

/// A store in a file, with its directory.
pub(crate) struct OnDisk {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) options: SqliteOptions,
    _directory: tempfile::TempDir,
}

pub(crate) fn sqlite_options(directory: &tempfile::TempDir) -> SqliteOptions {
    SqliteOptions {
        lease: LEASE,
        ..SqliteOptions::new(directory.path().join("tasks.db"), "did:bindu:test:store")
    }
}

pub(crate) async fn sqlite_with(change: impl FnOnce(&mut SqliteOptions)) -> OnDisk {
    let directory = tempfile::tempdir().expect("a directory");
    let mut options = sqlite_options(&directory);
    change(&mut options);
    let store = Arc::new(SqliteStore::open(options.clone()).await.expect("a file"));
    OnDisk { store, options, _directory: directory }
}

pub(crate) fn postgres_with(bounds: SqlBounds) -> Arc<dyn TaskStore> {
    let options = PostgresOptions { bounds, ..postgres_options(shared_postgres(), &did()) };
    Arc::new(PostgresStore::open(options).expect("a URL"))
}

/// Waits until something holds; a busy machine may take long.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
