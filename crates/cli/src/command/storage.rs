//! `bindu storage`: the store of tasks.

use super::{Output, SettingFlags, note, print};
use bindu::{
    ExitClass, Refusal,
    run::{
        Parts,
        storage::{open, postgres_options, sqlite_options, unusable},
    },
    settings::{Settings, StoragePlace},
};
use bindu_tasks::{ImportError, Imported, Migrated, PostgresStore, Pruned, SqliteStore, StoreError};
use serde_json::json;
use std::fmt::Write as _;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make the tables, or bring them to this version
    Migrate {
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Check that the store answers
    Check {
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Forget what is too old or too much, as the running agent does
    Prune {
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Take over the finished tasks of Python Bindu from the same PostgreSQL database
    Import {
        /// Take them over; without this flag they are only counted
        #[arg(long)]
        apply: bool,
        #[command(flatten)]
        settings: SettingFlags,
        /// text or json
        #[arg(long, default_value = "text")]
        output: Output,
    },
}

pub(crate) fn run(command: Command) -> Result<(), Refusal> {
    let (Command::Migrate { settings: flags }
    | Command::Check { settings: flags }
    | Command::Prune { settings: flags }
    | Command::Import { settings: flags, .. }) = &command;
    let is_plan = matches!(command, Command::Import { apply: false, .. });
    let settings = Settings::load(flags.clone().layers(Vec::new())?)?;
    let did = Parts::look(&settings)?.keeper.agent.did.to_string();
    let said = bindu::block_on(async {
        reach(&settings, &did).await?;
        match command {
            Command::Migrate { .. } => migrate(&settings, &did).await,
            Command::Check { .. } => check(&settings, &did).await,
            Command::Prune { .. } => prune(&settings, &did).await,
            Command::Import { apply, output, .. } => {
                import(&settings, &did, apply).await.map(|imported| tell(&imported, apply, output))
            }
        }
    })?;
    print(&said);
    if is_plan {
        note("nothing was changed; --apply takes them over\n");
    }
    Ok(())
}

/// Looks whether the settings' database can be reached, if there is one, so that its absence is told with its cause.
async fn reach(settings: &Settings, did: &str) -> Result<(), Refusal> {
    let Some(options) = postgres_options(settings, did) else { return Ok(()) };
    PostgresStore::reach(&options).await.map_err(|unreachable| {
        Refusal::new(ExitClass::Unavailable, "the database cannot be reached", unreachable.hint())
            .because(unreachable.to_string())
    })
}

async fn import(settings: &Settings, did: &str, apply: bool) -> Result<Imported, Refusal> {
    let Some(options) = postgres_options(settings, did) else {
        let hint = "set DATABASE_URL to the database of Python Bindu";
        return Err(Refusal::new(ExitClass::Usage, "tasks are imported into PostgreSQL only", hint));
    };
    PostgresStore::import(options, apply).await.map_err(|error| match error {
        ImportError::NoTables(_) => Refusal::new(
            ExitClass::Failed,
            "there is nothing to import",
            "DATABASE_URL has to name the database, and BINDU_NAME and BINDU_AUTHOR the agent, of Python Bindu",
        )
        .because(error.to_string()),
        error => away(error.to_string()),
    })
}

/// What an import has found and done.
fn tell(imported: &Imported, applied: bool, output: Output) -> String {
    let Imported { taken, here, too_old, unfinished, unreadable, problems } = imported;
    if output == Output::Json {
        let problems: Vec<_> =
            problems.iter().map(|(id, problem)| json!({"id": id, "problem": problem})).collect();
        let result = json!({
            "applied": applied,
            "taken": taken,
            "already_here": here,
            "too_old": too_old,
            "unfinished": unfinished,
            "unreadable": unreadable,
            "problems": problems,
        });
        return format!("{result:#}\n");
    }
    let verb = if applied { "taken over" } else { "would be taken over" };
    let mut text = String::new();
    for (count, what) in [
        (taken, verb),
        (here, "already here"),
        (too_old, "older than BINDU_STORAGE_RETENTION: left out"),
        (unfinished, "unfinished: left to Python Bindu"),
        (unreadable, "unreadable: left out"),
    ] {
        let _ = writeln!(text, "{count:>8}  {what}");
    }
    for (id, problem) in problems {
        let _ = writeln!(text, "          {id}: {problem}");
    }
    text
}

async fn migrate(settings: &Settings, did: &str) -> Result<String, Refusal> {
    let Migrated { from, to } = match (&settings.storage.place, postgres_options(settings, did)) {
        (_, Some(options)) => PostgresStore::migrate(&options).await.map_err(away)?,
        (StoragePlace::Memory, _) => return Err(nothing_kept()),
        _ => SqliteStore::migrate(&sqlite_options(settings, did, false))
            .await
            .map_err(|error| unusable(&error))?,
    };
    Ok(match from == to {
        true => format!("the tables have version {to} already\n"),
        false => format!("the tables went from version {from} to {to}\n"),
    })
}

async fn check(settings: &Settings, did: &str) -> Result<String, Refusal> {
    // Not as if it were alone with it: an agent may be running.
    let store = match settings.storage.place {
        StoragePlace::Unnamed => {
            let options = sqlite_options(settings, did, false);
            let store = SqliteStore::open(options).await.map_err(|error| unusable(&error))?;
            std::sync::Arc::new(store)
        }
        _ => open(settings, did, (false, None), None).await?,
    };
    store.check().await.map_err(unanswered)?;
    Ok("the store answers\n".to_owned())
}

async fn prune(settings: &Settings, did: &str) -> Result<String, Refusal> {
    let pruned = match (&settings.storage.place, postgres_options(settings, did)) {
        (_, Some(options)) => {
            let store = PostgresStore::open(options).map_err(|error| away(error.to_string()))?;
            store.prune().await
        }
        (StoragePlace::Memory, _) => return Err(nothing_kept()),
        _ => {
            let store = SqliteStore::open(sqlite_options(settings, did, false)).await;
            store.map_err(|error| unusable(&error))?.prune().await
        }
    };
    let Pruned { tasks, replays } = pruned.map_err(unanswered)?;
    Ok(format!("forgot {tasks} tasks and {replays} signed requests\n"))
}

fn unanswered(error: StoreError) -> Refusal {
    away(error.to_string())
}

fn away(problem: String) -> Refusal {
    Refusal::new(ExitClass::Unavailable, "the task store cannot be used", "docs/STORAGE.md").because(problem)
}

fn nothing_kept() -> Refusal {
    Refusal::new(ExitClass::Usage, "tasks are kept in memory: there is nothing to do", "set DATABASE_URL")
}
