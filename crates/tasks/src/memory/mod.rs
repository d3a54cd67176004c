//! The store in memory. It ends with its process.
//!
//! Each owner's tasks lie behind a lock of their own, under which nothing is copied or serialised. No owner can fill the
//! store alone: beyond its share its messages are refused. What has ended is forgotten first that its caller has fetched; a
//! result that was not fetched, and a task that waits for its caller, are kept for a time that [`Bounds`] says.

mod bounds;
mod shelf;
mod totals;

pub use bounds::Bounds;

use crate::{
    Abandoned, Canceled, Conversation, ListQuery, Numbered, Owner, Pushed, ReplayKey, RunKey, Snapshot,
    StorageKind, StoreError, Submission, Submitted, TaskKey, TaskPage, TaskStore, Watch,
};
use async_trait::async_trait;
use bindu_a2a::{Json, call::PushConfig, event::TaskEvent, model::Task};
use jiff::Timestamp;
use shelf::{Entry, NotTaken, Rank, Room, Shelf};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};
use totals::Totals;

/// How many tasks of a list are looked at under one lock.
const AT_ONCE: usize = 256;

/// How many owners there are before those that have nothing here are looked for.
const MANY_OWNERS: usize = 1024;

/// For how long a delivery is its taker's.
const PUSH_LEASE: Duration = Duration::from_secs(60);

