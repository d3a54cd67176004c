//! What can go wrong with a call, by what can be done about it.

use bindu_hydra::TokenError;
use bindu_identity::Did;

/// Why there is no reply that can be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The address can't be called.
    #[error("{url} can't be called: {problem}")]
    Address {
        /// As it was given, or as the card gives it.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is no agent card there that can be read.
    #[error("there is no agent card at {url}: {problem}")]
    NoCard {
        /// Where it was looked for.
        url: String,
        /// What was there.
        problem: String,
    },
    /// The card names an interface elsewhere.
    #[error("the card of {base} sends calls to {interface}, which is another origin")]
    OtherOrigin {
        /// Where the card is.
        base: String,
        /// Where it sends calls.
        interface: String,
    },
    /// Another agent than the one that was meant.
    #[error("the agent there is {found}, not {wanted}")]
    OtherAgent {
        /// Who was meant.
        wanted: Did,
        /// Who is there.
        found: String,
    },
    /// The key that its replies must be signed with can't be found out.
    #[error("the key of {did} can't be found out: {problem}")]
    NoKey {
        /// Whose.
        did: String,
        /// What is the matter.
        problem: String,
    },
    /// Its key is another one than before.
    #[error("{did} shows another key than at the first call: {found}, not {known}")]
    OtherKey {
        /// Whose.
        did: String,
        /// The key of the first call.
        known: String,
        /// The key now.
        found: String,
    },
    /// We have no token.
    #[error("there is no token for the call")]
    Token(#[source] TokenError),
    /// The agent does not let us in.
    #[error("the agent refuses the call with {status}: {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its reason, in its words.
        reason: String,
    },
    /// The agent did not understand, or can't do it.
    #[error("the agent answers with the error {code}: {message}")]
    Rpc {
        /// The JSON-RPC code.
        code: i64,
        /// Its words.
        message: String,
    },
    /// No believable answer in time.
    #[error("{url} gave no answer that can be believed: {detail}")]
    Unavailable {
        /// Who was asked.
        url: String,
        /// What came instead.
        detail: String,
    },
    /// The reply is not signed, or not wholly.
    #[error("the reply is not signed by {did}, or not wholly")]
    Unsigned {
        /// Who answered.
        did: String,
    },
    /// There is no result.
    #[error("the task is {state}; the agent says: {said}")]
    Ended {
        /// Where it stands.
        state: &'static str,
        /// The agent's words.
        said: String,
    },
    /// The reply's signature is wrong.
    #[error("the reply is not signed with the key of {did} ({trust})")]
    Forged {
        /// Whose key was tried.
        did: String,
        /// Where that key is from.
        trust: &'static str,
    },
}
