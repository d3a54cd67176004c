//! OpenBao in its development mode.

use super::process::{ServerProcess, until_ok_by};
use crate::{http, install, ports};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A running OpenBao with a KV v2 mount at `secret`.
pub struct OpenBao {
    /// Its address.
    pub url: String,
    /// Its root token.
    pub token: String,
    authority: Option<Vec<u8>>,
    _process: ServerProcess,
    directory: TempDir,
}

impl OpenBao {
    /// Starts one.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one that speaks TLS. Its authority, and a certificate that this authority has signed, are files.
    pub async fn start_with_tls() -> Self {
        Self::start_with(&["-dev-tls"]).await
    }

    /// A file of one that speaks TLS: `vault-ca.pem`, `vault-cert.pem`, `vault-key.pem`. The certificate is good for clients
    /// as well.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts one that speaks plain http, and TLS with each of these certificates and keys (PEM files) besides; their
    /// addresses.
    pub async fn start_showing(certificates: &[(&Path, &Path)]) -> (Self, Vec<String>) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (mut config, mut urls) = (String::new(), Vec::new());
        for (certificate, key) in certificates {
            let address = format!("127.0.0.1:{}", ports::free_pair());
            let _ = writeln!(
                config,
                "listener \"tcp\" {{\n address = \"{address}\"\n tls_cert_file = {certificate:?}\n tls_key_file = {key:?}\n}}"
            );
            urls.push(format!("https://{address}"));
        }
        let path = directory.path().join("listeners.hcl");
        std::fs::write(&path, config).expect("a file in a temporary directory");
        (Self::start_in(directory, &[&format!("-config={}", path.display())]).await, urls)
    }

    async fn start_with(more: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary directory"), more).await
    }

    async fn start_in(directory: TempDir, more: &[&str]) -> Self {
        let port = ports::free_pair();
        let token = format!("root-{:032x}", rand::random::<u128>());
        let is_tls = more.contains(&"-dev-tls");
        let mut arguments = vec![
            "server".to_owned(),
            "-dev".to_owned(),
            "-dev-no-store-token".to_owned(),
            format!("-dev-root-token-id={token}"),
            format!("-dev-listen-address=127.0.0.1:{port}"),
        ];
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        if is_tls {
            arguments.push(format!("-dev-tls-cert-dir={}", directory.path().display()));
        }
        let log = directory.path().join("openbao.log");
        let process = ServerProcess::start(&install::openbao(), &arguments, &[], &log);
        let url = format!("http{}://127.0.0.1:{port}", if is_tls { "s" } else { "" });
        let authority = if is_tls {
            let file = directory.path().join("vault-ca.pem");
            Some(http::eventually("its authority is written", async || std::fs::read(&file).ok()).await)
        } else {
            None
        };
        until_ok_by(&client(authority.as_deref()), &format!("{url}/v1/sys/health"), &log).await;
        let bao = Self { url, token, authority, _process: process, directory };
        // The mount comes up a moment after the server.
        http::eventually("the mount is there", async || {
            let (status, _) = bao.call("GET", "secret/config", None).await;
            (status == 200).then_some(())
        })
        .await;
        bao
    }

    /// Sends a request with the root token.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> http::Answer {
        self.call_as(&self.token, method, path, body).await
    }

    /// Sends a request with a token.
    pub async fn call_as(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> http::Answer {
        let method = method.parse().expect("a method");
        let request = client(self.authority.as_deref())
            .request(method, format!("{}/v1/{path}", self.url))
            .header("X-Vault-Token", token);
        let request = match body {
            Some(body) => request.body(body.to_string()),
            None => request,
        };
        http::answer(request).await
    }

    /// The current version of a record and its fields.
    pub async fn record(&self, path: &str) -> Option<(u64, Value)> {
        let (status, body) = self.call("GET", &format!("secret/data/bindu/{path}"), None).await;
        (status == 200).then(|| {
            (body["data"]["metadata"]["version"].as_u64().unwrap_or(0), body["data"]["data"].clone())
        })
    }

    /// Writes a record as Python Bindu does, without looking.
    pub async fn put(&self, path: &str, fields: &Value) {
        let (status, body) =
            self.call("POST", &format!("secret/data/bindu/{path}"), Some(json!({"data": fields}))).await;
        assert_eq!(status, 200, "{body}");
    }

    /// Makes a policy and a token that has it alone.
    pub async fn token_with(&self, policy: &str) -> String {
        let name = format!("p{:016x}", rand::random::<u64>());
        let (status, body) =
            self.call("POST", &format!("sys/policies/acl/{name}"), Some(json!({"policy": policy}))).await;
        assert_eq!(status, 204, "{body}");
        let (status, body) = self.call("POST", "auth/token/create", Some(json!({"policies": [name]}))).await;
        assert_eq!(status, 200, "{body}");
        body["auth"]["client_token"].as_str().expect("a token").to_owned()
    }
}

/// A new one each time: tests share a server across their runtimes, and a connection ends with its runtime.
fn client(authority: Option<&[u8]>) -> reqwest::Client {
    authority.map_or_else(http::client, http::client_that_trusts)
}
