//! The layers that settings come from, merged: flag > environment > `.env` > file > default.

use super::{
    Entry,
    file::{self, FileValues},
    names::{
        KNOWN_OTHERWISE, KNOWN_OTHERWISE_IN_FILE, NOT_YET, NOT_YET_IN_FILE, OUR_PREFIXES, PYTHONS_ALONE,
        REFUSED_PREFIXES, WITHOUT_EFFECT,
    },
    registry::{self, SETTINGS},
};
use crate::{ExitClass, Refusal};
use bindu_http_client::named_file;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt, io,
    path::{Path, PathBuf},
};

/// The file that is read where none is named.
const DEFAULT_FILE: &str = "bindu.toml";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag, or the program itself.
    Flag,
    /// This variable.
    Variable(String),
    /// This variable in `.env`.
    DotEnv(String),
    /// This file.
    File(PathBuf),
    /// Nobody has said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => f.write_str(name),
            Self::DotEnv(name) => write!(f, "{name} in .env"),
            Self::File(path) => path.display().fmt(f),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A setting's text and where it came from.
#[derive(Clone)]
pub struct Value {
    /// The text; lists are JSON arrays.
    pub text: String,
    /// Where it came from.
    pub origin: Origin,
}

/// All settings as texts, and what was wrong on the way.
pub struct Resolved {
    /// By key; each key of the registry is there.
    pub values: BTreeMap<&'static str, Value>,
    /// Mistakes, to be reported together with those of the types.
    pub mistakes: Vec<String>,
    /// What deserves a warning once there is a log.
    pub warnings: Vec<String>,
}

impl Resolved {
    /// A setting's text, where it has a usable one.
    #[must_use]
    pub fn text(&self, setting: &Entry) -> Option<String> {
        let text = setting.clean(&self.values.get(setting.key)?.text).ok()?;
        (!text.is_empty()).then_some(text)
    }
}

/// The layers above the default.
#[derive(Default, Clone)]
pub struct Layers {
    flags: BTreeMap<String, String>,
    config: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    /// Variables of ours whose name or value is not UTF-8.
    unreadable: BTreeSet<String>,
    dotenv: BTreeMap<String, String>,
    file: Option<(PathBuf, FileValues)>,
    warnings: Vec<String>,
}

impl Layers {
    /// Sets a value above all others.
    pub fn flag(&mut self, key: &str, value: impl Into<String>) {
        self.flags.insert(key.to_owned(), value.into());
    }

    /// Names the file to read.
    pub fn config(&mut self, path: PathBuf) {
        self.config = Some(path);
    }

    /// Reads the process's environment, `.env` in the working directory, and the file.
    ///
    /// # Errors
    /// Where a file that is there, or was named, can't be read or is not of its form.
    pub fn with_process(self) -> Result<Self, Refusal> {
        self.with_variables(std::env::vars_os(), Path::new("."))
    }

