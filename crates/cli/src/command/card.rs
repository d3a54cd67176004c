//! `bindu card`: this agent's card, and the signatures of another agent's.

use super::{Output, SettingFlags, note, print, with_keeper};
use bindu::{
    ExitClass, Refusal, hints,
    run::{agent_url, card_profile, log},
    settings::Settings,
};
use bindu_a2a::card::CardIdentity;
use bindu_client::{InspectedCard, InspectedSignature, inspect_card};
use bindu_identity::Did;
use serde_json::{Value, json};
use std::fmt::Write as _;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print this agent's card as it is served, signed if this agent has a key
    Show {
        #[command(flatten)]
        settings: SettingFlags,
        /// text or json: the card
        #[arg(long, default_value = "text")]
        output: Output,
    },
    /// Fetch an agent's card and its keys, and check who signed it
    Verify {
        /// Where the agent is
        url: String,
        /// Who must have signed it
        #[arg(long)]
        did: Option<Did>,
        #[command(flatten)]
        settings: SettingFlags,
        /// text or json: {url, verified, did, signatures: [{kid, alg, jku, valid, problem, thumbprint, listed}], problem}
        #[arg(long, default_value = "text")]
        output: Output,
    },
}

pub(crate) fn run(command: Command) -> Result<(), Refusal> {
    match command {
        Command::Show { settings, output } => show(settings, output),
        Command::Verify { url, did, settings, output } => verify(&url, did.as_ref(), settings, output),
    }
}

fn show(settings: SettingFlags, output: Output) -> Result<(), Refusal> {
    let settings = Settings::load(settings.layers(Vec::new())?)?;
    log::start(&settings)?;
    let (card, key_ids) = with_keeper(&settings, async |keeper| {
        let profile = card_profile(&settings, &keeper.agent.name, &agent_url(&settings));
        match keeper.look_at_identity().await {
            Ok(identity) => {
                let who = CardIdentity { did: &identity.did, id: identity.id, started: 0 };
                let card = bindu_agent::signed_card(&profile, &who, &identity, false);
                Ok((card.json, card.key_ids))
            }
            Err(Some(outage)) => Err(hints::no_own_key(Some(&outage))),
            Err(None) => {
                let who = CardIdentity { did: &keeper.agent.did, id: keeper.agent.id, started: 0 };
                Ok((profile.unsigned_card(&who, false), Vec::new()))
            }
        }
    })?;
    if key_ids.is_empty() {
        note("this agent has no key yet: its card is not signed\n");
    }
    match output {
        Output::Json => print(&format!("{card:#}\n")),
        Output::Text => print(&text(&card, &key_ids)),
    }
    Ok(())
}

/// A card for people.
fn text(card: &Value, key_ids: &[String]) -> String {
    let member =
        |value: &Value, name: &str| plain(value.get(name).and_then(Value::as_str).unwrap_or_default());
    let items = |name: &str| card.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut text = format!("{}: {}\n", member(card, "name"), member(card, "description"));
    let mut line = |name: &str, value: &str| _ = writeln!(text, "{name:12} {value}");
    line("version", &member(card, "version"));
    for interface in items("supportedInterfaces") {
        let (binding, version) = (member(interface, "protocolBinding"), member(interface, "protocolVersion"));
        line("interface", &format!("{binding} {version} at {}", member(interface, "url")));
    }
    for skill in items("skills") {
        line("skill", &format!("{}: {}", member(skill, "id"), member(skill, "description")));
    }
    for key_id in key_ids {
        line("signed by", key_id);
    }
    text
}

/// A text of somebody's on one line, without what a terminal would obey.
fn plain(text: &str) -> String {
    text.trim().chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn verify(url: &str, wanted: Option<&Did>, settings: SettingFlags, output: Output) -> Result<(), Refusal> {
    let settings = Settings::load(settings.layers(Vec::new())?)?;
    log::start(&settings)?;
    let inspecting = inspect_card(url, settings.call.dangerous_allow_http, settings.proxies.clone());
    let card = bindu::block_on(async { inspecting.await.map_err(|error| hints::call(&error)) })?;
    let problem = problem(&card, wanted);
    match output {
        Output::Text => print(&told(&card)),
        Output::Json => print(&format!("{:#}\n", report(&card, problem.as_deref()))),
    }
    match problem {
        None => Ok(()),
        Some(problem) => Err(Refusal::new(
            ExitClass::Failed,
            format!("the card at {} is not verified: {problem}", card.url),
            "believe nothing of it that you don't know otherwise; ask whoever runs that agent",
        )),
    }
}

/// Why a card does not count as verified.
fn problem(card: &InspectedCard, wanted: Option<&Did>) -> Option<String> {
    let found = card.did.as_ref();
    if let Some(wanted) = wanted.filter(|wanted| found != Some(*wanted)) {
        let found = found.map_or("no DID", Did::as_str);
        return Some(format!("it is the card of {found}, not of {wanted}"));
    }
    if card.is_verified() {
        return None;
    }
    if card.signatures.is_empty() {
        return Some("it is not signed".to_owned());
    }
    if card.signatures.iter().all(|signature| signature.problem.is_some()) {
        return Some("no signature is good".to_owned());
    }
    Some(match &card.documents_problem {
        Some(problem) => format!("the documents of its DID can't be read: {}", plain(problem)),
        None => "the documents of its DID do not list the key that signed it".to_owned(),
    })
}

fn told(card: &InspectedCard) -> String {
    let name = card.card.get("name").and_then(Value::as_str).unwrap_or_default();
    let did = card.did.as_ref().map_or("no DID", Did::as_str);
    let mut text = format!("{} ({})\n", plain(name), plain(did));
    for signature in &card.signatures {
        let key = plain(signature.key_id.as_deref().unwrap_or("a key without an id"));
        let algorithm = plain(signature.algorithm.as_deref().unwrap_or("?"));
        let found = match (&signature.problem, signature.is_listed) {
            (Some(problem), _) => format!("does not count: {problem}"),
            (None, Some(true)) => "good; the documents of the DID list this key".to_owned(),
            (None, Some(false)) => "good, but the documents of the DID do not list this key".to_owned(),
            (None, None) if card.did.is_some() => "good, but there are no documents of the DID".to_owned(),
            (None, None) => "good, by a key at the card's own address".to_owned(),
        };
        let _ = writeln!(text, "signature by {key} ({algorithm}): {found}");
    }
    text
}

fn report(card: &InspectedCard, problem: Option<&str>) -> Value {
    let signature = |signature: &InspectedSignature| {
        json!({
            "kid": signature.key_id,
            "alg": signature.algorithm,
            "jku": signature.jku,
            "valid": signature.problem.is_none(),
            "problem": signature.problem.as_ref().map(ToString::to_string),
            "thumbprint": signature.thumbprint,
            "listed": signature.is_listed,
        })
    };
    json!({
        "url": card.url.as_str(),
        "verified": problem.is_none(),
        "problem": problem,
        "did": card.did.as_ref().map(Did::as_str),
        "signatures": card.signatures.iter().map(signature).collect::<Vec<_>>(),
    })
}
