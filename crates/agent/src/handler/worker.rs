//! A [`Handler`] as the tasks' worker: what it says becomes events.

use super::{Handler, HandlerTask, Reply, speech::Speech};
use bindu_client::AgentClient;
use bindu_keeper::HeldIdentity;
use bindu_tasks::{Job, Outlet, Worker};
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// Lets a handler answer tasks.
pub struct HandlerWorker {
    held: Arc<HeldIdentity>,
    handler: Arc<dyn Handler>,
    agent: AgentClient,
    is_resumable: bool,
}

impl HandlerWorker {
    /// A worker with this handler. Its results are signed with the held identity.
    #[must_use]
    pub fn new(held: Arc<HeldIdentity>, handler: Arc<dyn Handler>, agent: AgentClient) -> Self {
        let is_resumable = handler.is_resumable();
        Self { held, handler, agent, is_resumable }
    }

    /// The worker, of which the operator says that it may handle a message again.
    #[must_use]
    pub fn resumable(self, is_resumable: bool) -> Self {
        Self { is_resumable: self.is_resumable || is_resumable, ..self }
    }
}

impl Worker for HandlerWorker {
    fn work(&self, job: Job, outlet: Outlet) -> BoxFuture<'static, ()> {
        let (handler, held, agent) = (Arc::clone(&self.handler), Arc::clone(&self.held), self.agent.clone());
        Box::pin(async move {
            let speech = Arc::new(Speech::new(outlet, held, &job));
            let (task_id, canceled) = (job.task.id.clone(), job.canceled.clone());
            let reply = match handler.handle(HandlerTask::new(job, agent, Arc::clone(&speech))).await {
                Ok(reply) => reply,
                Err(error) => {
                    if !canceled.is_cancelled() {
                        let causes = error.causes();
                        tracing::warn!(task = task_id, %error, ?causes, "the handler has no answer");
                    }
                    Reply::failed(format!("Task execution failed: {error}"))
                }
            };
            // An error says that nobody wants to know any more.
            let _ = speech.finish(reply).await;
        })
    }

    fn is_resumable(&self) -> bool {
        self.is_resumable
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.handler.close()
    }
}
