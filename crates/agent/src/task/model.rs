//! The core model: tasks, messages, parts and artifacts as A2A 1.0 has them. It knows no dialect's JSON.

use bindu_a2a::Json;

/// What an agent has been asked to do, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Unique for its owner.
    pub id: String,
    /// The conversation that it belongs to.
    pub context_id: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// What was said, oldest first.
    pub history: Vec<Message>,
    /// What it brought forth.
    pub artifacts: Vec<Artifact>,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskStatus {
    /// The state.
    pub state: TaskState,
    /// Since when, RFC 3339.
    pub timestamp: String,
}

/// The states of A2A 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// Accepted, not begun.
    Submitted,
    /// Begun.
    Working,
    /// Done.
    Completed,
    /// Ended without a result.
    Failed,
    /// Ended because it was asked to.
    Canceled,
    /// Not begun, and never will be.
    Rejected,
    /// Waits for another message.
    InputRequired,
    /// Waits for an authorisation.
    AuthRequired,
}

impl TaskState {
    /// Whether nothing can change any more.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled | Self::Rejected)
    }

    /// Whether somebody works on it, or will.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Submitted | Self::Working)
    }
}

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The caller.
    User,
    /// The agent.
    Agent,
    /// Not in A2A 1.0; Python Bindu's callers may send it.
    System,
}

/// One thing said.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its id, the speaker's choice.
    pub id: String,
    /// The conversation.
    pub context_id: String,
    /// The task.
    pub task_id: String,
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub parts: Vec<Part>,
    /// Anything else, for whoever understands it; an object.
    pub metadata: Option<Json>,
    /// Other tasks that are meant.
    pub reference_task_ids: Vec<String>,
    /// Extension URIs.
    pub extensions: Vec<String>,
}

/// A piece of a message or an artifact.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The content.
    pub content: Content,
    /// For a person beside data or a file; for text it is the content itself.
    pub caption: Option<String>,
    /// Its media type, where it says.
    pub media_type: Option<String>,
    /// Its file name, where it has one.
    pub filename: Option<String>,
    /// Anything else.
    pub metadata: Option<Json>,
}

/// What a part holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Text.
    Text(String),
    /// Bytes, in base64 as they were sent.
    Raw(String),
    /// Where to fetch it.
    Url(String),
    /// JSON, exactly as it was sent.
    Data(Json),
}

/// A result.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// What it holds.
    pub parts: Vec<Part>,
}

impl Part {
    /// A text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            content: Content::Text(text.into()),
            caption: None,
            media_type: None,
            filename: None,
            metadata: None,
        }
    }

    /// What a handler that reads text gets to see.
    #[must_use]
    pub fn as_text(&self) -> String {
        match &self.content {
            Content::Text(text) => text.clone(),
            Content::Data(value) => value.text().to_owned(),
            Content::Url(url) => url.clone(),
            Content::Raw(_) => format!("[file {}]", self.filename.as_deref().unwrap_or("without a name")),
        }
    }
}

impl Message {
    /// Its parts as one text, one part a line.
    #[must_use]
    pub fn as_text(&self) -> String {
        self.parts.iter().map(Part::as_text).collect::<Vec<_>>().join("\n")
    }
}
