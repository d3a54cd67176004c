//! [`TaskStore`] over a database.

use super::{
    bounds::SqlBounds,
    contact::Contact,
    figures::{Counters, Figures, add},
    group::{self, Waiting, error},
    key::{self, Hash},
    read::{self, Read},
    recent::{Log, Recent},
    session::{Backend, Fault, Session},
    share::Counts,
    upkeep,
    watchers::Watchers,
    write::{Change, Reply, Rules},
};
use crate::{
    Abandoned, Canceled, Conversation, ListQuery, Numbered, Owner, Pushed, ReplayKey, RunKey, Sealer,
    Snapshot, StorageKind, StoreError, Submission, Submitted, TaskKey, TaskPage, TaskStore, Watch,
    fair::Party,
    turns::{Turn, Turns},
};
use async_trait::async_trait;
use bindu_a2a::{Json, call::PushConfig, event::TaskEvent};
use jiff::Timestamp;
use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::timeout,
};

/// How long a reader waits.
const LONGEST_READ: Duration = Duration::from_secs(20);

/// How a store is started.
pub(super) struct StoreOptions {
    pub(super) lease: Duration,
    pub(super) bounds: SqlBounds,
    pub(super) sealer: Option<Arc<dyn Sealer>>,
    /// Whether others may have been cut off together with us, so that their leases have ended and they have not.
    pub(super) waits_before_taking_over: bool,
    /// Whether other processes may write as well. If not, what was just written may be told from memory.
    pub(super) is_shared: bool,
}

/// Keeps tasks in a database. Dropped, it works no more in the background; what it has answered is committed.
pub struct SqlStore<B: Backend> {
    pub(super) core: Arc<Core<B>>,
    pub(super) watchers: Arc<Watchers>,
    lanes: Vec<mpsc::Sender<Waiting>>,
    /// Lists and their like: bounded, and fair by caller, so that short questions find a connection.
    long_reads: Turns,
    pub(super) background: Vec<AbortHandle>,
}

/// What the lanes and the background share.
pub(super) struct Core<B> {
    pub(super) backend: B,
    pub(super) rules: Rules,
    pub(super) watchers: Arc<Watchers>,
    pub(super) counters: Counters,
    pub(super) contact: Contact,
    /// What was just written, if nobody else writes.
    pub(super) recent: Option<Recent>,
    /// Whether something was refused for want of room since room was made last.
    pub(super) wants_room: AtomicBool,
}

impl<B: Backend> fmt::Debug for SqlStore<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").field("replica", &self.core.rules.replica).finish_non_exhaustive()
    }
}

impl<B: Backend> Drop for SqlStore<B> {
    fn drop(&mut self) {
        self.background.iter().for_each(AbortHandle::abort);
    }
}

impl<B: Backend> SqlStore<B> {
    /// Starts the lanes and the background.
    pub(super) fn start(backend: B, options: StoreOptions) -> Self {
        let watchers = Arc::new(Watchers::default());
        let rules = Rules {
            replica: uuid::Uuid::new_v4().to_string(),
            lease: options.lease,
            bounds: options.bounds,
            is_shared: options.is_shared,
            sealer: options.sealer,
            remembered: Mutex::default(),
            unfinished: Counts::default(),
            unanswered: Arc::default(),
        };
        let contact = Contact::new(options.lease, options.waits_before_taking_over);
        let core = Arc::new(Core {
            backend,
            rules,
            watchers: Arc::clone(&watchers),
            counters: Counters::default(),
            contact,
            recent: (!options.is_shared).then(Recent::default),
            wants_room: AtomicBool::default(),
        });
        let lane = |_| {
            let (sender, receiver) = mpsc::channel(group::QUEUE);
            // It ends with its senders, after the last commit.
            tokio::spawn(group::lane(Arc::clone(&core), receiver));
            sender
        };
        let lanes = (0..core.backend.lanes()).map(lane).collect();
        let upkeep = tokio::spawn(upkeep::run(Arc::clone(&core))).abort_handle();
        let long_reads = Turns::new(core.backend.long_reads(), (core.backend.long_reads() / 2).max(1));
        Self { core, watchers, lanes, long_reads, background: vec![upkeep] }
    }

