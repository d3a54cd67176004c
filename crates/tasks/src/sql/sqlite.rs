//! Tasks in a file of SQLite's: what a single agent uses, or two processes of it on one machine. A file belongs to one DID.
//!
//! Write-ahead log, synced at each commit. One connection writes, a few read beside it. The file takes at most
//! [`SqliteOptions::max_bytes`], so that tasks never fill the disk that the agent's identity needs.

use super::{
    bounds::SqlBounds,
    connections::Connections,
    create::{self, NewFile},
    open::{Open, Sql, fault},
    schema::{self, Migrated},
    session::{Backend, Dialect, Fault, Row, Session, Value},
    store::{SqlStore, StoreOptions},
};
use crate::{Sealer, StorageKind};
use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::{
    AssertSqlSafe, Column as _, Executor as _, Row as _, Sqlite, SqliteConnection, TypeInfo as _,
    ValueRef as _,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How long another process may write before ours is refused.
const BUSY: Duration = Duration::from_secs(5);

/// How many read at a time. Each is a thread with its cache.
const READERS: u32 = 4;

/// A page's bytes, and the pages that a connection keeps in memory at most, as SQLite counts them: minus KiB. The keys of tasks are
/// hashes: with few pages, whoever writes reads another one for each of them.
const PAGE: u32 = 4096;
const CACHE: &str = "-512";
const CACHE_OF_WRITER: &str = "-4096";

/// The pages of the write-ahead log after which it is copied into the file, with two more syncs; and the bytes that the log's file
/// keeps then: those of so many pages.
const LOG_PAGES: &str = "4000";
const LOG_BYTES: &str = "16777216";

/// What the write-ahead log takes at most while nobody keeps an old state of the file in sight: twice what it keeps when it was copied into
/// the file. What exceeds it counts as the file's.
const LOG: u64 = 32 * 1024 * 1024;

/// With more left than this the file's size is looked at in one of so many transactions.
const AMPLE: u64 = 256 * 1024 * 1024;
const LOOK_EACH: u64 = 16;

/// What another process has written is seen after this long.
const POLL: Duration = Duration::from_millis(500);

/// File systems of networks by their magic numbers: locks and shared memory cannot be relied on there.
const NETWORK: [(u32, &str); 13] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x0161_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
];

/// How a file is opened.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The file; it is created with mode 0600.
    pub path: PathBuf,
    /// The agent's DID. The file belongs to the first that opens it, and is refused to any other.
    pub did: String,
    /// The most bytes that it takes.
    pub max_bytes: u64,
    /// Whether no other process uses it, so that runs that are found are those of processes that are gone.
    pub is_alone: bool,
    /// How long a run is its process's without a word.
    pub lease: Duration,
    /// How much is kept.
    pub bounds: SqlBounds,
    /// What seals the secrets of push configurations. Without it they are kept in clear, and sealed ones are not opened.
    pub sealer: Option<Arc<dyn Sealer>>,
}

impl SqliteOptions {
    /// The defaults for a file and a DID.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, did: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            did: did.into(),
            max_bytes: 1 << 30,
            is_alone: false,
            lease: super::LEASE,
            bounds: SqlBounds::default(),
            sealer: None,
        }
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// It cannot be created or opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It lies on a network's file system.
    #[error("{} is on a network file system ({kind}), where SQLite would lose data", path.display())]
    Network {
        /// The file.
        path: PathBuf,
        /// Which kind.
        kind: &'static str,
    },
    /// Somebody else has it locked, or it can't be read or written at the moment.
    #[error("{} is locked by another program, or cannot be read or written", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A file of SQLite's own lies beside the place where none is: it belongs to another one, and would be taken for this one's.
    #[error("{} is left of a file of tasks that is not there any more", log.display())]
    Orphan {
        /// The left file.
        log: PathBuf,
    },
    /// It holds the tasks of another agent, whose work would be done, and signed, by this one.
    #[error("{} holds the tasks of another agent, {did}", path.display())]
    OtherAgent {
        /// The file.
        path: PathBuf,
        /// That agent.
        did: String,
    },
    /// It is no database, or one of a newer version.
    #[error("{}: {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// How the words of a fault begin that no waiting ends.
const DAMAGED: &str = "the file is damaged";

