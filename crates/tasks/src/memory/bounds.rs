//! How much the store in memory keeps.

use std::time::Duration;

/// How much the store in memory keeps. Messages are refused beyond it; results of work that was accepted are kept up to
/// [`Bounds::results`] times as many bytes.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Tasks in all.
    pub tasks: usize,
    /// Bytes of messages and results in all.
    pub bytes: usize,
    /// Tasks of one owner, if callers can be told apart.
    pub tasks_of_one: usize,
    /// Bytes of one owner, if callers can be told apart.
    pub bytes_of_one: usize,
    /// Unfinished tasks of one owner: they keep others' work waiting.
    pub unfinished_of_one: usize,
    /// How often the bytes may be exceeded by results.
    pub results: usize,
    /// How long the result of an ended task is kept at least, unless it was fetched.
    pub unfetched: Duration,
    /// How long a task is kept at least that waits for its caller.
    pub waiting: Duration,
    /// Signed requests of one owner that are remembered.
    pub remembered_of_one: usize,
    /// Signed requests in all that are remembered.
    pub remembered: usize,
    /// Push configurations of one task.
    pub pushes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        const TASKS: usize = 10_000;
        const BYTES: usize = 64 * 1024 * 1024;
        Self {
            tasks: TASKS,
            bytes: BYTES,
            tasks_of_one: TASKS / 2,
            bytes_of_one: BYTES / 4,
            unfinished_of_one: TASKS / 10,
            results: 3,
            unfetched: Duration::from_secs(60),
            waiting: Duration::from_secs(600),
            remembered_of_one: 100_000,
            remembered: 500_000,
            pushes: 10,
        }
    }
}
