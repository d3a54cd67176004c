//! What changes something: one [`Change`] within a transaction, alone or among others.
//!
//! A change that is refused for its own sake has changed nothing: all conditions come before the first write.

use super::{
    bounds::SqlBounds,
    bulk, key, leases, pushes, read, remembered,
    room::Room,
    sealing::{self, Resealed},
    session::{Fault, Row, Session, Value},
    share::{self, Counts, Wanted},
    stored,
    unanswered::{self, Given, Offer, Unanswered},
};
use crate::{
    Abandoned, Canceled, Owner, Pushed, ReplayKey, RunKey, Sealer, Snapshot, StoreError, Submission,
    Submitted, TaskKey,
};
use bindu_a2a::{
    Json,
    call::PushConfig,
    event::TaskEvent,
    model::{Task, TaskState, TaskStatus},
};
use jiff::Timestamp;
use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// What a task's row takes with its indexes.
pub(super) const TASK_BYTES: usize = 768;

/// What an event's row takes beside its text.
pub(super) const EVENT_BYTES: usize = 96;

/// A last status of at most so many bytes is always taken, so that a task can end.
const LAST_WORD: usize = 4096;

/// How often results may exceed the bytes of a task.
pub(super) const RESULTS: usize = 3;

/// One change.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Submit(Box<Submission>),
    /// Gives what is stored of a message whose answer was lost.
    Recover(Box<Submission>),
    Append {
        run: RunKey,
        /// The number of the last event before.
        after: Option<u64>,
        events: Vec<TaskEvent>,
    },
    Cancel(TaskKey),
    Renew(Vec<RunKey>),
    Release(Vec<RunKey>),
    TakeAbandoned(usize),
    Remember {
        task: TaskKey,
        replay: ReplayKey,
    },
    PutFeedback {
        task: TaskKey,
        feedback: Json,
    },
    PutPush {
        task: TaskKey,
        config: PushConfig,
    },
    DeletePush {
        task: TaskKey,
        id: String,
    },
    DuePushes(usize),
    NotePush {
        task: TaskKey,
        id: String,
        outcome: Result<u64, Timestamp>,
    },
    /// Writes push configurations with secrets that are sealed again, if they are still what they were.
    Reseal(Vec<Resealed>),
    ForgetContext {
        owner: Owner,
        context_id: String,
    },
    /// Forgets these tasks, unless they are unfinished.
    Forget(Vec<i64>),
    /// Forgets signed requests that have run out, at most so many.
    ForgetReplays(usize),
}

/// What a change answers.
#[derive(Debug)]
pub(super) enum Reply {
    Submitted(Box<Given>),
    Canceled(Box<Canceled>),
    Number(u64),
    Runs(Vec<RunKey>),
    Abandoned(Vec<Abandoned>),
    Pushed(Vec<Pushed>),
    Count(usize),
    Done,
}

/// What watchers of a task are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// The task has events up to this number.
    Number(key::Hash, u64),
    /// The task is forgotten.
    Gone(key::Hash),
}

/// A change that was done.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) answer: Result<Reply, StoreError>,
    pub(super) news: Vec<News>,
}

impl Done {
    /// The run that it offers to whoever has sent a message.
    pub(super) fn offer(&mut self) -> Option<&mut Offer> {
        match &mut self.answer {
            Ok(Reply::Submitted(given)) => given.offer.as_mut(),
            _ => None,
        }
    }
}

impl From<StoreError> for Done {
    fn from(error: StoreError) -> Self {
        Self { answer: Err(error), news: Vec::new() }
    }
}

impl From<Reply> for Done {
    fn from(reply: Reply) -> Self {
        Self { answer: Ok(reply), news: Vec::new() }
    }
}

