//! Building the parts of an agent from its settings.

use crate::{
    ExitClass, Refusal, hints,
    settings::{HydraChoice, Settings, VaultChoice},
};
use bindu_agent::Metrics;
use bindu_http_client::{HttpSettings, NoObserver, RequestObserver, TlsSettings};
use bindu_hydra::{ClientRegistry, Hydra, HydraSettings, ProvenToken};
use bindu_identity::{AgentId, AgentName, Did};
use bindu_keeper::{AgentProfile, ClientProfile, Keeper, Reason, Status, StoreKind};
use bindu_store::{
    DataDirectory, DirectoryError, DirectoryErrorKind, DirectoryOwner, FileStore, SecretStore, VaultSettings,
    VaultStore,
};
use bindu_time::{Clock, at_random};
use std::{path::Path, sync::Arc, time::Duration};

/// How long one request to Vault may take: its storage answers in milliseconds, or is in trouble.
const VAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Who an agent without a name is, in its DID.
const NOBODY: (&str, &str) = ("local", "agent");

/// The parts of an agent.
pub struct Parts {
    /// What keeps the identity.
    pub keeper: Keeper,
    /// Hydra, where authentication is on.
    pub hydra: Option<Hydra>,
    /// What counts.
    pub metrics: Arc<Metrics>,
}

impl Parts {
    /// Opens the data directory and builds the parts. The network is not touched.
    ///
    /// # Errors
    /// Where the directory can't be used and there is no store beside it, or a setting can't be used.
    pub fn open(settings: &Settings, url: &str) -> Result<Self, Refusal> {
        Self::build(settings, url, true)
    }

    /// The same without changing anything, for commands that only look.
    ///
    /// # Errors
    /// As [`Parts::open`].
    pub fn look(settings: &Settings) -> Result<Self, Refusal> {
        Self::build(settings, &super::agent_url(settings), false)
    }

    fn build(settings: &Settings, url: &str, open: bool) -> Result<Self, Refusal> {
        refuse_vault_in_doubt(settings, open)?;
        let metrics = Metrics::new();
        let status = Arc::new(Status::default());
        let agent = agent(settings)?;
        // Whose it is is seen before anything is written there.
        let looked = DataDirectory::look(&settings.data_dir, &agent.did, &agent.id.to_string());
        let directory = match check_owner(settings, &agent, looked, &status)? {
            Some(looked) if open => open_directory(settings, looked, &status)?,
            looked => looked,
        };
        let directory = directory.map(Arc::new);
        let (store, store_kind): (Arc<dyn SecretStore>, _) = match (&settings.vault, &directory) {
            (Some(vault), _) => {
                let observer = Watched {
                    counts: metrics.store_observer(),
                    status: Arc::clone(&status),
                    skew: Status::store_skew,
                };
                (Arc::new(vault_store(vault, Arc::new(observer))?), StoreKind::Vault)
            }
            (None, Some(directory)) => {
                let store = FileStore::new(Arc::clone(directory), settings.key_password.clone());
                (Arc::new(store), StoreKind::File)
            }
            (None, None) => return Err(foreign_directory(&settings.data_dir, "it is another agent's")),
        };
        let hydra = settings
            .hydra
            .as_ref()
            .map(|choice| hydra(settings, choice, &metrics, Arc::clone(&status)))
            .transpose()?;
        let client = settings.hydra.as_ref().map(|choice| client_profile(settings, choice, url));
        let keeper = Keeper {
            agent,
            store,
            store_kind,
            directory,
            hydra: hydra.clone().map(|hydra| Arc::new(hydra) as Arc<dyn ClientRegistry>).zip(client),
            policy: settings.policy.clone(),
            key_password: settings.key_password.clone(),
            start_deadline: settings.start_deadline,
            reconcile_interval: settings.reconcile_interval,
            rotation_overlap: settings.rotation_overlap,
            status,
            proven: Arc::new(ProvenToken::default()),
            hint: |advice| hints::advice(advice).to_string(),
            clock: Clock::system(),
            jitter: at_random,
        };
        Ok(Self { keeper, hydra, metrics })
    }
}