/// Keeps tasks in memory.
#[derive(Debug)]
pub struct MemoryStore {
    bounds: Bounds,
    totals: Totals,
    shelves: RwLock<HashMap<Owner, Arc<Mutex<Shelf>>>>,
    /// The tasks that have push configurations.
    pushing: Mutex<HashSet<TaskKey>>,
    /// What is told of tasks that are not there: never anything.
    never: watch::Sender<u64>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl MemoryStore {
    /// A store that keeps this much.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            totals: Totals::default(),
            shelves: RwLock::default(),
            pushing: Mutex::default(),
            never: watch::Sender::new(0),
        }
    }

    fn existing(&self, owner: &Owner) -> Option<Arc<Mutex<Shelf>>> {
        self.shelves.read().unwrap_or_else(PoisonError::into_inner).get(owner).cloned()
    }

    /// An owner's shelf, which is put up if there is none.
    fn shelf(&self, owner: &Owner) -> Arc<Mutex<Shelf>> {
        if let Some(shelf) = self.existing(owner) {
            return shelf;
        }
        let mut shelves = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
        if shelves.len() >= MANY_OWNERS && shelves.len().is_power_of_two() {
            // A shelf that somebody holds is about to be used.
            shelves.retain(|_, shelf| Arc::strong_count(shelf) > 1 || !lock(shelf).is_empty());
        }
        Arc::clone(shelves.entry(owner.clone()).or_default())
    }

    /// Forgets tasks of all owners, in the order of their ranks, until so much fits or none may go: a tenth of them at a
    /// time, so that a full store is not searched at each message.
    fn make_room(&self, new: usize, bytes: usize, except: &TaskKey) -> bool {
        let shelves: Vec<(Owner, Arc<Mutex<Shelf>>)> = {
            let shelves = self.shelves.read().unwrap_or_else(PoisonError::into_inner);
            shelves.iter().map(|(owner, shelf)| (owner.clone(), Arc::clone(shelf))).collect()
        };
        let mut ranks: Vec<(Rank, &Arc<Mutex<Shelf>>)> = Vec::new();
        for (owner, shelf) in &shelves {
            let of_owner = lock(shelf).ranks(&self.bounds);
            let may_go = |id: &str| *owner != except.owner || *id != *except.id;
            ranks.extend(of_owner.into_iter().filter(|(_, id)| may_go(id)).map(|(rank, _)| (rank, shelf)));
        }
        ranks.sort_by_key(|(rank, _)| *rank);
        let least = ranks.len() / 10;
        for (number, (rank, shelf)) in ranks.into_iter().enumerate() {
            if number >= least && self.totals.fits(new, bytes, &self.bounds) {
                break;
            }
            // Dropped without the lock.
            let forgotten: Option<Entry> = lock(shelf).forget_ranked(rank, &self.totals);
            drop(forgotten);
        }
        self.totals.fits(new, bytes, &self.bounds)
    }

    fn room(&self) -> Room<'_> {
        Room { bounds: &self.bounds, totals: &self.totals, forgotten: Vec::new() }
    }

    fn with_entry<T>(
        &self,
        task: &TaskKey,
        change: impl FnOnce(&mut Entry) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let shelf = self.existing(&task.owner).ok_or(StoreError::NotFound)?;
        let mut shelf = lock(&shelf);
        change(shelf.entry(&task.id).ok_or(StoreError::NotFound)?)
    }

    /// The bytes that are counted.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.totals.tasks_and_bytes().1
    }

    /// Whether all counts and indexes agree.
    #[cfg(test)]
    pub(crate) fn check_counts(&self) {
        let shelves = self.shelves.read().expect("no panic");
        let counts = shelves.values().map(|shelf| lock(shelf).check_counts());
        let sum = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        assert_eq!(sum, self.totals.tasks_and_bytes());
    }

    fn pushing(&self) -> MutexGuard<'_, HashSet<TaskKey>> {
        self.pushing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl TaskStore for MemoryStore {
    async fn submit(&self, submission: Submission) -> Result<Submitted, StoreError> {
        let key = TaskKey { owner: submission.owner.clone(), id: submission.message.task_id.clone() };
        let shelf = self.shelf(&key.owner);
        let mut room = self.room();
        let mut accepted = lock(&shelf).submit(&submission, &mut room);
        if matches!(accepted, Err(NotTaken::NoRoomInAll))
            && self.make_room(1, submission.message.bytes() + 4096, &key)
        {
            accepted = lock(&shelf).submit(&submission, &mut room);
        }
        drop(room);
        let accepted = accepted.map_err(|error| match error {
            NotTaken::NoRoomInAll => StoreError::Full,
            NotTaken::Refused(error) => error,
        })?;
        if submission.push.is_some() && accepted.run.is_some() {
            self.pushing().insert(key.clone());
        }
        // The very same message may have gone to another task than it names now.
        let key = TaskKey { id: accepted.task.id().to_owned(), ..key };
        Ok(accepted.submitted(&key))
    }

    async fn append_after(
        &self,
        run: &RunKey,
        after: Option<u64>,
        events: Vec<TaskEvent>,
    ) -> Result<u64, StoreError> {
        let shelf = self.existing(&run.task.owner).ok_or(StoreError::Superseded)?;
        let mut room = self.room();
        let appended = lock(&shelf).append(run, after, events, &mut room);
        drop(room);
        appended
    }

    async fn cancel(&self, task: &TaskKey) -> Result<Canceled, StoreError> {
        let shelf = self.existing(&task.owner).ok_or(StoreError::NotFound)?;
        let (shared, run) = lock(&shelf).cancel(&task.id, &self.totals)?;
        let run = run.map(|run| RunKey { task: task.clone(), run });
        Ok(Canceled { task: shared.snapshot(), run })
    }

    async fn read(&self, task: &TaskKey) -> Result<Snapshot, StoreError> {
        let shelf = self.existing(&task.owner).ok_or(StoreError::NotFound)?;
        let shared = lock(&shelf).read(&task.id, &self.totals)?;
        Ok(shared.snapshot())
    }

    async fn context_id(&self, task: &TaskKey) -> Result<String, StoreError> {
        self.with_entry(task, |entry| Ok(entry.task.context_id.clone()))
    }

    async fn list(&self, owner: &Owner, query: &ListQuery) -> Result<TaskPage, StoreError> {
        let after = match query.page_token.as_str() {
            "" => None,
            token => Some(place(token).ok_or(StoreError::BadPageToken)?),
        };
        let Some(shelf) = self.existing(owner) else { return Ok(TaskPage::default()) };
        let is_meant = |task: &Task| {
            query.context_id.as_ref().is_none_or(|id| *id == task.context_id)
                && query.state.is_none_or(|state| state == task.status.state)
                && query.changed_since.is_none_or(|since| task.status.timestamp >= since)
        };
        // Without a condition nothing but the page is looked at.
        let takes_all = query.context_id.is_none() && query.state.is_none() && query.changed_since.is_none();
        let page_size = query.page_size.max(1);
        let page_bytes = query.page_bytes.unwrap_or(usize::MAX);
        let (mut place, mut total, mut bytes, mut has_more) = (None, 0, 0, false);
        let mut found: Vec<(_, Arc<Task>)> = Vec::new();
        if takes_all {
            place = after;
        }
        loop {
            let some = lock(&shelf).below(place, AT_ONCE);
            let is_last = some.len() < AT_ONCE;
            for (at, task) in some {
                place = Some(at);
                if !is_meant(&task) {
                    continue;
                }
                total += 1;
                if has_more || after.is_some_and(|after| at >= after) {
                    continue;
                }
                bytes += task.content_bytes(query.with_artifacts);
                if found.len() < page_size && (found.is_empty() || bytes <= page_bytes) {
                    found.push((at, task));
                } else {
                    has_more = true;
                }
            }
            if is_last || takes_all && has_more {
                break;
            }
        }
        let next = found.last().map(|(at, _)| *at).filter(|_| has_more);
        let total = if takes_all { lock(&shelf).len() } else { total };
        if query.with_artifacts {
            let mut shelf = lock(&shelf);
            found.iter().for_each(|(_, task)| shelf.fetched(&task.id, &self.totals));
        }
        let shown = |task: Arc<Task>| match query.with_artifacts {
            true => Arc::unwrap_or_clone(task),
            false => Task {
                artifacts: Vec::new(),
                id: task.id.clone(),
                context_id: task.context_id.clone(),
                status: task.status.clone(),
                history: task.history.clone(),
                metadata: task.metadata.clone(),
            },
        };
        Ok(TaskPage {
            tasks: found.into_iter().map(|(_, task)| shown(task)).collect(),
            next_page_token: next.map_or_else(String::new, token),
            total_size: total,
        })
    }

    async fn events(&self, task: &TaskKey, after: u64, limit: usize) -> Result<Vec<Numbered>, StoreError> {
        let shelf = self.existing(&task.owner).ok_or(StoreError::NotFound)?;
        lock(&shelf).events(&task.id, after, limit, &self.totals)
    }

    fn watch(&self, task: &TaskKey) -> Watch {
        let watch = self.existing(&task.owner).and_then(|shelf| lock(&shelf).watch(&task.id));
        watch.unwrap_or_else(|| self.never.subscribe())
    }

    /// There are no leases: a run ends with the process, as its task does.
    async fn renew(&self, runs: &[RunKey]) -> Result<Vec<RunKey>, StoreError> {
        let counts =
            |run: &RunKey| self.existing(&run.task.owner).is_some_and(|shelf| lock(&shelf).counts(run));
        Ok(runs.iter().filter(|run| !counts(run)).cloned().collect())
    }

    async fn release(&self, _runs: &[RunKey]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn take_abandoned(&self, _limit: usize) -> Result<Vec<Abandoned>, StoreError> {
        Ok(Vec::new())
    }

    async fn remember(&self, task: &TaskKey, replay: &ReplayKey) -> Result<(), StoreError> {
        let shelf = self.shelf(&task.owner);
        lock(&shelf).remember(task, replay, &self.bounds, &self.totals)
    }

    async fn put_feedback(&self, task: &TaskKey, feedback: Json) -> Result<(), StoreError> {
        let shelf = self.existing(&task.owner).ok_or(StoreError::NotFound)?;
        lock(&shelf).put_feedback(&task.id, feedback, &self.bounds, &self.totals)
    }

    async fn put_push(&self, task: &TaskKey, config: PushConfig) -> Result<(), StoreError> {
        let shelf = self.existing(&task.owner).ok_or(StoreError::NotFound)?;
        lock(&shelf).put_push(&task.id, config, &self.bounds, &self.totals)?;
        self.pushing().insert(task.clone());
        Ok(())
    }

    async fn pushes(&self, task: &TaskKey) -> Result<Vec<PushConfig>, StoreError> {
        self.with_entry(task, |entry| Ok(entry.pushes.values().map(|push| push.config.clone()).collect()))
    }

    async fn delete_push(&self, task: &TaskKey, id: &str) -> Result<(), StoreError> {
        let left = self.with_entry(task, |entry| {
            entry.pushes.remove(id).ok_or(StoreError::NotFound)?;
            Ok(entry.pushes.len())
        })?;
        if left == 0 {
            self.pushing().remove(task);
        }
        Ok(())
    }

    async fn due_pushes(&self, limit: usize) -> Result<Vec<Pushed>, StoreError> {
        let tasks: Vec<TaskKey> = self.pushing().iter().cloned().collect();
        let (now, mut due) = (Instant::now(), Vec::new());
        for task in tasks {
            let claimed = self.with_entry(&task, |entry| {
                let number = entry.number();
                let is_due = |push: &&mut shelf::Push| push.delivered < number && push.due <= now;
                let claim = |push: &mut shelf::Push| {
                    push.due = now + PUSH_LEASE;
                    Pushed {
                        task: task.clone(),
                        config: push.config.clone(),
                        is_open: true,
                        delivered: push.delivered,
                        failures: push.failures,
                    }
                };
                let left = limit - due.len();
                Ok(entry.pushes.values_mut().filter(is_due).take(left).map(claim).collect::<Vec<_>>())
            });
            match claimed {
                Ok(claimed) => due.extend(claimed),
                // Forgotten with its task.
                Err(_) => drop(self.pushing().remove(&task)),
            }
            if due.len() >= limit {
                break;
            }
        }
        Ok(due)
    }

    async fn note_push(
        &self,
        task: &TaskKey,
        id: &str,
        outcome: Result<u64, Timestamp>,
    ) -> Result<(), StoreError> {
        self.with_entry(task, |entry| {
            let (number, has_ended) = (entry.number(), entry.has_ended());
            let push = entry.pushes.get_mut(id).ok_or(StoreError::NotFound)?;
            match outcome {
                Ok(delivered) => {
                    push.delivered = push.delivered.max(delivered);
                    push.failures = 0;
                    push.due = Instant::now();
                }
                Err(until) => {
                    push.failures = push.failures.saturating_add(1);
                    let wait = until.duration_since(Timestamp::now());
                    push.due = Instant::now() + Duration::try_from(wait).unwrap_or_default();
                }
            }
            if has_ended && push.delivered >= number {
                entry.pushes.remove(id);
            }
            Ok(())
        })
    }

    async fn contexts(&self, owner: &Owner, limit: usize) -> Result<Vec<Conversation>, StoreError> {
        let Some(shelf) = self.existing(owner) else { return Ok(Vec::new()) };
        let (mut place, mut seen, mut found) = (None, HashSet::new(), Vec::new());
        loop {
            let shelf = lock(&shelf);
            let some = shelf.below(place, AT_ONCE);
            let is_last = some.len() < AT_ONCE;
            for (at, task) in some {
                place = Some(at);
                if found.len() < limit && seen.insert(task.context_id.clone()) {
                    let tasks = shelf.tasks_of(&task.context_id).iter().map(|id| id.to_string()).collect();
                    found.push(Conversation { id: task.context_id.clone(), tasks, changed: at.0 });
                }
            }
            if is_last || found.len() >= limit {
                return Ok(found);
            }
        }
    }

    async fn forget_context(&self, owner: &Owner, context_id: &str) -> Result<usize, StoreError> {
        let shelf = self.existing(owner).ok_or(StoreError::NotFound)?;
        let forgotten: Vec<Entry> = {
            let mut shelf = lock(&shelf);
            let tasks = shelf.tasks_of(context_id);
            tasks.iter().filter_map(|id| shelf.forget(id, &self.totals)).collect()
        };
        if forgotten.is_empty() { Err(StoreError::NotFound) } else { Ok(forgotten.len()) }
    }

    fn kind(&self) -> StorageKind {
        StorageKind::Memory
    }

    fn lasts(&self) -> bool {
        false
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A cursor: the place of a page's last task.
fn token((changed, number): (Timestamp, u64)) -> String {
    format!("{}.{number}", changed.as_nanosecond())
}

fn place(token: &str) -> Option<(Timestamp, u64)> {
    let (changed, number) = token.split_once('.')?;
    Some((Timestamp::from_nanosecond(changed.parse().ok()?).ok()?, number.parse().ok()?))
}
