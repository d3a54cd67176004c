//! Tells systemd how things stand (`sd_notify(3)`): ready, alive, stopping. Without `NOTIFY_SOCKET` nothing is told.

use sd_notify::NotifyState;
use std::time::Duration;

/// The agent listens. From now on it says that it is alive, where systemd wants to hear it (`WatchdogSec=`).
pub(super) fn ready(did: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("serving {did}"))]);
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    // On the runtime that serves: if that one is stuck, nothing is said.
    tokio::spawn(async move {
        let mut beat = tokio::time::interval((patience / 2).max(Duration::from_millis(1)));
        loop {
            beat.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    });
}

/// The agent starts, and has no identity yet.
pub(super) fn starting() {
    tell(&[NotifyState::Status("looking for its identity")]);
}

/// The agent finishes what it has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what was begun")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
