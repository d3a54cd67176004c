//! Changes of a group commit that are done together: one statement for all of a kind, in place of one for each.
//!
//! Only what is plain: messages that begin tasks, and events of runs. What needs a closer look (a task that is continued, a
//! message that is known, a run that counts no more, an owner without room) is left to `write`, one change after the other.

use super::{
    key::{self, Hash},
    pushes, remembered,
    room::Room,
    session::{Fault, Session, Value},
    share::{self, Wanted},
    stored,
    unanswered::{Given, Offer},
    write::{self, Change, Done, EVENT_BYTES, NewTask, News, Reply, Rules, TASK_BYTES},
};
use crate::{RunKey, Snapshot, Submission, Submitted, TaskKey};
use bindu_a2a::{
    event::TaskEvent,
    model::{TaskState, TaskStatus},
};
use jiff::Timestamp;
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// What one change came to, if it was done.
pub(super) type Outcomes = Vec<Option<Done>>;

/// Does what is plain of these changes. A fault means that none of them is done, and says nothing of which it was.
pub(super) async fn apply<S: Session>(
    session: &mut S,
    changes: &[Change],
    (rules, room): (&Rules, &mut Room),
) -> Result<Outcomes, Fault> {
    let mut outcomes: Outcomes = changes.iter().map(|_| None).collect();
    let mut events = Vec::new();
    begin(session, new_tasks(changes), (rules, &mut *room), (&mut outcomes, &mut events)).await?;
    append(session, appended(changes, rules, room), rules, (&mut outcomes, &mut events)).await?;
    // What others do after it must not meet its faults.
    let is_all = outcomes.iter().all(Option::is_some);
    add_events(session, &events, is_all).await?;
    Ok(outcomes)
}

fn set(outcomes: &mut Outcomes, at: usize, done: Done) {
    if let Some(outcome) = outcomes.get_mut(at) {
        *outcome = Some(done);
    }
}

/// An event for its row.
pub(super) struct Event<'a> {
    pub(super) task: i64,
    pub(super) number: u64,
    pub(super) run: u64,
    pub(super) event: Cow<'a, TaskEvent>,
}

/// How many rows the next statement has: few lengths, so that SQLite keeps few statements.
fn length(rows: usize) -> usize {
    [64, 32, 16].into_iter().find(|length| *length <= rows).unwrap_or(rows.min(8))
}

/// Cuts a list into lists of such lengths.
fn pieces<T>(mut all: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let (piece, rest) = all.split_at_checked(length(all.len())).filter(|(piece, _)| !piece.is_empty())?;
        all = rest;
        Some(piece)
    })
}

/// A statement with a list of rows in place of `{rows}`: each as `row` says, whose `?` are numbered from `first` on.
fn with_rows(statement: &str, row: &str, rows: usize, first: usize) -> String {
    let mut number = first;
    let mut list = String::with_capacity(rows * (row.len() + 16));
    for at in 0..rows {
        list.push_str(if at == 0 { "" } else { ", " });
        for character in row.chars() {
            if character == '?' {
                list.push('$');
                list.push_str(&number.to_string());
                number += 1;
            } else {
                list.push(character);
            }
        }
    }
    statement.replace("{rows}", &list)
}

