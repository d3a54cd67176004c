//! What is there of a set-up.

use crate::wanted::VaultSetup;
use bindu_store::VaultStore;
use serde_json::{Map, Value};

/// Where the records are.
pub(crate) struct Place {
    pub(crate) mount: String,
    pub(crate) prefix: String,
    pub(crate) metadata: [String; 2],
}

impl Place {
    pub(crate) fn of(vault: &VaultStore, wanted: &VaultSetup) -> Self {
        let metadata = wanted.records().map(|name| vault.metadata_path(&name));
        Self { mount: vault.mount(), prefix: vault.prefix(), metadata }
    }
}

/// What is there.
pub(crate) struct Observed {
    pub(crate) mount: Option<Mount>,
    /// Another mount that its path is below of, or above.
    pub(crate) in_the_way: Option<String>,
    pub(crate) policy: Option<String>,
    pub(crate) method: Option<AuthMethod>,
    pub(crate) is_configured: bool,
    pub(crate) role: Option<Map<String, Value>>,
    pub(crate) entity: Option<Entity>,
    /// By which name Vault knows who logs in; an AppRole's is known once it is there.
    pub(crate) alias_name: Option<String>,
    /// Whose that name is.
    pub(crate) alias_owner: Option<Entity>,
    /// Whether the two records ask for a version.
    pub(crate) protected: [bool; 2],
    /// How long new versions last, if not for ever: in the mount, and of the two records. As far as the token may see it.
    pub(crate) lifetimes: (Option<String>, [Option<String>; 2]),
}

/// A secrets engine.
pub(crate) struct Mount {
    pub(crate) kind: String,
    pub(crate) version: Option<String>,
}

impl Mount {
    pub(crate) fn is_kv2(&self) -> bool {
        self.kind == "kv" && self.version.as_deref() == Some("2")
    }
}

/// A login method.
pub(crate) struct AuthMethod {
    pub(crate) kind: String,
    pub(crate) accessor: String,
}

/// Who Vault takes a login for.
pub(crate) struct Entity {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) policies: Vec<String>,
    pub(crate) is_in_a_group: bool,
    pub(crate) is_disabled: bool,
    pub(crate) aliases: Vec<Alias>,
}

/// An entity's name at a login method.
pub(crate) struct Alias {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) accessor: String,
}

impl Entity {
    pub(crate) fn of(data: &Value) -> Self {
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

    pub(crate) fn alias_at(&self, accessor: &str) -> Option<&Alias> {
        self.aliases.iter().find(|alias| alias.accessor == accessor)
    }
}

pub(crate) fn text(data: &Value, name: &str) -> String {
    data.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
