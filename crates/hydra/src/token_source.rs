//! Our own access tokens: fetched before they are needed, once for all that wait, and again before they end.
//!
//! The secret is somebody else's to keep ([`CredentialsSource`]). If Hydra refuses it, another replica may have put in a new
//! one: it is read again, and tried once more.

use crate::{AccessToken, ClientRegistry, HydraError, SecretProof};
use bindu_identity::Did;
use bindu_time::{Backoff, Jitter};
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// At which share of its life a token is replaced: drawn from these bounds, so that a fleet doesn't come in step.
const RENEW_AT: (f64, f64) = (0.65, 0.8);

/// A token with less than this share of its life left is not handed out while a new one can be had.
const LEAST_LEFT: f64 = 0.1;

/// The least pause between two looks at the token that is held.
const LOOK: Duration = Duration::from_secs(1);

/// How long an agent waits for its next token after it got none.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30), 50);

/// Audiences that tokens are kept for; more than an agent has.
const MAX_KEPT: usize = 64;

/// Why there is no token.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// No Hydra is configured.
    #[error("there is no Hydra in the settings")]
    NoHydra,
    /// Neither the store nor the data directory holds our client's secret.
    #[error("there are no credentials of {0}")]
    NoCredentials(Did),
    /// The store could not be asked, and the data directory has no copy.
    #[error("the store does not give the credentials of {0}, and there is no copy of them")]
    StoreUnavailable(Did),
    /// The store denies them, and the data directory has no copy.
    #[error("the store denies us the credentials of {0}, and there is no copy of them")]
    StoreDenied(Did),
    /// Hydra, well, does not accept the secret.
    #[error("Hydra does not accept the client's secret")]
    WrongSecret,
    /// Hydra did not give one.
    #[error("Hydra gave no token")]
    Hydra(#[source] HydraError),
}

/// What a client gets its tokens by.
#[derive(Clone)]
pub struct ClientCredentials {
    /// Its secret.
    pub secret: SecretString,
    /// The secret that a rotation has prepared.
    pub next_secret: Option<SecretString>,
    /// The scopes to ask for.
    pub scopes: Vec<String>,
}

/// Knows the credentials of our client. Reads them anew at each call, and changes nothing.
#[async_trait::async_trait]
pub trait CredentialsSource: Send + Sync {
    /// The credentials as of now.
    ///
    /// # Errors
    /// [`TokenError::NoCredentials`] if there are none; else why they can't be read.
    async fn credentials(&self) -> Result<ClientCredentials, TokenError>;
}

/// What a [`TokenSource`] is made of.
pub struct TokenSourceParts {
    /// The client.
    pub did: Did,
    /// Who gives tokens.
    pub registry: Arc<dyn ClientRegistry>,
    /// Who knows the secret.
    pub credentials: Arc<dyn CredentialsSource>,
    /// The token that has proved the secret last.
    pub proven: Arc<ProvenToken>,
    /// Draws when a token is replaced.
    pub jitter: Jitter,
}

/// Gets tokens for one agent.
pub struct TokenSource {
    parts: TokenSourceParts,
    held: Mutex<HashMap<Option<String>, Held>>,
    credentials: Mutex<Option<ClientCredentials>>,
    /// The last fetch that failed: when, for which audience, and why.
    failed: Mutex<Option<(Instant, Option<String>, TokenError)>>,
    /// Held by whoever fetches, so that one fetches for all that wait.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Held {
    token: SecretString,
    fetched: Instant,
    lasts: Duration,
}

impl Held {
    fn of(token: AccessToken, fetched: Instant) -> Self {
        Self { token: token.token, fetched, lasts: token.expires_in }
    }

    fn has_left(&self, share: f64) -> bool {
        self.fetched.elapsed() < self.lasts.mul_f64(1.0 - share)
    }
}

