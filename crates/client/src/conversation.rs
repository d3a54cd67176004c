//! Several turns with one agent, and what it streams meanwhile.

use crate::{AgentClient, CallError, CallOptions, Reply};
use bindu_a2a::call::StreamEvent;
use std::{fmt, sync::Arc};

/// Takes what an agent streams. Called on the call's own task: must not block.
#[derive(Clone)]
pub struct EventSink(pub Arc<dyn Fn(&StreamEvent) + Send + Sync>);

impl fmt::Debug for EventSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventSink")
    }
}

/// Several turns with one agent: each message belongs to the same conversation, and answers the agent's question if it has
/// asked one.
#[derive(Debug)]
pub struct Conversation {
    pub(crate) client: AgentClient,
    pub(crate) url: String,
    pub(crate) options: CallOptions,
    pub(crate) turn: Turn,
}

/// Where a message belongs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn {
    /// The conversation, once it has begun.
    pub(crate) context_id: Option<String>,
    /// The task that waits for this message.
    pub(crate) task_id: Option<String>,
}

impl Conversation {
    /// Sends a text, and waits for the reply.
    ///
    /// # Errors
    /// As [`AgentClient::call`]. The conversation goes on where it was.
    pub async fn say(&mut self, text: &str) -> Result<Reply, CallError> {
        let reply = self.client.call_in_time(&self.url, (text, &self.turn), &self.options).await?;
        let id = |names: [&str; 2]| {
            names.iter().find_map(|name| reply.task.get(*name)?.as_str()).map(str::to_owned)
        };
        self.turn = Turn {
            context_id: id(["contextId", "context_id"]).or(self.turn.context_id.take()),
            task_id: id(["id", "id"]).filter(|_| reply.state.waits()),
        };
        Ok(reply)
    }
}
