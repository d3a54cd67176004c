//! The tasks of one owner, behind one lock. What is done under it is short: contents are shared, never copied.

use super::{Bounds, Totals};
use crate::{
    Numbered, Owner, ReplayKey, RunKey, Snapshot, StoreError, Submission, Submitted, TaskKey, Watch,
};
use bindu_a2a::{
    Json,
    call::PushConfig,
    event::TaskEvent,
    model::{Message, Task, TaskState, TaskStatus},
};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map},
    sync::Arc,
};
use tokio::{sync::watch, time::Instant};

/// What an entry costs beside its events: the maps and indexes that it is in.
const ENTRY_BYTES: usize = 768;

/// What an event costs beside its content.
const EVENT_BYTES: usize = 96;

/// A last status of at most so many bytes is always taken, so that a task can end.
const LAST_WORD: usize = 4096;

/// The order in which tasks are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(Class, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// Ended, and fetched by its caller.
    Fetched,
    /// Ended.
    Ended,
    /// Waits for its caller.
    Waiting,
}

/// What a change has to keep to; and what was forgotten for it, to be dropped without the lock.
pub(super) struct Room<'a> {
    pub(super) bounds: &'a Bounds,
    pub(super) totals: &'a Totals,
    pub(super) forgotten: Vec<Entry>,
}

#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// Each in a box: a map that grows holds its places twice for a moment, and half of them are empty.
    tasks: HashMap<Arc<str>, Box<Entry>>,
    /// By the time of the last status; the sequence number tells those of the same time apart.
    by_change: BTreeMap<(Timestamp, u64), Arc<str>>,
    by_rank: BTreeMap<Rank, Arc<str>>,
    /// The tasks that messages went to, by their ids and content.
    messages: HashMap<(String, [u8; 32]), Arc<str>>,
    /// The tasks of each conversation, oldest first.
    contexts: HashMap<String, Vec<Arc<str>>>,
    remembered: HashMap<[u8; 32], Arc<str>>,
    /// In order of their ends.
    remembered_ends: VecDeque<(Instant, [u8; 32])>,
    pub(super) bytes: usize,
    pub(super) active: usize,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) task: Arc<Task>,
    events: Vec<TaskEvent>,
    run: u64,
    bytes: usize,
    changed: (Timestamp, u64),
    rank: Option<(Rank, Instant)>,
    message_keys: Vec<(String, [u8; 32])>,
    watch: Option<watch::Sender<u64>>,
    pub(super) pushes: BTreeMap<String, Push>,
    feedback: Option<Json>,
}

/// A push configuration, and how far it is.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) config: PushConfig,
    pub(super) delivered: u64,
    pub(super) failures: u32,
    /// Not before this.
    pub(super) due: Instant,
}

/// A snapshot whose task is not copied yet: that is done without the lock.
pub(super) struct Shared {
    task: Arc<Task>,
    number: u64,
}

impl Shared {
    pub(super) fn id(&self) -> &str {
        &self.task.id
    }

    pub(super) fn snapshot(self) -> Snapshot {
        Snapshot { task: Arc::unwrap_or_clone(self.task), number: self.number }
    }
}

/// [`Submitted`], not copied yet.
pub(super) struct Accepted {
    pub(super) task: Shared,
    pub(super) run: Option<u64>,
    pub(super) superseded: Option<u64>,
}

impl Accepted {
    pub(super) fn submitted(self, key: &TaskKey) -> Submitted {
        let run = |run| RunKey { task: key.clone(), run };
        Submitted { task: self.task.snapshot(), run: self.run.map(run), superseded: self.superseded.map(run) }
    }
}

/// What keeps a message from being taken: something that making room in all shelves may change, or not.
pub(super) enum NotTaken {
    NoRoomInAll,
    Refused(StoreError),
}

