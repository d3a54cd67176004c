//! Signed requests that have changed something, remembered so that each runs once.
//!
//! Nothing is forgotten before its signature has run out on every clock that was taken for right: a signature may be
//! dated [`WINDOW_SECONDS`] ahead and counts to the end of that second [`WINDOW_SECONDS`] later. Who has too many of
//! them waits. The memory ends with the process, so what was signed before its start is not run. Nor is what was signed
//! in a second of which something is forgotten: on a clock that is not set back it has run out, too.

use super::{AuthRefusal, Owner, signature::Proof};
use bindu_identity::request_signature::WINDOW_SECONDS;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// How long a request is remembered.
const KEPT: Duration = Duration::from_secs(2 * WINDOW_SECONDS + 1);

/// How many are remembered in all, and the most that one caller's quota can be; each takes some 260 bytes.
pub const MOST_REMEMBERED: usize = 500_000;

/// How many seconds of the past are known in which something was signed that is forgotten: a day's at least.
const MOST_FORGOTTEN: usize = 100_000;

/// A clock that is set back by no more than this since the start was right at the start, as far as anybody knows.
const LIKELY_STEP: Duration = Duration::from_secs(600);

/// How long a repeat waits for the first one, which may be on its way at this very moment.
const WAIT: Duration = Duration::from_secs(1);

/// What has run.
pub(crate) struct Replays {
    state: Mutex<State>,
    quota: usize,
    began: Instant,
    /// The start by the clock as it was then.
    began_at: Duration,
}

#[derive(Default)]
struct State {
    seen: HashMap<[u8; 32], Outcome>,
    /// In order of their ends.
    ends: VecDeque<End>,
    /// The seconds in which those were signed that are forgotten.
    forgotten: BTreeSet<u64>,
    of_owner: HashMap<Owner, usize>,
}

struct End {
    at: Instant,
    digest: [u8; 32],
    signed_at: u64,
    owner: Owner,
}

enum Outcome {
    Running,
    /// The task that it was about.
    Done(Box<str>),
}

/// What is to be done with a signed request that changes something.
pub(crate) enum Turn<'a> {
    /// Run it, then say what came of it.
    First(Ticket<'a>),
    /// It has run: this is its task.
    Repeat(String),
}

/// A request that runs. Dropped without [`Ticket::done`], it has changed nothing and may come again.
pub(crate) struct Ticket<'a> {
    replays: &'a Replays,
    proof: Proof,
    is_done: bool,
}

impl Replays {
    pub(crate) fn new(quota: usize) -> Self {
        Self { state: Mutex::default(), quota, began: Instant::now(), began_at: wall_clock() }
    }

    /// How many are remembered.
    pub(crate) fn remembered(&self) -> usize {
        self.lock().ends.len()
    }

