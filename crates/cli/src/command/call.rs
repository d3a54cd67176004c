//! `bindu call`: calls another agent as this one, and prints what it answers once the signature was verified.

use super::{Output, SettingFlags, print, with_keeper};
use bindu::{
    AgentReply, AgentReplyState, CallError, CallOptions, ExitClass, Refusal,
    run::{log, outgoing},
    settings::Settings,
};
use bindu_hydra::{HydraError, TokenError};
use bindu_identity::{Did, PublicKey};
use bindu_keeper::HeldIdentity;
use bindu_store::Outage;
use serde_json::json;
use std::{sync::Arc, time::Duration};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the agent is
    url: String,
    /// What to say
    text: String,
    /// Who must be there: its key is then the one in Hydra (or a pinned one), not the one that it shows
    #[arg(long)]
    did: Option<Did>,
    /// A key in base58 that the reply must be signed with, whatever Hydra and the agent say; of several, one of them
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<PublicKey>,
    /// How long the whole call may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "300")]
    timeout: u64,
    /// Send the call to this origin if the card says so, though the card is elsewhere
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    allow_origin: Option<String>,
    /// Take a reply that is not signed, or not wholly
    #[arg(long)]
    accept_unsigned: bool,
    #[command(flatten)]
    settings: SettingFlags,
    /// text or json
    #[arg(long, default_value = "text")]
    output: Output,
}

fn origin(text: &str) -> Result<String, String> {
    let expected = "it must be an origin without a path, such as https://agent.example.com";
    if bindu::settings::is_origin(text) { Ok(text.to_owned()) } else { Err(expected.to_owned()) }
}

pub(crate) fn run(arguments: Arguments) -> Result<(), Refusal> {
    let mut settings = Settings::load(arguments.settings.layers(Vec::new())?)?;
    settings.call.allowed_origins.extend(arguments.allow_origin);
    log::start(&settings)?;
    let options = CallOptions {
        did: arguments.did,
        keys: arguments.keys,
        timeout: Some(Duration::from_secs(arguments.timeout)),
    };
    let reply = with_keeper(&settings, async |keeper| {
        let identity = match settings.hydra {
            None => None,
            Some(_) => Some(keeper.look_at_identity().await.map_err(no_identity)?),
        };
        let identity = identity.map(|identity| Arc::new(HeldIdentity::new(identity)));
        let client = outgoing(&settings, &keeper, identity).client;
        let called = client.call_with(&arguments.url, &arguments.text, &options).await;
        called.map_err(|error| refusal(&error))
    })?;
    tell(&reply, arguments.output, arguments.accept_unsigned)
}

fn tell(reply: &AgentReply, output: Output, accept_unsigned: bool) -> Result<(), Refusal> {
    let failed = |message: String, hint: &str| Err(Refusal::new(ExitClass::Failed, message, hint));
    match reply.state {
        AgentReplyState::Completed if reply.signed.is_none() && !accept_unsigned => {
            return failed(
                format!("the reply is not signed by {}, or not wholly", reply.did),
                "--accept-unsigned prints it all the same; anybody on the way may have written it",
            );
        }
        AgentReplyState::Failed | AgentReplyState::Canceled => {
            let said = if reply.text.is_empty() { "nothing" } else { &reply.text };
            return failed(
                format!("the task has ended as {}; the agent says: {said:?}", reply.state.label()),
                "ask in another way, or look into the other agent's log",
            );
        }
        _ => {}
    }
    let trust = reply.signed.map(|trust| trust.label());
    if let Some(change) = &reply.key_change {
        super::note(&format!("{} has rotated since the last call: {change}\n", reply.did));
    }
    match output {
        Output::Text => {
            // Not part of the reply: whoever pipes it somewhere wants the reply alone.
            let whose = trust.map_or("not signed".to_owned(), |trust| format!("signed: {trust}"));
            super::note(&format!("{} by {} ({whose})\n", reply.state.label(), reply.did));
            print(&format!("{}\n", reply.text));
        }
        Output::Json => print(&format!(
            "{:#}\n",
            json!({
                "text": reply.text,
                "state": reply.state.label(),
                "did": reply.did,
                "trust": trust,
                "key_change": reply.key_change.as_ref().map(|change| json!({
                    "from": change.from.to_string(),
                    "to": change.to.to_string(),
                    "generation": change.generation,
                })),
                "task": reply.task,
            })
        )),
    }
    Ok(())
}

