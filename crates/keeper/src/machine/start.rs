//! The first phase: observe and plan until an identity is held or refused; then the client, if there is none yet.

use super::{
    ClientWork, Effect, Event, Held, Machine, Pause, Phase, Running, Slot, Turn, Verdict, WriteFailure,
    client_work::Occasion,
    effect::{Credentials, DiskSeen, Observation},
};
use crate::{
    Reason,
    held::Source,
    plan::{
        client,
        history::{self, Earlier, Past},
        keys::{self, Acknowledged, DOUBT, HydraNames, Local, Observed, Plan, Step, Store},
        ring::Ring,
    },
};
use bindu_identity::{Lineage, PublicKey};
use bindu_store::{Expected, OutageReason, Version};
use bindu_time::Backoff;
use std::time::Duration;

/// How long a start waits for the store if the directory holds a key, and for Hydra if it holds none.
pub(super) const SHORT_WAIT: Duration = Duration::from_secs(3);

/// The pauses between two observations of an outage: drawn from zero up to a growing bound (full jitter), so that a fleet
/// does not come back in step.
const OUTAGE_BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5), 0);

/// A raft standby shows a write about 0.1 s late (FACTS 2.6): who has lost a race looks for the winner after this.
const STANDBY_LAG: Duration = Duration::from_millis(200);

/// The pause between two observations of a doubt.
const DOUBT_PAUSE: Duration = Duration::from_millis(400);

/// What a start remembers from one observation to the next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Start {
    /// When it began.
    began: Option<Duration>,
    backoff: Backoff,
    /// What was seen last, and since when it has been the same.
    doubt: Option<(Store, Local, Duration)>,
    /// If a create of ours has met another writer's.
    lost: bool,
    /// A key that Hydra has named once stays named: a Hydra that does not answer the next time takes nothing back.
    named: Option<HydraNames>,
    disk: Option<DiskSeen>,
    seen: Option<Seen>,
    plan: Option<Plan>,
    /// The key that was made last.
    new: Option<PublicKey>,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            began: None,
            backoff: OUTAGE_BACKOFF,
            doubt: None,
            lost: false,
            named: None,
            disk: None,
            seen: None,
            plan: None,
            new: None,
        }
    }
}

/// An observation, completed with what the machine knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    pub(crate) keys: Observed,
    pub(super) local_ring: Ring,
    /// What Hydra proves of the past of the store's key, beyond what the record says.
    pub(super) proven: Option<Lineage>,
    /// The earlier versions that were read, newest first.
    pub(crate) past: Vec<(Version, Past)>,
    pub(crate) credentials: Credentials,
    pub(super) retry_after: Option<Duration>,
}

/// A key pair that a plan leads to, and what is known of it.
pub(crate) struct Chosen {
    pub(crate) slot: Slot,
    pub(crate) held: Held,
}

impl Machine {
    pub(super) fn start(&mut self, mut start: Start, event: Event, turn: &mut Turn) -> Phase {
        let deadline = *start.began.get_or_insert(turn.now) + self.config.start_deadline;
        match event {
            Event::Begin => turn.push(Effect::ReadDisk),
            Event::Elapsed if self.client.is_none() => turn.push(Effect::ReadDisk),
            Event::Disk(disk) => {
                let (store, hydra) = timeouts(&disk.local, deadline.saturating_sub(turn.now).max(SHORT_WAIT));
                start.disk = Some(*disk);
                turn.push(Effect::Observe { store, hydra });
            }
            Event::Observed(observation) => {
                let mut seen = self.seen_at_start(&mut start, *observation, turn.now, deadline);
                match history::wanted(&seen.keys) {
                    Some(versions) => {
                        let within =
                            timeouts(&seen.keys.local, deadline.saturating_sub(turn.now).max(SHORT_WAIT)).0;
                        start.seen = Some(seen);
                        turn.push(Effect::ReadHistory { versions, within });
                    }
                    None => {
                        seen.learn(Ok(Vec::new()));
                        return self.decide_start(start, seen, turn);
                    }
                }
            }
            Event::History(past) => {
                let Some(mut seen) = start.seen.take() else { return Phase::Start(Box::new(start)) };
                seen.learn(past);
                return self.decide_start(start, seen, turn);
            }
            Event::KeyMade(Some(key)) => return self.key_made(start, key, turn),
            Event::KeyMade(None) => {
                turn.push(Effect::Wait(start.backoff.pause(None).at_most(deadline.saturating_sub(turn.now))));
            }
            Event::KeysWritten(outcome) => return self.keys_written(start, outcome, deadline, turn),
            event => return self.first_client_event(start, event, turn),
        }
        Phase::Start(Box::new(start))
    }

