//! Where workers are polled first: by the caller who waits for all of it, or in a task of their own.

use crate::{Caller, Job, Limits, MemoryStore, Outlet, TaskService, Worker};
use bindu_a2a::{
    Parts,
    call::{Answer, Call, SendRequest},
    model::{Message, Role, TaskState},
};
use futures_util::future::BoxFuture;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// Notes whether it was polled in a task of its own.
#[derive(Default)]
struct Noting(Arc<Mutex<Vec<bool>>>);

impl Worker for Noting {
    fn work(&self, job: Job, outlet: Outlet) -> BoxFuture<'static, ()> {
        let text = job.message.parts.as_text();
        // The test itself is no task.
        self.0.lock().expect("no panic").push(tokio::task::try_id().is_some());
        assert_ne!(text, "panic at once", "as it was told");
        Box::pin(async move {
            match text.as_str() {
                "compute" => std::thread::sleep(Duration::from_millis(50)),
                "panic" => panic!("as it was told"),
                "wait" => tokio::time::sleep(Duration::from_millis(1)).await,
                "nothing" => return,
                _ => {}
            }
            let _ = outlet.status(TaskState::Completed, None).await;
        })
    }
}

struct Tested {
    service: TaskService,
    apart: Arc<Mutex<Vec<bool>>>,
}

impl Tested {
    fn new() -> Self {
        let worker = Noting::default();
        let apart = Arc::clone(&worker.0);
        let store = Arc::new(MemoryStore::default());
        Self { service: TaskService::new(store, Arc::new(worker), Limits::default()), apart }
    }

    /// The state in which it is answered, and whether its worker was polled in a task of its own.
    async fn send(&self, text: &str, is_blocking: bool) -> (TaskState, bool) {
        let message = Message { role: Role::User, ..Message::of_agent("", "", Parts::of_text(text)) };
        let request = SendRequest { is_blocking, ..SendRequest::of(message) };
        let answer = self.service.answer(&Caller::Anonymous, Call::Send(Box::new(request)), None).await;
        let Ok(Answer::Sent(view)) = answer else { panic!("{answer:?}") };
        let apart = self.apart.lock().expect("no panic").last().copied();
        (view.task.status.state, apart.unwrap_or(false))
    }
}

#[tokio::test]
async fn a_worker_that_is_quick_is_polled_where_its_caller_waits() {
    let tested = Tested::new();
    assert_eq!(tested.send("at once", true).await, (TaskState::Completed, false));
    assert_eq!(tested.send("wait", true).await, (TaskState::Completed, false), "the rest of it elsewhere");
    assert_eq!(tested.send("nothing", true).await, (TaskState::Failed, false));
    assert_eq!(tested.send("at once", false).await.0, TaskState::Submitted, "nobody waits for this one");
    while tested.service.active() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(tested.apart.lock().expect("no panic").last(), Some(&true));
}

#[tokio::test]
async fn after_one_that_computes_or_panics_the_next_ones_are_polled_in_tasks_of_their_own() {
    for (text, state) in [
        ("compute", TaskState::Completed),
        ("panic", TaskState::Failed),
        ("panic at once", TaskState::Failed),
    ] {
        let tested = Tested::new();
        assert_eq!(tested.send(text, true).await, (state, false), "{text}");
        assert_eq!(tested.send("at once", true).await, (TaskState::Completed, true), "{text}");
    }
}
