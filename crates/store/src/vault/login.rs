//! Getting a token of Vault's, and keeping it alive: logins, renewal, and what a refused token means.
//!
//! A token that we made is renewed at two thirds of its life, replaced by a new login where it can't be, and revoked at
//! the end. One that was given to us is renewed where it may be, and never revoked. Nothing here is tried again without
//! a pause that grows: a server that refuses is in trouble enough.

#[cfg(test)]
mod tests;

use crate::{Outage, OutageReason};
use bindu_http_client::named_file;
use bindu_time::{Backoff, doubled};
use rand::RngExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// At which share of its life a token is renewed; drawn, so that a fleet doesn't come in step.
const RENEW_AT: std::ops::Range<f64> = 0.6..0.7;

/// How often something is looked at that somebody else keeps or that lasts; and the longest pause between tries that fail.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The pauses between tries that fail.
pub(super) const RETRY: Backoff = Backoff::new(Duration::from_millis(500), MAX_PAUSE, 50);

/// How long a login that has failed is not tried again for somebody who waits; a start tries for a minute.
const LOGIN_PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// How long no other login follows one whose token was refused: at first, and at most. The server takes each of these logins
/// and keeps its token until it ends.
const REFUSED_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(300));

/// A token with less than this left of its life is not worth a renewal.
const LEAST: Duration = Duration::from_secs(1);

/// How a token is come by.
#[derive(Clone)]
pub enum VaultLogin {
    /// It was given.
    Token(SecretString),
    /// It lies in a file, where somebody else keeps it fresh: read at each use.
    TokenFile(PathBuf),
    /// A service account's token, checked by Kubernetes; the kubelet renews the file.
    Kubernetes {
        /// Where the method is mounted.
        mount: String,
        /// The role.
        role: String,
        /// The service account's token.
        jwt_file: PathBuf,
    },
    /// A JWT, checked by keys that Vault knows.
    Jwt {
        /// Where the method is mounted.
        mount: String,
        /// The role; the mount's default where none is named.
        role: Option<String>,
        /// The JWT.
        jwt_file: PathBuf,
    },
    /// A role id and a secret id.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// The role id.
        role_id_file: PathBuf,
        /// The secret id, or the token that it is wrapped in.
        secret_id_file: PathBuf,
        /// Whether it is wrapped: then it can be taken out once.
        wrapped: bool,
    },
    /// The client certificate of the connection.
    Cert {
        /// Where the method is mounted.
        mount: String,
        /// The role; any that fits where none is named.
        role: Option<String>,
    },
}

/// What a login sends, and where.
pub(super) struct LoginRequest {
    pub(super) path: Vec<String>,
    pub(super) body: Value,
}

/// A token in use.
#[derive(Clone)]
struct Held {
    token: SecretString,
    /// Whether a login of ours has made it.
    is_ours: bool,
    /// Whether a request with it was accepted.
    is_accepted: bool,
    lease: Option<Lease>,
}

/// How long a token lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Lease {
    since: Instant,
    lasts: Duration,
    is_renewable: bool,
    /// The share of its life at which it is renewed.
    renew_at: f64,
}

impl Lease {
    fn of(lasts: Duration, is_renewable: bool) -> Self {
        Self { since: Instant::now(), lasts, is_renewable, renew_at: rand::rng().random_range(RENEW_AT) }
    }

    fn is_over(&self) -> bool {
        self.since.elapsed() >= self.lasts
    }

    fn until_renewal(&self) -> Duration {
        self.lasts.mul_f64(self.renew_at).saturating_sub(self.since.elapsed())
    }
}

/// The state of a login.
pub(super) struct Session {
    pub(super) login: VaultLogin,
    held: Mutex<Option<Held>>,
    /// Held by whoever logs in, so that one does it for all that wait.
    pub(super) turn: tokio::sync::Mutex<()>,
    failure: Mutex<Option<Failure>>,
    /// No login begins any more.
    is_closed: AtomicBool,
    /// A secret id that was taken out of its wrapping, and that wrapping's token.
    unwrapped: Mutex<Option<Unwrapped>>,
}

