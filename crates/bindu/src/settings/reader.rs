//! Reads values, and collects what is wrong with them.

use super::{
    Entry, Origin, Setting, Value,
    registry::{self, SETTINGS},
};
use bindu_http_client::named_file;
use secrecy::SecretString;
use std::{collections::BTreeMap, path::PathBuf};

pub(super) struct Reader {
    pub(super) values: BTreeMap<&'static str, Value>,
    pub(super) mistakes: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Reader {
    /// Notes what is wrong with any setting that somebody has set, whether it is used or not: one that is ignored while
    /// it is wrong counts as soon as another one changes.
    pub(super) fn check(&mut self) {
        for setting in SETTINGS.iter().copied() {
            let is_set = self.is_said(setting) && !self.text(setting).is_empty();
            if is_set && let Some(problem) = registry::problem(setting, self.text(setting)) {
                self.mistake(setting, &problem);
            }
        }
    }

    fn text(&self, setting: &Entry) -> &str {
        self.values.get(setting.key).map(|value| value.text.as_str()).unwrap_or_default()
    }

    pub(super) fn origin(&self, setting: &Entry) -> Origin {
        self.values.get(setting.key).map_or(Origin::Default, |value| value.origin.clone())
    }

    /// Whether anybody has said anything about a setting.
    pub(super) fn is_said(&self, setting: &Entry) -> bool {
        self.origin(setting) != Origin::Default
    }

    /// A setting's value; none where it has none, or a mistake, which is noted.
    pub(super) fn get<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        let text = self.text(setting);
        if text.is_empty() {
            return None;
        }
        match setting.read(text) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.mistake(setting, &problem);
                None
            }
        }
    }

    /// The value of a setting that has a default. After a mistake it does not matter which: nothing is started then.
    pub(super) fn value<T: Default>(&mut self, setting: &Setting<T>) -> T {
        self.get(setting).unwrap_or_default()
    }

    /// Notes a mistake with the key, its value (unless it is a secret) and where it came from. Once for each setting: a
    /// second one follows from the first.
    pub(super) fn mistake(&mut self, setting: &Entry, problem: &str) {
        let shown = match setting.secret {
            true => String::new(),
            false => format!(" = {:?}", setting.shown(self.text(setting))),
        };
        let mistake = format!("`{}`{shown} ({}): {problem}", setting.key, self.origin(setting));
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    /// A password in a file. None of it is shown, whatever is wrong.
    pub(super) fn password(&mut self, setting: &Setting<PathBuf>) -> Option<SecretString> {
        let path = self.get(setting)?;
        let problem = match named_file::read(&path).map(String::from_utf8) {
            Err(error) => format!("the file can't be read: {error}"),
            Ok(Err(_)) => "the file is not UTF-8 text".to_owned(),
            Ok(Ok(text)) if text.trim().is_empty() => {
                "the file holds no password, and a key encrypted with nothing is open to everybody".to_owned()
            }
            Ok(Ok(text)) if text.starts_with('\u{feff}') => {
                "the file begins with a byte order mark (U+FEFF), which would be part of the password"
                    .to_owned()
            }
            Ok(Ok(text)) => {
                // One line feed belongs to the file, not to the password.
                let text = text.strip_suffix('\n').unwrap_or(&text);
                return Some(SecretString::from(text.strip_suffix('\r').unwrap_or(text)));
            }
        };
        self.mistake(setting, &problem);
        None
    }
}