impl From<StoreError> for NotTaken {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl Shelf {
    /// Takes a message.
    pub(super) fn submit(
        &mut self,
        submission: &Submission,
        room: &mut Room<'_>,
    ) -> Result<Accepted, NotTaken> {
        let (bounds, totals) = (room.bounds, room.totals);
        let Submission { owner, message, content, .. } = submission;
        self.forget_remembered(totals);
        if let Some(replay) = &submission.replay {
            self.check_replay(owner, replay)?;
        }
        let message_key = content.map(|content| (message.id.clone(), content));
        if let Some(id) = message_key.as_ref().and_then(|key| self.messages.get(key)) {
            let entry = self.tasks.get(id).ok_or(StoreError::NotFound)?;
            return Ok(Accepted { task: entry.shared(), run: None, superseded: None });
        }
        let (state, held) = match self.tasks.get(&*message.task_id) {
            Some(entry) => (Some(entry.task.status.state), entry.bytes),
            None if submission.may_begin => (None, 0),
            None => return Err(StoreError::NotFound.into()),
        };
        if let Some(state) = state.filter(|state| state.is_terminal()) {
            return Err(StoreError::Ended(state).into());
        }
        let adds = usize::from(!state.is_some_and(TaskState::is_active));
        let known = !owner.is_everybody();
        if known && self.active + adds > bounds.unfinished_of_one {
            return Err(StoreError::TooMany.into());
        }
        if submission.replay.is_some() && self.remembered.len() >= bounds.remembered_of_one {
            return Err(StoreError::TooManyRemembered.into());
        }
        let key_bytes = message_key.as_ref().map_or(0, |(id, _)| 2 * id.len() + 128);
        let push_bytes = submission.push.as_ref().map_or(0, push_bytes);
        let new = usize::from(state.is_none());
        let bytes = message.bytes() + 2 * EVENT_BYTES + key_bytes + push_bytes + new * entry_bytes(message);
        let share = if known { bounds.bytes_of_one } else { bounds.bytes };
        if held + bytes > share {
            return Err(StoreError::TooLarge.into());
        }
        let tasks = if known { bounds.tasks_of_one } else { bounds.tasks };
        let fits = |shelf: &Self| shelf.tasks.len() + new <= tasks && shelf.bytes + bytes <= share;
        if !self.forget_until(fits, Some(&message.task_id), room) {
            // With everybody's tasks on this shelf, it is the whole store that is full.
            return Err(if known { StoreError::TooMany } else { StoreError::Full }.into());
        }
        if !totals.take(new, bytes, bounds) {
            return Err(NotTaken::NoRoomInAll);
        }
        self.bytes += bytes;
        if let Some(replay) = &submission.replay
            && let Err(error) = self.keep_replay(replay, &message.task_id, bounds, totals)
        {
            self.bytes -= bytes;
            totals.give(new, bytes);
            return Err(error.into());
        }
        Ok(self.keep(submission, message_key, bytes, totals)?)
    }

    /// Puts a message in for which there is room.
    fn keep(
        &mut self,
        submission: &Submission,
        message_key: Option<(String, [u8; 32])>,
        bytes: usize,
        totals: &Totals,
    ) -> Result<Accepted, StoreError> {
        let message = &submission.message;
        let status = TaskStatus { state: TaskState::Submitted, message: None, timestamp: Timestamp::now() };
        let id: Arc<str> = match self.tasks.get_key_value(&*message.task_id) {
            Some((id, _)) => Arc::clone(id),
            None => self.begin(message, &status, totals),
        };
        if let Some(key) = &message_key {
            self.messages.insert(key.clone(), Arc::clone(&id));
        }
        let entry = self.tasks.get_mut(&id).ok_or(StoreError::NotFound)?;
        let superseded = entry.task.status.state.is_active().then_some(entry.run).filter(|run| *run > 0);
        entry.run += 1;
        entry.bytes += bytes;
        entry.message_keys.extend(message_key);
        let run = entry.run;
        let events = vec![TaskEvent::Message(Arc::clone(message)), TaskEvent::Status(status)];
        self.apply(&id, events, false, totals);
        let entry = self.tasks.get_mut(&id).ok_or(StoreError::NotFound)?;
        if let Some(config) = submission.push.clone() {
            entry.put_push(config);
        }
        Ok(Accepted { task: entry.shared(), run: Some(run), superseded })
    }

    fn begin(&mut self, message: &Message, status: &TaskStatus, totals: &Totals) -> Arc<str> {
        let id: Arc<str> = message.task_id.as_str().into();
        let changed = (status.timestamp, totals.next());
        let entry = Entry {
            task: new_task(message, status),
            events: Vec::new(),
            run: 0,
            bytes: 0,
            changed,
            rank: None,
            message_keys: Vec::new(),
            watch: None,
            pushes: BTreeMap::new(),
            feedback: None,
        };
        self.active += 1;
        self.by_change.insert(changed, Arc::clone(&id));
        match self.contexts.entry(message.context_id.clone()) {
            hash_map::Entry::Occupied(mut tasks) => tasks.get_mut().push(Arc::clone(&id)),
            // Mostly the only one.
            hash_map::Entry::Vacant(tasks) => _ = tasks.insert(vec![Arc::clone(&id)]),
        }
        self.tasks.insert(Arc::clone(&id), Box::new(entry));
        id
    }

