//! Tasks without HTTP: what is asked of an agent, kept, worked on and told.
//!
//! A task is a log of numbered events, its state is their fold, and a stream is the tail of the log. [`TaskStore`] keeps
//! them; its implementations pass one conformance suite. Nothing here knows a dialect, HTTP or who authenticated a caller.

mod caller;
mod store;

pub use caller::{Caller, Client, Owner};
pub use store::{
    Abandoned, Canceled, ListQuery, Numbered, Pushed, ReplayKey, RunKey, Snapshot, StoreError, Submission,
    Submitted, TaskKey, TaskPage, TaskStore, Watch,
};
