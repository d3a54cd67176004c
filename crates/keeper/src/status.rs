//! What is not as it should be, for `/health`, `/readyz` and the metrics. Everything here is public: reasons come from
//! a closed set, and there is no URL, path or secret.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// Why an agent is degraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the labels are documented in docs/OPERATIONS.md")]
pub enum Reason {
    StoreUnavailable,
    StoreDenied,
    RecordMissing,
    RecordDeleted,
    RecordMalformed,
    RecordLocked,
    Foreign,
    RolledBack,
    ProvisionalKey,
    KeySuperseded,
    ClientPending,
    CredentialsMissing,
    CredentialsMalformed,
    CredentialsRolledBack,
    HydraUnavailable,
    ClientMissing,
    ClientDiffers,
    ClientOfAnotherKey,
    ClientUnaddressable,
    ClientRefused,
    ContestedClient,
    DirectoryNotWritable,
    DirectoryOfAnotherAgent,
    ClockSkew,
    BackgroundWorkFailed,
    ReconcilerStalled,
    StorageUnavailable,
}

impl Reason {
    /// Every reason, for metrics that show those that do not apply as 0.
    pub const ALL: [Self; 27] = [
        Self::StoreUnavailable,
        Self::StoreDenied,
        Self::RecordMissing,
        Self::RecordDeleted,
        Self::RecordMalformed,
        Self::RecordLocked,
        Self::Foreign,
        Self::RolledBack,
        Self::ProvisionalKey,
        Self::KeySuperseded,
        Self::ClientPending,
        Self::CredentialsMissing,
        Self::CredentialsMalformed,
        Self::CredentialsRolledBack,
        Self::HydraUnavailable,
        Self::ClientMissing,
        Self::ClientDiffers,
        Self::ClientOfAnotherKey,
        Self::ClientUnaddressable,
        Self::ClientRefused,
        Self::ContestedClient,
        Self::DirectoryNotWritable,
        Self::DirectoryOfAnotherAgent,
        Self::ClockSkew,
        Self::BackgroundWorkFailed,
        Self::ReconcilerStalled,
        Self::StorageUnavailable,
    ];

    /// A label, from a closed set.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::StoreUnavailable => "store_unavailable",
            Self::StoreDenied => "store_denied",
            Self::RecordMissing => "record_missing",
            Self::RecordDeleted => "record_deleted",
            Self::RecordMalformed => "record_malformed",
            Self::RecordLocked => "record_locked",
            Self::Foreign => "foreign",
            Self::RolledBack => "rolled_back",
            Self::ProvisionalKey => "provisional_key",
            Self::KeySuperseded => "key_superseded",
            Self::ClientPending => "client_pending",
            Self::CredentialsMissing => "credentials_missing",
            Self::CredentialsMalformed => "credentials_malformed",
            Self::CredentialsRolledBack => "credentials_rolled_back",
            Self::HydraUnavailable => "hydra_unavailable",
            Self::ClientMissing => "client_missing",
            Self::ClientDiffers => "client_differs",
            Self::ClientOfAnotherKey => "client_of_another_key",
            Self::ClientUnaddressable => "client_unaddressable",
            Self::ClientRefused => "client_refused",
            Self::ContestedClient => "contested_client",
            Self::DirectoryNotWritable => "directory_not_writable",
            Self::DirectoryOfAnotherAgent => "directory_of_another_agent",
            Self::ClockSkew => "clock_skew",
            Self::BackgroundWorkFailed => "background_work_failed",
            Self::ReconcilerStalled => "reconciler_stalled",
            Self::StorageUnavailable => "storage_unavailable",
        }
    }
}

/// More than this many seconds between our clock and a server's is worth a word: signatures last five minutes, and the
/// JWT logins of Vault allow one.
const MOST_SKEW: u64 = 60;

/// The shared state of an agent's dependencies. Written by the keeper, read by the server.
#[derive(Debug, Default)]
pub struct Status(Mutex<StatusSnapshot>);

/// A copy of the state.
#[derive(Debug, Clone, Default)]
pub struct StatusSnapshot {
    /// What is the matter with the keys.
    pub keys: Option<Reason>,
    /// If callers should be sent elsewhere because of the keys: another key than ours may be the right one.
    pub is_unproven: bool,
    /// What is the matter with the OAuth client.
    pub client: Option<Reason>,
    /// What is the matter with the data directory.
    pub directory: Option<Reason>,
    /// What is the matter with the store of tasks.
    pub storage: Option<Reason>,
    /// If the store of tasks has not answered since the start: callers should be sent elsewhere.
    pub storage_is_awaited: bool,
    /// When the store last gave a believable answer.
    pub store_seen: Option<(Instant, SystemTime)>,
    /// When Hydra last did.
    pub hydra_seen: Option<(Instant, SystemTime)>,
    /// By how many seconds our clock is ahead of the store's.
    pub store_skew: Option<i64>,
    /// By how many seconds it is ahead of Hydra's.
    pub hydra_skew: Option<i64>,
    /// How many passes of the reconciler ended well, and how many did not.
    pub passes: (u64, u64),
    /// When the last one ended; the reconciler's begin where there was none.
    pub pass_seen: Option<(Instant, SystemTime)>,
    /// Work in the background that has ended or panicked, and was begun again not long ago.
    pub failing: BTreeSet<&'static str>,
    /// How long a pass may take to come, where there is a reconciler.
    pass_due: Option<Duration>,
    /// The reasons that were logged as there.
    told: Vec<Reason>,
}

