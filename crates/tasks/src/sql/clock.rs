//! When the database's clock may be believed that tasks are old.
//!
//! A clock that was set ahead makes everything old at once. So what is old is forgotten in the background only if the clock has
//! gone on for a day without a leap: in this process, or as the tasks show that were begun. What a leap has put in doubt is kept
//! until then, and is forgotten if nobody has set the clock right.

use super::{
    read,
    session::{Backend, Fault, Session},
};
use std::time::Duration;
use tokio::time::Instant;

/// For so long a clock has to go on. A leap that is shorter brings what is old to its end by less than that too early.
const STEADY: Duration = Duration::from_secs(24 * 3600);

/// How many tasks are looked at in one transaction.
const LOOKED_AT: usize = 2000;

/// How the database's clock has gone since this process looks at it.
#[derive(Debug)]
pub(super) struct Clock {
    steady: Duration,
    /// The first look since its last leap: by our clock that knows no leaps, and by the database's.
    since: Option<(Instant, i64)>,
    has_told: bool,
}

impl Clock {
    /// For tasks that are kept for so long.
    pub(super) fn new(age: Duration) -> Self {
        Self { steady: STEADY.min(age), since: None, has_told: false }
    }

    /// Whether tasks may be forgotten because they are old.
    pub(super) async fn is_believed<B: Backend>(&mut self, backend: &B) -> Result<bool, Fault> {
        let mut session = backend.read().await?;
        let now = read::now(&mut session).await?;
        session.commit().await?;
        let is_believed = self.has_gone_on(Instant::now(), now) || self.is_shown(backend, now).await?;
        if !is_believed && !self.has_told {
            tracing::warn!(
                "the task store's clock is far ahead of the tasks there: old ones are kept until it has gone on for {} h",
                self.steady.as_secs().div_ceil(3600)
            );
        }
        self.has_told = !is_believed;
        Ok(is_believed)
    }

    /// Whether it has gone on for long enough in this process.
    fn has_gone_on(&mut self, at: Instant, now: i64) -> bool {
        let (first, then) = *self.since.get_or_insert((at, now));
        let elapsed = at.duration_since(first);
        if now.saturating_sub(then) > millis(elapsed.saturating_add(self.steady)) {
            self.since = Some((at, now));
            return self.steady.is_zero();
        }
        elapsed >= self.steady
    }

    /// Whether tasks were begun at all times of the last day, and before.
    async fn is_shown<B: Backend>(&self, backend: &B, now: i64) -> Result<bool, Fault> {
        let (mut before, mut course) = (i64::MAX, Course { now, seen: now, steady: millis(self.steady) });
        loop {
            let mut session = backend.read().await?;
            let begun = read::begun(&mut session, before, LOOKED_AT).await?;
            session.commit().await?;
            for (_, created) in &begun {
                if let Some(is_steady) = course.look(*created) {
                    return Ok(is_steady);
                }
            }
            match begun.last() {
                Some((task, _)) if begun.len() == LOOKED_AT => before = *task,
                // All are younger than a day: none of them is old.
                _ => return Ok(false),
            }
        }
    }
}

/// The way back from now, from one task that was begun to the one before it, in milliseconds.
struct Course {
    now: i64,
    seen: i64,
    steady: i64,
}

impl Course {
    /// Whether the clock has gone on for long enough, once that is known. Tasks of times to come show nothing: the clock was ahead
    /// then, and was set right.
    fn look(&mut self, created: i64) -> Option<bool> {
        if created > self.now {
            return None;
        }
        if self.seen.saturating_sub(created) > self.steady {
            return Some(false);
        }
        self.seen = self.seen.min(created);
        (self.now.saturating_sub(created) >= self.steady).then_some(true)
    }
}

/// Milliseconds, as columns hold them.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SqliteOptions, SqliteStore, TaskStore as _, conformance, sql::upkeep};
    use bindu_a2a::model::TaskState;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn tasks_show_that_the_clock_has_gone_on() {
        let cases: [(&str, &[i64], Option<bool>); 6] = [
            ("begun all the time", &[0, 10, 20, 30], Some(true)),
            ("none for ten days", &[240, 241], Some(false)),
            ("one since the clock was set ahead", &[0, 240], Some(false)),
            ("a whole day since", &[1, 12, 24, 240], Some(true)),
            ("some of when the clock was ahead", &[-240, 3, 14, 25], Some(true)),
            ("all of them young", &[1, 2], None),
        ];
        for (what, hours_ago, want) in cases {
            let now = 1_000_000 * HOUR;
            let mut course = Course { now, seen: now, steady: 24 * HOUR };
            assert_eq!(hours_ago.iter().find_map(|hours| course.look(now - hours * HOUR)), want, "{what}");
        }
    }

    #[test]
    fn a_leap_begins_the_day_again() {
        let (mut clock, first) = (Clock::new(Duration::from_secs(7 * 24 * 3600)), Instant::now());
        let after = |hours: u32| first + hours * Duration::from_secs(3600);
        for (hours, shown, want) in [
            (0, 0, false),
            (23, 23, false),
            (25, 25, true),
            (26, 266, false),
            (49, 289, false),
            (50, 290, true),
            // Set right.
            (51, 51, true),
        ] {
            assert_eq!(clock.has_gone_on(after(hours), shown * HOUR), want, "after {hours} h");
        }
    }

    /// An agent alone with its file whose clock is ten days ahead all at once, at a start and while it runs.
    #[tokio::test]
    async fn a_clock_that_leaps_takes_no_task_along() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = SqliteOptions {
            is_alone: true,
            ..SqliteOptions::new(directory.path().join("tasks.db"), "did:bindu:test:store")
        };
        let store = SqliteStore::open(options).await.expect("a file");
        let begun = conformance::begun(&store, "alice", "1").await;
        let end = vec![conformance::status(TaskState::Completed)];
        store.append(&conformance::run(&begun), end).await.expect("it ends");
        let mut clock = Clock::new(store.core.rules.bounds.age);
        upkeep::prune(&store.core, Some(&mut clock)).await.expect("pruned");
        // As seen from ten days later.
        let mut session = store.core.backend.write().await.expect("it writes");
        let ten_days =
            "UPDATE {s}bindu_tasks SET created = created - 864000000, lease_until = lease_until - 864000000,
            changed = changed - 864000000000000";
        session.execute(ten_days, Vec::new()).await.expect("changed");
        session.commit().await.expect("kept");
        conformance::begun(&store, "alice", "2").await;
        for mut clock in [clock, Clock::new(store.core.rules.bounds.age)] {
            let pruned = upkeep::prune(&store.core, Some(&mut clock)).await.expect("pruned");
            assert_eq!(pruned.tasks, 0, "the clock is in doubt");
        }
        store.read(&conformance::key("alice", "1")).await.expect("it is kept");
        assert_eq!(store.prune().await.expect("pruned").tasks, 1, "whoever asks for it is believed");
    }
}
