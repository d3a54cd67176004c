//! What only reads, in a transaction that sees one state of the whole.

use super::{
    clock, key,
    session::{Fault, Row, Session, Value},
    stored, write,
};
use crate::{Conversation, ListQuery, Numbered, Owner, Sealer, Snapshot, StoreError, TaskKey, TaskPage};
use bindu_a2a::{
    call::PushConfig,
    model::{Task, TaskState, TaskStatus},
};
use jiff::Timestamp;
use std::{collections::HashMap, fmt::Write as _, time::Duration};

/// How many events are read before others have a turn on the thread.
const READ_AT_ONCE: usize = 64;

/// A reader's answer: what it asks for, or why not; or a fault of the database.
pub(super) type Read<T> = Result<Result<T, StoreError>, Fault>;

/// A task before its first event.
pub(super) fn empty_task(id: &str, context_id: &str) -> Task {
    Task {
        id: id.to_owned(),
        context_id: context_id.to_owned(),
        status: TaskStatus { state: TaskState::Submitted, message: None, timestamp: Timestamp::UNIX_EPOCH },
        history: Vec::new(),
        artifacts: Vec::new(),
        metadata: None,
    }
}

/// The task that rows of `id, context_id, number, event` make; nothing without rows.
fn fold(rows: Vec<Row>) -> Result<Option<Snapshot>, Fault> {
    let Some(first) = rows.first() else { return Ok(None) };
    let mut task = empty_task(&key::unescaped(first.text(0)?), &key::unescaped(first.text(1)?));
    let mut number = 0;
    // Each is let go as soon as it is read.
    for row in rows {
        number = row.count(2)?;
        task.apply(&stored::read_event(row.text(3)?)?);
    }
    Ok(Some(Snapshot { task, number }))
}

/// The task of a row.
pub(super) async fn snapshot_of<S: Session>(session: &mut S, task: i64) -> Result<Option<Snapshot>, Fault> {
    let statement = "SELECT t.id, t.context_id, e.number, e.event FROM {s}bindu_tasks AS t
        JOIN {s}bindu_events AS e ON e.task = t.task WHERE t.task = $1 ORDER BY e.number";
    fold(session.rows(statement, vec![task.into()]).await?)
}

pub(super) async fn read<S: Session>(session: &mut S, task: &TaskKey) -> Read<Snapshot> {
    let statement = "SELECT t.id, t.context_id, e.number, e.event FROM {s}bindu_tasks AS t
        JOIN {s}bindu_events AS e ON e.task = t.task WHERE t.task_key = $1 ORDER BY e.number";
    let rows = session.rows(statement, vec![key::task(task).into()]).await?;
    Ok(fold(rows)?.ok_or(StoreError::NotFound))
}

/// A task of at most so many bytes; of one that has more, how many. One statement: a row without an event is a task with more.
pub(super) async fn read_light<S: Session>(session: &mut S, task: &TaskKey, light: usize) -> Read<Snapshot> {
    let statement = "SELECT t.id, t.context_id, e.number, e.event, t.bytes FROM {s}bindu_tasks AS t
        LEFT JOIN {s}bindu_events AS e ON e.task = t.task AND t.bytes <= $2
        WHERE t.task_key = $1 ORDER BY e.number";
    let rows = session.rows(statement, vec![key::task(task).into(), light.into()]).await?;
    if let Some(row) = rows.first().filter(|row| row.is_null(2)) {
        return Ok(Err(StoreError::Heavy(usize::try_from(row.count(4)?).unwrap_or(usize::MAX))));
    }
    Ok(fold(rows)?.ok_or(StoreError::NotFound))
}

pub(super) async fn context_id<S: Session>(session: &mut S, task: &TaskKey) -> Read<String> {
    let statement = "SELECT context_id FROM {s}bindu_tasks WHERE task_key = $1";
    let rows = session.rows(statement, vec![key::task(task).into()]).await?;
    let context_id = rows.first().map(|row| row.text(0)).transpose()?;
    Ok(context_id.map(key::unescaped).ok_or(StoreError::NotFound))
}