/// Adds events, the last of them together with the end of the transaction if nothing else comes before it (`is_last`).
pub(super) async fn add_events<S: Session>(
    session: &mut S,
    events: &[Event<'_>],
    is_last: bool,
) -> Result<(), Fault> {
    let mut left = events.len();
    let insert = "INSERT INTO {s}bindu_events (task, number, run, kind, event) VALUES {rows}";
    for some in pieces(events) {
        let values = some.iter().flat_map(|new| -> [Value; 5] {
            let (kind, text) = (stored::kind(&new.event), stored::write_event(&new.event));
            [new.task.into(), new.number.into(), new.run.into(), kind.into(), text.into()]
        });
        let insert = with_rows(insert, "(?, ?, ?, ?, ?)", some.len(), 1);
        left -= some.len();
        if is_last && left == 0 {
            session.execute_with_next(&insert, values.collect()).await?;
        } else {
            session.execute(&insert, values.collect()).await?;
        }
    }
    Ok(())
}

/// Adds the rows of tasks that begin. Those whose key is there already are left out.
pub(super) async fn add_tasks<S: Session>(
    session: &mut S,
    tasks: &[&NewTask<'_>],
    rules: &Rules,
) -> Result<HashMap<Hash, i64>, Fault> {
    let insert =
        "INSERT INTO {s}bindu_tasks (task_key, owner, owner_client, owner_subject, id, context, context_id,
        state, phase, changed, number, run, replica, lease_until, bytes, created) VALUES {rows}
        ON CONFLICT (task_key) DO NOTHING RETURNING task, task_key";
    let row = "(?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 2, 1, $1, {now} + $2, ?, {now})";
    let mut added = HashMap::with_capacity(tasks.len());
    for some in pieces(tasks) {
        let mut values: Vec<Value> = vec![rules.replica.as_str().into(), rules.lease_millis()];
        values.extend(some.iter().flat_map(|new| new.values()));
        for row in session.rows(&with_rows(insert, row, some.len(), 3), values).await? {
            added.insert(row.hash(1)?, row.int(0)?);
        }
    }
    Ok(added)
}

/// A message that may begin a task.
struct New<'a> {
    at: usize,
    new: NewTask<'a>,
    message: Option<Hash>,
    replay: Option<Hash>,
    events: [TaskEvent; 2],
}

/// The messages that may begin tasks, each task and each message once.
fn new_tasks(changes: &[Change]) -> Vec<New<'_>> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for (at, change) in changes.iter().enumerate() {
        let Change::Submit(submission) = change else { continue };
        if !submission.may_begin {
            continue;
        }
        let new = New::of(at, submission);
        let keys = [Some(new.new.key), new.message, new.replay];
        if keys.into_iter().flatten().all(|key| seen.insert(key)) {
            all.push(new);
        }
    }
    all
}

impl<'a> New<'a> {
    fn of(at: usize, submission: &'a Submission) -> Self {
        let Submission { owner, message, .. } = submission;
        let task = TaskKey { owner: owner.clone(), id: message.task_id.clone() };
        let status = TaskStatus { state: TaskState::Submitted, message: None, timestamp: Timestamp::now() };
        let bytes =
            message.bytes() + 2 * EVENT_BYTES + TASK_BYTES + message.task_id.len() + message.context_id.len();
        Self {
            at,
            message: submission.content.map(|content| key::message(owner, &message.id, &content)),
            replay: submission.replay.as_ref().map(|replay| key::replay(owner, &replay.hash)),
            events: [TaskEvent::Message(Arc::clone(message)), TaskEvent::Status(status.clone())],
            new: NewTask { key: key::task(&task), owner: key::owner(owner), task, submission, bytes, status },
        }
    }
}

impl New<'_> {
    fn wanted(&self) -> Wanted<'_> {
        Wanted { submission: self.new.submission, owner: self.new.owner, held: None, bytes: self.new.bytes }
    }
}

/// Begins tasks.
async fn begin<'a, S: Session>(
    session: &mut S,
    candidates: Vec<New<'a>>,
    (rules, room): (&Rules, &mut Room),
    (outcomes, events): (&mut Outcomes, &mut Vec<Event<'a>>),
) -> Result<(), Fault> {
    if candidates.is_empty() {
        return Ok(());
    }
    let begun = with_room(session, candidates, (rules, room)).await?;
    let rows = add_tasks(session, &begun.iter().map(|new| &new.new).collect::<Vec<_>>(), rules).await?;
    let (mut messages, mut replays) = (Vec::new(), Vec::<[Value; 4]>::new());
    for New { at, new, message, replay, events: said } in begun {
        let Some(row) = rows.get(&new.key).copied() else { continue };
        let submission = new.submission;
        messages.extend(message.map(|message| (message, row)));
        if let (Some(hash), Some(replay)) = (replay, &submission.replay) {
            let ends = replay.until.as_millisecond().saturating_add(1);
            replays.push([hash.into(), new.owner.into(), key::escaped(&new.task.id).into(), ends.into()]);
        }
        let number = said.len() as u64;
        if let Some(config) = &submission.push {
            pushes::write_push(session, (row, number), (&new.task, config), rules).await?;
        }
        let task = write::folded(&submission.message, &said);
        let run = RunKey { task: new.task, run: 1 };
        let submitted = Submitted { task: Snapshot { task, number }, run: Some(run), superseded: None };
        let news = vec![News::Number(new.key, number)];
        let offer = Offer::new(rules, new.key, 1, write::nanos(new.status.timestamp));
        let given = Box::new(Given::new(submitted, Some(offer)));
        set(outcomes, at, Done { answer: Ok(Reply::Submitted(given)), news });
        let rows = said.into_iter().zip(1..);
        events.extend(rows.map(|(event, number)| Event {
            task: row,
            number,
            run: 1,
            event: Cow::Owned(event),
        }));
    }
    add_messages(session, &messages).await?;
    add_replays(session, &replays).await
}

