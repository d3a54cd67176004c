//! Observes a set-up. Reads only.

use crate::{
    observed::{AuthMethod, Entity, Mount, Observed, Place, text},
    paths,
    wanted::{VaultSetup, WhoLogsIn},
};
use bindu_store::{AdministrationError, VaultStore, kv2};
use serde_json::{Map, Value, json};

pub(crate) async fn observe(
    vault: &VaultStore,
    wanted: &VaultSetup,
) -> Result<Observed, AdministrationError> {
    let place = Place::of(vault, wanted);
    let read = async |path: &str| vault.read_path(path).await;
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
    let policy = read(&paths::policy_path(&wanted.policy_name)).await?;
    let (mut protected, mut lifetimes) = ([false; 2], (None, [None, None]));
    if mount.as_ref().is_some_and(Mount::is_kv2) {
        let may_read = async |path: &str| match read(path).await {
            // Whoever only sets up policies and logins may not look into the mount.
            Err(AdministrationError::Denied { .. }) if !wanted.protect => Ok(None),
            answer => answer,
        };
        let config = may_read(&format!("{}/config", place.mount)).await?;
        lifetimes.0 = config.as_ref().and_then(kv2::lifetime);
        for (number, path) in place.metadata.iter().enumerate() {
            let settings = may_read(path).await?.unwrap_or_default();
            let is_protected = settings.get("cas_required").and_then(Value::as_bool).unwrap_or_default();
            if let (Some(protected), Some(lifetime)) =
                (protected.get_mut(number), lifetimes.1.get_mut(number))
            {
                (*protected, *lifetime) = (is_protected, kv2::lifetime(&settings));
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
    observe_login(vault, wanted, &mut observed).await?;
    Ok(observed)
}

async fn observe_login(
    vault: &VaultStore,
    wanted: &VaultSetup,
    observed: &mut Observed,
) -> Result<(), AdministrationError> {
    let Some(login) = &wanted.login else { return Ok(()) };
    let read = async |path: &str| vault.read_path(path).await;
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
            read(&paths::config_path(login)).await?.is_some()
        }
        WhoLogsIn::AppRole | WhoLogsIn::Certificate { .. } => true,
    };
    let role = paths::role_path(login);
    observed.role = read(&role).await?.and_then(|data| data.as_object().cloned());
    if matches!(login.who, WhoLogsIn::AppRole) && observed.role.is_some() {
        let id = read(&format!("{role}/role-id")).await?;
        observed.alias_name = id.map(|data| text(&data, "role_id"));
    }
    if let Some(name) = &observed.alias_name {
        let body = json!({"alias_name": name, "alias_mount_accessor": accessor});
        let owner = vault.post_path("identity/lookup/entity", body).await?;
        observed.alias_owner = owner.as_ref().map(Entity::of);
    }
    Ok(())
}