impl SqliteError {
    pub(super) fn of(path: &Path, fault: &Fault) -> Self {
        match fault {
            Fault::Late(_) => Self::Locked { path: path.to_owned() },
            Fault::Away(problem) if !problem.starts_with(DAMAGED) => Self::Locked { path: path.to_owned() },
            fault => Self::Unusable { path: path.to_owned(), problem: fault.to_string() },
        }
    }
}

/// Keeps tasks in a file.
pub type SqliteStore = SqlStore<SqliteBackend>;

impl SqliteStore {
    /// Opens a file, which is made if there is none. Must be called within a runtime: the store works in the background.
    ///
    /// # Errors
    /// [`SqliteError`].
    pub async fn open(options: SqliteOptions) -> Result<Self, SqliteError> {
        Self::open_with(options, None).await
    }

    /// Makes a new file beside the place of the options' own, if there is none and this process is alone there: what
    /// [`SqliteStore::open_with`] would do, ahead of time.
    ///
    /// # Errors
    /// [`SqliteError`].
    pub async fn prepare(options: &SqliteOptions) -> Result<Option<NewFile>, SqliteError> {
        match options.is_alone && is_missing(&options.path) {
            true => NewFile::make(&options.path, &options.did, PAGE).await.map(Some),
            false => Ok(None),
        }
    }

    /// The same as [`SqliteStore::open`], with the file that was prepared.
    ///
    /// # Errors
    /// [`SqliteError`].
    pub async fn open_with(options: SqliteOptions, prepared: Option<NewFile>) -> Result<Self, SqliteError> {
        let backend = SqliteBackend::open(&options, prepared).await?;
        backend.migrate(&options).await?;
        if options.is_alone {
            backend.end_leases().await.map_err(|fault| SqliteError::of(&options.path, &fault))?;
        }
        let store = StoreOptions {
            lease: options.lease,
            bounds: options.bounds.clone(),
            sealer: options.sealer.clone(),
            waits_before_taking_over: !options.is_alone,
            is_shared: !options.is_alone,
        };
        Ok(Self::start(backend, store))
    }

    /// Brings a file's tables to this version.
    ///
    /// # Errors
    /// [`SqliteError`].
    pub async fn migrate(options: &SqliteOptions) -> Result<Migrated, SqliteError> {
        let backend = SqliteBackend::open(options, None).await?;
        let migrated = backend.migrate(options).await?;
        backend.writer.close().await;
        Ok(migrated)
    }
}

/// The connections to a file.
#[derive(Debug)]
pub struct SqliteBackend {
    writer: Connections<Sqlite>,
    readers: Connections<Sqlite>,
    /// The write-ahead log's file.
    log: PathBuf,
    max_bytes: u64,
    /// What was left of them at the last look, and how many transactions have begun.
    left: AtomicU64,
    looks: AtomicU64,
}

