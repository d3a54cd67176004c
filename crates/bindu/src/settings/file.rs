//! Reading `.env` and the configuration file: TOML, or JSON in Python Bindu's shape.

use super::{Content, json, registry};
use crate::{ExitClass, Refusal};
use bindu_http_client::named_file;
use std::{collections::BTreeMap, io, path::Path};

/// What a file holds: texts by dotted key, and what is wrong with it beside its form.
#[derive(Default, Clone)]
pub(super) struct FileValues {
    pub(super) values: BTreeMap<String, String>,
    pub(super) mistakes: Vec<String>,
}

impl FileValues {
    fn mistake(&mut self, key: &str, path: &Path, problem: &str) {
        self.mistakes.push(format!("`{key}` in {}: {problem}", path.display()));
    }
}

/// The variables of `.env`; none where there is no such file.
pub(super) fn read_dotenv(path: &Path) -> Result<BTreeMap<String, String>, Refusal> {
    let broken = |problem: String| {
        Refusal::new(ExitClass::Usage, "the file .env can't be read", "mend it, or remove it")
            .because(problem)
    };
    // Python's virtual environments are often directories of this name.
    if path.is_dir() {
        return Ok(BTreeMap::new());
    }
    let text = match named_file::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        read => read.map_err(|error| broken(error.to_string()))?,
    };
    let text = String::from_utf8(text).map_err(|_| broken("it is not UTF-8 text".to_owned()))?;
    let text = without_mark(&text).replace("\r\n", "\n");
    let variables = dotenvy::from_read_iter(text.as_bytes()).collect::<Result<_, _>>();
    variables.map_err(|error| {
        // The error would quote the line, and the line may hold a secret.
        broken(match error {
            dotenvy::Error::Io(error) => error.to_string(),
            _ => "a line is not of the form NAME=VALUE; a value with spaces in it needs quotes".to_owned(),
        })
    })
}

/// A text without the byte order mark that editors on Windows put before it.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A file's values by dotted key.
pub(super) fn parse(path: &Path, text: &[u8]) -> Result<FileValues, Refusal> {
    let broken = |problem: String| {
        let message = format!("the configuration file {} is not of its form", path.display());
        Refusal::new(ExitClass::Usage, message, "see docs/CONFIGURATION.md").because(problem)
    };
    let text = std::str::from_utf8(text).map_err(|_| broken("it is not UTF-8 text".to_owned()))?;
    let text = without_mark(text);
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let tree: serde_json::Value = if is_json {
        json::read(text).map_err(|error| broken(error.to_string()))?
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
    let mut read = FileValues::default();
    flatten("", members, &mut read, path);
    if let Some(listen) = read.values.remove("listen") {
        match listen.rsplit_once(':') {
            Some((host, port)) => {
                read.values.insert("host".to_owned(), host.to_owned());
                read.values.insert("port".to_owned(), port.to_owned());
            }
            None => return Err(broken("`listen` must be \"host:port\"".to_owned())),
        }
    }
    // Python Bindu listens on the port of its deployment URL.
    if is_json
        && !read.values.contains_key("port")
        && let Some(port) =
            read.values.get("deployment.url").and_then(|url| url.parse::<url::Url>().ok()?.port())
    {
        read.values.insert("port".to_owned(), port.to_string());
    }
    Ok(read)
}

fn flatten(
    prefix: &str,
    members: serde_json::Map<String, serde_json::Value>,
    to: &mut FileValues,
    path: &Path,
) {
    use serde_json::Value;
    for (name, value) in members {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        let setting = registry::find(&key);
        let content = setting.map(|setting| setting.content);
        let text = match value {
            Value::Object(members) if setting.is_none() => {
                flatten(&key, members, to, path);
                continue;
            }
            // Anything else in its place would leave all of its settings unsaid.
            _ if registry::is_section(&key) => {
                to.mistake(&key, path, "it is a section: an object with settings in it");
                continue;
            }
            Value::Object(_) if content != Some(Content::Object) => {
                to.mistake(&key, path, "it must be one value, not an object");
                continue;
            }
            Value::Array(_) if setting.is_some() && content != Some(Content::List) => {
                to.mistake(&key, path, "it must be one value, not a list");
                continue;
            }
            // Said, and said to be nothing: as an empty text.
            Value::Null if setting.is_some() => String::new(),
            Value::Null => continue,
            Value::String(text) => text,
            other => other.to_string(),
        };
        // `{"vault.url": ..., "vault": {"url": ...}}`
        if to.values.insert(key.clone(), text).is_some() {
            to.mistake(&key, path, "it comes twice");
        }
    }
}
