//! `bindu identity history`: the record's versions, newest first, and the rotations that led to the current key.

use super::super::{Output, print};
use bindu::{ExitClass, Refusal, hints};
use bindu_keeper::{
    Keeper, VersionLook,
    plan::{history::Past, keys::Store},
};
use serde_json::{Value, json};

pub(super) async fn tell(keeper: &Keeper, output: Output) -> Result<(), Refusal> {
    let versions = keeper.history().await.map_err(|outage| {
        Refusal::new(
            ExitClass::Unavailable,
            "the store does not give the versions of the keys record",
            hints::store_is_silent(),
        )
        .because(outage.map_or_else(String::new, |outage| outage.detail))
    })?;
    let look = keeper.look().await;
    let stored = match &look.seen.store {
        Store::Present(stored) => Some(stored),
        _ => None,
    };
    let path = keeper.store.locate(&keeper.keys_record());
    let held: Vec<String> = stored
        .map(|stored| {
            let beside = [stored.ring.next.map(|next| next.key), stored.ring.previous.map(|key| key.key)];
            let keys = std::iter::once(stored.key).chain(beside.into_iter().flatten());
            keys.map(|key| key.fingerprint().to_string()).collect()
        })
        .unwrap_or_default();
    // A retired key whose private half an old version still holds.
    let recoverable = |version: &VersionLook| -> Vec<String> {
        version.private_halves.iter().filter(|key| !held.contains(key)).cloned().collect()
    };
    let leaking: Vec<String> = versions
        .iter()
        .filter(|version| !recoverable(version).is_empty())
        .map(|version| version.version.to_string())
        .collect();
    // The directory keeps what it has given up, too.
    let archived = keeper.directory.as_ref().map(|directory| directory.archived().unwrap_or_default());
    let archived: Vec<(String, String)> = archived
        .unwrap_or_default()
        .into_iter()
        .filter(|(key, _)| !held.contains(key))
        .map(|(key, path)| (key, path.display().to_string()))
        .collect();
    let mend =
        (!leaking.is_empty()).then(|| format!("vault kv destroy -versions={} {path}", leaking.join(",")));
    let rotations = stored.map(|stored| stored.lineage.statements.clone()).unwrap_or_default();
    match output {
        Output::Json => {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    json!({
                        "version": version.version,
                        "written_at": version.written_at,
                        "key": key_of(&version.past),
                        "generation": generation_of(&version.past),
                        "recoverable": recoverable(version),
                    })
                })
                .collect();
            print(&format!(
                "{:#}\n",
                json!({
                    "did": keeper.agent.did.as_str(),
                    "kept_in": path,
                    "versions": versions,
                    "rotations": rotations,
                    "archive": archived.iter().map(|(key, path)| json!({"recoverable": key, "path": path})).collect::<Vec<_>>(),
                    "destroy": mend,
                })
            ));
        }
        Output::Text => {
            let mut text = format!("agent  {}\nrecord {path}\n\n", keeper.agent.did);
            for version in &versions {
                text.push_str(&line(version, &recoverable(version)));
            }
            for statement in &rotations {
                text.push_str(&format!(
                    "\nrotation {}: {} -> {} at {}, overlap until {}",
                    statement.generation,
                    statement.from.fingerprint(),
                    statement.to.fingerprint(),
                    statement.at,
                    statement.until
                ));
            }
            if !rotations.is_empty() {
                text.push('\n');
            }
            if let Some(mend) = mend {
                text.push_str(&format!(
                    "\nprivate halves of retired keys are recoverable from old versions; destroy these with\n  {mend}\n"
                ));
            }
            if !archived.is_empty() {
                text.push_str("\nprivate halves of keys that are not held any more are recoverable from this disk; remove these files\n");
                for (key, path) in &archived {
                    text.push_str(&format!("  {path}  recoverable: {key}\n"));
                }
            }
            print(&text);
        }
    }
    Ok(())
}

fn line(version: &VersionLook, recoverable: &[String]) -> String {
    let what = match &version.past {
        Past::Unreadable => "can't be read (deleted, destroyed, pruned, malformed or locked)".to_owned(),
        Past::Key { key, lineage, has_next } => format!(
            "key {}{}{}{}",
            key.fingerprint(),
            lineage.as_ref().map_or(", without lineage".to_owned(), |lineage| {
                format!(", generation {}", lineage.generation)
            }),
            if *has_next { ", another one prepared" } else { "" },
            match recoverable.is_empty() {
                true => String::new(),
                false => format!(", recoverable: {}", recoverable.join(" ")),
            }
        ),
    };
    let at = version.written_at.as_deref().unwrap_or("");
    format!("version {}  {at}  {what}\n", version.version)
}

fn key_of(past: &Past) -> Option<String> {
    match past {
        Past::Key { key, .. } => Some(key.to_string()),
        Past::Unreadable => None,
    }
}

fn generation_of(past: &Past) -> Option<u64> {
    match past {
        Past::Key { lineage, .. } => lineage.as_ref().map(|lineage| lineage.generation),
        Past::Unreadable => None,
    }
}