impl SqliteBackend {
    pub(super) async fn open(
        options: &SqliteOptions,
        prepared: Option<NewFile>,
    ) -> Result<Self, SqliteError> {
        let path = options.path.clone();
        create::refuse_orphans(&path)?;
        if options.is_alone && is_missing(&path) {
            match prepared.filter(|new| new.is_for(&path, &options.did)) {
                Some(new) => new.put()?,
                None => NewFile::make(&path, &options.did, PAGE).await?.put()?,
            }
            create::remove_left(&path);
        }
        prepare(&path, &path)?;
        let pages = (options.max_bytes / u64::from(PAGE)).max(64);
        let connect = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(false)
            .page_size(PAGE)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .foreign_keys(false)
            .pragma("wal_autocheckpoint", LOG_PAGES)
            .pragma("journal_size_limit", LOG_BYTES)
            // What would be undone of a statement that fails stays in memory: no file in `/var/tmp` for each of them.
            .pragma("temp_store", "MEMORY")
            .pragma("max_page_count", pages.to_string())
            .pragma("trusted_schema", "OFF");
        let pool = |connections: u32| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .min_connections(0)
                .acquire_timeout(2 * BUSY)
                .max_lifetime(None)
                .idle_timeout(Duration::from_secs(60))
                .test_before_acquire(false)
        };
        let writer = connect.clone().pragma("cache_size", CACHE_OF_WRITER);
        let writer = pool(1).idle_timeout(None).connect_lazy_with(writer);
        let readers = connect.pragma("cache_size", CACHE).pragma("query_only", "ON");
        let readers = pool(READERS).connect_lazy_with(readers);
        let writer = Connections::new(writer, 1, 2 * BUSY);
        let readers = Connections::new(readers, READERS, 2 * BUSY);
        let (left, looks) = (AtomicU64::new(0), AtomicU64::new(0));
        let log = path.with_file_name({
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push("-wal");
            name
        });
        Ok(Self { writer, readers, log, max_bytes: pages * u64::from(PAGE), left, looks })
    }

    /// Brings the tables to this version and binds the file to the agent, or leaves it as it is.
    async fn migrate(
        &self,
        SqliteOptions { path, did, .. }: &SqliteOptions,
    ) -> Result<Migrated, SqliteError> {
        let unusable = |fault: Fault| SqliteError::of(path, &fault);
        let mut session = self.write().await.map_err(unusable)?;
        let migrated = schema::migrate(&mut session, &Dialect::Sqlite).await.map_err(unusable)?;
        if let Some(did) = schema::bind(&mut session, did).await.map_err(unusable)? {
            return Err(SqliteError::OtherAgent { path: path.clone(), did });
        }
        session.commit().await.map_err(unusable)?;
        Ok(migrated)
    }

    /// Ends the leases of processes that are gone: of runs, and of deliveries. What waits after a failure goes on waiting.
    async fn end_leases(&self) -> Result<(), Fault> {
        let mut session = self.write().await?;
        session.execute("UPDATE {s}bindu_tasks SET lease_until = 0 WHERE phase = 0", Vec::new()).await?;
        session.execute("UPDATE {s}bindu_pushes SET due = 0 WHERE failures = 0", Vec::new()).await?;
        session.commit().await
    }
}

fn is_missing(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Makes the file if there is none, and refuses the file systems of networks. An error names the file `for_path`.
pub(super) fn prepare(path: &Path, for_path: &Path) -> Result<(), SqliteError> {
    let cannot = |source: io::Error| SqliteError::Open { path: for_path.to_owned(), source };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(cannot)?;
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err(cannot(io::Error::other("it is no regular file")));
    }
    let system = rustix::fs::fstatfs(&file).map_err(|error| cannot(error.into()))?;
    // The type of the field differs between platforms; the numbers have 32 bits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "magic numbers have 32 bits")]
    let magic = system.f_type as u32;
    match network(magic) {
        Some(kind) => Err(SqliteError::Network { path: for_path.to_owned(), kind }),
        None => Ok(()),
    }
}

fn network(magic: u32) -> Option<&'static str> {
    NETWORK.iter().find(|(number, _)| *number == magic).map(|(_, kind)| *kind)
}

impl Backend for SqliteBackend {
    type Session = Open<Sqlite>;

    async fn write(&self) -> Result<Self::Session, Fault> {
        let connection = self.writer.take().await.map_err(|error| fault::<Sqlite>(&error))?;
        // One that begins as a reader could not become a writer if somebody else has written meanwhile.
        Open::begin(connection, "BEGIN IMMEDIATE", Dialect::Sqlite).await
    }

    async fn read(&self) -> Result<Self::Session, Fault> {
        let connection = self.readers.take().await.map_err(|error| fault::<Sqlite>(&error))?;
        Open::begin(connection, "BEGIN", Dialect::Sqlite).await
    }

    async fn glance(&self) -> Result<Self::Session, Fault> {
        let connection = self.readers.take().await.map_err(|error| fault::<Sqlite>(&error))?;
        Ok(Open::single(connection, Dialect::Sqlite))
    }

    /// The writer stays: its end would be a checkpoint.
    fn rest(&self) {
        self.readers.rest();
    }

    fn lanes(&self) -> usize {
        1
    }

    fn long_reads(&self) -> usize {
        READERS as usize / 2
    }

    fn poll_interval(&self) -> Duration {
        POLL
    }

    fn lost(&self) {}

    fn tell(&self, _news: &[([u8; 32], u64)]) {}

    async fn size(&self) -> Option<(u64, u64)> {
        let mut session = self.read().await.ok()?;
        let pages = session.rows("PRAGMA page_count", Vec::new()).await.ok()?;
        let free = session.rows("PRAGMA freelist_count", Vec::new()).await.ok()?;
        session.commit().await.ok()?;
        let pages = pages.first()?.count(0).ok()?.saturating_sub(free.first()?.count(0).ok()?);
        Some((pages * u64::from(PAGE), self.max_bytes))
    }

