//! Where the parts of a set-up are in Vault's API.

use crate::wanted::{LoginSetup, WhoLogsIn};

pub(crate) fn policy_path(name: &str) -> String {
    format!("sys/policies/acl/{name}")
}

pub(crate) fn config_path(login: &LoginSetup) -> String {
    format!("auth/{}/config", login.mount)
}

pub(crate) fn role_path(login: &LoginSetup) -> String {
    let folder = if matches!(login.who, WhoLogsIn::Certificate { .. }) { "certs" } else { "role" };
    format!("auth/{}/{folder}/{}", login.mount, login.role)
}
