//! `bindu identity rotate`, `undo` and `keep`: the plan first, then, with `--apply`, its steps by compare-and-set.

use super::super::{Output, SettingFlags, note, print, with_opened_keeper};
use bindu::{Refusal, hints};
use bindu_keeper::{
    Applied, KeepStep, Keeper, KeyLook, RingStep, RingWish,
    plan::keys::{Local, Store},
};
use serde_json::{Value, json};

#[derive(clap::Args)]
pub(crate) struct RotateArguments {
    /// Make the new key the current one now, without waiting until all replicas have loaded it
    #[arg(long)]
    at_once: bool,
    /// The current key is in somebody else's hands: no overlap, its tokens are revoked, and undo is refused
    #[arg(long)]
    compromised: bool,
    #[command(flatten)]
    common: Arguments,
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Take the steps; without this flag they are only printed
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    settings: SettingFlags,
    /// text or json
    #[arg(long, default_value = "text")]
    output: Output,
}

pub(super) fn rotate(arguments: RotateArguments) -> Result<(), Refusal> {
    let RotateArguments { at_once, compromised, common } = arguments;
    ring(common, RingWish::Rotate { at_once, compromised })
}

pub(super) fn undo(arguments: Arguments) -> Result<(), Refusal> {
    ring(arguments, RingWish::Undo)
}

fn ring(arguments: Arguments, wish: RingWish) -> Result<(), Refusal> {
    let Arguments { apply, settings, output } = arguments;
    with_opened_keeper(&super::settings(settings)?, apply, async |keeper| {
        let planned = keeper.plan_ring(wish).await;
        let steps = match &planned.steps {
            Ok(steps) => steps.clone(),
            Err(error) => return Err(hints::no_steps(&keeper, &planned.look, *error)),
        };
        if !apply {
            tell_plan(&keeper, &planned.look, &steps, output);
            return Ok(());
        }
        let applied = keeper.apply_ring(planned).await.map_err(|error| hints::not_taken(&keeper, &error))?;
        tell_applied(&keeper, &steps, &applied, output);
        let is_withdrawn = steps.contains(&RingStep::Activate { compromised: true });
        let is_known = applied.client.is_none() && applied.tokens_revoked != Some(false);
        if is_withdrawn && !is_known { Err(hints::not_withdrawn_in_hydra()) } else { Ok(()) }
    })
}

pub(super) fn keep(arguments: Arguments) -> Result<(), Refusal> {
    let Arguments { apply, settings, output } = arguments;
    with_opened_keeper(&super::settings(settings)?, apply, async |keeper| {
        let mut look = keeper.look().await;
        let refused = |error| hints::not_taken(&keeper, &error);
        let step = keeper.plan_keep(&mut look).await.map_err(refused)?;
        let path = keeper.store.locate(&keeper.keys_record());
        let held = match &look.seen.local {
            Local::Present { key, .. } => key.fingerprint().to_string(),
            _ => String::new(),
        };
        let step = match (step, &look.seen.store) {
            (KeepStep::PutBack, Store::Present(stored)) => format!(
                "write our fields back to {path}, over version {}, which holds the same key {}",
                stored.version,
                stored.key.fingerprint()
            ),
            (_, Store::Present(stored)) => format!(
                "write the key {held} that is held here to {path}, over version {}, which holds the key {}",
                stored.version,
                stored.key.fingerprint()
            ),
            (_, Store::Deleted { version, .. }) => format!(
                "write the key {held} that is held here to {path}, over version {version}, which was deleted"
            ),
            _ => format!("write the key {held} that is held here to {path}, where there is no record"),
        };
        if !apply {
            match output {
                Output::Text => print(&format!("would  {step}\n")),
                Output::Json => print(&format!("{:#}\n", json!({"would": [step], "applied": false}))),
            }
            note("nothing was changed; --apply takes this step\n");
            return Ok(());
        }
        let applied = keeper.keep(look).await.map_err(|error| hints::not_taken(&keeper, &error))?;
        match output {
            Output::Text => print(&format!("done   {step}\nversion {}\n", applied.version)),
            Output::Json => print(&format!(
                "{:#}\n",
                json!({"done": [step], "applied": true, "version": applied.version, "client": client(&applied)})
            )),
        }
        note_client(&applied);
        Ok(())
    })
}

fn tell_plan(keeper: &Keeper, look: &KeyLook, steps: &[RingStep], output: Output) {
    let current = match &look.seen.store {
        Store::Present(stored) => Some((stored.key.fingerprint().to_string(), stored.version)),
        _ => None,
    };
    match output {
        Output::Text => {
            let mut text = format!("agent   {}\n", keeper.agent.did);
            if let Some((key, version)) = current {
                text.push_str(&format!("key     {key} (version {version})\n"));
            }
            for step in steps {
                text.push_str(&format!("would   {}\n", step.explain()));
            }
            print(&text);
        }
        Output::Json => {
            let steps: Vec<Value> = steps.iter().map(|step| json!(step.explain())).collect();
            print(&format!(
                "{:#}\n",
                json!({
                    "did": keeper.agent.did.as_str(),
                    "key": current.as_ref().map(|(key, _)| key),
                    "version": current.as_ref().map(|(_, version)| version),
                    "would": steps,
                    "applied": false,
                })
            ));
        }
    }
    note("nothing was changed; --apply takes these steps\n");
}

fn tell_applied(keeper: &Keeper, steps: &[RingStep], applied: &Applied, output: Output) {
    match output {
        Output::Text => {
            let mut text = format!("agent   {}\n", keeper.agent.did);
            for step in steps {
                text.push_str(&format!("done    {}\n", step.explain()));
            }
            text.push_str(&format!("version {}\n", applied.version));
            print(&text);
        }
        Output::Json => print(&format!(
            "{:#}\n",
            json!({
                "did": keeper.agent.did.as_str(),
                "done": steps.iter().map(|step| step.explain()).collect::<Vec<_>>(),
                "applied": true,
                "version": applied.version,
                "client": client(applied),
                "tokens_revoked": applied.tokens_revoked,
            })
        )),
    }
    match steps.last() {
        Some(RingStep::Prepare { .. }) => note(
            "the running replicas load the new key, and make it the current one when it is due; `bindu identity rotate \
             --at-once --apply` does it now, `bindu identity undo --apply` takes it back\n",
        ),
        Some(RingStep::Activate { .. }) => note(
            "old versions of the record still hold the replaced key: `bindu identity history` prints the command that destroys \
             them, once it is retired\n",
        ),
        _ => {}
    }
    if applied.tokens_revoked == Some(false) {
        note(
            "the tokens of the client are NOT revoked yet: the running replicas do it as soon as Hydra names the new key; do not \
             rotate again for it\n",
        );
    }
    note_client(applied);
}

fn client(applied: &Applied) -> Value {
    applied.client.map_or(Value::Null, |reason| json!(reason.label()))
}

fn note_client(applied: &Applied) {
    if let Some(reason) = applied.client {
        note(&format!(
            "Hydra's client is not in step yet ({}): the running replicas go on with it\n",
            reason.label()
        ));
    }
}
