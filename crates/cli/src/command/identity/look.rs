//! `bindu identity show` and `bindu identity plan`. Neither changes anything.

use super::super::{Output, print};
use bindu::{ExitClass, Refusal, hints};
use bindu_keeper::{
    Keeper, KeyLook,
    plan::keys::{HydraNames, Local, Row, Step, Store},
};
use bindu_store::Outage;
use serde_json::{Value, json};

pub(super) fn tell_identity(keeper: &Keeper, look: &KeyLook, output: Output) -> Result<(), Refusal> {
    let (seen, plan) = (&look.seen, &look.plan);
    let (stored, version) = match &seen.store {
        Store::Present(stored) => (Some(stored), Some(stored.version)),
        _ => (None, None),
    };
    let (ring, lineage) =
        stored.map(|stored| (stored.ring.clone(), stored.lineage.clone())).unwrap_or_default();
    let stored = stored.map(|stored| stored.key);
    let local = match &seen.local {
        Local::Present { key, .. } => Some(*key),
        _ => None,
    };
    // What the store does not tell, the disk remembers.
    let lineage = match (&seen.store, &seen.local) {
        (Store::Present(_), _) => lineage,
        (_, Local::Present { lineage, .. }) => lineage.clone(),
        _ => lineage,
    };
    let key = match plan.step {
        Step::UseLocal | Step::BackUp { .. } => local,
        // The one that Hydra names.
        Step::UseEarlier { .. } => match &seen.hydra {
            HydraNames::Key { key, .. } => *key,
            _ => stored,
        },
        // What a start would come to if the doubt lasts.
        Step::LookAgain { .. } => local.or(stored),
        _ => stored.or(local),
    };
    let Some(key) = key else {
        return Err(match plan.step {
            Step::Refuse => keeper.start_error(look).into(),
            Step::LookAgain { .. } => Refusal::new(
                ExitClass::Unavailable,
                "the store gave no believable answer, and there is no key on disk",
                hints::store_is_silent(),
            )
            .because(look.outage.as_ref().map_or("", |outage| outage.detail.as_str())),
            _ => Refusal::new(ExitClass::Failed, "there is no identity yet", hints::no_key_yet()),
        });
    };
    let kept_in = keeper.store.locate(&keeper.keys_record());
    match output {
        Output::Text => print(&format!(
            "did          {}\nagent id     {}\npublic key   {key}\nfingerprint  {}\nkept in      {kept_in}{}\ndirectory    {}\n{}",
            keeper.agent.did,
            keeper.agent.id,
            key.fingerprint(),
            version.map(|version| format!(" (version {version})")).unwrap_or_default(),
            describe_local(&seen.local),
            ring_text(&ring, lineage.generation),
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
                "generation": lineage.generation,
                "next": ring.next.map(|next| next.key.to_string()),
                "previous": ring.previous.map(|previous| previous.key.to_string()),
            })
        )),
    }
    Ok(())
}

/// The keys beside the current one, a line each.
fn ring_text(ring: &bindu_keeper::plan::ring::Ring, generation: u64) -> String {
    let mut text = format!("generation   {generation}\n");
    if let Some(next) = ring.next.filter(|next| next.is_compromised) {
        text.push_str(&format!(
            "next key     {} (the current key is being withdrawn as compromised)\n",
            next.key.fingerprint()
        ));
    } else if let Some(next) = &ring.next {
        text.push_str(&format!("next key     {}\n", next.key.fingerprint()));
    }
    if let Some(previous) = &ring.previous {
        text.push_str(&format!("previous     {}\n", previous.key.fingerprint()));
    }
    text
}

pub(super) fn tell_plan(keeper: &Keeper, look: &KeyLook, output: Output) {
    let (seen, plan) = (&look.seen, &look.plan);
    let hydra = match &seen.hydra {
        HydraNames::NotAsked => "not asked".to_owned(),
        HydraNames::Unknown => "no answer".to_owned(),
        HydraNames::NoClient => "has no client of this DID".to_owned(),
        HydraNames::NoKey => "has a client that names no key".to_owned(),
        HydraNames::Key { text, .. } => format!("names the key {text}"),
    };
    let would = match plan.step {
        Step::UseLocal => "use the directory's key",
        Step::UseStore => "use the store's key, and write it to the directory",
        Step::UseStoreOnly => "use the store's key, and write nothing anywhere",
        Step::UseEarlier { .. } => {
            "use the key of the record's earlier version that Hydra names, and write nothing to the store"
        }
        Step::Ring { step, .. } => step.explain(),
        Step::BackUp { .. } => "write the directory's key to the store",
        Step::Generate => "make a key and write it to the store",
        Step::GenerateProvisional => "make a provisional key, on the disk only",
        Step::LookAgain { .. } => "look again",
        Step::Refuse => "refuse to start, and change nothing",
    };
    let outage = look.outage.as_ref();
    let (store, local) = (describe_store(&seen.store, outage), describe_local(&seen.local));
    let hint = match plan.step {
        Step::Refuse => Some(hints::start(&keeper.start_error(look))),
        // It would wait for the store, and then end so.
        _ if plan.row == Row::UnavailableNone => Some(hints::start(&keeper.start_error(look))),
        _ => keeper.advice(plan, seen).map(|advice| hints::advice(&advice)).or_else(|| match &seen.store {
            Store::Present(stored) if stored.ring.next.is_some_and(|next| next.is_compromised) => {
                Some(hints::unfinished_withdrawal())
            }
            _ => None,
        }),
    };
    let hint = hint.map(String::from);
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

fn describe_store(store: &Store, outage: Option<&Outage>) -> String {
    match store {
        Store::Present(stored) => {
            format!("holds the key {} at version {}", stored.key.fingerprint(), stored.version)
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
        Store::Unavailable(reason) => match outage {
            Some(outage) => format!("gives no usable answer ({reason}): {}", outage.detail),
            None => format!("gives no usable answer ({reason})"),
        },
    }
}

fn describe_local(local: &Local) -> String {
    match local {
        Local::Present { key, acknowledged: Some(known), .. } => {
            format!("holds the key {}, acknowledged at version {}", key.fingerprint(), known.version)
        }
        Local::Present { key, acknowledged: None, .. } => {
            format!("holds the key {}, never acknowledged by the store", key.fingerprint())
        }
        Local::None => "holds no key".to_owned(),
        Local::Unusable(problem) => format!("holds no usable key: {problem}"),
        Local::Unreadable(problem) => format!("can't be read: {problem}"),
        Local::Locked(problem) => format!("holds a key that can't be opened: {problem}"),
    }
}
