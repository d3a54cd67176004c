//! Settings with their types. All mistakes are reported together, each with its key, where it came from and what would
//! be right; a secret is never shown.

use super::{AuthChoice, CallChoice, Layers, Origin, Resolved, Value, registry};
use bindu_agent::HttpLimits;
use bindu_http_client::TlsSettings;
use bindu_identity::{AgentId, Fingerprint};
use bindu_keeper::{
    ExitClass, Refusal,
    plan::{OnAbsent, OnUnavailable, Policy, RecreateKeys, TakeOver},
};
use bindu_store::VaultLogin;
use secrecy::SecretString;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use url::Url;

/// The settings of an agent.
#[derive(Clone)]
pub struct Settings {
    /// What it is called.
    pub name: Option<String>,
    /// Who is responsible.
    pub author: Option<String>,
    /// Its id, where one was given.
    pub id: Option<AgentId>,
    /// What it does.
    pub description: String,
    /// Its version.
    pub version: String,
    /// Where it keeps its files.
    pub data_dir: PathBuf,
    /// The address to listen on.
    pub host: String,
    /// The port to listen on.
    pub port: u16,
    /// Where probes are answered from the first moment, where somebody has said.
    pub probe_listen: Option<String>,
    /// Where it is called, where somebody has said.
    pub deployment_url: Option<Url>,
    /// What the operator has said.
    pub policy: Policy,
    /// How long a start waits.
    pub start_deadline: Duration,
    /// How often all is compared again.
    pub reconcile_interval: Duration,
    /// How long an end waits.
    pub drain_deadline: Duration,
    /// The private key's password.
    pub key_password: Option<SecretString>,
    /// What answers.
    pub handler: HandlerChoice,
    /// Vault, where it is on.
    pub vault: Option<VaultChoice>,
    /// The KV mount, whether Vault is on or not.
    pub vault_mount: String,
    /// The folder below it.
    pub vault_prefix: String,
    /// Hydra, where authentication is on.
    pub hydra: Option<HydraChoice>,
    /// Who may call, where authentication is on.
    pub auth: AuthChoice,
    /// Whether somebody has said outright that authentication is off.
    pub open_on_purpose: bool,
    /// What requests and connections may cost.
    pub http: HttpLimits,
    /// How other agents are called.
    pub call: CallChoice,
    /// What is logged.
    pub log_level: String,
    /// How.
    pub log_format: Option<LogFormat>,
    /// What deserves a warning.
    pub warnings: Vec<String>,
}

/// What answers tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerChoice {
    /// Nobody has said: echo.
    Unnamed,
    /// Says back what it is told.
    Echo,
    /// A program.
    Command {
        /// The program and its arguments.
        command: Vec<String>,
        /// How long it may take for one task.
        timeout: Duration,
        /// How many of it run at the same time.
        workers: usize,
    },
}

/// Vault.
#[derive(Clone)]
pub struct VaultChoice {
    /// Its address.
    pub url: Url,
    /// How to log in.
    pub login: VaultLogin,
    /// The mount.
    pub mount: String,
    /// The folder below it.
    pub prefix: String,
    /// The namespace.
    pub namespace: Option<String>,
    /// What TLS goes by.
    pub tls: TlsSettings,
}

/// Hydra.
#[derive(Debug, Clone)]
pub struct HydraChoice {
    /// Its admin address.
    pub admin_url: Url,
    /// Its public address.
    pub public_url: Url,
    /// Bounds all of its work for one call.
    pub timeout: Duration,
    /// Check its certificate.
    pub verify_ssl: bool,
    /// Register and repair our client.
    pub auto_register: bool,
    /// Scopes to register.
    pub scopes: Vec<String>,
    /// Audiences to register.
    pub audiences: Vec<String>,
}

