//! Bringing the OAuth client to what it should be: one step of the table at a time, until there is none left.

use super::{
    Credentials, CredentialsWrite, Effect, Event, HydraClient, Member, Pause, Trial, Turn, WriteFailure,
    repairs::Repair,
};
use crate::{
    Reason,
    plan::{
        TakeOver,
        client::{self, Authentication, Client, ClientPolicy, Local, NO_KEY, Secret, Step, Store},
    },
};
use bindu_identity::PublicKey;
use bindu_store::Expected;
use std::time::Duration;

/// More steps than any way through the table has; a guard against two writers that undo each other.
const MAX_STEPS: u8 = 16;

/// How long the loser of a fence waits before it observes again: at least and at most.
const FENCE_PAUSE: Pause = Pause { least: Duration::from_secs(1), most: Duration::from_secs(3) };

/// How long Hydra is waited for, each time.
pub(super) const HYDRA_TIMEOUT: Duration = Duration::from_secs(10);

/// What the work may do, and what is known when it begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Occasion {
    /// Our key.
    pub(super) key: PublicKey,
    /// If writing is allowed.
    pub(super) sure: bool,
    /// Consent; not in the reconciler, once everybody has been heard.
    pub(super) take_over: TakeOver,
    /// If name, scopes and URL are written.
    pub(super) describe: bool,
    /// If this process, sure and of the same record, has seen the client name our key before: then it is ours, whoever names
    /// another now.
    pub(super) compared: bool,
    /// If our key was made by this very process.
    pub(super) is_new: bool,
    /// The named key of which the record's history says, as a whole, that it never held it.
    pub(super) never_held: Option<String>,
    /// If Hydra named the prepared key before, beside this very record: then nobody has made it the current one.
    pub(super) next_is_drift: bool,
    /// The named key that the history was asked for, or needs not be.
    pub(super) is_read_for: Option<String>,
    /// If the history could be asked: the record is there, and the store answers.
    pub(super) has_history: bool,
    /// Until when, at a start.
    pub(super) deadline: Option<Duration>,
}

/// The work in progress.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClientWork {
    occasion: Occasion,
    credentials: Credentials,
    hydra: Option<HydraClient>,
    secret: Secret,
    is_refused: bool,
    fenced: bool,
    repaired: Vec<Member>,
    steps: u8,
    doing: Doing,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Doing {
    Hearing,
    Trying,
    Writing(CredentialsWrite),
    /// A fence was lost: wait, read, ask.
    Losing,
    Reading {
        then_ask: bool,
    },
    Registering,
    Patching(Vec<Member>),
}

/// How the work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finished {
    /// Why the client is not as it should be.
    pub(super) reason: Option<Reason>,
    /// What was put back into Hydra's client on the way.
    pub(super) repairs: Vec<Repair>,
    /// If a repair was begun, and the store written for it.
    pub(super) is_fenced: bool,
    /// If Hydra named a key that the record's history was not read for: it must be, before anything is concluded.
    pub(super) is_unread: bool,
    /// If the store and Hydra have both given an answer.
    pub(super) is_heard: bool,
}

impl ClientWork {
    pub(super) fn new(credentials: Credentials, occasion: Occasion) -> Self {
        Self {
            occasion,
            credentials,
            hydra: None,
            secret: Secret::Untested,
            is_refused: false,
            fenced: false,
            repaired: Vec::new(),
            steps: 0,
            doing: Doing::Hearing,
        }
    }

    /// The first effect.
    pub(super) fn begin(&self, now: Duration) -> Effect {
        Effect::HearHydra { within: self.within(now) }
    }

    fn within(&self, now: Duration) -> Duration {
        self.occasion
            .deadline
            .map_or(HYDRA_TIMEOUT, |deadline| deadline.saturating_sub(now).min(HYDRA_TIMEOUT))
    }

    /// Notes Hydra's answer, for a look.
    pub(crate) fn note_hydra(&mut self, hydra: HydraClient) {
        self.hydra = Some(hydra);
    }

    /// Notes a token request's outcome, for a look.
    pub(crate) fn note_trial(&mut self, trial: Trial) {
        (self.secret, self.is_refused) = (trial.secret, trial.is_refused);
    }

    /// Takes an event; what is to be done next, or how it ended.
    pub(super) fn told(&mut self, event: Event, auto_register: bool, turn: &mut Turn) -> Option<Finished> {
        match self.note(event) {
            Ok(Some(effect)) => turn.push(effect),
            Ok(None) => return self.next(auto_register, turn),
            Err(reason) => return Some(self.end(Some(reason), turn)),
        }
        None
    }