/// What holds for all changes of a store.
#[derive(Debug)]
pub(super) struct Rules {
    /// Who we are among those who share the store.
    pub(super) replica: String,
    pub(super) lease: Duration,
    pub(super) bounds: SqlBounds,
    /// Whether other processes write as well.
    pub(super) is_shared: bool,
    /// What seals the secrets of push configurations; nothing keeps them in clear.
    pub(super) sealer: Option<Arc<dyn Sealer>>,
    /// How many signed requests of an owner are remembered, about, and when that was counted.
    pub(super) remembered: Mutex<HashMap<key::Hash, (u64, Instant)>>,
    /// How many tasks are unfinished, about.
    pub(super) unfinished: Counts,
    /// Runs that nobody was told of.
    pub(super) unanswered: Arc<Unanswered>,
}

impl Rules {
    pub(super) fn lease_millis(&self) -> Value {
        millis(self.lease)
    }
}

pub(super) fn millis(duration: Duration) -> Value {
    Value::Int(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

/// Whether a task is worked on, waits for its caller, or has ended: a column, for partial indexes.
pub(super) fn phase(state: TaskState) -> i64 {
    match state {
        _ if state.is_active() => 0,
        _ if state.is_interrupted() => 1,
        _ => 2,
    }
}

/// Does a change.
pub(super) async fn apply<S: Session>(
    session: &mut S,
    change: &Change,
    (rules, room): (&Rules, &mut Room),
) -> Result<Done, Fault> {
    match change {
        Change::Submit(submission) => submit(session, submission, (rules, room)).await,
        Change::Recover(submission) => unanswered::recover(session, submission, rules).await,
        Change::Append { run, after, events } => append(session, run, *after, (events, rules, room)).await,
        Change::Cancel(task) => cancel(session, task, rules).await,
        Change::Renew(runs) => leases::renew(session, runs, rules).await,
        Change::Release(runs) => leases::release(session, runs).await,
        Change::TakeAbandoned(limit) => leases::take_abandoned(session, *limit, rules).await,
        Change::Remember { task, replay } => remembered::remember(session, task, replay, rules).await,
        Change::PutFeedback { task, feedback } => put_feedback(session, task, feedback, rules).await,
        Change::PutPush { task, config } => pushes::put_push(session, task, config, rules).await,
        Change::DeletePush { task, id } => pushes::delete_push(session, task, id).await,
        Change::DuePushes(limit) => pushes::due_pushes(session, *limit, rules).await,
        Change::NotePush { task, id, outcome } => pushes::note_push(session, task, id, *outcome).await,
        Change::Reseal(all) => sealing::write(session, all).await,
        Change::ForgetContext { owner, context_id } => forget_context(session, owner, context_id).await,
        Change::Forget(tasks) => {
            let (count, news) = forget(session, tasks, true).await?;
            Ok(Done { answer: Ok(Reply::Count(count)), news })
        }
        Change::ForgetReplays(limit) => {
            let old = "DELETE FROM {s}bindu_replays WHERE replay IN
                (SELECT replay FROM {s}bindu_replays WHERE ends <= {now} ORDER BY ends LIMIT $1)";
            let count = session.execute(old, vec![(*limit).into()]).await?;
            Ok(Reply::Count(usize::try_from(count).unwrap_or(usize::MAX)).into())
        }
    }
}

/// A task's row, as far as changes need it.
pub(super) struct Held {
    pub(super) task: i64,
    pub(super) state: TaskState,
    pub(super) number: u64,
    pub(super) run: u64,
    pub(super) bytes: usize,
}

impl Held {
    fn of(row: &Row) -> Result<Self, Fault> {
        Ok(Self {
            task: row.int(0)?,
            state: stored::state_of(row.text(1)?)?,
            number: row.count(2)?,
            run: row.count(3)?,
            bytes: usize::try_from(row.count(4)?).unwrap_or(usize::MAX),
        })
    }
}

impl From<stored::Unreadable> for Fault {
    fn from(unreadable: stored::Unreadable) -> Self {
        Self::Refused(unreadable.to_string())
    }
}

/// Locks a task's row.
pub(super) async fn hold<S: Session>(session: &mut S, key: key::Hash) -> Result<Option<Held>, Fault> {
    let row = "SELECT task, state, number, run, bytes FROM {s}bindu_tasks WHERE task_key = $1 {lock}";
    session.rows(row, vec![key.into()]).await?.first().map(Held::of).transpose()
}

/// What has to be known before a message is taken, in one statement.
const BEFORE: &str = "SELECT
    (SELECT task FROM {s}bindu_messages WHERE message = $1),
    (SELECT id FROM {s}bindu_replays WHERE replay = $2 AND ends > {now}),
    (SELECT task FROM {s}bindu_tasks WHERE task_key = $3)";

async fn submit<S: Session>(
    session: &mut S,
    submission: &Submission,
    (rules, room): (&Rules, &mut Room),
) -> Result<Done, Fault> {
    let Submission { owner, message, .. } = submission;
    let of_owner = key::owner(owner);
    let task = TaskKey { owner: owner.clone(), id: message.task_id.clone() };
    let task_key = key::task(&task);
    let message_key = submission.content.map(|content| key::message(owner, &message.id, &content));
    let replay_key = submission.replay.as_ref().map(|replay| key::replay(owner, &replay.hash));
    let none = [0; 32];
    let values = vec![message_key.unwrap_or(none).into(), replay_key.unwrap_or(none).into(), task_key.into()];
    let rows = session.rows(BEFORE, values).await?;
    let before = rows.first().ok_or_else(|| Fault::Refused("no answer to a count".to_owned()))?;
    if !before.is_null(1) {
        let id = key::unescaped(before.text(1)?);
        return Ok(StoreError::Replayed(TaskKey { owner: owner.clone(), id }).into());
    }
    if !before.is_null(0) {
        return unanswered::again(session, before.int(0)?, submission, rules).await;
    }
    let held = if before.is_null(2) { None } else { hold(session, task_key).await? };
    let state = held.as_ref().map(|held| held.state);
    if state.is_none() && !submission.may_begin {
        return Ok(StoreError::NotFound.into());
    }
    if let Some(state) = state.filter(|state| state.is_terminal()) {
        return Ok(StoreError::Ended(state).into());
    }
    let status = TaskStatus { state: TaskState::Submitted, message: None, timestamp: Timestamp::now() };
    let events = [TaskEvent::Message(Arc::clone(message)), TaskEvent::Status(status.clone())];
    let mut bytes = message.bytes() + 2 * EVENT_BYTES;
    bytes += if held.is_some() { 0 } else { TASK_BYTES + message.task_id.len() + message.context_id.len() };
    let so_far = held.as_ref().map(|held| (held.bytes, held.state.is_active()));
    let wanted = Wanted { submission, owner: of_owner, held: so_far, bytes };
    let unfinished = match share::take(session, wanted, rules).await? {
        Ok(unfinished) => unfinished,
        Err(error) => return Ok(error.into()),
    };
    if let Err(error) = room.message(bytes, unfinished) {
        return Ok(error.into());
    }
    if submission.replay.is_some() && remembered::is_full(session, of_owner, rules).await? {
        return Ok(StoreError::TooManyRemembered.into());
    }
    let is_active = state.is_some_and(TaskState::is_active);
    let (number, run) = (events.len() as u64, 1);
    let superseded =
        held.as_ref().filter(|_| is_active).map(|held| RunKey { task: task.clone(), run: held.run });
    let (row, number, run) = match &held {
        Some(held) => {
            continue_task(session, held, &status, bytes, rules).await?;
            (held.task, held.number + number, held.run + 1)
        }
        None => {
            let (task, status) = (task.clone(), status.clone());
            let new = NewTask { task, key: task_key, owner: of_owner, submission, bytes, status };
            (new.begin(session, rules).await?, number, run)
        }
    };
    add_events(session, row, number - events.len() as u64, run, &events).await?;
    if let Some(message) = message_key {
        let keep = "INSERT INTO {s}bindu_messages (message, task) VALUES ($1, $2)";
        session.execute(keep, vec![message.into(), row.into()]).await?;
    }
    if let Some(replay) = &submission.replay {
        remembered::keep_replay(session, &task, replay, rules).await?;
    }
    if let Some(config) = &submission.push {
        pushes::write_push(session, (row, number), (&task, config), rules).await?;
    }
    let snapshot = match held {
        Some(_) => read::snapshot_of(session, row).await?,
        None => Some(Snapshot { task: folded(message, &events), number }),
    };
    let task_after = snapshot.ok_or_else(|| Fault::Again("a task was forgotten meanwhile".to_owned()))?;
    let submitted = Submitted { task: task_after, run: Some(RunKey { task, run }), superseded };
    let offer = Offer::new(rules, task_key, run, nanos(status.timestamp));
    let given = Box::new(Given::new(submitted, Some(offer)));
    Ok(Done { answer: Ok(Reply::Submitted(given)), news: vec![News::Number(task_key, number)] })
}

/// A task that begins.
pub(super) struct NewTask<'a> {
    pub(super) task: TaskKey,
    pub(super) key: key::Hash,
    pub(super) owner: key::Hash,
    pub(super) submission: &'a Submission,
    pub(super) bytes: usize,
    pub(super) status: TaskStatus,
}

impl NewTask<'_> {
    async fn begin<S: Session>(&self, session: &mut S, rules: &Rules) -> Result<i64, Fault> {
        let added = bulk::add_tasks(session, &[self], rules).await?;
        added.get(&self.key).copied().ok_or_else(|| Fault::Again("the task is there already".to_owned()))
    }

    /// What a row of `bulk::add_tasks` holds of it.
    pub(super) fn values(&self) -> [Value; 10] {
        let (client, subject) = key::columns(&self.task.owner);
        let context_id = &self.submission.message.context_id;
        [
            self.key.into(),
            self.owner.into(),
            client.into(),
            subject.into(),
            key::escaped(&self.task.id).into(),
            key::context(&self.task.owner, context_id).into(),
            key::escaped(context_id).into(),
            stored::state_name(self.status.state).into(),
            nanos(self.status.timestamp).into(),
            self.bytes.into(),
        ]
    }
}

