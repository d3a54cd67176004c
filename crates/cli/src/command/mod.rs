//! The commands, a file for each.

pub(crate) mod call;
pub(crate) mod card;
pub(crate) mod config;
pub(crate) mod hydra;
pub(crate) mod identity;
pub(crate) mod run;
pub(crate) mod storage;
pub(crate) mod vault;

use bindu::{
    ExitClass, Refusal,
    run::{Parts, agent_url},
    settings::{Layers, Settings},
};
use bindu_keeper::Keeper;
use bindu_store::SecretStore;
use std::{
    io::{self, Write as _},
    path::PathBuf,
    sync::{Arc, OnceLock},
};
use tokio::signal::unix::{SignalKind, signal};

/// Flags of every command that reads the settings.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct SettingFlags {
    /// The configuration file: TOML, or JSON in Python Bindu's shape [default: bindu.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the agent keeps its files [default: .bindu]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// What the agent is called; part of its DID
    #[arg(long)]
    name: Option<String>,
    /// Who is responsible for it; part of its DID
    #[arg(long)]
    author: Option<String>,
}

impl SettingFlags {
    /// The layers with these flags and the process's environment.
    pub(crate) fn layers(self, more: Vec<(&str, Option<String>)>) -> Result<Layers, Refusal> {
        let mut layers = Layers::default();
        let own = [("data_dir", self.data_dir), ("name", self.name), ("author", self.author)];
        for (key, value) in own.into_iter().chain(more) {
            if let Some(value) = value {
                layers.flag(key, value);
            }
        }
        if let Some(config) = self.config {
            layers.config(config);
        }
        layers.with_process()
    }
}

/// Arguments of commands that only look.
#[derive(clap::Args)]
pub(crate) struct LookArguments {
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
    /// text or json
    #[arg(long, default_value = "text")]
    pub(crate) output: Output,
}

/// How a result looks.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs; keys are documented and stay.
    Json,
}

/// Does the work of a command that only looks, with the parts of an agent, and closes what they have opened.
pub(crate) fn with_keeper<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(Arc<Keeper>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    bindu::block_on(async {
        let keeper = Arc::new(Parts::look(settings)?.keeper);
        let store = Arc::clone(&keeper.store);
        closing(&*store, work(keeper)).await
    })
}

/// The same for a command that may write: if the data directory is the store, it is opened for that.
pub(crate) fn with_opened_keeper<T>(
    settings: &Settings,
    writes: bool,
    work: impl AsyncFnOnce(Arc<Keeper>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    bindu::block_on(async {
        let parts = match writes && settings.vault.is_none() {
            true => Parts::open(settings, &agent_url(settings))?,
            false => Parts::look(settings)?,
        };
        let keeper = Arc::new(parts.keeper);
        let store = Arc::clone(&keeper.store);
        closing(&*store, work(keeper)).await
    })
}

/// Does some work with a store and closes the store, whether the work ends well, ends badly, or is interrupted: a login's
/// token is not left behind.
pub(crate) async fn closing<T>(
    store: &dyn SecretStore,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let done = tokio::select! {
        done = work => Ok(done),
        code = interrupted() => Err(code),
    };
    store.close().await;
    match done {
        Ok(done) => done,
        Err(code) => {
            bindu::run::log::flush();
            std::process::exit(code)
        }
    }
}

/// Ends at SIGINT or SIGTERM, with the exit code that a shell gives to it.
async fn interrupted() -> i32 {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    }
}

/// Why a result could not be printed.
static UNPRINTED: OnceLock<io::Error> = OnceLock::new();

/// Prints a result on stdout. That it could not be printed is told at the end, by [`printed`].
pub(crate) fn print(text: &str) {
    let mut stdout = io::stdout();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        let _ = UNPRINTED.set(error);
    }
}

/// That all that was printed has been written: a result that nobody got is no success.
pub(crate) fn printed() -> Result<(), Refusal> {
    UNPRINTED.get().map_or(Ok(()), |error| Err(unwritten(error)))
}

/// The refusal for a result that can't be written.
pub(crate) fn unwritten(error: &io::Error) -> Refusal {
    let hint = "check where the output goes: a full disk, or a reader that has ended";
    Refusal::new(ExitClass::Failed, "the result could not be written to stdout", hint).because(error)
}

/// Tells something about a result, on stderr.
pub(crate) fn note(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