    /// What it has done, and how it is.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let backend = &self.core.backend;
        self.core.counters.figures(backend.connections(), backend.max_connections())
    }

    /// Forgets what is too old or too much, as the background does. The database's clock is believed, even if it has leapt.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn prune(&self) -> Result<upkeep::Pruned, StoreError> {
        upkeep::prune(&self.core, None).await.map_err(error)
    }

    /// A change of a task, committed together with others.
    async fn change(&self, task: &TaskKey, change: Change) -> Result<Reply, StoreError> {
        let key = key::task(task);
        self.change_in(key, (key, change)).await
    }

    /// A change that takes from its owner's share: those of one owner come in one lane, so that lanes do not wait for each other.
    async fn change_of(&self, task: &TaskKey, change: Change) -> Result<Reply, StoreError> {
        let key = key::task(task);
        let lane = if self.core.rules.is_shared && !task.owner.is_everybody() {
            key::owner(&task.owner)
        } else {
            key
        };
        self.change_in(lane, (key, change)).await
    }

    async fn change_in(&self, lane: Hash, (key, change): (Hash, Change)) -> Result<Reply, StoreError> {
        let number = lane.first().map_or(0, |byte| usize::from(*byte)) % self.lanes.len().max(1);
        let lane = self.lanes.get(number).ok_or_else(closed)?;
        let (answer, answered) = oneshot::channel();
        add(&self.core.counters.queued, 1);
        if lane.try_send(Waiting { change, key, answer }).is_err() {
            self.core.counters.queued.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            return Err(StoreError::Unavailable("too many changes wait for the database".to_owned()));
        }
        let outcome = answered.await.map_err(|_| closed())?;
        if matches!(outcome, Err(StoreError::Full | StoreError::NoSpace)) {
            add(&self.core.counters.full, 1);
        }
        outcome
    }

    /// The log of a task that was changed here a moment ago.
    pub(super) fn recent(&self, task: &TaskKey) -> Option<Log> {
        self.core.recent.as_ref()?.log(task)
    }

    /// A change of no task, or of several.
    async fn change_alone(&self, change: Change) -> Result<Reply, StoreError> {
        self.core.alone(&change).await.map_err(error)?.answer
    }

    async fn ask<T, F>(&self, question: impl FnOnce(B::Session) -> F + Send) -> Result<T, StoreError>
    where
        F: Future<Output = (B::Session, Read<T>)> + Send,
        T: Send,
    {
        self.asked(async {
            let (session, answer) = question(self.core.backend.read().await?).await;
            ended(session, answer).await
        })
        .await
    }

    /// Asks a question that is one statement. A connection may have died since it was used last: then it is asked again.
    async fn glance<T, F>(&self, question: impl Fn(B::Session) -> F + Send + Sync) -> Result<T, StoreError>
    where
        F: Future<Output = (B::Session, Read<T>)> + Send,
        T: Send,
    {
        self.asked(async {
            let (session, answer) = question(self.core.backend.glance().await?).await;
            match ended(session, answer).await {
                Err(Fault::Away(_)) => {
                    let (session, answer) = question(self.core.backend.read().await?).await;
                    ended(session, answer).await
                }
                answer => answer,
            }
        })
        .await
    }

    async fn asked<T>(&self, reading: impl Future<Output = Read<T>> + Send) -> Result<T, StoreError> {
        let outcome = match timeout(LONGEST_READ, reading).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Fault::Away("the database does not answer in time".to_owned())),
        };
        self.core.note(outcome.as_ref().err());
        outcome.map_err(error)?
    }

    /// A turn for a question whose answer may be long.
    async fn turn(&self, owner: &Owner) -> Result<Turn, StoreError> {
        timeout(LONGEST_READ, self.long_reads.take(Party::Owner(owner.clone())))
            .await
            .ok()
            .flatten()
            .ok_or_else(|| StoreError::Unavailable("too many lists wait for the database".to_owned()))
    }
}

/// Ends what a question was asked in.
async fn ended<T, S: Session>(session: S, answer: Read<T>) -> Read<T> {
    if answer.is_ok() {
        session.commit().await?;
    }
    answer
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

/// What came is not an answer to what was asked.
fn mismatch<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("the store has answered something else".to_owned()))
}

/// Asks a question of `read` that is one statement.
macro_rules! glance {
    ($store:expr, $question:ident $(, $argument:expr)*) => {
        $store
            .glance(async |mut session| {
                let answer = read::$question(&mut session $(, $argument)*).await;
                (session, answer)
            })
            .await
    };
}

/// Asks a question of `read` in a transaction.
macro_rules! ask {
    ($store:expr, $question:ident $(, $argument:expr)*) => {
        $store
            .ask(async |mut session| {
                let answer = read::$question(&mut session $(, $argument)*).await;
                (session, answer)
            })
            .await
    };
}