    /// Completes an observation with what the start remembers.
    fn seen_at_start(
        &self,
        start: &mut Start,
        observation: Observation,
        now: Duration,
        deadline: Duration,
    ) -> Seen {
        let nothing = DiskSeen { local: Local::None, ring: Ring::default(), provisional: false };
        let mut seen = self.seen(observation, start.disk.clone().unwrap_or(nothing), false);
        match (&seen.keys.hydra, &start.named) {
            (HydraNames::Key { .. }, _) => start.named = Some(seen.keys.hydra.clone()),
            (HydraNames::Unknown, Some(known)) => seen.keys.hydra = known.clone(),
            _ => {}
        }
        let since = match &start.doubt {
            Some((store, local, since)) if (store, local) == (&seen.keys.store, &seen.keys.local) => *since,
            _ => now,
        };
        start.doubt = Some((seen.keys.store.clone(), seen.keys.local.clone(), since));
        seen.keys.lost = start.lost;
        // At the deadline every doubt has lasted long enough.
        seen.keys.seen_for = if now >= deadline { DOUBT } else { now.saturating_sub(since) };
        seen
    }

    /// An observation as the table sees it.
    pub(crate) fn seen(&self, observation: Observation, disk: DiskSeen, running: bool) -> Seen {
        let Observation { store, hydra, proven, credentials, age, retry_after } = observation;
        let DiskSeen { local, ring: local_ring, provisional } = disk;
        // A disk that slept holds the key with an older past than Hydra proves: the newer one counts, and is what is written.
        let local = match (local, proven.local) {
            (Local::Present { key, acknowledged, lineage }, Some(proven))
                if proven.generation > lineage.generation =>
            {
                Local::Present { key, acknowledged, lineage: proven }
            }
            (local, _) => local,
        };
        let keys = Observed {
            store,
            local,
            hydra,
            running,
            seen_for: Duration::ZERO,
            earlier: Earlier::NotRead,
            lost: false,
            heard_store: self.heard_store,
            taken_over: credentials.taken_over(),
            age,
            provisional,
            name_problem: self.config.name_problem.clone(),
        };
        Seen { keys, local_ring, proven: proven.store, past: Vec::new(), credentials, retry_after }
    }

