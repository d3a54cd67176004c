//! How much is unfinished: an owner's, and all. The counts are kept in this process, and counted again in the
//! database when they are old, or before anybody is refused: what has begun here is added and what has ended is not taken off,
//! so in one process they are never too low.
//!
//! Where other processes write as well, the shares of a transaction's owners are held until it ends, and counted within it: what others have
//! begun is in the count, and what they are about to begin waits for it. Only what is unfinished in all may be
//! exceeded, by what others have begun within a second.

use super::{
    bounds::SqlBounds,
    key::{self, Hash},
    session::{Fault, Session, Value},
    write::{Change, Rules},
};
use crate::{Owner, StoreError, Submission};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How old a count may be: what other replicas have begun since is not in it.
const AGE: Duration = Duration::from_secs(1);

/// How many owners' counts are kept.
const MOST_OWNERS: usize = 10_000;

/// How many owners are counted in one statement.
const COUNTED_AT_ONCE: usize = 64;

/// How much is unfinished: an owner's tasks and their bytes, and all tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    of_one: u64,
    bytes_of_one: u64,
    of_all: u64,
}

#[derive(Debug, Clone, Copy)]
struct Counted<T> {
    count: T,
    at: Instant,
}

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    all: Option<Counted<u64>>,
    owners: HashMap<Hash, Counted<(u64, u64)>>,
}

impl Inner {
    fn keep(&mut self, owner: Hash, counted: Counted<(u64, u64)>) {
        if self.owners.len() >= MOST_OWNERS {
            self.owners.clear();
        }
        self.owners.insert(owner, counted);
    }
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An owner has another unfinished task of so many bytes, or the bytes are one's that was there.
    pub(super) fn add(&self, owner: &Hash, tasks: u64, bytes: usize) {
        let mut inner = self.lock();
        if let Some(all) = &mut inner.all {
            all.count += tasks;
        }
        if let Some(of_one) = inner.owners.get_mut(owner) {
            of_one.count.0 += tasks;
            of_one.count.1 += bytes as u64;
        }
    }

    fn forget(&self, owner: &Hash) {
        let mut inner = self.lock();
        inner.all = None;
        inner.owners.remove(owner);
    }
}

/// Holds the shares that some changes take from, and counts them.
pub(super) async fn hold<S: Session>(
    session: &mut S,
    changes: &[Change],
    rules: &Rules,
) -> Result<(), Fault> {
    if !rules.is_shared {
        return Ok(());
    }
    let all: BTreeSet<Hash> = changes.iter().filter_map(owner_of).collect();
    let senders = changes.iter().filter(|change| matches!(change, Change::Submit(_))).filter_map(owner_of);
    let senders: BTreeSet<Hash> = senders.collect();
    // All in one order: nobody waits for somebody who waits for him.
    session.hold_shares(&all.into_iter().collect::<Vec<_>>()).await?;
    let senders: Vec<Hash> = senders.into_iter().collect();
    for some in senders.chunks(COUNTED_AT_ONCE) {
        count_some(session, some, rules).await?;
    }
    Ok(())
}

/// Whose share a change takes from, if there is one.
pub(super) fn owner_of(change: &Change) -> Option<Hash> {
    let owner = match change {
        Change::Submit(submission) => &submission.owner,
        Change::Remember { task, .. } => &task.owner,
        _ => return None,
    };
    (!owner.is_everybody()).then(|| key::owner(owner))
}

/// Counts these owners' unfinished tasks.
async fn count_some<S: Session>(session: &mut S, owners: &[Hash], rules: &Rules) -> Result<(), Fault> {
    let places: Vec<String> = (1..=owners.len()).map(|place| format!("${place}")).collect();
    let count = format!(
        "SELECT owner, count(*), CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM {{s}}bindu_tasks
        WHERE owner IN ({}) AND phase = 0 GROUP BY owner",
        places.join(", ")
    );
    let at = Instant::now();
    let rows = session.rows(&count, owners.iter().map(|owner| (*owner).into()).collect()).await?;
    let mut counted: HashMap<Hash, (u64, u64)> = HashMap::with_capacity(rows.len());
    for row in rows {
        counted.insert(row.hash(0)?, (row.count(1)?, row.count(2)?));
    }
    let mut inner = rules.unfinished.lock();
    for owner in owners {
        let count = counted.get(owner).copied().unwrap_or_default();
        inner.keep(*owner, Counted { count, at });
    }
    Ok(())
}

/// What a message would take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) submission: &'a Submission,
    pub(super) owner: Hash,
    /// The bytes of the task so far, and whether it is unfinished.
    pub(super) held: Option<(usize, bool)>,
    pub(super) bytes: usize,
}

