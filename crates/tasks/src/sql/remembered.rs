//! Signed requests that are remembered, so that each is done once.

use super::{
    key,
    session::{Fault, Session},
    write::{Done, Reply, Rules},
};
use crate::{ReplayKey, StoreError, TaskKey};
use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

/// How old a count of remembered requests may be.
const COUNT_AGE: Duration = Duration::from_secs(30);

/// How many owners' counts are kept.
const MOST_COUNTS: usize = 10_000;

pub(super) async fn remember<S: Session>(
    session: &mut S,
    task: &TaskKey,
    replay: &ReplayKey,
    rules: &Rules,
) -> Result<Done, Fault> {
    let known = "SELECT id FROM {s}bindu_replays WHERE replay = $1 AND ends > {now}";
    let rows = session.rows(known, vec![key::replay(&task.owner, &replay.hash).into()]).await?;
    if let Some(row) = rows.first() {
        let id = key::unescaped(row.text(0)?);
        return Ok(StoreError::Replayed(TaskKey { owner: task.owner.clone(), id }).into());
    }
    if is_full(session, key::owner(&task.owner), rules).await? {
        return Ok(StoreError::TooManyRemembered.into());
    }
    keep_replay(session, task, replay, rules).await?;
    Ok(Reply::Done.into())
}

/// From how many on others' are counted seldom: there may be a hundred thousand.
const MANY: u64 = 1_000;

/// Whether an owner has too many signed requests that are remembered. Many are counted seldom, unless half of what there may be is
/// there: nobody else remembers as many meanwhile.
pub(super) async fn is_full<S: Session>(
    session: &mut S,
    owner: key::Hash,
    rules: &Rules,
) -> Result<bool, Fault> {
    let bound = u64::try_from(rules.bounds.remembered_of_one).unwrap_or(u64::MAX);
    let known = {
        let counts = rules.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let most = match rules.is_shared {
            true if bound <= MANY => 0,
            true => bound / 2,
            false => bound,
        };
        counts.get(&owner).filter(|(count, at)| at.elapsed() < COUNT_AGE && *count < most).copied()
    };
    if known.is_some() {
        return Ok(false);
    }
    let count = "SELECT count(*) FROM {s}bindu_replays WHERE owner = $1 AND ends > {now}";
    let rows = session.rows(count, vec![owner.into()]).await?;
    let count = rows.first().map_or(Ok(0), |row| row.count(0))?;
    let mut counts = rules.remembered.lock().unwrap_or_else(PoisonError::into_inner);
    if counts.len() >= MOST_COUNTS {
        counts.clear();
    }
    counts.insert(owner, (count, Instant::now()));
    Ok(count >= bound)
}

pub(super) async fn keep_replay<S: Session>(
    session: &mut S,
    task: &TaskKey,
    replay: &ReplayKey,
    rules: &Rules,
) -> Result<(), Fault> {
    // One that has run out, and was not yet forgotten.
    let old = "DELETE FROM {s}bindu_replays WHERE replay = $1 AND ends <= {now}";
    let keep = "INSERT INTO {s}bindu_replays (replay, owner, id, ends) VALUES ($1, $2, $3, $4)";
    let (hash, owner) = (key::replay(&task.owner, &replay.hash), key::owner(&task.owner));
    session.execute(old, vec![hash.into()]).await?;
    let ends = replay.until.as_millisecond().saturating_add(1);
    let values = vec![hash.into(), owner.into(), key::escaped(&task.id).into(), ends.into()];
    session.execute(keep, values).await?;
    count(owner, rules);
    Ok(())
}

/// Counts one more of an owner's.
pub(super) fn count(owner: key::Hash, rules: &Rules) {
    let mut counts = rules.remembered.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((count, _)) = counts.get_mut(&owner) {
        *count += 1;
    }
}
