//! `VaultStore`: records in HashiCorp Vault's or OpenBao's KV v2.
//!
//! Owns which requests are sent and in what order; [`meaning`] says what an answer means. One read is one request. The
//! first absence costs two more (is this mount KV v2 at all?), a denial one (is the token alive?). [`login`] says whose
//! token they bear.

mod administration;
pub mod kv2;
mod lifetime;
mod login;
mod meaning;
mod renew;

use crate::{
    Answer, Expected, Fields, Malformed, Outage, OutageReason, Record, RecordName, SecretStore, StoreWarning,
    Version, WriteError,
};
pub use administration::AdministrationError;
use bindu_http_client::{ClientError, HttpClient, HttpSettings, Method, NoReply, Problem, Reply};
pub use login::VaultLogin;
use login::{Refused, Session};
use meaning::{ReadMeaning, WriteMeaning};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;
use url::Url;

/// How to reach the store.
#[derive(Clone)]
pub struct VaultSettings {
    /// The server's address, as `VAULT_ADDR` has it.
    pub url: Url,
    /// How a token is come by.
    pub login: VaultLogin,
    /// The KV v2 mount.
    pub mount: String,
    /// The folder below the mount.
    pub prefix: String,
    /// The namespace, where there is one.
    pub namespace: Option<String>,
    /// Connection settings.
    pub http: HttpSettings,
}

/// A [`SecretStore`] over KV v2.
#[derive(Clone)]
pub struct VaultStore(Arc<Inner>);

/// What a store is made of, shared with a login that goes on when whoever waited for it is gone.
#[doc(hidden)]
pub struct Inner {
    client: HttpClient,
    settings: VaultSettings,
    session: Session,
    /// Whether an answer or the mount's own description has shown it to be KV v2.
    mount_is_known: AtomicBool,
    mount_check: tokio::sync::Mutex<()>,
    ends: lifetime::Ends,
    /// A raft server's `X-Vault-Index`: sent back, so that a standby that lags behind says so instead of "absent".
    index: Mutex<Option<HeaderValue>>,
}

impl std::ops::Deref for VaultStore {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The store's settings can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultStoreError {
    /// The connection settings.
    #[error("no client for Vault can be made")]
    Client(#[from] ClientError),
    /// The URL can't carry a path (`mailto:`, say).
    #[error("the URL of Vault is not an http or https URL")]
    Url,
}

impl VaultStore {
    /// A store with these settings. Opens no connection.
    ///
    /// # Errors
    /// Where the settings can't be used at all.
    pub fn new(settings: VaultSettings) -> Result<Self, VaultStoreError> {
        if !matches!(settings.url.scheme(), "http" | "https") || settings.url.cannot_be_a_base() {
            return Err(VaultStoreError::Url);
        }
        let client = HttpClient::new(&settings.url, &settings.http)?;
        Ok(Self(Arc::new(Inner {
            client,
            session: Session::new(settings.login.clone()),
            settings,
            mount_is_known: AtomicBool::new(false),
            mount_check: tokio::sync::Mutex::new(()),
            ends: lifetime::Ends::default(),
            index: Mutex::new(None),
        })))
    }

    /// A record's path in the API: its `data`, or the `metadata` of all its versions.
    fn api_segments(&self, kind: &str, name: &RecordName) -> Vec<String> {
        let mut segments: Vec<String> = path_segments(&self.settings.mount);
        segments.push(kind.to_owned());
        segments.extend(path_segments(&self.settings.prefix));
        segments.extend(name.segments());
        segments
    }

    fn record_url(&self, name: &RecordName) -> Url {
        let segments = self.api_segments("data", name);
        self.url(segments.iter().map(String::as_str))
    }

    /// `{base}/v1/{segments}`, each segment percent-encoded, none empty: `//` would be redirected to a page.
    fn url<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.settings.url.clone();
        url.set_query(None);
        url.path_segments_mut()
            .expect("checked when the store was made")
            .pop_if_empty()
            .push("v1")
            .extend(segments);
        url
    }

    /// Sends a request with our token; once more with a new one if it is refused and we can log in.
    async fn send(
        &self,
        operation: &'static str,
        method: Method,
        url: Url,
        body: Option<Vec<u8>>,
    ) -> Result<Reply, Outage> {
        let token = self.token().await?;
        let reply =
            self.exchange((operation, method.clone()), url.clone(), Some(&token), body.clone()).await?;
        if !self.gives_up(&token, &reply).await {
            return Ok(reply);
        }
        let token = self.token().await?;
        let reply = self.exchange((operation, method), url, Some(&token), body).await?;
        self.gives_up(&token, &reply).await;
        Ok(reply)
    }

    /// Whether this answer refuses our token, and another one may be had. A login's token counts once an answer has accepted
    /// it: until then each refusal makes the pause before the next login longer.
    async fn gives_up(&self, token: &SecretString, reply: &Reply) -> bool {
        if !meaning::refuses_token(reply) {
            if meaning::accepts_token(reply) {
                self.session.accepted(token);
            }
            return false;
        }
        match self.session.refused(token, || meaning::rejected(reply, "a new token is refused")) {
            Refused::IsLast => false,
            Refused::IsForgotten => true,
            Refused::WasNew => {
                // It may be alive, for others than us (`token_bound_cidrs`).
                self.revoke(token).await;
                true
            }
        }
    }

