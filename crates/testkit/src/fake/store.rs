//! A [`SecretStore`] in memory, with a history, as KV version 2 keeps it.

use super::{Fate, Scripted};
use bindu_store::{
    Answer, Expected, Fields, Outage, OutageReason, Record, RecordName, SecretStore, Version, WriteError,
};
use bindu_time::Clock;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};
use tokio::time::Instant;

/// A call to a [`FakeStore`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreCall {
    /// `keys` or `credentials`.
    pub record: &'static str,
    /// What was asked.
    pub op: StoreOp,
}

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreOp {
    /// The current version.
    Read,
    /// An earlier one.
    ReadVersion(Version),
    /// A write over what is expected.
    Write(Expected),
}

/// A version of a record.
#[derive(Clone)]
enum Kept {
    There { fields: Fields, written_at: String },
    Deleted,
    Destroyed,
}

/// A store in memory.
pub struct FakeStore {
    records: Mutex<HashMap<&'static str, Vec<Kept>>>,
    scripted: Scripted<StoreCall>,
    clock: Clock,
}

impl FakeStore {
    /// An empty one of one agent; its times of day are this clock's.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { records: Mutex::default(), scripted: Scripted::new(), clock }
    }

    /// From now on this decides what happens to a call; the number counts the calls since the last
    /// [`forget_calls`](Self::forget_calls).
    pub fn script(&self, script: impl Fn(&StoreCall, usize) -> Fate + Send + Sync + 'static) {
        self.scripted.script(script);
    }

    /// All calls so far, and when they came.
    #[must_use]
    pub fn calls(&self) -> Vec<(Instant, StoreCall)> {
        self.scripted.calls()
    }

    /// Those that would write.
    #[must_use]
    pub fn writes(&self) -> Vec<(Instant, StoreCall)> {
        let is_write = |(_, call): &(Instant, StoreCall)| matches!(call.op, StoreOp::Write(_));
        self.calls().into_iter().filter(is_write).collect()
    }

    /// Forgets all calls.
    pub fn forget_calls(&self) {
        self.scripted.forget();
    }

    /// The current version of a record (`keys` or `credentials`), if there is one.
    #[must_use]
    pub fn current(&self, record: &str) -> Option<Record> {
        let records = self.records();
        let versions = records.get(record)?;
        match versions.last()? {
            Kept::There { fields, written_at } => Some(Record {
                version: versions.len() as Version,
                written_at: Some(written_at.clone()),
                fields: fields.clone(),
            }),
            Kept::Deleted | Kept::Destroyed => None,
        }
    }

    /// Somebody else writes the next version.
    pub fn put(&self, name: &RecordName, fields: Fields) {
        let written_at = self.now();
        self.records().entry(name.kind()).or_default().push(Kept::There { fields, written_at });
    }

    /// Somebody deletes the current version.
    pub fn delete(&self, name: &RecordName) {
        if let Some(last) = self.records().entry(name.kind()).or_default().last_mut()
            && matches!(last, Kept::There { .. })
        {
            *last = Kept::Deleted;
        }
    }

    /// Somebody destroys the current version.
    pub fn destroy(&self, name: &RecordName) {
        if let Some(last) = self.records().entry(name.kind()).or_default().last_mut() {
            *last = Kept::Destroyed;
        }
    }

    fn now(&self) -> String {
        self.clock.now().to_string()
    }

    fn records(&self) -> MutexGuard<'_, HashMap<&'static str, Vec<Kept>>> {
        self.records.lock().expect("no panic")
    }

    fn answer(&self, record: &str, version: Option<Version>) -> Answer {
        let records = self.records();
        let versions = records.get(record).map(Vec::as_slice).unwrap_or_default();
        let version = version.unwrap_or(versions.len() as Version);
        let kept = usize::try_from(version).ok().and_then(|version| versions.get(version.checked_sub(1)?));
        match kept {
            None => Answer::Absent,
            Some(Kept::There { fields, written_at }) => Answer::Present(Record {
                version,
                written_at: Some(written_at.clone()),
                fields: fields.clone(),
            }),
            Some(Kept::Deleted) => Answer::Deleted { version, destroyed: false },
            Some(Kept::Destroyed) => Answer::Deleted { version, destroyed: true },
        }
    }

    async fn asked(&self, record: &'static str, op: StoreOp, version: Option<Version>) -> Answer {
        match self.scripted.meet(StoreCall { record, op }).await {
            Fate::Pass | Fate::After(_) | Fate::Hang => self.answer(record, version),
            Fate::Down | Fate::LoseAnswer => Answer::Unavailable(outage()),
            Fate::Denied => Answer::Denied,
        }
    }
}

fn outage() -> Outage {
    Outage::new(OutageReason::Unreachable, "the script says so")
}

#[async_trait::async_trait]
impl SecretStore for FakeStore {
    async fn read(&self, name: &RecordName) -> Answer {
        self.asked(name.kind(), StoreOp::Read, None).await
    }

    async fn read_version(&self, name: &RecordName, version: Version) -> Answer {
        self.asked(name.kind(), StoreOp::ReadVersion(version), Some(version)).await
    }

    async fn write(
        &self,
        name: &RecordName,
        fields: &Fields,
        expected: Expected,
    ) -> Result<Version, WriteError> {
        let fate = self.scripted.meet(StoreCall { record: name.kind(), op: StoreOp::Write(expected) }).await;
        match fate {
            Fate::Down => return Err(WriteError::Unavailable(outage())),
            Fate::Denied => return Err(WriteError::Denied),
            Fate::Pass | Fate::After(_) | Fate::Hang | Fate::LoseAnswer => {}
        }
        let written_at = self.now();
        let mut records = self.records();
        let versions = records.entry(name.kind()).or_default();
        let there = versions.len() as Version;
        let is_as_expected = match expected {
            Expected::Absent => versions.is_empty(),
            Expected::Version(version) => version > 0 && version == there,
        };
        if !is_as_expected {
            return Err(WriteError::Conflict);
        }
        versions.push(Kept::There { fields: fields.clone(), written_at });
        match fate {
            Fate::LoseAnswer => Err(WriteError::Unavailable(outage())),
            _ => Ok(there + 1),
        }
    }

    fn locate(&self, name: &RecordName) -> String {
        format!("fake/{}", name.kind())
    }
}