impl TokenSource {
    /// A source that has no token yet.
    #[must_use]
    pub fn new(parts: TokenSourceParts) -> Self {
        Self {
            parts,
            held: Mutex::default(),
            credentials: Mutex::default(),
            failed: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// A live token with all scopes of our client, for an audience where one is named.
    ///
    /// # Errors
    /// Where there is none, and none to be had.
    pub async fn token(&self, audience: Option<&str>) -> Result<SecretString, TokenError> {
        let key = audience.map(str::to_owned);
        if let Some(held) = self.held(&key).filter(|held| held.has_left(LEAST_LEFT)) {
            return Ok(held.token);
        }
        let came = Instant::now();
        let _turn = self.turn.lock().await;
        let known = self.held(&key);
        if let Some(held) = known.as_ref().filter(|held| held.has_left(LEAST_LEFT)) {
            return Ok(held.token.clone());
        }
        // Who has waited for a fetch that failed has its answer.
        let failed = lock(&self.failed).clone().filter(|(at, audience, _)| *at > came && *audience == key);
        let fetched = match failed {
            Some((_, _, error)) => Err(error),
            None => self.fetch(&key).await,
        };
        *lock(&self.failed) = fetched.as_ref().err().map(|error| (Instant::now(), key, error.clone()));
        match fetched {
            Ok(held) => Ok(held.token),
            // What is left of its life is better than nothing.
            Err(error) => known.filter(|held| held.has_left(0.0)).map(|held| held.token).ok_or(error),
        }
    }

    /// Forgets a token that somebody has refused, so that the next one is new.
    pub fn forget(&self, refused: &SecretString) {
        lock(&self.held).retain(|_, held| held.token.expose_secret() != refused.expose_secret());
        let mut proven = lock(&self.parts.proven.0);
        if proven.as_ref().is_some_and(|(token, _)| token.token.expose_secret() == refused.expose_secret()) {
            *proven = None;
        }
    }

    /// Keeps a token ready for as long as the agent lives. The first one is that which proved the secret.
    pub async fn keep(&self) {
        let mut retry = RETRY;
        loop {
            let pause = match self.held(&None) {
                Some(held) => {
                    let share = RENEW_AT.0 + (RENEW_AT.1 - RENEW_AT.0) * (self.parts.jitter)();
                    held.lasts.mul_f64(share).saturating_sub(held.fetched.elapsed())
                }
                None => Duration::ZERO,
            };
            sleep(pause.max(LOOK)).await;
            let is_due = self.held(&None).is_none_or(|held| !held.has_left(1.0 - RENEW_AT.0));
            if !is_due {
                retry = RETRY;
                continue;
            }
            let turn = self.turn.lock().await;
            let fetched = self.fetch(&None).await;
            drop(turn);
            match fetched {
                Ok(_) => retry = RETRY,
                Err(error) => {
                    tracing::debug!(%error, "no new token of our own");
                    sleep(retry.pause(None).draw(self.parts.jitter)).await;
                }
            }
        }
    }

    /// The token that lasts longest: one that was fetched here, or that the keeper has proved the secret by.
    fn held(&self, key: &Option<String>) -> Option<Held> {
        let own = lock(&self.held).get(key).cloned();
        let proven = lock(&self.parts.proven.0).clone().filter(|_| key.is_none());
        let proven = proven.map(|(token, fetched)| Held::of(token, fetched));
        [own, proven].into_iter().flatten().max_by_key(|held| held.fetched + held.lasts)
    }

    async fn fetch(&self, key: &Option<String>) -> Result<Held, TokenError> {
        let known = lock(&self.credentials).clone();
        let is_fresh = known.is_none();
        let mut credentials = match known {
            Some(known) => known,
            None => self.read_credentials().await?,
        };
        for last in [is_fresh, true] {
            let fetched = Instant::now();
            // The prepared secret of a rotation, too, before anything is concluded.
            let secrets = std::iter::once(&credentials.secret).chain(&credentials.next_secret);
            let mut got = Err(HydraError::InvalidClient);
            for secret in secrets {
                got = self.one_token(secret, &credentials.scopes, key.as_deref()).await;
                if !matches!(got, Err(HydraError::InvalidClient)) {
                    break;
                }
            }
            match got {
                Ok(token) => {
                    let held = Held::of(token, fetched);
                    let mut all = lock(&self.held);
                    if all.len() >= MAX_KEPT {
                        all.clear();
                    }
                    all.insert(key.clone(), held.clone());
                    return Ok(held);
                }
                Err(HydraError::InvalidClient) if !last => credentials = self.read_credentials().await?,
                Err(HydraError::InvalidClient) => break,
                Err(error) => return Err(TokenError::Hydra(error)),
            }
        }
        *lock(&self.credentials) = None;
        Err(TokenError::WrongSecret)
    }

    async fn read_credentials(&self) -> Result<ClientCredentials, TokenError> {
        let credentials = self.parts.credentials.credentials().await?;
        *lock(&self.credentials) = Some(credentials.clone());
        Ok(credentials)
    }

    /// A token by one secret. Hydra says `invalid_client` of the right one as well, while its database is down.
    async fn one_token(
        &self,
        secret: &SecretString,
        scopes: &[String],
        audience: Option<&str>,
    ) -> Result<AccessToken, HydraError> {
        let TokenSourceParts { registry, did, .. } = &self.parts;
        match registry.token(did, secret, scopes, audience).await {
            Err(HydraError::InvalidClient) => match registry.prove_secret(did, secret, scopes).await? {
                SecretProof::Works(_) => registry.token(did, secret, scopes, audience).await,
                SecretProof::Wrong => Err(HydraError::InvalidClient),
            },
            other => other,
        }
    }
}

/// The token that has proved our secret, and when.
#[derive(Default)]
pub struct ProvenToken(Mutex<Option<(AccessToken, Instant)>>);

impl ProvenToken {
    /// Forgets it: it was revoked.
    pub fn forget(&self) {
        *lock(&self.0) = None;
    }

    /// Notes a token that was asked for at this time.
    pub fn note(&self, token: AccessToken, asked: Instant) {
        *lock(&self.0) = Some((token, asked));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