/// A task's row number, which a statement that asks for what it may have none of needs.
async fn row_of<S: Session>(session: &mut S, task: &TaskKey) -> Result<Option<i64>, Fault> {
    let statement = "SELECT task FROM {s}bindu_tasks WHERE task_key = $1";
    let rows = session.rows(statement, vec![key::task(task).into()]).await?;
    rows.first().map(|row| row.int(0)).transpose()
}

pub(super) async fn events<S: Session>(
    session: &mut S,
    task: &TaskKey,
    after: u64,
    limit: usize,
) -> Read<Vec<Numbered>> {
    let statement = "SELECT e.number, e.event FROM {s}bindu_tasks AS t
        LEFT JOIN {s}bindu_events AS e ON e.task = t.task AND e.number > $2
        WHERE t.task_key = $1 ORDER BY e.number LIMIT $3";
    tail(session, statement, task, (after, limit)).await
}

pub(super) async fn statuses<S: Session>(
    session: &mut S,
    task: &TaskKey,
    after: u64,
    limit: usize,
) -> Read<Vec<Numbered>> {
    let statement = "SELECT e.number, e.event FROM {s}bindu_tasks AS t
        LEFT JOIN {s}bindu_events AS e ON e.task = t.task AND e.number > $2 AND e.kind = 'status'
        WHERE t.task_key = $1 ORDER BY e.number LIMIT $3";
    tail(session, statement, task, (after, limit)).await
}

/// One statement, so that it needs no transaction; a row without an event is a task without such events.
async fn tail<S: Session>(
    session: &mut S,
    statement: &str,
    task: &TaskKey,
    (after, limit): (u64, usize),
) -> Read<Vec<Numbered>> {
    let values = vec![key::task(task).into(), after.into(), limit.max(1).into()];
    let rows = session.rows(statement, values).await?;
    if rows.is_empty() {
        return Ok(Err(StoreError::NotFound));
    }
    let event = |row: Row| Ok(Numbered { number: row.count(0)?, event: stored::read_event(row.text(1)?)? });
    let there = rows.into_iter().filter(|row| !row.is_null(0)).take(limit);
    Ok(Ok(there.map(event).collect::<Result<_, Fault>>()?))
}

pub(super) async fn pushes<S: Session>(
    session: &mut S,
    task: &TaskKey,
    sealer: Option<&dyn Sealer>,
) -> Read<Vec<PushConfig>> {
    let Some(row) = row_of(session, task).await? else { return Ok(Err(StoreError::NotFound)) };
    let statement = "SELECT config FROM {s}bindu_pushes WHERE task = $1 ORDER BY id";
    let rows = session.rows(statement, vec![row.into()]).await?;
    let config = |row: &Row| Ok(stored::read_push(row.text(0)?)?.open(task, sealer).0);
    Ok(Ok(rows.iter().map(config).collect::<Result<_, Fault>>()?))
}

/// A cursor: the place of a page's last task.
fn token(changed: i64, task: i64) -> String {
    format!("{changed}.{task}")
}

fn place(token: &str) -> Option<(i64, i64)> {
    let (changed, task) = token.split_once('.')?;
    Some((changed.parse().ok()?, task.parse().ok()?))
}

/// The two statements of a list: how many tasks there are in all, and the rows of a page.
struct Listing {
    count: (String, Vec<Value>),
    page: (String, Vec<Value>),
}

