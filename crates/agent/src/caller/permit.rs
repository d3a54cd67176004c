//! What a caller may do: who is admitted at all, which scopes a method asks for, how often and how much at a time.

use super::{AuthRefusal, Owner, TokenHolder};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
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
    /// How many requests of one caller are worked on at a time.
    pub concurrency: usize,
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
    callers: Arc<Mutex<HashMap<Owner, Activity>>>,
    /// The bytes of all long answers on their way.
    long_bytes: Arc<AtomicU64>,
    began: Instant,
}

/// An answer that is longer than this, in bytes, is a long one; and so many of one caller's may be on their way.
const LONG_ANSWER: u64 = 1024 * 1024;
const MOST_LONG_ANSWERS: usize = 4;

/// How many bytes the long answers of all callers may have together: as many as all tasks that are kept. One that is
/// longer still has to be alone.
const MOST_LONG_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Debug, Clone, Copy, Default)]
struct Activity {
    running: usize,
    /// How many long answers are on their way.
    long: usize,
    /// When all calls so far would have come at an even pace (the theoretical arrival time of GCRA), since `began`.
    paced: Duration,
}

/// A caller's place among those that are worked on.
pub(crate) struct Place {
    callers: Arc<Mutex<HashMap<Owner, Activity>>>,
    owner: Owner,
    all_long_bytes: Arc<AtomicU64>,
    /// The bytes of this answer, where it is a long one.
    long_bytes: u64,
}

impl Place {
    /// Says how long the answer is. Whoever reads long ones slowly makes us hold them.
    pub(crate) fn answers(&mut self, bytes: u64) -> Result<(), AuthRefusal> {
        if bytes <= LONG_ANSWER || self.long_bytes > 0 {
            return Ok(());
        }
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let activity = callers.entry(self.owner.clone()).or_default();
        if activity.long >= MOST_LONG_ANSWERS {
            return Err(AuthRefusal::TooManyAtOnce);
        }
        // Under the lock of the callers: nobody comes between the look and the change.
        let others = self.all_long_bytes.load(Ordering::Relaxed);
        if others > 0 && others.saturating_add(bytes) > MOST_LONG_BYTES {
            return Err(AuthRefusal::TooManyAtOnce);
        }
        self.all_long_bytes.store(others.saturating_add(bytes), Ordering::Relaxed);
        activity.long += 1;
        self.long_bytes = bytes;
        Ok(())
    }
}

impl Permits {
    pub(super) fn new(settings: PermitSettings) -> Self {
        Self { settings, callers: Arc::default(), long_bytes: Arc::default(), began: Instant::now() }
    }

    /// Whether a client is let in at all.
    pub(super) fn admit(&self, holder: &TokenHolder) -> Result<(), AuthRefusal> {
        match &self.settings.allowed {
            Some(allowed) if !allowed.contains(holder.client_id()) => Err(AuthRefusal::NotAdmitted),
            _ => Ok(()),
        }
    }

