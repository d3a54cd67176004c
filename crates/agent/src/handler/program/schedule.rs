//! Which task goes to which program, and when. Pure: times are given, and what a task is doesn't matter.
//!
//! Callers do not meet here: they take turns, none has all programs to itself, and one whose input has broken a program
//! waits alone. Only a program that can't be started at all makes everybody wait.

use bindu_tasks::fair::{FairQueue, Party};
use bindu_time::Backoff;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

/// The pauses of a caller that breaks programs, and of everybody where the program can't be started.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10), 100);

/// How long a broken program counts against a caller.
const MEMORY: Duration = Duration::from_secs(60);

/// How long a caller is a suspect, if a program broke with its task and others' in it, and no program is empty for it to prove
/// that it was another's: the first time, and at most. Not [`MEMORY`] each time, since whoever leaves tasks hanging in all
/// programs, and breaks one, would make all others wait for so long.
const MIN_SUSPICION: Duration = Duration::from_secs(10);
const MAX_SUSPICION: Duration = MEMORY;

/// Callers that nothing is remembered of any more are forgotten once there are this many.
const MAX_RECORDS: usize = 1_000;

/// A place whose program was broken this often within [`MEMORY`] where callers can't be told apart is started anew after
/// a pause: one caller can be many conversations, each of which breaks one program.
const BREAKS_WITHOUT_PAUSE: usize = 10;
const PAUSE_AFTER_BREAKS: Duration = Duration::from_millis(500);

/// How long a caller that has to be alone in a program waits, at most, for those who come after it.
const MAX_OVERTAKING: Duration = Duration::from_secs(2);

/// A task's number in the schedule.
pub(super) type JobId = u64;

/// What waits.
#[derive(Debug)]
struct Waiting<J> {
    id: JobId,
    task_id: String,
    since: Instant,
    job: J,
}

/// One place for a program.
#[derive(Debug)]
struct Place {
    /// How many tasks it takes at the same time.
    capacity: usize,
    /// Whether its program runs.
    is_up: bool,
    running: Vec<Running>,
    /// Whom it is kept for as long as something runs there.
    alone: Option<Party>,
    breaks: VecDeque<Instant>,
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Running {
    id: JobId,
    party: Party,
    task_id: String,
    since: Instant,
}

/// What is remembered of a caller.
#[derive(Debug, Default)]
struct Record {
    /// When it broke programs.
    strikes: VecDeque<Instant>,
    not_before: Option<Instant>,
    /// Until when it may be the one for whom a program broke with its task and others' in it.
    suspect_until: Option<Instant>,
    /// How often it was a suspect since a task of its ended well.
    suspicions: u32,
}

/// Where a task is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whereabouts<J> {
    /// It waited, and does so no longer.
    Withdrawn(J),
    /// It is in this place.
    At(usize),
    /// It has ended.
    Nowhere,
}

/// Tasks and places.
#[derive(Debug)]
pub(super) struct Schedule<J> {
    waiting: FairQueue<Party, Waiting<J>>,
    places: Vec<Place>,
    records: HashMap<Party, Record>,
    failed_starts: u32,
    no_start_before: Option<Instant>,
    next: JobId,
}

impl<J> Schedule<J> {
    pub(super) fn new(places: usize) -> Self {
        Self {
            waiting: FairQueue::new(),
            places: (0..places).map(|_| Place::new()).collect(),
            records: HashMap::new(),
            failed_starts: 0,
            no_start_before: None,
            next: 0,
        }
    }

    /// Adds a task, which `make` makes of its number.
    pub(super) fn push(
        &mut self,
        party: Party,
        task_id: &str,
        now: Instant,
        make: impl FnOnce(JobId) -> J,
    ) -> JobId {
        let id = self.next;
        self.next += 1;
        self.waiting.push(party, Waiting { id, task_id: task_id.to_owned(), since: now, job: make(id) });
        id
    }

