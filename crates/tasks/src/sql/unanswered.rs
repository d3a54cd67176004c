//! Runs that were committed and never told to anybody: the answer to the commit was lost, or whoever waited for it has gone. Such a run
//! is nobody's, and this process, whose lease it has, gives it once more: to the first that sends the message again here, or asks
//! with [`crate::TaskStore::recover`].
//!
//! A run is known by its task, its number and the time of its status: a later run of the same message is never taken for it.

use super::{
    key::{self, Hash},
    read,
    session::{Fault, Session},
    stored,
    write::{Done, Reply, Rules},
};
use crate::{RunKey, StoreError, Submission, Submitted, TaskKey};
use bindu_a2a::model::TaskState;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How many tasks with such runs are known at most. Of more, the runs end with their leases.
const MOST: usize = 10_000;

/// For how long one is known: long after its lease has ended.
const KNOWN: Duration = Duration::from_secs(600);

/// A run that is offered to whoever has sent its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Untold {
    run: u64,
    /// The time of its status, in nanoseconds.
    changed: i64,
}

/// The runs that nobody was told of.
#[derive(Debug, Default)]
pub(super) struct Unanswered(Mutex<HashMap<Hash, Vec<(Untold, Instant)>>>);

impl Unanswered {
    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, Vec<(Untold, Instant)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Whether a task has such runs.
    pub(super) fn has(&self, task: &Hash) -> bool {
        self.lock().contains_key(task)
    }

    fn note(&self, task: Hash, untold: Untold) {
        let mut all = self.lock();
        all.retain(|_, runs| runs.iter().any(|(_, since)| since.elapsed() < KNOWN));
        if all.len() < MOST {
            all.entry(task).or_default().push((untold, Instant::now()));
        }
    }

    /// Takes a run, if it is here: nobody else gets it.
    fn take(&self, task: &Hash, untold: Untold) -> bool {
        let mut all = self.lock();
        let Some(runs) = all.get_mut(task) else { return false };
        let before = runs.len();
        runs.retain(|(one, _)| *one != untold);
        let is_taken = runs.len() < before;
        if runs.is_empty() {
            all.remove(task);
        }
        is_taken
    }
}

/// A run on its way to whoever has sent its message. Dropped on the way, it is noted, unless it is sure that it is not stored.
#[derive(Debug)]
pub(super) struct Offer {
    unanswered: Arc<Unanswered>,
    task: Hash,
    untold: Untold,
    /// Whether it was stored before this transaction.
    was_stored: bool,
    may_be_stored: bool,
}

impl Offer {
    /// Of a run that a transaction makes.
    pub(super) fn new(rules: &Rules, task: Hash, run: u64, changed: i64) -> Self {
        let unanswered = Arc::clone(&rules.unanswered);
        Self { unanswered, task, untold: Untold { run, changed }, was_stored: false, may_be_stored: false }
    }

    /// The commit is asked for.
    pub(super) fn commits(&mut self) {
        self.may_be_stored = true;
    }

    /// The commit is refused.
    pub(super) fn is_refused(&mut self) {
        self.may_be_stored = self.was_stored;
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if self.may_be_stored {
            self.unanswered.note(self.task, self.untold);
        }
    }
}

/// The answer to a message, with the run that it offers.
#[derive(Debug)]
pub(super) struct Given {
    submitted: Submitted,
    pub(super) offer: Option<Offer>,
}

impl Given {
    pub(super) fn new(submitted: Submitted, offer: Option<Offer>) -> Self {
        Self { submitted, offer }
    }

    /// What it says, for whoever keeps it beside the one who gets it.
    pub(super) fn submitted(&self) -> &Submitted {
        &self.submitted
    }

    /// Whoever has sent the message has it.
    pub(super) fn taken(self) -> Submitted {
        if let Some(mut offer) = self.offer {
            offer.may_be_stored = false;
        }
        self.submitted
    }
}

/// A message that is stored: its task, with its run if nobody was told of that.
pub(super) async fn again<S: Session>(
    session: &mut S,
    row: i64,
    submission: &Submission,
    rules: &Rules,
) -> Result<Done, Fault> {
    let offer = match rules.unanswered.is_empty() {
        true => None,
        false => offered(session, row, rules).await?,
    };
    let Some(task) = read::snapshot_of(session, row).await? else {
        return Err(Fault::Again("a task was forgotten meanwhile".to_owned()));
    };
    let key = TaskKey { owner: submission.owner.clone(), id: task.task.id.clone() };
    let run = offer.as_ref().map(|offer| RunKey { task: key, run: offer.untold.run });
    let given = Given::new(Submitted { task, run, superseded: None }, offer);
    Ok(Reply::Submitted(Box::new(given)).into())
}

/// The run of a task, if it is ours, nobody was told of it, and nothing has happened to it since.
async fn offered<S: Session>(session: &mut S, row: i64, rules: &Rules) -> Result<Option<Offer>, Fault> {
    let held = "SELECT task_key, state, run, replica, changed FROM {s}bindu_tasks WHERE task = $1 {lock}";
    let rows = session.rows(held, vec![row.into()]).await?;
    let Some(held) = rows.first() else { return Ok(None) };
    let (task, untold) = (held.hash(0)?, Untold { run: held.count(2)?, changed: held.int(4)? });
    let is_ours = held.text(3)? == rules.replica && stored::state_of(held.text(1)?)? == TaskState::Submitted;
    if !is_ours || !rules.unanswered.take(&task, untold) {
        return Ok(None);
    }
    let unanswered = Arc::clone(&rules.unanswered);
    let offer = Offer { unanswered, task, untold, was_stored: true, may_be_stored: true };
    let renew = "UPDATE {s}bindu_tasks SET lease_until = {now} + $2 WHERE task = $1";
    session.execute(renew, vec![row.into(), rules.lease_millis()]).await?;
    Ok(Some(offer))
}

/// What is stored of a message whose answer was lost.
pub(super) async fn recover<S: Session>(
    session: &mut S,
    submission: &Submission,
    rules: &Rules,
) -> Result<Done, Fault> {
    let Submission { owner, message, content, .. } = submission;
    let (find, key) = match content {
        Some(content) => (
            "SELECT task FROM {s}bindu_messages WHERE message = $1",
            key::message(owner, &message.id, content),
        ),
        None => {
            let key = TaskKey { owner: owner.clone(), id: message.task_id.clone() };
            ("SELECT task FROM {s}bindu_tasks WHERE task_key = $1", key::task(&key))
        }
    };
    let rows = session.rows(find, vec![key.into()]).await?;
    let open = || StoreError::Unavailable("whether the message is stored is not known yet".to_owned());
    let Some(row) = rows.first() else { return Ok(open().into()) };
    let done = again(session, row.int(0)?, submission, rules).await?;
    match &done.answer {
        // Without a hash only its run tells that it is this message's task.
        Ok(Reply::Submitted(given)) if content.is_none() && given.submitted.run.is_none() => {
            Ok(open().into())
        }
        _ => Ok(done),
    }
}
