//! From a message that has come to its run: it is stored, and worked on by whoever has its run. Neither a lost answer of the store
//! nor a caller that has gone leaves a run that nobody works on.

use crate::{
    Caller, StoreError, Submission, Submitted, TaskKey,
    runner::{Asked, Runner},
};
use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout_at},
};

/// For how long it is asked what became of a message before its caller is told that the store is unavailable.
const READ_BACK: Duration = Duration::from_secs(3);

/// For how long it is asked afterwards: about as long as a lease. Then the run is an abandoned one.
const FOLLOW_UP: Duration = Duration::from_secs(30);

/// How many messages are followed up at a time: each is held in memory. The runs of others end with their leases.
const FOLLOWED_UP: usize = 256;

/// How long is waited between two questions.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LAST_WAIT: Duration = Duration::from_secs(1);

/// What became of a message.
enum Outcome {
    /// It is stored.
    Stored(Box<Submitted>),
    /// It is not, and will not be.
    NotStored,
    /// Nobody knows.
    Open,
}

impl Runner {
    /// Stores a message, and begins the work on it, with the extensions that the call has activated. Carried to its end, whether its caller waits for it or not.
    pub(crate) fn keep(
        self: &Arc<Self>,
        caller: &Caller,
        call: (Submission, Vec<String>),
        is_awaited: bool,
    ) -> impl Future<Output = Result<Submitted, StoreError>> + Send + use<> {
        Carried(Some(Box::pin(Arc::clone(self).store_and_start(caller.clone(), call, is_awaited))))
    }

    async fn store_and_start(
        self: Arc<Self>,
        caller: Caller,
        (submission, extensions): (Submission, Vec<String>),
        is_awaited: bool,
    ) -> Result<Submitted, StoreError> {
        let submitted = match self.store.submit(submission.clone()).await {
            Ok(submitted) => submitted,
            Err(StoreError::Unavailable(problem)) => match self.look_for(&submission, READ_BACK).await {
                Outcome::Stored(submitted) => *submitted,
                Outcome::NotStored => return Err(StoreError::Unavailable(problem)),
                Outcome::Open => {
                    self.follow_up(caller, (submission, extensions));
                    return Err(StoreError::Unavailable(problem));
                }
            },
            Err(error) => return Err(error),
        };
        self.start_submitted(&submitted, (&submission, extensions), (&caller, is_awaited));
        Ok(submitted)
    }

    /// Asks what became of a message, for some time.
    async fn look_for(&self, submission: &Submission, time: Duration) -> Outcome {
        let (until, mut wait) = (Instant::now() + time, FIRST_WAIT);
        while Instant::now() < until && !self.is_ending.load(Ordering::SeqCst) {
            match timeout_at(until, self.store.recover(submission)).await {
                Ok(Ok(Some(submitted))) => return Outcome::Stored(Box::new(submitted)),
                Ok(Ok(None)) => return Outcome::NotStored,
                Ok(Err(_)) => sleep(wait).await,
                Err(_) => break,
            }
            wait = (wait * 2).min(LAST_WAIT);
        }
        Outcome::Open
    }

    /// Goes on asking after the caller was told that it is not known. One that cannot be recognised will send the message again as
    /// another one: it is not worked on twice.
    fn follow_up(self: Arc<Self>, caller: Caller, (submission, extensions): (Submission, Vec<String>)) {
        if submission.content.is_none() {
            return;
        }
        if self.followed_up.fetch_add(1, Ordering::SeqCst) >= FOLLOWED_UP {
            self.followed_up.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        tokio::spawn(async move {
            if let Outcome::Stored(submitted) = self.look_for(&submission, FOLLOW_UP).await {
                self.start_submitted(&submitted, (&submission, extensions), (&caller, false));
            }
            self.followed_up.fetch_sub(1, Ordering::SeqCst);
        });
    }

    fn start_submitted(
        self: &Arc<Self>,
        submitted: &Submitted,
        (submission, extensions): (&Submission, Vec<String>),
        caller: (&Caller, bool),
    ) {
        if let Some(superseded) = &submitted.superseded {
            self.stop(superseded);
        }
        let task = &submitted.task.task;
        if submission.push.is_some() {
            self.pushing.knows(&TaskKey { owner: submission.owner.clone(), id: task.id.clone() });
        }
        let Some(run) = submitted.run.clone() else { return };
        // The stored one: a message that is known may have gone to another task than it names now.
        let message = Arc::clone(task.history.last().unwrap_or(&submission.message));
        let asked = Asked { message, attempt: 1, extensions: Some(extensions) };
        self.start(run, &submitted.task, asked, caller);
    }
}

/// A future that is carried to its end: if it is dropped before, the rest is done in a task of its own.
struct Carried<T: Send + 'static>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T: Send + 'static> Future for Carried<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Carried<T> {
    fn drop(&mut self) {
        if let (Some(rest), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(rest);
        }
    }
}
