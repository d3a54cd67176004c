//! The `bindu` command: arguments in, exit code out. Each command has a file of its own under [`command`].

mod command;

use bindu::{ExitClass, report, run};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// musl's own allocator takes one lock for all threads: a third of the signed calls for each CPU-second went there. glibc's keeps
/// what was freed, in an area of each thread's own: after some long answers that was three times what the callers had sent.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An AI agent that keeps its identity.
///
/// Progress goes to stderr, results to stdout. Exit codes: 0 done, 1 refused or failed, 64 usage or configuration,
/// 69 a dependency stayed unavailable, 70 a bug, 77 denied.
#[derive(Parser)]
#[command(name = "bindu", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the agent until SIGTERM
    Run(command::run::Arguments),
    /// Show the identity, or what a start would do about it
    #[command(subcommand)]
    Identity(command::identity::Command),
    /// Show what a start would do about the OAuth client, or get a token
    #[command(subcommand)]
    Hydra(command::hydra::Command),
    /// Print the policy that Vault needs, set Vault up for this agent, or check what its login may do
    #[command(subcommand)]
    Vault(command::vault::Command),
    /// Call another agent, and verify its reply
    Call(command::call::Arguments),
    /// Show this agent's card, or verify another agent's
    #[command(subcommand)]
    Card(command::card::Command),
    /// Make, check or prune the store of tasks
    #[command(subcommand)]
    Storage(command::storage::Command),
    /// Show the settings
    #[command(subcommand)]
    Config(command::config::Command),
    /// Print a completion script for a shell
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    // Before anything else: a guard has no arguments of ours, and no settings.
    if let Some(code) = run::guard_or_continue() {
        return code;
    }
    // A panic is a bug of ours; its message is in the log or on stderr already.
    let code = std::panic::catch_unwind(command).unwrap_or(ExitCode::from(ExitClass::Bug.code()));
    run::log::flush();
    code
}

fn command() -> ExitCode {
    run::keep_to_itself();
    // clap's own code for a wrong usage is 2; ours is 64.
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            let _ = error.print();
            return ExitCode::from(64);
        }
        // Help or the version: a result.
        Err(error) => {
            return error
                .print()
                .map_or_else(|error| report::tell(&command::unwritten(&error)), |()| ExitCode::SUCCESS);
        }
    };
    let done = match arguments.command {
        Command::Run(arguments) => command::run::run(arguments),
        Command::Identity(command) => command::identity::run(command),
        Command::Hydra(command) => command::hydra::run(command),
        Command::Vault(command) => command::vault::run(command),
        Command::Call(arguments) => command::call::run(arguments),
        Command::Card(command) => command::card::run(command),
        Command::Storage(command) => command::storage::run(command),
        Command::Config(command) => command::config::run(command),
        Command::Completions { shell } => {
            let mut definition = <Arguments as clap::CommandFactory>::command();
            // Not to stdout itself: a write that fails would be a panic in there.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut definition, "bindu", &mut script);
            command::print(&String::from_utf8_lossy(&script));
            Ok(())
        }
    };
    match done.and_then(|()| command::printed()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => report::tell(&refusal),
    }
}
