//! Events: a task is a log of them, numbered from 1; its state is their fold, a stream is the tail of the log.

use crate::{
    Json, Parts,
    model::{Artifact, Message, Task, TaskStatus},
};
use std::sync::Arc;

/// One entry of a task's log.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskEvent {
    /// A message for the history: the caller's, or the agent's reply.
    Message(Arc<Message>),
    /// A new status. The message of a status other than working goes into the history as well.
    Status(TaskStatus),
    /// A result, or a chunk of one.
    Artifact(Arc<ArtifactChunk>),
}

/// A result, or a chunk of one.
#[derive(Debug, Clone, PartialEq)]
pub struct ArtifactChunk {
    /// The artifact's id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// The content of this chunk.
    pub parts: Arc<Parts>,
    /// Metadata: a JSON object.
    pub metadata: Option<Json>,
    /// Extension URIs: a JSON list of strings.
    pub extensions: Option<Json>,
    /// Whether it goes behind the earlier chunks; otherwise it takes their place.
    pub append: bool,
    /// Whether no more will come.
    pub is_last: bool,
}

impl TaskEvent {
    /// The bytes that keeping it costs, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Message(message) => message.bytes(),
                Self::Status(status) => status.message.as_ref().map_or(0, |message| message.bytes()),
                Self::Artifact(chunk) => chunk.bytes(),
            }
    }
}

impl Task {
    /// Takes one more event into account. Copies no content.
    pub fn apply(&mut self, event: &TaskEvent) {
        match event {
            TaskEvent::Message(message) => self.history.push(Arc::clone(message)),
            TaskEvent::Status(status) => {
                if let Some(message) = status.message.as_ref().filter(|_| !status.state.is_active()) {
                    self.history.push(Arc::clone(message));
                }
                self.status = status.clone();
            }
            TaskEvent::Artifact(chunk) => self.apply_chunk(chunk),
        }
    }

    fn apply_chunk(&mut self, chunk: &ArtifactChunk) {
        match self.artifacts.iter_mut().find(|artifact| artifact.id == chunk.id) {
            Some(artifact) if chunk.append => {
                let artifact = Arc::make_mut(artifact);
                artifact.chunks.push(Arc::clone(&chunk.parts));
                if let Some(metadata) = &chunk.metadata {
                    artifact.metadata = Some(metadata.clone());
                }
                if let Some(extensions) = &chunk.extensions {
                    artifact.extensions = Some(extensions.clone());
                }
            }
            Some(artifact) => *artifact = Arc::new(chunk.begun()),
            None => self.artifacts.push(Arc::new(chunk.begun())),
        }
    }
}

impl ArtifactChunk {
    /// The bytes that keeping it costs, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let json = |json: &Option<Json>| json.as_ref().map_or(0, |json| json.text().len());
        let texts: usize = [&self.name, &self.description].into_iter().flatten().map(String::len).sum();
        size_of::<Self>()
            + self.id.len()
            + texts
            + self.parts.text().len()
            + json(&self.metadata)
            + json(&self.extensions)
    }

    /// The artifact that this chunk begins.
    fn begun(&self) -> Artifact {
        Artifact {
            id: self.id.clone(),
            name: self.name.clone(),
            description: self.description.clone(),
            chunks: vec![Arc::clone(&self.parts)],
            metadata: self.metadata.clone(),
            extensions: self.extensions.clone(),
        }
    }
}
