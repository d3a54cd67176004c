//! Watches over the work in the background: a part that ends or panics while the agent runs is told and begun again.
//! Nothing else in an agent runs unwatched for longer than a request or a task.

use bindu_agent::Metrics;
use bindu_keeper::Status;
use bindu_time::Backoff;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

/// The pauses before a part is begun again. Nobody else is hit by it: no jitter.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30), 100);

/// A part that has run for so long has failed for the first time when it fails again, and is no reason to be degraded.
const STEADY: Duration = Duration::from_secs(30);

/// How long the parts may take to let go at the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// How often reasons are looked for that come with the time alone.
const LOOK: Duration = Duration::from_secs(5);

/// A part of the background work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Compares identity and client with the store and Hydra.
    Reconciler,
    /// Keeps the store's login alive.
    StoreLogin,
    /// Keeps our own token fresh.
    OwnTokens,
    /// Answers probes on an address of their own.
    ProbeServer,
    /// Renews leases of tasks, and ends abandoned ones.
    Tasks,
    /// Looks whether the store of tasks answers.
    TaskStore,
    /// Sends events of tasks to where callers have asked for them.
    Pushes,
    /// Looks how old the state is.
    Status,
}

impl Part {
    /// A label, from a closed set.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Reconciler => "reconciler",
            Self::StoreLogin => "store_login",
            Self::OwnTokens => "own_tokens",
            Self::ProbeServer => "probe_server",
            Self::Tasks => "tasks",
            Self::TaskStore => "task_store",
            Self::Pushes => "pushes",
            Self::Status => "status",
        }
    }
}

/// Runs the parts, each until its end is asked for.
pub(super) struct Supervisor {
    parts: TaskTracker,
    stop: CancellationToken,
    status: Arc<Status>,
    metrics: Arc<Metrics>,
}

impl Supervisor {
    /// A supervisor, which minds the age of the state from now on.
    pub(super) fn new(status: Arc<Status>, metrics: Arc<Metrics>) -> Self {
        let supervisor = Self { parts: TaskTracker::new(), stop: CancellationToken::new(), status, metrics };
        let status = Arc::clone(&supervisor.status);
        supervisor.watch(Part::Status, move || {
            let status = Arc::clone(&status);
            async move {
                loop {
                    sleep(LOOK).await;
                    status.look();
                }
            }
        });
        supervisor
    }

    /// Runs a part until [`Supervisor::stop`].
    pub(super) fn watch<F>(&self, part: Part, work: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.watch_until(part, self.stop.child_token(), work);
    }

    /// Runs a part until `end`, which stops it where it stands, as [`Supervisor::stop`] does.
    pub(super) fn watch_until<F>(
        &self,
        part: Part,
        end: CancellationToken,
        mut work: impl FnMut() -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        self.metrics.background_work(part.label());
        let (stop, status, metrics) =
            (self.stop.clone(), Arc::clone(&self.status), Arc::clone(&self.metrics));
        let watching = async move {
            let mut retry = RETRY;
            loop {
                let begun = Instant::now();
                let panicked = run_one(part, work(), &status).await;
                if begun.elapsed() >= STEADY {
                    retry = RETRY;
                }
                let pause = retry.pause(None).most;
                tracing::error!(
                    part = part.label(),
                    panicked,
                    milliseconds = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                    "work in the background has ended: it is begun again"
                );
                status.work_failed(part.label());
                metrics.background_restart(part.label());
                sleep(pause).await;
            }
        };
        self.parts.spawn(async move {
            tokio::select! {
                () = watching => {}
                () = end.cancelled() => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Stops all parts where they stand, and waits until they have let go.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.parts.close();
        if timeout(FAREWELL, self.parts.wait()).await.is_err() {
            tracing::warn!("work in the background does not end");
        }
    }
}

/// Runs a part to its end, which is a failure; whether it panicked.
async fn run_one(part: Part, work: impl Future<Output = ()> + Send + 'static, status: &Status) -> bool {
    #[cfg(test)]
    let work = super::tests::restarts::breakable(part.label(), work);
    // In a task of its own: so a panic ends nothing else. It is aborted where this future is dropped.
    let mut running = AbortOnDropHandle::new(tokio::spawn(work));
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = sleep(STEADY) => {
            status.work_is_steady(part.label());
            running.await
        }
    };
    ended.is_err_and(|error| error.is_panic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bindu_keeper::Reason;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Bench {
        supervisor: Supervisor,
        status: Arc<Status>,
        begun: Arc<AtomicUsize>,
    }

    fn bench() -> Bench {
        let status = Arc::new(Status::default());
        let supervisor = Supervisor::new(Arc::clone(&status), Metrics::new());
        Bench { supervisor, status, begun: Arc::default() }
    }

    impl Bench {
        fn begun(&self) -> usize {
            self.begun.load(Ordering::SeqCst)
        }

        fn is_degraded(&self) -> bool {
            self.status.snapshot().reasons().contains(&Reason::BackgroundWorkFailed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_panics_or_ends_is_told_and_begun_again() {
        let bench = bench();
        let begun = Arc::clone(&bench.begun);
        bench.supervisor.watch(Part::Reconciler, move || {
            let number = begun.fetch_add(1, Ordering::SeqCst);
            async move {
                match number {
                    0 => panic!("on purpose"),
                    1 => {}
                    _ => std::future::pending().await,
                }
            }
        });
        sleep(Duration::from_millis(10)).await;
        assert_eq!((bench.begun(), bench.is_degraded()), (1, true), "it panicked");
        sleep(Duration::from_millis(500)).await;
        assert_eq!(bench.begun(), 2, "again after the first pause");
        sleep(Duration::from_millis(500)).await;
        assert_eq!(bench.begun(), 2, "the next pause is longer");
        sleep(Duration::from_millis(600)).await;
        assert_eq!((bench.begun(), bench.is_degraded()), (3, true), "it has ended, and runs now");
        sleep(STEADY).await;
        assert!(!bench.is_degraded(), "it is steady");
        assert_eq!(bench.begun(), 3);
        bench.supervisor.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_to_end_is_not_begun_again() {
        let bench = bench();
        let end = CancellationToken::new();
        let begun = Arc::clone(&bench.begun);
        let held = Arc::new(());
        let lent = Arc::clone(&held);
        bench.supervisor.watch_until(Part::OwnTokens, end.clone(), move || {
            begun.fetch_add(1, Ordering::SeqCst);
            let lent = Arc::clone(&lent);
            async move {
                std::future::pending::<()>().await;
                drop(lent);
            }
        });
        sleep(Duration::from_millis(10)).await;
        end.cancel();
        sleep(Duration::from_secs(100)).await;
        assert_eq!((bench.begun(), bench.is_degraded()), (1, false));
        assert_eq!(Arc::strong_count(&held), 1, "its work is gone");
        bench.supervisor.stop().await;
    }
}
