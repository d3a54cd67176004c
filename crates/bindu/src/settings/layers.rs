//! The layers that settings come from, merged: flag > environment > `.env` > file > default.

use super::registry::{
    self, KNOWN_OTHERWISE, KNOWN_OTHERWISE_IN_FILE, NOT_YET, NOT_YET_IN_FILE, OBJECTS, OUR_PREFIXES,
    PYTHONS_ALONE, REFUSED_PREFIXES, SETTINGS, WITHOUT_EFFECT,
};
use bindu_keeper::{ExitClass, Refusal};
use std::{
    collections::BTreeMap,
    fmt, fs, io,
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

/// The layers above the default.
#[derive(Default, Clone)]
pub struct Layers {
    flags: BTreeMap<String, String>,
    config: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    dotenv: BTreeMap<String, String>,
    file: Option<(PathBuf, BTreeMap<String, String>)>,
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
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        self.with_environment(environment, Path::new("."))
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
        self.dotenv = read_dotenv(&directory.join(".env"))?;
        let named = self.config.clone().or_else(|| {
            let named = self.variable("BINDU_CONFIG")?;
            Some(PathBuf::from(named.0))
        });
        let path = named.clone().unwrap_or_else(|| directory.join(DEFAULT_FILE));
        match fs::read_to_string(&path) {
            Ok(text) => {
                let values = parse_file(&path, &text)?;
                self.warn_of_differences(&path, &values);
                self.file = Some((path, values));
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

    /// The setting's variable that counts: any in the environment goes before any in `.env`.
    fn first_variable(&self, setting: &registry::Setting) -> Option<(&str, Origin)> {
        let mut names = setting.variables.iter();
        let found = names.find_map(|name| self.in_environment(name));
        found.or_else(|| setting.variables.iter().find_map(|name| self.in_dotenv(name)))
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
            // An empty flag takes back what the layers below say.
            let flag = self
                .flags
                .get(setting.key)
                .map(|text| (if text.is_empty() { setting.default } else { text.as_str() }, Origin::Flag));
            let variable = self.first_variable(setting);
            let file = self.file.as_ref().and_then(|(path, values)| {
                Some((values.get(setting.key)?.as_str(), Origin::File(path.clone())))
            });
            let file = file.filter(|(text, _)| !text.is_empty());
            let (text, origin) = flag.or(variable).or(file).unwrap_or((setting.default, Origin::Default));
            values.insert(setting.key, Value { text: text.to_owned(), origin });
        }
        if let Some((path, file)) = &self.file {
            let is_python_shaped = path.extension().is_some_and(|extension| extension == "json");
            for (key, value) in file.iter().filter(|(key, _)| registry::find(key).is_none()) {
                if is_python_shaped && says_nothing(key, value) {
                    continue;
                }
                let near = registry::nearest(key, SETTINGS.iter().map(|setting| setting.key));
                let hint = near.map(|near| format!(" (do you mean `{near}`?)")).unwrap_or_default();
                let text = format!("unknown key `{key}` in {}{hint}", path.display());
                let is_refused = NOT_YET_IN_FILE.iter().any(|refused| key.starts_with(refused));
                match is_python_shaped {
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

fn read_dotenv(path: &Path) -> Result<BTreeMap<String, String>, Refusal> {
    if !path.is_file() {
        return Ok(BTreeMap::new());
    }
    let variables = dotenvy::from_path_iter(path).and_then(Iterator::collect::<Result<_, _>>);
    variables.map_err(|error| {
        // The error would quote the line, and the line may hold a secret.
        let problem = match error {
            dotenvy::Error::Io(error) => error.to_string(),
            _ => "a line is not of the form NAME=VALUE".to_owned(),
        };
        Refusal::new(ExitClass::Usage, "the file .env can't be read", "mend it, or remove it")
            .because(problem)
    })
}

/// A file's values by dotted key. TOML, or JSON in Python Bindu's shape.
fn parse_file(path: &Path, text: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let broken = |problem: String| {
        let message = format!("the configuration file {} is not of its form", path.display());
        Refusal::new(ExitClass::Usage, message, "see docs/CONFIGURATION.md").because(problem)
    };
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let tree: serde_json::Value = if is_json {
        serde_json::from_str(text).map_err(|error| broken(error.to_string()))?
    } else {
        let table: toml::Table = toml::from_str(text).map_err(|error| {
            // Without the line itself, which the full message quotes: it may hold a secret.
            let place =
                error.span().map(|span| text.get(..span.start).unwrap_or_default().lines().count().max(1));
            let place = place.map(|line| format!("line {line}: ")).unwrap_or_default();
            broken(format!("{place}{}", error.message()))
        })?;
        serde_json::to_value(table).map_err(|error| broken(error.to_string()))?
    };
    let serde_json::Value::Object(members) = tree else {
        return Err(broken("it is not an object".to_owned()));
    };
    let mut values = BTreeMap::new();
    flatten("", members, &mut values);
    if let Some(listen) = values.remove("listen") {
        match listen.rsplit_once(':') {
            Some((host, port)) => {
                values.insert("host".to_owned(), host.to_owned());
                values.insert("port".to_owned(), port.to_owned());
            }
            None => return Err(broken("`listen` must be \"host:port\"".to_owned())),
        }
    }
    // Python Bindu listens on the port of its deployment URL.
    if is_json
        && !values.contains_key("port")
        && let Some(port) = values.get("deployment.url").and_then(|url| url.parse::<url::Url>().ok()?.port())
    {
        values.insert("port".to_owned(), port.to_string());
    }
    Ok(values)
}

fn flatten(
    prefix: &str,
    members: serde_json::Map<String, serde_json::Value>,
    to: &mut BTreeMap<String, String>,
) {
    for (name, value) in members {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            serde_json::Value::Object(members) if !OBJECTS.contains(&key.as_str()) => {
                flatten(&key, members, to);
            }
            serde_json::Value::Null => {}
            serde_json::Value::String(text) => _ = to.insert(key, text),
            other => _ = to.insert(key, other.to_string()),
        }
    }
}