/// How the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Reads values, and collects what is wrong with them.
pub(super) struct Reader {
    pub(super) values: BTreeMap<&'static str, Value>,
    pub(super) mistakes: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Settings {
    /// Merges the layers and gives the values their types.
    ///
    /// # Errors
    /// One refusal with all mistakes.
    pub fn load(layers: Layers) -> Result<Self, Refusal> {
        let Resolved { values, mistakes, warnings } = layers.resolve();
        let mut reader = Reader { values, mistakes, warnings };
        let settings = reader.settings();
        if reader.mistakes.is_empty() {
            return Ok(settings);
        }
        let count = reader.mistakes.len();
        let message = if count == 1 {
            "there is a mistake in the configuration; nothing was changed".to_owned()
        } else {
            format!("there are {count} mistakes in the configuration; nothing was changed")
        };
        let hint = "`bindu config show` prints every setting with where it comes from; docs/CONFIGURATION.md explains them";
        Err(Refusal { class: ExitClass::Usage, message, causes: reader.mistakes, hint: hint.to_owned() })
    }
}

impl Reader {
    fn settings(&mut self) -> Settings {
        let vault = self.vault();
        let hydra = self.hydra();
        let auth = self.auth(hydra.is_some());
        let http = self.http();
        let name = self.optional("name");
        let author = self.optional("author");
        let is_on = |reader: &Self, key: &str| boolean(&reader.text(key)).unwrap_or_default();
        if (is_on(self, "vault.enabled") || is_on(self, "auth.enabled"))
            && (name.is_none() || author.is_none())
        {
            self.mistakes.push(
                "`name` and `author` must be set with Vault or Hydra, for example \
                 BINDU_NAME=\"Echo Agent\" BINDU_AUTHOR=alice@example.com"
                    .to_owned(),
            );
        }
        if self.text("storage.type") != "memory" {
            self.mistake(
                "storage.type",
                "this version keeps tasks in memory only; unset it, or set it to `memory`",
            );
        }
        let version = self.optional("version").unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
        Settings {
            name,
            author,
            id: self.parsed("id", "a UUID", |text| text.parse().ok()),
            description: self.text("description"),
            version,
            data_dir: PathBuf::from(self.text("data_dir")),
            host: self.text("host"),
            port: self
                .parsed("port", "a number from 0 to 65535", |text| text.parse().ok())
                .unwrap_or_default(),
            probe_listen: self.parsed(
                "probe_listen",
                "an address and a port, such as 0.0.0.0:9090",
                |text| {
                    let (host, port) = text.rsplit_once(':')?;
                    (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| text.to_owned())
                },
            ),
            deployment_url: self.url("deployment.url"),
            policy: self.policy(),
            start_deadline: self.duration("start_deadline"),
            reconcile_interval: self.interval("reconcile_interval"),
            drain_deadline: self.duration("drain_deadline"),
            key_password: self.secret_file("key_password_file"),
            handler: self.handler(),
            vault,
            vault_mount: self.path("vault.mount"),
            vault_prefix: self.path("vault.prefix"),
            hydra,
            auth,
            open_on_purpose: self.is_said("auth.enabled") && !is_on(self, "auth.enabled"),
            http,
            call: self.call(),
            log_level: self.text("log.level"),
            log_format: self.parsed("log.format", "`text` or `json`", |text| match text {
                "text" => Some(LogFormat::Text),
                "json" => Some(LogFormat::Json),
                _ => None,
            }),
            warnings: std::mem::take(&mut self.warnings),
        }
    }

    fn policy(&mut self) -> Policy {
        let fingerprint = |text: &str| text.parse::<Fingerprint>().ok();
        Policy {
            on_absent: self
                .parsed("on_absent", "`create` or `refuse`", |text| match text {
                    "create" => Some(OnAbsent::Create),
                    "refuse" => Some(OnAbsent::Refuse),
                    _ => None,
                })
                .unwrap_or_default(),
            on_unavailable: self
                .parsed("on_unavailable", "`wait` or `generate`", |text| match text {
                    "wait" => Some(OnUnavailable::Wait),
                    "generate" => Some(OnUnavailable::Generate),
                    _ => None,
                })
                .unwrap_or_default(),
            take_over: self
                .parsed("take_over", "`true`, `false` or a key's fingerprint", |text| match boolean(text) {
                    Some(false) => Some(TakeOver::No),
                    Some(true) => Some(TakeOver::Any),
                    None => fingerprint(text).map(TakeOver::Key),
                })
                .unwrap_or_default(),
            recreate_keys: self
                .parsed("recreate_keys", "`true`, `false` or a key's fingerprint", |text| {
                    match boolean(text) {
                        Some(false) => Some(RecreateKeys::No),
                        Some(true) => Some(RecreateKeys::Always),
                        None => fingerprint(text).map(RecreateKeys::Once),
                    }
                })
                .unwrap_or_default(),
        }
    }

    fn handler(&mut self) -> HandlerChoice {
        let echo = self.parsed("echo", "`true` or `false`", boolean);
        let command = self.optional("command").map(|_| self.list("command"));
        let timeout = self.duration("command_timeout");
        let workers = self.parsed("command_workers", "a number from 1 to 256", |text| {
            text.parse().ok().filter(|workers| (1..=256).contains(workers))
        });
        match (echo, command) {
            (Some(true), Some(_)) => {
                self.mistakes.push("`echo` and `command` are both set: name one handler".to_owned());
                HandlerChoice::Unnamed
            }
            (_, Some(command)) if command.first().is_none_or(String::is_empty) => {
                self.mistake("command", "it must name a program");
                HandlerChoice::Unnamed
            }
            (_, Some(command)) => HandlerChoice::Command { command, timeout, workers: workers.unwrap_or(1) },
            (Some(true), None) => HandlerChoice::Echo,
            _ => HandlerChoice::Unnamed,
        }
    }