    async fn left(&self, session: &mut Self::Session) -> Result<Option<u64>, Fault> {
        // Asked each time only if it could matter before it is asked again.
        let known = self.left.load(Ordering::Relaxed);
        if known > AMPLE && !self.looks.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EACH) {
            return Ok(Some(known));
        }
        let pages = "SELECT (SELECT page_count FROM pragma_page_count), \
            (SELECT freelist_count FROM pragma_freelist_count)";
        let rows = session.rows(pages, Vec::new()).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let used = row.count(0)?.saturating_sub(row.count(1)?) * u64::from(PAGE);
        let left = self.max_bytes.saturating_sub(used).saturating_sub(self.beside());
        self.left.store(left, Ordering::Relaxed);
        Ok(Some(left))
    }

    fn beside(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |log| log.len().saturating_sub(LOG))
    }

    /// What is refused for want of room writes nothing, and so nothing else would begin the log anew when its last reader has gone.
    async fn shorten(&self) {
        let Ok(mut session) = self.glance().await else { return };
        // Holds nobody up, and says whether somebody reads in it: busy, frames, those that are in the file.
        let rows = session.rows("PRAGMA wal_checkpoint(PASSIVE)", Vec::new()).await.unwrap_or_default();
        let is_whole = |row: &Row| row.int(0) == Ok(0) && row.int(1) == row.int(2);
        if rows.first().is_some_and(is_whole) {
            let _ = session.rows("PRAGMA wal_checkpoint(TRUNCATE)", Vec::new()).await;
        }
        let _ = session.commit().await;
    }

    fn connections(&self) -> (u64, u64) {
        let ((writers, idle_writers), (readers, idle)) = (self.writer.count(), self.readers.count());
        (writers + readers, idle_writers + idle)
    }

    fn max_connections(&self) -> u64 {
        (self.writer.most() + self.readers.most()) as u64
    }

    fn kind(&self) -> StorageKind {
        StorageKind::Sqlite
    }
}

impl Sql for Sqlite {
    const TOGETHER: bool = true;

    async fn simple(connection: &mut SqliteConnection, text: &str) -> Result<(), sqlx::Error> {
        connection.execute(sqlx::raw_sql(AssertSqlSafe(text))).await.map(|_| ())
    }

    async fn fetch(
        connection: &mut SqliteConnection,
        text: String,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let mut query = sqlx::query(AssertSqlSafe(text));
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
                        "TEXT" => Value::Text(row.try_get_unchecked(at)?),
                        "BLOB" => Value::Bytes(row.try_get_unchecked(at)?),
                        _ => Value::Int(row.try_get_unchecked(at)?),
                    })
                });
                values.collect::<Result<Vec<_>, sqlx::Error>>().map(Row)
            })
            .try_collect()
            .await
    }

    async fn run(
        connection: &mut SqliteConnection,
        text: String,
        values: Vec<Value>,
    ) -> Result<u64, sqlx::Error> {
        let mut query = sqlx::query(AssertSqlSafe(text));
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

    /// By the primary result code, the low byte of the extended one.
    fn meaning(code: &str, text: String) -> Fault {
        match code.parse::<u32>().map(|code| (code & 0xff, code)) {
            // Busy, locked, input or output, cannot open, protocol, read-only.
            Ok((5 | 6 | 10 | 14 | 15 | 8, _)) => Fault::Away(text),
            // Corrupt, not a database: nothing that this process could do.
            Ok((11 | 26, _)) => Fault::Away(format!("{DAMAGED}: {text}")),
            Ok((13, _)) => Fault::Full(text),
            // A primary key or a unique index.
            Ok((_, 1555 | 2067)) => Fault::Again(text),
            _ => Fault::Refused(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_networks_are_known_by_their_numbers() {
        assert_eq!(network(0x6969), Some("NFS"));
        assert_eq!(network(0xff53_4d42), Some("CIFS"));
        for local in [0xef53, 0x0102_1994, 0x9123_683e, 0x5846_5342, 0x794c_7630] {
            assert_eq!(network(local), None, "ext4, tmpfs, btrfs, xfs, overlay");
        }
    }
}