    /// Hydra's answer, with what the record and the operator say about it: a key that nobody has made the current one is drift,
    /// and so is one that the operator wants replaced.
    fn judged(&self, hydra: HydraClient) -> HydraClient {
        let (Client::OfOurNextKey, Some(named)) = (&hydra.client, hydra.named) else { return hydra };
        let text = named.to_string();
        let is_drift = self.occasion.next_is_drift && !hydra.follows;
        let before = self.credentials.taken_over();
        let is_consented = self.occasion.take_over.covers(Some(&text), &before, hydra.follows);
        match is_drift || is_consented {
            true => HydraClient { client: Client::OfAnotherKey(text), ..hydra },
            false => hydra,
        }
    }

    /// Notes an outcome; an effect that follows from it alone.
    fn note(&mut self, event: Event) -> Result<Option<Effect>, Reason> {
        match (std::mem::replace(&mut self.doing, Doing::Hearing), event) {
            (_, Event::Hydra(hydra)) => self.hydra = Some(self.judged(hydra)),
            (_, Event::SecretTried(trial)) => {
                (self.secret, self.is_refused) = (trial.secret, trial.is_refused);
            }
            (Doing::Writing(write), Event::CredentialsWritten(outcome)) => {
                return self.written(write, outcome);
            }
            (Doing::Losing, Event::Elapsed) => {
                self.doing = Doing::Reading { then_ask: true };
                return Ok(Some(Effect::ReadCredentials));
            }
            (Doing::Reading { then_ask }, Event::CredentialsRead(store)) => {
                self.credentials.store = match store {
                    Store::Present { .. } | Store::Malformed => store,
                    Store::Denied => return Err(Reason::StoreDenied),
                    // After a lost race the winner's record is there; if not, a standby lags. Try again later.
                    Store::Absent | Store::Deleted { .. } | Store::Unavailable => {
                        return Err(Reason::StoreUnavailable);
                    }
                };
                self.secret = Secret::Untested;
                if then_ask {
                    return Ok(Some(Effect::AskHydra { within: HYDRA_TIMEOUT }));
                }
            }
            (Doing::Registering, Event::Registered(Ok(true))) => {
                self.hydra = Some(HydraClient {
                    client: Client::OfOurKey,
                    named: Some(self.occasion.key),
                    follows: false,
                    authentication: Authentication::Ours,
                    differs: Vec::new(),
                });
            }
            (Doing::Registering, Event::Registered(Ok(false))) => {
                return Ok(Some(Effect::AskHydra { within: HYDRA_TIMEOUT }));
            }
            (Doing::Registering, Event::Registered(Err(reason))) => return Err(reason),
            (Doing::Patching(members), Event::Patched(outcome)) => {
                outcome?;
                let is_description = |member: &Member| match member {
                    Member::SecondKey
                    | Member::Lineage
                    | Member::Name
                    | Member::Scope
                    | Member::Audience
                    | Member::Url => true,
                    Member::PublicKey
                    | Member::Secret
                    | Member::NextSecret
                    | Member::AuthenticationMethod
                    | Member::GrantTypes => false,
                };
                if !members.iter().all(is_description) {
                    self.secret = Secret::Untested;
                }
                self.repaired.extend(members);
                return Ok(Some(Effect::AskHydra { within: HYDRA_TIMEOUT }));
            }
            _ => {}
        }
        Ok(None)
    }

    fn written(
        &mut self,
        write: CredentialsWrite,
        outcome: Result<u64, WriteFailure>,
    ) -> Result<Option<Effect>, Reason> {
        let is_rewrite = !matches!(write, CredentialsWrite::New | CredentialsWrite::Local);
        match outcome {
            Ok(version) => {
                self.credentials.store = self.after(&write, version);
                match write {
                    CredentialsWrite::New => self.secret = Secret::Untested,
                    CredentialsWrite::Local => {}
                    CredentialsWrite::Same | CredentialsWrite::Consent { .. } => self.fenced = true,
                    CredentialsWrite::Promoted => self.secret = Secret::Works,
                }
                Ok(None)
            }
            Err(WriteFailure::Conflict) if is_rewrite => {
                self.doing = Doing::Losing;
                Ok(Some(Effect::Wait(FENCE_PAUSE)))
            }
            Err(WriteFailure::Conflict) => Ok(Some(self.read_winner())),
            Err(WriteFailure::Denied) if is_rewrite => Err(Reason::StoreDenied),
            Err(WriteFailure::Denied) => Ok(Some(self.read_winner())),
            Err(WriteFailure::Unavailable { .. } | WriteFailure::Refused) => Err(Reason::StoreUnavailable),
        }
    }

