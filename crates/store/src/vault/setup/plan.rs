//! What there is to do about a setup, from what was observed. Pure.

use super::{
    LoginSetup, VaultSetup, WhoLogsIn,
    observe::{Entity, Observed},
};
use serde_json::{Map, Value, json};

/// Where the records are.
pub(super) struct Place {
    pub(super) mount: String,
    pub(super) metadata: [String; 2],
}

/// One thing that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What it is.
    pub what: &'static str,
    /// Where it is, in Vault's API.
    pub path: String,
    /// How things stand.
    pub state: StepState,
    /// Why, or what would be done.
    pub about: String,
    pub(super) change: Option<Change>,
}

/// How things stand with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// It is as it is wanted.
    There,
    /// It is missing.
    Create,
    /// It is there, and different.
    Change,
    /// It is somebody else's, or can't be changed: nothing is begun.
    Conflict,
    /// It is missing, and only the reader knows what belongs there.
    ByHand,
    /// It was missing, and is there now.
    Created,
    /// It was different, and is as it is wanted now.
    Changed,
}

impl StepState {
    /// Its word, as it is printed.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Create => "create",
            Self::Change => "change",
            Self::Conflict => "conflict",
            Self::ByHand => "by_hand",
            Self::Created => "created",
            Self::Changed => "changed",
        }
    }
}

impl Step {
    /// The same, seen after it was done.
    pub(super) fn after(mut self, before: &Self) -> Self {
        self.state = match (self.state, before.state) {
            (StepState::There, StepState::Create) => StepState::Created,
            (StepState::There, StepState::Change) => StepState::Changed,
            (state, _) => state,
        };
        self
    }
}

/// What is sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Post(String, Value),
    /// Needs ids that the steps before it make.
    Alias,
}

pub(super) fn policy_path(name: &str) -> String {
    format!("sys/policies/acl/{name}")
}

pub(super) fn config_path(login: &LoginSetup) -> String {
    format!("auth/{}/config", login.mount)
}

pub(super) fn role_path(login: &LoginSetup) -> String {
    let folder = if matches!(login.who, WhoLogsIn::Certificate { .. }) { "certs" } else { "role" };
    format!("auth/{}/{folder}/{}", login.mount, login.role)
}

/// All steps, in the order in which they are taken.
pub(super) fn plan(wanted: &VaultSetup, observed: &Observed, place: &Place) -> Vec<Step> {
    let mut steps = vec![mount(observed, place), policy(wanted, observed)];
    if let Some(login) = &wanted.login {
        steps.push(method(login, observed));
        steps.extend(config(login, observed));
        steps.push(role(wanted, login, observed));
        steps.push(entity(wanted, observed));
        steps.push(alias(wanted, login, observed));
    }
    if wanted.protect {
        steps.extend(place.metadata.iter().zip(observed.protected).map(|(path, is)| protection(path, is)));
    }
    steps
}

fn there(what: &'static str, path: String, about: impl Into<String>) -> Step {
    Step { what, path, state: StepState::There, about: about.into(), change: None }
}

fn conflict(what: &'static str, path: String, about: impl Into<String>) -> Step {
    Step { what, path, state: StepState::Conflict, about: about.into(), change: None }
}

/// A step that is one request to its own path.
fn post(what: &'static str, path: String, (state, about): (StepState, String), body: Value) -> Step {
    Step { what, path: path.clone(), state, about, change: Some(Change::Post(path, body)) }
}

fn mount(observed: &Observed, place: &Place) -> Step {
    let (what, path) = ("mount", format!("sys/mounts/{}", place.mount));
    match &observed.mount {
        None => {
            let body = json!({"type": "kv", "options": {"version": "2"}});
            post(what, path, (StepState::Create, "KV version 2".to_owned()), body)
        }
        Some(mount) if mount.kind == "kv" && mount.version.as_deref() == Some("2") => {
            there(what, path, "KV version 2")
        }
        Some(mount) if mount.kind == "kv" => {
            let mend = format!(
                "it is KV version 1, which has no compare-and-set: `vault kv enable-versioning {}` makes it \
                 version 2, VAULT__MOUNT names another",
                place.mount
            );
            conflict(what, path, mend)
        }
        Some(mount) => {
            conflict(what, path, format!("it is of type {}: VAULT__MOUNT names another", mount.kind))
        }
    }
}

fn policy(wanted: &VaultSetup, observed: &Observed) -> Step {
    let (what, path) = ("policy", policy_path(&wanted.policy_name));
    let body = json!({"policy": wanted.policy});
    match &observed.policy {
        None => post(what, path, (StepState::Create, "as `bindu vault policy` prints it".to_owned()), body),
        Some(text) if text.trim() == wanted.policy.trim() => there(what, path, "the least that is needed"),
        Some(text) if paths(text).any(|path| !wanted.policy.contains(&format!("path \"{path}\""))) => {
            let about = "it has rules for other paths, which others may need: --policy names another policy";
            conflict(what, path, about)
        }
        Some(_) => {
            let about = "its rules are other ones: `vault policy read` shows them".to_owned();
            post(what, path, (StepState::Change, about), body)
        }
    }
}

