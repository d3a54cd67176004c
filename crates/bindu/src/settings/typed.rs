//! Settings with their types. All mistakes are reported together, each with its key, where it came from and what would
//! be right; a secret is never shown.

use super::{
    AuthChoice, CallChoice, Layers, PushChoice, Resolved, StorageChoice, VaultChoice, VaultDoubt,
    reader::Reader,
    registry::{
        AUTH_ENABLED, AUTHOR, COMMAND, COMMAND_TIMEOUT, COMMAND_WORKERS, DATA_DIR, DEPLOYMENT_URL,
        DESCRIPTION, DRAIN_DEADLINE, DRAIN_GRACE, ECHO, GRPC_LISTEN, HOST, HYDRA_ADMIN_URL, HYDRA_AUDIENCES,
        HYDRA_AUTO_REGISTER_AGENTS, HYDRA_DEFAULT_AGENT_SCOPES, HYDRA_PUBLIC_URL, HYDRA_TIMEOUT,
        HYDRA_VERIFY_SSL, ID, KEY_PASSWORD_FILE, LOG_FORMAT, LOG_LEVEL, NAME, ON_ABSENT, ON_UNAVAILABLE,
        PORT, PRIVATE_SKILLS_FOR, PROBE_LISTEN, PROXY_EXEMPT, PROXY_HTTP, PROXY_HTTPS, RECONCILE_INTERVAL,
        RECREATE_KEYS, RESUMABLE, ROTATION_OVERLAP, START_DEADLINE, TAKE_OVER, VAULT_ENABLED, VAULT_MOUNT,
        VAULT_PREFIX, VERSION,
    },
};
use crate::{ExitClass, Refusal};
use bindu_a2a::card::Skill;
use bindu_agent::HttpLimits;
use bindu_http_client::ProxySettings;
use bindu_identity::AgentId;
use bindu_keeper::plan::Policy;
use secrecy::SecretString;
use std::{path::PathBuf, time::Duration};
use url::{Host, Url};

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
    /// What it can do, for everybody.
    pub skills: Vec<Skill>,
    /// What it can do besides, for some callers.
    pub private_skills: Vec<Skill>,
    /// Which callers those are, by their client ids.
    pub private_callers: Vec<String>,
    /// Where it keeps its files.
    pub data_dir: PathBuf,
    /// The address to listen on.
    pub host: String,
    /// The port to listen on.
    pub port: u16,
    /// Where probes are answered from the first moment, where somebody has said.
    pub probe_listen: Option<String>,
    /// Where gRPC is served.
    pub grpc_listen: Option<String>,
    /// Where it is called, where somebody has said.
    pub deployment_url: Option<Url>,
    /// What the operator has said.
    pub policy: Policy,
    /// How long a start waits.
    pub start_deadline: Duration,
    /// How often all is compared again.
    pub reconcile_interval: Duration,
    /// `rotation.overlap`.
    pub rotation_overlap: Duration,
    /// How long an end waits.
    pub drain_deadline: Duration,
    /// How long a result can be fetched after its task has ended, within that.
    pub drain_grace: Duration,
    /// Whether a message may be handled again that was being handled when the process ended.
    pub resumable: bool,
    /// The private key's password.
    pub key_password: Option<SecretString>,
    /// What answers.
    pub handler: HandlerChoice,
    /// Vault, where it is on.
    pub vault: Option<VaultChoice>,
    /// Settings of Vault while nobody says whether it is on.
    pub vault_doubt: Option<VaultDoubt>,
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
    /// Where tasks are kept.
    pub storage: StorageChoice,
    /// How other agents are called.
    pub call: CallChoice,
    /// Where events of tasks are sent.
    pub push: PushChoice,
    /// Which proxy Hydra and other agents are asked through.
    pub proxies: ProxySettings,
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