fn no_identity(outage: Option<Outage>) -> Refusal {
    if let Some(outage) = outage {
        return Refusal::new(
            ExitClass::Unavailable,
            "the store does not give this agent's key, and the data directory has no copy of it",
            "`bindu identity plan` with the same settings says what the store answers",
        )
        .because(outage);
    }
    Refusal::new(
        ExitClass::Failed,
        "this agent has no key yet to sign with",
        "`bindu identity plan` with the same settings says what a start would do; start the agent once",
    )
}

fn refusal(error: &CallError) -> Refusal {
    let (class, hint) = match error {
        CallError::Address { .. } => (
            ExitClass::Usage,
            "give an address that begins with https://; call.dangerous_allow_http allows plain http",
        ),
        CallError::NoCard { .. } => (ExitClass::Failed, "give the address of an agent, without /.well-known"),
        CallError::OtherOrigin { .. } => (
            ExitClass::Failed,
            "call that origin yourself, or say --allow-origin ORIGIN if both are the same agent's",
        ),
        CallError::OtherAgent { .. } => (ExitClass::Failed, "see that address and --did belong together"),
        CallError::NoKey { .. } => (
            ExitClass::Failed,
            "set AUTH__ENABLED=true with Hydra's addresses, pin the key (AUTH__PINNED_KEYS), or leave --did out",
        ),
        CallError::OtherKey { .. } => (
            ExitClass::Failed,
            "it shows no rotation that leads from the one to the other: ask whoever runs that agent, and if the new key is \
             right, take its entry out of known_agents.json in the data directory",
        ),
        CallError::Token(error) => return token_refusal(error),
        CallError::Refused { status: 401 | 403, .. } => (
            ExitClass::Denied,
            "is our client of the same Hydra as that agent's, and is our DID on its list? `bindu hydra plan` tells \
             what is the matter with ours",
        ),
        CallError::Refused { .. } | CallError::Unavailable { .. } => {
            (ExitClass::Unavailable, "try again; see that the agent runs and can be reached")
        }
        CallError::Forged { .. } => (
            ExitClass::Failed,
            "believe nothing of it: somebody on the way, or another agent, has written it",
        ),
        CallError::Unsigned { .. } | CallError::Ended { .. } | CallError::Rpc { .. } => {
            (ExitClass::Failed, "the agent's own words are above")
        }
        _ => (ExitClass::Failed, "see above"),
    };
    Refusal::new(class, error.to_string(), hint).because_source(error)
}

/// The hint for a token that is not to be had.
pub(super) fn token_refusal(error: &TokenError) -> Refusal {
    let (class, hint) = match error {
        TokenError::NoHydra => {
            (ExitClass::Usage, "set AUTH__ENABLED=true, HYDRA__ADMIN_URL and HYDRA__PUBLIC_URL")
        }
        TokenError::NoCredentials(_) => (
            ExitClass::Failed,
            "start the agent once with these settings: it registers its client; `bindu hydra plan` says what it would do",
        ),
        TokenError::StoreUnavailable(_) => (
            ExitClass::Unavailable,
            "see that the store answers: `bindu identity plan` with the same settings says what it says",
        ),
        TokenError::StoreDenied(_) => (
            ExitClass::Denied,
            "give the token the policy of docs/VAULT.md: `bindu hydra plan` names the path",
        ),
        TokenError::Hydra(HydraError::Refused { .. }) => (
            ExitClass::Failed,
            "our client in Hydra does not have these scopes or this audience: HYDRA__DEFAULT_AGENT_SCOPES and \
             HYDRA__AUDIENCES are registered at a start of the agent",
        ),
        TokenError::WrongSecret => (
            ExitClass::Denied,
            "`bindu hydra plan` says whose the client is; a start of the agent puts a lost secret back",
        ),
        _ => (ExitClass::Unavailable, "see that Hydra answers at HYDRA__PUBLIC_URL"),
    };
    Refusal::new(class, error.to_string(), hint).because_source(error)
}
