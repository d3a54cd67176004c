//! Tasks in PostgreSQL (14 or later): what replicas share.
//!
//! Each agent has the schema of its DID, named as Python Bindu names it; every name in a statement is qualified, no statement
//! is named, and each transaction sets its own timeouts, so PgBouncer's transaction pooling works. Only `LISTEN` needs a
//! session: behind PgBouncer it gets a direct URL, or news comes by the poll.

use super::{
    address::{BadUrl, channel, connect_options, hex, schema_of},
    bounds::SqlBounds,
    connections::Connections,
    import::{self, ImportError, Imported},
    listen,
    open::{Open, Sql, fault},
    schema::{self, Migrated},
    session::{Backend, Dialect, Fault, Row, Session, Value},
    store::{SqlStore, StoreOptions},
    unreachable::{self, Unreachable},
};
use crate::{Sealer, StorageKind};
use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::{
    AssertSqlSafe, Column as _, Executor as _, PgConnection, Postgres, Row as _, TypeInfo as _,
    ValueRef as _,
    postgres::{PgConnectOptions, PgPool, PgPoolOptions},
};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, task::AbortHandle, time::Instant};

/// How long a connection is waited for.
const ACQUIRE: Duration = Duration::from_secs(3);

/// How long somebody else's lock is waited for: whoever waits in the same lane waits with it.
const LOCK: Duration = Duration::from_secs(2);

/// Transactions of the group commit at a time.
const LANES: usize = 4;

/// What was not told is found after this long.
const POLL: Duration = Duration::from_secs(2);

/// News that come within this time are told together.
const COALESCE: Duration = Duration::from_millis(10);

/// How many tasks one notification names: its payload is below PostgreSQL's 8,000 bytes.
const NAMED: usize = 80;

/// How many tasks wait to be told of at most; more are found by the poll.
const MOST_NEWS: usize = 10_000;

/// The key of the lock that migrations take: "bindu" in bytes, and a number.
const MIGRATION_LOCK: i64 = 0x62_69_6e_64_75_01;

/// The timeline that the server writes to: the beginning of the name of the file that it writes. It is there as soon as a standby is
/// promoted; `pg_control_checkpoint()` tells it after the next checkpoint.
const TIMELINE: &str =
    "SELECT CAST(CAST(('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)) AS BIT(32)) AS BIGINT)";

/// Whether this login may ask for it: a refusal would look as if the database were away.
const MAY_ASK: &str = "SELECT CAST(count(*) AS BIGINT) FROM (SELECT 1 AS one) AS asked
    WHERE has_function_privilege('pg_catalog.pg_walfile_name(pg_lsn)', 'EXECUTE')
    AND has_function_privilege('pg_catalog.pg_current_wal_lsn()', 'EXECUTE')";

/// The setting that names the database.
const SETTING: &str = "DATABASE_URL";

/// The oldest server.
const OLDEST: i64 = 140_000;

/// How a database is used.
#[derive(Clone)]
pub struct PostgresOptions {
    /// The URL, with its password.
    pub url: String,
    /// A URL without a pooler in between, for `LISTEN`.
    pub listen_url: Option<String>,
    /// The agent's DID: its schema.
    pub did: String,
    /// The most connections.
    pub connections: u32,
    /// The most that a statement may take.
    pub statement_timeout: Duration,
    /// How long a run is its process's without a word.
    pub lease: Duration,
    /// How much is kept.
    pub bounds: SqlBounds,
    /// What seals the secrets of push configurations. Without it they are kept in clear, and sealed ones are not opened.
    pub sealer: Option<Arc<dyn Sealer>>,
}

impl fmt::Debug for PostgresOptions {
    /// Without the URL: it holds a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions").field("did", &self.did).finish_non_exhaustive()
    }
}

impl PostgresOptions {
    /// The defaults for a URL and a DID.
    #[must_use]
    pub fn new(url: impl Into<String>, did: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            listen_url: None,
            did: did.into(),
            connections: 10,
            statement_timeout: Duration::from_secs(10),
            lease: super::LEASE,
            bounds: SqlBounds { bytes_of_one: 1 << 30, ..SqlBounds::default() },
            sealer: None,
        }
    }
}

