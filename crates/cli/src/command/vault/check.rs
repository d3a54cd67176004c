//! `bindu vault check`: what the agent's own login may do. Changes nothing.

use super::NEEDED;
use crate::command::{LookArguments, Output, note, print, with_keeper};
use bindu::{Refusal, hints::VaultRefusal, run::log, settings::Settings};
use bindu_store::{Answer, OutageReason, RecordName, StoreWarning};
use serde_json::json;
use std::fmt::Write as _;

pub(super) fn run(arguments: LookArguments) -> Result<(), Refusal> {
    let settings = Settings::load(arguments.settings.layers(Vec::new())?)?;
    log::start(&settings)?;
    if settings.vault.is_none() {
        return Err(VaultRefusal::NotConfigured.into());
    }
    let with_hydra = settings.hydra.is_some();
    let (rows, locked, warnings) = with_keeper(&settings, async |keeper| {
        let mut names = vec![keeper.keys_record()];
        names.extend(with_hydra.then(|| keeper.credentials_record()));
        let mut rows = Vec::new();
        let mut locked = None;
        for name in &names {
            let row = look(keeper.store.as_ref(), name).await;
            locked = locked.or_else(|| row.as_ref().err().cloned());
            rows.extend(row.ok());
        }
        // A login without rights can't tell a mount that it may not see from one that is not there.
        let is_good = locked.is_none() && rows.iter().all(|row: &Row| row.missing.is_empty());
        let examined = match is_good {
            true => keeper.store.examine(&names).await,
            false => Ok(Vec::new()),
        };
        let locked = locked.or_else(|| examined.as_ref().err().cloned());
        Ok((rows, locked, examined.unwrap_or_default()))
    })?;
    tell(&rows, &warnings, arguments.output);
    if let Some(outage) = locked {
        return Err(match outage.reason {
            OutageReason::LoginRejected => VaultRefusal::LoginRejected(outage),
            OutageReason::WrongMount => VaultRefusal::WrongMount(outage),
            _ => VaultRefusal::Silent(outage),
        }
        .into());
    }
    if rows.iter().any(|row| row.allowed.is_none()) {
        return Err(VaultRefusal::MayNotAsk.into());
    }
    if rows.iter().all(|row| row.missing.is_empty()) { Ok(()) } else { Err(VaultRefusal::Lacks.into()) }
}

/// What is allowed on one record.
struct Row {
    path: String,
    /// None where the login may not ask.
    allowed: Option<Vec<String>>,
    missing: Vec<&'static str>,
    holds: &'static str,
}

async fn look(store: &dyn bindu_store::SecretStore, name: &RecordName) -> Result<Row, bindu_store::Outage> {
    let allowed = match store.capabilities(name).await {
        Ok(allowed) => Some(allowed),
        Err(outage) if outage.reason == OutageReason::NotAllowed => None,
        Err(outage) => return Err(outage),
    };
    let lacks = |allowed: &[String], needed: &str| !allowed.iter().any(|one| one == needed || one == "root");
    let missing =
        allowed.iter().flat_map(|allowed| NEEDED.into_iter().filter(|needed| lacks(allowed, needed)));
    let missing: Vec<&'static str> = missing.collect();
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

fn tell(rows: &[Row], warnings: &[StoreWarning], output: Output) {
    match output {
        Output::Text => {
            let mut text = String::new();
            for row in rows {
                let state = match (&row.allowed, row.missing.is_empty()) {
                    (None, _) => "UNKNOWN",
                    (Some(_), true) => "good   ",
                    (Some(_), false) => "MISSING",
                };
                let _ = writeln!(text, "{state}  {}  ({})", row.path, row.holds);
                let allowed =
                    row.allowed.as_ref().map_or("not told".to_owned(), |allowed| allowed.join(", "));
                let _ = writeln!(text, "         allowed: {allowed}");
                if !row.missing.is_empty() {
                    let _ = writeln!(text, "         missing: {}", row.missing.join(", "));
                }
            }
            for warning in warnings {
                let _ = writeln!(text, "warning  {}", warning.problem);
                for command in &warning.fix {
                    let _ = writeln!(text, "         {command}");
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
            // Its form is documented, and has a place for records only.
            for warning in warnings {
                note(&format!("warning: {}\n", warning.problem));
            }
        }
    }
}