    fn decide_start(&mut self, mut start: Start, seen: Seen, turn: &mut Turn) -> Phase {
        let began = start.began.unwrap_or(turn.now);
        let deadline = began + self.config.start_deadline;
        let left = deadline.saturating_sub(turn.now);
        let plan = keys::plan(&seen.keys, &self.config.policy);
        let effect = match plan.step {
            Step::Refuse => return refuse(Verdict::Row(plan.row), seen, turn),
            Step::LookAgain { at_most: Some(_) } => Effect::Wait(Pause::exactly(DOUBT_PAUSE)),
            // A quick error of Hydra's is no reason to make a key without having asked it.
            Step::Generate
                if seen.keys.hydra == HydraNames::Unknown && turn.now.saturating_sub(began) < SHORT_WAIT =>
            {
                Effect::Wait(Pause::exactly(DOUBT_PAUSE))
            }
            // A provisional key, too, is a last resort.
            Step::LookAgain { at_most: None } | Step::GenerateProvisional if !left.is_zero() => {
                Effect::Wait(start.backoff.pause(seen.retry_after).at_most(left))
            }
            Step::LookAgain { at_most: None } => return refuse(Verdict::Row(plan.row), seen, turn),
            Step::Generate | Step::GenerateProvisional => Effect::MakeKey,
            Step::BackUp { over } => Effect::WriteKeys { slot: Slot::Local, expected: expected(over) },
            Step::Ring { step, over } => Effect::WriteRing { step, over, lineage: lineage_in_store(&seen) },
            Step::UseLocal | Step::UseStore | Step::UseStoreOnly | Step::UseEarlier { .. } => {
                return match choose(&plan, &seen) {
                    Some(chosen) => self.hold_at_start(&plan, seen, chosen, turn),
                    None => refuse(Verdict::Row(plan.row), seen, turn),
                };
            }
        };
        turn.push(effect);
        (start.seen, start.plan) = (Some(seen), Some(plan));
        Phase::Start(Box::new(start))
    }

    fn key_made(&mut self, mut start: Start, key: PublicKey, turn: &mut Turn) -> Phase {
        let (Some(seen), Some(plan)) = (start.seen.clone(), start.plan.clone()) else {
            return Phase::Start(Box::new(start));
        };
        if plan.step != Step::GenerateProvisional {
            start.new = Some(key);
            turn.push(Effect::WriteKeys { slot: Slot::New, expected: Expected::Absent });
            return Phase::Start(Box::new(start));
        }
        let held = Held { provisional: true, ..fresh(key, None, Source::Created) };
        let chosen = Chosen { slot: Slot::New, held };
        self.hold_at_start(&plan, seen, chosen, turn)
    }

    fn keys_written(
        &mut self,
        mut start: Start,
        outcome: Result<Version, WriteFailure>,
        deadline: Duration,
        turn: &mut Turn,
    ) -> Phase {
        let (Some(seen), Some(plan)) = (start.seen.take(), start.plan.take()) else {
            return Phase::Start(Box::new(start));
        };
        let is_backup = matches!(plan.step, Step::BackUp { .. });
        match outcome {
            // What is there now decides, as if another replica had done it.
            Ok(_) if matches!(plan.step, Step::Ring { .. }) => turn.push(Effect::ReadDisk),
            Ok(version) => {
                let key = match &seen.keys.local {
                    Local::Present { key, .. } if is_backup => Some(*key),
                    _ => start.new,
                };
                let Some(key) = key else { return Phase::Start(Box::new(start)) };
                let acknowledged = Some(Acknowledged { version, named: seen.keys.hydra.names(&key) });
                let chosen = match (&seen.keys.local, is_backup) {
                    (Local::Present { lineage, .. }, true) => Chosen {
                        slot: Slot::Local,
                        held: Held {
                            lineage: lineage.clone(),
                            acknowledged,
                            next: seen.local_ring.next.map(|next| next.key),
                            previous: seen.local_ring.previous.map(|previous| previous.key),
                            ..fresh(key, Some(version), Source::Store)
                        },
                    },
                    _ => Chosen {
                        slot: Slot::New,
                        held: Held { acknowledged, ..fresh(key, Some(version), Source::Created) },
                    },
                };
                return self.hold_at_start(&plan, seen, chosen, turn);
            }
            Err(failure @ (WriteFailure::Denied | WriteFailure::Unavailable { .. })) if is_backup => {
                // The key is on the disk: it serves, and the reconciler tries again.
                let reason = match failure {
                    WriteFailure::Denied => Reason::StoreDenied,
                    _ => Reason::StoreUnavailable,
                };
                let plan = Plan {
                    step: Step::UseLocal,
                    sure: false,
                    degraded: Some(reason),
                    unready: false,
                    ..plan
                };
                return match choose(&plan, &seen) {
                    Some(chosen) => self.hold_at_start(&plan, seen, chosen, turn),
                    None => refuse(Verdict::Row(plan.row), seen, turn),
                };
            }
            Err(failure) => {
                let is_new = plan.step == Step::Generate;
                if self.is_final(failure, turn.now >= deadline) {
                    let was_absent = seen.keys.store == Store::Absent;
                    return refuse(Verdict::Write { failure, was_absent, is_new }, seen, turn);
                }
                let wish = match failure {
                    WriteFailure::Conflict | WriteFailure::Denied => {
                        (start.lost, start.doubt) = (true, None);
                        Some(STANDBY_LAG)
                    }
                    WriteFailure::Unavailable { retry_after, .. } => retry_after,
                    WriteFailure::Refused => None,
                };
                let pause = start.backoff.pause(wish).at_most(deadline.saturating_sub(turn.now));
                turn.push(Effect::Wait(pause));
            }
        }
        Phase::Start(Box::new(start))
    }