/// Keeps tasks in PostgreSQL.
pub type PostgresStore = SqlStore<PostgresBackend>;

impl PostgresStore {
    /// A store on a database, which need not answer yet: the first that it is asked makes the tables. Must be called within a
    /// runtime: the store works in the background.
    ///
    /// # Errors
    /// [`BadUrl`].
    pub fn open(options: PostgresOptions) -> Result<Self, BadUrl> {
        let store = StoreOptions {
            lease: options.lease,
            bounds: options.bounds.clone(),
            sealer: options.sealer.clone(),
            waits_before_taking_over: true,
            is_shared: true,
        };
        let (backend, news) = PostgresBackend::new(&options)?;
        let listen = options.listen_url.as_deref().unwrap_or(&options.url);
        let listener = connect_options(listen)?;
        let channel = channel(&options.did);
        let mut store = Self::start(backend, store);
        let notify = notify(Arc::downgrade(&store.core), channel.clone(), news);
        store.background.push(tokio::spawn(notify).abort_handle());
        let watchers = Arc::clone(&store.watchers);
        let hear = listen::hear(listener, (channel, POLL), move |news| watchers.hear(news));
        let hearing: AbortHandle = tokio::spawn(hear).abort_handle();
        store.background.push(hearing);
        Ok(store)
    }

    /// Tries one connection to a database, and tells why there is none: the cause in the server's or the system's own words.
    ///
    /// # Errors
    /// [`Unreachable`], without secrets.
    pub async fn reach(options: &PostgresOptions) -> Result<(), Unreachable> {
        match connect_options(&options.url) {
            Ok(connect) => unreachable::attempt(&connect, SETTING).await,
            // `open` refuses it, and says so.
            Err(BadUrl) => Ok(()),
        }
    }

    /// Brings the tables to this version.
    ///
    /// # Errors
    /// Why not, without secrets.
    pub async fn migrate(options: &PostgresOptions) -> Result<Migrated, String> {
        let (backend, _) = PostgresBackend::new(options).map_err(|error| error.to_string())?;
        let migrated = backend.migrate().await.map_err(|fault| fault.to_string());
        backend.connections.close().await;
        migrated
    }

    /// Takes finished tasks of Python Bindu over, whose tables lie in the same schema and stay as they are; or only says what
    /// would be taken over, and changes nothing. Safe to repeat: a task that is here is left as it is.
    ///
    /// # Errors
    /// [`ImportError`]. What was taken over before stays.
    pub async fn import(options: PostgresOptions, applies: bool) -> Result<Imported, ImportError> {
        import::import(options, applies).await
    }
}

fn lazy(options: PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections.max(1))
        .min_connections(0)
        .acquire_timeout(ACQUIRE)
        .idle_timeout(Duration::from_secs(300))
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// A task's key, and the number of its last event.
type Told = ([u8; 32], u64);

/// The connections to a database.
pub struct PostgresBackend {
    connections: Connections<Postgres>,
    dialect: Dialect,
    schema: String,
    begin: String,
    begin_reading: String,
    /// Whether the tables are there.
    is_ready: AtomicBool,
    /// The timeline of the server's log, counted from 0.
    timeline: AtomicU64,
    /// Held by whoever makes them.
    migration: tokio::sync::Mutex<()>,
    connect: PgConnectOptions,
    /// Why the last connection was not made.
    unreachable: Mutex<Option<Unreachable>>,
    /// Held by whoever asks why.
    asks_why: tokio::sync::Mutex<()>,
    news: mpsc::Sender<Told>,
}

