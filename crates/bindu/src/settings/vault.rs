//! Settings of Vault: where it is, and how to log in.

use super::{
    Entry, Origin, Setting,
    reader::Reader,
    registry::{
        SETTINGS, VAULT_AUTH, VAULT_AUTH_MOUNT, VAULT_CACERT, VAULT_CAPATH, VAULT_CLIENT_CERT,
        VAULT_CLIENT_KEY, VAULT_ENABLED, VAULT_JWT_FILE, VAULT_MOUNT, VAULT_NAMESPACE, VAULT_PREFIX,
        VAULT_PROXY, VAULT_REDIRECT_HOSTS, VAULT_ROLE, VAULT_ROLE_ID_FILE, VAULT_SECRET_ID_FILE,
        VAULT_SECRET_ID_WRAPPED, VAULT_SKIP_VERIFY, VAULT_TLS_SERVER_NAME, VAULT_TOKEN, VAULT_TOKEN_FILE,
        VAULT_URL,
    },
};
use bindu_http_client::{ProxySettings, RedirectHost, TlsSettings, named_file};
use bindu_store::VaultLogin;
use std::path::PathBuf;
use url::Url;

/// Where Kubernetes puts a pod's token.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Vault.
#[derive(Clone)]
pub struct VaultChoice {
    /// Its address.
    pub url: Url,
    /// How to log in.
    pub login: VaultLogin,
    /// The mount.
    pub mount: String,
    /// The folder below it.
    pub prefix: String,
    /// The namespace.
    pub namespace: Option<String>,
    /// What TLS goes by.
    pub tls: TlsSettings,
    /// Which proxy it is asked through.
    pub proxies: ProxySettings,
    /// Hosts that a standby may redirect to, beside its own.
    pub redirect_hosts: Vec<RedirectHost>,
}

/// The ways to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginMethod {
    /// A token that was given.
    Token,
    /// One in a file.
    TokenFile,
    /// A pod's service account.
    Kubernetes,
    /// A role id and a secret id.
    AppRole,
    /// A JWT of another issuer.
    Jwt,
    /// The client certificate.
    Cert,
}

impl LoginMethod {
    pub(super) const NAMES: [(&str, Self); 6] = [
        ("token", Self::Token),
        ("token_file", Self::TokenFile),
        ("kubernetes", Self::Kubernetes),
        ("approle", Self::AppRole),
        ("jwt", Self::Jwt),
        ("cert", Self::Cert),
    ];

    /// Where it is mounted if nobody says otherwise.
    fn mount(self) -> &'static str {
        Self::NAMES.iter().find(|(_, method)| *method == self).map(|(name, _)| *name).unwrap_or_default()
    }
}

/// Settings of Vault while nobody says whether it is on.
#[derive(Debug, Clone)]
pub struct VaultDoubt {
    /// The settings, as a person finds them.
    pub names: Vec<String>,
    /// All of them are the `vault` command's own, as an operator's shell has them: not meant for this program, maybe.
    pub is_a_shells: bool,
    /// They name a Vault and how to use it, so that a start could have meant it.
    pub is_usable: bool,
}

impl Reader {
    /// Vault, if it is on. Its other settings are read all the same: a mistake in them is one.
    pub(super) fn vault(&mut self, proxies: &ProxySettings) -> Option<VaultChoice> {
        let enabled = self.value(&VAULT_ENABLED);
        let skip_verify = self.value(&VAULT_SKIP_VERIFY);
        let url = self.get(&VAULT_URL);
        let namespace = self.get(&VAULT_NAMESPACE);
        let redirect_hosts = self.value(&VAULT_REDIRECT_HOSTS);
        let proxies = ProxySettings { all: self.get(&VAULT_PROXY), ..proxies.clone() };
        if !enabled {
            return None;
        }
        let login = self.login();
        let (mount, prefix) = (self.value(&VAULT_MOUNT), self.value(&VAULT_PREFIX));
        let tls = self.tls(skip_verify);
        if matches!(login, Some(VaultLogin::Cert { .. })) && tls.identity.is_none() {
            self.mistakes
                .push("`vault.auth` = \"cert\" needs VAULT_CLIENT_CERT and VAULT_CLIENT_KEY".to_owned());
        }
        Some(VaultChoice { url: url?, login: login?, mount, prefix, namespace, tls, proxies, redirect_hosts })
    }