    /// Sends a request with this token, or without one.
    async fn exchange(
        &self,
        (operation, method): (&'static str, Method),
        url: Url,
        token: Option<&SecretString>,
        body: Option<Vec<u8>>,
    ) -> Result<Reply, Outage> {
        let is_write = method != Method::GET;
        let mut request = self.client.request(method, url).header("X-Vault-Request", "true");
        if let Some(token) = token {
            let mut token = HeaderValue::from_str(token.expose_secret())
                .unwrap_or_else(|_| HeaderValue::from_static("unusable"));
            token.set_sensitive(true);
            request = request.header("X-Vault-Token", token);
        }
        if let Some(namespace) = &self.settings.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(index) = index {
            request =
                request.header("X-Vault-Index", index).header("X-Vault-Inconsistent", "forward-active-node");
        }
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body);
        }
        let reply = self.client.send(operation, request).await.map_err(|error| outage(error, operation))?;
        if let Some(index) = reply.headers.get("X-Vault-Index") {
            let mut known = self.index.lock().unwrap_or_else(PoisonError::into_inner);
            // A write is decided by the leader; a read may have been answered by a standby that lags behind it.
            if is_write || known.is_none() {
                *known = Some(index.clone());
            }
        }
        Ok(reply)
    }

    /// Whether the mount is KV v2, asked once. A KV v1 mount says "absent" in the same words, takes a write without
    /// any compare-and-set, and overwrites.
    async fn check_mount(&self) -> Result<(), Outage> {
        // One at a time: two reads that meet an absence at once ask once.
        let _turn = self.mount_check.lock().await;
        if self.mount_is_known.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.ask_for_mount().await
    }

    async fn ask_for_mount(&self) -> Result<(), Outage> {
        let mount = path_segments(&self.settings.mount);
        let segments = ["sys", "internal", "ui", "mounts"].into_iter();
        let url = self.url(segments.chain(mount.iter().map(String::as_str)));
        let reply = self.send("check_mount", Method::GET, url, None).await?;
        meaning::of_mount(&reply, &mount, &path_segments(&self.settings.prefix))?;
        self.mount_is_known.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the token is alive: a 403 that names no policy, or a token that can't even look itself up, is no denial.
    async fn token_is_alive(&self) -> Result<(), Outage> {
        let url = self.url(["auth", "token", "lookup-self"]);
        let reply = self.send("lookup_token", Method::GET, url, None).await?;
        meaning::of_token_lookup(&reply)
    }

    async fn read_answer(&self, name: &RecordName, version: Option<Version>) -> Result<Answer, Outage> {
        let mut url = self.record_url(name);
        if let Some(version) = version {
            url.query_pairs_mut().append_pair("version", &version.to_string());
        }
        let reply = self.send(read_operation(name), Method::GET, url, None).await?;
        let meaning = match meaning::of_read(&reply) {
            // Vault's description of the mount says what is wrong with it, and which one was meant.
            Err(outage) if outage.reason == OutageReason::WrongMount => {
                let told = self.ask_for_mount().await.err();
                return Err(told.filter(|told| told.reason == OutageReason::WrongMount).unwrap_or(outage));
            }
            meaning => meaning?,
        };
        Ok(match meaning {
            ReadMeaning::Present { version: found, written_at, ends_at, fields } => {
                self.mount_is_known.store(true, Ordering::Relaxed);
                if version.is_none() {
                    self.note_end(name, found, ends_at.as_deref());
                }
                let version = found;
                Answer::Present(Record { version, written_at, fields })
            }
            ReadMeaning::NotAnObject => {
                Answer::Malformed(Malformed { field: "data", problem: "it is not an object" })
            }
            ReadMeaning::Deleted { version, destroyed } => Answer::Deleted { version, destroyed },
            ReadMeaning::Nothing => {
                self.check_mount().await?;
                Answer::Absent
            }
            ReadMeaning::PolicyDenies => {
                self.token_is_alive().await?;
                Answer::Denied
            }
        })
    }

    async fn write_answer(
        &self,
        name: &RecordName,
        fields: &Fields,
        expected: Expected,
    ) -> Result<Version, WriteError> {
        if expected == Expected::Absent {
            self.check_mount().await.map_err(WriteError::Unavailable)?;
        }
        let cas = match expected {
            Expected::Absent => 0,
            Expected::Version(version) => version,
        };
        let body = json!({"options": {"cas": cas}, "data": fields.expose()});
        let body = serde_json::to_vec(&body).expect("JSON serialises");
        let reply = self.send(write_operation(name), Method::POST, self.record_url(name), Some(body)).await;
        let reply = reply.map_err(WriteError::Unavailable)?;
        match meaning::of_write(&reply).map_err(WriteError::Unavailable)? {
            WriteMeaning::Written { version, ends_at } => {
                self.note_end(name, version, ends_at.as_deref());
                Ok(version)
            }
            WriteMeaning::Conflict => Err(WriteError::Conflict),
            WriteMeaning::Refused(problem) => Err(WriteError::Refused(problem)),
            WriteMeaning::PolicyDenies => {
                self.token_is_alive().await.map_err(WriteError::Unavailable)?;
                Err(WriteError::Denied)
            }
        }
    }
}