    fn hydra(&mut self) -> Option<HydraChoice> {
        let enabled = self.flag("auth.enabled");
        let admin_url = self.url("hydra.admin_url");
        let public_url = self.url("hydra.public_url");
        let timeout = self.seconds("hydra.timeout");
        let verify_ssl = self.flag("hydra.verify_ssl");
        let auto_register = self.flag("hydra.auto_register_agents");
        let scopes = self.list("hydra.default_agent_scopes");
        let audiences = self.list("hydra.audiences");
        if !enabled {
            return None;
        }
        for key in ["hydra.admin_url", "hydra.public_url"] {
            if self.text(key).is_empty() {
                let variable = registry::find(key).and_then(|setting| setting.variables.first()).copied();
                self.mistakes.push(format!(
                    "authentication is on and {} is not set: there is no default, since Python Bindu's is its vendor's host",
                    variable.unwrap_or(key)
                ));
            }
        }
        Some(HydraChoice {
            admin_url: admin_url?,
            public_url: public_url?,
            timeout,
            verify_ssl,
            auto_register,
            scopes,
            audiences,
        })
    }

    pub(super) fn text(&self, key: &str) -> String {
        self.values.get(key).map(|value| value.text.clone()).unwrap_or_default()
    }

    /// Whether anybody has said anything about a setting.
    pub(super) fn is_said(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| value.origin != Origin::Default)
    }

    pub(super) fn optional(&self, key: &str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    /// Notes a mistake with the key, its value (unless it is a secret) and where it came from.
    pub(super) fn mistake(&mut self, key: &str, problem: &str) {
        let setting = registry::find(key);
        let value = self.values.get(key);
        let origin = value.map_or(Origin::Default, |value| value.origin.clone());
        let shown = match (setting.is_some_and(|setting| setting.secret), value) {
            (false, Some(value)) => format!(" = {:?}", value.text),
            _ => String::new(),
        };
        self.mistakes.push(format!("`{key}`{shown} ({origin}): {problem}"));
    }

    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.optional(key)?;
        let parsed = parse(text.trim());
        if parsed.is_none() {
            self.mistake(key, &format!("it must be {expected}"));
        }
        parsed
    }

    pub(super) fn flag(&mut self, key: &str) -> bool {
        self.parsed(key, "`true` or `false`", boolean).unwrap_or_default()
    }

    pub(super) fn url(&mut self, key: &str) -> Option<Url> {
        self.parsed(key, "a URL that begins with http:// or https://", |text| {
            let url: Url = text.parse().ok()?;
            (matches!(url.scheme(), "http" | "https") && url.host().is_some()).then_some(url)
        })
    }

    pub(super) fn duration(&mut self, key: &str) -> Duration {
        self.parsed(key, "a duration with its unit, such as 500ms, 30s or 5m", duration).unwrap_or_default()
    }

    /// A duration under a name of Python Bindu's: a bare number is seconds.
    pub(super) fn seconds(&mut self, key: &str) -> Duration {
        let parse = |text: &str| {
            text.parse()
                .ok()
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .or_else(|| duration(text))
        };
        self.parsed(key, "a number of seconds, or a duration with its unit", parse).unwrap_or_default()
    }

    pub(super) fn interval(&mut self, key: &str) -> Duration {
        let interval = self.duration(key);
        if interval < Duration::from_secs(1) && self.mistakes.iter().all(|mistake| !mistake.contains(key)) {
            self.mistake(key, "it must be at least 1s");
        }
        interval
    }

    pub(super) fn list(&mut self, key: &str) -> Vec<String> {
        self.parsed(key, "a list, such as [\"one\", \"two\"]", |text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// A path in Vault: segments of which none is empty or dots, since such a path would be redirected to a page.
    pub(super) fn path(&mut self, key: &str) -> String {
        self.parsed(key, "a path without empty segments", |text| {
            let path = text.trim_matches('/');
            let good =
                path.split('/').all(|segment| !segment.is_empty() && segment != "." && segment != "..");
            good.then(|| path.to_owned())
        })
        .unwrap_or_default()
    }

    pub(super) fn file(&mut self, key: &str) -> Option<Vec<u8>> {
        let path = self.optional(key)?;
        match std::fs::read(&path) {
            Ok(content) => Some(content),
            Err(error) => {
                self.mistake(key, &format!("the file can't be read: {error}"));
                None
            }
        }
    }

    fn secret_file(&mut self, key: &str) -> Option<SecretString> {
        let content = self.file(key)?;
        match String::from_utf8(content) {
            // One line feed belongs to the file, not to the password.
            Ok(text) => {
                let text = text.strip_suffix('\n').unwrap_or(&text);
                Some(SecretString::from(text.strip_suffix('\r').unwrap_or(text)))
            }
            Err(_) => {
                self.mistake(key, "the file is not UTF-8 text");
                None
            }
        }
    }
}

/// Python's spellings too (pydantic's).
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
        _ => None,
    }
}

/// A duration with its unit, such as `500ms`, `30s` or `1h30m`.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let signed: jiff::SignedDuration = text.parse().ok()?;
    Duration::try_from(signed).ok()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
