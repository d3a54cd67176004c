//! Looking without changing anything, for the commands that print what a start would do.

use super::{Driver, FoundKey, HydraAnswer, observe::versions_of};
use crate::registration::{self, Wanted};
use crate::{
    Identity, Keeper, StartError,
    machine::{Event, Machine, Member, Seen, would_hold},
    plan::{
        client::{self, ClientPolicy, Step as ClientStep},
        history::{self, Past},
        keys::{self, Observed, Plan, Row},
        retired,
    },
};
use bindu_hydra::PatchOperation;
use bindu_identity::Fingerprint;
use bindu_store::{Answer, Outage, Version};
use secrecy::SecretString;
use serde_json::Value;
use std::time::Duration;

/// How long a look waits for the store, and for Hydra beyond that.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What was observed of the keys, and what a start would do.
#[derive(Debug)]
pub struct KeyLook {
    /// What the table decided by.
    pub seen: Observed,
    /// What it decided.
    pub plan: Plan,
    /// What an unavailable store said.
    pub outage: Option<Outage>,
    pub(crate) driver: Driver,
    pub(crate) whole: Seen,
}

/// What was observed of the client, and what a start would do first about it.
#[derive(Debug)]
pub struct ClientLook {
    /// What the table decided by.
    pub seen: client::Observed,
    /// The first step that would change something; [`client::Step::Done`] or [`client::Step::Leave`] if none would.
    pub step: ClientStep,
    /// Why Hydra gave no usable answer, if it gave none.
    pub problem: Option<String>,
    /// The client as it would be registered, without its secret.
    pub registration: Value,
    /// The JSON Patch (RFC 6902) that brings a client that is ours in step, if somebody else registers it; without the secret.
    pub patch: Option<Value>,
    /// If that client's secret must be the store's as well.
    pub secret_differs: bool,
}

/// A version of the keys record.
#[derive(Debug, Clone)]
pub struct VersionLook {
    /// Its number.
    pub version: Version,
    /// When it was written, RFC 3339, if the store says so.
    pub written_at: Option<String>,
    /// What it holds.
    pub past: Past,
    /// If it was deleted, and can be brought back.
    pub is_deleted: bool,
    /// The keys whose private halves it holds.
    pub private_halves: Vec<Fingerprint>,
}

/// The record's past, as far as the store tells it.
#[derive(Debug)]
pub struct HistoryLook {
    /// What was observed when it was read.
    pub look: KeyLook,
    /// The versions, newest first.
    pub versions: Vec<VersionLook>,
    /// The keys that nothing needs any more.
    pub retired: Vec<Fingerprint>,
}

impl HistoryLook {
    /// The retired keys that this version still holds.
    #[must_use]
    pub fn recoverable(&self, version: &VersionLook) -> Vec<Fingerprint> {
        version.private_halves.iter().filter(|key| self.retired.contains(key)).cloned().collect()
    }

    /// The versions that a person may destroy: they hold retired keys, and nothing else that the record lacks.
    #[must_use]
    pub fn destroyable(&self) -> Vec<Version> {
        let is_destroyable = |version: &&VersionLook| {
            retired::is_destroyable(&version.private_halves, &self.retired, &self.look.seen)
        };
        self.versions.iter().filter(is_destroyable).map(|version| version.version).collect()
    }
}

impl Keeper {
    /// Observes and plans for the keys.
    pub async fn look(&self) -> KeyLook {
        let mut driver = Driver::new();
        let machine = Machine::new(self.config());
        let disk = driver.read_disk(self);
        let observation = driver.observe(self, TIMEOUT, TIMEOUT).await;
        let mut seen = machine.seen(observation, disk, false);
        let past = match history::wanted(&seen.keys) {
            Some(versions) => driver.read_history(self, versions, TIMEOUT).await,
            None => Ok(Vec::new()),
        };
        seen.learn(past);
        let plan = keys::plan(&seen.keys, &self.policy);
        KeyLook { seen: seen.keys.clone(), plan, outage: driver.outage.clone(), driver, whole: seen }
    }

    /// Why a start would end at the row that was looked at, if it ends.
    #[must_use]
    pub fn start_error(&self, look: &KeyLook) -> StartError {
        StartError::of_row(look.plan.row, &look.seen, look.outage.as_ref(), self.place())
    }

    /// The identity that a start would come to with a key that is there already.
    ///
    /// # Errors
    /// What an unavailable store said, if that is why there is none; else `None`: a start would make one, or refuse.
    pub async fn look_at_identity(&self) -> Result<Identity, Option<Outage>> {
        let mut look = self.look().await;
        let outage = look.outage.clone();
        look.held_identity(self).ok_or(outage)
    }