    /// Adds a run's events.
    pub(super) fn append(
        &mut self,
        run: &RunKey,
        after: Option<u64>,
        events: Vec<TaskEvent>,
        room: &mut Room<'_>,
    ) -> Result<u64, StoreError> {
        let (bounds, totals) = (room.bounds, room.totals);
        let known = !run.task.owner.is_everybody();
        let entry = self.tasks.get_mut(&*run.task.id).ok_or(StoreError::Superseded)?;
        if entry.run != run.run || entry.task.status.state.is_terminal() {
            return Err(StoreError::Superseded);
        }
        let number = entry.number();
        if after.is_some_and(|after| after != number) {
            return Err(StoreError::Moved(number));
        }
        let all_but_last = events.split_last().map(|(_, others)| others).unwrap_or_default();
        if all_but_last.iter().any(ends) {
            return Err(StoreError::Superseded);
        }
        let bytes: usize = events.iter().map(|event| event.bytes() + EVENT_BYTES).sum();
        let share = if known { bounds.bytes_of_one } else { bounds.bytes };
        let is_last_word = bytes <= LAST_WORD && events.first().is_some_and(ends);
        let fits = |shelf: &Self| shelf.bytes + bytes <= share;
        // Those that were fetched give way to results.
        self.forget_until(fits, Some(&run.task.id), room);
        let is_too_much = self.bytes + bytes > share.saturating_mul(bounds.results);
        if !totals.take_result(bytes, is_last_word, bounds) {
            return Err(StoreError::TooLarge);
        }
        if is_too_much && !is_last_word {
            totals.give(0, bytes);
            return Err(StoreError::TooLarge);
        }
        self.bytes += bytes;
        let Some((id, _)) = self.tasks.get_key_value(&*run.task.id) else {
            return Err(StoreError::Superseded);
        };
        let id = Arc::clone(id);
        if let Some(entry) = self.tasks.get_mut(&id) {
            entry.bytes += bytes;
        }
        Ok(self.apply(&id, events, false, totals))
    }

    /// Cancels a task.
    pub(super) fn cancel(&mut self, id: &str, totals: &Totals) -> Result<(Shared, Option<u64>), StoreError> {
        let (id, entry) = self.tasks.get_key_value(id).ok_or(StoreError::NotFound)?;
        let (id, state, run) = (Arc::clone(id), entry.task.status.state, entry.run);
        if state.is_terminal() {
            return Err(StoreError::Ended(state));
        }
        let status = TaskStatus { state: TaskState::Canceled, message: None, timestamp: Timestamp::now() };
        // Whoever cancels it gets to see it.
        self.apply(&id, vec![TaskEvent::Status(status)], true, totals);
        let entry = self.tasks.get(&id).ok_or(StoreError::NotFound)?;
        Ok((entry.shared(), Some(run)))
    }

    /// Adds events to the log, and keeps the counts and indexes.
    fn apply(&mut self, id: &Arc<str>, events: Vec<TaskEvent>, is_fetched: bool, totals: &Totals) -> u64 {
        let Some(entry) = self.tasks.get_mut(id) else { return 0 };
        let was_active = entry.task.status.state.is_active();
        let task = Arc::make_mut(&mut entry.task);
        for event in &events {
            task.apply(event);
        }
        let is_active = task.status.state.is_active();
        let has_status = events.iter().any(|event| matches!(event, TaskEvent::Status(_)));
        let before = entry.changed;
        if has_status {
            entry.changed = (task.status.timestamp, totals.next());
        }
        let rank_before = entry.rank.take();
        entry.rank = entry.rank_now(is_fetched, totals);
        entry.events.extend(events);
        let number = entry.number();
        if let Some(watch) = &entry.watch {
            watch.send_replace(number);
        }
        if entry.has_ended() {
            // Whoever is told looks, and waits no more.
            entry.watch = None;
            entry.events.shrink_to_fit();
        }
        let (changed, rank) = (entry.changed, entry.rank);
        self.active = self.active + usize::from(is_active) - usize::from(was_active);
        if changed != before {
            self.by_change.remove(&before);
            self.by_change.insert(changed, Arc::clone(id));
        }
        if let Some((rank, _)) = rank_before {
            self.by_rank.remove(&rank);
        }
        if let Some((rank, _)) = rank {
            self.by_rank.insert(rank, Arc::clone(id));
        }
        number
    }

