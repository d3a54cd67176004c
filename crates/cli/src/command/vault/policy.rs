//! `bindu vault policy`: the least that an agent needs.

use super::NEEDED;
use crate::command::{SettingFlags, print};
use bindu::{Did, Refusal, hints::VaultRefusal, settings::Settings};
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
        _ => return Err(VaultRefusal::HalfOfAName.into()),
    };
    print(&text(&settings, &whose)?);
    Ok(())
}

/// The agent of these settings, where they name one.
pub(super) fn agent(settings: &Settings) -> Option<(AgentId, Did)> {
    let (author, name) = (settings.author.clone()?, settings.name.clone()?);
    let id = settings.id.unwrap_or_else(|| AgentId::derive(&author, &name));
    Some((id, Did::bindu(&AgentName { author, name }, id)))
}

/// The policy, in HCL. Its first line says whose it is, and that this program has written it.
///
/// # Errors
/// Where a name can't stand in a path of a policy's: it could end the path, or stand for others.
pub(super) fn text(settings: &Settings, whose: &Whose) -> Result<String, Refusal> {
    let (who, id, did) = match whose {
        Whose::Agent(id, did) => (format!("the agent {id}"), id.to_string(), did.to_string()),
        Whose::Many => (
            "many agents: each entity's metadata names its agent".to_owned(),
            "{{identity.entity.metadata.bindu_agent_id}}".to_owned(),
            "{{identity.entity.metadata.bindu_did}}".to_owned(),
        ),
    };
    let (mount, prefix) = (&settings.vault_mount, &settings.vault_prefix);
    let agents_own = matches!(whose, Whose::Agent(..)).then_some(did.as_str());
    for part in [Some(mount.as_str()), Some(prefix.as_str()), agents_own].into_iter().flatten() {
        if !can_be_named(part) {
            return Err(VaultRefusal::Unspeakable(part.to_owned()).into());
        }
    }
    let capabilities = NEEDED.map(|capability| format!("\"{capability}\"")).join(", ");
    let rule = |about: &str, path: String| {
        format!(
            "\n# {about}\npath \"{mount}/data/{prefix}/{path}\" {{\n  capabilities = [{capabilities}]\n}}\n"
        )
    };
    let keys = rule("its keys", format!("agents/{id}/did-keys"));
    let credentials =
        rule("its OAuth client's credentials; only with Hydra", format!("hydra/credentials/{did}"));
    Ok(format!("# The least that an agent needs. For {who}\n{keys}{credentials}"))
}

/// Whether a text names itself alone in a policy's path: HCL ends a string at a quote, Vault fills in `{{...}}`, and takes
/// `*` and a segment `+` for others.
fn can_be_named(text: &str) -> bool {
    !text.contains(['"', '\\', '{', '}', '*', '$', '%'])
        && !text.chars().any(char::is_control)
        && !text.split('/').any(|segment| segment == "+")
}

#[cfg(test)]
mod tests {
    use super::can_be_named;

    #[test]
    fn a_name_can_not_end_its_path_or_stand_for_others() {
        for good in
            ["did:bindu:alice+x_at_example_com:echo_agent:1", "secret", "team/bindu", "did:bindu:ä:b:c"]
        {
            assert!(can_be_named(good), "{good}");
        }
        for bad in ["a\"{}", "a\\", "a*", "{{x}}", "${x}", "+", "a/+/b", "a\nb"] {
            assert!(!can_be_named(bad), "{bad:?}");
        }
    }
}