    /// Whether a request runs, and what came of it where it has run already.
    pub(crate) async fn turn(&self, owner: &Owner, proof: &Proof) -> Result<Turn<'_>, AuthRefusal> {
        if proof.signed_at <= self.began_by(wall_clock().saturating_sub(self.began.elapsed())).as_secs() {
            return Err(AuthRefusal::BeforeStart);
        }
        let waiting = Instant::now();
        loop {
            if let Some(turn) = self.try_turn(owner, proof)? {
                return Ok(turn);
            }
            if waiting.elapsed() > WAIT {
                return Err(AuthRefusal::Replayed);
            }
            // It takes microseconds; nobody is worth waking for that.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The start: by the clock as it was then, or as it is today, whichever is later. A clock that was hours ahead at the
    /// start and was put right since must not lock everybody out for as long: then today's counts.
    fn began_by(&self, today: Duration) -> Duration {
        match self.began_at.checked_sub(today) {
            Some(step) if step <= LIKELY_STEP => self.began_at,
            _ => today,
        }
    }

    /// `None` while the first one runs.
    fn try_turn(&self, owner: &Owner, proof: &Proof) -> Result<Option<Turn<'_>>, AuthRefusal> {
        let state = &mut *self.lock();
        let now = Instant::now();
        state.forget(now);
        match state.seen.get(&proof.digest) {
            Some(Outcome::Running) => return Ok(None),
            Some(Outcome::Done(task)) => return Ok(Some(Turn::Repeat(task.to_string()))),
            None if state.forgotten.contains(&proof.signed_at) => return Err(AuthRefusal::Replayed),
            None => {}
        }
        let of_owner = state.of_owner.get(owner).copied().unwrap_or_default();
        if of_owner >= self.quota || state.ends.len() >= MOST_REMEMBERED {
            return Err(AuthRefusal::TooManyRemembered);
        }
        state.seen.insert(proof.digest, Outcome::Running);
        Ok(Some(Turn::First(Ticket { replays: self, proof: proof.clone(), is_done: false })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

impl State {
    fn forget(&mut self, now: Instant) {
        while self.ends.front().is_some_and(|end| end.at <= now) {
            let Some(end) = self.ends.pop_front() else { return };
            self.forgotten.insert(end.signed_at);
            if self.forgotten.len() > MOST_FORGOTTEN {
                self.forgotten.pop_first();
            }
            self.seen.remove(&end.digest);
            if let Some(count) = self.of_owner.get_mut(&end.owner) {
                *count -= 1;
                if *count == 0 {
                    self.of_owner.remove(&end.owner);
                }
            }
        }
    }
}

impl Ticket<'_> {
    /// Notes which task came of it.
    pub(crate) fn done(mut self, owner: &Owner, task_id: &str) {
        let state = &mut *self.replays.lock();
        let Proof { digest, signed_at } = self.proof;
        state.seen.insert(digest, Outcome::Done(task_id.into()));
        state.ends.push_back(End { at: Instant::now() + KEPT, digest, signed_at, owner: owner.clone() });
        *state.of_owner.entry(owner.clone()).or_default() += 1;
        self.is_done = true;
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.replays.lock().seen.remove(&self.proof.digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(number: u8) -> Proof {
        Proof { digest: [number; 32], signed_at: bindu_http_client::epoch_seconds() + 1 }
    }

    async fn run(replays: &Replays, owner: &str, number: u8) -> Result<Option<String>, AuthRefusal> {
        let owner = crate::caller::owner_named(owner);
        match replays.turn(&owner, &proof(number)).await? {
            Turn::First(ticket) => {
                ticket.done(&owner, &format!("task {number}"));
                Ok(None)
            }
            Turn::Repeat(task) => Ok(Some(task)),
        }
    }

    #[tokio::test]
    async fn each_runs_once_and_the_quota_is_the_callers() {
        let replays = Replays::new(2);
        assert_eq!(run(&replays, "alice", 1).await, Ok(None));
        assert_eq!(run(&replays, "alice", 1).await, Ok(Some("task 1".to_owned())));
        assert_eq!(run(&replays, "alice", 2).await, Ok(None));
        assert_eq!(run(&replays, "alice", 3).await, Err(AuthRefusal::TooManyRemembered));
        assert_eq!(
            run(&replays, "alice", 1).await,
            Ok(Some("task 1".to_owned())),
            "nothing is forgotten early"
        );
        assert_eq!(run(&replays, "bob", 4).await, Ok(None), "another caller has a quota of its own");
    }

    #[tokio::test]
    async fn what_has_changed_nothing_may_come_again() {
        let replays = Replays::new(2);
        let owner = crate::caller::owner_named("alice");
        let Ok(Turn::First(ticket)) = replays.turn(&owner, &proof(1)).await else {
            panic!("it is the first")
        };
        assert_eq!(run(&replays, "alice", 1).await, Err(AuthRefusal::Replayed), "while it runs");
        drop(ticket);
        assert_eq!(run(&replays, "alice", 1).await, Ok(None));
    }

    #[tokio::test]
    async fn what_was_signed_before_the_start_is_not_run() {
        let replays = Replays::new(2);
        let old = Proof { digest: [1; 32], signed_at: bindu_http_client::epoch_seconds() };
        let refused = replays.turn(&crate::caller::owner_named("alice"), &old).await;
        assert!(matches!(refused, Err(AuthRefusal::BeforeStart)));
    }

    #[test]
    fn the_ended_are_forgotten() {
        let (mut state, now, owner) = (State::default(), Instant::now(), crate::caller::owner_named("alice"));
        for number in 0..3 {
            state.seen.insert([number; 32], Outcome::Running);
            let at = now + Duration::from_secs(u64::from(number));
            let signed_at = 1000 + u64::from(number);
            state.ends.push_back(End { at, digest: [number; 32], signed_at, owner: owner.clone() });
            *state.of_owner.entry(owner.clone()).or_default() += 1;
        }
        state.forget(now + Duration::from_secs(1));
        assert_eq!((state.seen.len(), state.ends.len(), state.of_owner.get(&owner)), (1, 1, Some(&1)));
        assert_eq!(state.forgotten, BTreeSet::from([1000, 1001]));
    }

    /// A clock that is set back makes old signatures count again: those that were forgotten may have run.
    #[tokio::test]
    async fn what_may_have_been_forgotten_is_not_run() {
        let replays = Replays::new(2);
        let now = bindu_http_client::epoch_seconds();
        replays.lock().forgotten.insert(now + 5);
        let old = Proof { digest: [1; 32], signed_at: now + 5 };
        let refused = replays.turn(&crate::caller::owner_named("alice"), &old).await;
        assert!(matches!(refused, Err(AuthRefusal::Replayed)));
        let new = Proof { digest: [2; 32], signed_at: now + 6 };
        assert!(replays.turn(&crate::caller::owner_named("alice"), &new).await.is_ok());
    }

    #[test]
    fn the_start_is_the_later_one_unless_the_clock_was_far_off() {
        let replays = Replays::new(2);
        let then = replays.began_at;
        for (today, want) in [
            (then, then),
            (then + Duration::from_secs(9999), then + Duration::from_secs(9999)),
            (then - Duration::from_secs(200), then),
            (then - Duration::from_secs(3600), then - Duration::from_secs(3600)),
        ] {
            assert_eq!(replays.began_by(today), want);
        }
    }
}
