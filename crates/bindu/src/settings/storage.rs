//! Settings of where tasks are kept.

use super::{
    reader::Reader,
    registry::{
        STORAGE_CONNECTIONS, STORAGE_LISTEN_URL, STORAGE_MAX_BYTES, STORAGE_MAX_TASKS, STORAGE_RETENTION,
        STORAGE_TYPE, STORAGE_URL,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use std::{path::PathBuf, time::Duration};

/// The kinds of stores, as Python Bindu names them and one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageType {
    /// The process's memory.
    Memory,
    /// A file.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

impl StorageType {
    /// Their names.
    pub const NAMES: [(&str, Self); 3] =
        [("memory", Self::Memory), ("sqlite", Self::Sqlite), ("postgres", Self::Postgres)];
}

/// Where tasks are kept.
#[derive(Debug, Clone)]
pub enum StoragePlace {
    /// Nobody has said: `tasks.db` in the data directory, or memory.
    Unnamed,
    /// The process's memory.
    Memory,
    /// A file; none if it is `tasks.db` in the data directory.
    Sqlite(Option<PathBuf>),
    /// PostgreSQL, by its URL.
    Postgres(SecretString),
}

/// Where tasks are kept, and how much.
#[derive(Debug, Clone)]
pub struct StorageChoice {
    /// Where.
    pub place: StoragePlace,
    /// PostgreSQL without a pooler.
    pub listen_url: Option<SecretString>,
    /// How many connections to it.
    pub connections: usize,
    /// The most bytes of a file.
    pub max_bytes: usize,
    /// How long what has ended is kept.
    pub retention: Duration,
    /// How many tasks of one caller.
    pub max_tasks: usize,
}

impl Reader {
    pub(super) fn storage(&mut self) -> StorageChoice {
        let (kind, url) = (self.get(&STORAGE_TYPE), self.get(&STORAGE_URL));
        let of_url = url.as_ref().map(|url| kind_of(url.expose_secret()));
        let file = |url: &SecretString| url.expose_secret().strip_prefix("sqlite:").map(path_of);
        let place = match (kind, of_url, url) {
            (None, None, _) => StoragePlace::Unnamed,
            (Some(StorageType::Memory), ..) | (None, Some(StorageType::Memory), _) => StoragePlace::Memory,
            (Some(StorageType::Postgres) | None, Some(StorageType::Postgres), Some(url)) => {
                StoragePlace::Postgres(url)
            }
            (Some(StorageType::Sqlite) | None, Some(StorageType::Sqlite), Some(url)) => {
                StoragePlace::Sqlite(file(&url))
            }
            (Some(StorageType::Sqlite), None, _) => StoragePlace::Sqlite(None),
            (Some(StorageType::Postgres), None, _) => {
                self.mistakes.push("`storage.type` is `postgres` and DATABASE_URL is not set".to_owned());
                StoragePlace::Memory
            }
            _ => {
                self.mistake(&STORAGE_URL, "it is not of the kind that `storage.type` says");
                StoragePlace::Memory
            }
        };
        StorageChoice {
            place,
            listen_url: self.get(&STORAGE_LISTEN_URL),
            connections: self.value(&STORAGE_CONNECTIONS),
            max_bytes: self.value(&STORAGE_MAX_BYTES),
            retention: self.value(&STORAGE_RETENTION),
            max_tasks: self.value(&STORAGE_MAX_TASKS),
        }
    }
}

fn kind_of(url: &str) -> StorageType {
    match url {
        "memory" => StorageType::Memory,
        url if url.starts_with("sqlite:") => StorageType::Sqlite,
        _ => StorageType::Postgres,
    }
}

/// `sqlite:PATH`, and `sqlite://PATH` as others write it.
fn path_of(text: &str) -> PathBuf {
    text.strip_prefix("//").unwrap_or(text).into()
}
