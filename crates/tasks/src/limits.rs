//! What tasks may cost.

use std::time::Duration;

/// What tasks may cost. The defaults are what docs/LIMITS.md says.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long an answer waits for its task, at most; then the task is answered as it is.
    pub blocking_wait: Duration,
    /// How long a stream waits for the first event, which may be a message in place of the task.
    pub first_event_wait: Duration,
    /// How many streams there are at a time.
    pub subscribers: usize,
    /// How many of them may be one caller's, if callers can be told apart.
    pub subscribers_of_one: usize,
    /// How many tasks are worked on at a time.
    pub runs: usize,
    /// How many of them may be one caller's, if callers can be told apart.
    pub runs_of_one: usize,
    /// How long a handler may go on after its task was cancelled.
    pub cancel_grace: Duration,
    /// How often the leases of runs are renewed, and abandoned ones are looked for.
    pub lease_renewal: Duration,
    /// Whether push configurations are taken.
    pub push: bool,
    /// How long a receiver of events may take to answer.
    pub push_timeout: Duration,
    /// How long a receiver that takes no events is tried: the waits between the attempts come to this time.
    pub push_gives_up: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            blocking_wait: Duration::from_secs(300),
            first_event_wait: Duration::from_millis(150),
            subscribers: 4_096,
            subscribers_of_one: 1_024,
            runs: 64,
            runs_of_one: 32,
            cancel_grace: Duration::from_secs(5),
            lease_renewal: Duration::from_secs(10),
            push: false,
            push_timeout: Duration::from_secs(15),
            push_gives_up: Duration::from_secs(24 * 3600),
        }
    }
}
