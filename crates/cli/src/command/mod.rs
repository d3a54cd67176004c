//! The commands, a file for each.

pub(crate) mod call;
pub(crate) mod config;
pub(crate) mod hydra;
pub(crate) mod identity;
pub(crate) mod run;
pub(crate) mod vault;

use bindu::{Refusal, settings::Layers};
use std::{io::Write as _, path::PathBuf};

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

/// Prints a result on stdout. A reader that has gone away is no error.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Tells something about a result, on stderr.
pub(crate) fn note(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
