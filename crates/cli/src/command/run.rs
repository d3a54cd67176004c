//! `bindu run`.

use super::SettingFlags;
use bindu::{Refusal, run, settings::Settings};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: SettingFlags,
    /// The address to listen on [default: 127.0.0.1]
    #[arg(long)]
    host: Option<String>,
    /// The port to listen on; 0 takes a free one [default: 3773]
    #[arg(long)]
    port: Option<String>,
    /// Answer by this program: JSON lines on its stdin and stdout (docs/HANDLERS.md)
    #[arg(long, value_name = "PROGRAM AND ARGUMENTS", conflicts_with = "echo")]
    command: Option<String>,
    /// Answer with what is said (the default where nothing else is named)
    #[arg(long)]
    echo: bool,
    /// Consent once to replace the key of an existing Hydra client that is not provably ours: any, or the one with
    /// this fingerprint
    #[arg(long, value_name = "FINGERPRINT", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    take_over: Option<String>,
}

pub(crate) fn run(arguments: Arguments) -> Result<(), Refusal> {
    let Arguments { settings, host, port, command, echo, take_over } = arguments;
    let words = command.as_deref().map(words).transpose()?;
    // A handler named by a flag takes the place of one that the file names.
    let (command, echo) = match (words, echo) {
        (Some(words), _) => (Some(words), Some("false".to_owned())),
        (None, true) => (Some(String::new()), Some("true".to_owned())),
        (None, false) => (None, None),
    };
    let flags =
        vec![("host", host), ("port", port), ("command", command), ("echo", echo), ("take_over", take_over)];
    let settings = Settings::load(settings.layers(flags)?)?;
    run::log::start(&settings)?;
    let handler = run::handler(&settings.handler);
    bindu::block_on(run::run(settings, handler))
}

/// A command line as a JSON list of its words, split as a shell does it.
fn words(command: &str) -> Result<String, Refusal> {
    match shlex::split(command) {
        Some(words) if !words.is_empty() => Ok(serde_json::json!(words).to_string()),
        _ => Err(Refusal::new(
            bindu::ExitClass::Usage,
            format!("--command {command:?} is not a command line; nothing was changed"),
            "quote it as a shell would have it: --command \"python agent.py\"",
        )),
    }
}
