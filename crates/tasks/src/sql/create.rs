//! Making a new file of SQLite's: whole under a temporary name, synced once, then renamed. SQLite itself would sync at each of
//! its steps, and a crash in between would leave half a file.

use super::{
    connections::Connections,
    open::{Sql as _, fault},
    schema,
    session::Fault,
    sqlite::{SqliteError, prepare},
};
use sqlx::{
    Sqlite,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use uuid::Uuid;

/// How the name goes on of a file that has not its own yet.
const NEW: &str = ".new";

/// How long opening the new file may take.
const OPENS: Duration = Duration::from_secs(10);

/// A new file with all tables, bound to its agent, synced, under a temporary name. Dropped, it is removed.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    did: String,
    temporary: PathBuf,
}

impl NewFile {
    /// Makes it, for whoever is alone with its directory.
    pub(super) async fn make(path: &Path, did: &str, page: u32) -> Result<Self, SqliteError> {
        // Of its own name: two agents in one fresh directory find out late whose it is.
        let temporary = beside(path, &format!("{NEW}-{}", Uuid::new_v4().simple()));
        let new = Self { path: path.to_owned(), did: did.to_owned(), temporary };
        prepare(&new.temporary, path)?;
        make_tables(&new.temporary, did, page)
            .await
            .map_err(|fault| SqliteError::Unusable { path: path.to_owned(), problem: fault.to_string() })?;
        let file = File::open(&new.temporary).map_err(|error| cannot(path, error))?;
        file.sync_all().map_err(|error| cannot(path, error))?;
        Ok(new)
    }

    /// Gives it its name, unless somebody else was faster: then theirs is used. The directory is not synced here: SQLite does
    /// that at the first commit, which makes the write-ahead log; before it there is nothing to lose.
    pub(super) fn put(self) -> Result<(), SqliteError> {
        // A link never takes the place of a file, a new name does.
        let put = fs::hard_link(&self.temporary, &self.path);
        match put {
            Ok(()) => Ok(()),
            Err(_) if self.path.symlink_metadata().is_ok() => Ok(()),
            // A file system without links. (One where the temporary file is gone refuses this as well.)
            Err(_) => fs::rename(&self.temporary, &self.path).map_err(|error| cannot(&self.path, error)),
        }
    }

    /// Whether it becomes this file, of this agent.
    pub(super) fn is_for(&self, path: &Path, did: &str) -> bool {
        self.path == path && self.did == did
    }
}

impl Drop for NewFile {
    /// Once it has its name, the temporary one is left over.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Removes what attempts of before have left behind. For whoever is alone with the directory, and has no new file any more.
pub(super) fn remove_left(path: &Path) {
    let begins = beside(Path::new(path.file_name().unwrap_or_default()), NEW);
    let begins = begins.as_os_str().as_encoded_bytes();
    for entry in
        path.parent().and_then(|directory| fs::read_dir(directory).ok()).into_iter().flatten().flatten()
    {
        if entry.file_name().as_encoded_bytes().starts_with(begins) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// SQLite takes a write-ahead log for that of the file beside which it lies, whatever it holds: under a new file it would make
/// a damaged one. The log is looked for first: whoever makes the file at this moment makes its log after it.
pub(super) fn refuse_orphans(path: &Path) -> Result<(), SqliteError> {
    let left = ["-wal", "-journal"].map(|ending| beside(path, ending));
    let left = left.into_iter().find(|log| log.symlink_metadata().is_ok_and(|log| log.len() > 0));
    let is_missing = path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    match left {
        Some(log) if is_missing => Err(SqliteError::Orphan { log }),
        _ => Ok(()),
    }
}

fn cannot(path: &Path, source: io::Error) -> SqliteError {
    SqliteError::Open { path: path.to_owned(), source }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

async fn make_tables(path: &Path, did: &str, page: u32) -> Result<(), Fault> {
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .page_size(page)
        .journal_mode(SqliteJournalMode::Memory)
        .synchronous(SqliteSynchronous::Off);
    let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(OPENS).connect_lazy_with(connect);
    let connections = Connections::new(pool, 1, OPENS);
    let mut connection = connections.take().await.map_err(|error| fault::<Sqlite>(&error))?;
    Sqlite::simple(connection.get()?, &schema::script()).await.map_err(|error| fault::<Sqlite>(&error))?;
    Sqlite::run(connection.get()?, schema::BIND.to_owned(), vec![did.into()])
        .await
        .map_err(|error| fault::<Sqlite>(&error))?;
    // Noted in the file itself: whoever opens it has nothing to change.
    Sqlite::simple(connection.get()?, "PRAGMA journal_mode = WAL")
        .await
        .map_err(|error| fault::<Sqlite>(&error))?;
    connection.give_back();
    connections.close().await;
    Ok(())
}
