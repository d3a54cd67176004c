//! `bindu identity show` and `bindu identity plan`. Neither changes anything.

use super::{LookArguments, Output, print, with_keeper};
use bindu::{ExitClass, Refusal, run::log, settings::Settings};
use bindu_keeper::{
    Keeper, KeyObservation,
    plan::keys::{HydraNames, Local, Plan, Step, Store},
};
use serde_json::{Value, json};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print the agent's DID, its key and where they are kept
    Show(LookArguments),
    /// Print what was observed and what a start would do about the keys, and why
    Plan(LookArguments),
}

pub(crate) fn run(command: Command) -> Result<(), Refusal> {
    let (arguments, is_plan) = match command {
        Command::Show(arguments) => (arguments, false),
        Command::Plan(arguments) => (arguments, true),
    };
    let settings = Settings::load(arguments.settings.layers(Vec::new())?)?;
    log::start(&settings)?;
    with_keeper(&settings, async |keeper| {
        let (observation, plan) = keeper.look().await;
        if is_plan {
            tell_plan(&keeper, &observation, &plan, arguments.output);
            Ok(())
        } else {
            tell_identity(&keeper, &observation, &plan, arguments.output)
        }
    })
}

fn tell_identity(
    keeper: &Keeper,
    observation: &KeyObservation,
    plan: &Plan,
    output: Output,
) -> Result<(), Refusal> {
    let (stored, version) = match &observation.seen.store {
        Store::Present { key, version, .. } => (Some(*key), Some(*version)),
        _ => (None, None),
    };
    let local = match &observation.seen.local {
        Local::Present { key, .. } => Some(*key),
        _ => None,
    };
    let key = match plan.step {
        Step::UseLocal | Step::BackUp { .. } => local,
        // The one that Hydra names.
        Step::UseEarlier { .. } => match &observation.seen.hydra {
            HydraNames::Key { key, .. } => key.parse().ok(),
            _ => stored,
        },
        // What a start would come to if the doubt lasts.
        Step::LookAgain { .. } => local.or(stored),
        _ => stored.or(local),
    };
    let Some(key) = key else {
        return Err(match plan.step {
            Step::Refuse => keeper.refusal(plan.row, observation),
            Step::LookAgain { .. } => Refusal::new(
                ExitClass::Unavailable,
                "the store gave no believable answer, and there is no key on disk",
                "see that Vault answers (VAULT__URL or VAULT_ADDR)",
            )
            .because(observation.outage.as_ref().map_or("", |outage| outage.detail.as_str())),
            _ => Refusal::new(
                ExitClass::Failed,
                "there is no identity yet",
                "`bindu run` makes one at its first start",
            ),
        });
    };
    let kept_in = keeper.store.locate(&keeper.keys_record());
    match output {
        Output::Text => print(&format!(
            "did          {}\nagent id     {}\npublic key   {key}\nfingerprint  {}\nkept in      {kept_in}{}\ndirectory    {}\n",
            keeper.agent.did,
            keeper.agent.id,
            key.fingerprint(),
            version.map(|version| format!(" (version {version})")).unwrap_or_default(),
            describe_local(&observation.seen.local),
        )),
        Output::Json => print(&format!(
            "{:#}\n",
            json!({
                "did": keeper.agent.did.as_str(),
                "agent_id": keeper.agent.id.to_string(),
                "public_key": key.to_string(),
                "fingerprint": key.fingerprint().as_str(),
                "kept_in": kept_in,
                "version": version,
            })
        )),
    }
    Ok(())
}

fn tell_plan(keeper: &Keeper, observation: &KeyObservation, plan: &Plan, output: Output) {
    let seen = &observation.seen;
    let hydra = match &seen.hydra {
        HydraNames::NotAsked => "not asked".to_owned(),
        HydraNames::Unknown => "no answer".to_owned(),
        HydraNames::NoClient => "has no client of this DID".to_owned(),
        HydraNames::NoKey => "has a client that names no key".to_owned(),
        HydraNames::Key { key, .. } => format!("names the key {key}"),
    };
    let would = match plan.step {
        Step::UseLocal => "use the directory's key",
        Step::UseStore => "use the store's key, and write it to the directory",
        Step::UseEarlier { .. } => {
            "use the key of the record's earlier version that Hydra names, and write nothing to the store"
        }
        Step::Rotate { .. } => "make a key that replaces the record's, and write it to the store",
        Step::BackUp { .. } => "write the directory's key to the store",
        Step::Generate => "make a key and write it to the store",
        Step::GenerateProvisional => "make a provisional key, on the disk only",
        Step::LookAgain { .. } => "look again",
        Step::Refuse => "refuse to start, and change nothing",
    };
    let (store, local) = (describe_store(&seen.store), describe_local(&seen.local));
    let hint = match plan.step {
        Step::Refuse => Some(keeper.refusal(plan.row, observation).hint),
        _ => keeper.hint(plan, seen),
    };
    match output {
        Output::Text => print(&format!(
            "agent      {}\nstore      {store} ({})\ndirectory  {local}\nhydra      {hydra}\n\nso         {}\nwould      {would}\n{}",
            keeper.agent.did,
            keeper.store.locate(&keeper.keys_record()),
            plan.row.explain(),
            hint.map(|hint| format!("hint       {hint}\n")).unwrap_or_default(),
        )),
        Output::Json => print(&format!(
            "{:#}\n",
            json!({
                "did": keeper.agent.did.as_str(),
                "observed": {"store": store, "directory": local, "hydra": hydra},
                "row": format!("{:?}", plan.row),
                "because": plan.row.explain(),
                "would": would,
                "hint": hint,
                "sure": plan.sure,
                "degraded": plan.degraded.map_or(Value::Null, |reason| json!(reason.label())),
            })
        )),
    }
}

fn describe_store(store: &Store) -> String {
    match store {
        Store::Present { key, version, .. } => {
            format!("holds the key {} at version {version}", key.fingerprint())
        }
        Store::Absent => "holds no record".to_owned(),
        Store::Deleted { version, destroyed: false } => {
            format!("held a record, deleted at version {version}")
        }
        Store::Deleted { version, destroyed: true } => {
            format!("held a record, destroyed at version {version}")
        }
        Store::Malformed(problem) => format!("holds a record that is no key pair: {problem}"),
        Store::OfAnotherAgent(did) => format!("holds the record of {did}"),
        Store::Locked(problem) => format!("holds a key that can't be opened: {problem}"),
        Store::Denied => "denies us the record".to_owned(),
        Store::Unavailable(reason) => format!("does not answer ({reason})"),
    }
}

fn describe_local(local: &Local) -> String {
    match local {
        Local::Present { key, acknowledged: Some(version) } => {
            format!("holds the key {}, acknowledged at version {version}", key.fingerprint())
        }
        Local::Present { key, acknowledged: None } => {
            format!("holds the key {}, never acknowledged by the store", key.fingerprint())
        }
        Local::None => "holds no key".to_owned(),
        Local::Unusable(problem) => format!("holds no usable key: {problem}"),
        Local::Locked(problem) => format!("holds a key that can't be opened: {problem}"),
    }
}
