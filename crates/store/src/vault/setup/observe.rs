//! What is there of a setup. Reads only.

use super::{VaultSetup, VaultSetupError, VaultStore, WhoLogsIn, meaning, plan};
use bindu_http_client::Method;
use serde_json::{Map, Value, json};

/// What is there.
pub(super) struct Observed {
    pub(super) mount: Option<Mount>,
    /// Another mount that its path is below of, or above.
    pub(super) in_the_way: Option<String>,
    pub(super) policy: Option<String>,
    pub(super) method: Option<AuthMethod>,
    pub(super) is_configured: bool,
    pub(super) role: Option<Map<String, Value>>,
    pub(super) entity: Option<Entity>,
    /// By which name Vault knows who logs in; an AppRole's is known once it is there.
    pub(super) alias_name: Option<String>,
    /// Whose that name is.
    pub(super) alias_owner: Option<Entity>,
    /// Whether the two records ask for a version.
    pub(super) protected: [bool; 2],
    /// How long new versions last, if not for ever: in the mount, and of the two records. As far as the token may see it.
    pub(super) lifetimes: (Option<String>, [Option<String>; 2]),
}

/// A secrets engine.
pub(super) struct Mount {
    pub(super) kind: String,
    pub(super) version: Option<String>,
}

impl Mount {
    pub(super) fn is_kv2(&self) -> bool {
        self.kind == "kv" && self.version.as_deref() == Some("2")
    }
}

/// A login method.
pub(super) struct AuthMethod {
    pub(super) kind: String,
    pub(super) accessor: String,
}

/// Who Vault takes a login for.
pub(super) struct Entity {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) metadata: Map<String, Value>,
    pub(super) policies: Vec<String>,
    pub(super) is_in_a_group: bool,
    pub(super) is_disabled: bool,
    pub(super) aliases: Vec<Alias>,
}

/// An entity's name at a login method.
pub(super) struct Alias {
    pub(super) id: String,
    pub(super) name: String,
    accessor: String,
}

impl Entity {
    fn of(data: &Value) -> Self {
        let aliases = data.get("aliases").and_then(Value::as_array);
        let alias = |alias: &Value| Alias {
            id: text(alias, "id"),
            name: text(alias, "name"),
            accessor: text(alias, "mount_accessor"),
        };
        let list = |name: &str| data.get(name).and_then(Value::as_array).into_iter().flatten();
        Self {
            id: text(data, "id"),
            name: text(data, "name"),
            metadata: data.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default(),
            policies: list("policies").filter_map(Value::as_str).map(str::to_owned).collect(),
            is_in_a_group: list("group_ids").next().is_some(),
            is_disabled: data.get("disabled").and_then(Value::as_bool).unwrap_or_default(),
            aliases: aliases.into_iter().flatten().map(alias).collect(),
        }
    }

    pub(super) fn alias_at(&self, accessor: &str) -> Option<&Alias> {
        self.aliases.iter().find(|alias| alias.accessor == accessor)
    }
}

impl VaultStore {
    pub(super) async fn observe_setup(&self, wanted: &VaultSetup) -> Result<Observed, VaultSetupError> {
        let place = self.place(wanted);
        let read = async |path: &str| self.administer(Method::GET, path, None).await;
        let mounts = read("sys/mounts").await?.unwrap_or_default();
        let mount = mounts.get(format!("{}/", place.mount)).map(|mount| Mount {
            kind: text(mount, "type"),
            version: mount.pointer("/options/version").and_then(Value::as_str).map(str::to_owned),
        });
        let wanted_path = format!("{}/", place.mount);
        let in_the_way = mounts.as_object().into_iter().flat_map(Map::keys).find(|path| {
            let is_one_of_two = wanted_path.starts_with(path.as_str()) || path.starts_with(&wanted_path);
            path.ends_with('/') && **path != wanted_path && is_one_of_two
        });
        let policy = read(&plan::policy_path(&wanted.policy_name)).await?;
        let (mut protected, mut lifetimes) = ([false; 2], (None, [None, None]));
        if mount.as_ref().is_some_and(Mount::is_kv2) {
            let may_read = async |path: &str| match read(path).await {
                // Whoever only sets up policies and logins may not look into the mount.
                Err(VaultSetupError::Denied { .. }) if !wanted.protect => Ok(None),
                answer => answer,
            };
            let config = may_read(&format!("{}/config", place.mount)).await?;
            lifetimes.0 = config.as_ref().and_then(meaning::lifetime);
            for (number, path) in place.metadata.iter().enumerate() {
                let settings = may_read(path).await?.unwrap_or_default();
                let is_protected = settings.get("cas_required").and_then(Value::as_bool).unwrap_or_default();
                if let (Some(protected), Some(lifetime)) =
                    (protected.get_mut(number), lifetimes.1.get_mut(number))
                {
                    (*protected, *lifetime) = (is_protected, meaning::lifetime(&settings));
                }
            }
        }
        let mut observed = Observed {
            mount,
            in_the_way: in_the_way.map(|path| path.trim_end_matches('/').to_owned()),
            policy: policy.map(|data| text(&data, "policy")),
            method: None,
            is_configured: false,
            role: None,
            entity: None,
            alias_name: None,
            alias_owner: None,
            protected,
            lifetimes,
        };
        self.observe_login(wanted, &mut observed).await?;
        Ok(observed)
    }

    async fn observe_login(
        &self,
        wanted: &VaultSetup,
        observed: &mut Observed,
    ) -> Result<(), VaultSetupError> {
        let Some(login) = &wanted.login else { return Ok(()) };
        let read = async |path: &str| self.administer(Method::GET, path, None).await;
        let entity = read(&format!("identity/entity/name/{}", wanted.entity_name())).await?;
        observed.entity = entity.as_ref().map(Entity::of);
        observed.alias_name = match &login.who {
            WhoLogsIn::ServiceAccount { namespace, name, .. } => Some(format!("{namespace}/{name}")),
            WhoLogsIn::Subject(subject) => Some(subject.clone()),
            WhoLogsIn::Certificate { common_name, .. } => Some(common_name.clone()),
            WhoLogsIn::AppRole => None,
        };
        let methods = read("sys/auth").await?.unwrap_or_default();
        observed.method = methods
            .get(format!("{}/", login.mount))
            .map(|method| AuthMethod { kind: text(method, "type"), accessor: text(method, "accessor") });
        let Some(method) = observed.method.as_ref().filter(|method| method.kind == login.who.method()) else {
            return Ok(());
        };
        let accessor = method.accessor.clone();
        observed.is_configured = match login.who {
            WhoLogsIn::ServiceAccount { .. } | WhoLogsIn::Subject(_) => {
                read(&plan::config_path(login)).await?.is_some()
            }
            WhoLogsIn::AppRole | WhoLogsIn::Certificate { .. } => true,
        };
        let role = plan::role_path(login);
        observed.role = read(&role).await?.and_then(|data| data.as_object().cloned());
        if matches!(login.who, WhoLogsIn::AppRole) && observed.role.is_some() {
            let id = read(&format!("{role}/role-id")).await?;
            observed.alias_name = id.map(|data| text(&data, "role_id"));
        }
        if let Some(name) = &observed.alias_name {
            let body = json!({"alias_name": name, "alias_mount_accessor": accessor});
            let owner = self.administer(Method::POST, "identity/lookup/entity", Some(body)).await?;
            observed.alias_owner = owner.as_ref().map(Entity::of);
        }
        Ok(())
    }
}

fn text(data: &Value, name: &str) -> String {
    data.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
