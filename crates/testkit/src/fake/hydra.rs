//! A [`ClientRegistry`] in memory: clients with their secrets, and tokens that are numbers.

use super::{Fate, Scripted};
use bindu_hydra::{
    AUTHENTICATION_METHOD, AccessToken, ClientRegistration, ClientRegistry, GRANT_TYPES, HydraError,
    OAuthClient, PatchOperation,
};
use bindu_identity::Did;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// A call to a [`FakeHydra`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HydraCall {
    /// What was asked.
    pub op: HydraOp,
    /// The paths of a patch, in order.
    pub paths: Vec<String>,
}

/// What is asked of Hydra.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the method of its name")]
pub enum HydraOp {
    Client,
    Create,
    Patch,
    Token,
    Ready,
    RevokeTokens,
}

impl HydraOp {
    /// If it changes something.
    #[must_use]
    pub fn is_write(self) -> bool {
        matches!(self, Self::Create | Self::Patch | Self::RevokeTokens)
    }
}

/// A Hydra in memory.
pub struct FakeHydra {
    clients: Mutex<HashMap<String, (OAuthClient, String)>>,
    scripted: Scripted<HydraCall>,
    tokens: AtomicU64,
    lasts: Mutex<Duration>,
    lies: AtomicBool,
}

impl FakeHydra {
    /// One without clients, whose tokens last an hour.
    #[must_use]
    pub fn new() -> Self {
        Self {
            clients: Mutex::default(),
            scripted: Scripted::new(),
            tokens: AtomicU64::new(0),
            lasts: Mutex::new(Duration::from_secs(3600)),
            lies: AtomicBool::new(false),
        }
    }

    /// From now on this decides what happens to a call; the number counts the calls since the last
    /// [`forget_calls`](Self::forget_calls).
    pub fn script(&self, script: impl Fn(&HydraCall, usize) -> Fate + Send + Sync + 'static) {
        self.scripted.script(script);
    }

    /// All calls so far, and when they came.
    #[must_use]
    pub fn calls(&self) -> Vec<(Instant, HydraCall)> {
        self.scripted.calls()
    }

    /// When it was asked this.
    #[must_use]
    pub fn times(&self, op: HydraOp) -> Vec<Instant> {
        self.calls().into_iter().filter(|(_, call)| call.op == op).map(|(at, _)| at).collect()
    }

    /// What would change something, in order.
    #[must_use]
    pub fn writes(&self) -> Vec<HydraCall> {
        let writes = self.calls().into_iter().map(|(_, call)| call);
        writes.filter(|call| call.op.is_write()).collect()
    }

    /// Forgets all calls.
    pub fn forget_calls(&self) {
        self.scripted.forget();
    }

    /// Its database is down: it refuses every secret, and is not ready.
    pub fn lie(&self, lies: bool) {
        self.lies.store(lies, Ordering::SeqCst);
    }

    /// How long its tokens last from now on.
    pub fn tokens_last(&self, lasts: Duration) {
        *self.lasts.lock().expect("no panic") = lasts;
    }

    /// The client of a DID.
    #[must_use]
    pub fn client_of(&self, did: &Did) -> Option<OAuthClient> {
        self.clients().get(did.as_str()).map(|(client, _)| client.clone())
    }

    /// Somebody at the admin port changes a client.
    pub fn change(&self, did: &Did, change: impl FnOnce(&mut OAuthClient)) {
        if let Some((client, _)) = self.clients().get_mut(did.as_str()) {
            change(client);
        }
    }

    /// Somebody at the admin port gives a client another secret.
    pub fn change_secret(&self, did: &Did, secret: &str) {
        if let Some((_, known)) = self.clients().get_mut(did.as_str()) {
            *known = secret.to_owned();
        }
    }