async fn continue_task<S: Session>(
    session: &mut S,
    held: &Held,
    status: &TaskStatus,
    bytes: usize,
    rules: &Rules,
) -> Result<(), Fault> {
    let update = "UPDATE {s}bindu_tasks SET number = number + 2, run = run + 1, state = $2, phase = 0,
        changed = $3, replica = $4, lease_until = {now} + $5, bytes = bytes + $6 WHERE task = $1";
    let values = vec![
        held.task.into(),
        stored::state_name(status.state).into(),
        nanos(status.timestamp).into(),
        rules.replica.as_str().into(),
        rules.lease_millis(),
        bytes.into(),
    ];
    session.execute(update, values).await.map(|_| ())
}

/// The task that a first message makes.
pub(super) fn folded(message: &bindu_a2a::model::Message, events: &[TaskEvent]) -> Task {
    let mut task = read::empty_task(&message.task_id, &message.context_id);
    events.iter().for_each(|event| task.apply(event));
    task
}

/// Adds events behind number `before`.
pub(super) async fn add_events<S: Session>(
    session: &mut S,
    task: i64,
    before: u64,
    run: u64,
    events: &[TaskEvent],
) -> Result<(), Fault> {
    let row = |(event, number)| bulk::Event { task, number, run, event: Cow::Borrowed(event) };
    let rows: Vec<_> = events.iter().zip(before + 1..).map(row).collect();
    bulk::add_events(session, &rows, false).await
}

