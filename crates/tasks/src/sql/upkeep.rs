//! The background of a store: news from other processes, and what is forgotten.

use super::{
    clock::Clock,
    figures::add,
    key, read,
    sealing::Sealing,
    session::{Backend, Fault, Session},
    store::Core,
    write::{Change, News, Reply},
};
use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// How often is looked for what is to be forgotten.
const PRUNING: Duration = Duration::from_secs(60);

/// How often room is made where something was refused for want of it: all owners' bytes are added up for that.
const MAKING_ROOM: Duration = Duration::from_secs(5);

/// How many rows are looked at, and how many forgotten, in one transaction: writers wait no longer than that.
const LOOKED_AT: usize = 2000;
const AT_ONCE: usize = 200;

/// How many owners that have too much are looked after in one pass.
const MOST_OWNERS: usize = 100;

/// From this share of its size on a file's oldest tasks are forgotten, in percent.
const NEARLY_FULL: u64 = 90;

/// What was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Tasks.
    pub tasks: usize,
    /// Signed requests.
    pub replays: usize,
}

/// Works until the store is dropped.
pub(super) async fn run<B: Backend>(core: Arc<Core<B>>) {
    let interval = core.backend.poll_interval();
    // Not beside the first questions of a start: they would need one connection more, a thread in SQLite.
    tokio::time::sleep(interval).await;
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut next_pruning, mut next_room) = (Instant::now() + PRUNING, Instant::now());
    let mut sealing = Sealing::default();
    let mut clock = Clock::new(core.rules.bounds.age);
    let _ = size(&core).await;
    let mut was_held = false;
    loop {
        ticks.tick().await;
        let _ = look(&core).await;
        let is_held = log_is_held(&core).await;
        if is_held != was_held {
            was_held = is_held;
            if is_held {
                tracing::warn!(
                    "somebody keeps an old state of the task file in sight: its log cannot be shortened, and nothing is forgotten"
                );
            }
        }
        if !is_held && Instant::now() >= next_room && core.wants_room.swap(false, Ordering::Relaxed) {
            let count = by_size(&core, true).await.unwrap_or_default();
            add(&core.counters.forgotten, count as u64);
            next_room = Instant::now() + MAKING_ROOM;
        }
        core.backend.rest();
        if let Some(recent) = &core.recent {
            recent.rest();
        }
        let is_pruning = !is_held && Instant::now() >= next_pruning;
        sealing.look(&core, is_pruning).await;
        if is_pruning {
            let _ = prune(&core, Some(&mut clock)).await;
            next_pruning = Instant::now() + PRUNING;
        }
    }
}

/// Whether a file's log is too long, and cannot be shortened. To forget anything would make it longer still.
async fn log_is_held<B: Backend>(core: &Core<B>) -> bool {
    if core.backend.beside() == 0 {
        return false;
    }
    core.backend.shorten().await;
    let _ = size(core).await;
    core.backend.beside() > 0
}

/// Tells watchers what other processes have written.
async fn look<B: Backend>(core: &Core<B>) -> Result<(), Fault> {
    let watched = core.watchers.watched();
    if watched.is_empty() {
        return Ok(());
    }
    let keys: Vec<_> = watched.iter().map(|(key, _)| *key).collect();
    let numbers = ask(core, &keys).await?;
    let there: HashSet<key::Hash> = numbers.iter().map(|(key, _)| *key).collect();
    // One that was never told of may be a task that is about to begin.
    let gone = watched.iter().filter(|(key, told)| *told > 0 && !there.contains(key));
    let gone: Vec<_> = gone.map(|(key, _)| News::Gone(*key)).collect();
    let news = numbers.into_iter().map(|(key, number)| News::Number(key, number));
    core.watchers.tell(&news.chain(gone).collect::<Vec<_>>());
    Ok(())
}

async fn ask<B: Backend>(core: &Core<B>, keys: &[key::Hash]) -> Result<Vec<(key::Hash, u64)>, Fault> {
    let mut session = core.backend.read().await?;
    let numbers = read::numbers(&mut session, keys).await?;
    session.commit().await?;
    Ok(numbers)
}

/// Forgets what is too old or too much. What is old is kept if the database's clock is in doubt, unless it is to be believed
/// without a look at it.
pub(super) async fn prune<B: Backend>(core: &Core<B>, clock: Option<&mut Clock>) -> Result<Pruned, Fault> {
    let mut pruned = Pruned::default();
    loop {
        let count = count(core, Change::ForgetReplays(AT_ONCE)).await?;
        pruned.replays += count;
        if count < AT_ONCE {
            break;
        }
    }
    pruned.tasks += by_age(core, clock).await?;
    let bounds = &core.rules.bounds;
    pruned.tasks += by_owner(core, bounds.tasks_of_one, bounds.bytes_of_one).await?;
    pruned.tasks += by_size(core, false).await?;
    add(&core.counters.forgotten, pruned.tasks as u64);
    add(&core.counters.replays_forgotten, pruned.replays as u64);
    let _ = size(core).await;
    Ok(pruned)
}