    /// The next task that may go somewhere, and where. To be called until there is none.
    pub(super) fn next(&mut self, now: Instant) -> Option<(usize, J)> {
        let share = share(self.places.iter().map(|place| place.capacity).sum());
        let reserved = self.reserved(now, share);
        let Self { waiting, places, records, .. } = self;
        let no_start = self.no_start_before.is_some_and(|until| until > now);
        let (party, item, place) = waiting.pop(|party, item| {
            let record = records.get(party);
            if record.is_some_and(|record| record.rests(now)) || !may_have_more(places, party, share) {
                return None;
            }
            let alone = record.is_some_and(|record| record.is_to_be_alone(now));
            let takes = |(index, place): &(usize, &Place)| {
                reserved.as_ref().is_none_or(|(at, whose)| at != index || whose == party)
                    && place.takes(party, item, alone)
                    && (place.is_up || !no_start && place.not_before.is_none_or(|until| until <= now))
            };
            let fitting = places.iter().enumerate().filter(takes);
            fitting
                .min_by_key(|(index, place)| (!place.is_up, place.running.len(), *index))
                .map(|(index, _)| index)
        })?;
        let alone = records.get(&party).is_some_and(|record| record.is_to_be_alone(now));
        let at = places.get_mut(place)?;
        at.running.push(Running {
            id: item.id,
            party: party.clone(),
            task_id: item.task_id,
            since: item.since,
        });
        if alone {
            at.alone = Some(party);
        }
        Some((place, item.job))
    }

    /// The place that is kept free for a caller that must be alone and was overtaken for long enough.
    fn reserved(&self, now: Instant, share: usize) -> Option<(usize, Party)> {
        let place = self.places.iter().enumerate().min_by_key(|(_, place)| place.running.len())?.0;
        let waits = |party: &&Party| {
            let record = self.records.get(*party);
            record.is_some_and(|record| record.is_to_be_alone(now) && !record.rests(now))
                && may_have_more(&self.places, party, share)
                && self.waiting.first(party).is_some_and(|item| {
                    let since =
                        record.and_then(|record| record.not_before).unwrap_or(item.since).max(item.since);
                    now.saturating_duration_since(since) >= MAX_OVERTAKING
                })
        };
        self.waiting.parties().find(waits).map(|party| (place, party.clone()))
    }

    /// When to look again though nothing happens.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let parties = self.waiting.parties().filter_map(|party| self.records.get(party));
        let parties = parties.flat_map(|record| [record.not_before, record.suspect_until]).flatten();
        let nobody_waits = self.waiting.parties().next().is_none();
        let starts = self.places.iter().filter_map(|place| place.not_before).chain(self.no_start_before);
        parties.chain(starts.filter(|_| !nobody_waits)).filter(|at| *at > now).min()
    }

    /// Takes back a task that nobody waits for any more.
    pub(super) fn withdraw(&mut self, party: &Party, id: JobId) -> Whereabouts<J> {
        if let Some(waiting) = self.waiting.remove(party, |waiting| waiting.id == id) {
            return Whereabouts::Withdrawn(waiting.job);
        }
        let is_there = |place: &Place| place.running.iter().any(|running| running.id == id);
        self.places.iter().position(is_there).map_or(Whereabouts::Nowhere, Whereabouts::At)
    }

    /// A place's program runs, and takes so many tasks at the same time.
    pub(super) fn up(&mut self, place: usize, capacity: usize) {
        if let Some(place) = self.places.get_mut(place) {
            (place.is_up, place.capacity) = (true, capacity.max(1));
        }
    }

    /// A task has left its place, as it should.
    pub(super) fn done(&mut self, place: usize, id: JobId) {
        self.failed_starts = 0;
        self.no_start_before = None;
        let Some(running) = self.places.get_mut(place).and_then(|place| place.leave(id)) else { return };
        if let Some(record) = self.records.get_mut(&running.party) {
            (record.suspect_until, record.suspicions) = (None, 0);
        }
    }

    /// A task that has not reached its place's program waits again, before its party's others.
    pub(super) fn give_back(&mut self, place: usize, id: JobId, job: J) {
        let Some(running) = self.places.get_mut(place).and_then(|place| place.leave(id)) else { return };
        let Running { party, task_id, since, .. } = running;
        self.waiting.push_front(party, Waiting { id, task_id, since, job });
    }

    /// A task harms its program, and is still there.
    pub(super) fn strike(&mut self, place: usize, id: JobId, now: Instant) {
        let running = self.places.get(place).map(|place| place.running.iter());
        let party = running.and_then(|mut running| running.find(|running| running.id == id));
        if let Some(party) = party.map(|running| running.party.clone()) {
            self.blame(party, now);
        }
    }

    /// A place's program is gone because of what ran there: the one caller's fault, or each one's who may have done it.
    pub(super) fn broke(&mut self, place: usize, now: Instant) {
        let Some(at) = self.places.get_mut(place) else { return };
        let parties: HashSet<Party> = at.gone().into_iter().map(|running| running.party).collect();
        if !parties.iter().all(Party::is_known) {
            at.breaks.push_back(now);
            forget_old(&mut at.breaks, now);
            if at.breaks.len() > BREAKS_WITHOUT_PAUSE {
                at.not_before = Some(now + PAUSE_AFTER_BREAKS);
            }
        }
        if parties.len() == 1 {
            parties.into_iter().for_each(|party| self.blame(party, now));
        } else {
            for party in parties {
                self.record(party, now).suspect(now);
            }
        }
    }

    /// A place's program is gone, and nobody's input was the reason.
    pub(super) fn down(&mut self, place: usize) {
        if let Some(place) = self.places.get_mut(place) {
            place.gone();
        }
    }

    /// A place's program could not be started, or has ended before it read anything.
    pub(super) fn not_started(&mut self, place: usize, now: Instant) {
        self.down(place);
        self.failed_starts += 1;
        self.no_start_before = Some(now + BACKOFF.after(self.failed_starts).most);
    }

    /// Takes out everything that waits.
    pub(super) fn drain(&mut self) -> Vec<J> {
        self.waiting.drain().into_iter().map(|waiting| waiting.job).collect()
    }

    fn blame(&mut self, party: Party, now: Instant) {
        let record = self.record(party, now);
        record.strikes.push_back(now);
        forget_old(&mut record.strikes, now);
        record.not_before =
            Some(now + BACKOFF.after(u32::try_from(record.strikes.len()).unwrap_or(u32::MAX)).most);
    }

    fn record(&mut self, party: Party, now: Instant) -> &mut Record {
        if self.records.len() >= MAX_RECORDS {
            self.records.retain(|_, record| record.is_to_be_alone(now));
        }
        self.records.entry(party).or_default()
    }
}

