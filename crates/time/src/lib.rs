//! Pauses that grow, how they are drawn, and the time of day: one of each, for every part of an agent.
//!
//! Decisions get the time as a value. Who carries them out reads it through a [`Clock`] and draws through a [`Jitter`], so
//! that a test can be exact. Nothing here waits.

mod backoff;
mod clock;

pub use backoff::{Backoff, Jitter, Pause, at_random, doubled};
pub use clock::{Clock, python_timestamp};