/// By the database's clock alone: that of one replica may be wrong.
async fn by_age<B: Backend>(core: &Core<B>, mut clock: Option<&mut Clock>) -> Result<usize, Fault> {
    let (mut after, mut forgotten) = (0, 0);
    loop {
        let mut session = core.backend.read().await?;
        let kept = (core.rules.bounds.age, core.rules.lease);
        let (old, next) = read::aged(&mut session, after, kept, LOOKED_AT).await?;
        session.commit().await?;
        // Once for each pass, and only if it matters.
        if !old.is_empty()
            && let Some(clock) = clock.take()
            && !clock.is_believed(&core.backend).await?
        {
            return Ok(forgotten);
        }
        forgotten += forget(core, &old).await?;
        match next {
            Some(next) => after = next,
            None => return Ok(forgotten),
        }
    }
}

/// Forgets the oldest tasks of owners that have more than so many, or so many bytes.
async fn by_owner<B: Backend>(core: &Core<B>, tasks: usize, bytes: u64) -> Result<usize, Fault> {
    let mut session = core.backend.read().await?;
    let owners = read::large_owners(&mut session, tasks, bytes).await?;
    session.commit().await?;
    let mut forgotten = 0;
    for (owner, count, used) in owners.into_iter().take(MOST_OWNERS) {
        let too_many = usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(tasks);
        let too_large = used.saturating_sub(bytes);
        forgotten += of_owner(core, owner, None, (too_many, too_large)).await?;
    }
    Ok(forgotten)
}

/// Forgets so many of an owner's tasks and bytes, as far as there are any that nobody works on, and whose
/// status is at least so old.
async fn of_owner<B: Backend>(
    core: &Core<B>,
    owner: key::Hash,
    kept: Option<Duration>,
    (mut tasks, mut bytes): (usize, u64),
) -> Result<usize, Fault> {
    let mut forgotten = 0;
    while tasks > 0 || bytes > 0 {
        let mut session = core.backend.read().await?;
        let candidates = read::forgettable(&mut session, owner, (kept, core.rules.lease), AT_ONCE).await?;
        session.commit().await?;
        let mut chosen = Vec::new();
        for (task, size) in candidates {
            if tasks == 0 && bytes == 0 {
                break;
            }
            tasks = tasks.saturating_sub(1);
            bytes = bytes.saturating_sub(size);
            chosen.push(task);
        }
        let count = forget(core, &chosen).await?;
        if count == 0 {
            break;
        }
        forgotten += count;
    }
    Ok(forgotten)
}

/// The bytes of a file and the most that it may have, noted for the figures.
async fn size<B: Backend>(core: &Core<B>) -> Option<(u64, u64)> {
    let (used, most) = core.backend.size().await?;
    core.counters.bytes.store(used.saturating_add(core.backend.beside()), Ordering::Relaxed);
    core.counters.max_bytes.store(most, Ordering::Relaxed);
    Some((used, most))
}

/// Makes room in a file that is nearly full, or where something was refused: whoever has most there gives most.
async fn by_size<B: Backend>(core: &Core<B>, was_refused: bool) -> Result<usize, Fault> {
    let Some((used, most)) = size(core).await else { return Ok(0) };
    let bound = if was_refused { used.min(most / 100 * NEARLY_FULL) } else { most / 100 * NEARLY_FULL };
    if used <= bound && !was_refused {
        return Ok(0);
    }
    let mut session = core.backend.read().await?;
    let owners = read::large_owners(&mut session, 0, 0).await?;
    session.commit().await?;
    let total: u64 = owners.iter().map(|(_, _, bytes)| bytes).sum::<u64>().max(1);
    // As a tenth of the file is to become free, each gives that part of what it has.
    let excess = used - bound + most / 10;
    // What has ended a moment ago is still to be fetched.
    let kept = Some(core.rules.bounds.kept_at_least);
    let mut forgotten = 0;
    for (owner, _, bytes) in owners {
        let share = u128::from(excess) * u128::from(bytes) / u128::from(total);
        forgotten += of_owner(core, owner, kept, (0, u64::try_from(share).unwrap_or(u64::MAX))).await?;
    }
    Ok(forgotten)
}

async fn forget<B: Backend>(core: &Core<B>, tasks: &[i64]) -> Result<usize, Fault> {
    let mut forgotten = 0;
    for some in tasks.chunks(AT_ONCE) {
        forgotten += count(core, Change::Forget(some.to_vec())).await?;
    }
    Ok(forgotten)
}

async fn count<B: Backend>(core: &Core<B>, change: Change) -> Result<usize, Fault> {
    match core.alone(&change).await?.answer {
        Ok(Reply::Count(count)) => Ok(count),
        _ => Ok(0),
    }
}