impl Place {
    fn new() -> Self {
        Self {
            capacity: 1,
            is_up: false,
            running: Vec::new(),
            alone: None,
            breaks: VecDeque::new(),
            not_before: None,
        }
    }

    fn takes<J>(&self, party: &Party, item: &Waiting<J>, alone: bool) -> bool {
        self.running.len() < self.capacity
            // Answers are told apart by it, and another caller may have chosen the same.
            && self.running.iter().all(|running| running.task_id != item.task_id)
            && self.alone.as_ref().is_none_or(|whose| whose == party)
            && (!alone || self.running.iter().all(|running| running.party == *party))
    }

    fn leave(&mut self, id: JobId) -> Option<Running> {
        let position = self.running.iter().position(|running| running.id == id)?;
        let running = self.running.swap_remove(position);
        if self.running.is_empty() {
            self.alone = None;
        }
        Some(running)
    }

    fn gone(&mut self) -> Vec<Running> {
        (self.is_up, self.capacity, self.alone) = (false, 1, None);
        std::mem::take(&mut self.running)
    }
}

impl Record {
    fn rests(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|until| until > now)
    }

    fn suspect(&mut self, now: Instant) {
        let lasts = MIN_SUSPICION.saturating_mul(2u32.saturating_pow(self.suspicions)).min(MAX_SUSPICION);
        self.suspicions = self.suspicions.saturating_add(1);
        self.suspect_until = Some(now + lasts);
    }

    fn is_to_be_alone(&self, now: Instant) -> bool {
        let is_struck = self.strikes.back().is_some_and(|last| now.saturating_duration_since(*last) < MEMORY);
        is_struck || self.suspect_until.is_some_and(|until| until > now)
    }
}

/// What one caller may have of so many places: not all of them, where there are several.
fn share(all: usize) -> usize {
    if all > 1 { all - (all / 4).max(1) } else { 1 }
}

fn may_have_more(places: &[Place], party: &Party, share: usize) -> bool {
    let running = places.iter().flat_map(|place| &place.running);
    !party.is_known() || running.filter(|running| running.party == *party).count() < share
}

fn forget_old(times: &mut VecDeque<Instant>, now: Instant) {
    times.retain(|time| now.saturating_duration_since(*time) < MEMORY);
    // More would not make a pause longer.
    while times.len() > 16 {
        times.pop_front();
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