    /// A task, for its caller.
    pub(super) fn read(&mut self, id: &str, totals: &Totals) -> Result<Shared, StoreError> {
        let shared = self.tasks.get(id).ok_or(StoreError::NotFound)?.shared();
        self.fetched(id, totals);
        Ok(shared)
    }

    /// Notes that an ended task was fetched: it is among the first to be forgotten.
    pub(super) fn fetched(&mut self, id: &str, totals: &Totals) {
        let Some((id, entry)) = self.tasks.get_key_value(id) else { return };
        let id = Arc::clone(id);
        if let Some((Rank(Class::Ended, _), since)) = entry.rank {
            let rank = Rank(Class::Fetched, totals.next());
            let Some(entry) = self.tasks.get_mut(&id) else { return };
            if let Some((old, _)) = entry.rank.replace((rank, since)) {
                self.by_rank.remove(&old);
            }
            self.by_rank.insert(rank, id);
        }
    }

    /// The events after a number.
    pub(super) fn events(
        &mut self,
        id: &str,
        after: u64,
        limit: usize,
        totals: &Totals,
    ) -> Result<Vec<Numbered>, StoreError> {
        let entry = self.tasks.get(id).ok_or(StoreError::NotFound)?;
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        let tail = entry.events.get(after..).unwrap_or_default();
        let reaches_end = tail.len() <= limit && !tail.is_empty();
        let numbers = (after as u64 + 1)..;
        let events = tail.iter().take(limit).cloned();
        let events = numbers.zip(events).map(|(number, event)| Numbered { number, event }).collect();
        if reaches_end {
            self.fetched(id, totals);
        }
        Ok(events)
    }

    pub(super) fn watch(&mut self, id: &str) -> Option<Watch> {
        let entry = self.tasks.get_mut(id).filter(|entry| !entry.has_ended())?;
        let number = entry.number();
        Some(entry.watch.get_or_insert_with(|| watch::Sender::new(number)).subscribe())
    }

    /// Whether a run still counts.
    pub(super) fn counts(&self, run: &RunKey) -> bool {
        self.tasks
            .get(&*run.task.id)
            .is_some_and(|entry| entry.run == run.run && !entry.task.status.state.is_terminal())
    }

    /// The next tasks below a place in the order of changes, newest first.
    pub(super) fn below(
        &self,
        place: Option<(Timestamp, u64)>,
        limit: usize,
    ) -> Vec<((Timestamp, u64), Arc<Task>)> {
        let until = place.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let range = self.by_change.range((std::ops::Bound::Unbounded, until)).rev().take(limit);
        range.filter_map(|(place, id)| Some((*place, Arc::clone(&self.tasks.get(id)?.task)))).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.remembered.is_empty()
    }

    pub(super) fn entry(&mut self, id: &str) -> Option<&mut Entry> {
        self.tasks.get_mut(id).map(|entry| &mut **entry)
    }

    pub(super) fn tasks_of(&self, context_id: &str) -> Vec<Arc<str>> {
        self.contexts.get(context_id).cloned().unwrap_or_default()
    }

    pub(super) fn put_push(
        &mut self,
        id: &str,
        config: PushConfig,
        bounds: &Bounds,
        totals: &Totals,
    ) -> Result<(), StoreError> {
        let bytes = push_bytes(&config);
        let entry = self.tasks.get_mut(id).ok_or(StoreError::NotFound)?;
        let is_new = !entry.pushes.contains_key(&config.id);
        // What is deleted or replaced is given back with its task only: so nobody gains by turning over.
        if is_new && entry.pushes.len() >= bounds.pushes || !totals.take(0, bytes, bounds) {
            return Err(StoreError::TooMany);
        }
        entry.bytes += bytes;
        self.bytes += bytes;
        entry.put_push(config);
        Ok(())
    }