#[derive(Clone)]
struct Unwrapped {
    wrapping: SecretString,
    secret_id: SecretString,
}

#[derive(Clone)]
struct Failure {
    at: Instant,
    pause: Duration,
    outage: Outage,
}

/// What a refused token is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// There is no other one.
    IsLast,
    /// It has ended, or another one has taken its place: the next one may be better.
    IsForgotten,
    /// No request with it was ever accepted: the next login waits.
    WasNew,
}

/// What is to be done next about a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Next {
    /// Nothing, for so long.
    Wait(Duration),
    /// Find out how long it lasts.
    LookUp,
    /// Renew it.
    Renew,
    /// Log in anew.
    LogIn,
}

impl Session {
    pub(super) fn new(login: VaultLogin) -> Self {
        let held = match &login {
            VaultLogin::Token(token) => {
                Some(Held { token: token.clone(), is_ours: false, is_accepted: false, lease: None })
            }
            _ => None,
        };
        Self {
            login,
            held: Mutex::new(held),
            turn: tokio::sync::Mutex::default(),
            failure: Mutex::default(),
            is_closed: AtomicBool::new(false),
            unwrapped: Mutex::default(),
        }
    }

    /// Whether a new token can be had without anybody's help.
    pub(super) fn can_log_in(&self) -> bool {
        !matches!(self.login, VaultLogin::Token(_))
    }

    /// The token to use, unless a login must come first.
    pub(super) fn token(&self) -> Result<Option<SecretString>, Outage> {
        if let VaultLogin::TokenFile(path) = &self.login {
            return read_secret(path).map(Some);
        }
        let held = lock(&self.held);
        let is_over = |held: &&Held| !(self.can_log_in() && held.lease.is_some_and(|lease| lease.is_over()));
        Ok(held.as_ref().filter(is_over).map(|held| held.token.clone()))
    }

    /// The failure of a login that is too fresh to be tried again.
    pub(super) fn fresh_failure(&self) -> Option<Outage> {
        let failure = lock(&self.failure);
        failure
            .as_ref()
            .filter(|failure| failure.at.elapsed() < failure.pause)
            .map(|failure| failure.outage.clone())
    }

    /// What a login has to send; secrets are read anew each time, since others rotate them.
    pub(super) fn request(&self) -> Result<Option<LoginRequest>, Outage> {
        let at = |mount: &str, body: Value| {
            let mut path = vec!["auth".to_owned()];
            path.extend(super::path_segments(mount));
            path.push("login".to_owned());
            Some(LoginRequest { path, body })
        };
        let text = |secret: SecretString| secret.expose_secret().to_owned();
        Ok(match &self.login {
            VaultLogin::Token(_) | VaultLogin::TokenFile(_) => None,
            VaultLogin::Kubernetes { mount, role, jwt_file } => {
                at(mount, json!({"role": role, "jwt": text(read_secret(jwt_file)?)}))
            }
            VaultLogin::Jwt { mount, role, jwt_file } => {
                at(mount, with_role(json!({"jwt": text(read_secret(jwt_file)?)}), "role", role.as_deref()))
            }
            VaultLogin::AppRole { mount, role_id_file, secret_id_file, wrapped } => {
                let secret_id = match lock(&self.unwrapped).clone() {
                    Some(unwrapped) => unwrapped.secret_id,
                    None if *wrapped => {
                        return Err(Outage::new(
                            OutageReason::LoginRejected,
                            "the secret id is still wrapped",
                        ));
                    }
                    None => read_secret(secret_id_file)?,
                };
                at(mount, json!({"role_id": text(read_secret(role_id_file)?), "secret_id": text(secret_id)}))
            }
            VaultLogin::Cert { mount, role } => at(mount, with_role(json!({}), "name", role.as_deref())),
        })
    }