fn ends(event: &TaskEvent) -> bool {
    matches!(event, TaskEvent::Status(status) if status.state.is_terminal())
}

/// Whether an end is not the last of these events.
pub(super) fn says_more_after_its_end(events: &[TaskEvent]) -> bool {
    events.split_last().is_some_and(|(_, others)| others.iter().any(ends))
}

/// The bytes of events.
pub(super) fn bytes(events: &[TaskEvent]) -> usize {
    events.iter().map(|event| event.bytes() + EVENT_BYTES).sum()
}

/// The bytes of events, and how many their task may have with them.
pub(super) fn bytes_and_bound(events: &[TaskEvent], rules: &Rules) -> (usize, usize) {
    let bytes = bytes(events);
    let bound = rules.bounds.task_bytes.saturating_mul(RESULTS);
    (bytes, if is_last_word(events, bytes) { usize::MAX / 2 } else { bound })
}

/// Whether events of so many bytes are an end that always fits.
pub(super) fn is_last_word(events: &[TaskEvent], bytes: usize) -> bool {
    bytes <= LAST_WORD && events.first().is_some_and(ends)
}

/// The status that events leave their task in.
pub(super) fn last_status(events: &[TaskEvent]) -> Option<&TaskStatus> {
    events.iter().rev().find_map(|event| match event {
        TaskEvent::Status(status) => Some(status),
        _ => None,
    })
}