/// Settings of Vault, and nobody has said that it is on: a pod would make a key of its own on its own disk. A command that
/// only looks, in an operator's shell, looks at the disk.
fn refuse_vault_in_doubt(settings: &Settings, open: bool) -> Result<(), Refusal> {
    let Some(doubt) = &settings.vault_doubt else { return Ok(()) };
    let names = doubt.names.join(", ");
    if !doubt.is_usable || (doubt.is_a_shells && !open) {
        tracing::warn!(
            names,
            "set, and VAULT__ENABLED is not: the identity is kept in the data directory alone"
        );
        return Ok(());
    }
    Err(Refusal::new(
        ExitClass::Usage,
        format!(
            "settings of Vault, and nobody says whether the identity is kept there: {names}; nothing was changed"
        ),
        "set VAULT__ENABLED=true; or VAULT__ENABLED=false to keep the identity in the data directory alone",
    ))
}

/// The directory, open for writing; only for reading if it can't be written and a store has the identity; none if another
/// agent was faster.
fn open_directory(
    settings: &Settings,
    directory: DataDirectory,
    status: &Status,
) -> Result<Option<DataDirectory>, Refusal> {
    match directory.open_again() {
        Ok(()) => Ok(Some(directory)),
        Err(error) if settings.vault.is_none() => Err(directory_refusal(&settings.data_dir, &error)),
        Err(error) if error.kind == DirectoryErrorKind::OfAnotherAgent => {
            tracing::warn!(cause = %error.source, "the data directory is another agent's: working without it");
            status.directory_is_unusable(Reason::DirectoryOfAnotherAgent);
            Ok(None)
        }
        Err(error) => {
            tracing::warn!(%error, cause = %error.source, "working without writing to the data directory");
            status.directory_is_unusable(Reason::DirectoryNotWritable);
            Ok(Some(directory))
        }
    }
}

/// Who the agent is: by author and name, or by the id that its directory remembers.
fn agent(settings: &Settings) -> Result<AgentProfile, Refusal> {
    let (author, name) = (settings.author.clone(), settings.name.clone());
    let id = match (settings.id, &author, &name) {
        (Some(id), ..) => id,
        (None, Some(author), Some(name)) => AgentId::derive(author, name),
        _ => remembered_id(settings)?,
    };
    let name = AgentName {
        author: author.unwrap_or_else(|| NOBODY.0.to_owned()),
        name: name.unwrap_or_else(|| NOBODY.1.to_owned()),
    };
    Ok(AgentProfile { did: Did::bindu(&name, id), id, name })
}

fn remembered_id(settings: &Settings) -> Result<AgentId, Refusal> {
    let path = &settings.data_dir;
    let id = DataDirectory::remembered_agent_id(path).map_err(|error| directory_refusal(path, &error))?;
    if let Some(id) = id.and_then(|id| id.parse().ok()) {
        return Ok(id);
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Refusal::new(ExitClass::Failed, "the system gives no random numbers", "set BINDU_AGENT_ID")
            .because(error)
    })?;
    Ok(AgentId::from_random_bytes(bytes))
}

/// The directory, unless it is another agent's.
fn check_owner(
    settings: &Settings,
    agent: &AgentProfile,
    directory: DataDirectory,
    status: &Status,
) -> Result<Option<DataDirectory>, Refusal> {
    match directory.owner(&agent.did) {
        Ok(DirectoryOwner::This | DirectoryOwner::Unknown) => Ok(Some(directory)),
        Ok(DirectoryOwner::Another(did)) if settings.vault.is_none() => {
            Err(foreign_directory(&settings.data_dir, format!("it is the directory of {did}")))
        }
        Ok(DirectoryOwner::Another(did)) => {
            tracing::warn!(owner = did, "the data directory is another agent's: working without it");
            status.directory_is_unusable(Reason::DirectoryOfAnotherAgent);
            Ok(None)
        }
        Err(error) if settings.vault.is_none() => Err(directory_refusal(&settings.data_dir, &error)),
        Err(error) => {
            tracing::warn!(%error, cause = %error.source, "working without the data directory");
            status.directory_is_unusable(Reason::DirectoryNotWritable);
            // Not left out: what can't be read may hold a key, and only what is not there at all is none.
            Ok(Some(directory))
        }
    }
}

fn foreign_directory(path: &Path, cause: impl std::fmt::Display) -> Refusal {
    Refusal::new(
        ExitClass::Usage,
        format!("the data directory {} belongs to another agent; nothing was changed", path.display()),
        "give this agent a directory of its own with --data-dir or BINDU_DATA_DIR, or its author and name as they were",
    )
    .because(cause)
}