    /// If a write that failed ends the start.
    fn is_final(&self, failure: WriteFailure, is_late: bool) -> bool {
        match failure {
            WriteFailure::Refused => true,
            WriteFailure::Unavailable { reason: OutageReason::WrongMount, .. } => true,
            WriteFailure::Denied | WriteFailure::Unavailable { .. } => is_late || self.config.store_is_local,
            WriteFailure::Conflict => is_late,
        }
    }

    /// The identity is found: to the disk, into use, and on to the client.
    fn hold_at_start(&mut self, plan: &Plan, seen: Seen, chosen: Chosen, turn: &mut Turn) -> Phase {
        self.heard_store = hears(&seen.keys.store);
        self.hold(plan, chosen, turn);
        turn.push(report(plan, &seen.keys));
        let mut running = Running::new(plan.sure, &self.config.policy);
        if !self.config.hydra.is_configured {
            turn.push(Effect::Started);
            return Phase::Running(Box::new(running));
        }
        turn.push(Effect::ReportClient(Some(Reason::ClientPending)));
        let has_record = matches!(seen.credentials.store, client::Store::Present { .. });
        // A first start registers its client before it listens; if record and client are there, or Hydra is not, all is left to
        // the reconciler.
        let is_missing = match &seen.keys.hydra {
            HydraNames::NoClient => true,
            HydraNames::Key { .. } | HydraNames::NoKey => !has_record,
            HydraNames::NotAsked | HydraNames::Unknown => false,
        };
        if !plan.sure || !is_missing {
            running.first = plan.sure.then_some(seen);
            turn.push(Effect::Started);
            return Phase::Running(Box::new(running));
        }
        let Some(occasion) = self.occasion(&seen, plan.sure, &running, Some(turn.now + SHORT_WAIT)) else {
            return Phase::Running(Box::new(running));
        };
        let work = ClientWork::new(seen.credentials.clone(), occasion);
        turn.push(work.begin(turn.now));
        self.client = Some(work);
        Phase::Start(Box::new(Start { seen: Some(seen), plan: Some(plan.clone()), ..Start::default() }))
    }

    /// Writes the disk and uses a key pair.
    pub(super) fn hold(&mut self, plan: &Plan, chosen: Chosen, turn: &mut Turn) {
        let Chosen { slot, held } = chosen;
        match (plan.step, plan.sure) {
            (Step::UseStoreOnly, _) => {}
            (Step::UseLocal, false) => turn.push(Effect::RestorePublicKey),
            (Step::UseLocal, true) => {
                turn.push(Effect::Remember { slot, acknowledged: held.acknowledged });
            }
            _ => turn.push(Effect::WriteDisk {
                slot,
                acknowledged: held.acknowledged,
                provisional: held.provisional,
            }),
        }
        self.sure = plan.sure;
        self.held = Some(held.clone());
        turn.push(Effect::Hold { slot, held: Box::new(held), row: plan.row });
    }