/// The paths that a policy has rules for.
fn paths(policy: &str) -> impl Iterator<Item = &str> {
    policy.split("path \"").skip(1).filter_map(|rest| rest.split('"').next())
}

fn method(login: &LoginSetup, observed: &Observed) -> Step {
    let (what, path, kind) = ("login method", format!("sys/auth/{}", login.mount), login.who.method());
    match &observed.method {
        None => post(what, path, (StepState::Create, kind.to_owned()), json!({"type": kind})),
        Some(method) if method.kind == kind => there(what, path, kind),
        Some(method) => conflict(
            what,
            path,
            format!("it is of type {}, not {kind}: --auth-mount names another", method.kind),
        ),
    }
}

fn config(login: &LoginSetup, observed: &Observed) -> Option<Step> {
    let (what, path) = ("its configuration", config_path(login));
    match &login.who {
        WhoLogsIn::AppRole | WhoLogsIn::Certificate { .. } => None,
        _ if observed.is_configured => Some(there(what, path, "there is one")),
        WhoLogsIn::Subject(_) => {
            let about = format!(
                "whose keys sign the JWTs is for you to say: `vault write {path} oidc_discovery_url=...`"
            );
            Some(Step { what, path, state: StepState::ByHand, about, change: None })
        }
        WhoLogsIn::ServiceAccount { kubernetes_host, kubernetes_ca, .. } => {
            let mut body = json!({"kubernetes_host": kubernetes_host});
            if let (Some(ca), Some(members)) = (kubernetes_ca, body.as_object_mut()) {
                // Outside of the cluster there is no service account of Vault's own to review tokens with.
                members.insert("kubernetes_ca_cert".to_owned(), json!(ca));
                members.insert("disable_local_ca_jwt".to_owned(), json!(true));
            }
            Some(post(what, path, (StepState::Create, format!("reviews tokens at {kubernetes_host}")), body))
        }
    }
}

fn role(wanted: &VaultSetup, login: &LoginSetup, observed: &Observed) -> Step {
    let (what, path) = ("role", role_path(login));
    let is = observed.role.as_ref();
    let mut lists = vec![("token_policies", wanted.policy_name.clone())];
    let mut fixed = Vec::new();
    match &login.who {
        WhoLogsIn::ServiceAccount { namespace, name, .. } => {
            lists.push(("bound_service_account_names", name.clone()));
            lists.push(("bound_service_account_namespaces", namespace.clone()));
            // By uid, an account that is made again would be another entity, with rights to nothing.
            fixed.push(("alias_name_source", json!("serviceaccount_name")));
            fixed.extend(login.audience.as_ref().map(|audience| ("audience", json!(audience))));
        }
        WhoLogsIn::Subject(subject) => {
            fixed.push(("role_type", json!("jwt")));
            fixed.push(("user_claim", json!("sub")));
            fixed.push(("bound_subject", json!(subject)));
            lists.extend(login.audience.as_ref().map(|audience| ("bound_audiences", audience.clone())));
        }
        WhoLogsIn::Certificate { common_name, authority } => {
            lists.push(("allowed_common_names", common_name.clone()));
            fixed.push(("certificate", json!(authority.trim())));
        }
        WhoLogsIn::AppRole => {}
    }
    for (field, value) in &fixed {
        match is.and_then(|role| role.get(*field)).filter(|is| *is != &json!("")) {
            Some(is) if !same(is, value) => {
                let about = format!(
                    "its {field} is another one, and other agents may log in by it: --role names another role"
                );
                return conflict(what, path, about);
            }
            _ => {}
        }
    }
    let mut body: Map<String, Value> =
        fixed.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
    let mut changed: Vec<&str> = body.keys().filter(|field| lacks(is, field)).map(String::as_str).collect();
    let grown: Vec<(&str, Vec<Value>, bool)> =
        lists.iter().map(|(field, one)| grow(is, field, one)).collect();
    changed.extend(grown.iter().filter(|(_, _, grows)| *grows).map(|(field, ..)| *field));
    let ttl = json!(login.token_ttl.as_secs());
    if is.is_some_and(|role| role.get("token_ttl") != Some(&ttl)) {
        changed.push("token_ttl");
    }
    let about = match is {
        None => format!("{}, tokens of {} s", about_who(&login.who), login.token_ttl.as_secs()),
        Some(_) if changed.is_empty() => return there(what, path, about_who(&login.who)),
        Some(_) => changed.join(", "),
    };
    let state = if is.is_some() { StepState::Change } else { StepState::Create };
    body.extend(grown.into_iter().map(|(field, list, _)| (field.to_owned(), Value::Array(list))));
    body.insert("token_ttl".to_owned(), ttl);
    post(what, path, (state, about), Value::Object(body))
}

