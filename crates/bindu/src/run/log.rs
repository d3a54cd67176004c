//! The log: on stderr, text for a terminal, else JSON lines. Secrets never get here: their types can't be shown.

use crate::{
    ExitClass, Refusal,
    settings::{LogFormat, Settings},
};
use std::io::IsTerminal as _;
use tracing_subscriber::{EnvFilter, fmt};

/// Starts the log, and writes the settings' warnings to it.
///
/// # Errors
/// Where the level can't be understood.
pub fn start(settings: &Settings) -> Result<(), Refusal> {
    let level = settings.log_level.to_ascii_lowercase();
    let filter = EnvFilter::try_new(&level).map_err(|error| {
        let message = format!("the log level {level:?} can't be understood; nothing was changed");
        Refusal::new(ExitClass::Usage, message, "RUST_LOG or LOG_LEVEL: error, warn, info, debug or trace")
            .because(error)
    })?;
    let is_terminal = std::io::stderr().is_terminal();
    let format = settings.log_format.unwrap_or(if is_terminal { LogFormat::Text } else { LogFormat::Json });
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error says that the host program has a log already, which serves as well.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(is_terminal).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    Ok(())
}
