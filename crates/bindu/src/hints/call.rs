//! A call to another agent that failed, or whose reply counts for nothing.

use super::Hint;
use crate::{ExitClass, Refusal};
use bindu_client::CallError;
use bindu_hydra::{HydraError, TokenError};
use bindu_store::Outage;

/// A call that failed.
#[must_use]
pub fn call(error: &CallError) -> Refusal {
    let (class, hint) = match error {
        CallError::Address { problem, .. } if problem.contains("password") => (
            ExitClass::Usage,
            Hint::new("give the address without them: agents are called with a token of Hydra's"),
        ),
        CallError::Address { .. } => (
            ExitClass::Usage,
            Hint::new("give an address that begins with https://; plain http is allowed by")
                .setting("call.dangerous_allow_http = true"),
        ),
        CallError::NoCard { .. } => (
            ExitClass::Failed,
            Hint::new("give the address of an agent, without /.well-known")
                .command("bindu call https://agent.example.com TEXT"),
        ),
        // What a stranger's card says is never part of a line that is made to be copied.
        CallError::OtherOrigin { .. } => (
            ExitClass::Failed,
            Hint::new("call that origin itself").command("bindu call ORIGIN TEXT").words(
                "or, if both are the same agent's, allow it with",
            ).setting("--allow-origin ORIGIN"),
        ),
        CallError::OtherAgent { .. } => (
            ExitClass::Failed,
            Hint::new("see that the address is right; if the agent there is meant, say so with")
                .setting("--did DID"),
        ),
        CallError::NoKey { .. } => (ExitClass::Failed, no_key()),
        CallError::OtherKey { .. } => (
            ExitClass::Failed,
            Hint::new(
                "it shows no rotation that leads from the one to the other: ask its owner for the right key, and call with",
            )
            .setting("--key KEY")
            .words("or, if the new key is right, take the agent's entry out of known_agents.json in the directory of")
            .setting("BINDU_DATA_DIR"),
        ),
        CallError::Token(error) => return token(error),
        CallError::Refused { status: 401 | 403, .. } => (
            ExitClass::Denied,
            Hint::new("our client must be in the same Hydra as that agent's, and our DID on its list. What is wrong with ours is told by")
                .command("bindu hydra plan")
                .words("what that agent's owner may have to change is")
                .setting("AUTH__ALLOWED_DIDS"),
        ),
        CallError::Refused { .. } | CallError::Unavailable { .. } => (
            ExitClass::Unavailable,
            Hint::new("see that the agent runs and can be reached").command("curl URL/health").words("and try again"),
        ),
        CallError::Forged { .. } => (
            ExitClass::Failed,
            Hint::new(
                "believe nothing of it: somebody on the way, or another agent, has written it. Ask its owner for its key, and \
                 call with",
            )
            .setting("--key KEY"),
        ),
        CallError::Unsigned { .. } => return unsigned_error(error),
        // The agent's own words are in the message.
        _ => (
            ExitClass::Failed,
            Hint::new("the message holds the agent's own words: ask in another way").command("bindu call URL TEXT"),
        ),
    };
    Refusal::new(class, error.to_string(), hint).because_source(error)
}

/// A reply of this agent that is not signed, or not wholly.
#[must_use]
pub fn unsigned(did: &str) -> Refusal {
    unsigned_error(&CallError::Unsigned { did: did.to_owned() })
}

fn unsigned_error(error: &CallError) -> Refusal {
    let hint = Hint::new("anybody on the way may have written it. It is printed all the same with")
        .setting("--accept-unsigned");
    Refusal::new(ExitClass::Failed, error.to_string(), hint)
}

/// A task that has ended without a result.
#[must_use]
pub fn ended(state: &str, said: &str) -> Refusal {
    let said = if said.is_empty() { "nothing" } else { said };
    let hint = Hint::new("ask in another way")
        .command("bindu call URL TEXT")
        .words("or look into the other agent's log");
    Refusal::new(ExitClass::Failed, format!("the task has ended as {state}; the agent says: {said:?}"), hint)
}

/// No key of our own to sign with: because of the store, or because there is none yet.
#[must_use]
pub fn no_own_key(outage: Option<&Outage>) -> Refusal {
    match outage {
        Some(outage) => Refusal::new(
            ExitClass::Unavailable,
            "the store does not give this agent's key, and the data directory has no copy of it",
            super::store_is_silent(),
        )
        .because(outage),
        None => {
            Refusal::new(ExitClass::Failed, "this agent has no key yet to sign with", super::no_key_yet())
        }
    }
}

/// A token of our own that is not to be had.
#[must_use]
pub fn token(error: &TokenError) -> Refusal {
    let (class, hint) = match error {
        TokenError::NoHydra => (ExitClass::Usage, Hint::new("set").hydra()),
        TokenError::NoCredentials(_) => (
            ExitClass::Failed,
            Hint::new("the first start registers the client; what it would do is told with the same settings by")
                .command("bindu hydra plan")
                .words("and done by")
                .command("bindu run"),
        ),
        TokenError::StoreUnavailable(_) => (ExitClass::Unavailable, super::store_is_silent()),
        TokenError::StoreDenied(_) => (
            ExitClass::Denied,
            Hint::new("give the token of the store the policy that is printed with the same settings by")
                .command("bindu vault policy"),
        ),
        TokenError::Hydra(HydraError::Refused { .. }) => (
            ExitClass::Failed,
            Hint::new("our client in Hydra does not have these scopes or this audience; a start of the agent registers those of")
                .setting("HYDRA__DEFAULT_AGENT_SCOPES")
                .setting("HYDRA__AUDIENCES"),
        ),
        TokenError::WrongSecret => (
            ExitClass::Denied,
            Hint::new("whose client it is, is told by")
                .command("bindu hydra plan")
                .words("and a lost secret is put back by a start of the agent")
                .command("bindu run"),
        ),
        _ => (
            ExitClass::Unavailable,
            Hint::new("see that Hydra answers at the address of").setting("HYDRA__PUBLIC_URL=URL"),
        ),
    };
    Refusal::new(class, error.to_string(), hint).because_source(error)
}

/// Another agent's key, which Hydra, a pin or its first use would tell.
fn no_key() -> Hint {
    Hint::new("let Hydra tell its key, with")
        .hydra()
        .words("or name the key, with")
        .setting("--key KEY")
        .setting("AUTH__PINNED_KEYS")
        .words("or trust what the agent shows, and leave out")
        .setting("--did DID")
}
