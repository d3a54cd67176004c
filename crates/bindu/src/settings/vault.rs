//! Settings of Vault: where it is, and how to log in.

use super::{VaultChoice, typed::Reader};
use bindu_http_client::TlsSettings;
use bindu_store::VaultLogin;
use secrecy::SecretString;
use std::path::PathBuf;

/// Where Kubernetes puts a pod's token.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

impl Reader {
    pub(super) fn vault(&mut self) -> Option<VaultChoice> {
        let enabled = self.flag("vault.enabled");
        let skip_verify = self.flag("vault.tls.skip_verify");
        let url = self.url("vault.url");
        if !enabled {
            return None;
        }
        let login = self.login();
        // What is wrong with these two is told where they are read for everybody.
        let (mount, prefix) = (self.text("vault.mount"), self.text("vault.prefix"));
        let tls = self.tls(skip_verify);
        if matches!(login, Some(VaultLogin::Cert { .. })) && tls.identity.is_none() {
            self.mistakes
                .push("`vault.auth` = \"cert\" needs VAULT_CLIENT_CERT and VAULT_CLIENT_KEY".to_owned());
        }
        Some(VaultChoice {
            url: url?,
            login: login?,
            mount,
            prefix,
            namespace: self.optional("vault.namespace"),
            tls,
        })
    }

    fn login(&mut self) -> Option<VaultLogin> {
        let named = self.optional("vault.auth");
        let method = match (&named, self.optional("vault.token"), self.optional("vault.token_file")) {
            (Some(method), ..) => method.clone(),
            (None, Some(_), _) => "token".to_owned(),
            (None, None, Some(_)) => "token_file".to_owned(),
            (None, None, None) => {
                self.mistakes.push(
                    "Vault is enabled without a login: set VAULT__TOKEN or VAULT_TOKEN, or VAULT__AUTH with what it \
                     needs (docs/VAULT.md), or VAULT__ENABLED=false"
                        .to_owned(),
                );
                return None;
            }
        };
        let mount = self.optional("vault.auth_mount").map(|_| self.path("vault.auth_mount"));
        let mount = mount.unwrap_or_else(|| method.clone());
        match method.as_str() {
            "token" => self.given_token().map(VaultLogin::Token),
            "token_file" => self.needed("vault.token_file").map(VaultLogin::TokenFile),
            "kubernetes" => {
                let jwt_file = self.optional("vault.jwt_file");
                let jwt_file = PathBuf::from(jwt_file.unwrap_or_else(|| SERVICE_ACCOUNT_TOKEN.to_owned()));
                let role = self.needed("vault.role").map(|role| role.display().to_string());
                Some(VaultLogin::Kubernetes { mount, role: role?, jwt_file })
            }
            "jwt" => {
                let jwt_file = self.needed("vault.jwt_file");
                Some(VaultLogin::Jwt { mount, role: self.optional("vault.role"), jwt_file: jwt_file? })
            }
            "approle" => {
                let (role, secret) = (self.needed("vault.role_id_file"), self.needed("vault.secret_id_file"));
                let wrapped = self.flag("vault.secret_id_wrapped");
                Some(VaultLogin::AppRole { mount, role_id_file: role?, secret_id_file: secret?, wrapped })
            }
            "cert" => Some(VaultLogin::Cert { mount, role: self.optional("vault.role") }),
            _ => {
                self.mistake("vault.auth", "it must be token, token_file, kubernetes, approle, jwt or cert");
                None
            }
        }
    }

    fn given_token(&mut self) -> Option<SecretString> {
        let token = self.optional("vault.token").map(|token| token.trim().to_owned());
        match &token {
            None => {
                self.mistakes.push("`vault.auth` = \"token\" needs VAULT__TOKEN or VAULT_TOKEN".to_owned())
            }
            Some(token) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                self.mistake("vault.token", "it contains characters that no token has");
                return None;
            }
            Some(_) => {}
        }
        token.map(SecretString::from)
    }

    /// A setting that the login method asks for.
    fn needed(&mut self, key: &str) -> Option<PathBuf> {
        let value = self.optional(key);
        if value.is_none() {
            let setting = super::registry::find(key).and_then(|setting| setting.variables.first());
            let variable = setting.copied().unwrap_or(key);
            self.mistakes.push(format!("this way to log in to Vault needs {variable} (`{key}`)"));
        }
        value.map(PathBuf::from)
    }

    /// Paths only: the files are read again when they change. That they can be read is seen now, with all other mistakes.
    fn tls(&mut self, skip_verify: bool) -> TlsSettings {
        let [file, directory, certificate, key] =
            ["vault.tls.ca_cert", "vault.tls.ca_path", "vault.tls.client_cert", "vault.tls.client_key"]
                .map(|key| self.optional(key).map(PathBuf::from));
        for (key, path) in [
            ("vault.tls.ca_cert", &file),
            ("vault.tls.client_cert", &certificate),
            ("vault.tls.client_key", &key),
        ] {
            // Opened, not read: the key is nobody's business here.
            if let Some(Err(error)) = path.as_ref().map(std::fs::File::open) {
                self.mistake(key, &format!("the file can't be read: {error}"));
            }
        }
        if directory.as_ref().is_some_and(|path| !path.is_dir()) {
            self.mistake("vault.tls.ca_path", "it is no directory");
        }
        if certificate.is_some() != key.is_some() {
            self.mistakes.push("VAULT_CLIENT_CERT and VAULT_CLIENT_KEY go together".to_owned());
        }
        TlsSettings {
            // As the vault CLI has it: the file counts where both are named.
            authorities: file.or(directory),
            identity: certificate.zip(key),
            server_name: self.optional("vault.tls.server_name").map(|name| name.to_ascii_lowercase()),
            dangerous_accept_any_certificate: skip_verify,
        }
    }
}