    pub(super) fn put_feedback(
        &mut self,
        id: &str,
        feedback: Json,
        bounds: &Bounds,
        totals: &Totals,
    ) -> Result<(), StoreError> {
        let bytes = feedback.text().len();
        let entry = self.tasks.get_mut(id).ok_or(StoreError::NotFound)?;
        let before = entry.feedback.as_ref().map_or(0, |feedback| feedback.text().len());
        if self.bytes + bytes > bounds.bytes_of_one + before || !totals.take(0, bytes, bounds) {
            return Err(StoreError::TooLarge);
        }
        totals.give(0, before);
        entry.bytes = entry.bytes + bytes - before;
        self.bytes = self.bytes + bytes - before;
        entry.feedback = Some(feedback);
        Ok(())
    }

    /// Notes a signed request.
    pub(super) fn remember(
        &mut self,
        task: &TaskKey,
        replay: &ReplayKey,
        bounds: &Bounds,
        totals: &Totals,
    ) -> Result<(), StoreError> {
        self.forget_remembered(totals);
        self.check_replay(&task.owner, replay)?;
        if self.remembered.len() >= bounds.remembered_of_one {
            return Err(StoreError::TooManyRemembered);
        }
        self.keep_replay(replay, &task.id, bounds, totals)
    }

    fn check_replay(&self, owner: &Owner, replay: &ReplayKey) -> Result<(), StoreError> {
        match self.remembered.get(&replay.hash) {
            Some(id) => Err(StoreError::Replayed(TaskKey { owner: owner.clone(), id: id.to_string() })),
            None => Ok(()),
        }
    }

    fn keep_replay(
        &mut self,
        replay: &ReplayKey,
        id: &str,
        bounds: &Bounds,
        totals: &Totals,
    ) -> Result<(), StoreError> {
        if !totals.remember(bounds) {
            return Err(StoreError::TooManyRemembered);
        }
        let left = replay.until.duration_since(Timestamp::now()).unsigned_abs();
        let end = Instant::now() + left;
        // Nearly in order, as they come: a few are kept somewhat longer.
        let end = self.remembered_ends.back().map_or(end, |(last, _)| end.max(*last));
        self.remembered.insert(replay.hash, id.into());
        self.remembered_ends.push_back((end, replay.hash));
        Ok(())
    }

    pub(super) fn forget_remembered(&mut self, totals: &Totals) {
        let now = Instant::now();
        while let Some((_, hash)) = self.remembered_ends.pop_front_if(|(end, _)| *end <= now) {
            self.remembered.remove(&hash);
            totals.forget_remembered(1);
        }
    }

    /// Forgets tasks that nobody works on until it fits, in the order of their ranks; whether it does.
    pub(super) fn forget_until(
        &mut self,
        fits: impl Fn(&Self) -> bool,
        except: Option<&str>,
        room: &mut Room<'_>,
    ) -> bool {
        while !fits(self) {
            let Some(id) = self.next_to_forget(except, room.bounds) else { return false };
            room.forgotten.extend(self.forget(&id, room.totals));
        }
        true
    }

    fn next_to_forget(&self, except: Option<&str>, bounds: &Bounds) -> Option<Arc<str>> {
        let may_go = |id: &Arc<str>| {
            let (Rank(class, _), since) = self.tasks.get(id)?.rank?;
            let least = match class {
                Class::Fetched => return Some(()),
                Class::Ended => bounds.unfetched,
                Class::Waiting => bounds.waiting,
            };
            (since.elapsed() >= least).then_some(())
        };
        // Of each class the oldest comes first: if that one is too young, all are.
        [Class::Fetched, Class::Ended, Class::Waiting].into_iter().find_map(|class| {
            let mut of_class = self.by_rank.range(Rank(class, 0)..=Rank(class, u64::MAX));
            let (_, id) = of_class.find(|(_, id)| Some(&***id) != except)?;
            may_go(id).map(|()| Arc::clone(id))
        })
    }

    /// The ranks of those that may be forgotten now.
    pub(super) fn ranks(&self, bounds: &Bounds) -> Vec<(Rank, Arc<str>)> {
        let may_go = |id: &Arc<str>| {
            self.tasks.get(id).and_then(|entry| entry.rank).is_some_and(|(Rank(class, _), since)| match class
            {
                Class::Fetched => true,
                Class::Ended => since.elapsed() >= bounds.unfetched,
                Class::Waiting => since.elapsed() >= bounds.waiting,
            })
        };
        self.by_rank.iter().filter(|(_, id)| may_go(id)).map(|(rank, id)| (*rank, Arc::clone(id))).collect()
    }

