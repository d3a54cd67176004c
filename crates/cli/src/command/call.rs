//! `bindu call`: calls another agent as this one, and prints what it answers once the signature was verified.

use super::{Output, SettingFlags, print, with_keeper};
use bindu::{
    AgentReply, AgentReplyState, CallOptions, Refusal, hints,
    run::{log, outgoing},
    settings::Settings,
};
use bindu_a2a::{call::StreamEvent, model::TaskState};
use bindu_client::EventSink;
use bindu_identity::{Did, PublicKey};
use bindu_keeper::HeldIdentity;
use serde_json::json;
use std::{io::IsTerminal as _, sync::Arc, time::Duration};

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
        on_event: is_watched(arguments.output).then(|| EventSink(Arc::new(progress))),
    };
    let reply = with_keeper(&settings, async |keeper| {
        let identity = match settings.hydra {
            None => None,
            Some(_) => {
                Some(keeper.look_at_identity().await.map_err(|outage| hints::no_own_key(outage.as_ref()))?)
            }
        };
        let identity = identity.map(|identity| Arc::new(HeldIdentity::new(identity)));
        let client = outgoing(&settings, &keeper, identity).client;
        let mut conversation = client.conversation(&arguments.url, options);
        let mut text = arguments.text;
        loop {
            let reply = conversation.say(&text).await.map_err(|error| hints::call(&error))?;
            match answer(&reply, arguments.output) {
                Some(answer) => text = answer,
                None => return Ok(reply),
            }
        }
    })?;
    tell(&reply, arguments.output, arguments.accept_unsigned)
}

/// Whether a person watches: then the agent's progress and its questions are shown.
fn is_watched(output: Output) -> bool {
    matches!(output, Output::Text) && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// What an agent says while it works.
fn progress(event: &StreamEvent) {
    if let StreamEvent::Status { status, .. } = event
        && status.state == TaskState::Working
        && let Some(message) = &status.message
    {
        super::note(&format!("{}\n", plain(&message.parts.as_text())));
    }
}

/// The answer to an agent's question, from the terminal; `None` if it has asked nothing, or nobody answers.
fn answer(reply: &AgentReply, output: Output) -> Option<String> {
    if reply.state != AgentReplyState::InputRequired || !is_watched(output) {
        return None;
    }
    super::note(&format!("{}\n> ", plain(&reply.text)));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).ok()?;
    let line = line.trim_end_matches(['\r', '\n']);
    Some(line.to_owned()).filter(|line| !line.is_empty())
}

/// Another agent's words, without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().filter(|character| matches!(character, '\n' | '\t') || !character.is_control()).collect()
}

fn tell(reply: &AgentReply, output: Output, accept_unsigned: bool) -> Result<(), Refusal> {
    match reply.state {
        AgentReplyState::Completed if reply.signed.is_none() && !accept_unsigned => {
            return Err(hints::unsigned(&reply.did.to_string()));
        }
        AgentReplyState::Failed | AgentReplyState::Canceled => {
            return Err(hints::ended(reply.state.label(), &reply.text));
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
            // A file or a pipe gets the reply as it is.
            let is_shown = std::io::stdout().is_terminal();
            print(&format!("{}\n", if is_shown { plain(&reply.text) } else { reply.text.clone() }));
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