async fn append<S: Session>(
    session: &mut S,
    run: &RunKey,
    after: Option<u64>,
    (events, rules, room): (&[TaskEvent], &Rules, &mut Room),
) -> Result<Done, Fault> {
    if says_more_after_its_end(events) {
        return Ok(StoreError::Superseded.into());
    }
    let task_key = key::task(&run.task);
    let (bytes, most) = bytes_and_bound(events, rules);
    if !is_last_word(events, bytes)
        && let Err(error) = room.result(bytes)
    {
        return Ok(error.into());
    }
    let status = last_status(events);
    let mut values = vec![
        task_key.into(),
        run.run.into(),
        events.len().into(),
        bytes.into(),
        most.into(),
        rules.lease_millis(),
        after.map_or_else(|| (-1_i64).into(), Into::into),
    ];
    let update = match status {
        None => {
            "UPDATE {s}bindu_tasks SET number = number + $3, bytes = bytes + $4,
            lease_until = CASE WHEN phase = 0 THEN {now} + $6 ELSE lease_until END
            WHERE task_key = $1 AND run = $2 AND phase <> 2 AND bytes + $4 <= $5 AND ($7 < 0 OR number = $7)
            RETURNING task, number"
        }
        Some(status) => {
            values.extend([
                stored::state_name(status.state).into(),
                phase(status.state).into(),
                nanos(status.timestamp).into(),
            ]);
            "UPDATE {s}bindu_tasks SET number = number + $3, bytes = bytes + $4, state = $8, phase = $9,
                changed = $10, lease_until = {now} + $6
                WHERE task_key = $1 AND run = $2 AND phase <> 2 AND bytes + $4 <= $5 AND ($7 < 0 OR number = $7)
                RETURNING task, number"
        }
    };
    let rows = session.rows(update, values).await?;
    let Some(row) = rows.first() else {
        let held = hold(session, task_key).await?;
        let held = held.filter(|held| held.run == run.run && !held.state.is_terminal());
        let error = match held {
            None => StoreError::Superseded,
            Some(held) if after.is_some_and(|after| after != held.number) => StoreError::Moved(held.number),
            Some(_) => StoreError::TooLarge,
        };
        return Ok(error.into());
    };
    let (task, number) = (row.int(0)?, row.count(1)?);
    rules.unfinished.add(&key::owner(&run.task.owner), 0, bytes);
    add_events(session, task, number - events.len() as u64, run.run, events).await?;
    Ok(Done { answer: Ok(Reply::Number(number)), news: vec![News::Number(task_key, number)] })
}

