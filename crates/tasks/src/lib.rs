//! Tasks without HTTP: what is asked of an agent, kept, worked on and told.
//!
//! A task is a log of numbered events, its state is their fold, and a stream is the tail of the log. [`TaskStore`] keeps
//! them; its implementations pass one conformance suite. Nothing here knows a dialect, HTTP or who authenticated a caller.

mod caller;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod fair;
pub mod history;
mod keep;
mod limits;
mod memory;
mod push;
mod room;
mod runner;
mod send;
mod service;
mod sql;
mod store;
mod stream;
mod subscribers;
mod takeover;
#[cfg(test)]
mod tests;
mod turns;
mod unread;
mod work;

pub use caller::{Caller, Client, Owner};
pub use limits::Limits;
pub use memory::{Bounds, MemoryStore};
pub use push::{Delivery, NotDelivered, PushOutcome, PushSender, Sealer};
pub use room::{Endless, Room};
pub use service::TaskService;
pub use sql::{
    BadUrl, Figures, ImportError, Imported, LEASE, Migrated, NewFile, PostgresBackend, PostgresOptions,
    PostgresStore, Pruned, SqlBounds, SqlStore, SqliteBackend, SqliteError, SqliteOptions, SqliteStore,
    Unreachable, is_postgres_url, schema_of, unknown_parameter,
};
pub use store::{
    Abandoned, Canceled, Conversation, ListQuery, Numbered, Pushed, ReplayKey, RunKey, Snapshot, StorageKind,
    StoreError, Submission, Submitted, TaskKey, TaskPage, TaskStore, Watch,
};
pub use stream::TaskStream;
pub use work::{Job, Outlet, OutletClosed, Worker};
