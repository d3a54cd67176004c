//! The group commit: changes that wait at the same time are done in one transaction, and answered after its commit. One that the
//! database refuses fails alone: the others are done again without it. What is plain is done together (`bulk`) in few
//! statements; if the database refuses that, one change after the other, to find which it was.

use super::{
    bulk,
    figures::add,
    key::Hash,
    room::Room,
    session::{Backend, Fault, Session},
    share,
    store::Core,
    unanswered::Offer,
    write::{self, Change, Done, Reply},
};
use crate::StoreError;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

/// How many changes one transaction takes at most.
const MOST: usize = 128;

/// How many changes wait in one lane at most.
pub(super) const QUEUE: usize = 1024;

/// How long a transaction may take; a host that has vanished does not even refuse.
const LONGEST: Duration = Duration::from_secs(20);

/// How often a change is done again that met another one.
const AGAIN: usize = 8;

/// A change that waits.
pub(super) struct Waiting {
    pub(super) change: Change,
    /// Its task: changes of one task stay in their order, and all transactions lock tasks in one order.
    pub(super) key: Hash,
    pub(super) answer: oneshot::Sender<Result<Reply, StoreError>>,
}

/// Commits what comes, until nobody can send any more.
pub(super) async fn lane<B: Backend>(core: Arc<Core<B>>, mut waiting: mpsc::Receiver<Waiting>) {
    while let Some(first) = waiting.recv().await {
        let mut batch = vec![first];
        while batch.len() < MOST
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        batch.sort_by_key(|waiting| waiting.key);
        let taken = batch.len() as u64;
        let is_away = core.commit(batch).await;
        core.counters.queued.fetch_sub(taken, std::sync::atomic::Ordering::Relaxed);
        if let Some(problem) = is_away {
            // Those who came meanwhile would each wait as long, to hear the same.
            while let Ok(next) = waiting.try_recv() {
                core.counters.queued.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
                let _ = next.answer.send(Err(StoreError::Unavailable(problem.clone())));
            }
        }
    }
}

