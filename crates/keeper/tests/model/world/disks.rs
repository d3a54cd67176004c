//! Replicas: their disks, their clocks, their processes.

use super::{Secret, vault::Record};
use crate::process::Process;

/// A data directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Disk {
    pub(crate) record: Option<Record>,
    pub(crate) acknowledged: Option<(u64, bool)>,
    /// The copy of a secret, and its generation.
    pub(crate) secret: Option<(Secret, u64)>,
    /// If its owner or its mode is wrong.
    pub(crate) is_unreadable: bool,
}

/// What a replica makes of the dates in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Clock {
    #[default]
    Right,
    /// Each of them is past.
    Ahead,
    /// None is.
    Behind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Replica {
    pub(crate) disk: Disk,
    pub(crate) clock: Clock,
    pub(crate) process: Option<Process>,
}