impl Listing {
    fn of(owner: &Owner, query: &ListQuery) -> Result<Self, StoreError> {
        let mut condition = "owner = $1".to_owned();
        let mut values: Vec<Value> = vec![key::owner(owner).into()];
        let mut add = |column: &str, value: Value| {
            values.push(value);
            let _ = write!(condition, " AND {column} ${}", values.len());
        };
        if let Some(context_id) = &query.context_id {
            add("context =", key::context(owner, context_id).into());
        }
        if let Some(state) = query.state {
            add("state =", stored::state_name(state).into());
        }
        if let Some(since) = query.changed_since {
            add("changed >=", write::nanos(since).into());
        }
        let count = match values.len() {
            1 => "SELECT {total} WHERE owner = $1".to_owned(),
            _ => format!("SELECT count(*) FROM {{s}}bindu_tasks WHERE {condition}"),
        };
        let count = (count, values.clone());
        if !query.page_token.is_empty() {
            let (changed, task) = place(&query.page_token).ok_or(StoreError::BadPageToken)?;
            values.extend([changed.into(), task.into()]);
            let _ = write!(condition, " AND (changed, task) < (${}, ${})", values.len() - 1, values.len());
        }
        values.push(query.page_size.max(1).saturating_add(1).into());
        let page = format!(
            "SELECT task, id, context_id, changed, bytes FROM {{s}}bindu_tasks WHERE {condition}
                ORDER BY changed DESC, task DESC LIMIT ${}",
            values.len()
        );
        Ok(Self { count, page: (page, values) })
    }
}

pub(super) async fn list<S: Session>(session: &mut S, owner: &Owner, query: &ListQuery) -> Read<TaskPage> {
    let Listing { count, page } = match Listing::of(owner, query) {
        Ok(listing) => listing,
        Err(error) => return Ok(Err(error)),
    };
    let counts = session.rows(&count.0, count.1).await?;
    let total_size = counts.first().map_or(Ok(0), |row| row.count(0))?;
    let mut rows = session.rows(&page.0, page.1).await?;
    let page_size = query.page_size.max(1);
    let mut has_more = rows.len() > page_size;
    rows.truncate(page_size);
    let (fitting, bytes) = fitting(session, &rows, query).await?;
    has_more |= fitting < rows.len();
    rows.truncate(fitting);
    if query.light.is_some_and(|light| bytes > light) {
        return Ok(Err(StoreError::Heavy(bytes)));
    }
    let next_page_token = match rows.last().filter(|_| has_more) {
        Some(row) => token(row.int(3)?, row.int(0)?),
        None => String::new(),
    };
    let tasks = fill(session, &rows, query.with_artifacts).await?;
    let total_size = usize::try_from(total_size).unwrap_or(usize::MAX);
    Ok(Ok(TaskPage { tasks, next_page_token, total_size }))
}

/// The events of tasks.
const EVENTS_OF: &str = "SELECT task, event FROM {s}bindu_events WHERE task IN ({ids}) ORDER BY task, number";
const EVENTS_WITHOUT_ARTIFACTS_OF: &str = "SELECT task, event FROM {s}bindu_events WHERE task IN ({ids})
    AND kind <> 'artifact' ORDER BY task, number";
/// How many of a page's rows fit into it, at least one, and how many bytes those have.
async fn fitting<S: Session>(
    session: &mut S,
    rows: &[Row],
    query: &ListQuery,
) -> Result<(usize, usize), Fault> {
    let bytes = |row: &Row, column| Ok(usize::try_from(row.count(column)?).unwrap_or(usize::MAX));
    let mut of_each = rows.iter().map(|row| bytes(row, 4)).collect::<Result<Vec<usize>, Fault>>()?;
    let most = query.page_bytes.unwrap_or(usize::MAX).min(query.light.unwrap_or(usize::MAX));
    if !query.with_artifacts && of_each.iter().sum::<usize>() > most {
        // What is left out does not count.
        let list = rows.iter().map(|row| Ok(row.int(0)?.to_string())).collect::<Result<Vec<_>, Fault>>()?;
        let statement = "SELECT task, CAST(sum(octet_length(event)) AS BIGINT) FROM {s}bindu_events
                WHERE task IN ({ids}) AND kind <> 'artifact' GROUP BY task";
        let mut counted = HashMap::with_capacity(rows.len());
        for row in session.rows(statement, vec![list.join(",").into()]).await? {
            counted.insert(row.int(0)?, bytes(&row, 1)?);
        }
        for (row, bytes) in rows.iter().zip(&mut of_each) {
            *bytes = counted.get(&row.int(0)?).copied().unwrap_or(0);
        }
    }
    let page = query.page_bytes.unwrap_or(usize::MAX);
    let (mut fitting, mut sum) = (0, 0_usize);
    for bytes in of_each {
        if fitting > 0 && sum.saturating_add(bytes) > page {
            break;
        }
        (fitting, sum) = (fitting + 1, sum.saturating_add(bytes));
    }
    Ok((fitting, sum))
}

