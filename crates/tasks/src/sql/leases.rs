//! Leases of runs, by the database's clock.

use super::{
    key, read,
    session::{Fault, Session},
    write::{Done, Reply, Rules},
};
use crate::{Abandoned, RunKey, TaskKey};

pub(super) async fn renew<S: Session>(
    session: &mut S,
    runs: &[RunKey],
    rules: &Rules,
) -> Result<Done, Fault> {
    let update =
        "UPDATE {s}bindu_tasks SET lease_until = CASE WHEN phase = 0 THEN {now} + $3 ELSE lease_until END
        WHERE task_key = $1 AND run = $2 AND phase <> 2";
    if runs.is_empty() {
        could_renew(session).await?;
    }
    let mut lost = Vec::new();
    for (task_key, run) in in_order(runs) {
        let values = vec![task_key.into(), run.run.into(), rules.lease_millis()];
        if session.execute(update, values).await? == 0 {
            lost.push(run.clone());
        }
    }
    Ok(Reply::Runs(lost).into())
}

/// Meets what a renewal and a takeover would meet (locks, damaged pages, missing rights), and changes nothing.
async fn could_renew<S: Session>(session: &mut S) -> Result<(), Fault> {
    let update = "UPDATE {s}bindu_tasks SET lease_until = 0 WHERE task_key = $1 AND run = $2";
    session.execute(update, vec![[0_u8; 32].into(), (-1_i64).into()]).await?;
    let find = "SELECT task FROM {s}bindu_tasks WHERE phase = 0 AND lease_until < {now}
        ORDER BY lease_until LIMIT 1";
    session.rows(find, Vec::new()).await.map(|_| ())
}

/// Runs and the keys of their tasks, in one order, as all others lock.
fn in_order(runs: &[RunKey]) -> Vec<(key::Hash, &RunKey)> {
    let mut by_key: Vec<_> = runs.iter().map(|run| (key::task(&run.task), run)).collect();
    by_key.sort_by_key(|(key, _)| *key);
    by_key
}

pub(super) async fn release<S: Session>(session: &mut S, runs: &[RunKey]) -> Result<Done, Fault> {
    let update = "UPDATE {s}bindu_tasks SET lease_until = 0 WHERE task_key = $1 AND run = $2 AND phase = 0";
    for (task_key, run) in in_order(runs) {
        session.execute(update, vec![task_key.into(), run.run.into()]).await?;
    }
    Ok(Reply::Done.into())
}

pub(super) async fn take_abandoned<S: Session>(
    session: &mut S,
    limit: usize,
    rules: &Rules,
) -> Result<Done, Fault> {
    let find = "SELECT task, owner_client, owner_subject, id, run FROM {s}bindu_tasks
        WHERE phase = 0 AND lease_until < {now} ORDER BY lease_until LIMIT $1 {skip}";
    let take =
        "UPDATE {s}bindu_tasks SET run = run + 1, replica = $2, lease_until = {now} + $3 WHERE task = $1";
    // A lock that lets rows be read keeps their holder from renewing as well.
    could_renew(session).await?;
    let mut taken = Vec::new();
    for row in session.rows(find, vec![limit.into()]).await? {
        let task = row.int(0)?;
        let owner = key::owner_of(row.text(1)?, row.text(2)?);
        let key = TaskKey { owner, id: key::unescaped(row.text(3)?) };
        let values = vec![task.into(), rules.replica.as_str().into(), rules.lease_millis()];
        session.execute(take, values).await?;
        if let Some(snapshot) = read::snapshot_of(session, task).await? {
            taken.push(Abandoned { run: RunKey { task: key, run: row.count(4)? + 1 }, task: snapshot });
        }
    }
    Ok(Reply::Abandoned(taken).into())
}