async fn cancel<S: Session>(session: &mut S, task: &TaskKey, rules: &Rules) -> Result<Done, Fault> {
    let task_key = key::task(task);
    let Some(held) = hold(session, task_key).await? else { return Ok(StoreError::NotFound.into()) };
    if held.state.is_terminal() {
        return Ok(StoreError::Ended(held.state).into());
    }
    let status = TaskStatus { state: TaskState::Canceled, message: None, timestamp: Timestamp::now() };
    let run = RunKey { task: task.clone(), run: held.run };
    // As small as a last word is.
    let room = &mut Room::new(None);
    let done = append(session, &run, None, (&[TaskEvent::Status(status)], rules, room)).await?;
    if let Err(error) = done.answer {
        return Ok(error.into());
    }
    let Some(task) = read::snapshot_of(session, held.task).await? else {
        return Ok(StoreError::NotFound.into());
    };
    let canceled = Canceled { task, run: Some(run) };
    Ok(Done { answer: Ok(Reply::Canceled(Box::new(canceled))), news: done.news })
}

async fn put_feedback<S: Session>(
    session: &mut S,
    task: &TaskKey,
    feedback: &Json,
    rules: &Rules,
) -> Result<Done, Fault> {
    let Some(held) = hold(session, key::task(task)).await? else { return Ok(StoreError::NotFound.into()) };
    if held.bytes + feedback.text().len() > rules.bounds.task_bytes.saturating_mul(RESULTS) {
        return Ok(StoreError::TooLarge.into());
    }
    let keep = "INSERT INTO {s}bindu_feedback (task, feedback) VALUES ($1, $2)
        ON CONFLICT (task) DO UPDATE SET feedback = excluded.feedback";
    session.execute(keep, vec![held.task.into(), feedback.text().into()]).await?;
    Ok(Reply::Done.into())
}

async fn forget_context<S: Session>(session: &mut S, owner: &Owner, context_id: &str) -> Result<Done, Fault> {
    let find = "SELECT task FROM {s}bindu_tasks WHERE owner = $1 AND context = $2 ORDER BY task_key {lock}";
    let values = vec![key::owner(owner).into(), key::context(owner, context_id).into()];
    let rows = session.rows(find, values).await?;
    let tasks = rows.iter().map(|row| row.int(0)).collect::<Result<Vec<_>, _>>()?;
    let (count, news) = forget(session, &tasks, false).await?;
    let answer = if count == 0 { Err(StoreError::NotFound) } else { Ok(Reply::Count(count)) };
    Ok(Done { answer, news })
}

/// Forgets tasks with all that belongs to them; how many. Unfinished ones are left if it says so.
async fn forget<S: Session>(
    session: &mut S,
    tasks: &[i64],
    spares_unfinished: bool,
) -> Result<(usize, Vec<News>), Fault> {
    if tasks.is_empty() {
        return Ok((0, Vec::new()));
    }
    let list =
        |tasks: &[i64]| -> Value { tasks.iter().map(i64::to_string).collect::<Vec<_>>().join(",").into() };
    let delete = match spares_unfinished {
        true => "DELETE FROM {s}bindu_tasks WHERE task IN ({ids}) AND phase <> 0 RETURNING task, task_key",
        false => "DELETE FROM {s}bindu_tasks WHERE task IN ({ids}) RETURNING task, task_key",
    };
    let (mut gone, mut news) = (Vec::new(), Vec::new());
    for row in session.rows(delete, vec![list(tasks)]).await? {
        gone.push(row.int(0)?);
        news.push(News::Gone(row.hash(1)?));
    }
    if !gone.is_empty() {
        for table in ["bindu_events", "bindu_messages", "bindu_pushes", "bindu_feedback"] {
            let delete = format!("DELETE FROM {{s}}{table} WHERE task IN ({{ids}})");
            session.execute(&delete, vec![list(&gone)]).await?;
        }
    }
    Ok((gone.len(), news))
}

/// A time in nanoseconds, as far as 64 bits reach.
pub(super) fn nanos(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(if time.as_second() < 0 { i64::MIN } else { i64::MAX })
}