    /// The same with these variables, which may be anything, and working directory.
    ///
    /// # Errors
    /// As [`Layers::with_process`].
    pub fn with_variables(
        mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        directory: &Path,
    ) -> Result<Self, Refusal> {
        let mut environment = BTreeMap::new();
        for (name, value) in variables {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => _ = environment.insert(name, value),
                (Ok(name), Err(_)) if is_read(&name) => _ = self.unreadable.insert(name),
                (Err(name), _) => {
                    let shown = name.to_string_lossy().into_owned();
                    if is_read(&shown) {
                        self.unreadable.insert(shown);
                    }
                }
                // Other programs': none of our business.
                (Ok(_), Err(_)) => {}
            }
        }
        self.with_environment(environment, directory)
    }

    /// The same with this environment and working directory, for tests.
    ///
    /// # Errors
    /// As [`Layers::with_process`].
    pub fn with_environment(
        mut self,
        environment: BTreeMap<String, String>,
        directory: &Path,
    ) -> Result<Self, Refusal> {
        self.environment = environment;
        self.dotenv = file::read_dotenv(&directory.join(".env"))?;
        let named = self.config.clone().or_else(|| {
            let named = self.variable("BINDU_CONFIG")?;
            Some(PathBuf::from(named.0.trim()))
        });
        let path = named.clone().unwrap_or_else(|| directory.join(DEFAULT_FILE));
        match named_file::read(&path) {
            Ok(text) => {
                let read = file::parse(&path, &text)?;
                self.warn_of_differences(&path, &read.values);
                self.file = Some((path, read));
            }
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let message = format!("the configuration file {} can't be read", path.display());
                let hint = "name a file that is there with --config or BINDU_CONFIG";
                return Err(Refusal::new(ExitClass::Usage, message, hint).because_of(&error));
            }
        }
        Ok(self)
    }

    /// A variable that is set and not empty: its value and where it is set.
    fn variable(&self, name: &str) -> Option<(&str, Origin)> {
        self.in_environment(name).or_else(|| self.in_dotenv(name))
    }

    /// The setting's variable that counts: any in the environment goes before any in `.env`. An empty one is an unset one,
    /// unless the setting is never empty.
    fn first_variable(&self, setting: &Entry) -> Option<(&str, Origin)> {
        let names = || setting.variables.iter().copied();
        let counts = |value: &&str| setting.never_empty || !value.is_empty();
        let set = |name: &'static str| {
            let value = self.environment.get(name).map(String::as_str).filter(counts)?;
            Some((value, Origin::Variable(name.to_owned())))
        };
        let set_in_dotenv = |name: &'static str| {
            let value = self.dotenv.get(name).map(String::as_str).filter(counts)?;
            Some((value, Origin::DotEnv(name.to_owned())))
        };
        names().find_map(set).or_else(|| names().find_map(set_in_dotenv))
    }

    fn in_environment(&self, name: &str) -> Option<(&str, Origin)> {
        let value = self.environment.get(name).filter(|value| !value.is_empty())?;
        Some((value, Origin::Variable(name.to_owned())))
    }

    fn in_dotenv(&self, name: &str) -> Option<(&str, Origin)> {
        let value = self.dotenv.get(name).filter(|value| !value.is_empty())?;
        Some((value, Origin::DotEnv(name.to_owned())))
    }

    /// Python Bindu lets a `vault` block in its configuration replace the environment; here it yields.
    fn warn_of_differences(&mut self, path: &Path, values: &BTreeMap<String, String>) {
        if path.extension().is_none_or(|extension| extension != "json") {
            return;
        }
        let mut warnings = Vec::new();
        for setting in SETTINGS.iter().filter(|setting| setting.key.starts_with("vault.")) {
            let in_environment = self.first_variable(setting);
            if let (Some(in_file), Some((value, origin))) = (values.get(setting.key), in_environment)
                && in_file != value
            {
                warnings.push(format!("`{}` in {} yields to {origin}", setting.key, path.display()));
            }
        }
        self.warnings.extend(warnings);
    }

    /// Merges the layers.
    #[must_use]
    pub fn resolve(self) -> Resolved {
        let (mut mistakes, mut warnings) = (Vec::new(), self.warnings.clone());
        let mut values = BTreeMap::new();
        for setting in SETTINGS {
            let (text, origin) = self.first(setting);
            if text.is_empty() && setting.never_empty && !matches!(origin, Origin::Default | Origin::Flag) {
                mistakes
                    .push(format!("`{}` ({origin}): it is empty; give it a value, or unset it", setting.key));
            }
            values.insert(setting.key, Value { text: text.to_owned(), origin });
        }
        mistakes.extend(self.unreadable.iter().map(|name| {
            format!("{name}: it is not UTF-8 text, so it cannot be read; set it anew, or unset it")
        }));
        if let Some((path, file)) = &self.file {
            let is_python_shaped = path.extension().is_some_and(|extension| extension == "json");
            mistakes.extend(file.mistakes.iter().cloned());
            for (key, value) in file.values.iter().filter(|(key, _)| registry::find(key).is_none()) {
                if is_python_shaped && says_nothing(key, value) {
                    continue;
                }
                let near = registry::nearest(key, SETTINGS.iter().map(|setting| setting.key));
                let hint = near.map(|near| format!(" (do you mean `{near}`?)")).unwrap_or_default();
                let text = format!("unknown key `{key}` in {}{hint}", path.display());
                let is_refused = NOT_YET_IN_FILE.iter().any(|refused| key.starts_with(refused));
                let lower = key.to_ascii_lowercase();
                match is_python_shaped {
                    // As with variables: a warning would leave unsaid what somebody has said.
                    true if lower != *key && registry::find(&lower).is_some() => {
                        mistakes.push(format!("`{key}` in {}: write it in lower case", path.display()));
                    }
                    true if is_refused => mistakes.push(format!(
                        "`{key}` in {}: not served by this version, and not safe to ignore; take it out",
                        path.display()
                    )),
                    true => warnings.push(text),
                    false => mistakes.push(text),
                }
            }
        }
        for key in self.flags.keys().filter(|key| registry::find(key).is_none()) {
            let near = registry::nearest(key, SETTINGS.iter().map(|setting| setting.key));
            let hint = near.map(|near| format!(" (do you mean `{near}`?)")).unwrap_or_default();
            mistakes.push(format!("unknown setting `{key}`{hint}"));
        }
        self.check_names(&mut mistakes, &mut warnings);
        Resolved { values, mistakes, warnings }
    }

    /// The text of a setting and where it came from, by the order of the layers.
    fn first(&self, setting: &Entry) -> (&str, Origin) {
        // An empty flag takes back what the layers below say.
        let flag = self.flags.get(setting.key);
        let flag =
            flag.map(|text| (if text.is_empty() { setting.default } else { text.as_str() }, Origin::Flag));
        let file = self.file.as_ref().and_then(|(path, file)| {
            let text = file.values.get(setting.key).filter(|text| setting.never_empty || !text.is_empty())?;
            Some((text.as_str(), Origin::File(path.clone())))
        });
        flag.or_else(|| self.first_variable(setting)).or(file).unwrap_or((setting.default, Origin::Default))
    }

    fn check_names(&self, mistakes: &mut Vec<String>, warnings: &mut Vec<String>) {
        let known = || SETTINGS.iter().flat_map(|setting| setting.variables).copied();
        for name in
            self.environment.keys().chain(self.dotenv.keys()).filter(|name| self.variable(name).is_some())
        {
            let is_refused = REFUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            let is_ours = OUR_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            let upper = name.to_ascii_uppercase();
            let is_ours_in_upper_case =
                OUR_PREFIXES.iter().chain(REFUSED_PREFIXES).any(|prefix| upper.starts_with(prefix));
            if upper != *name && is_ours_in_upper_case {
                // Python Bindu reads them in any case; ignoring one could leave a door open.
                mistakes.push(format!("{name}: write it in upper case, {upper}"));
            } else if is_refused {
                mistakes.push(format!(
                    "{name}: payment (X402) and mTLS settings of Python Bindu are not served; unset it"
                ));
            } else if let Some(only) =
                PYTHONS_ALONE.iter().find(|(alone, _)| alone == name).map(|(_, only)| only)
                && self.variable(name).is_some_and(|(value, _)| value != *only)
            {
                mistakes.push(format!(
                    "{name}: this program knows `{only}` alone, and another one would be another identity; unset it"
                ));
            } else if NOT_YET.contains(&name.as_str()) {
                mistakes
                    .push(format!("{name}: not served by this version, and not safe to ignore; unset it"));
            } else if WITHOUT_EFFECT.contains(&name.as_str()) {
                warnings.push(format!("{name} has no effect on this program; its handler still sees it"));
            } else if is_ours
                && !known().any(|known| known == name)
                && !KNOWN_OTHERWISE.contains(&name.as_str())
            {
                let near = registry::nearest(name, known());
                let hint = near.map(|near| format!("; do you mean {near}?")).unwrap_or_default();
                warnings.push(format!("{name} has no effect{hint}"));
            }
        }
    }
}

/// What Python Bindu's own files say by default, and what changes nothing here.
fn says_nothing(key: &str, value: &str) -> bool {
    // Not below `auth.`, where a slip of the pen looks the same.
    let is_off = ["allowed_dids", "execution_cost", "mtls"].iter().any(|off| key.starts_with(off));
    KNOWN_OTHERWISE_IN_FILE.contains(&key) || (is_off && matches!(value, "" | "[]" | "{}" | "false"))
}

/// Whether a variable of this name is read, or refused, by this program.
fn is_read(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let mut prefixes = OUR_PREFIXES.iter().chain(REFUSED_PREFIXES);
    prefixes.any(|prefix| upper.starts_with(prefix))
        || SETTINGS.iter().any(|setting| setting.variables.contains(&name))
        || NOT_YET.contains(&name)
        || PYTHONS_ALONE.iter().any(|(alone, _)| *alone == name)
}