#[async_trait]
impl<B: Backend> TaskStore for SqlStore<B> {
    async fn submit(&self, submission: Submission) -> Result<Submitted, StoreError> {
        let task = TaskKey { owner: submission.owner.clone(), id: submission.message.task_id.clone() };
        match self.change_of(&task, Change::Submit(Box::new(submission))).await? {
            Reply::Submitted(given) => Ok(given.taken()),
            _ => mismatch(),
        }
    }

    async fn recover(&self, submission: &Submission) -> Result<Option<Submitted>, StoreError> {
        let task = TaskKey { owner: submission.owner.clone(), id: submission.message.task_id.clone() };
        if !self.core.rules.unanswered.has(&key::task(&task)) {
            return Ok(None);
        }
        match self.change(&task, Change::Recover(Box::new(submission.clone()))).await? {
            Reply::Submitted(given) => Ok(Some(given.taken())),
            _ => mismatch(),
        }
    }

    async fn append_after(
        &self,
        run: &RunKey,
        after: Option<u64>,
        events: Vec<TaskEvent>,
    ) -> Result<u64, StoreError> {
        match self.change(&run.task, Change::Append { run: run.clone(), after, events }).await {
            Ok(Reply::Number(number)) => Ok(number),
            Err(error) => Err(error),
            Ok(_) => mismatch(),
        }
    }

    async fn cancel(&self, task: &TaskKey) -> Result<Canceled, StoreError> {
        match self.change(task, Change::Cancel(task.clone())).await? {
            Reply::Canceled(canceled) => Ok(*canceled),
            _ => mismatch(),
        }
    }

    async fn read(&self, task: &TaskKey) -> Result<Snapshot, StoreError> {
        match self.recent(task) {
            Some(log) => Ok(log.snapshot()),
            None => glance!(self, read, task),
        }
    }

    async fn read_light(&self, task: &TaskKey, light: usize) -> Result<Snapshot, StoreError> {
        match self.recent(task) {
            Some(log) => log.light(light),
            None => glance!(self, read_light, task, light),
        }
    }

    async fn context_id(&self, task: &TaskKey) -> Result<String, StoreError> {
        match self.recent(task) {
            Some(log) => Ok(log.context_id()),
            None => glance!(self, context_id, task),
        }
    }

    async fn statuses(&self, task: &TaskKey, after: u64, limit: usize) -> Result<Vec<Numbered>, StoreError> {
        match self.recent(task) {
            Some(log) => Ok(log.events((after, limit), |event| matches!(event, TaskEvent::Status(_)))),
            None => glance!(self, statuses, task, after, limit),
        }
    }

    async fn list(&self, owner: &Owner, query: &ListQuery) -> Result<TaskPage, StoreError> {
        let _turn = self.turn(owner).await?;
        ask!(self, list, owner, query)
    }

    async fn events(&self, task: &TaskKey, after: u64, limit: usize) -> Result<Vec<Numbered>, StoreError> {
        match self.recent(task) {
            Some(log) => Ok(log.events((after, limit), |_| true)),
            None => glance!(self, events, task, after, limit),
        }
    }

    fn watch(&self, task: &TaskKey) -> Watch {
        self.watchers.watch(key::task(task))
    }

    async fn renew(&self, runs: &[RunKey]) -> Result<Vec<RunKey>, StoreError> {
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        match self.change_alone(Change::Renew(runs.to_vec())).await? {
            Reply::Runs(lost) => {
                add(&self.core.counters.leases_lost, lost.len() as u64);
                Ok(lost)
            }
            _ => mismatch(),
        }
    }

    async fn release(&self, runs: &[RunKey]) -> Result<(), StoreError> {
        if runs.is_empty() {
            return Ok(());
        }
        self.change_alone(Change::Release(runs.to_vec())).await.map(|_| ())
    }

    async fn take_abandoned(&self, limit: usize) -> Result<Vec<Abandoned>, StoreError> {
        if !self.core.contact.may_take_over() {
            // Whoever shares the store may have been cut off as we were, and gets one lease to come back.
            return self.change_alone(Change::Renew(Vec::new())).await.map(|_| Vec::new());
        }
        match self.change_alone(Change::TakeAbandoned(limit)).await? {
            Reply::Abandoned(taken) => {
                add(&self.core.counters.taken_over, taken.len() as u64);
                Ok(taken)
            }
            _ => mismatch(),
        }
    }

    async fn remember(&self, task: &TaskKey, replay: &ReplayKey) -> Result<(), StoreError> {
        let change = Change::Remember { task: task.clone(), replay: replay.clone() };
        self.change_of(task, change).await.map(|_| ())
    }