    /// What the work on the client may do and know.
    pub(super) fn occasion(
        &self,
        seen: &Seen,
        sure: bool,
        running: &Running,
        deadline: Option<Duration>,
    ) -> Option<Occasion> {
        let held = self.held.as_ref()?;
        let named = match &seen.keys.hydra {
            HydraNames::Key { text, .. } => Some(text.clone()),
            _ => None,
        };
        let never_held = match seen.keys.earlier {
            Earlier::Read { named: None, whole: true, .. } => named.clone(),
            _ => None,
        };
        Some(Occasion {
            key: held.key,
            sure,
            take_over: running.consent.clone(),
            describe: !running.described,
            compared: running.compared.is_some() && running.compared == held.version,
            is_new: held.source == Source::Created && running.compared.is_none(),
            never_held,
            next_is_drift: running.named_early.is_some() && running.named_early == held.version,
            is_read_for: named,
            has_history: matches!(seen.keys.store, Store::Present(_))
                && !matches!(seen.keys.earlier, Earlier::Unknown(_)),
            deadline,
        })
    }

    fn first_client_event(&mut self, start: Start, event: Event, turn: &mut Turn) -> Phase {
        let Some(work) = self.client.as_mut() else { return Phase::Start(Box::new(start)) };
        let Some(finished) = work.told(event, self.config.hydra.auto_register, turn) else {
            return Phase::Start(Box::new(start));
        };
        self.client = None;
        let mut running = Running::new(self.sure, &self.config.policy);
        running.after_first_work(&finished, self.held.as_ref());
        turn.push(Effect::ReportClient(finished.reason));
        turn.push(Effect::Started);
        Phase::Running(Box::new(running))
    }
}

impl Seen {
    /// Takes what was read of the record's earlier versions.
    pub(crate) fn learn(&mut self, past: Result<Vec<(Version, Past)>, OutageReason>) {
        history::complete(&mut self.keys, self.proven.as_ref());
        match past {
            Ok(past) => {
                history::look_back(&mut self.keys, &past);
                self.past = past;
            }
            Err(reason) => self.keys.earlier = Earlier::Unknown(reason),
        }
    }
}

fn refuse(verdict: Verdict, seen: Seen, turn: &mut Turn) -> Phase {
    turn.push(Effect::Refuse { verdict, seen: Some(Box::new(seen.keys)) });
    Phase::Ended
}

/// The past of the store's key.
fn lineage_in_store(seen: &Seen) -> Lineage {
    match &seen.keys.store {
        Store::Present(stored) => stored.lineage.clone(),
        _ => Lineage::default(),
    }
}

/// Tells about a plan.
pub(super) fn report(plan: &Plan, seen: &Observed) -> Effect {
    Effect::ReportKeys { plan: Box::new(plan.clone()), seen: Box::new(seen.clone()) }
}

pub(super) fn expected(over: Option<Version>) -> Expected {
    over.map_or(Expected::Absent, Expected::Version)
}

/// If an answer of the store is one about our key.
pub(super) fn hears(store: &Store) -> bool {
    match store {
        Store::Present(_) | Store::Absent | Store::Deleted { .. } => true,
        Store::Malformed(_)
        | Store::OfAnotherAgent(_)
        | Store::Locked(_)
        | Store::Denied
        | Store::Unavailable(_) => false,
    }
}

fn fresh(key: PublicKey, version: Option<Version>, source: Source) -> Held {
    Held {
        key,
        lineage: Lineage::default(),
        acknowledged: None,
        version,
        provisional: false,
        source,
        next: None,
        previous: None,
    }
}

