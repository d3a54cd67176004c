//! Lines that don't come from `tracing`: what is missing, what was summed up, and panics. They look like the others.

use crate::settings::LogFormat;
use serde_json::{Map, Value, json};
use std::{fmt::Write as _, panic::PanicHookInfo};

/// The longest message of a panic that is logged; the rest of a long one says nothing new.
const MAX_PANIC: usize = 1024;

/// How a line looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style(LogFormat);

impl Style {
    pub(super) fn new(format: LogFormat) -> Self {
        Self(format)
    }

    /// A line of this level with these fields.
    pub(super) fn line(self, level: &str, target: &str, message: &str, fields: &[(&str, Value)]) -> Vec<u8> {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ");
        let mut line = match self.0 {
            LogFormat::Json => {
                let mut members = Map::new();
                for (name, value) in [
                    ("timestamp", json!(now.to_string())),
                    ("level", json!(level)),
                    ("message", json!(message)),
                    ("target", json!(target)),
                ] {
                    members.insert(name.to_owned(), value);
                }
                members.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
                Value::Object(members).to_string()
            }
            LogFormat::Text => {
                let mut line = format!("{now} {level:>5} {}", message.escape_debug());
                for (name, value) in fields {
                    let _ = write!(line, " {name}={value}");
                }
                line
            }
        };
        line.push('\n');
        line.into_bytes()
    }

    /// That so many lines are missing.
    pub(super) fn dropped(self, lines: u64) -> Vec<u8> {
        self.line("WARN", "bindu::log", "log lines were dropped", &[("lines", json!(lines))])
    }

    /// A panic: a bug, with its place.
    pub(super) fn panic(self, panic: &PanicHookInfo<'_>) -> Vec<u8> {
        let message = panic.payload_as_str().unwrap_or("without a message");
        let cut: String = message.chars().take(MAX_PANIC).collect();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        let fields = [("panic", json!(cut)), ("place", json!(place)), ("thread", json!(thread))];
        self.line("ERROR", "bindu::panic", "a bug: something panicked", &fields)
    }
}
