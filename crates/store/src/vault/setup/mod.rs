//! What an administrator sets up in Vault for one agent: mount, policy, login method, role, entity and alias.
//!
//! Observe, plan, apply: `plan` decides, from what was observed, what there is to do; a plan with a conflict is not
//! begun. Every step can be repeated. What others may need is left: a policy, a role or an alias that is not as it would be
//! made is a conflict, but for one more account of a role's own namespace.

mod observe;
mod plan;

use super::{VaultStore, lifetime, meaning, path_segments};
use crate::{Outage, RecordName};
use bindu_http_client::Method;
use bindu_identity::{AgentId, Did};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::time::Duration;

pub use plan::{Step, StepState};

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

/// Why Vault could not be observed or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultSetupError {
    /// The administrator's token may not.
    #[error("the token may not do {operation} on {path}")]
    Denied {
        /// What was tried.
        operation: &'static str,
        /// The path of the API.
        path: String,
    },
    /// Vault does not take what it was given.
    #[error("Vault does not take it at {path}: {problem}")]
    Refused {
        /// The path of the API.
        path: String,
        /// Vault's own words.
        problem: String,
    },
    /// There was no answer of Vault's, or it is in trouble.
    #[error("Vault could not be asked")]
    Unavailable(#[source] Outage),
}

impl VaultStore {
    /// What there is to do, changing nothing.
    ///
    /// # Errors
    /// Where Vault can't be observed.
    pub async fn plan_setup(&self, wanted: &VaultSetup) -> Result<Vec<Step>, VaultSetupError> {
        let observed = self.observe_setup(wanted).await?;
        Ok(plan::plan(wanted, &observed, &self.place(wanted)))
    }

    /// Does what a plan says, one step after the other, and says what is there then. Where one fails, those before it are
    /// done; the next time goes on from there.
    ///
    /// # Errors
    /// Where Vault can't be observed or does not take a step.
    pub async fn apply_setup(
        &self,
        wanted: &VaultSetup,
        steps: &[Step],
    ) -> Result<Vec<Step>, VaultSetupError> {
        for change in steps.iter().filter_map(|step| step.change.as_ref()) {
            match change {
                plan::Change::Post(path, body) => {
                    self.administer(Method::POST, path, Some(body.clone())).await?;
                }
                plan::Change::Alias => self.write_alias(wanted).await?,
            }
        }
        let seen = self.plan_setup(wanted).await?;
        Ok(plan::outcome(steps, seen))
    }

    /// By now the method, the role and the entity are there, and so are their ids.
    async fn write_alias(&self, wanted: &VaultSetup) -> Result<(), VaultSetupError> {
        let observed = self.observe_setup(wanted).await?;
        let path = "identity/entity-alias";
        // Somebody may have been faster since the plan.
        let step = wanted.login.as_ref().map(|login| plan::alias(login, &observed));
        if let Some(step) = step.filter(|step| step.state == StepState::Conflict) {
            return Err(VaultSetupError::Refused { path: path.to_owned(), problem: step.about });
        }
        let (Some(method), Some(entity), Some(name)) =
            (&observed.method, &observed.entity, &observed.alias_name)
        else {
            let problem = "the login method, the role or the entity is not there any more".to_owned();
            return Err(VaultSetupError::Refused { path: path.to_owned(), problem });
        };
        let mut body = json!({"name": name, "canonical_id": entity.id, "mount_accessor": method.accessor});
        // An entity has one alias at a mount: the one that it has gets the other name.
        if let (Some(alias), Some(members)) = (entity.alias_at(&method.accessor), body.as_object_mut()) {
            members.insert("id".to_owned(), json!(alias.id));
        }
        self.administer(Method::POST, path, Some(body)).await.map(drop)
    }

    /// Sends a request of an administrator's. No answer's data is none: nothing there, or nothing to say.
    async fn administer(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Option<Value>, VaultSetupError> {
        let operation = if method == Method::GET { "read" } else { "create or update" };
        let url = self.url(path.split('/'));
        let body = body.map(|body| serde_json::to_vec(&body).expect("JSON serialises"));
        let reply = self.send("set_up", method, url, body).await.map_err(VaultSetupError::Unavailable)?;
        match meaning::of_administration(&reply).map_err(VaultSetupError::Unavailable)? {
            meaning::Administration::Done(data) => Ok(data),
            meaning::Administration::PolicyDenies => {
                self.token_is_alive().await.map_err(VaultSetupError::Unavailable)?;
                Err(VaultSetupError::Denied { operation, path: path.to_owned() })
            }
            meaning::Administration::Refused(problem) => {
                Err(VaultSetupError::Refused { path: path.to_owned(), problem })
            }
        }
    }

    fn place(&self, wanted: &VaultSetup) -> plan::Place {
        plan::Place {
            mount: path_segments(&self.settings.mount).join("/"),
            prefix: path_segments(&self.settings.prefix),
            metadata: wanted.records().map(|name| self.api_segments("metadata", &name).join("/")),
        }
    }
}

impl VaultSetup {
    fn records(&self) -> [RecordName; 2] {
        [RecordName::Keys(self.agent), RecordName::Credentials(self.did.clone())]
    }

    fn entity_name(&self) -> String {
        format!("bindu-{}", self.agent)
    }
}