    /// The token that a secret id is wrapped in, where it has not been taken out yet: the first one, or a fresh one that
    /// somebody has put into the file since.
    pub(super) fn wrapping(&self) -> Result<Option<SecretString>, Outage> {
        let VaultLogin::AppRole { secret_id_file, wrapped: true, .. } = &self.login else { return Ok(None) };
        let known = lock(&self.unwrapped).clone();
        match (read_secret(secret_id_file), known) {
            (Ok(wrapping), Some(known)) if wrapping.expose_secret() == known.wrapping.expose_secret() => {
                Ok(None)
            }
            (Ok(wrapping), _) => Ok(Some(wrapping)),
            // The wrapping may be gone: it has served.
            (Err(_), Some(_)) => Ok(None),
            (Err(outage), None) => Err(outage),
        }
    }

    pub(super) fn unwrapped(&self, wrapping: SecretString, secret_id: SecretString) {
        *lock(&self.unwrapped) = Some(Unwrapped { wrapping, secret_id });
    }

    /// Takes what a login or a renewal has answered.
    pub(super) fn accept(&self, auth: &Value) -> Result<SecretString, Outage> {
        let token = auth.get("client_token").and_then(Value::as_str).filter(|token| !token.is_empty());
        let token = token
            .ok_or_else(|| Outage::new(OutageReason::NotTheStore, "a login's answer without a token"))?;
        let token = SecretString::from(token);
        let lease = lease_in(auth);
        *lock(&self.held) = Some(Held { token: token.clone(), is_ours: true, is_accepted: false, lease });
        Ok(token)
    }

    /// Notes that a login has failed, so that the next one waits.
    pub(super) fn reject(&self, outage: &Outage) {
        self.wait_longer(outage, LOGIN_PAUSE);
    }

    fn wait_longer(&self, outage: &Outage, (first, longest): (Duration, Duration)) {
        let mut failure = lock(&self.failure);
        let pause = failure.as_ref().map_or(first, |failure| doubled(failure.pause, longest).max(first));
        *failure = Some(Failure { at: Instant::now(), pause: pause.min(longest), outage: outage.clone() });
    }

    /// Notes that a request with this token was accepted: only this ends the growth of the pauses.
    pub(super) fn accepted(&self, token: &SecretString) {
        let mut held = lock(&self.held);
        if let Some(held) = held.as_mut().filter(|held| is_same(&held.token, token)) {
            if !held.is_accepted {
                *lock(&self.failure) = None;
            }
            held.is_accepted = true;
        }
    }

    /// Forgets a token that was refused.
    pub(super) fn refused(&self, token: &SecretString, outage: impl FnOnce() -> Outage) -> Refused {
        if !self.can_log_in() {
            return Refused::IsLast;
        }
        let forgotten = lock(&self.held).take_if(|held| is_same(&held.token, token));
        match forgotten {
            Some(Held { is_ours: true, is_accepted: false, .. }) => {
                self.wait_longer(&outage(), REFUSED_PAUSE);
                Refused::WasNew
            }
            _ => Refused::IsForgotten,
        }
    }