impl fmt::Debug for PostgresBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresBackend").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl PostgresBackend {
    fn new(options: &PostgresOptions) -> Result<(Self, mpsc::Receiver<Told>), BadUrl> {
        let schema = schema_of(&options.did);
        let statement = options.statement_timeout.as_millis();
        let timeouts = format!(
            "SET LOCAL statement_timeout = {statement}; SET LOCAL lock_timeout = {}; \
            SET LOCAL idle_in_transaction_session_timeout = {}",
            statement.min(LOCK.as_millis()),
            2 * statement
        );
        let (news, told) = mpsc::channel(MOST_NEWS);
        let connect = connect_options(&options.url)?;
        let pool = lazy(connect.clone(), options.connections);
        let backend = Self {
            connections: Connections::new(pool, options.connections, ACQUIRE),
            dialect: Dialect::Postgres(format!("\"{schema}\".")),
            schema,
            begin: format!("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {timeouts}"),
            begin_reading: format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {timeouts}"),
            is_ready: AtomicBool::new(false),
            timeline: AtomicU64::new(0),
            migration: tokio::sync::Mutex::default(),
            connect,
            unreachable: Mutex::default(),
            asks_why: tokio::sync::Mutex::default(),
            news,
        };
        Ok((backend, told))
    }

    /// Begins a transaction. A connection of the pool that has died meanwhile is no reason not to: nothing was sent yet.
    async fn begin(&self, words: &str) -> Result<Open<Postgres>, Fault> {
        let begun = Instant::now();
        loop {
            let connection = match self.connections.take().await {
                Ok(connection) => connection,
                Err(error) => return Err(self.is_unreachable(&error).await),
            };
            match Open::begin(connection, words, self.dialect.clone()).await {
                // It may lead to another server now.
                Err(Fault::Away(_)) if begun.elapsed() < ACQUIRE => {
                    self.is_ready.store(false, Ordering::Release)
                }
                other => {
                    if other.is_ok() {
                        *self.why() = None;
                    }
                    return other;
                }
            }
        }
    }

    fn why(&self) -> MutexGuard<'_, Option<Unreachable>> {
        self.unreachable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why a connection was not made. The pool tries again and again, and then says only that its time is over: one more attempt
    /// tells the cause; who comes meanwhile hears the last one.
    async fn is_unreachable(&self, error: &sqlx::Error) -> Fault {
        let why = match error {
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => return fault::<Postgres>(error),
            sqlx::Error::PoolTimedOut => match self.asks_why.try_lock() {
                Ok(_asks) => unreachable::attempt(&self.connect, SETTING).await.err(),
                Err(_) => {
                    let last = self.why().clone();
                    Some(last.unwrap_or_else(|| unreachable::explain(error, &self.connect, SETTING)))
                }
            },
            error => Some(unreachable::explain(error, &self.connect, SETTING)),
        };
        let Some(why) = why else {
            return Fault::Away("all connections to the database are in use".to_owned());
        };
        let text = why.to_string();
        *self.why() = Some(why);
        Fault::Away(text)
    }

    /// Begins a transaction that reads, without making our tables.
    pub(super) async fn look(&self) -> Result<Open<Postgres>, Fault> {
        self.begin(&self.begin_reading).await
    }

    pub(super) async fn ready(&self) -> Result<(), Fault> {
        if self.is_ready.load(Ordering::Acquire) {
            return Ok(());
        }
        self.migrate().await.map(|_| ())
    }

    async fn migrate(&self) -> Result<Migrated, Fault> {
        let _alone = self.migration.lock().await;
        let mut session = self.begin(&self.begin).await?;
        let migrated = self.migrate_in(&mut session).await;
        let migrated = match migrated {
            Ok(migrated) => migrated,
            Err(fault) => {
                session.roll_back().await;
                return Err(fault);
            }
        };
        session.commit().await?;
        self.look_at_timeline().await?;
        self.is_ready.store(true, Ordering::Release);
        Ok(migrated)
    }

    /// Notes which timeline the server is in. One that may not be asked stays in the one that it was in.
    async fn look_at_timeline(&self) -> Result<(), Fault> {
        let mut session = self.begin(&self.begin).await?;
        let timeline = match session.rows(MAY_ASK, Vec::new()).await {
            Ok(rows) if rows.first().map_or(Ok(0), |row| row.int(0))? == 0 => Ok(None),
            Ok(_) => session.rows(TIMELINE, Vec::new()).await.map(Some),
            Err(fault) => Err(fault),
        };
        match timeline {
            Ok(rows) => {
                if let Some(row) = rows.iter().flatten().next() {
                    self.timeline.store(row.count(0)?.saturating_sub(1), Ordering::Release);
                }
                session.commit().await
            }
            Err(Fault::Away(problem)) => Err(Fault::Away(problem)),
            Err(_) => {
                session.roll_back().await;
                Ok(())
            }
        }
    }

    async fn migrate_in(&self, session: &mut Open<Postgres>) -> Result<Migrated, Fault> {
        let version =
            session.rows("SELECT CAST(current_setting('server_version_num') AS BIGINT)", Vec::new()).await?;
        if version.first().map_or(Ok(0), |row| row.int(0))? < OLDEST {
            return Err(Fault::Refused("PostgreSQL is older than version 14".to_owned()));
        }
        session.rows("SELECT pg_advisory_xact_lock($1)", vec![MIGRATION_LOCK.into()]).await?;
        // Who may not create schemas may use one that is there.
        let there = "SELECT CAST(count(*) AS BIGINT) FROM pg_namespace WHERE nspname = $1";
        let there = session.rows(there, vec![self.schema.as_str().into()]).await?;
        if there.first().map_or(Ok(0), |row| row.int(0))? == 0 {
            session.execute(&format!("CREATE SCHEMA \"{}\"", self.schema), Vec::new()).await?;
        }
        schema::migrate(session, &self.dialect).await
    }
}