    /// What is said of Vault while nobody says that it is on or off: nothing, in the good case.
    pub(super) fn vault_doubt(&self) -> Option<VaultDoubt> {
        if self.is_said(&VAULT_ENABLED) {
            return None;
        }
        let vaults = SETTINGS.iter().filter(|setting| setting.key.starts_with("vault."));
        let said: Vec<&Entry> = vaults.copied().filter(|setting| self.is_said(setting)).collect();
        let is_a_shells = |setting: &&Entry| {
            let by_the_commands_name = match self.origin(setting) {
                Origin::Variable(name) | Origin::DotEnv(name) => !name.starts_with("VAULT__"),
                _ => false,
            };
            // A token alone names no Vault, by whichever name.
            by_the_commands_name || setting.key == VAULT_TOKEN.key
        };
        let has = |setting: &Entry| said.iter().any(|said| said.key == setting.key);
        let named = |setting: &&Entry| match self.origin(setting) {
            Origin::Variable(name) => name,
            origin @ Origin::DotEnv(_) => origin.to_string(),
            origin => format!("`{}` in {origin}", setting.key),
        };
        let is_a_shells = said.iter().all(is_a_shells);
        let is_usable = !is_a_shells || (has(&VAULT_URL) && has(&VAULT_TOKEN));
        let names: Vec<String> = said.iter().map(named).collect();
        (!names.is_empty()).then_some(VaultDoubt { names, is_a_shells, is_usable })
    }

    fn login(&mut self) -> Option<VaultLogin> {
        let (token, token_file) = (self.get(&VAULT_TOKEN), self.get(&VAULT_TOKEN_FILE));
        let method = match (self.get(&VAULT_AUTH), &token, &token_file) {
            (Some(method), ..) => method,
            // A method that is none was told.
            (None, ..) if self.is_said(&VAULT_AUTH) => return None,
            (None, Some(_), _) => LoginMethod::Token,
            (None, None, _) if self.is_said(&VAULT_TOKEN) => return None,
            (None, None, Some(_)) => LoginMethod::TokenFile,
            (None, None, None) => {
                self.mistakes.push(
                    "Vault is enabled without a login: set VAULT__TOKEN or VAULT_TOKEN, or VAULT__AUTH with what it \
                     needs (docs/VAULT.md), or VAULT__ENABLED=false"
                        .to_owned(),
                );
                return None;
            }
        };
        let mount = self.get(&VAULT_AUTH_MOUNT).unwrap_or_else(|| method.mount().to_owned());
        let role = self.get(&VAULT_ROLE);
        Some(match method {
            LoginMethod::Token => {
                VaultLogin::Token(self.needed(&VAULT_TOKEN, "VAULT__TOKEN or VAULT_TOKEN")?)
            }
            LoginMethod::TokenFile => {
                VaultLogin::TokenFile(self.needed(&VAULT_TOKEN_FILE, "VAULT__TOKEN_FILE")?)
            }
            LoginMethod::Kubernetes => {
                let jwt_file =
                    self.get(&VAULT_JWT_FILE).unwrap_or_else(|| PathBuf::from(SERVICE_ACCOUNT_TOKEN));
                VaultLogin::Kubernetes { mount, role: self.needed(&VAULT_ROLE, "VAULT__ROLE")?, jwt_file }
            }
            LoginMethod::Jwt => {
                VaultLogin::Jwt { mount, role, jwt_file: self.needed(&VAULT_JWT_FILE, "VAULT__JWT_FILE")? }
            }
            LoginMethod::AppRole => {
                let role_id = self.needed(&VAULT_ROLE_ID_FILE, "VAULT__ROLE_ID_FILE");
                let secret_id = self.needed(&VAULT_SECRET_ID_FILE, "VAULT__SECRET_ID_FILE");
                let wrapped = self.value(&VAULT_SECRET_ID_WRAPPED);
                VaultLogin::AppRole { mount, role_id_file: role_id?, secret_id_file: secret_id?, wrapped }
            }
            LoginMethod::Cert => VaultLogin::Cert { mount, role },
        })
    }

    /// A setting that the login method asks for.
    fn needed<T>(&mut self, setting: &Setting<T>, variables: &str) -> Option<T> {
        let value = self.get(setting);
        if value.is_none() && !self.is_said(setting) {
            self.mistakes.push(format!("this way to log in to Vault needs {variables} (`{}`)", setting.key));
        }
        value
    }

    /// Paths only: the files are read again when they change. That they can be read is seen now, with all other mistakes.
    fn tls(&mut self, skip_verify: bool) -> TlsSettings {
        let mut opened = |setting: &'static Setting<PathBuf>| {
            let path = self.get(setting);
            // Opened, not read: the key is nobody's business here.
            if let Some(Err(error)) = path.as_deref().map(named_file::check) {
                self.mistake(setting, &format!("the file can't be read: {error}"));
            }
            path
        };
        let file = opened(&VAULT_CACERT);
        let (certificate, key) = (opened(&VAULT_CLIENT_CERT), opened(&VAULT_CLIENT_KEY));
        let directory = self.get(&VAULT_CAPATH);
        if directory.as_ref().is_some_and(|path| !path.is_dir()) {
            self.mistake(&VAULT_CAPATH, "it is no directory");
        }
        if certificate.is_some() != key.is_some() {
            self.mistakes.push("VAULT_CLIENT_CERT and VAULT_CLIENT_KEY go together".to_owned());
        }
        TlsSettings {
            // As the vault CLI has it: the file counts where both are named.
            authorities: file.or(directory),
            identity: certificate.zip(key),
            server_name: self.get(&VAULT_TLS_SERVER_NAME).map(|name| name.to_ascii_lowercase()),
            dangerous_accept_any_certificate: skip_verify,
        }
    }
}