    fn read_winner(&mut self) -> Effect {
        self.doing = Doing::Reading { then_ask: false };
        Effect::ReadCredentials
    }

    /// The record after a write.
    fn after(&self, write: &CredentialsWrite, version: u64) -> Store {
        let (mut consent, mut next, mut current) = match &self.credentials.store {
            Store::Present { taken_over, has_next, generation, .. } => {
                (taken_over.clone(), *has_next, *generation)
            }
            _ => (None, false, 0),
        };
        match write {
            CredentialsWrite::New | CredentialsWrite::Same => {}
            CredentialsWrite::Local => current = self.credentials.local.unwrap_or(0),
            CredentialsWrite::Consent { key } => consent = Some(key.clone()),
            CredentialsWrite::Promoted => (next, current) = (false, current.saturating_add(1)),
        }
        Store::Present { version, taken_over: consent, has_next: next, generation: current }
    }

    fn next(&mut self, auto_register: bool, turn: &mut Turn) -> Option<Finished> {
        if self.is_unread() {
            return Some(Finished { is_unread: true, ..self.finished(Some(Reason::ClientPending)) });
        }
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Some(self.end(Some(Reason::ContestedClient), turn));
        }
        let within = self.within(turn.now);
        let seen = self.observed();
        let policy = ClientPolicy { auto_register, take_over: self.occasion.take_over.clone() };
        let step = client::plan(&seen, &policy);
        let write = |work: &mut Self, write: CredentialsWrite, expected: Expected| {
            work.doing = Doing::Writing(write.clone());
            Effect::WriteCredentials { write, expected }
        };
        let over = |over: Option<u64>| over.map_or(Expected::Absent, Expected::Version);
        let current = match &self.credentials.store {
            Store::Present { version, .. } => Expected::Version(*version),
            _ => Expected::Absent,
        };
        let is_late = self.occasion.deadline.is_some_and(|deadline| turn.now >= deadline);
        let effect = match step {
            Step::Done => return Some(self.end(self.is_refused.then_some(Reason::ClientRefused), turn)),
            Step::Leave(reason) => return Some(self.end(Some(reason), turn)),
            // A start doesn't wait for long: the reconciler goes on.
            _ if is_late => return Some(self.finished(Some(Reason::ClientPending))),
            Step::ProveSecret => {
                self.doing = Doing::Trying;
                Effect::TrySecret { within }
            }
            Step::AdoptLocal { over: at } => write(self, CredentialsWrite::Local, over(at)),
            Step::CreateSecret { over: at } => write(self, CredentialsWrite::New, over(at)),
            Step::Promote { over: at } => write(self, CredentialsWrite::Promoted, Expected::Version(at)),
            Step::Fence => write(self, CredentialsWrite::Same, current),
            Step::TakeOver { key } => {
                let fingerprint = key.and_then(|key| key.parse::<PublicKey>().ok());
                let key = fingerprint.map_or(NO_KEY.to_owned(), |key| key.fingerprint().to_string());
                write(self, CredentialsWrite::Consent { key }, current)
            }
            Step::Register => {
                self.doing = Doing::Registering;
                Effect::Register { within }
            }
            Step::Advance => self.patch(vec![Member::NextSecret], within),
            Step::Describe => {
                let members = self.described();
                self.patch(members, within)
            }
            Step::Repair => {
                let members = self.repairs(&seen);
                // What was put back already and is still refused wants something else.
                if members.is_empty() || members.iter().all(|member| self.repaired.contains(member)) {
                    return Some(self.end(Some(Reason::ClientRefused), turn));
                }
                self.patch(members, within)
            }
        };
        turn.push(effect);
        None
    }

    fn patch(&mut self, members: Vec<Member>, within: Duration) -> Effect {
        self.doing = Doing::Patching(members.clone());
        Effect::Patch { members, within }
    }

    /// What the table sees.
    pub(crate) fn observed(&self) -> client::Observed {
        let (client, authentication) =
            self.hydra.as_ref().map_or((Client::Unavailable, Authentication::Ours), |hydra| {
                (hydra.client.clone(), hydra.authentication)
            });
        let generation = match &self.credentials.store {
            Store::Present { generation, .. } => Some(*generation),
            _ => None,
        };
        client::Observed {
            key_is_doubtful: self.is_doubtful(&client),
            store: self.credentials.store.clone(),
            local: if self.credentials.local.is_some() { Local::Present } else { Local::None },
            hydra: client,
            secret: self.secret,
            sure: self.occasion.sure,
            fenced: self.fenced,
            authentication,
            is_rolled_back: generation
                .zip(self.credentials.local)
                .is_some_and(|(store, local)| store < local),
            description_differs: !self.described().is_empty(),
        }
    }

    /// Whether our key may be the wrong one of two: see [`client::Observed::key_is_doubtful`].
    fn is_doubtful(&self, client: &Client) -> bool {
        let Client::OfAnotherKey(named) = client else { return false };
        let occasion = &self.occasion;
        !occasion.compared && (occasion.is_new || occasion.never_held.as_ref() != Some(named))
    }

    fn is_unread(&self) -> bool {
        let Some(HydraClient { client: Client::OfAnotherKey(named), .. }) = &self.hydra else { return false };
        self.occasion.has_history && self.occasion.is_read_for.as_ref() != Some(named)
    }

    /// What somebody else has to write who registers the client instead of us: what we would, if it is ours to change.
    pub(crate) fn for_somebody_else(&self) -> Vec<Member> {
        let seen = client::Observed { fenced: true, ..self.observed() };
        let policy = ClientPolicy { auto_register: true, take_over: self.occasion.take_over.clone() };
        let mut members = match client::plan(&seen, &policy) {
            Step::Repair => self.repairs(&seen),
            Step::Describe => Vec::new(),
            _ => return Vec::new(),
        };
        members.extend(self.described());
        members
    }

    /// What of a client that names our key differs, and may be written now.
    fn described(&self) -> Vec<Member> {
        let differs = self.hydra.iter().flat_map(|hydra| hydra.differs.iter().copied());
        differs
            .filter(|member| match member {
                Member::AuthenticationMethod | Member::GrantTypes => false,
                // Hydra did not take it: no reason to go on.
                member if self.repaired.contains(member) => false,
                member => self.occasion.describe || member.is_watched(),
            })
            .collect()
    }

    /// What is put back by a repair.
    fn repairs(&self, seen: &client::Observed) -> Vec<Member> {
        let mut members = Vec::new();
        let is_ours = matches!(seen.hydra, Client::OfOurKey);
        if !is_ours {
            members.push(Member::PublicKey);
        }
        let is_untold = seen.authentication == Authentication::OtherMethod;
        let is_taken_over = matches!(seen.hydra, Client::OfAnotherKey(_) | Client::OfNoKey);
        if seen.secret == Secret::Wrong && !is_untold || is_untold && is_taken_over {
            members.push(Member::Secret);
        }
        let differs = self.hydra.iter().flat_map(|hydra| hydra.differs.iter().copied());
        members.extend(
            differs.filter(|member| matches!(member, Member::AuthenticationMethod | Member::GrantTypes)),
        );
        members
    }

    fn end(&self, reason: Option<Reason>, turn: &mut Turn) -> Finished {
        if self.hydra.is_some() {
            let proven = reason.is_none() && self.secret == Secret::Works;
            turn.push(Effect::CacheCredentials { proven });
        }
        self.finished(reason)
    }

    fn finished(&self, reason: Option<Reason>) -> Finished {
        let key = self.occasion.key;
        let is_repair = |member: &Member| {
            matches!(
                member,
                Member::PublicKey
                    | Member::SecondKey
                    | Member::Lineage
                    | Member::Secret
                    | Member::AuthenticationMethod
                    | Member::GrantTypes
            )
        };
        let hydra_is_heard = self.hydra.as_ref().is_some_and(|hydra| hydra.client != Client::Unavailable);
        let store_is_heard =
            matches!(self.credentials.store, Store::Present { .. } | Store::Absent | Store::Deleted { .. });
        Finished {
            reason,
            repairs: self.repaired.iter().copied().filter(is_repair).map(|member| (member, key)).collect(),
            is_fenced: self.fenced,
            is_unread: false,
            is_heard: hydra_is_heard && store_is_heard,
        }
    }
}

impl Finished {
    /// If the work was broken off, so that it says nothing about whose the client is.
    pub(super) fn is_unfinished(&self) -> bool {
        match self.reason {
            Some(
                Reason::HydraUnavailable
                | Reason::StoreUnavailable
                | Reason::StoreDenied
                | Reason::ClientRefused
                | Reason::ClientPending,
            ) => true,
            Some(_) | None => false,
        }
    }
}