    /// Forgets a task if it still has this rank.
    pub(super) fn forget_ranked(&mut self, rank: Rank, totals: &Totals) -> Option<Entry> {
        let id = Arc::clone(self.by_rank.get(&rank)?);
        self.forget(&id, totals)
    }

    /// Its tasks and bytes, once it is sure that all counts and indexes agree.
    #[cfg(test)]
    pub(super) fn check_counts(&self) -> (usize, usize) {
        let active = self.tasks.values().filter(|entry| entry.task.status.state.is_active()).count();
        assert_eq!(active, self.active);
        assert_eq!(self.tasks.len(), self.by_change.len());
        assert_eq!(self.tasks.len() - active, self.by_rank.len());
        assert_eq!(self.tasks.len(), self.contexts.values().map(Vec::len).sum::<usize>());
        let messages: usize = self.tasks.values().map(|entry| entry.message_keys.len()).sum();
        assert_eq!(messages, self.messages.len());
        let bytes: usize = self.tasks.values().map(|entry| entry.bytes).sum();
        assert_eq!(bytes, self.bytes);
        (self.tasks.len(), bytes)
    }

    /// Forgets a task with all that belongs to it.
    pub(super) fn forget(&mut self, id: &str, totals: &Totals) -> Option<Entry> {
        let entry = self.tasks.remove(id)?;
        self.bytes -= entry.bytes;
        totals.give(1, entry.bytes);
        self.active -= usize::from(entry.task.status.state.is_active());
        self.by_change.remove(&entry.changed);
        if let Some((rank, _)) = entry.rank {
            self.by_rank.remove(&rank);
        }
        for key in &entry.message_keys {
            self.messages.remove(key);
        }
        if let Some(tasks) = self.contexts.get_mut(&entry.task.context_id) {
            tasks.retain(|task| &**task != id);
            if tasks.is_empty() {
                self.contexts.remove(&entry.task.context_id);
            }
        }
        Some(*entry)
    }
}

impl Entry {
    pub(super) fn number(&self) -> u64 {
        self.events.len() as u64
    }

    pub(super) fn shared(&self) -> Shared {
        Shared { task: Arc::clone(&self.task), number: self.number() }
    }

    fn rank_now(&self, is_fetched: bool, totals: &Totals) -> Option<(Rank, Instant)> {
        let state = self.task.status.state;
        let class = match state {
            _ if state.is_active() => return None,
            _ if state.is_interrupted() => Class::Waiting,
            _ if is_fetched => Class::Fetched,
            _ => Class::Ended,
        };
        Some((Rank(class, totals.next()), Instant::now()))
    }

    /// Sets a push configuration; what it is told begins now. Of a task that has ended, it is told that.
    pub(super) fn put_push(&mut self, config: PushConfig) {
        let delivered = self.number().saturating_sub(self.has_ended().into());
        let (id, due) = (config.id.clone(), Instant::now());
        self.pushes.insert(id, Push { config, delivered, failures: 0, due });
    }

    pub(super) fn has_ended(&self) -> bool {
        self.task.status.state.is_terminal()
    }
}

fn new_task(message: &Message, status: &TaskStatus) -> Arc<Task> {
    Arc::new(Task {
        id: message.task_id.clone(),
        context_id: message.context_id.clone(),
        status: status.clone(),
        history: Vec::new(),
        artifacts: Vec::new(),
        metadata: None,
    })
}

fn ends(event: &TaskEvent) -> bool {
    matches!(event, TaskEvent::Status(status) if status.state.is_terminal())
}

fn entry_bytes(message: &Message) -> usize {
    ENTRY_BYTES + 3 * message.task_id.len() + 2 * message.context_id.len()
}

fn push_bytes(config: &PushConfig) -> usize {
    let authentication = config.authentication.as_ref();
    let credentials = authentication.and_then(|authentication| authentication.credentials.as_ref());
    size_of::<Push>()
        + config.url.len()
        + 2 * config.id.len()
        + config.task_id.len()
        + config.token.as_ref().map_or(0, String::len)
        + authentication.map_or(0, |authentication| authentication.scheme.len())
        + credentials.map_or(0, String::len)
}
