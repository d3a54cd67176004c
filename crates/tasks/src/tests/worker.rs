//! A worker that does what the message says.

use crate::{Job, Outlet, Worker, conformance::chunk};
use bindu_a2a::{Parts, event::TaskEvent, model::TaskState};
use futures_util::future::BoxFuture;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Semaphore;

/// Does what the last message says.
pub(super) struct Obedient {
    /// What `wait` and `stream` wait for, once for each step.
    pub(super) steps: Arc<Semaphore>,
    /// How many have begun.
    pub(super) begun: Arc<AtomicUsize>,
    /// The texts of those that saw their cancellation.
    pub(super) canceled: Arc<Mutex<Vec<String>>>,
}

impl Default for Obedient {
    fn default() -> Self {
        Self { steps: Arc::new(Semaphore::new(0)), begun: Arc::default(), canceled: Arc::default() }
    }
}

async fn step(steps: &Semaphore) {
    steps.acquire().await.expect("open").forget();
}

impl Worker for Obedient {
    fn work(&self, job: Job, outlet: Outlet) -> BoxFuture<'static, ()> {
        let (steps, canceled) = (Arc::clone(&self.steps), Arc::clone(&self.canceled));
        self.begun.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let text = job.message.parts.as_text();
            let reply = |text: &str| outlet.of_agent(Parts::of_text(text));
            let _ = match text.as_str() {
                "ask" => outlet.status(TaskState::InputRequired, Some(reply("which one?"))).await,
                "reject" => outlet.status(TaskState::Rejected, Some(reply("no"))).await,
                "message" => outlet.message(reply("in place of a task")).await,
                "slow message" => {
                    step(&steps).await;
                    outlet.message(reply("in place of a task")).await
                }
                "panic" => panic!("as it was told"),
                "nothing" => Ok(()),
                "wait" => {
                    tokio::select! {
                        () = step(&steps) => outlet.status(TaskState::Completed, None).await,
                        () = job.canceled.cancelled() => {
                            canceled.lock().expect("no panic").push(text);
                            Ok(())
                        }
                    }
                }
                "deaf" => std::future::pending().await,
                "history" => {
                    let earlier = job.conversation().await.expect("there");
                    let ids: Vec<_> = earlier.iter().map(|task| task.history[0].parts.as_text()).collect();
                    let _ = outlet.tell(chunk("a", &ids.join(","), false)).await;
                    outlet.status(TaskState::Completed, None).await
                }
                "stream" => {
                    for number in 0..5 {
                        step(&steps).await;
                        let _ = outlet.tell(chunk("a", &number.to_string(), number > 0)).await;
                    }
                    step(&steps).await;
                    outlet.status(TaskState::Completed, None).await
                }
                "flood" => {
                    for number in 0..1000 {
                        let _ = outlet.tell(chunk("a", &number.to_string(), true)).await;
                    }
                    outlet.status(TaskState::Completed, None).await
                }
                text => {
                    let texts: Vec<_> = job.task.history.iter().map(|one| one.parts.as_text()).collect();
                    let _ = text;
                    let _ = outlet.tell(chunk("a", &texts.join(","), false)).await;
                    outlet
                        .tell(TaskEvent::Status(bindu_a2a::model::TaskStatus {
                            state: TaskState::Completed,
                            message: None,
                            timestamp: jiff::Timestamp::now(),
                        }))
                        .await
                }
            };
        })
    }
}