    /// Lets no login begin any more. The token that a login of ours has made: to be revoked.
    pub(super) fn close(&self) -> Option<SecretString> {
        self.is_closed.store(true, Ordering::SeqCst);
        lock(&self.held).take_if(|held| held.is_ours).map(|held| held.token)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Takes what a renewal has answered; whether it has made the token last longer.
    pub(super) fn renewed(&self, auth: &Value) -> bool {
        let mut held = lock(&self.held);
        let Some(held) = held.as_mut() else { return false };
        let (before, after) = (held.lease, lease_in(auth));
        let left = before.map_or(Duration::ZERO, |lease| lease.lasts.saturating_sub(lease.since.elapsed()));
        let is_longer = after.is_none_or(|after| after.lasts > left + LEAST);
        // Capped by the longest life that a token may have: what was left of it is left.
        held.lease = if is_longer { after } else { before };
        is_longer
    }

    /// Takes what a token says of itself.
    pub(super) fn looked_up(&self, data: &Value) {
        let number = |name: &str| data.get(name).and_then(Value::as_u64).unwrap_or_default();
        let is_renewable = data.get("renewable").and_then(Value::as_bool).unwrap_or_default();
        // Root's lasts for ever. A renewal would cost one of few uses.
        let lasts = Duration::from_secs(number("ttl"));
        let lease = match (data.get("expire_time"), number("num_uses")) {
            (Some(Value::Null) | None, 0) if lasts.is_zero() => Lease::of(Duration::MAX, false),
            (_, uses) => Lease::of(lasts, is_renewable && uses == 0),
        };
        if let Some(held) = lock(&self.held).as_mut() {
            held.lease = Some(lease);
        }
    }

    /// What is to be done next.
    pub(super) fn next(&self) -> Next {
        let held = lock(&self.held);
        match held.as_ref() {
            _ if matches!(self.login, VaultLogin::TokenFile(_)) => Next::Wait(MAX_PAUSE),
            None => Next::LogIn,
            Some(Held { lease: None, .. }) => Next::LookUp,
            Some(Held { lease: Some(lease), .. }) => match lease.until_renewal() {
                Duration::ZERO if lease.is_over() && self.can_log_in() => Next::LogIn,
                Duration::ZERO if lease.is_renewable => Next::Renew,
                Duration::ZERO if self.can_log_in() => Next::LogIn,
                // It ends, and nobody here can help it: the next refusal says so.
                Duration::ZERO => Next::Wait(MAX_PAUSE),
                wait => Next::Wait(wait.min(Duration::from_secs(24 * 3600))),
            },
        }
    }

    /// How much longer the token lasts, where that is known and has an end.
    pub(super) fn lasts(&self) -> Option<Duration> {
        let lease = lock(&self.held).as_ref()?.lease?;
        (lease.lasts < Duration::MAX).then(|| lease.lasts.saturating_sub(lease.since.elapsed()))
    }

    /// A token that a login of ours has made.
    pub(super) fn ours(&self) -> Option<SecretString> {
        lock(&self.held).as_ref().filter(|held| held.is_ours).map(|held| held.token.clone())
    }
}

fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

fn with_role(mut body: Value, name: &str, role: Option<&str>) -> Value {
    if let (Some(role), Some(members)) = (role, body.as_object_mut()) {
        members.insert(name.to_owned(), json!(role));
    }
    body
}

/// How long a token lasts by a login's or a renewal's answer; none for one that lasts for ever.
fn lease_in(auth: &Value) -> Option<Lease> {
    let seconds = auth.get("lease_duration").and_then(Value::as_u64).unwrap_or_default();
    let is_renewable = auth.get("renewable").and_then(Value::as_bool).unwrap_or_default();
    // A renewal would cost one of few uses.
    let is_renewable = is_renewable && auth.get("num_uses").and_then(Value::as_u64).unwrap_or_default() == 0;
    let lasts = if seconds == 0 { Duration::MAX } else { Duration::from_secs(seconds) };
    Some(Lease::of(lasts, is_renewable && seconds > 0))
}

fn read_secret(path: &Path) -> Result<SecretString, Outage> {
    let unreadable = |problem: String| {
        // A mounted secret is replaced by a rename; it may be there again at the next look.
        Outage::new(OutageReason::LoginRejected, format!("{}: {problem}", path.display()))
    };
    let text = named_file::read(path).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(text).map_err(|_| unreadable("it is not UTF-8 text".to_owned()))?;
    // Editors on Windows put a byte order mark before it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).trim();
    match text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Err(unreadable("it holds no token".to_owned())),
        false => Ok(SecretString::from(text)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
