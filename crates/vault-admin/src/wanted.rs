//! What is wanted of Vault for one agent.

use bindu_identity::{AgentId, Did};
use bindu_store::RecordName;
use secrecy::SecretString;
use std::time::Duration;

/// What is wanted of Vault for one agent.
#[derive(Clone)]
pub struct VaultSetup {
    /// The agent.
    pub agent: AgentId,
    /// Its DID.
    pub did: Did,
    /// The policy's name.
    pub policy_name: String,
    /// The policy, in HCL.
    pub policy: String,
    /// How it logs in; nobody does where tokens are made by hand.
    pub login: Option<LoginSetup>,
    /// Whether writers of its records must say which version they replace.
    pub protect: bool,
}

/// A role that an agent logs in by.
#[derive(Clone)]
pub struct LoginSetup {
    /// Where the method is mounted, without `auth/`.
    pub mount: String,
    /// The role's name.
    pub role: String,
    /// The audience that its JWTs must have.
    pub audience: Option<String>,
    /// How long its tokens last, before they are renewed; an hour for a new role where nobody says.
    pub token_ttl: Option<Duration>,
    /// Who may log in by it.
    pub who: WhoLogsIn,
}

/// Who may log in.
#[derive(Clone)]
pub enum WhoLogsIn {
    /// A service account of Kubernetes.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The API server, for a method that has no configuration yet.
        kubernetes_host: String,
        /// The authority of its certificate (PEM), where Vault does not run in that cluster.
        kubernetes_ca: Option<String>,
        /// By which token Vault asks that server; the one that logs in where there is none.
        token_reviewer: Option<SecretString>,
    },
    /// Whoever has a role id and a secret id.
    AppRole,
    /// The subject of a JWT.
    Subject(String),
    /// A client certificate.
    Certificate {
        /// Its common name.
        common_name: String,
        /// Who signs it (PEM).
        authority: String,
    },
}

impl WhoLogsIn {
    /// The method's type, in Vault's words.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::ServiceAccount { .. } => "kubernetes",
            Self::AppRole => "approle",
            Self::Subject(_) => "jwt",
            Self::Certificate { .. } => "cert",
        }
    }
}

impl VaultSetup {
    pub(crate) fn records(&self) -> [RecordName; 2] {
        [RecordName::Keys(self.agent), RecordName::Credentials(self.did.clone())]
    }

    pub(crate) fn entity_name(&self) -> String {
        format!("bindu-{}", self.agent)
    }
}
