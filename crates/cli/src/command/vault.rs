//! `bindu vault policy` and `check`. Neither changes anything.

use super::{LookArguments, Output, SettingFlags, print};
use bindu::{
    Did, ExitClass, Refusal,
    run::{Parts, log},
    settings::Settings,
};
use bindu_identity::{AgentId, AgentName};
use bindu_store::{Answer, RecordName};
use serde_json::json;
use std::fmt::Write as _;

/// What an agent needs on each of its records: the first write is a creation, every later one an update.
const NEEDED: [&str; 3] = ["create", "read", "update"];

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print the least policy: for the agent of these settings, or without a name one template for many agents
    Policy(PolicyArguments),
    /// Ask Vault what the login of these settings may do with this agent's records
    Check(LookArguments),
}

#[derive(clap::Args)]
pub(crate) struct PolicyArguments {
    #[command(flatten)]
    settings: SettingFlags,
}

pub(crate) fn run(command: Command) -> Result<(), Refusal> {
    match command {
        Command::Policy(arguments) => policy(arguments),
        Command::Check(arguments) => check(arguments),
    }
}

fn policy(arguments: PolicyArguments) -> Result<(), Refusal> {
    let settings = Settings::load(arguments.settings.layers(Vec::new())?)?;
    let (whose, id, did) = match (&settings.author, &settings.name, settings.id) {
        (Some(author), Some(name), id) => {
            let id = id.unwrap_or_else(|| AgentId::derive(author, name));
            let did = Did::bindu(&AgentName { author: author.clone(), name: name.clone() }, id);
            (did.to_string(), id.to_string(), did.to_string())
        }
        (None, None, None) => (
            "many agents: each entity's metadata names its agent".to_owned(),
            "{{identity.entity.metadata.bindu_agent_id}}".to_owned(),
            "{{identity.entity.metadata.bindu_did}}".to_owned(),
        ),
        _ => {
            return Err(Refusal::new(
                ExitClass::Usage,
                "author and name are both part of the DID, and the policy names it",
                "set BINDU_AUTHOR and BINDU_NAME; or neither (and no BINDU_AGENT_ID) for a template",
            ));
        }
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
    print(&format!("# The least that an agent needs. For {whose}\n{keys}{credentials}"));
    Ok(())
}

fn check(arguments: LookArguments) -> Result<(), Refusal> {
    let settings = Settings::load(arguments.settings.layers(Vec::new())?)?;
    log::start(&settings)?;
    if settings.vault.is_none() {
        return Err(Refusal::new(
            ExitClass::Usage,
            "there is no Vault in these settings",
            "set VAULT__ENABLED=true, VAULT_ADDR and a login",
        ));
    }
    let with_hydra = settings.hydra.is_some();
    let (rows, locked) = bindu::block_on(async move {
        let keeper = Parts::look(&settings)?.keeper;
        let mut names = vec![keeper.keys_record()];
        names.extend(with_hydra.then(|| keeper.credentials_record()));
        let mut rows = Vec::new();
        let mut locked = None;
        for name in names {
            let row = look(keeper.store.as_ref(), &name).await;
            locked = locked.or_else(|| row.as_ref().err().cloned());
            rows.extend(row.ok());
        }
        keeper.store.close().await;
        Ok((rows, locked))
    })?;
    tell(&rows, arguments.output);
    if let Some(outage) = locked {
        let hint = "see that Vault answers at VAULT_ADDR, that the login is right (docs/VAULT.md), and the mount KV version 2";
        return Err(Refusal::new(ExitClass::Unavailable, "Vault could not be asked", hint).because(outage));
    }
    if rows.iter().all(|row| row.missing.is_empty()) {
        return Ok(());
    }
    Err(Refusal::new(
        ExitClass::Denied,
        "the login of these settings may not do all that this agent needs",
        "`bindu vault policy` with the same settings prints what is missing: `bindu vault policy | vault policy write NAME -`",
    ))
}

/// What is allowed on one record.
struct Row {
    path: String,
    allowed: Vec<String>,
    missing: Vec<&'static str>,
    holds: &'static str,
}

async fn look(store: &dyn bindu_store::SecretStore, name: &RecordName) -> Result<Row, bindu_store::Outage> {
    let allowed = store.capabilities(name).await?;
    let may = |needed: &&'static str| !allowed.iter().any(|allowed| allowed == needed || allowed == "root");
    let missing: Vec<&'static str> = NEEDED.into_iter().filter(may).collect();
    // The mount, too: capabilities say nothing about whether it is there.
    let holds = match store.read(name).await {
        Answer::Present(_) => "a record",
        Answer::Absent => "no record yet",
        Answer::Deleted { .. } => "a deleted record",
        Answer::Malformed(_) => "something that is no record",
        Answer::Denied => "denied",
        Answer::Unavailable(outage) => return Err(outage),
    };
    Ok(Row { path: store.policy_path(name), allowed, missing, holds })
}

fn tell(rows: &[Row], output: Output) {
    match output {
        Output::Text => {
            let mut text = String::new();
            for row in rows {
                let state = if row.missing.is_empty() { "good   " } else { "MISSING" };
                let _ = writeln!(text, "{state}  {}  ({})", row.path, row.holds);
                let _ = writeln!(text, "         allowed: {}", row.allowed.join(", "));
                if !row.missing.is_empty() {
                    let _ = writeln!(text, "         missing: {}", row.missing.join(", "));
                }
            }
            print(&text);
        }
        Output::Json => {
            let rows: Vec<_> = rows
                .iter()
                .map(|row| json!({"path": row.path, "allowed": row.allowed, "missing": row.missing, "holds": row.holds}))
                .collect();
            print(&format!("{:#}\n", json!(rows)));
        }
    }
}
