//! `bindu vault`: what Vault must allow, set up by an administrator, checked as the agent.

mod check;
mod policy;
mod setup;

use super::LookArguments;
use bindu::Refusal;

/// What an agent needs on each of its records: the first write is a creation, every later one an update.
const NEEDED: [&str; 3] = ["create", "read", "update"];

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print the least policy: for the agent of these settings, or without a name one template for many agents
    Policy(policy::Arguments),
    /// With an administrator's token: mount, policy, login role, entity and alias for this agent. Prints the plan;
    /// `--apply` does it
    Setup(Box<setup::Arguments>),
    /// Ask Vault what the login of these settings may do with this agent's records
    Check(LookArguments),
}

pub(crate) fn run(command: Command) -> Result<(), Refusal> {
    match command {
        Command::Policy(arguments) => policy::run(arguments),
        Command::Setup(arguments) => setup::run(*arguments),
        Command::Check(arguments) => check::run(arguments),
    }
}
