//! The contract of a secret store.

use crate::{Answer, Fields, Outage, RecordName, Version, WriteError};
use std::time::Duration;

/// What the writer believes to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expected {
    /// No record, and none that was deleted.
    Absent,
    /// This very version, present, deleted or destroyed.
    Version(Version),
}

/// Something about a store's own settings that will do harm later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreWarning {
    /// What will happen to what, and why. No secret.
    pub problem: String,
    /// The commands that fix it, for an administrator of the store.
    pub fix: Vec<String>,
}

/// A store of versioned records.
///
/// - **Atomic**: a write takes effect wholly, or not at all, and only where what is there is what was expected. Of any
///   number of writers that expect the same, at most one succeeds.
/// - **Absence** is a positive statement. [`Answer::Absent`] means that a server that can know has said that there is
///   nothing; every doubt is [`Answer::Unavailable`].
/// - **Cancellation**: dropping a write's future leaves it undecided whether the write took effect. So does
///   [`WriteError::Unavailable`]. Read before drawing any conclusion: a repeated write may lose against the first.
/// - **Repeats**: reads are safe to repeat. A repeated write is safe, too, in that it can only end in
///   [`WriteError::Conflict`].
#[async_trait::async_trait]
pub trait SecretStore: Send + Sync {
    /// Reads the current version.
    async fn read(&self, name: &RecordName) -> Answer;

    /// Reads an earlier version. [`Answer::Absent`] where the store keeps that one no longer, or keeps no history.
    async fn read_version(&self, name: &RecordName, version: Version) -> Answer;

    /// Writes the next version, if what is there is what is `expected`, and returns its number.
    async fn write(
        &self,
        name: &RecordName,
        fields: &Fields,
        expected: Expected,
    ) -> Result<Version, WriteError>;

    /// What we may do with a record, in the store's own words; `root` where there are no policies.
    ///
    /// # Errors
    /// Where it can't be found out.
    async fn capabilities(&self, _name: &RecordName) -> Result<Vec<String>, Outage> {
        Ok(vec!["root".to_owned()])
    }

    /// Looks at the place of the records, for a command that checks it: what will do harm later, as far as we may see it.
    ///
    /// # Errors
    /// If the place is not what it must be, or the store can't be asked.
    async fn examine(&self, _names: &[RecordName]) -> Result<Vec<StoreWarning>, Outage> {
        Ok(Vec::new())
    }

    /// Keeps whatever the store needs to be used (a login, say) alive, for as long as it is polled.
    async fn keep(&self) {
        std::future::pending().await
    }

    /// How much longer the login lasts; `None` where there is none, it lasts for ever, or somebody else keeps it.
    fn login_lasts(&self) -> Option<Duration> {
        None
    }

    /// Gives back what was lent to us, at the end.
    async fn close(&self) {}

    /// Where a record lies, as a person would look for it: a path in Vault, a directory. No secret.
    fn locate(&self, name: &RecordName) -> String;

    /// The same with the namespace, for telling one place from another. Without the server's address: one server has many
    /// (a proxy, a service name), and a key that was acknowledged under one of them was acknowledged. No secret.
    fn place(&self, name: &RecordName) -> String {
        self.locate(name)
    }

    /// The path that a policy must name for a record; where there are no policies, where it lies.
    fn policy_path(&self, name: &RecordName) -> String {
        self.locate(name)
    }
}