impl Backend for PostgresBackend {
    type Session = Open<Postgres>;

    async fn write(&self) -> Result<Self::Session, Fault> {
        self.ready().await?;
        self.begin(&self.begin).await
    }

    async fn read(&self) -> Result<Self::Session, Fault> {
        self.ready().await?;
        let session = self.begin(&self.begin_reading).await?;
        if self.is_ready.load(Ordering::Acquire) {
            return Ok(session);
        }
        // It leads to another server, maybe.
        session.roll_back().await;
        self.ready().await?;
        self.begin(&self.begin_reading).await
    }

    /// In a transaction even for one statement: it is parsed and run in two round trips, which a pooler of transactions would
    /// else give to two servers.
    async fn glance(&self) -> Result<Self::Session, Fault> {
        self.read().await
    }

    fn rest(&self) {
        self.connections.rest();
    }

    fn lanes(&self) -> usize {
        LANES
    }

    fn long_reads(&self) -> usize {
        (self.connections.most() / 2).max(1)
    }

    fn poll_interval(&self) -> Duration {
        POLL
    }

    /// Whoever comes next looks at the tables: after a restore they may be gone, or older.
    fn lost(&self) {
        self.is_ready.store(false, Ordering::Release);
    }

    fn tell(&self, news: &[([u8; 32], u64)]) {
        for news in news {
            // What does not fit is found by the poll.
            let _ = self.news.try_send(*news);
        }
    }

    async fn size(&self) -> Option<(u64, u64)> {
        None
    }

    fn connections(&self) -> (u64, u64) {
        self.connections.count()
    }

    fn max_connections(&self) -> u64 {
        self.connections.most() as u64
    }

    fn kind(&self) -> StorageKind {
        StorageKind::Postgres
    }

    fn timeline(&self) -> u64 {
        self.timeline.load(Ordering::Acquire)
    }

    fn hint(&self) -> Option<String> {
        self.why().as_ref().map(|why| why.hint().to_owned())
    }
}

/// Tells other processes of new events, in transactions of its own: a notification takes a lock of the whole server.
async fn notify(
    core: std::sync::Weak<super::store::Core<PostgresBackend>>,
    channel: String,
    mut news: mpsc::Receiver<Told>,
) {
    while let Some((task, number)) = news.recv().await {
        tokio::time::sleep(COALESCE).await;
        let mut all = HashMap::from([(task, number)]);
        while let Ok((task, number)) = news.try_recv() {
            let known = all.entry(task).or_insert(number);
            *known = number.max(*known);
        }
        let Some(core) = core.upgrade() else { return };
        let all: Vec<_> = all.into_iter().collect();
        let _ = send(&core.backend, &channel, &all).await;
    }
}

async fn send(backend: &PostgresBackend, channel: &str, news: &[([u8; 32], u64)]) -> Result<(), Fault> {
    let mut session = backend.begin(&backend.begin).await?;
    for some in news.chunks(NAMED) {
        let payload: Vec<String> =
            some.iter().map(|(task, number)| format!("{}:{number}", hex(task))).collect();
        let values = vec![channel.into(), payload.join(",").into()];
        session.rows("SELECT CAST(pg_notify($1, $2) AS TEXT)", values).await?;
    }
    session.commit().await
}