/// The tasks of rows of `task, id, context_id`, by one scan of their events.
async fn fill<S: Session>(session: &mut S, rows: &[Row], with_artifacts: bool) -> Result<Vec<Task>, Fault> {
    let mut tasks = Vec::with_capacity(rows.len());
    let (mut places, mut list) = (HashMap::with_capacity(rows.len()), String::new());
    for (at, row) in rows.iter().enumerate() {
        let task = row.int(0)?;
        places.insert(task, at);
        let _ = write!(list, "{}{task}", if at == 0 { "" } else { "," });
        tasks.push(empty_task(&key::unescaped(row.text(1)?), &key::unescaped(row.text(2)?)));
    }
    if rows.is_empty() {
        return Ok(tasks);
    }
    let statement = if with_artifacts { EVENTS_OF } else { EVENTS_WITHOUT_ARTIFACTS_OF };
    for (read, row) in session.rows(statement, vec![list.into()]).await?.into_iter().enumerate() {
        if read % READ_AT_ONCE == READ_AT_ONCE - 1 {
            // A long page keeps no thread from those who send.
            tokio::task::yield_now().await;
        }
        let task = places.get(&row.int(0)?).and_then(|at| tasks.get_mut(*at));
        if let Some(task) = task {
            task.apply(&stored::read_event(row.text(1)?)?);
        }
    }
    Ok(tasks)
}

pub(super) async fn contexts<S: Session>(
    session: &mut S,
    owner: &Owner,
    limit: usize,
) -> Read<Vec<Conversation>> {
    let statement = "SELECT context, max(changed), min(context_id) FROM {s}bindu_tasks WHERE owner = $1
        GROUP BY context ORDER BY 2 DESC LIMIT $2";
    let rows = session.rows(statement, vec![key::owner(owner).into(), limit.into()]).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let of_context = "SELECT id FROM {s}bindu_tasks WHERE owner = $1 AND context = $2 ORDER BY task";
        let values = vec![key::owner(owner).into(), row.hash(0)?.into()];
        let tasks = session.rows(of_context, values).await?;
        let tasks = tasks.iter().map(|row| Ok(key::unescaped(row.text(0)?)));
        found.push(Conversation {
            id: key::unescaped(row.text(2)?),
            tasks: tasks.collect::<Result<_, Fault>>()?,
            changed: Timestamp::from_nanosecond(row.int(1)?.into()).unwrap_or_default(),
        });
    }
    Ok(Ok(found))
}

/// The numbers of the last events of tasks, by their keys. Those that are not there are left out.
pub(super) async fn numbers<S: Session>(
    session: &mut S,
    keys: &[key::Hash],
) -> Result<Vec<(key::Hash, u64)>, Fault> {
    let mut found = Vec::with_capacity(keys.len());
    for some in keys.chunks(500) {
        let places = (1..=some.len()).map(|at| format!("${at}")).collect::<Vec<_>>().join(",");
        let statement = format!("SELECT task_key, number FROM {{s}}bindu_tasks WHERE task_key IN ({places})");
        let values = some.iter().map(|key| (*key).into()).collect();
        for row in session.rows(&statement, values).await? {
            found.push((row.hash(0)?, row.count(1)?));
        }
    }
    Ok(found)
}

/// The database's clock, in milliseconds.
pub(super) async fn now<S: Session>(session: &mut S) -> Result<i64, Fault> {
    let rows = session.rows("SELECT {now}", Vec::new()).await?;
    rows.first().map_or(Ok(0), |row| row.int(0))
}