    async fn put_feedback(&self, task: &TaskKey, feedback: Json) -> Result<(), StoreError> {
        self.change(task, Change::PutFeedback { task: task.clone(), feedback }).await.map(|_| ())
    }

    async fn put_push(&self, task: &TaskKey, config: PushConfig) -> Result<(), StoreError> {
        self.change(task, Change::PutPush { task: task.clone(), config }).await.map(|_| ())
    }

    async fn pushes(&self, task: &TaskKey) -> Result<Vec<PushConfig>, StoreError> {
        ask!(self, pushes, task, self.core.rules.sealer.as_deref())
    }

    async fn delete_push(&self, task: &TaskKey, id: &str) -> Result<(), StoreError> {
        self.change(task, Change::DeletePush { task: task.clone(), id: id.to_owned() }).await.map(|_| ())
    }

    async fn due_pushes(&self, limit: usize) -> Result<Vec<Pushed>, StoreError> {
        match self.change_alone(Change::DuePushes(limit)).await? {
            Reply::Pushed(due) => Ok(due),
            _ => mismatch(),
        }
    }

    async fn note_push(
        &self,
        task: &TaskKey,
        id: &str,
        outcome: Result<u64, Timestamp>,
    ) -> Result<(), StoreError> {
        let change = Change::NotePush { task: task.clone(), id: id.to_owned(), outcome };
        self.change(task, change).await.map(|_| ())
    }

    async fn contexts(&self, owner: &Owner, limit: usize) -> Result<Vec<Conversation>, StoreError> {
        let _turn = self.turn(owner).await?;
        ask!(self, contexts, owner, limit)
    }

    async fn forget_context(&self, owner: &Owner, context_id: &str) -> Result<usize, StoreError> {
        let change = Change::ForgetContext { owner: owner.clone(), context_id: context_id.to_owned() };
        match self.change_alone(change).await? {
            Reply::Count(count) => Ok(count),
            _ => mismatch(),
        }
    }

    fn lasts(&self) -> bool {
        true
    }

    fn kind(&self) -> StorageKind {
        self.core.backend.kind()
    }

    fn timeline(&self) -> u64 {
        self.core.backend.timeline()
    }

    fn hint(&self) -> Option<String> {
        self.core.backend.hint()
    }

    fn figures(&self) -> Option<Figures> {
        Some(SqlStore::figures(self))
    }

    async fn check(&self) -> Result<(), StoreError> {
        if self.core.contact.is_failing() {
            // It answers, and yet nothing can be written: somebody's lock, a damaged file.
            return self.change_alone(Change::Renew(Vec::new())).await.map(|_| ());
        }
        glance!(self, nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SqliteOptions, SqliteStore};
    use bindu_a2a::{Parts, model::Message};
    use futures_util::FutureExt as _;

    fn client(name: &str) -> Owner {
        Owner::Client { id: name.into(), subject: None }
    }

    fn submission(owner: Owner) -> Submission {
        let message = Arc::new(Message::of_agent("t", "c", Parts::of_text("hi")));
        Submission { owner, message, may_begin: true, content: None, replay: None, push: None }
    }

    #[tokio::test]
    async fn lists_wait_in_turn_and_short_questions_and_messages_for_none_of_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let store =
            SqliteStore::open(SqliteOptions::new(directory.path().join("tasks.db"), "did:bindu:test:store"))
                .await;
        let store = store.expect("a file");
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(client);
        // As long as alice holds a turn, her other lists wait, and nobody else does.
        let first = store.turn(&alice).await.expect("a turn");
        let mut second = Box::pin(store.turn(&alice));
        let mut third = Box::pin(store.turn(&alice));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        let of_bob = store.turn(&bob).await.expect("bob has one as well");
        let query = ListQuery::default();
        let mut of_carol = Box::pin(store.list(&carol, &query));
        assert!((&mut of_carol).now_or_never().is_none(), "there are only so many");
        // A message and its answer need none.
        let submitted = store.submit(submission(bob.clone())).await.expect("taken");
        let run = submitted.run.expect("it is new");
        assert_eq!(store.read(&run.task).await.expect("there").number, 2);
        assert_eq!(store.events(&run.task, 1, 9).await.expect("there").len(), 1);
        assert_eq!(store.check().await, Ok(()));
        // Carol waits for one of alice's, not for all.
        drop(first);
        let second = second.await.expect("alice came first");
        assert!((&mut third).now_or_never().is_none());
        drop(second);
        assert_eq!(of_carol.await, Ok(TaskPage::default()));
        drop(of_bob);
        third.await.expect("it was only a wait");
    }
}
