//! Whose a token is: what Hydra says of it by introspection, remembered for at most [`MOST_FRESH`]; for a JWT what its
//! signature says as well.

use super::{
    AuthRefusal, TokenHolder,
    remembered::{Answer, Lifetimes, Missing, Place, Remembered, Wish},
};
use bindu_hydra::{Hydra, HydraError, Introspection, JwtProblem, KeySet};
use lru::LruCache;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

/// The longest time for which an answer of Hydra's about a token counts: so late is a revocation noticed.
pub const MOST_FRESH: Duration = Duration::from_secs(30);

/// The longest token that is looked at, in bytes. Hydra's opaque ones have 94, its JWTs with an RSA-4096 signature about
/// 1,200.
const LONGEST_TOKEN: usize = 4096;

/// What Hydra's opaque tokens may begin with.
const PREFIX: &str = "ory_at_";

/// How long a refused opaque token is not asked about again.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// How many JWTs are remembered that were called off; only Hydra's own get there.
const MOST_CALLED_OFF: NonZeroUsize = NonZeroUsize::new(20_000).expect("it is not zero");

/// How long who has old keys waits for new ones.
const KEY_SET_PATIENCE: Duration = Duration::from_secs(2);

/// Hydra's keys are fetched again for an unknown `kid` not more often than this.
const KEY_SET_AGE: Duration = Duration::from_secs(60);

/// They are fetched again after this, too: a key that Hydra has withdrawn must not count for ever.
const KEY_SET_LIFE: Duration = Duration::from_secs(600);

/// The pause after a failure.
const KEY_SET_RETRY: Duration = Duration::from_secs(2);

/// What is done with JWTs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JwtMode {
    /// Signature and introspection; during an outage the signature alone.
    #[default]
    Introspect,
    /// The signature alone, always: a revoked token lives until it expires.
    Local,
}

/// How tokens are checked.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// What is done with JWTs.
    pub jwt: JwtMode,
    /// How long an answer counts; at most [`MOST_FRESH`].
    pub cache_ttl: Duration,
    /// How long it counts while Hydra can't be asked.
    pub stale_if_unavailable: Duration,
    /// Tokens with one of these scopes are asked about at each call.
    pub sensitive_scopes: BTreeSet<String>,
    /// What a token must have been granted for, where that is asked.
    pub audience: Option<String>,
}

type Digest = [u8; 32];

/// Finds out whose tokens are.
pub(super) struct Tokens {
    hydra: Hydra,
    settings: Arc<TokenSettings>,
    opaque: Remembered<Digest, Arc<TokenHolder>>,
    /// Apart, since only what Hydra has signed gets in there: garbage can't push out that a token was revoked.
    signed: Remembered<Digest, Arc<TokenHolder>>,
    /// JWTs that Hydra has called off, until they end by themselves: their signature is good all the time.
    called_off: Arc<Mutex<LruCache<Digest, Instant>>>,
    key_set: RwLock<FetchedKeys>,
    key_set_turn: tokio::sync::Mutex<()>,
}

impl Tokens {
    pub(super) fn new(hydra: Hydra, settings: TokenSettings) -> Self {
        let lifetimes =
            Lifetimes { fresh: settings.cache_ttl.min(MOST_FRESH), stale: settings.stale_if_unavailable };
        Self {
            hydra,
            settings: Arc::new(settings),
            opaque: Remembered::new(lifetimes),
            signed: Remembered::new(lifetimes),
            called_off: Arc::new(Mutex::new(LruCache::new(MOST_CALLED_OFF))),
            key_set: RwLock::default(),
            key_set_turn: tokio::sync::Mutex::default(),
        }
    }

    /// The client that holds a token.
    pub(super) async fn holder(
        &self,
        token: &str,
        deadline: Instant,
    ) -> Result<Arc<TokenHolder>, AuthRefusal> {
        if token.len() > LONGEST_TOKEN {
            return Err(AuthRefusal::TokenTooLong(LONGEST_TOKEN));
        }
        let form = Form::of(token).ok_or(AuthRefusal::InactiveToken)?;
        let token = match form {
            // Hydra takes it with and without: two texts, one token.
            Form::Opaque => token.strip_prefix(PREFIX).unwrap_or(token),
            Form::Jwt => token,
        };
        let digest: Digest = Sha256::digest(token).into();
        match form {
            Form::Opaque => self.asked_holder(digest, token, deadline).await,
            Form::Jwt => match self.signed.fresh(&digest) {
                Some(known) => known.map_err(refusal),
                None => self.signed_holder(digest, token, deadline).await,
            },
        }
    }

    /// Whether a token was granted for this agent, where that is asked.
    pub(super) fn is_meant(&self, holder: &TokenHolder) -> Result<(), AuthRefusal> {
        match &self.settings.audience {
            Some(audience) if !holder.audiences.contains(audience) => Err(AuthRefusal::WrongAudience),
            _ => Ok(()),
        }
    }