/// Tasks and when they were begun, the newest first, before this one. Without those that were imported: they are of other times.
pub(super) async fn begun<S: Session>(
    session: &mut S,
    before: i64,
    limit: usize,
) -> Result<Vec<(i64, i64)>, Fault> {
    let statement = "SELECT task, created FROM {s}bindu_tasks WHERE task < $1 AND replica <> ''
        ORDER BY task DESC LIMIT $2";
    let rows = session.rows(statement, vec![before.into(), limit.into()]).await?;
    rows.iter().map(|row| Ok((row.int(0)?, row.int(1)?))).collect()
}

/// When a task's status has changed by the database's clock: its lease begins anew with each status. Only an imported task
/// has had none.
macro_rules! settled {
    ($lease:literal) => {
        concat!("CASE WHEN lease_until > 0 THEN lease_until - ", $lease, " ELSE changed / 1000000 END")
    };
}

/// What the background forgets next: tasks in the order of their creation, behind `after`, that nobody works on and whose
/// status has not changed for so long (how long tasks are kept, and the length of a lease); and the last task that was looked
/// at, unless that was the end.
pub(super) async fn aged<S: Session>(
    session: &mut S,
    after: i64,
    (age, lease): (Duration, Duration),
    limit: usize,
) -> Result<(Vec<i64>, Option<i64>), Fault> {
    let statement = concat!(
        "SELECT task, phase, {now} - (",
        settled!("$3"),
        ") FROM {s}bindu_tasks WHERE task > $1 ORDER BY task LIMIT $2"
    );
    let rows = session.rows(statement, vec![after.into(), limit.into(), clock::millis(lease).into()]).await?;
    let (mut old, mut last) = (Vec::new(), None);
    for row in &rows {
        last = Some(row.int(0)?);
        if row.int(1)? != 0 && row.int(2)? >= clock::millis(age) {
            old.push(row.int(0)?);
        }
    }
    Ok((old, last.filter(|_| rows.len() >= limit)))
}

/// The owners that have more than so many tasks or bytes, or all that have more than nothing.
pub(super) async fn large_owners<S: Session>(
    session: &mut S,
    tasks: usize,
    bytes: u64,
) -> Result<Vec<(key::Hash, u64, u64)>, Fault> {
    let statement = "SELECT owner, count(*), CAST(sum(bytes) AS BIGINT) FROM {s}bindu_tasks
        GROUP BY owner HAVING count(*) > $1 OR sum(bytes) > $2 ORDER BY 3 DESC LIMIT 100";
    let rows = session.rows(statement, vec![tasks.into(), bytes.into()]).await?;
    rows.iter().map(|row| Ok((row.hash(0)?, row.count(1)?, row.count(2)?))).collect()
}

