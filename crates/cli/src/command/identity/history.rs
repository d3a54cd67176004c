//! `bindu identity history`: the record's versions, newest first, and the rotations that led to the current key.

use super::super::{Output, print};
use bindu::{Refusal, hints};
use bindu_keeper::{
    Keeper, VersionLook,
    plan::{history::Past, keys::Store},
};
use serde_json::{Value, json};

pub(super) async fn tell(keeper: &Keeper, output: Output) -> Result<(), Refusal> {
    let history = keeper.history().await.map_err(|look| hints::no_history(keeper, &look))?;
    let path = keeper.store.locate(&keeper.keys_record());
    let recoverable = |version: &VersionLook| -> Vec<String> {
        history.recoverable(version).iter().map(ToString::to_string).collect()
    };
    let destroyable: Vec<String> = history.destroyable().iter().map(ToString::to_string).collect();
    let mend = (!destroyable.is_empty())
        .then(|| format!("vault kv destroy -versions={} {path}", destroyable.join(",")));
    let deleted: Vec<String> = history
        .versions
        .iter()
        .filter(|version| version.is_deleted)
        .map(|version| version.version.to_string())
        .collect();
    let undelete =
        (!deleted.is_empty()).then(|| format!("vault kv undelete -versions={} {path}", deleted.join(",")));
    // The directory keeps what it has given up, too: retired keys, and those that somebody's key took the place of.
    let archived = keeper.directory.as_ref().map(|directory| directory.archived().unwrap_or_default());
    let archived: Vec<(String, String, bool)> = archived
        .unwrap_or_default()
        .into_iter()
        .map(|(key, path)| {
            let is_retired = history.retired.iter().any(|retired| key.starts_with(retired.as_str()));
            (key, path.display().to_string(), is_retired)
        })
        .collect();
    let stored = match &history.look.seen.store {
        Store::Present(stored) => Some(stored),
        _ => None,
    };
    let rotations = stored.map(|stored| stored.lineage.statements.clone()).unwrap_or_default();
    let versions = &history.versions;
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
                        "deleted": version.is_deleted,
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
                    "archive": archived
                        .iter()
                        .map(|(key, path, retired)| json!({"recoverable": key, "path": path, "retired": retired}))
                        .collect::<Vec<_>>(),
                    "destroy": mend,
                    "undelete": undelete,
                })
            ));
        }
        Output::Text => {
            let mut text = format!("agent  {}\nrecord {path}\n\n", keeper.agent.did);
            for version in versions {
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
            if let Some(undelete) = undelete {
                text.push_str(&format!(
                    "\ndeleted versions are not gone: whoever may undelete them can read the private halves that they hold; what they \
                     hold is told here after\n  {undelete}\n"
                ));
            }
            text.push_str(&archive_text(&archived));
            print(&text);
        }
    }
    Ok(())
}

/// What the directory's archive holds; only what is proven to be retired may go.
fn archive_text(archived: &[(String, String, bool)]) -> String {
    let mut text = String::new();
    for (is_retired, words) in [
        (true, "private halves of retired keys are recoverable from this disk; remove these files"),
        (
            false,
            "this disk's archive holds private halves that are not proven to be retired; keep these files until you know",
        ),
    ] {
        let files: Vec<_> = archived.iter().filter(|(_, _, retired)| *retired == is_retired).collect();
        if !files.is_empty() {
            text.push_str(&format!("\n{words}\n"));
        }
        for (key, path, _) in files {
            text.push_str(&format!("  {path}  recoverable: {key}\n"));
        }
    }
    text
}

fn line(version: &VersionLook, recoverable: &[String]) -> String {
    let what = match &version.past {
        Past::Unreadable if version.is_deleted => "deleted, and can be brought back".to_owned(),
        Past::Unreadable => "can't be read (destroyed, destroyed, pruned, malformed or locked)".to_owned(),
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