impl Settings {
    /// Merges the layers and gives the values their types.
    ///
    /// # Errors
    /// One refusal with all mistakes.
    pub fn load(layers: Layers) -> Result<Self, Refusal> {
        let Resolved { values, mistakes, warnings } = layers.resolve();
        let mut reader = Reader { values, mistakes, warnings };
        reader.check();
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
        let proxies = ProxySettings {
            http: self.get(&PROXY_HTTP),
            https: self.get(&PROXY_HTTPS),
            exempt: self.value(&PROXY_EXEMPT),
            all: None,
        };
        let vault = self.vault(&proxies);
        let hydra = self.hydra();
        let auth = self.auth(hydra.is_some());
        let (name, author) = (self.get(&NAME), self.get(&AUTHOR));
        let (vault_is_on, auth_is_on) = (self.value(&VAULT_ENABLED), self.value(&AUTH_ENABLED));
        if (vault_is_on || auth_is_on) && (name.is_none() || author.is_none()) {
            self.mistakes.push(
                "`name` and `author` must be set with Vault or Hydra, for example \
                 BINDU_NAME=echo-agent BINDU_AUTHOR=alice@example.com"
                    .to_owned(),
            );
        }
        let [skills, private_skills] = self.skills();
        let private_callers = self.value(&PRIVATE_SKILLS_FOR);
        if !private_skills.is_empty() && (!auth_is_on || private_callers.is_empty()) {
            let lacks = if auth_is_on { "private_skills_for names nobody" } else { "authentication is off" };
            self.warnings.push(format!("`private_skills`: nobody sees them, since {lacks}"));
        }
        // An agent that comes from its longest pause must find both keys.
        if self.value(&ROTATION_OVERLAP) < self.value(&RECONCILE_INTERVAL).saturating_mul(2) {
            let problem = "it is shorter than twice `reconcile_interval`: a replica that looks seldom would sign with a key that has ended";
            self.mistake(&ROTATION_OVERLAP, problem);
        }
        Settings {
            name,
            author,
            skills,
            private_skills,
            private_callers,
            id: self.get(&ID),
            description: self.value(&DESCRIPTION),
            version: self.get(&VERSION).unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
            data_dir: self.value(&DATA_DIR),
            host: self.value(&HOST),
            port: self.value(&PORT),
            probe_listen: self.get(&PROBE_LISTEN),
            grpc_listen: self.get(&GRPC_LISTEN),
            deployment_url: self.deployment_url(),
            policy: Policy {
                on_absent: self.value(&ON_ABSENT),
                on_unavailable: self.value(&ON_UNAVAILABLE),
                take_over: self.value(&TAKE_OVER),
                recreate_keys: self.value(&RECREATE_KEYS),
            },
            start_deadline: self.value(&START_DEADLINE),
            reconcile_interval: self.value(&RECONCILE_INTERVAL),
            rotation_overlap: self.value(&ROTATION_OVERLAP),
            drain_deadline: self.value(&DRAIN_DEADLINE),
            drain_grace: self.value(&DRAIN_GRACE),
            resumable: self.value(&RESUMABLE),
            key_password: self.password(&KEY_PASSWORD_FILE),
            handler: self.handler(),
            vault,
            vault_doubt: self.vault_doubt(),
            vault_mount: self.value(&VAULT_MOUNT),
            vault_prefix: self.value(&VAULT_PREFIX),
            hydra,
            auth,
            open_on_purpose: self.is_said(&AUTH_ENABLED) && !auth_is_on,
            http: self.http(),
            storage: self.storage(),
            call: self.call(),
            push: self.push(),
            proxies,
            log_level: self.value(&LOG_LEVEL),
            log_format: self.get(&LOG_FORMAT),
            warnings: std::mem::take(&mut self.warnings),
        }
    }

    /// Where it is called. Python Bindu listens where this says, so its files have `0.0.0.0` there: nobody can call that.
    fn deployment_url(&mut self) -> Option<Url> {
        let url = self.get(&DEPLOYMENT_URL)?;
        let is_everywhere = match url.host() {
            Some(Host::Ipv4(address)) => address.is_unspecified(),
            Some(Host::Ipv6(address)) => address.to_canonical().is_unspecified(),
            _ => false,
        };
        if is_everywhere {
            self.warnings
                .push(format!("`deployment.url` = {url}: no address that can be called; it is ignored"));
            return None;
        }
        Some(url)
    }

    fn handler(&mut self) -> HandlerChoice {
        let (echo, command) = (self.get(&ECHO), self.get(&COMMAND));
        let (timeout, workers) = (self.value(&COMMAND_TIMEOUT), self.value(&COMMAND_WORKERS));
        match (echo, command) {
            (Some(true), Some(_)) => {
                self.mistakes.push("`echo` and `command` are both set: name one handler".to_owned());
                HandlerChoice::Unnamed
            }
            (_, Some(command)) if command.first().is_none_or(String::is_empty) => {
                self.mistake(&COMMAND, "it must name a program");
                HandlerChoice::Unnamed
            }
            (_, Some(command)) => HandlerChoice::Command { command, timeout, workers },
            (Some(true), None) => HandlerChoice::Echo,
            _ => HandlerChoice::Unnamed,
        }
    }

    fn hydra(&mut self) -> Option<HydraChoice> {
        let enabled = self.value(&AUTH_ENABLED);
        let (admin_url, public_url) = (self.get(&HYDRA_ADMIN_URL), self.get(&HYDRA_PUBLIC_URL));
        let timeout = self.value(&HYDRA_TIMEOUT);
        let verify_ssl = self.value(&HYDRA_VERIFY_SSL);
        let auto_register = self.value(&HYDRA_AUTO_REGISTER_AGENTS);
        let scopes = self.value(&HYDRA_DEFAULT_AGENT_SCOPES);
        let audiences = self.value(&HYDRA_AUDIENCES);
        if !enabled {
            return None;
        }
        for setting in [&HYDRA_ADMIN_URL, &HYDRA_PUBLIC_URL] {
            if !self.is_said(setting) {
                self.mistakes.push(format!(
                    "authentication is on and {} is not set: there is no default, since Python Bindu's is its vendor's host",
                    setting.variable()
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
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