async fn add_messages<S: Session>(session: &mut S, messages: &[(Hash, i64)]) -> Result<(), Fault> {
    let insert = "INSERT INTO {s}bindu_messages (message, task) VALUES {rows}";
    for some in pieces(messages) {
        let values =
            some.iter().flat_map(|(message, task)| -> [Value; 2] { [(*message).into(), (*task).into()] });
        session.execute(&with_rows(insert, "(?, ?)", some.len(), 1), values.collect()).await?;
    }
    Ok(())
}

/// Adds signed requests; one that has run out and was not yet forgotten is written over.
async fn add_replays<S: Session>(session: &mut S, replays: &[[Value; 4]]) -> Result<(), Fault> {
    let insert =
        "INSERT INTO {s}bindu_replays AS r (replay, owner, id, ends) VALUES {rows} ON CONFLICT (replay)
        DO UPDATE SET owner = excluded.owner, id = excluded.id, ends = excluded.ends WHERE r.ends <= {now}";
    for some in pieces(replays) {
        let values = some.concat();
        let added = session.execute(&with_rows(insert, "(?, ?, ?, ?)", some.len(), 1), values).await?;
        if added != some.len() as u64 {
            return Err(Fault::Again("a signed request was remembered meanwhile".to_owned()));
        }
    }
    Ok(())
}

/// Whether a message or its signed request is known.
const KNOWN: &str = "SELECT v.column3, (SELECT count(*) FROM {s}bindu_messages WHERE message = v.column1)
    + (SELECT count(*) FROM {s}bindu_replays WHERE replay = v.column2 AND ends > {now})
    FROM (VALUES {rows}) AS v";

/// The places of those that are known.
async fn known<S: Session>(session: &mut S, candidates: &[New<'_>]) -> Result<HashSet<usize>, Fault> {
    let none: Hash = [0; 32];
    let named: Vec<_> =
        candidates.iter().filter(|new| new.message.is_some() || new.replay.is_some()).collect();
    let mut known = HashSet::new();
    for some in pieces(&named) {
        let values = some.iter().flat_map(|new| -> [Value; 3] {
            [new.message.unwrap_or(none).into(), new.replay.unwrap_or(none).into(), new.at.into()]
        });
        for row in session.rows(&with_rows(KNOWN, "(?, ?, ?)", some.len(), 1), values.collect()).await? {
            if row.count(1)? > 0 {
                known.extend(usize::try_from(row.count(0)?));
            }
        }
    }
    Ok(known)
}

/// Those that are new, and for which there is room beside the others.
async fn with_room<'a, S: Session>(
    session: &mut S,
    candidates: Vec<New<'a>>,
    (rules, room): (&Rules, &mut Room),
) -> Result<Vec<New<'a>>, Fault> {
    let known = known(session, &candidates).await?;
    for new in &candidates {
        share::look(session, new.wanted(), rules).await?;
    }
    let mut fitting = Vec::with_capacity(candidates.len());
    let mut signed = HashSet::new();
    for new in candidates.into_iter().filter(|new| !known.contains(&new.at)) {
        let (owner, is_signed) = (new.new.owner, new.replay.is_some());
        // One of each owner: a second count would not see what is not inserted yet.
        if is_signed && (!signed.insert(owner) || remembered::is_full(session, owner, rules).await?) {
            continue;
        }
        let Some(unfinished) = share::take_at_hand(new.wanted(), rules) else { continue };
        if room.message(new.new.bytes, unfinished).is_err() {
            continue;
        }
        if is_signed {
            remembered::count(owner, rules);
        }
        fitting.push(new);
    }
    Ok(fitting)
}

/// Events of a run that are added if it counts.
struct Appended<'a> {
    at: usize,
    key: Hash,
    owner: Hash,
    run: u64,
    after: Option<u64>,
    events: &'a [TaskEvent],
    bytes: usize,
    most: usize,
}

