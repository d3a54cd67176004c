//! Fakes for faults and time: a store and a Hydra in this process, with scripted answers, on tokio's clock. With
//! `#[tokio::test(start_paused = true)]` a test that uses them is exact in time, and "nothing happens" is a count.
//!
//! They keep the contracts of their seams ([`SecretStore`](bindu_store::SecretStore),
//! [`ClientRegistry`](bindu_hydra::ClientRegistry)) as long as the script lets every call pass. What real servers do is
//! tested on real servers.

mod hydra;
mod store;

pub use hydra::{FakeHydra, HydraCall, HydraOp};
pub use store::{FakeStore, StoreCall, StoreOp};

use bindu_time::Clock;
use std::{sync::Mutex, time::Duration};
use tokio::time::{Instant, sleep};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is answered at once.
    Pass,
    /// It is answered after this long.
    After(Duration),
    /// It gets no answer at all, and has no effect.
    Hang,
    /// No connection.
    Down,
    /// It is not allowed.
    Denied,
    /// It takes effect, and the answer is lost.
    LoseAnswer,
}

type Script<C> = Box<dyn Fn(&C, usize) -> Fate + Send + Sync>;

/// What a fake has been asked, and what it does about it.
struct Scripted<C> {
    calls: Mutex<Vec<(Instant, C)>>,
    script: Mutex<Script<C>>,
}

impl<C: Clone> Scripted<C> {
    fn new() -> Self {
        Self { calls: Mutex::default(), script: Mutex::new(Box::new(|_, _| Fate::Pass)) }
    }

    fn script(&self, script: impl Fn(&C, usize) -> Fate + Send + Sync + 'static) {
        *self.script.lock().expect("no panic") = Box::new(script);
    }

    /// Notes a call, and waits as long as its answer takes.
    async fn meet(&self, call: C) -> Fate {
        let number = {
            let mut calls = self.calls.lock().expect("no panic");
            calls.push((Instant::now(), call.clone()));
            calls.len() - 1
        };
        let fate = (self.script.lock().expect("no panic"))(&call, number);
        match fate {
            Fate::After(delay) => sleep(delay).await,
            Fate::Hang => std::future::pending().await,
            Fate::Pass | Fate::Down | Fate::Denied | Fate::LoseAnswer => {}
        }
        fate
    }

    fn calls(&self) -> Vec<(Instant, C)> {
        self.calls.lock().expect("no panic").clone()
    }

    fn forget(&self) {
        self.calls.lock().expect("no panic").clear();
    }
}

/// A clock whose time of day passes with tokio's clock, from 2026-01-01T00:00:00Z, ahead by so many seconds.
///
/// # Panics
/// Never: the date is one.
#[must_use]
pub fn clock(ahead: i64) -> Clock {
    let begun = Instant::now();
    Clock::of(move || {
        let seconds = i64::try_from(begun.elapsed().as_secs()).unwrap_or(i64::MAX / 4);
        jiff::Timestamp::from_second(1_767_225_600 + seconds + ahead).expect("a date of this age")
    })
}
