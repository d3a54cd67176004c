//! Push configurations and what is due to them.

use super::{
    key,
    session::{Fault, Session, Value},
    stored,
    write::{Done, Reply, Rules, hold, millis},
};
use crate::{Pushed, StoreError, TaskKey, push::KeptPush};
use bindu_a2a::call::PushConfig;
use jiff::Timestamp;
use std::time::Duration;

/// For how long a delivery is its taker's.
const PUSH_LEASE: Duration = Duration::from_secs(60);

pub(super) async fn put_push<S: Session>(
    session: &mut S,
    task: &TaskKey,
    config: &PushConfig,
    rules: &Rules,
) -> Result<Done, Fault> {
    let Some(held) = hold(session, key::task(task)).await? else { return Ok(StoreError::NotFound.into()) };
    let others = "SELECT count(*) FROM {s}bindu_pushes WHERE task = $1 AND push <> $2";
    let rows = session.rows(others, vec![held.task.into(), key::push(&config.id).into()]).await?;
    let others = rows.first().map_or(Ok(0), |row| row.count(0))?;
    if others >= u64::try_from(rules.bounds.pushes).unwrap_or(u64::MAX) {
        return Ok(StoreError::TooMany.into());
    }
    // Of a task that has ended, it is told that.
    let delivered = held.number.saturating_sub(held.state.is_terminal().into());
    write_push(session, (held.task, delivered), (task, config), rules).await?;
    Ok(Reply::Done.into())
}

/// Sets a push configuration of a task's row; what it is told begins behind number `delivered`.
pub(super) async fn write_push<S: Session>(
    session: &mut S,
    (row, delivered): (i64, u64),
    (task, config): (&TaskKey, &PushConfig),
    rules: &Rules,
) -> Result<(), Fault> {
    let keep = "INSERT INTO {s}bindu_pushes (task, push, id, config, delivered, failures, due)
        VALUES ($1, $2, $3, $4, $5, 0, 0) ON CONFLICT (task, push) DO UPDATE SET
        config = excluded.config, delivered = excluded.delivered, failures = 0, due = 0";
    let Some(kept) = KeptPush::of(config, task, rules.sealer.as_deref()) else {
        return Err(Fault::Refused("the secrets of a push configuration cannot be sealed".to_owned()));
    };
    let values = vec![
        row.into(),
        key::push(&config.id).into(),
        key::escaped(&config.id).into(),
        stored::write_push(&kept).into(),
        delivered.into(),
    ];
    session.execute(keep, values).await.map(|_| ())
}

pub(super) async fn delete_push<S: Session>(
    session: &mut S,
    task: &TaskKey,
    id: &str,
) -> Result<Done, Fault> {
    let delete = "DELETE FROM {s}bindu_pushes WHERE push = $2
        AND task = (SELECT task FROM {s}bindu_tasks WHERE task_key = $1)";
    let gone = session.execute(delete, vec![key::task(task).into(), key::push(id).into()]).await?;
    Ok(if gone == 0 { StoreError::NotFound.into() } else { Reply::Done.into() })
}

pub(super) async fn due_pushes<S: Session>(
    session: &mut S,
    limit: usize,
    rules: &Rules,
) -> Result<Done, Fault> {
    let find =
        "SELECT p.task, p.push, p.config, p.delivered, p.failures, t.owner_client, t.owner_subject, t.id
        FROM {s}bindu_pushes AS p JOIN {s}bindu_tasks AS t ON t.task = p.task
        WHERE p.due <= {now} AND p.delivered < t.number ORDER BY p.due LIMIT $1";
    let claim = "UPDATE {s}bindu_pushes SET due = {now} + $3
        WHERE task = $1 AND push = $2 AND due <= {now} AND delivered = $4";
    let mut due = Vec::new();
    for row in session.rows(find, vec![limit.into()]).await? {
        let values = vec![row.int(0)?.into(), row.hash(1)?.into(), millis(PUSH_LEASE), row.int(3)?.into()];
        if session.execute(claim, values).await? == 0 {
            continue;
        }
        let owner = key::owner_of(row.text(5)?, row.text(6)?);
        let task = TaskKey { owner, id: key::unescaped(row.text(7)?) };
        let kept = match stored::read_push(row.text(2)?) {
            Ok(kept) => kept,
            // It comes again when its lease has ended, perhaps to a program of the version that wrote it. Others go on.
            Err(error) => {
                tracing::warn!(%error, task = task.id, "nothing is delivered to a receiver");
                continue;
            }
        };
        let (config, is_open) = kept.open(&task, rules.sealer.as_deref());
        due.push(Pushed {
            task,
            config,
            is_open,
            delivered: row.count(3)?,
            failures: u32::try_from(row.count(4)?).unwrap_or(u32::MAX),
        });
    }
    Ok(Reply::Pushed(due).into())
}

pub(super) async fn note_push<S: Session>(
    session: &mut S,
    task: &TaskKey,
    id: &str,
    outcome: Result<u64, Timestamp>,
) -> Result<Done, Fault> {
    let Some(held) = hold(session, key::task(task)).await? else { return Ok(StoreError::NotFound.into()) };
    let push: Value = key::push(id).into();
    let (update, value) = match outcome {
        Ok(delivered) => (
            "UPDATE {s}bindu_pushes SET failures = 0, due = 0,
                delivered = CASE WHEN delivered < $3 THEN $3 ELSE delivered END WHERE task = $1 AND push = $2",
            delivered.into(),
        ),
        Err(until) => (
            "UPDATE {s}bindu_pushes SET failures = failures + 1, due = $3 WHERE task = $1 AND push = $2",
            until.as_millisecond().into(),
        ),
    };
    if session.execute(update, vec![held.task.into(), push.clone(), value]).await? == 0 {
        return Ok(StoreError::NotFound.into());
    }
    if held.state.is_terminal() {
        let done = "DELETE FROM {s}bindu_pushes WHERE task = $1 AND push = $2 AND delivered >= $3";
        session.execute(done, vec![held.task.into(), push, held.number.into()]).await?;
    }
    Ok(Reply::Done.into())
}