impl StatusSnapshot {
    /// All reasons, without repeats, in their order.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = [
            self.keys,
            self.client,
            self.directory,
            self.storage,
            self.clock(),
            self.background(),
            self.reconciler(),
        ]
        .into_iter()
        .flatten()
        .collect();
        reasons.sort();
        reasons.dedup();
        reasons
    }
}

impl StatusSnapshot {
    /// What is the matter with the work in the background.
    #[must_use]
    pub fn background(&self) -> Option<Reason> {
        (!self.failing.is_empty()).then_some(Reason::BackgroundWorkFailed)
    }

    /// What is the matter with the reconciler: what else is said here is as old as its last pass.
    #[must_use]
    pub fn reconciler(&self) -> Option<Reason> {
        let ((seen, _), due) = self.pass_seen.zip(self.pass_due)?;
        (seen.elapsed() > due).then_some(Reason::ReconcilerStalled)
    }

    /// What is the matter with the clock.
    #[must_use]
    pub fn clock(&self) -> Option<Reason> {
        let is_far = |skew: &i64| skew.unsigned_abs() > MOST_SKEW;
        [self.store_skew, self.hydra_skew].iter().flatten().any(is_far).then_some(Reason::ClockSkew)
    }
}

impl Status {
    /// A copy of the state as of now.
    #[must_use]
    pub fn snapshot(&self) -> StatusSnapshot {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the state, and logs each reason that comes or goes.
    pub(crate) fn update(&self, change: impl FnOnce(&mut StatusSnapshot)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = state.passes;
        change(&mut state);
        if state.passes != passes {
            state.pass_seen = Some((Instant::now(), SystemTime::now()));
        }
        let after = state.reasons();
        let before = std::mem::replace(&mut state.told, after.clone());
        drop(state);
        // Work that has begun is no trouble yet.
        let is_trouble = |reason: &&Reason| **reason != Reason::ClientPending;
        for reason in after.iter().filter(|reason| !before.contains(reason)).filter(is_trouble) {
            tracing::warn!(reason = reason.label(), "degraded");
        }
        for reason in before.iter().filter(|reason| !after.contains(reason)).filter(is_trouble) {
            tracing::info!(reason = reason.label(), "no longer degraded");
        }
    }

    /// Notes by how many seconds our clock is ahead of the store's.
    pub fn store_skew(&self, seconds: i64) {
        self.update(|state| state.store_skew = Some(seconds));
    }

    /// Notes by how many seconds our clock is ahead of Hydra's.
    pub fn hydra_skew(&self, seconds: i64) {
        self.update(|state| state.hydra_skew = Some(seconds));
    }

    /// Logs the reasons that have come or gone with the time alone.
    pub fn look(&self) {
        self.update(|_| {});
    }

    /// From now on there is a reconciler, and each of its passes is due after this time.
    pub fn expect_passes(&self, due: Duration) {
        self.update(|state| {
            state.pass_due = Some(due);
            state.pass_seen = Some((Instant::now(), SystemTime::now()));
        });
    }

    /// Notes that work in the background has ended or panicked.
    pub fn work_failed(&self, part: &'static str) {
        self.update(|state| _ = state.failing.insert(part));
    }

    /// Notes that it has gone on well since it was begun again.
    pub fn work_is_steady(&self, part: &'static str) {
        self.update(|state| _ = state.failing.remove(part));
    }

    /// Notes whether the store of tasks answers.
    pub fn task_store_answers(&self, answers: bool) {
        self.update(|state| {
            state.storage = (!answers).then_some(Reason::StorageUnavailable);
            state.storage_is_awaited &= !answers;
        });
    }

    /// Notes that the store of tasks may be away, and has to answer once before callers should come.
    pub fn await_task_store(&self) {
        self.update(|state| state.storage_is_awaited = true);
    }

    /// Notes that the data directory can't be used.
    pub fn directory_is_unusable(&self, reason: Reason) {
        self.update(|state| state.directory = Some(reason));
    }
}