fn same(is: &Value, wanted: &Value) -> bool {
    match (is.as_str(), wanted.as_str()) {
        (Some(is), Some(wanted)) => is.trim() == wanted.trim(),
        _ => is == wanted,
    }
}

fn lacks(role: Option<&Map<String, Value>>, field: &str) -> bool {
    role.and_then(|role| role.get(field)).is_none_or(|is| is == "")
}

/// A list of the role's with one more in it; whether it has grown.
fn grow<'a>(role: Option<&Map<String, Value>>, field: &'a str, one: &str) -> (&'a str, Vec<Value>, bool) {
    let mut list = role.and_then(|role| role.get(field)?.as_array()).cloned().unwrap_or_default();
    let has = list.iter().any(|is| is == one || (is == "*" && field.starts_with("bound_service_account")));
    if !has {
        list.push(json!(one));
    }
    (field, list, !has)
}

fn about_who(who: &WhoLogsIn) -> String {
    match who {
        WhoLogsIn::ServiceAccount { namespace, name, .. } => {
            format!("for the service account {namespace}/{name}")
        }
        WhoLogsIn::AppRole => "for whoever has its role id and a secret id".to_owned(),
        WhoLogsIn::Subject(subject) => format!("for JWTs of the subject {subject}"),
        WhoLogsIn::Certificate { common_name, .. } => format!("for certificates of {common_name}"),
    }
}

/// The policy's template reads these two.
fn metadata(wanted: &VaultSetup) -> [(&'static str, String); 2] {
    [("bindu_agent_id", wanted.agent.to_string()), ("bindu_did", wanted.did.to_string())]
}

fn entity(wanted: &VaultSetup, observed: &Observed) -> Step {
    let (what, name) = ("entity", wanted.entity_name());
    let path = format!("identity/entity/name/{name}");
    let is = observed.entity.as_ref();
    let mut merged = is.map(|entity| entity.metadata.clone()).unwrap_or_default();
    let mut missing = Vec::new();
    for (field, value) in metadata(wanted) {
        match merged.insert(field.to_owned(), json!(value)) {
            Some(before) if before != json!(value) => {
                return conflict(what, path, format!("its {field} is {before}, not {value}"));
            }
            Some(_) => {}
            None => missing.push(field),
        }
    }
    let (state, about) = match is {
        None => (StepState::Create, format!("with the agent's id and {}", wanted.did)),
        Some(_) if missing.is_empty() => return there(what, path, wanted.did.to_string()),
        Some(_) => (StepState::Change, format!("metadata: {}", missing.join(", "))),
    };
    post(what, path, (state, about), json!({"metadata": merged}))
}

fn alias(wanted: &VaultSetup, login: &LoginSetup, observed: &Observed) -> Step {
    let (what, path) = ("alias", "identity/entity-alias".to_owned());
    let name = observed.alias_name.clone().unwrap_or_else(|| "the role's id".to_owned());
    let at = format!("{name} at auth/{}", login.mount);
    let ours = observed.entity.as_ref();
    let change = |state, about| Step { what, path: path.clone(), state, about, change: Some(Change::Alias) };
    match &observed.alias_owner {
        Some(owner) if ours.is_some_and(|ours| ours.id == owner.id) => there(what, path, at),
        Some(owner) if is_made_by_a_login(owner) => {
            change(StepState::Change, format!("{at}: moves here from {}, which a login has made", owner.name))
        }
        Some(owner) => {
            let whose = owner.metadata.get("bindu_agent_id").and_then(Value::as_str);
            let whose =
                whose.map_or_else(|| format!("the entity {}", owner.name), |id| format!("the agent {id}"));
            conflict(what, path, format!("{at} is {whose}'s: each agent logs in by a name of its own"))
        }
        None => {
            let before = ours.zip(observed.method.as_ref());
            match before.and_then(|(entity, method)| entity.alias_at(&method.accessor)) {
                Some(_) => change(
                    StepState::Change,
                    format!("{at}: instead of the name that {} has there", wanted.entity_name()),
                ),
                None => change(StepState::Create, at),
            }
        }
    }
}

/// Vault makes an entity for whoever logs in without one: named `entity_` and eight hex digits, without metadata.
fn is_made_by_a_login(entity: &Entity) -> bool {
    entity.name.starts_with("entity_") && entity.metadata.is_empty()
}

fn protection(path: &str, is_protected: bool) -> Step {
    let (what, about) = ("protection", "cas_required: no writer overwrites without saying which version");
    match is_protected {
        true => there(what, path.to_owned(), about),
        false => {
            post(what, path.to_owned(), (StepState::Create, about.to_owned()), json!({"cas_required": true}))
        }
    }
}
