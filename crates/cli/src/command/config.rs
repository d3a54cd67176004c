//! `bindu config show`.

use super::{Output, SettingFlags, print};
use bindu::{
    Refusal,
    settings::{Entry, Origin, Settings, registry},
};
use serde_json::{Value, json};
use std::fmt::Write as _;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print every setting with where it comes from; secrets as `set`
    Show {
        #[command(flatten)]
        settings: SettingFlags,
        /// text or json: a list of {key, value, source, variables, about}
        #[arg(long, default_value = "text")]
        output: Output,
    },
}

pub(crate) fn run(command: Command) -> Result<(), Refusal> {
    let Command::Show { settings, output } = command;
    let layers = settings.layers(Vec::new())?;
    let resolved = layers.clone().resolve();
    let rows: Vec<(&Entry, String, String)> = registry::SETTINGS
        .iter()
        .filter_map(|setting| {
            let value = resolved.values.get(setting.key)?;
            let shown = match (setting.secret, value.text.is_empty()) {
                (_, true) => String::new(),
                (true, false) => "set".to_owned(),
                (false, false) => setting.shown(&value.text),
            };
            Some((*setting, shown, value.origin.to_string()))
        })
        .collect();
    match output {
        Output::Text => {
            let mut text = String::new();
            for (setting, shown, origin) in &rows {
                let is_default = *origin == Origin::Default.to_string();
                let shown = if shown.is_empty() { "-" } else { shown };
                let source = if is_default { String::new() } else { format!("   (from {origin})") };
                let _ = writeln!(text, "{:28} {shown}{source}", setting.key);
            }
            print(&text);
        }
        Output::Json => {
            let rows: Vec<Value> = rows
                .iter()
                .map(|(setting, shown, origin)| {
                    json!({"key": setting.key, "value": shown, "source": origin, "variables": setting.variables, "about": setting.about})
                })
                .collect();
            print(&format!("{:#}\n", Value::Array(rows)));
        }
    }
    // What is wrong is told after what there is.
    Settings::load(layers).map(|_| ())
}
