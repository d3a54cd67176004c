//! Ory Hydra.

use super::process::{ServerProcess, until_ok};
use crate::{http, install, ports};
use serde_json::{Value, json};
use std::process::Command;
use tempfile::TempDir;

/// A running Hydra.
pub struct Hydra {
    /// Its admin port.
    pub admin_url: String,
    /// Its public port.
    pub public_url: String,
    _process: ServerProcess,
    _directory: TempDir,
}

impl Hydra {
    /// Starts one with a database of its own, in a file: Hydra's database in memory is gone for good when a client breaks
    /// off at the wrong moment.
    pub async fn start() -> Self {
        Self::start_with("opaque").await
    }

    /// The same, giving out JWTs.
    pub async fn start_with_jwts() -> Self {
        Self::start_with("jwt").await
    }

    async fn start_with(strategy: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("hydra.sqlite");
        let dsn = format!("sqlite://{}?_fk=true&mode=rwc&_journal_mode=WAL&_synchronous=OFF", file.display());
        Self::start_in(directory, &dsn, strategy).await
    }

    /// Starts one on this database.
    pub async fn start_on(dsn: &str) -> Self {
        let dsn = format!("{dsn}&max_conns=8");
        Self::start_in(tempfile::tempdir().expect("a temporary directory"), &dsn, "opaque").await
    }

    async fn start_in(directory: TempDir, dsn: &str, strategy: &str) -> Self {
        let migrated = Command::new(install::hydra())
            .args(["migrate", "sql", "up", "-e", "--yes"])
            .envs([("DSN", dsn), ("SQA_OPT_OUT", "true")])
            .output()
            .expect("Hydra can be run");
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        let public_port = ports::free_pair();
        let admin_port = public_port + 1;
        let (public_url, admin_url) =
            (format!("http://127.0.0.1:{public_port}"), format!("http://127.0.0.1:{admin_port}"));
        // JSON is YAML.
        let config = json!({
            "dsn": dsn,
            "serve": {
                "public": {"host": "127.0.0.1", "port": public_port},
                "admin": {"host": "127.0.0.1", "port": admin_port},
            },
            "urls": {"self": {"issuer": public_url}},
            "secrets": {"system": ["a secret for tests and nothing else"]},
            "strategies": {"access_token": strategy},
            "log": {"level": "error"},
        });
        let path = directory.path().join("hydra.yaml");
        std::fs::write(&path, config.to_string()).expect("a file in a temporary directory");
        let arguments = ["serve", "all", "--dev", "-c"].map(str::to_owned).to_vec();
        let arguments = [arguments, vec![path.display().to_string()]].concat();
        let log = directory.path().join("hydra.log");
        let process = ServerProcess::start(&install::hydra(), &arguments, &[("SQA_OPT_OUT", "true")], &log);
        until_ok(&format!("{admin_url}/health/ready"), &log).await;
        // It makes its keys when it is first asked for them; on a busy machine that takes longer than it gives itself for an
        // answer, and it closes the connection.
        until_ok(&format!("{public_url}/.well-known/openid-configuration"), &log).await;
        until_ok(&format!("{public_url}/.well-known/jwks.json"), &log).await;
        Self { admin_url, public_url, _process: process, _directory: directory }
    }

    /// A client, or `None`.
    pub async fn client(&self, id: &str) -> Option<Value> {
        let (status, body) = http::get(&format!("{}/admin/clients/{id}", self.admin_url)).await;
        (status == 200).then_some(body)
    }

    /// The ids of all clients; good for fewer than a page of them.
    pub async fn clients(&self) -> Vec<String> {
        let (status, body) = http::get(&format!("{}/admin/clients?page_size=1000", self.admin_url)).await;
        assert_eq!(status, 200, "{body}");
        let clients = body.as_array().expect("a list");
        clients.iter().filter_map(|client| client["client_id"].as_str()).map(str::to_owned).collect()
    }

    /// Registers a client.
    pub async fn register(&self, client: &Value) {
        let (status, body) = http::post(&format!("{}/admin/clients", self.admin_url), client).await;
        assert_eq!(status, 201, "{body}");
    }

    /// Asks for a token with all of an agent's scopes.
    pub async fn token(&self, client_id: &str, secret: &str) -> http::Answer {
        self.token_with(client_id, secret, &[("scope", "openid offline agent:read agent:write")]).await
    }

    /// Asks for a token with these fields of the form.
    pub async fn token_with(&self, client_id: &str, secret: &str, fields: &[(&str, &str)]) -> http::Answer {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs([
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_secret", secret),
        ]);
        let form = form.extend_pairs(fields).finish();
        let request = http::client()
            .post(format!("{}/oauth2/token", self.public_url))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form);
        http::answer(request).await
    }

    /// Calls off all tokens of a client.
    pub async fn revoke_all(&self, client_id: &str) {
        let id: String = url::form_urlencoded::byte_serialize(client_id.as_bytes()).collect();
        let url = format!("{}/admin/oauth2/tokens?client_id={id}", self.admin_url);
        let (status, body) = http::answer(http::client().delete(url)).await;
        assert_eq!(status, 204, "{body}");
    }

    /// Changes a client by a JSON Patch.
    pub async fn patch(&self, client_id: &str, patch: &Value) {
        let url = format!("{}/admin/clients/{client_id}", self.admin_url);
        let (status, body) = http::answer(http::client().patch(url).body(patch.to_string())).await;
        assert_eq!(status, 200, "{body}");
    }

    /// The settings of an agent that uses this Hydra.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("AUTH__ENABLED", "true"),
            ("HYDRA__ADMIN_URL", &self.admin_url),
            ("HYDRA__PUBLIC_URL", &self.public_url),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}
