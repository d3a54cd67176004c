//! Several turns with one agent, and what it streams meanwhile.

use crate::{AgentClient, CallError, CallOptions, Reply};
use bindu_a2a::call::StreamEvent;
use serde_json::Value;
use std::{fmt, sync::Arc, time::Duration};

/// How long a task may still show the question that was just answered, before it is taken for asked again.
pub(crate) const ANSWER_TAKEN_UP: Duration = Duration::from_secs(30);

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
    /// The status by which it asked: an agent may show it once more before it takes the answer up.
    pub(crate) question: Option<Value>,
}

impl Turn {
    /// Whether this status of its task is the question that this message answers: of the same moment, with the same message or
    /// with none any more. One without a moment and without a message can't be told from the next.
    pub(crate) fn is_answered(&self, status: &Value) -> bool {
        let Some(question) = &self.question else { return false };
        let moment = |status: &Value| {
            let text = status.get("timestamp").and_then(Value::as_str);
            text.filter(|text| !text.starts_with("1970-")).map(str::to_owned)
        };
        let message = |status: &Value| {
            let message = status.get("message")?;
            ["messageId", "message_id"].iter().find_map(|name| message.get(*name)).cloned()
        };
        let is_marked = moment(status).is_some() || message(status).is_some();
        is_marked
            && question.get("state") == status.get("state")
            && moment(question) == moment(status)
            && message(status).is_none_or(|asked| message(question) == Some(asked))
    }
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
            question: reply.task.get("status").filter(|_| reply.state.waits()).cloned(),
        };
        Ok(reply)
    }
}