#[async_trait::async_trait]
impl SecretStore for VaultStore {
    async fn read(&self, name: &RecordName) -> Answer {
        self.read_answer(name, None).await.unwrap_or_else(Answer::Unavailable)
    }

    async fn read_version(&self, name: &RecordName, version: Version) -> Answer {
        self.read_answer(name, Some(version)).await.unwrap_or_else(Answer::Unavailable)
    }

    async fn write(
        &self,
        name: &RecordName,
        fields: &Fields,
        expected: Expected,
    ) -> Result<Version, WriteError> {
        self.write_answer(name, fields, expected).await
    }

    async fn capabilities(&self, name: &RecordName) -> Result<Vec<String>, Outage> {
        let path = self.policy_path(name);
        let body = serde_json::to_vec(&json!({"paths": [path]})).expect("JSON serialises");
        let url = self.url(["sys", "capabilities-self"]);
        let reply = self.send("capabilities", Method::POST, url, Some(body)).await?;
        meaning::of_capabilities(&reply, &path)
    }

    async fn examine(&self, names: &[RecordName]) -> Result<Vec<StoreWarning>, Outage> {
        self.ask_for_mount().await?;
        self.warnings(names).await
    }

    async fn keep(&self) {
        self.keep_token().await;
    }

    async fn close(&self) {
        self.revoke_token().await;
    }

    fn login_lasts(&self) -> Option<Duration> {
        self.session.lasts()
    }

    fn locate(&self, name: &RecordName) -> String {
        let mut segments = path_segments(&self.settings.mount);
        segments.extend(path_segments(&self.settings.prefix));
        segments.extend(name.segments());
        segments.join("/")
    }

    fn place(&self, name: &RecordName) -> String {
        let namespace = self.settings.namespace.as_deref().unwrap_or_default();
        format!("{namespace}:{}", self.locate(name))
    }

    fn policy_path(&self, name: &RecordName) -> String {
        self.api_segments("data", name).join("/")
    }
}

fn path_segments(path: &str) -> Vec<String> {
    path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

fn read_operation(name: &RecordName) -> &'static str {
    match name {
        RecordName::Keys(_) => "read_keys",
        RecordName::Credentials(_) => "read_credentials",
    }
}

fn write_operation(name: &RecordName) -> &'static str {
    match name {
        RecordName::Keys(_) => "write_keys",
        RecordName::Credentials(_) => "write_credentials",
    }
}

fn outage(error: NoReply, what: &str) -> Outage {
    let reason = match &error.problem {
        Problem::TimedOut => OutageReason::TimedOut,
        Problem::Untrusted(_) => OutageReason::Untrusted,
        Problem::Broken
        | Problem::NotHttp
        | Problem::TooLong(_)
        | Problem::NotSent
        | Problem::SpeaksTls
        | Problem::Redirected { .. } => OutageReason::NotTheStore,
        _ => OutageReason::Unreachable,
    };
    Outage::new(reason, format!("Vault was asked to {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn store(url: &str) -> VaultStore {
        VaultStore::new(VaultSettings {
            url: url.parse().expect("a URL"),
            login: VaultLogin::Token(SecretString::from("t")),
            mount: "secret/".to_owned(),
            prefix: "/bindu".to_owned(),
            namespace: None,
            http: HttpSettings::new(Duration::from_secs(1)),
        })
        .expect("usable settings")
    }

    #[test]
    fn paths_are_python_bindus() {
        let did = "did:bindu:a b:c:d".parse().expect("a DID");
        let id = "5c908f70-ec50-7e33-bf7d-2735c15d5c13".parse().expect("a UUID");
        for base in ["http://vault:8200", "http://vault:8200/"] {
            assert_eq!(
                store(base).record_url(&RecordName::Keys(id)).as_str(),
                "http://vault:8200/v1/secret/data/bindu/agents/5c908f70-ec50-7e33-bf7d-2735c15d5c13/did-keys"
            );
        }
        assert_eq!(
            store("https://proxy/vault/").record_url(&RecordName::Credentials(did)).as_str(),
            "https://proxy/vault/v1/secret/data/bindu/hydra/credentials/did:bindu:a%20b:c:d"
        );
    }
}

/// What the fuzz targets reach; no part of the interface.
#[cfg(fuzzing)]
pub mod fuzz {
    use super::meaning;
    use bindu_http_client::Reply;

    /// Reads an answer of a server that may be anything but Vault.
    pub fn answer(status: u16, body: &[u8]) {
        let reply = Reply { status, body: body.to_vec(), ..Reply::default() };
        let _ = (meaning::of_read(&reply), meaning::of_write(&reply), meaning::of_token_lookup(&reply));
        let names = ["secret".to_owned()];
        let _ = meaning::of_mount(&reply, &names, &names);
    }
}
