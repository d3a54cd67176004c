//! `bindu identity`: what an agent's identity is and was, and its rotation. Commands that change something print their plan,
//! and act with `--apply` only.

mod history;
mod look;
mod ring;

use super::{LookArguments, SettingFlags, with_keeper};
use bindu::{Refusal, run::log, settings::Settings};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print the agent's DID, its key and where they are kept
    Show(LookArguments),
    /// Print what was observed and what a start would do about the keys, and why
    Plan(LookArguments),
    /// Print the versions of the keys record and the rotations: which keys they hold, and which can still be recovered
    History(LookArguments),
    /// Replace the key: prepare another, and make it the current one once all replicas hold it
    Rotate(ring::RotateArguments),
    /// Go back to the state before the last step of a rotation
    Undo(ring::Arguments),
    /// Write the key that is held here to the store, over whatever it holds: the operator's word
    Keep(ring::Arguments),
}

pub(crate) fn run(command: Command) -> Result<(), Refusal> {
    match command {
        Command::Show(arguments) => with_keeper(&settings(arguments.settings)?, async |keeper| {
            look::tell_identity(&keeper, &keeper.look().await, arguments.output)
        }),
        Command::Plan(arguments) => with_keeper(&settings(arguments.settings)?, async |keeper| {
            look::tell_plan(&keeper, &keeper.look().await, arguments.output);
            Ok(())
        }),
        Command::History(arguments) => with_keeper(&settings(arguments.settings)?, async |keeper| {
            history::tell(&keeper, arguments.output).await
        }),
        Command::Rotate(arguments) => ring::rotate(arguments),
        Command::Undo(arguments) => ring::undo(arguments),
        Command::Keep(arguments) => ring::keep(arguments),
    }
}

fn settings(flags: SettingFlags) -> Result<Settings, Refusal> {
    let settings = Settings::load(flags.layers(Vec::new())?)?;
    log::start(&settings)?;
    Ok(settings)
}