fn directory_refusal(path: &Path, error: &DirectoryError) -> Refusal {
    let hint = match error.kind {
        DirectoryErrorKind::InUse => {
            "end the other process, or choose another directory with --data-dir or BINDU_DATA_DIR"
        }
        DirectoryErrorKind::Full => {
            "make room on this disk, or choose another directory with --data-dir or BINDU_DATA_DIR"
        }
        DirectoryErrorKind::Link => {
            "put the file itself where the link is, or name the directory that holds it with --data-dir or BINDU_DATA_DIR"
        }
        DirectoryErrorKind::Unreadable => {
            "let this user read it (its owner and mode are above), or choose another directory with --data-dir or BINDU_DATA_DIR"
        }
        DirectoryErrorKind::Malformed => "restore the file from a backup, or move it away",
        _ => "make it writable for this user, or choose another directory with --data-dir or BINDU_DATA_DIR",
    };
    if error.kind == DirectoryErrorKind::OfAnotherAgent {
        return foreign_directory(path, &error.source);
    }
    let message = match error.kind {
        DirectoryErrorKind::InUse => {
            format!("the data directory {} is in use by another process", path.display())
        }
        _ => format!("the data directory {} can't be used", path.display()),
    };
    let class =
        if error.kind == DirectoryErrorKind::Malformed { ExitClass::Failed } else { ExitClass::Usage };
    Refusal::new(class, message, hint).because_of(error)
}

/// Vault, for an administrator's commands. The network is not touched.
///
/// # Errors
/// Where there is no Vault in the settings, or they can't be used.
pub fn administered_vault(settings: &Settings) -> Result<VaultStore, Refusal> {
    let choice = settings.vault.as_ref().ok_or_else(|| {
        Refusal::new(
            ExitClass::Usage,
            "there is no Vault in these settings",
            "set VAULT_ADDR and VAULT_TOKEN",
        )
    })?;
    vault_store(choice, Arc::new(NoObserver))
}

fn vault_store(choice: &VaultChoice, observer: Arc<dyn RequestObserver>) -> Result<VaultStore, Refusal> {
    let settings = VaultSettings {
        url: choice.url.clone(),
        login: choice.login.clone(),
        mount: choice.mount.clone(),
        prefix: choice.prefix.clone(),
        namespace: choice.namespace.clone(),
        http: HttpSettings {
            tls: choice.tls.clone(),
            proxies: choice.proxies.clone(),
            redirect_hosts: Some(choice.redirect_hosts.clone()),
            observer,
            ..HttpSettings::new(VAULT_TIMEOUT)
        },
    };
    VaultStore::new(settings).map_err(|error| {
        Refusal::new(
            ExitClass::Usage,
            "the settings of Vault can't be used",
            "check VAULT__URL, VAULT_CACERT, VAULT_CAPATH, VAULT_TLS_SERVER_NAME, VAULT_CLIENT_CERT and VAULT_CLIENT_KEY",
        )
        .because_of(&error)
    })
}

fn hydra(
    settings: &Settings,
    choice: &HydraChoice,
    metrics: &Metrics,
    status: Arc<Status>,
) -> Result<Hydra, Refusal> {
    let settings = HydraSettings {
        admin_url: choice.admin_url.clone(),
        public_url: choice.public_url.clone(),
        http: HttpSettings {
            tls: TlsSettings {
                dangerous_accept_any_certificate: !choice.verify_ssl,
                ..TlsSettings::default()
            },
            observer: Arc::new(Watched {
                counts: metrics.hydra_observer(),
                status,
                skew: Status::hydra_skew,
            }),
            proxies: settings.proxies.clone(),
            ..HttpSettings::new(choice.timeout)
        },
    };
    Hydra::new(settings).map_err(|error| {
        Refusal::new(
            ExitClass::Usage,
            "the settings of Hydra can't be used",
            "check HYDRA__ADMIN_URL and HYDRA__PUBLIC_URL",
        )
        .because_of(&error)
    })
}

/// Counts a server's requests and minds its clock.
struct Watched {
    counts: Arc<dyn RequestObserver>,
    status: Arc<Status>,
    skew: fn(&Status, i64),
}

impl RequestObserver for Watched {
    fn observe(&self, operation: &'static str, outcome: &'static str) {
        self.counts.observe(operation, outcome);
    }

    fn skew(&self, seconds: i64) {
        (self.skew)(&self.status, seconds);
    }
}

fn client_profile(settings: &Settings, choice: &HydraChoice, url: &str) -> ClientProfile {
    ClientProfile {
        scopes: choice.scopes.clone(),
        audiences: choice.audiences.clone(),
        agent_url: url.to_owned(),
        agent_url_is_explicit: settings.deployment_url.is_some(),
        auto_register: choice.auto_register,
    }
}
