//! Orphans: processes that became this one's children because their parents are gone.
//!
//! Guards adopt what their programs leave behind, and end it. What is left for the agent is what a guard that was
//! killed has left, and, as process 1 of a container, whatever loses its parent there. Nobody else would reap them: they
//! would pile up as zombies. The exit statuses of guards are left to those who wait for them.

use super::{
    guard::{descendants, parent_and_state},
    process::{Guards, STARTED_BY, lock},
};
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};
use std::{sync::Arc, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

/// A pause between two rounds: children that end together are reaped together.
const PAUSE: Duration = Duration::from_millis(50);

/// Makes this process the one that orphans come to, and reaps them, for ever.
pub(super) async fn reap(guards: Guards) {
    let Ok(mut child_changed) = signal(SignalKind::child()) else { return };
    let _ = set_child_subreaper(Some(getpid()));
    let marker = format!("{STARTED_BY}={}", getpid().as_raw_nonzero());
    while child_changed.recv().await.is_some() {
        sleep(PAUSE).await;
        let (guards, marker) = (Arc::clone(&guards), marker.clone());
        let _ = tokio::task::spawn_blocking(move || round(&guards, &marker)).await;
    }
}

/// Looks at all children that are no guards.
fn round(guards: &Guards, marker: &str) {
    let own = getpid().as_raw_nonzero().get();
    // Nobody starts a guard in the meantime.
    let known = lock(guards);
    for pid in descendants(getpid()).into_iter().filter(|pid| !known.contains(pid)) {
        match parent_and_state(pid.as_raw_nonzero().get()) {
            Some((parent, 'Z')) if parent == own => _ = waitpid(Some(pid), WaitOptions::NOHANG),
            // Another child is somebody else's: a shell's that became this process, or a stranger's in a container.
            Some((parent, _)) if parent == own && is_marked(pid, marker) => end(pid),
            _ => {}
        }
    }
}

/// Whether this agent has started it, or what has started it.
fn is_marked(pid: Pid, marker: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes())
}

fn end(pid: Pid) {
    for pid in descendants(pid).into_iter().chain([pid]) {
        let _ = kill_process(pid, Signal::KILL);
    }
}