    /// Somebody at the admin port registers a client.
    pub fn register(&self, registration: &ClientRegistration) {
        let client = OAuthClient {
            created_at: "2026-01-01T00:00:00Z".to_owned(),
            name: registration.name.clone(),
            scope: registration.scopes.join(" "),
            audiences: registration.audiences.clone(),
            authentication_method: AUTHENTICATION_METHOD.to_owned(),
            grant_types: GRANT_TYPES.map(str::to_owned).to_vec(),
            metadata: registration.metadata.clone(),
        };
        let secret = registration.secret.expose_secret().to_owned();
        self.clients().insert(registration.did.to_string(), (client, secret));
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<String, (OAuthClient, String)>> {
        self.clients.lock().expect("no panic")
    }

    /// Takes a call; if its answer is to be lost.
    async fn meet(&self, op: HydraOp, paths: Vec<String>) -> Result<bool, HydraError> {
        match self.scripted.meet(HydraCall { op, paths }).await {
            Fate::Pass | Fate::After(_) | Fate::Hang => Ok(false),
            Fate::LoseAnswer => Ok(true),
            Fate::Down => Err(down()),
            Fate::Denied => Err(HydraError::Refused {
                error: "request_forbidden".to_owned(),
                description: "the script says so".to_owned(),
            }),
        }
    }
}

impl Default for FakeHydra {
    fn default() -> Self {
        Self::new()
    }
}

fn down() -> HydraError {
    HydraError::Unavailable { detail: "the script says so".to_owned(), retry_after: None }
}

/// The answer, unless it is lost.
fn answered<T>(is_lost: bool, answer: T) -> Result<T, HydraError> {
    if is_lost { Err(down()) } else { Ok(answer) }
}

#[async_trait::async_trait]
impl ClientRegistry for FakeHydra {
    async fn client(&self, did: &Did) -> Result<Option<OAuthClient>, HydraError> {
        let is_lost = self.meet(HydraOp::Client, Vec::new()).await?;
        answered(is_lost, self.client_of(did))
    }

    async fn create_client(&self, registration: &ClientRegistration) -> Result<(), HydraError> {
        let is_lost = self.meet(HydraOp::Create, Vec::new()).await?;
        if self.client_of(&registration.did).is_some() {
            return Err(HydraError::Conflict);
        }
        self.register(registration);
        answered(is_lost, ())
    }

    async fn patch_client(&self, did: &Did, operations: &[PatchOperation]) -> Result<(), HydraError> {
        let paths = operations.iter().map(|operation| operation.path.clone()).collect();
        let is_lost = self.meet(HydraOp::Patch, paths).await?;
        let mut clients = self.clients();
        let (client, secret) = clients.get_mut(did.as_str()).ok_or(HydraError::NoClient)?;
        for PatchOperation { path, value } in operations {
            let text = || value.as_str().unwrap_or_default().to_owned();
            let texts = || {
                let items = value.as_array().into_iter().flatten().filter_map(Value::as_str);
                items.map(str::to_owned).collect::<Vec<_>>()
            };
            match path.as_str() {
                "/client_secret" => *secret = text(),
                "/client_name" => client.name = text(),
                "/scope" => client.scope = text(),
                "/audience" => client.audiences = texts(),
                "/grant_types" => client.grant_types = texts(),
                "/token_endpoint_auth_method" => client.authentication_method = text(),
                other => {
                    let name = other.strip_prefix("/metadata/").expect("a path that a keeper patches");
                    client.metadata.insert(name.to_owned(), value.clone());
                }
            }
        }
        answered(is_lost, ())
    }

    async fn token(
        &self,
        did: &Did,
        secret: &SecretString,
        _scopes: &[String],
        _audience: Option<&str>,
    ) -> Result<AccessToken, HydraError> {
        let is_lost = self.meet(HydraOp::Token, Vec::new()).await?;
        let is_right =
            self.clients().get(did.as_str()).is_some_and(|(_, known)| known == secret.expose_secret());
        if !is_right || self.lies.load(Ordering::SeqCst) {
            return Err(HydraError::InvalidClient);
        }
        let number = self.tokens.fetch_add(1, Ordering::SeqCst);
        let expires_in = *self.lasts.lock().expect("no panic");
        answered(is_lost, AccessToken { token: SecretString::from(format!("token {number}")), expires_in })
    }

    async fn ready(&self) -> Result<(), HydraError> {
        self.meet(HydraOp::Ready, Vec::new()).await?;
        if self.lies.load(Ordering::SeqCst) { Err(down()) } else { Ok(()) }
    }

    async fn revoke_all_tokens(&self, _did: &Did) -> Result<(), HydraError> {
        let is_lost = self.meet(HydraOp::RevokeTokens, Vec::new()).await?;
        answered(is_lost, ())
    }
}
