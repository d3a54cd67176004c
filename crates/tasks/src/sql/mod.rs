//! Task stores in databases: [`SqliteStore`] in a file, [`PostgresStore`] for replicas. What they do is written once, over
//! [`session::Session`]; `sqlite` and `postgres` are how each of them connects, locks and tells others.
//!
//! Nothing is answered that is not committed. Changes that wait at the same time are committed together (`group`).

mod address;
mod bounds;
mod bulk;
mod clock;
mod connections;
mod contact;
mod create;
mod figures;
mod group;
mod import;
mod key;
mod leases;
mod listen;
mod open;
mod parameters;
mod postgres;
mod pushes;
mod read;
mod recent;
mod remembered;
mod room;
mod schema;
mod sealing;
mod session;
mod share;
mod sqlite;
mod store;
mod stored;
mod unanswered;
mod unreachable;
mod upkeep;
mod watchers;
mod write;

pub use address::{BadUrl, is_postgres_url, schema_of};
pub use bounds::SqlBounds;
pub use create::NewFile;
pub use figures::Figures;
pub use import::{ImportError, Imported};
pub use parameters::unknown_parameter;
pub use postgres::{PostgresBackend, PostgresOptions, PostgresStore};
pub use schema::Migrated;
pub use sqlite::{SqliteBackend, SqliteError, SqliteOptions, SqliteStore};
pub use store::SqlStore;
pub use unreachable::Unreachable;
pub use upkeep::Pruned;

use std::time::Duration;

/// How long a run is its process's without a word, by the database's clock.
pub const LEASE: Duration = Duration::from_secs(30);
