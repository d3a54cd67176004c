//! `bindu vault policy`: the least that an agent needs.

use super::NEEDED;
use crate::command::{SettingFlags, print};
use bindu::{Did, ExitClass, Refusal, settings::Settings};
use bindu_identity::{AgentId, AgentName};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: SettingFlags,
}

/// Whose policy it is.
pub(super) enum Whose {
    /// One agent's.
    Agent(AgentId, Did),
    /// That of each agent whose entity says in its metadata which one it is.
    Many,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Refusal> {
    let settings = Settings::load(arguments.settings.layers(Vec::new())?)?;
    let whose = match (agent(&settings), &settings.author, &settings.name, settings.id) {
        (Some((id, did)), ..) => Whose::Agent(id, did),
        (None, None, None, None) => Whose::Many,
        _ => {
            return Err(Refusal::new(
                ExitClass::Usage,
                "author and name are both part of the DID, and the policy names it",
                "set BINDU_AUTHOR and BINDU_NAME; or neither (and no BINDU_AGENT_ID) for a template",
            ));
        }
    };
    print(&text(&settings, &whose));
    Ok(())
}

/// The agent of these settings, where they name one.
pub(super) fn agent(settings: &Settings) -> Option<(AgentId, Did)> {
    let (author, name) = (settings.author.clone()?, settings.name.clone()?);
    let id = settings.id.unwrap_or_else(|| AgentId::derive(&author, &name));
    Some((id, Did::bindu(&AgentName { author, name }, id)))
}

/// The policy, in HCL.
pub(super) fn text(settings: &Settings, whose: &Whose) -> String {
    let (who, id, did) = match whose {
        Whose::Agent(id, did) => (did.to_string(), id.to_string(), did.to_string()),
        Whose::Many => (
            "many agents: each entity's metadata names its agent".to_owned(),
            "{{identity.entity.metadata.bindu_agent_id}}".to_owned(),
            "{{identity.entity.metadata.bindu_did}}".to_owned(),
        ),
    };
    let (mount, prefix) = (&settings.vault_mount, &settings.vault_prefix);
    let capabilities = NEEDED.map(|capability| format!("\"{capability}\"")).join(", ");
    let rule = |about: &str, path: String| {
        format!(
            "\n# {about}\npath \"{mount}/data/{prefix}/{path}\" {{\n  capabilities = [{capabilities}]\n}}\n"
        )
    };
    let keys = rule("its keys", format!("agents/{id}/did-keys"));
    let credentials =
        rule("its OAuth client's credentials; only with Hydra", format!("hydra/credentials/{did}"));
    format!("# The least that an agent needs. For {who}\n{keys}{credentials}")
}
