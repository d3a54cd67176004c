//! The commands, a file for each.

pub(crate) mod call;
pub(crate) mod config;
pub(crate) mod hydra;
pub(crate) mod identity;
pub(crate) mod run;
pub(crate) mod vault;

use bindu::{ExitClass, Refusal, settings::Layers};
use std::{
    io::{self, Write as _},
    path::PathBuf,
    sync::OnceLock,
};

/// Flags of every command that reads the settings.
#[derive(clap::Args, Default)]
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