    /// A token's holder by Hydra's word alone.
    async fn asked_holder(
        &self,
        digest: Digest,
        token: &str,
        deadline: Instant,
    ) -> Result<Arc<TokenHolder>, AuthRefusal> {
        match self.opaque.fresh(&digest) {
            Some(known) => known.map_err(refusal),
            None => self.ask(&self.opaque, (digest, token), deadline, None).await.map_err(refusal),
        }
    }

    /// What Hydra says of a token, by introspection.
    async fn ask(
        &self,
        memory: &Remembered<Digest, Arc<TokenHolder>>,
        (digest, token): (Digest, &str),
        deadline: Instant,
        signed: Option<Signed>,
    ) -> Result<Arc<TokenHolder>, Missing> {
        let (fallback, ends) = signed.map_or((None, None), |signed| (signed.fallback, Some(signed.ends)));
        let question = |place: Place| {
            let (hydra, settings) = (self.hydra.clone(), Arc::clone(&self.settings));
            let called_off = Arc::clone(&self.called_off);
            let token = SecretString::from(token);
            async move {
                let place = place.turn().await;
                let asked = Instant::now();
                let active = hydra.introspect(&token, place).await?;
                // Here, where nobody's going away undoes it.
                match (&active, ends) {
                    (None, Some(ends)) => _ = lock(&called_off).put(digest, ends),
                    (Some(_), Some(_)) => _ = lock(&called_off).pop(&digest),
                    _ => {}
                }
                Ok(match active {
                    None => Answer::Refused(REFUSED_FOR),
                    Some(active) => answer(active, asked, &settings),
                })
            }
        };
        let wish = |fallback| Wish { key: &digest, age: None, deadline, fallback };
        let asked = Instant::now();
        let holder = memory.get(wish(fallback), question).await?;
        // Somebody else's question may have been on its way before this call began; for these that is too old.
        if self.is_sensitive(&holder) && holder.asked < asked {
            return memory.get(wish(None), question).await;
        }
        Ok(holder)
    }

    fn is_sensitive(&self, holder: &TokenHolder) -> bool {
        holder.client.scopes.iter().any(|scope| self.settings.sensitive_scopes.contains(scope))
    }

    /// A JWT's holder. Its signature is checked first: Hydra is not asked about garbage.
    async fn signed_holder(
        &self,
        digest: Digest,
        token: &str,
        deadline: Instant,
    ) -> Result<Arc<TokenHolder>, AuthRefusal> {
        let kid = bindu_hydra::key_id(token).map_err(|_| AuthRefusal::InactiveToken)?;
        let claims = match self.key_set_with(&kid, deadline).await {
            Ok(keys) => match keys.check(token) {
                Ok(claims) => claims,
                // Hydra may have a new key already, or another time: introspection knows, and looks at the signature, too.
                Err(JwtProblem::UnknownKey | JwtProblem::Doubtful)
                    if self.settings.jwt == JwtMode::Introspect =>
                {
                    return self.asked_holder(digest, token, deadline).await;
                }
                Err(JwtProblem::UnknownKey) if self.key_set().has_failed => {
                    return Err(AuthRefusal::Unavailable);
                }
                Err(problem) => {
                    tracing::debug!(%problem, "a JWT does not count");
                    return Err(AuthRefusal::InactiveToken);
                }
            },
            Err(_) if self.settings.jwt == JwtMode::Introspect => {
                return self.asked_holder(digest, token, deadline).await;
            }
            Err(error) => {
                tracing::warn!(%error, "Hydra's keys could not be fetched");
                return Err(AuthRefusal::Unavailable);
            }
        };
        let ends = Instant::now() + claims.expires_in.unwrap_or(REFUSED_FOR);
        let holder = Arc::new(TokenHolder::of(claims, Instant::now()));
        if self.settings.jwt == JwtMode::Local {
            return Ok(holder);
        }
        let is_barred = lock(&self.called_off).get(&digest).is_some_and(|until| Instant::now() < *until);
        // In an outage the signature is enough; not for what Hydra has called off, nor where each call must be asked for.
        let fallback = (!is_barred && !self.is_sensitive(&holder)).then_some(holder);
        match self.ask(&self.signed, (digest, token), deadline, Some(Signed { fallback, ends })).await {
            Ok(holder) => Ok(holder),
            Err(Missing::Unavailable) if is_barred => Err(AuthRefusal::InactiveToken),
            Err(missing) => Err(refusal(missing)),
        }
    }