/// The key pair that a plan uses, if it is there already.
pub(super) fn choose(plan: &Plan, seen: &Seen) -> Option<Chosen> {
    let keys = &seen.keys;
    let of_store = |acknowledged: Option<Acknowledged>| {
        let Store::Present(stored) = &keys.store else { return None };
        let held = Held {
            lineage: stored.lineage.clone(),
            acknowledged,
            next: stored.ring.next.map(|next| next.key),
            previous: stored.ring.previous.map(|previous| previous.key),
            ..fresh(stored.key, Some(stored.version), Source::Store)
        };
        Some(Chosen { slot: Slot::Store, held })
    };
    match plan.step {
        Step::UseLocal if plan.sure => of_store(acknowledge(keys)),
        Step::UseLocal => {
            let Local::Present { key, acknowledged, lineage } = &keys.local else { return None };
            let held = Held {
                lineage: lineage.clone(),
                acknowledged: *acknowledged,
                provisional: keys.provisional,
                next: seen.local_ring.next.map(|next| next.key),
                previous: seen.local_ring.previous.map(|previous| previous.key),
                ..fresh(*key, acknowledged.map(|known| known.version), Source::Directory)
            };
            Some(Chosen { slot: Slot::Local, held })
        }
        Step::UseStore => of_store(acknowledge(keys)),
        Step::UseStoreOnly => of_store(None),
        Step::UseEarlier { version } => {
            let (key, lineage) = seen.past.iter().find_map(|(at, past)| match past {
                Past::Key { key, lineage, .. } if *at == version => Some((*key, lineage.clone())),
                _ => None,
            })?;
            let named = keys.hydra.names(&key);
            let held = Held {
                lineage: lineage.unwrap_or_default(),
                acknowledged: Some(Acknowledged { version, named }),
                ..fresh(key, Some(version), Source::Store)
            };
            Some(Chosen { slot: Slot::Earlier(version), held })
        }
        Step::BackUp { .. }
        | Step::Generate
        | Step::Ring { .. }
        | Step::GenerateProvisional
        | Step::LookAgain { .. }
        | Step::Refuse => None,
    }
}

/// The directory's key, for an operator who wants it kept.
pub(crate) fn held_on_disk(seen: &Seen) -> Option<Held> {
    let row = keys::Row::AbsentPresent;
    let plan = Plan { row, step: Step::UseLocal, sure: false, degraded: None, unready: false };
    choose(&plan, seen).map(|chosen| chosen.held)
}

/// The key pair that a plan leads to, if it is there already.
pub(crate) fn would_hold(plan: &Plan, seen: &Seen) -> Option<Chosen> {
    match plan.step {
        Step::BackUp { .. } => choose(&Plan { step: Step::UseLocal, sure: false, ..plan.clone() }, seen),
        Step::Ring { .. } => choose(&Plan { step: Step::UseStore, ..plan.clone() }, seen),
        _ => choose(plan, seen),
    }
}

/// What to remember of the store's acknowledgement of its key: nothing new before Hydra has been heard.
pub(super) fn acknowledge(keys: &Observed) -> Option<Acknowledged> {
    let Store::Present(stored) = &keys.store else { return None };
    let before = match &keys.local {
        Local::Present { key, acknowledged, .. } if *key == stored.key => *acknowledged,
        // A rotation of an acknowledged key needs no word of Hydra's.
        Local::Present { key, acknowledged: Some(known), .. } if stored.replaces(key) => {
            Some(Acknowledged { named: false, ..*known })
        }
        _ => None,
    };
    let was_named = before.is_some_and(|known| known.named);
    match keys.hydra.is_heard() || before.is_some() {
        true => {
            Some(Acknowledged { version: stored.version, named: was_named || keys.hydra.names(&stored.key) })
        }
        false => None,
    }
}

/// How long the store and Hydra are waited for. With a key on disk nobody is waited for for long; without one, the store
/// is waited for until the deadline.
fn timeouts(local: &Local, left: Duration) -> (Duration, Duration) {
    match local {
        Local::Present { acknowledged: Some(_), .. } => (SHORT_WAIT, Duration::ZERO),
        // What Hydra names decides about a key that was never in the store.
        Local::Present { acknowledged: None, .. } => (SHORT_WAIT, SHORT_WAIT),
        Local::None | Local::Unusable(_) | Local::Unreadable(_) | Local::Locked(_) => (left, SHORT_WAIT),
    }
}
