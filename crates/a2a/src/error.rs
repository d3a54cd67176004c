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

/// How A2A 1.0 shows an error on each binding (specification 1.0, 5.4 and 11.6). What it has no word for has one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The JSON-RPC code.
    pub code: i32,
    /// The HTTP status of the HTTP+JSON binding.
    pub status: u16,
    /// The name of the gRPC status code.
    pub grpc: &'static str,
    /// The reason in `google.rpc.ErrorInfo`.
    pub reason: &'static str,
}

impl A2aError {
    /// How A2A 1.0 shows it.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let facts = |code, status, grpc, reason| Facts { code, status, grpc, reason };
        match self {
            Self::Parse(_) => facts(-32700, 400, "INVALID_ARGUMENT", "PARSE_ERROR"),
            Self::Request(_) => facts(-32600, 400, "INVALID_ARGUMENT", "INVALID_REQUEST"),
            Self::Method(_) => facts(-32601, 404, "NOT_FOUND", "METHOD_NOT_FOUND"),
            Self::Params(_) => facts(-32602, 400, "INVALID_ARGUMENT", "INVALID_PARAMS"),
            Self::TaskNotFound | Self::PushNotFound => facts(-32001, 404, "NOT_FOUND", "TASK_NOT_FOUND"),
            Self::ContextNotFound => facts(-32001, 404, "NOT_FOUND", "CONTEXT_NOT_FOUND"),
            Self::NotCancelable(_) => facts(-32002, 400, "FAILED_PRECONDITION", "TASK_NOT_CANCELABLE"),
            Self::PushNotSupported => {
                facts(-32003, 400, "FAILED_PRECONDITION", "PUSH_NOTIFICATION_NOT_SUPPORTED")
            }
            Self::UnsupportedOperation(_) | Self::Ended { .. } => {
                facts(-32004, 400, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION")
            }
            Self::ContentTypeNotSupported(_) => {
                facts(-32005, 400, "INVALID_ARGUMENT", "CONTENT_TYPE_NOT_SUPPORTED")
            }
            Self::Media(_) => facts(-32005, 415, "INVALID_ARGUMENT", "CONTENT_TYPE_NOT_SUPPORTED"),
            Self::InvalidAgentResponse => facts(-32006, 500, "INTERNAL", "INVALID_AGENT_RESPONSE"),
            Self::ExtendedCardNotConfigured => {
                facts(-32007, 400, "FAILED_PRECONDITION", "EXTENDED_AGENT_CARD_NOT_CONFIGURED")
            }
            Self::ExtensionRequired(_) => {
                facts(-32008, 400, "FAILED_PRECONDITION", "EXTENSION_SUPPORT_REQUIRED")
            }
            Self::VersionNotSupported(_) => {
                facts(-32009, 400, "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED")
            }
            Self::TooLarge => facts(-32603, 413, "RESOURCE_EXHAUSTED", "TOO_LARGE"),
            Self::TooMany { .. } => facts(-32603, 429, "RESOURCE_EXHAUSTED", "TOO_MANY_REQUESTS"),
            Self::Unavailable { .. } => facts(-32603, 503, "UNAVAILABLE", "UNAVAILABLE"),
            Self::Internal => facts(-32603, 500, "INTERNAL", "INTERNAL_ERROR"),
        }
    }

    /// How long to wait, in seconds, if waiting helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooMany { retry_after, .. } | Self::Unavailable { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}