impl Sql for Postgres {
    /// Its protocol takes one statement with values at a time.
    const TOGETHER: bool = false;

    async fn simple(connection: &mut PgConnection, text: &str) -> Result<(), sqlx::Error> {
        connection.execute(sqlx::raw_sql(AssertSqlSafe(text))).await.map(|_| ())
    }

    async fn fetch(
        connection: &mut PgConnection,
        text: String,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let mut query = sqlx::query(AssertSqlSafe(text)).persistent(false);
        for value in values {
            query = match value {
                Value::Int(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
                Value::Bytes(bytes) => query.bind(bytes),
                Value::Null => query.bind(None::<i64>),
            };
        }
        // As they come: all of them beside their copies would be twice as much.
        query
            .fetch(connection)
            .map(|row| {
                let row = row?;
                let values = row.columns().iter().map(|column| {
                    let at = column.ordinal();
                    let raw = row.try_get_raw(at)?;
                    if raw.is_null() {
                        return Ok(Value::Null);
                    }
                    Ok(match raw.type_info().name() {
                        "INT8" => Value::Int(row.try_get_unchecked(at)?),
                        "BYTEA" => Value::Bytes(row.try_get_unchecked(at)?),
                        "TEXT" => Value::Text(row.try_get_unchecked(at)?),
                        // `void`, of functions that are called for what they do.
                        _ => Value::Null,
                    })
                });
                values.collect::<Result<Vec<_>, sqlx::Error>>().map(Row)
            })
            .try_collect()
            .await
    }

    async fn run(
        connection: &mut PgConnection,
        text: String,
        values: Vec<Value>,
    ) -> Result<u64, sqlx::Error> {
        let mut query = sqlx::query(AssertSqlSafe(text)).persistent(false);
        for value in values {
            query = match value {
                Value::Int(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
                Value::Bytes(bytes) => query.bind(bytes),
                Value::Null => query.bind(None::<i64>),
            };
        }
        query.execute(connection).await.map(|done| done.rows_affected())
    }

    /// By the classes of SQLSTATE.
    fn meaning(code: &str, text: String) -> Fault {
        match code {
            "23505" | "40001" | "40P01" => Fault::Again(text),
            "53100" => Fault::Full(text),
            // A standby, after a failover.
            "25006" => Fault::Away("the database is read-only".to_owned()),
            // A login that is refused may be repaired while we run.
            _ if code.starts_with("28") => Fault::Away(format!("the login is refused: {text}")),
            // No such schema or table: somebody has restored or removed it.
            "3F000" | "42P01" => Fault::Away("the tables are gone".to_owned()),
            // Cancelled by its timeout, or no lock in time.
            "57014" | "55P03" => Fault::Late(text),
            "3D000" | "42501" | "55000" | "25P03" => Fault::Away(text),
            // Connection, resources, operator intervention, system error.
            _ if ["08", "53", "57", "58", "XX"].iter().any(|class| code.starts_with(class)) => {
                Fault::Away(text)
            }
            _ => Fault::Refused(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_do_not_show_their_password() {
        let options = PostgresOptions::new("postgres://u:secret@db/x", "did:x:y");
        assert!(!format!("{options:?}").contains("secret"));
    }

    #[test]
    fn outages_are_told_from_refusals() {
        let meaning = |code: &str| Postgres::meaning(code, String::new());
        for code in ["08006", "57P01", "57P03", "53300", "25006", "28P01", "42P01"] {
            assert!(matches!(meaning(code), Fault::Away(_)), "{code}");
        }
        for code in ["23505", "40001", "40P01"] {
            assert!(matches!(meaning(code), Fault::Again(_)), "{code}");
        }
        assert!(matches!(meaning("57014"), Fault::Late(_)) && matches!(meaning("55P03"), Fault::Late(_)));
        assert!(matches!(meaning("22021"), Fault::Refused(_)) && matches!(meaning("53100"), Fault::Full(_)));
    }
}