/// The events of runs, each task once.
fn appended<'a>(changes: &'a [Change], rules: &Rules, room: &mut Room) -> Vec<Appended<'a>> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for (at, change) in changes.iter().enumerate() {
        let Change::Append { run, after, events } = change else { continue };
        let key = key::task(&run.task);
        if write::says_more_after_its_end(events) || !seen.insert(key) {
            continue;
        }
        let (bytes, most) = write::bytes_and_bound(events, rules);
        if !write::is_last_word(events, bytes) && room.result(bytes).is_err() {
            continue;
        }
        let owner = key::owner(&run.task.owner);
        all.push(Appended { at, key, owner, run: run.run, after: *after, events, bytes, most });
    }
    all
}

/// Adds events to runs that count.
async fn append<'a, S: Session>(
    session: &mut S,
    appended: Vec<Appended<'a>>,
    rules: &Rules,
    (outcomes, events): (&mut Outcomes, &mut Vec<Event<'a>>),
) -> Result<(), Fault> {
    // A status below 0 is none.
    let update = "UPDATE {s}bindu_tasks SET number = number + v.column3, bytes = bytes + v.column4,
        state = CASE WHEN v.column7 < 0 THEN state ELSE v.column8 END,
        phase = CASE WHEN v.column7 < 0 THEN phase ELSE v.column7 END,
        changed = CASE WHEN v.column7 < 0 THEN changed ELSE v.column9 END,
        lease_until = CASE WHEN v.column7 >= 0 OR phase = 0 THEN {now} + $1 ELSE lease_until END
        FROM (VALUES {rows}) AS v
        WHERE task_key = v.column1 AND run = v.column2 AND phase <> 2 AND bytes + v.column4 <= v.column5
        AND (v.column6 < 0 OR number = v.column6) RETURNING task, task_key, number";
    for some in pieces(&appended) {
        let mut values: Vec<Value> = vec![rules.lease_millis()];
        values.extend(some.iter().flat_map(Appended::values));
        let update = with_rows(update, "(?, ?, ?, ?, ?, ?, ?, ?, ?)", some.len(), 2);
        let by_key: HashMap<Hash, &Appended<'a>> = some.iter().map(|one| (one.key, one)).collect();
        for row in session.rows(&update, values).await? {
            let (task, key, number) = (row.int(0)?, row.hash(1)?, row.count(2)?);
            let Some(one) = by_key.get(&key) else { continue };
            rules.unfinished.add(&one.owner, 0, one.bytes);
            let first = number - one.events.len() as u64 + 1;
            let rows = one.events.iter().zip(first..);
            events.extend(rows.map(|(event, number)| Event {
                task,
                number,
                run: one.run,
                event: Cow::Borrowed(event),
            }));
            let news = vec![News::Number(key, number)];
            set(outcomes, one.at, Done { answer: Ok(Reply::Number(number)), news });
        }
    }
    Ok(())
}

impl Appended<'_> {
    fn values(&self) -> [Value; 9] {
        let status = write::last_status(self.events);
        let (phase, state, changed) = match status {
            Some(status) => {
                (write::phase(status.state), stored::state_name(status.state), write::nanos(status.timestamp))
            }
            None => (-1, "", 0),
        };
        let after = self.after.map_or_else(|| (-1_i64).into(), Value::from);
        [
            self.key.into(),
            self.run.into(),
            self.events.len().into(),
            self.bytes.into(),
            self.most.into(),
            after,
            phase.into(),
            state.into(),
            changed.into(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_cut_into_few_lengths_and_nothing_is_lost() {
        let all: Vec<usize> = (0..300).collect();
        for count in 0..all.len() {
            let list = &all[..count];
            let cut: Vec<&[usize]> = pieces(list).collect();
            assert_eq!(cut.concat(), list);
            assert!(
                cut.iter().all(|piece| piece.len() <= 8 || [16, 32, 64].contains(&piece.len())),
                "{count}"
            );
            assert!(cut.len() <= count / 64 + 4, "{count}: {}", cut.len());
        }
    }

    #[test]
    fn rows_are_numbered_in_the_order_of_their_values() {
        let statement = with_rows("INSERT INTO {s}t VALUES {rows}", "(?, $1, ?)", 2, 2);
        assert_eq!(statement, "INSERT INTO {s}t VALUES ($2, $1, $3), ($4, $1, $5)");
    }
}