/// An owner's tasks that may be forgotten, those that have ended before those that wait, and the oldest first: row and bytes.
/// Those whose status has changed within this time are kept.
pub(super) async fn forgettable<S: Session>(
    session: &mut S,
    owner: key::Hash,
    (kept, lease): (Option<Duration>, Duration),
    limit: usize,
) -> Result<Vec<(i64, u64)>, Fault> {
    let statement = concat!(
        "SELECT task, bytes FROM {s}bindu_tasks WHERE owner = $1 AND phase <> 0
        AND ($2 < 0 OR {now} - (",
        settled!("$3"),
        ") >= $2) ORDER BY phase DESC, changed, task LIMIT $4"
    );
    let kept = kept.map_or(-1, clock::millis);
    let values = vec![owner.into(), kept.into(), clock::millis(lease).into(), limit.into()];
    let rows = session.rows(statement, values).await?;
    rows.iter().map(|row| Ok((row.int(0)?, row.count(1)?))).collect()
}

/// Whether anything is answered, and the tables are there.
pub(super) async fn nothing<S: Session>(session: &mut S) -> Read<()> {
    session.rows("SELECT version FROM {s}bindu_storage", Vec::new()).await.map(|_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        SqliteOptions,
        sql::{session::Backend, sqlite::SqliteBackend},
    };
    use bindu_a2a::model::TaskState;

    /// A file without tasks, in a directory that goes with the test.
    async fn empty() -> (tempfile::TempDir, SqliteBackend) {
        let directory = tempfile::tempdir().expect("a directory");
        let options = SqliteOptions {
            is_alone: true,
            ..SqliteOptions::new(directory.path().join("tasks.db"), "did:bindu:test:store")
        };
        let backend = SqliteBackend::open(&options, None).await.expect("a file");
        (directory, backend)
    }

    /// What SQLite would do: a line for each step.
    async fn plan(session: &mut impl Session, statement: &str, values: Vec<Value>) -> String {
        let rows = session.rows(&format!("EXPLAIN QUERY PLAN {statement}"), values).await.expect("a plan");
        rows.iter().map(|row| row.text(3).expect("a text").to_owned()).collect::<Vec<_>>().join("\n")
    }

    /// However many tasks there are, and without statistics: nothing is scanned as a whole, nothing is sorted.
    #[tokio::test]
    async fn a_list_is_one_scan_of_an_index() {
        let (_directory, backend) = empty().await;
        let mut session = backend.read().await.expect("it reads");
        let owner = Owner::Client { id: "alice".into(), subject: None };
        let since = Some(Timestamp::UNIX_EPOCH);
        let plain = ListQuery { page_size: 50, ..ListQuery::default() };
        for query in [
            plain.clone(),
            ListQuery { page_token: token(5, 7), ..plain.clone() },
            ListQuery { changed_since: since, page_token: token(5, 7), ..plain.clone() },
            ListQuery { state: Some(TaskState::Completed), changed_since: since, ..plain.clone() },
        ] {
            let Listing { count, page } = Listing::of(&owner, &query).expect("a cursor of ours");
            for (statement, values) in [count, page] {
                let plan = plan(&mut session, &statement, values).await;
                let by_index = plan.starts_with("SEARCH bindu_tasks USING")
                    && plan.contains("INDEX bindu_tasks_list (owner=?");
                let is_counted = plan == "SEARCH bindu_counts USING PRIMARY KEY (owner=?)";
                assert!(by_index || is_counted, "{statement}\n{plan}");
                assert_eq!(plan.lines().count(), 1, "{statement}\n{plan}");
            }
        }
        for statement in [EVENTS_OF, EVENTS_WITHOUT_ARTIFACTS_OF] {
            let plan = plan(&mut session, statement, vec!["1,2,3".into()]).await;
            assert!(plan.contains("SEARCH bindu_events USING PRIMARY KEY (task=?"), "{plan}");
            assert!(
                !plan.contains("SCAN bindu_events") && !plan.contains("TEMP B-TREE FOR ORDER BY"),
                "{plan}"
            );
        }
    }

    /// What a start and its background ask for is found by an index, too.
    #[tokio::test]
    async fn nothing_that_a_start_asks_for_is_a_scan_of_all_tasks() {
        let (_directory, backend) = empty().await;
        let mut session = backend.write().await.expect("it writes");
        for statement in [
            "UPDATE {s}bindu_tasks SET lease_until = 0 WHERE phase = 0",
            "SELECT task FROM {s}bindu_tasks WHERE phase = 0 AND lease_until < {now} ORDER BY lease_until LIMIT 5",
            "SELECT count(*) FROM (SELECT 1 AS one FROM {s}bindu_tasks WHERE phase = 0 LIMIT 5) AS found",
            "UPDATE {s}bindu_tasks SET number = number + v.column2 FROM (VALUES (x'00', 1)) AS v
                WHERE task_key = v.column1 AND run = 1",
        ] {
            let plan = plan(&mut session, statement, Vec::new()).await;
            assert!(plan.contains("bindu_tasks USING") && plan.contains("INDEX"), "{statement}\n{plan}");
            assert!(!plan.lines().any(|step| step == "SCAN bindu_tasks"), "{statement}\n{plan}");
        }
    }
}