    /// A place for one more request of a caller's.
    pub(super) fn place(&self, owner: &Owner) -> Result<Place, AuthRefusal> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= MOST_CALLERS {
            let now = self.began.elapsed();
            callers.retain(|_, activity| activity.running > 0 || activity.paced > now);
        }
        let activity = callers.entry(owner.clone()).or_default();
        if activity.running >= self.settings.concurrency {
            return Err(AuthRefusal::TooManyAtOnce);
        }
        activity.running += 1;
        Ok(Place {
            callers: Arc::clone(&self.callers),
            owner: owner.clone(),
            all_long_bytes: Arc::clone(&self.long_bytes),
            long_bytes: 0,
        })
    }

    /// Counts a call of a caller that has proved who it is.
    pub(super) fn pace(&self, owner: &Owner) -> Result<(), AuthRefusal> {
        let Some(rate) = self.settings.rate else { return Ok(()) };
        let now = self.began.elapsed();
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let activity = callers.entry(owner.clone()).or_default();
        activity.paced = paced(activity.paced, now, rate).map_err(AuthRefusal::TooOften)?;
        Ok(())
    }

    /// Whether a token allows a method.
    pub(crate) fn allow(&self, holder: &TokenHolder, method: &str, reads: bool) -> Result<(), AuthRefusal> {
        let Some(scopes) = &self.settings.scopes else { return Ok(()) };
        let usual = [if reads { "agent:read" } else { "agent:write" }.to_owned()];
        let needed = scopes.get(method).map_or(usual.as_slice(), Vec::as_slice);
        match needed.iter().all(|scope| holder.client.scopes.contains(scope)) {
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

impl Drop for Place {
    fn drop(&mut self) {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(activity) = callers.get_mut(&self.owner) {
            activity.running -= 1;
            activity.long -= usize::from(self.long_bytes > 0);
            self.all_long_bytes.fetch_sub(self.long_bytes, Ordering::Relaxed);
            if activity.running == 0 && activity.paced.is_zero() {
                callers.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(settings: impl FnOnce(&mut PermitSettings)) -> Permits {
        let mut plain = PermitSettings { allowed: None, scopes: None, rate: None, concurrency: 2 };
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
    fn places_are_each_callers_own_and_come_back() {
        let permits = permits(|_| {});
        let (alice, bob) = (crate::caller::owner_named("alice"), crate::caller::owner_named("bob"));
        let places: Vec<_> =
            (0..2).map(|_| permits.place(&alice).unwrap_or_else(|_| panic!("a place"))).collect();
        assert!(matches!(permits.place(&alice), Err(AuthRefusal::TooManyAtOnce)));
        assert!(permits.place(&bob).is_ok());
        drop(places);
        assert!(permits.place(&alice).is_ok());
    }

    #[test]
    fn few_long_answers_are_on_their_way() {
        let permits = permits(|settings| settings.concurrency = 100);
        let alice = crate::caller::owner_named("alice");
        let mut places: Vec<_> = (0..=MOST_LONG_ANSWERS)
            .map(|_| permits.place(&alice).unwrap_or_else(|_| panic!("a place")))
            .collect();
        let mut last = places.pop().expect("one more than may be long");
        for place in &mut places {
            assert_eq!(place.answers(LONG_ANSWER + 1), Ok(()));
        }
        assert_eq!(last.answers(LONG_ANSWER + 1), Err(AuthRefusal::TooManyAtOnce));
        assert_eq!(last.answers(LONG_ANSWER), Ok(()), "a short one is none of them");
        drop(places);
        assert_eq!(last.answers(LONG_ANSWER + 1), Ok(()));
    }

    #[test]
    fn long_answers_of_all_callers_are_bounded_together() {
        let permits = permits(|settings| settings.concurrency = 100);
        let owners: Vec<_> = (0..3).map(|number| crate::caller::owner_named(&format!("caller {number}"))).collect();
        let mut places: Vec<_> =
            owners.iter().map(|owner| permits.place(owner).unwrap_or_else(|_| panic!("a place"))).collect();
        let mut last = places.pop().expect("three");
        for place in &mut places {
            assert_eq!(place.answers(MOST_LONG_BYTES / 2), Ok(()));
        }
        assert_eq!(last.answers(LONG_ANSWER + 1), Err(AuthRefusal::TooManyAtOnce));
        drop(places);
        assert_eq!(last.answers(2 * MOST_LONG_BYTES), Ok(()), "alone");
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
        assert!(permits(|_| {}).allow(&holder, "message/send", false).is_ok(), "nobody asks");
        let special = BTreeMap::from([("tasks/list".to_owned(), vec!["list".to_owned()])]);
        let permits = permits(|settings| settings.scopes = Some(special));
        assert!(permits.allow(&holder, "tasks/get", true).is_ok());
        for (method, reads, scope) in [("message/send", false, "agent:write"), ("tasks/list", true, "list")] {
            let refused = permits.allow(&holder, method, reads);
            assert_eq!(refused, Err(AuthRefusal::InsufficientScope(scope.to_owned())));
        }
    }
}
