//! What a handler answers, or why it has no answer.

use super::Content;
use bindu_client::CallError;
use std::{any::Any, error::Error, fmt};

/// What a handler answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The content. Empty, with [`ReplyState::Completed`], if what was written or given as artifacts is all of it.
    pub content: Content,
    /// Where it leaves the task.
    pub state: ReplyState,
}

/// Where an answer leaves a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ReplyState {
    /// Done: the content is the result, signed.
    #[default]
    Completed,
    /// The content is a question.
    InputRequired,
    /// The content says what authorisation is missing.
    AuthRequired,
    /// The content says why there is no result.
    Failed,
    /// The content says why the agent will not do it.
    Rejected,
    /// The content is a message in place of a task: what a caller that waits gets, if nothing was said before.
    Message,
}

impl Reply {
    /// What was written, or given as artifacts, is the whole result.
    #[must_use]
    pub fn done() -> Self {
        Self { content: Content::default(), state: ReplyState::Completed }
    }

    /// A question back.
    pub fn question(content: impl Into<Content>) -> Self {
        Self { content: content.into(), state: ReplyState::InputRequired }
    }

    /// The caller has to give an authorisation first, by a way that the content says.
    pub fn needs_authorisation(content: impl Into<Content>) -> Self {
        Self { content: content.into(), state: ReplyState::AuthRequired }
    }

    /// No result, and why.
    pub fn failed(content: impl Into<Content>) -> Self {
        Self { content: content.into(), state: ReplyState::Failed }
    }

    /// It will not be done, and why.
    pub fn rejected(content: impl Into<Content>) -> Self {
        Self { content: content.into(), state: ReplyState::Rejected }
    }

    /// A message in place of a task: an answer that leaves nothing to come back to.
    pub fn message(content: impl Into<Content>) -> Self {
        Self { content: content.into(), state: ReplyState::Message }
    }
}

impl From<Content> for Reply {
    fn from(content: Content) -> Self {
        Self { content, state: ReplyState::Completed }
    }
}

impl<T: Into<String>> From<T> for Reply {
    fn from(content: T) -> Self {
        Content::from(content).into()
    }
}

/// Why a handler has no answer. Its text goes to the caller, its source to the agent's log.
///
/// Any error becomes one by `?`: then the caller learns that the agent could not answer, and no more.
pub struct HandlerError {
    text: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl HandlerError {
    /// With a text for the caller.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), source: None }
    }

    /// With its source, for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The text for the caller.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The source and the sources behind it, for the log.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut next = self.source.as_deref().map(|source| source as &dyn Error);
        while let Some(error) = next {
            causes.push(error.to_string());
            next = error.source();
        }
        causes
    }
}

/// Not an [`Error`] itself, so that any error can become one.
impl<E: Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        let text = match (&error as &dyn Any).is::<CallError>() {
            true => "another agent that is needed for this could not be called",
            false => "the agent could not answer this",
        };
        Self::new(text).because(error)
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError").field("text", &self.text).field("causes", &self.causes()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_its_caller_no_particulars_and_the_log_all() {
        let inner = std::io::Error::other("a secret path");
        let error = HandlerError::from(std::io::Error::other(inner));
        assert_eq!(error.to_string(), "the agent could not answer this");
        assert!(error.causes().iter().any(|cause| cause.contains("a secret path")));
        let told = HandlerError::new("only numbers").because("x");
        assert_eq!((told.to_string().as_str(), told.causes()), ("only numbers", vec!["x".to_owned()]));
    }
}
