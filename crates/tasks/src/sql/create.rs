//! Making a new file of SQLite's: whole under a temporary name, synced once, then renamed. SQLite itself would sync at each of
//! its steps, and a crash in between would leave half a file.

use super::{
    connections::Connections,
    open::{Open, Sql as _, fault},
    schema,
    session::{Dialect, Fault, Session as _},
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

/// How long opening the new file may take.
const OPENS: Duration = Duration::from_secs(10);

/// Makes a file with all tables, for whoever is alone with its directory.
pub(super) async fn create(path: &Path, page: u32) -> Result<(), SqliteError> {
    let disk = |source: io::Error| SqliteError::Open { path: path.to_owned(), source };
    let temporary = beside(path, ".new");
    for left_behind in [temporary.clone(), beside(&temporary, "-wal"), beside(&temporary, "-shm")] {
        match fs::remove_file(left_behind) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(disk(error)),
            _ => {}
        }
    }
    let made = match prepare(&temporary, path) {
        Ok(()) => make_tables(&temporary, page)
            .await
            .map_err(|fault| SqliteError::Unusable { path: path.to_owned(), problem: fault.to_string() }),
        Err(error) => Err(error),
    };
    let renamed = made.and_then(|()| rename(&temporary, path).map_err(disk));
    if renamed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

async fn make_tables(path: &Path, page: u32) -> Result<(), Fault> {
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .page_size(page)
        .journal_mode(SqliteJournalMode::Memory)
        .synchronous(SqliteSynchronous::Off);
    let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(OPENS).connect_lazy_with(connect);
    let connections = Connections::new(pool, 1, OPENS);
    let connection = connections.take().await.map_err(|error| fault::<Sqlite>(&error))?;
    let mut session = Open::begin(connection, "BEGIN IMMEDIATE", Dialect::Sqlite).await?;
    schema::migrate(&mut session, &Dialect::Sqlite).await?;
    session.commit().await?;
    let mut connection = connections.take().await.map_err(|error| fault::<Sqlite>(&error))?;
    // Noted in the file itself: whoever opens it has nothing to change.
    Sqlite::simple(connection.get()?, "PRAGMA journal_mode = WAL")
        .await
        .map_err(|error| fault::<Sqlite>(&error))?;
    connection.give_back();
    connections.close().await;
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<(), io::Error> {
    File::open(from)?.sync_all()?;
    fs::rename(from, to)?;
    match to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(directory) => File::open(directory)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}