    /// Observes and plans for the client; asks Hydra for a token if the plan depends on it. `None` if Hydra is not configured,
    /// or there is no key yet that a client could be registered with.
    pub async fn look_at_client(&self) -> Option<ClientLook> {
        let (_, profile) = self.hydra.as_ref()?;
        let mut look = self.look().await;
        let identity = look.held_identity(self)?;
        let registration = self.registration(&identity, SecretString::from(String::new())).to_json();
        let mut machine = Machine::new(self.config());
        let policy =
            ClientPolicy { auto_register: profile.auto_register, take_over: self.policy.take_over.clone() };
        let KeyLook { mut driver, whole, plan, .. } = look;
        let mut work = machine.client_to_look_at(&whole, &plan)?;
        let Event::Hydra(hydra) = driver.hear_hydra(self, TIMEOUT).await else { return None };
        work.note_hydra(hydra);
        let mut seen = work.observed();
        let mut step = client::plan(&seen, &policy);
        if step == ClientStep::ProveSecret {
            let Event::SecretTried(trial) = driver.try_secret(self, TIMEOUT).await else { return None };
            work.note_trial(trial);
            seen = work.observed();
            step = client::plan(&seen, &policy);
        }
        let members = match profile.auto_register {
            true => Vec::new(),
            false => work.for_somebody_else(),
        };
        let secret_differs = members.contains(&Member::Secret);
        let client = match &driver.hydra {
            HydraAnswer::There(Ok(client)) => client.as_ref(),
            _ => None,
        };
        let wanted = Wanted { identity: &identity, agent: &self.agent, profile, record: None, client };
        let patch = registration::patch(&members, &wanted);
        let patch = (!patch.is_empty()).then(|| patch.iter().map(PatchOperation::to_json).collect());
        let problem = driver.hydra_problem();
        Some(ClientLook { seen, step, problem, registration, patch, secret_differs })
    }

    /// All versions of the keys record that the store keeps, newest first.
    ///
    /// # Errors
    /// What was observed of a store that does not tell them.
    pub async fn history(&self) -> Result<HistoryLook, Box<KeyLook>> {
        let look = self.look().await;
        let current = match &look.seen.store {
            keys::Store::Present(stored) => stored.version,
            keys::Store::Deleted { version, .. } => *version,
            keys::Store::Absent => {
                return Ok(HistoryLook { look, versions: Vec::new(), retired: Vec::new() });
            }
            _ => return Err(Box::new(look)),
        };
        // All that the store keeps: what lies before them was pruned, and is absent.
        let (mut versions, mut last) = (Vec::new(), current);
        while last > 0 {
            let first = last.saturating_sub(history::MAX_DEPTH).max(1);
            let Ok(answers) = versions_of(self, first..=last, TIMEOUT).await else {
                return Err(Box::new(look));
            };
            if answers.iter().any(|(_, answer)| matches!(answer, Answer::Unavailable(_) | Answer::Denied)) {
                return Err(Box::new(look));
            }
            if last != current && answers.iter().all(|(_, answer)| matches!(answer, Answer::Absent)) {
                break;
            }
            versions.extend(answers.into_iter().map(|(version, answer)| self.version_look(version, answer)));
            last = first.saturating_sub(1);
        }
        let retired = retired::retired(&look.seen, &look.plan);
        Ok(HistoryLook { look, versions, retired })
    }
}

impl Keeper {
    fn version_look(&self, version: Version, answer: Answer) -> VersionLook {
        let is_deleted = matches!(answer, Answer::Deleted { destroyed: false, .. });
        let (written_at, found) = match answer {
            Answer::Present(record) => (record.written_at, self.key_in(&record.fields).ok()),
            _ => (None, None),
        };
        VersionLook {
            version,
            written_at,
            is_deleted,
            past: found.as_ref().map_or(Past::Unreadable, FoundKey::as_past),
            private_halves: found.as_ref().map(FoundKey::fingerprints).unwrap_or_default(),
        }
    }
}

impl KeyLook {
    /// The identity that the plan would lead to with a key that is there already.
    fn held_identity(&mut self, keeper: &Keeper) -> Option<Identity> {
        let chosen = would_hold(&self.plan, &self.whole)?;
        self.driver.hold(keeper, chosen.slot, chosen.held, Row::PresentSame);
        let held = self.driver.held.clone()?;
        let current = held.current();
        Some(current.copy())
    }
}

impl FoundKey {
    fn fingerprints(&self) -> Vec<Fingerprint> {
        let keys = [Some(&self.ring.current), self.ring.next.as_ref(), self.ring.previous.as_ref()];
        keys.into_iter().flatten().map(|key| key.public_key().fingerprint()).collect()
    }
}