/// How many unfinished tasks there are beside it, or why a message does not fit. One that fits is counted.
pub(super) async fn take<S: Session>(
    session: &mut S,
    wanted: Wanted<'_>,
    rules: &Rules,
) -> Result<Result<u64, StoreError>, Fault> {
    let (mut share, is_old) = counted(session, wanted, rules).await?;
    let mut refusal = share.refuses(wanted, &rules.bounds);
    if is_old && matches!(refusal, Some(StoreError::TooMany | StoreError::Full)) {
        rules.unfinished.forget(&wanted.owner);
        (share, _) = counted(session, wanted, rules).await?;
        refusal = share.refuses(wanted, &rules.bounds);
    }
    if let Some(refusal) = refusal {
        return Ok(Err(refusal));
    }
    rules.unfinished.add(&wanted.owner, wanted.adds(), wanted.bytes);
    Ok(Ok(share.of_all))
}

/// Counts what is not at hand for this message, before any of a batch is taken.
pub(super) async fn look<S: Session>(
    session: &mut S,
    wanted: Wanted<'_>,
    rules: &Rules,
) -> Result<(), Fault> {
    counted(session, wanted, rules).await.map(|_| ())
}

/// As [`take`], by the counts at hand only: those of a batch that were taken before are in no row yet. Nothing for a message that
/// does not fit, or may not: it is looked at again when they are.
pub(super) fn take_at_hand(wanted: Wanted<'_>, rules: &Rules) -> Option<u64> {
    let share = {
        let inner = rules.unfinished.lock();
        let (of_one, bytes_of_one) = match wanted.submission.owner.is_everybody() {
            true => (0, 0),
            false => inner.owners.get(&wanted.owner)?.count,
        };
        Share { of_one, bytes_of_one, of_all: inner.all?.count }
    };
    if share.refuses(wanted, &rules.bounds).is_some() {
        return None;
    }
    rules.unfinished.add(&wanted.owner, wanted.adds(), wanted.bytes);
    Some(share.of_all)
}

/// What is counted, and whether any of it was counted before this very moment.
async fn counted<S: Session>(
    session: &mut S,
    wanted: Wanted<'_>,
    rules: &Rules,
) -> Result<(Share, bool), Fault> {
    let is_known = !wanted.submission.owner.is_everybody();
    let (all, of_one) = {
        let inner = rules.unfinished.lock();
        let of_one = inner.owners.get(&wanted.owner).copied();
        (inner.all.filter(|all| all.at.elapsed() < AGE), of_one.filter(|one| one.at.elapsed() < AGE))
    };
    let is_old = all.is_some() || of_one.is_some();
    let at = Instant::now();
    let of_all = match all {
        Some(all) => all.count,
        None => {
            let count = count_all(session, &rules.bounds).await?;
            rules.unfinished.lock().all = Some(Counted { count, at });
            count
        }
    };
    let (of_one, bytes_of_one) = match of_one {
        _ if !is_known => (0, 0),
        Some(one) => one.count,
        None => {
            let count = count_one(session, wanted.owner).await?;
            rules.unfinished.lock().keep(wanted.owner, Counted { count, at });
            count
        }
    };
    Ok((Share { of_one, bytes_of_one, of_all }, is_old))
}

/// As far as it matters.
async fn count_all<S: Session>(session: &mut S, bounds: &SqlBounds) -> Result<u64, Fault> {
    let count =
        "SELECT count(*) FROM (SELECT 1 AS one FROM {s}bindu_tasks WHERE phase = 0 LIMIT $1) AS found";
    let most: Value = bounds.unfinished.saturating_add(1).into();
    session.rows(count, vec![most]).await?.first().map_or(Ok(0), |row| row.count(0))
}

async fn count_one<S: Session>(session: &mut S, owner: Hash) -> Result<(u64, u64), Fault> {
    let count = "SELECT count(*), CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM {s}bindu_tasks
        WHERE owner = $1 AND phase = 0";
    let rows = session.rows(count, vec![owner.into()]).await?;
    rows.first().map_or(Ok((0, 0)), |row| Ok((row.count(0)?, row.count(1)?)))
}

impl Wanted<'_> {
    /// How many unfinished tasks there are more with it.
    fn adds(&self) -> u64 {
        u64::from(!self.held.is_some_and(|(_, is_unfinished)| is_unfinished))
    }
}

impl Share {
    fn refuses(self, wanted: Wanted<'_>, bounds: &SqlBounds) -> Option<StoreError> {
        let Self { of_one, bytes_of_one, of_all } = self;
        let (adds, bytes) = (wanted.adds(), wanted.bytes);
        let is_known = wanted.submission.owner != Owner::Everybody;
        let is_above = |count: u64, bound: usize| count > u64::try_from(bound).unwrap_or(u64::MAX);
        match () {
            () if is_known && is_above(of_one + adds, bounds.unfinished_of_one) => Some(StoreError::TooMany),
            () if wanted.held.map_or(0, |(bytes, _)| bytes) + bytes > bounds.task_bytes => {
                Some(StoreError::TooLarge)
            }
            () if is_known && is_above(bytes_of_one + bytes as u64, bounds.unfinished_bytes_of_one) => {
                Some(StoreError::TooMany)
            }
            () if adds > 0 && is_above(of_all + adds, bounds.unfinished) => Some(StoreError::Full),
            () => None,
        }
    }
}
