//! Why an agent refuses a call. Codes, names and HTTP statuses are each dialect's own.

use crate::model::TaskState;

/// Why a call was not done. `Display` is for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum A2aError {
    /// The body is not JSON, or no JSON that can be kept exactly.
    #[error("{0}")]
    Parse(String),
    /// Its content type, encoding or charset is not read here.
    #[error("{0}")]
    Media(String),
    /// JSON, but not a request.
    #[error("{0}")]
    Request(String),
    /// No such method.
    #[error("{0}")]
    Method(String),
    /// A parameter is missing or wrong; the text names it.
    #[error("{0}")]
    Params(String),
    /// The caller has no such task.
    #[error("Task not found")]
    TaskNotFound,
    /// The task cannot be cancelled in this state.
    #[error("the task has ended")]
    NotCancelable(TaskState),
    /// The task has ended, and takes no more messages.
    #[error("the task has ended")]
    Ended {
        /// Which.
        task_id: String,
        /// How.
        state: TaskState,
    },
    /// There is no push delivery here.
    #[error("push notifications are not supported")]
    PushNotSupported,
    /// The caller has no such push configuration.
    #[error("push notification configuration not found")]
    PushNotFound,
    /// This agent, or this task in its state, does not do that.
    #[error("{0}")]
    UnsupportedOperation(String),
    /// The agent does not produce or take this media type.
    #[error("{0}")]
    ContentTypeNotSupported(String),
    /// The handler's answer cannot be shown.
    #[error("the agent's answer is not valid")]
    InvalidAgentResponse,
    /// There is no extended card.
    #[error("there is no extended card")]
    ExtendedCardNotConfigured,
    /// The card says that callers must declare this extension.
    #[error("the extension {0} is required")]
    ExtensionRequired(String),
    /// This version of the protocol is not spoken here.
    #[error("A2A version {0:?} is not supported")]
    VersionNotSupported(String),
    /// The caller has no such conversation.
    #[error("Context not found")]
    ContextNotFound,
    /// It would never fit.
    #[error("the message is longer than what is kept for one caller")]
    TooLarge,
    /// The caller has too much going on here; waiting helps.
    #[error("{problem}")]
    TooMany {
        /// For the caller.
        problem: String,
        /// In seconds.
        retry_after: u64,
    },
    /// The agent cannot do it now; waiting helps.
    #[error("{problem}")]
    Unavailable {
        /// For the caller.
        problem: String,
        /// In seconds.
        retry_after: u64,
    },
    /// A bug of ours. The particulars are in the log.
    #[error("the agent could not answer this request")]
    Internal,
}
