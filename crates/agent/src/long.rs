//! Threads for what takes long. They yield to the threads that serve connections: what is quick is not held up by what is long, even
//! if there are more callers than processors.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread,
};
use tokio::sync::oneshot;

/// How much they yield: a tenth of the processor is theirs if others want all of it.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

type Work = Box<dyn FnOnce() + Send>;

/// The threads, which begin with the first work.
pub(crate) struct Long {
    threads: usize,
    work: OnceLock<mpsc::Sender<Work>>,
}

impl Long {
    pub(crate) fn new(threads: usize) -> Self {
        Self { threads, work: OnceLock::new() }
    }

    /// Does something on one of the threads. A panic is the caller's.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, done) = oneshot::channel();
        let work: Work = Box::new(move || {
            // Whoever has asked may be gone.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
        });
        if let Err(mpsc::SendError(work)) = self.sender().send(work) {
            // The system has no threads to give.
            work();
        }
        let done = done.await.expect("work that is taken is done, and its panic is told");
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn sender(&self) -> &mpsc::Sender<Work> {
        self.work.get_or_init(|| {
            let (sender, work) = mpsc::channel();
            let work = Arc::new(Mutex::new(work));
            for _ in 0..self.threads {
                let work = Arc::clone(&work);
                let _ = thread::Builder::new().name("long".to_owned()).spawn(move || serve(&work));
            }
            sender
        })
    }
}

/// Does what comes, until nobody can send any more.
fn serve(work: &Mutex<mpsc::Receiver<Work>>) {
    // Of this thread alone. Not allowed, it is as quick as the others.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICE);
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(work) => work(),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn work_is_done_elsewhere_and_its_panic_is_the_callers() {
        let long = Long::new(2);
        let here = thread::current().id();
        assert_ne!(long.run(move || thread::current().id()).await, here);
        let panicked = AssertUnwindSafe(long.run(|| panic!("as it was told"))).catch_unwind().await;
        assert!(panicked.is_err());
        assert_eq!(long.run(|| 1).await, 1, "the threads are still there");
        assert_eq!(Long::new(0).run(|| 1).await, 1, "without a thread it is done here");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_threads_yield_and_the_others_do_not() {
        let nice = || rustix::process::getpriority_process(None).expect("a priority");
        let before = nice();
        assert_eq!(Long::new(1).run(nice).await, before.max(NICE));
        assert_eq!(nice(), before);
    }
}
