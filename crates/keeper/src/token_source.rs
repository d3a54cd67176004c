//! Our own access tokens: fetched before they are needed, once for all that wait, and again before they end.
//!
//! The secret is the store's. Where Hydra refuses it, another replica may have put in a new one: it is read again, and
//! tried once more.

use crate::Keeper;
use bindu_hydra::{AccessToken, Hydra, HydraError, SecretProof};
use bindu_identity::Did;
use bindu_store::{Answer, CredentialRecord};
use rand::RngExt as _;
use secrecy::SecretString;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// At which share of its life a token is replaced; drawn, so that a fleet doesn't come in step.
const RENEW_AT: std::ops::Range<f64> = 0.65..0.8;

/// A token with less than this share of its life left is not handed out while a new one can be had.
const LEAST_LEFT: f64 = 0.1;

/// How long an agent waits for its next token after it got none: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Audiences that tokens are kept for; more than an agent has.
const MOST_KEPT: usize = 64;

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

/// Gets tokens for one agent.
pub struct TokenSource {
    keeper: Arc<Keeper>,
    held: Mutex<HashMap<Option<String>, Held>>,
    credentials: Mutex<Option<CredentialRecord>>,
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
    pub fn new(keeper: Arc<Keeper>) -> Self {
        Self {
            keeper,
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
        use secrecy::ExposeSecret as _;
        lock(&self.held).retain(|_, held| held.token.expose_secret() != refused.expose_secret());
        let mut proven = lock(&self.keeper.proven.0);
        if proven.as_ref().is_some_and(|(token, _)| token.token.expose_secret() == refused.expose_secret()) {
            *proven = None;
        }
    }

    /// Keeps a token ready for as long as the agent lives. The first one is that which proved the secret.
    pub async fn keep(&self) {
        let mut retry = RETRY.0;
        loop {
            let pause = match self.held(&None) {
                Some(held) => {
                    let due = held.lasts.mul_f64(rand::rng().random_range(RENEW_AT));
                    due.saturating_sub(held.fetched.elapsed())
                }
                None => Duration::ZERO,
            };
            sleep(pause.max(RETRY.0)).await;
            let is_due = self.held(&None).is_none_or(|held| !held.has_left(1.0 - RENEW_AT.start));
            if !is_due {
                retry = RETRY.0;
                continue;
            }
            let turn = self.turn.lock().await;
            let fetched = self.fetch(&None).await;
            drop(turn);
            match fetched {
                Ok(_) => retry = RETRY.0,
                Err(error) => {
                    tracing::debug!(%error, "no new token of our own");
                    sleep(retry.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
                    retry = (retry * 2).min(RETRY.1);
                }
            }
        }
    }

    /// The token that lasts longest: one that was fetched here, or that the keeper has proved the secret by.
    fn held(&self, key: &Option<String>) -> Option<Held> {
        let own = lock(&self.held).get(key).cloned();
        let proven = lock(&self.keeper.proven.0).clone().filter(|_| key.is_none());
        let proven = proven.map(|(token, fetched)| Held::of(token, fetched));
        [own, proven].into_iter().flatten().max_by_key(|held| held.fetched + held.lasts)
    }

    async fn fetch(&self, key: &Option<String>) -> Result<Held, TokenError> {
        let (hydra, _) = self.keeper.hydra.as_ref().ok_or(TokenError::NoHydra)?;
        let did = &self.keeper.agent.did;
        let known = lock(&self.credentials).clone();
        let is_fresh = known.is_none();
        let mut credentials = match known {
            Some(known) => known,
            None => self.read_credentials().await?,
        };
        for last in [is_fresh, true] {
            let fetched = Instant::now();
            // The prepared secret of a rotation, too, before anything is concluded.
            let secrets = std::iter::once(&credentials.client_secret).chain(&credentials.next_secret);
            let scopes = self.keeper.token_scopes(&credentials.scopes);
            let mut got = Err(HydraError::InvalidClient);
            for secret in secrets {
                got = one_token(hydra, did, (secret, scopes), key.as_deref()).await;
                if !matches!(got, Err(HydraError::InvalidClient)) {
                    break;
                }
            }
            match got {
                Ok(token) => {
                    let held = Held::of(token, fetched);
                    let mut all = lock(&self.held);
                    if all.len() >= MOST_KEPT {
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

    /// The credentials: the store's; where it can't be asked, the copy on the disk.
    async fn read_credentials(&self) -> Result<CredentialRecord, TokenError> {
        let keeper = &self.keeper;
        let did = &keeper.agent.did;
        let fields = match keeper.store.read(&keeper.credentials_record()).await {
            Answer::Present(record) => Some(record.fields),
            answer @ (Answer::Unavailable(_) | Answer::Denied) => {
                let directory = keeper.directory.as_ref();
                let copy = directory.and_then(|directory| directory.credentials(did).ok().flatten());
                Some(copy.ok_or_else(|| match answer {
                    Answer::Denied => TokenError::StoreDenied(did.clone()),
                    _ => TokenError::StoreUnavailable(did.clone()),
                })?)
            }
            _ => None,
        };
        let record = fields.and_then(|fields| CredentialRecord::from_fields(&fields).ok());
        let record = record.filter(|record| record.client_id == did.as_str());
        let record = record.ok_or_else(|| TokenError::NoCredentials(did.clone()))?;
        *lock(&self.credentials) = Some(record.clone());
        Ok(record)
    }
}

/// A token by one secret. Hydra says `invalid_client` of the right one as well, while its database is down.
async fn one_token(
    hydra: &Hydra,
    did: &Did,
    (secret, scopes): (&SecretString, &[String]),
    audience: Option<&str>,
) -> Result<AccessToken, HydraError> {
    match hydra.token_for(did, secret, scopes, audience).await {
        Err(HydraError::InvalidClient) => match hydra.prove_secret(did, secret, scopes).await? {
            SecretProof::Works(_) => hydra.token_for(did, secret, scopes, audience).await,
            SecretProof::Wrong => Err(HydraError::InvalidClient),
        },
        other => other,
    }
}

/// The token that has proved our secret, and when.
#[derive(Default)]
pub struct ProvenToken(pub(crate) Mutex<Option<(AccessToken, Instant)>>);

impl ProvenToken {
    pub(crate) fn note(&self, token: AccessToken, asked: Instant) {
        *lock(&self.0) = Some((token, asked));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
