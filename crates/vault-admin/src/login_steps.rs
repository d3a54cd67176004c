//! What there is to do about a login: method, configuration, role, entity, alias. Pure.

use crate::{
    observed::{Entity, Observed},
    paths,
    step::{Change, Step, StepState, conflict, post, there},
    wanted::{LoginSetup, VaultSetup, WhoLogsIn},
};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};
use std::time::Duration;

pub(crate) fn method(login: &LoginSetup, observed: &Observed) -> Step {
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

pub(crate) fn config(login: &LoginSetup, observed: &Observed) -> Option<Step> {
    let (what, path) = ("its configuration", paths::config_path(login));
    match &login.who {
        WhoLogsIn::AppRole | WhoLogsIn::Certificate { .. } => None,
        _ if observed.is_configured => Some(there(what, path, "there is one")),
        WhoLogsIn::Subject(_) => {
            let about = format!(
                "whose keys sign the JWTs is for you to say: `vault write {path} oidc_discovery_url=...`"
            );
            Some(Step { what, path, state: StepState::ByHand, about, change: None })
        }
        WhoLogsIn::ServiceAccount { kubernetes_host, kubernetes_ca, token_reviewer, .. } => {
            let mut body = json!({"kubernetes_host": kubernetes_host});
            if let (Some(ca), Some(members)) = (kubernetes_ca, body.as_object_mut()) {
                // Outside of the cluster there is no service account of Vault's own to review tokens with.
                members.insert("kubernetes_ca_cert".to_owned(), json!(ca));
                members.insert("disable_local_ca_jwt".to_owned(), json!(true));
            }
            if let (Some(token), Some(members)) = (token_reviewer, body.as_object_mut()) {
                members.insert("token_reviewer_jwt".to_owned(), json!(token.expose_secret()));
            }
            let by = match (kubernetes_ca, token_reviewer) {
                (Some(_), None) => ", by the tokens that log in: they must be good for that server, too",
                _ => "",
            };
            let about = format!("reviews tokens at {kubernetes_host}{by}");
            Some(post(what, path, (StepState::Create, about), body))
        }
    }
}

/// Tokens of this long, where nobody has said.
const TOKEN_TTL: Duration = Duration::from_secs(3600);

pub(crate) fn role(wanted: &VaultSetup, login: &LoginSetup, observed: &Observed) -> Step {
    let (what, path) = ("role", paths::role_path(login));
    let ours = role_fields(wanted, login);
    let Some(is) = &observed.role else {
        let mut body = ours;
        let ttl = login.token_ttl.unwrap_or(TOKEN_TTL).as_secs();
        body.insert("token_ttl".to_owned(), json!(ttl));
        let about = format!("{}, tokens of {ttl} s", about_who(&login.who));
        return post(what, path, (StepState::Create, about), Value::Object(body));
    };
    let mut different: Vec<&str> = ours
        .iter()
        .filter(|(field, value)| !same(is.get(*field), value))
        .map(|(field, _)| field.as_str())
        .collect();
    // A second way to name namespaces, which a role of ours does not use.
    let selector = "bound_service_account_namespace_selector";
    if is.get(selector).and_then(Value::as_str).is_some_and(|text| !text.is_empty()) {
        different.push(selector);
    }
    let ttl = login.token_ttl.map(|ttl| json!(ttl.as_secs()));
    if ttl.is_some_and(|ttl| is.get("token_ttl") != Some(&ttl)) {
        different.push("token_ttl");
    }
    match (different.as_slice(), &login.who) {
        ([], who) => there(what, path, about_who(who)),
        // One more account of the same namespace: each pair of both lists is one that somebody has named.
        (["bound_service_account_names"], WhoLogsIn::ServiceAccount { name, .. }) => {
            let mut names =
                is.get("bound_service_account_names").and_then(Value::as_array).cloned().unwrap_or_default();
            if names.iter().any(|is| is == name) {
                return there(what, path, about_who(&login.who));
            }
            names.push(json!(name));
            let mut body = ours;
            body.insert("bound_service_account_names".to_owned(), Value::Array(names));
            post(
                what,
                path,
                (StepState::Change, format!("also {}", about_who(&login.who))),
                Value::Object(body),
            )
        }
        (different, _) => {
            let about = format!(
                "its {} differs, and others may log in by it: --role names another role",
                different.join(", its ")
            );
            conflict(what, path, about)
        }
    }
}

/// A role as it is made. Another one of that name would give this agent what it gives to others, or others what is the
/// agent's; so what differs is a conflict.
fn role_fields(wanted: &VaultSetup, login: &LoginSetup) -> Map<String, Value> {
    let mut fields = vec![("token_policies", json!([wanted.policy_name]))];
    match &login.who {
        WhoLogsIn::ServiceAccount { namespace, name, .. } => {
            fields.push(("bound_service_account_names", json!([name])));
            fields.push(("bound_service_account_namespaces", json!([namespace])));
            // By uid, an account that is made again would be another entity, with rights to nothing.
            fields.push(("alias_name_source", json!("serviceaccount_name")));
            fields.extend(login.audience.as_ref().map(|audience| ("audience", json!(audience))));
        }
        WhoLogsIn::Subject(subject) => {
            fields.push(("role_type", json!("jwt")));
            fields.push(("user_claim", json!("sub")));
            fields.push(("bound_subject", json!(subject)));
            fields.extend(login.audience.as_ref().map(|audience| ("bound_audiences", json!([audience]))));
        }
        WhoLogsIn::Certificate { common_name, authority } => {
            fields.push(("allowed_common_names", json!([common_name])));
            fields.push(("certificate", json!(authority.trim())));
        }
        WhoLogsIn::AppRole => fields.push(("bind_secret_id", json!(true))),
    }
    fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect()
}

fn same(is: Option<&Value>, wanted: &Value) -> bool {
    match (is, wanted.as_str()) {
        (Some(Value::String(is)), Some(wanted)) => is.trim() == wanted.trim(),
        (is, _) => is == Some(wanted),
    }
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

pub(crate) fn entity(wanted: &VaultSetup, observed: &Observed) -> Step {
    let (what, name) = ("entity", wanted.entity_name());
    let path = format!("identity/entity/name/{name}");
    let is = observed.entity.as_ref();
    if is.is_some_and(|entity| entity.is_disabled) {
        return conflict(what, path.clone(), format!("it is disabled: `vault write {path} disabled=false`"));
    }
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
        Some(entity) if missing.is_empty() && !entity.policies.is_empty() => {
            let about =
                format!("{}; it has other policies of its own: {}", wanted.did, entity.policies.join(", "));
            return there(what, path, about);
        }
        Some(_) if missing.is_empty() => return there(what, path, wanted.did.to_string()),
        Some(_) => (StepState::Change, format!("metadata: {}", missing.join(", "))),
    };
    post(what, path, (state, about), json!({"metadata": merged}))
}

pub(crate) fn alias(login: &LoginSetup, observed: &Observed) -> Step {
    let (what, path) = ("alias", "identity/entity-alias".to_owned());
    let name = observed.alias_name.clone().unwrap_or_else(|| "the role's id".to_owned());
    let at = format!("{name} at auth/{}", login.mount);
    let ours = observed.entity.as_ref();
    let change = |state, about| Step { what, path: path.clone(), state, about, change: Some(Change::Alias) };
    // An entity has one alias at a mount.
    let before = ours.zip(observed.method.as_ref());
    let before = before.and_then(|(entity, method)| entity.alias_at(&method.accessor));
    match (&observed.alias_owner, before) {
        (Some(owner), _) if ours.is_some_and(|ours| ours.id == owner.id) => there(what, path, at),
        (Some(owner), None) if is_made_by_a_login(owner) => {
            change(StepState::Change, format!("{at}: moves here from {}, which a login has made", owner.name))
        }
        (Some(owner), Some(_)) if is_made_by_a_login(owner) => {
            let about = format!(
                "{at} has logged in before, and this agent has another name there: `vault delete \
                 identity/entity/id/{}`, which a login has made, and run this again",
                owner.id
            );
            conflict(what, path, about)
        }
        (Some(owner), _) => {
            let whose = owner.metadata.get("bindu_agent_id").and_then(Value::as_str);
            let whose =
                whose.map_or_else(|| format!("the entity {}", owner.name), |id| format!("the agent {id}"));
            conflict(what, path, format!("{at} is {whose}'s: each agent logs in by a name of its own"))
        }
        (None, Some(alias)) => change(
            StepState::Change,
            format!("{at}, instead of {}: who logs in by that is nobody then", alias.name),
        ),
        (None, None) => change(StepState::Create, at),
    }
}

/// Vault makes an entity for whoever logs in without one: named `entity_` and eight hex digits, with nothing of its own.
fn is_made_by_a_login(entity: &Entity) -> bool {
    entity.name.starts_with("entity_")
        && entity.metadata.is_empty()
        && entity.policies.is_empty()
        && !entity.is_in_a_group
        && entity.aliases.len() == 1
}
