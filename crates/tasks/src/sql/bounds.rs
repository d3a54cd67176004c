//! How much the stores in databases keep.

use std::time::Duration;

/// How much a store in a database keeps. Messages are refused beyond it; what has ended is forgotten in the background.
#[derive(Debug, Clone)]
pub struct SqlBounds {
    /// Bytes of the messages of one task; its results may take three times as many.
    pub task_bytes: usize,
    /// Unfinished tasks of one owner, if callers can be told apart: they keep others' work waiting.
    pub unfinished_of_one: usize,
    /// Bytes of one owner's unfinished tasks, if callers can be told apart.
    pub unfinished_bytes_of_one: usize,
    /// Unfinished tasks in all.
    pub unfinished: usize,
    /// Signed requests of one owner that are remembered.
    pub remembered_of_one: usize,
    /// Push configurations of one task.
    pub pushes: usize,
    /// How long a task is kept that has ended, or that waits for its caller.
    pub age: Duration,
    /// How long a task that has ended is kept even if a file is full, so that its caller can fetch it.
    pub kept_at_least: Duration,
    /// How many of an owner's tasks are kept beside the unfinished ones: the oldest go first.
    pub tasks_of_one: usize,
    /// How many bytes of an owner's tasks are kept: the oldest go first.
    pub bytes_of_one: u64,
}

impl Default for SqlBounds {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            task_bytes: 16 * MIB,
            unfinished_of_one: 1_000,
            unfinished_bytes_of_one: 64 * MIB,
            unfinished: 10_000,
            remembered_of_one: 100_000,
            pushes: 10,
            age: Duration::from_secs(7 * 24 * 3600),
            kept_at_least: Duration::from_secs(60),
            tasks_of_one: 5_000,
            bytes_of_one: 256 * MIB as u64,
        }
    }
}