    /// Hydra's keys, fetched again where this one is not among them and the last time is long enough ago.
    async fn key_set_with(&self, kid: &str, deadline: Instant) -> Result<Arc<KeySet>, HydraError> {
        if let Some(keys) = self.key_set().fresh().filter(|keys| keys.has(kid)) {
            return Ok(keys);
        }
        let old = self.key_set().keys.filter(|keys| keys.has(kid));
        let _turn = match (self.key_set_turn.try_lock(), &old) {
            (Ok(turn), _) => turn,
            // Somebody fetches them: until then the old ones count.
            (Err(_), Some(old)) => return Ok(Arc::clone(old)),
            (Err(_), None) => tokio::time::timeout_at(deadline.into(), self.key_set_turn.lock())
                .await
                .map_err(|_| unavailable("no answer in time"))?,
        };
        let state = self.key_set();
        if let Some(keys) = state.fresh().filter(|keys| keys.has(kid)) {
            return Ok(keys);
        }
        match state.keys.clone() {
            Some(keys) if !state.is_due() => return Ok(keys),
            None if !state.is_due() => return Err(unavailable("its keys could not be fetched a moment ago")),
            _ => {}
        }
        // Who can do without them doesn't wait for long.
        let is_urgent = old.is_none() && self.settings.jwt == JwtMode::Local;
        let patience = if is_urgent { deadline } else { deadline.min(Instant::now() + KEY_SET_PATIENCE) };
        // Before the wait: a caller that goes away in the middle of it has asked all the same.
        {
            let mut state = self.key_set.write().unwrap_or_else(PoisonError::into_inner);
            (state.tried, state.has_failed) = (Some(Instant::now()), true);
        }
        let fetched = tokio::time::timeout_at(patience.into(), self.hydra.key_set()).await;
        let fetched = fetched.unwrap_or_else(|_| Err(unavailable("no answer in time")));
        let mut state = self.key_set.write().unwrap_or_else(PoisonError::into_inner);
        state.has_failed = fetched.is_err();
        match (fetched, &state.keys) {
            (Ok(keys), _) => Ok(Arc::clone(state.keys.insert(Arc::new(keys)))),
            // Those that are known are better than none.
            (Err(_), Some(keys)) => Ok(Arc::clone(keys)),
            (Err(error), None) => Err(error),
        }
    }

    /// Hydra's issuer, for the metadata of this resource; its public address where it can't be found out.
    pub(super) async fn issuer(&self, deadline: Instant) -> Option<String> {
        self.key_set_with("", deadline).await.ok().map(|keys| keys.issuer.clone())
    }

    fn key_set(&self) -> FetchedKeys {
        self.key_set.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a JWT says of itself, to whoever asks Hydra about it.
struct Signed {
    /// Who counts in an outage.
    fallback: Option<Arc<TokenHolder>>,
    /// Until when it is to be remembered that it was called off.
    ends: Instant,
}

/// Hydra's keys, and when they were asked for last.
#[derive(Clone, Default)]
struct FetchedKeys {
    tried: Option<Instant>,
    has_failed: bool,
    keys: Option<Arc<KeySet>>,
}

impl FetchedKeys {
    fn fresh(&self) -> Option<Arc<KeySet>> {
        self.keys.clone().filter(|keys| keys.age() < KEY_SET_LIFE)
    }

    fn is_due(&self) -> bool {
        let pause = if self.has_failed { KEY_SET_RETRY } else { KEY_SET_AGE };
        self.tried.is_none_or(|at| at.elapsed() >= pause)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unavailable(detail: &str) -> HydraError {
    HydraError::Unavailable { detail: detail.to_owned(), retry_after: None }
}

fn answer(active: Introspection, asked: Instant, settings: &TokenSettings) -> Answer<Arc<TokenHolder>> {
    let lasts = active.expires_in;
    let is_sensitive = active.scopes.iter().any(|scope| settings.sensitive_scopes.contains(scope));
    let holder = Arc::new(TokenHolder::of(active, asked));
    if is_sensitive { Answer::KnownOnce(holder) } else { Answer::Known(holder, lasts) }
}

fn refusal(missing: Missing) -> AuthRefusal {
    match missing {
        Missing::Refused => AuthRefusal::InactiveToken,
        Missing::Unavailable | Missing::Busy => AuthRefusal::Unavailable,
    }
}

/// The two forms of Hydra's tokens. What has neither was never a token: nobody is asked about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Opaque,
    Jwt,
}

impl Form {
    fn of(token: &str) -> Option<Self> {
        let is_text =
            token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if token.len() > LONGEST_TOKEN || !is_text || token.split('.').any(str::is_empty) {
            return None;
        }
        // Hydra would take the second one off what is left of a doubled prefix.
        if token.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with(PREFIX)) {
            return None;
        }
        match token.bytes().filter(|byte| *byte == b'.').count() {
            1 => Some(Self::Opaque),
            2 => Some(Self::Jwt),
            _ => None,
        }
    }
}

#[cfg(fuzzing)]
pub(super) fn fuzz(token: &str) {
    let _ = Form::of(token);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hydras_forms_are_looked_at() {
        assert_eq!(Form::of("ory_at_abc.def"), Some(Form::Opaque));
        assert_eq!(Form::of("abc.d-e_f"), Some(Form::Opaque));
        assert_eq!(Form::of("a.b.c"), Some(Form::Jwt));
        let long = format!("a.{}", "b".repeat(LONGEST_TOKEN));
        for odd in [
            "",
            "a",
            ".",
            "a.",
            ".b",
            "a..b",
            "a.b.c.d",
            "a b.c",
            "a.b\u{e9}",
            "a.b,c.d",
            "\"a.b\"",
            "ory_at_ory_at_a.b",
            &long,
        ] {
            assert_eq!(Form::of(odd), None, "{odd}");
        }
    }
}