impl<B: Backend> Core<B> {
    /// Does a batch, and answers each; the problem if the database is away.
    async fn commit(&self, batch: Vec<Waiting>) -> Option<String> {
        let (mut changes, mut answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.change, waiting.answer)).unzip();
        let (mut again, mut together) = (0, true);
        while !changes.is_empty() {
            match self.attempt(&changes, together).await {
                Ok(done) => {
                    for (done, answer) in done.into_iter().zip(answers) {
                        let _ = answer.send(done.answer);
                    }
                    return None;
                }
                Err((_, Fault::Away(problem))) => {
                    for answer in answers {
                        let _ = answer.send(Err(StoreError::Unavailable(problem.clone())));
                    }
                    return Some(problem);
                }
                // Somebody else holds a share for long: those who take from another one do not wait for it again and again.
                Err((None, Fault::Late(_)))
                    if changes.iter().any(|change| share::owner_of(change).is_some()) =>
                {
                    return self.one_by_one(changes, answers).await;
                }
                // Which of them it was shows when they are done one after the other.
                Err((None, _)) if together => together = false,
                // Nobody knows which of them it was: the commit itself.
                Err((None, _)) => return self.one_by_one(changes, answers).await,
                Err((Some(_), Fault::Again(_))) if again < AGAIN => again += 1,
                Err((Some(at), fault)) => {
                    changes.remove(at);
                    let _ = answers.remove(at).send(Err(error(fault)));
                }
            }
        }
        None
    }

    async fn one_by_one(
        &self,
        changes: Vec<Change>,
        answers: Vec<oneshot::Sender<Result<Reply, StoreError>>>,
    ) -> Option<String> {
        let mut away = None;
        // Whose shares are not to be had, and why.
        let mut held: HashMap<Hash, Fault> = HashMap::new();
        for (change, answer) in changes.iter().zip(answers) {
            let owner = share::owner_of(change);
            let outcome = match (&away, owner.and_then(|owner| held.get(&owner))) {
                (Some(problem), _) => Err(Fault::Away(String::clone(problem))),
                (None, Some(late)) => Err(late.clone()),
                (None, None) => self.alone(change).await,
            };
            if let (Some(owner), Err(late @ Fault::Late(_))) = (owner, &outcome) {
                held.insert(owner, late.clone());
            }
            if let Err(Fault::Away(problem)) = &outcome {
                away = Some(problem.clone());
            }
            let _ = answer.send(outcome.map_or_else(|fault| Err(error(fault)), |done| done.answer));
        }
        away
    }

    /// Does one change in a transaction of its own, again if it meets another one.
    pub(super) async fn alone(&self, change: &Change) -> Result<Done, Fault> {
        let mut outcome = Err(Fault::Away("not tried".to_owned()));
        for _ in 0..AGAIN {
            let done = self.attempt(std::slice::from_ref(change), false).await;
            outcome = done.map(|mut done| done.remove(0)).map_err(|(_, fault)| fault);
            if !matches!(outcome, Err(Fault::Again(_))) {
                break;
            }
        }
        outcome
    }

    /// Does all of them or none. A fault comes with the place of the change that met it.
    async fn attempt(&self, changes: &[Change], together: bool) -> Result<Vec<Done>, (Option<usize>, Fault)> {
        let begun = Instant::now();
        let transaction = async {
            match &self.recent {
                Some(recent) => recent.through(changes, self.transact(changes, together)).await,
                None => self.transact(changes, together).await,
            }
        };
        let outcome = match timeout(LONGEST, transaction).await {
            Ok(outcome) => outcome,
            Err(_) => Err((None, Fault::Away("the database does not answer in time".to_owned()))),
        };
        self.note(outcome.as_ref().err().map(|(_, fault)| fault));
        self.contact.note(changes, outcome.as_ref().err().map(|(_, fault)| fault));
        if let Ok(done) = &outcome {
            self.counters.committed(changes.len(), begun.elapsed());
            let news: Vec<_> = done.iter().flat_map(|done| done.news.iter().copied()).collect();
            self.watchers.tell(&news);
            let numbers: Vec<_> = news
                .iter()
                .filter_map(|news| match news {
                    write::News::Number(task, number) => Some((*task, *number)),
                    write::News::Gone(_) => None,
                })
                .collect();
            self.backend.tell(&numbers);
        }
        outcome
    }

    async fn transact(
        &self,
        changes: &[Change],
        together: bool,
    ) -> Result<Vec<Done>, (Option<usize>, Fault)> {
        let mut session = self.backend.write().await.map_err(|fault| (None, fault))?;
        let outcome = self.apply(&mut session, changes, together).await;
        match outcome {
            Ok(mut all) => {
                all.iter_mut().filter_map(Done::offer).for_each(Offer::commits);
                let committed = session.commit().await;
                if !matches!(committed, Ok(()) | Err(Fault::Away(_))) {
                    all.iter_mut().filter_map(Done::offer).for_each(Offer::is_refused);
                }
                committed.map(|()| all).map_err(|fault| (None, fault))
            }
            Err((at, fault)) => {
                if !matches!(fault, Fault::Away(_)) {
                    session.roll_back().await;
                }
                Err((at, fault))
            }
        }
    }

    async fn apply(
        &self,
        session: &mut B::Session,
        changes: &[Change],
        together: bool,
    ) -> Result<Vec<Done>, (Option<usize>, Fault)> {
        share::hold(session, changes, &self.rules).await.map_err(|fault| (None, fault))?;
        let left = self.backend.left(session).await.map_err(|fault| (None, fault))?;
        let mut room = Room::new(left);
        let rules = &self.rules;
        let mut outcomes: bulk::Outcomes = match together {
            true => bulk::apply(session, changes, (rules, &mut room)).await.map_err(|fault| (None, fault))?,
            false => changes.iter().map(|_| None).collect(),
        };
        let mut all = Vec::with_capacity(changes.len());
        for (at, (change, outcome)) in changes.iter().zip(&mut outcomes).enumerate() {
            all.push(match outcome.take() {
                Some(done) => done,
                None => write::apply(session, change, (rules, &mut room))
                    .await
                    .map_err(|fault| (Some(at), fault))?,
            });
        }
        if room.has_refused {
            self.wants_room.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(all)
    }

    /// Notes whether the database has answered.
    pub(super) fn note(&self, fault: Option<&Fault>) {
        if let Some(Fault::Away(_)) = fault {
            add(&self.counters.outages, 1);
            self.backend.lost();
        }
        // On a full disk nobody can renew a lease, either.
        if matches!(fault, Some(Fault::Away(_) | Fault::Full(_))) {
            self.contact.interrupted();
        }
    }
}

/// What a fault is for whoever has asked.
pub(super) fn error(fault: Fault) -> StoreError {
    match fault {
        Fault::Full(_) => StoreError::NoSpace,
        Fault::Away(text) | Fault::Late(text) | Fault::Again(text) | Fault::Refused(text) => {
            StoreError::Unavailable(text)
        }
    }
}
