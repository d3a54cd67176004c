//! What a caller may do: who is admitted at all, which scopes a method asks for, how often. How much at a time:
//! [`crate::places`].

use super::{AuthRefusal, Client, Owner, TokenHolder};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Callers that have done nothing for a while are forgotten once there are this many.
const MOST_CALLERS: usize = 20_000;

/// What callers may do.
#[derive(Debug, Clone)]
pub struct PermitSettings {
    /// The client ids that are let in, exactly; `None` for everybody with a token.
    pub allowed: Option<BTreeSet<String>>,
    /// The scopes that a method asks for, by its name, where scopes are asked for at all. What is not named asks for
    /// `agent:read` where it only reads, else for `agent:write`.
    pub scopes: Option<BTreeMap<String, Vec<String>>>,
    /// How often one caller may call.
    pub rate: Option<Rate>,
}

/// So many calls in so much time. All of them may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    calls: u32,
    within: Duration,
}

/// The text is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a rate: a number, then `/s`, `/m` or `/h`")]
pub struct RateError;

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (calls, unit) = text.split_once('/').ok_or(RateError)?;
        let seconds = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(RateError),
        };
        let calls = calls.trim().parse().ok().filter(|calls| *calls > 0).ok_or(RateError)?;
        Ok(Self { calls, within: Duration::from_secs(seconds) })
    }
}

/// Watches over what callers may do.
pub(crate) struct Permits {
    settings: PermitSettings,
    /// When all calls of a caller so far would have come at an even pace (the theoretical arrival time of GCRA), since
    /// `began`.
    paced: Mutex<HashMap<Owner, Duration>>,
    began: Instant,
}

impl Permits {
    pub(super) fn new(settings: PermitSettings) -> Self {
        Self { settings, paced: Mutex::default(), began: Instant::now() }
    }

    /// Whether a client is let in at all.
    pub(super) fn admit(&self, holder: &TokenHolder) -> Result<(), AuthRefusal> {
        match &self.settings.allowed {
            Some(allowed) if !allowed.contains(holder.client_id()) => Err(AuthRefusal::NotAdmitted),
            _ => Ok(()),
        }
    }

    /// Counts a call of a caller that has proved who it is.
    pub(super) fn pace(&self, owner: &Owner) -> Result<(), AuthRefusal> {
        let Some(rate) = self.settings.rate else { return Ok(()) };
        let now = self.began.elapsed();
        let mut callers = self.paced.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= MOST_CALLERS {
            callers.retain(|_, paced| *paced > now);
        }
        let before = callers.get(owner).copied().unwrap_or_default();
        callers.insert(owner.clone(), paced(before, now, rate).map_err(AuthRefusal::TooOften)?);
        Ok(())
    }

    /// Whether a token allows a method.
    pub(crate) fn allow(&self, client: &Client, method: &str, reads: bool) -> Result<(), AuthRefusal> {
        let Some(scopes) = &self.settings.scopes else { return Ok(()) };
        let usual = [if reads { "agent:read" } else { "agent:write" }.to_owned()];
        let needed = scopes.get(method).map_or(usual.as_slice(), Vec::as_slice);
        match needed.iter().all(|scope| client.scopes.contains(scope)) {
            true => Ok(()),
            false => Err(AuthRefusal::InsufficientScope(needed.join(" "))),
        }
    }
}

/// The new theoretical arrival time of one more call (GCRA); how long to wait where it comes too early.
fn paced(before: Duration, now: Duration, rate: Rate) -> Result<Duration, Duration> {
    let each = rate.within / rate.calls;
    let next = before.max(now) + each;
    match next.checked_sub(now + rate.within) {
        Some(early) if !early.is_zero() => Err(early),
        _ => Ok(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(settings: impl FnOnce(&mut PermitSettings)) -> Permits {
        let mut plain = PermitSettings { allowed: None, scopes: None, rate: None };
        settings(&mut plain);
        Permits::new(plain)
    }

    #[test]
    fn rates_are_read() {
        assert_eq!("10/s".parse(), Ok(Rate { calls: 10, within: Duration::from_secs(1) }));
        assert_eq!("600 / m".parse(), Ok(Rate { calls: 600, within: Duration::from_secs(60) }));
        for odd in ["", "10", "0/s", "-1/s", "1/d", "1.5/s", "10/s/s"] {
            assert_eq!(odd.parse::<Rate>(), Err(RateError), "{odd}");
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_pace_counts() {
        let rate: Rate = "10/s".parse().expect("a rate");
        let mut at = Duration::ZERO;
        let now = Duration::from_secs(100);
        for _ in 0..10 {
            at = paced(at, now, rate).expect("the burst");
        }
        let wait = paced(at, now, rate).expect_err("too often");
        assert_eq!(wait, Duration::from_millis(100));
        assert!(paced(at, now + wait, rate).is_ok());
    }

    #[test]
    fn the_list_is_exact() {
        let allowed = BTreeSet::from(["did:bindu:a:b".to_owned()]);
        let permits = permits(|settings| settings.allowed = Some(allowed));
        assert!(permits.admit(&TokenHolder::named("did:bindu:a:b")).is_ok());
        for other in ["did:bindu:a:B", "did:bindu:a:bc", "did:bindu:a:", "xdid:bindu:a:b", "", "service"] {
            assert_eq!(permits.admit(&TokenHolder::named(other)), Err(AuthRefusal::NotAdmitted), "{other}");
        }
    }

    #[test]
    fn methods_ask_for_their_scopes() {
        let holder = TokenHolder::with_scopes("a", &["agent:read"]);
        assert!(permits(|_| {}).allow(&holder.client, "message/send", false).is_ok(), "nobody asks");
        let special = BTreeMap::from([("tasks/list".to_owned(), vec!["list".to_owned()])]);
        let permits = permits(|settings| settings.scopes = Some(special));
        assert!(permits.allow(&holder.client, "tasks/get", true).is_ok());
        for (method, reads, scope) in [("message/send", false, "agent:write"), ("tasks/list", true, "list")] {
            let refused = permits.allow(&holder.client, method, reads);
            assert_eq!(refused, Err(AuthRefusal::InsufficientScope(scope.to_owned())));
        }
    }
}
