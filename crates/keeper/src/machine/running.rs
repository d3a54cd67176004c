//! The second phase: keeping identity and client in step with the store and Hydra for as long as the agent runs.
//!
//! One pass observes, plans and applies, as a start does, but never makes a key of its own accord, takes over only what the
//! start has consented to, and if it may not write it says so and goes on: a running agent outlives its dependencies.

use super::{
    ClientWork, DiskSeen, Effect, Event, Held, Machine, Phase, Turn, WriteFailure,
    client_work::{Finished, HYDRA_TIMEOUT},
    repairs::{Repairs, Restraint},
    start::{Chosen, Seen, choose, expected, hears, report},
    waits_for_a_person,
};
use crate::{
    Reason,
    plan::{
        Policy, TakeOver,
        client::Client,
        history,
        keys::{self, Acknowledged, Local, Plan, Step, Store},
        ring::{self, Ring, RingStep},
    },
};
use bindu_store::Version;
use bindu_time::{Backoff, Pause};
use std::time::Duration;

/// The backoff while something is pending or down.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5), 50);

/// How long a pass waits for the store.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a pass waits for Hydra before it settles the keys; a Hydra that is slower is heard out afterwards.
const FIRST_HEARING: Duration = Duration::from_secs(1);

/// A step that the store has refused is tried again after this many passes: a policy may have been changed.
const PASSES_REFUSED: u32 = 10;

/// No server may ask for a longer pause than this: it can be wrong about itself.
const MAX_WISH: Duration = Duration::from_secs(60);

/// What a running agent remembers from pass to pass.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Running {
    /// What the start has seen, for the first work on the client.
    pub(super) first: Option<Seen>,
    /// If the first pass is still to come.
    is_new: bool,
    /// The store's last answer about the keys, and since when it has been the same.
    doubt: Option<(Store, Duration)>,
    repairs: Repairs,
    /// How long the next pass waits for Hydra before it settles the keys: longer, if the last one would have needed an answer
    /// that came too late.
    hearing: Duration,
    /// The version of the record with which the client has been seen to name our key.
    pub(super) compared: Option<Version>,
    /// If name, scopes and URL have been compared since the start.
    pub(super) described: bool,
    /// The start's consent to take the client over, until Hydra and the store have both been heard once.
    pub(super) consent: TakeOver,
    /// If the last pass came to a decision about the keys: sure, or one that waits for a person.
    is_decided: bool,
    /// The version of the record that the store did not let us write over, and how many passes ago.
    refused: Option<(Version, u32)>,
    /// The version of the record in which a step of a rotation is due that the store does not let us take.
    unfinished: Option<Version>,
    /// The version of the record beside which Hydra named the prepared key.
    pub(super) named_early: Option<Version>,
    retry: Backoff,
    wish: Option<Duration>,
    pass: Option<Pass>,
}

/// A pass on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pass {
    seen: Seen,
    plan: Option<Plan>,
    /// The step of a rotation that is being written.
    ring_step: Option<RingStep>,
    /// If a step of a rotation may be due, and Hydra has not been heard yet.
    step_needs_hydra: bool,
    /// If writing about the client is allowed in this pass.
    sure: bool,
    is_pending: bool,
    was_paused: bool,
    was_contested: bool,
}

impl Running {
    pub(super) fn new(sure: bool, policy: &Policy) -> Self {
        Self {
            first: None,
            is_new: true,
            doubt: None,
            repairs: Repairs::new(),
            hearing: FIRST_HEARING,
            compared: None,
            described: false,
            consent: policy.take_over.clone(),
            is_decided: sure,
            refused: None,
            unfinished: None,
            named_early: None,
            retry: RETRY,
            wish: None,
            pass: None,
        }
    }

    pub(super) fn is_timeless(&self) -> bool {
        self.doubt.is_none() && self.repairs.are_forgotten()
    }

    /// Takes over what a start's work on the client has come to.
    pub(super) fn after_first_work(&mut self, finished: &Finished, held: Option<&Held>) {
        if finished.reason.is_none() {
            self.described = true;
            self.compared = held.and_then(|held| held.version);
        }
        if finished.is_heard && !finished.is_unfinished() {
            self.consent = TakeOver::No;
        }
        self.is_new = finished.reason.is_some();
    }
}

impl Machine {
    pub(super) fn run(&mut self, mut running: Box<Running>, event: Event, turn: &mut Turn) -> Phase {
        match event {
            Event::Begin => self.begin_running(&mut running, turn),
            Event::Elapsed if self.client.is_none() => observe(&running, turn),
            Event::Observed(observation) => {
                running.wish = observation.retry_after;
                let mut seen = self.seen(*observation, self.held_as_disk(), true);
                let since = match &running.doubt {
                    Some((store, since)) if *store == seen.keys.store => *since,
                    _ => turn.now,
                };
                running.doubt = Some((seen.keys.store.clone(), since));
                seen.keys.seen_for = turn.now.saturating_sub(since);
                match history::wanted(&seen.keys) {
                    Some(versions) => {
                        running.pass = Some(Pass::new(seen));
                        turn.push(Effect::ReadHistory { versions, within: STORE_TIMEOUT });
                    }
                    None => {
                        seen.learn(Ok(Vec::new()));
                        self.settle_keys(&mut running, Pass::new(seen), turn);
                    }
                }
            }
            Event::History(past) => {
                if let Some(mut pass) = running.pass.take() {
                    pass.seen.learn(past);
                    self.settle_keys(&mut running, pass, turn);
                }
            }
            Event::KeysWritten(outcome) => {
                if let Some(pass) = running.pass.take() {
                    self.written_in_pass(&mut running, pass, outcome, turn);
                }
            }
            Event::TokensRevoked(is_done) => {
                if let Some(pass) = running.pass.take() {
                    self.tokens_revoked(&mut running, pass, is_done, turn);
                }
            }
            event => self.client_event(&mut running, event, turn),
        }
        Phase::Running(running)
    }

    /// The held key, as the table sees a directory's.
    fn held_as_disk(&self) -> DiskSeen {
        let held = self.held.as_ref();
        let ring = Ring {
            next: held.and_then(|held| held.next).map(|key| ring::Next {
                key,
                is_due: false,
                is_compromised: false,
            }),
            previous: held.and_then(|held| held.previous).map(|key| ring::Previous { key, is_over: false }),
            revokes_tokens: false,
        };
        DiskSeen {
            local: held.map_or(Local::None, Held::as_local),
            ring,
            provisional: held.is_some_and(|held| held.provisional),
        }
    }

    /// What the start has seen needs no second look, except at a Hydra that it did not wait for.
    fn begin_running(&mut self, running: &mut Running, turn: &mut Turn) {
        match running.first.take() {
            Some(seen) => {
                let sure = self.sure;
                let pass = Pass { sure, ..Pass::new(seen) };
                self.settle_client(running, pass, turn);
            }
            None => {
                let is_pending = running.is_new && (self.config.hydra.is_configured || !self.sure);
                self.wait(running, is_pending, turn);
            }
        }
    }

    /// Plans and applies what a pass has observed of the keys.
    fn settle_keys(&mut self, running: &mut Running, mut pass: Pass, turn: &mut Turn) {
        self.heard_store |= hears(&pass.seen.keys.store);
        let plan = keys::plan(&pass.seen.keys, &self.config.policy);
        if !matches!(plan.step, Step::LookAgain { .. }) {
            running.doubt = None;
        }
        match plan.step {
            // Nobody makes a key here: the table has no such row for a running agent.
            Step::LookAgain { .. }
            | Step::Refuse
            | Step::Generate
            | Step::GenerateProvisional
            | Step::Ring { .. } => self.in_doubt(running, pass, turn),
            Step::BackUp { over } => {
                turn.push(Effect::WriteKeys { slot: super::Slot::Local, expected: expected(over) });
                pass.plan = Some(plan);
                running.pass = Some(pass);
            }
            Step::UseLocal | Step::UseStore | Step::UseStoreOnly | Step::UseEarlier { .. } => {
                match choose(&plan, &pass.seen) {
                    Some(chosen) => {
                        pass.plan = Some(plan);
                        self.use_in_pass(running, pass, chosen, turn);
                    }
                    None => self.in_doubt(running, pass, turn),
                }
            }
        }
    }

    /// In a pass whose keys are in doubt nothing is written about the client either.
    fn in_doubt(&mut self, running: &mut Running, mut pass: Pass, turn: &mut Turn) {
        (pass.sure, pass.is_pending) = (false, true);
        running.is_decided = false;
        self.settle_client(running, pass, turn);
    }

    fn use_in_pass(&mut self, running: &mut Running, mut pass: Pass, chosen: Chosen, turn: &mut Turn) {
        let Some(mut plan) = pass.plan.take() else { return };
        // A rotation that nobody may finish: the key is right, and it's not well.
        match &pass.seen.keys.store {
            Store::Present(stored) if running.unfinished == Some(stored.version) => {
                plan.degraded = plan.degraded.or(Some(Reason::StoreDenied));
            }
            Store::Present(_) => running.unfinished = None,
            _ => {}
        }
        // Nothing new: nothing is written, either.
        let is_news = self.held.as_ref() != Some(&kept_source(&chosen.held, self.held.as_ref()));
        let is_other = self.held.as_ref().is_none_or(|held| held.key != chosen.held.key);
        match plan.sure || plan.step != Step::UseLocal {
            true if is_news || self.sure != plan.sure => {
                let held = kept_source(&chosen.held, self.held.as_ref());
                self.hold(&plan, Chosen { held, ..chosen }, turn);
            }
            _ => self.sure = plan.sure,
        }
        if is_other && self.config.hydra.is_configured {
            turn.push(Effect::ReportClient(Some(Reason::ClientPending)));
        }
        self.decided(running, &mut pass, &plan, turn);
        if let Some(step) = self.upkeep(running, &mut pass, &plan) {
            pass.ring_step = Some(step);
            match step {
                RingStep::Revoke => turn.push(Effect::RevokeTokens { within: HYDRA_TIMEOUT }),
                _ => pass.write_ring_step(turn),
            }
            running.pass = Some(pass);
            return;
        }
        self.settle_client(running, pass, turn);
    }

    /// What was revoked is noted in the record; what was not is tried again in a later pass.
    fn tokens_revoked(&mut self, running: &mut Running, mut pass: Pass, is_done: bool, turn: &mut Turn) {
        if is_done {
            pass.write_ring_step(turn);
            running.pass = Some(pass);
        } else {
            pass.ring_step = None;
            self.settle_client(running, pass, turn);
        }
    }

    /// The step of a rotation that is due, and ours to take.
    fn upkeep(&self, running: &Running, pass: &mut Pass, plan: &Plan) -> Option<RingStep> {
        let Store::Present(stored) = &pass.seen.keys.store else { return None };
        let is_refused = running
            .refused
            .is_some_and(|(version, passes)| version == stored.version && passes < PASSES_REFUSED);
        let hydra = &pass.seen.keys.hydra;
        if !plan.sure || is_refused {
            return None;
        }
        let step = ring::upkeep(stored, self.config.reconcile_interval.as_secs())?;
        if !hydra.is_heard() {
            pass.step_needs_hydra = true;
            return None;
        }
        let names_next = stored.ring.next.is_some_and(|next| hydra.names(&next.key));
        // Beside a Hydra that names another key than this record's nothing is written: ours may be the wrong one. The prepared key
        // is public: anybody at Hydra's admin port can write its name.
        if hydra.other_than_stored(stored).is_some() && !names_next {
            return None;
        }
        match step {
            // While Hydra names the replaced key, all replicas sign with it.
            RingStep::Retire if hydra.is_key() && !hydra.names(&stored.key) => None,
            // Not before the withdrawn key is refused; and not if somebody else writes to Hydra.
            RingStep::Revoke if !hydra.names(&stored.key) || !self.config.hydra.auto_register => None,
            step => Some(step),
        }
    }

    /// Notes what a plan says of the keys.
    fn decided(&mut self, running: &mut Running, pass: &mut Pass, plan: &Plan, turn: &mut Turn) {
        pass.sure = plan.sure;
        pass.is_pending = plan.degraded.is_some_and(|reason| !waits_for_a_person(reason));
        running.is_decided = plan.sure || !pass.is_pending;
        turn.push(report(plan, &pass.seen.keys));
    }

    fn written_in_pass(
        &mut self,
        running: &mut Running,
        mut pass: Pass,
        outcome: Result<Version, WriteFailure>,
        turn: &mut Turn,
    ) {
        if let Some(step) = pass.ring_step.take() {
            if let (Err(WriteFailure::Denied), Store::Present(stored)) = (outcome, &pass.seen.keys.store) {
                running.refused = Some((stored.version, 0));
                let is_needed =
                    matches!(step, RingStep::Activate { .. } | RingStep::Retire | RingStep::Revoke);
                running.unfinished = is_needed.then_some(stored.version);
            }
            // What is there now decides; a step that is only a note does not make the client wait.
            return match (outcome, step) {
                (Ok(_), RingStep::Activate { .. }) => observe(running, turn),
                _ => {
                    pass.is_pending |= outcome.is_ok();
                    self.settle_client(running, pass, turn);
                }
            };
        }
        let Some(plan) = pass.plan.take() else { return };
        match outcome {
            Ok(version) => {
                let Some(held) = self.held.clone() else { return };
                let named = pass.seen.keys.hydra.names(&held.key);
                let held = Held {
                    acknowledged: Some(Acknowledged { version, named }),
                    version: Some(version),
                    provisional: false,
                    source: crate::held::Source::Store,
                    ..held
                };
                self.hold(&plan, Chosen { slot: super::Slot::Local, held }, turn);
                self.decided(running, &mut pass, &plan, turn);
                self.settle_client(running, pass, turn);
            }
            Err(failure @ (WriteFailure::Denied | WriteFailure::Unavailable { .. })) => {
                let reason = match failure {
                    WriteFailure::Denied => Reason::StoreDenied,
                    _ => Reason::StoreUnavailable,
                };
                self.sure = false;
                let plan = Plan { sure: false, degraded: Some(reason), unready: false, ..plan };
                self.decided(running, &mut pass, &plan, turn);
                self.settle_client(running, pass, turn);
            }
            Err(WriteFailure::Conflict | WriteFailure::Refused) => {
                self.in_doubt(running, pass, turn);
            }
        }
    }

    /// Begins the work on the client, or ends the pass if there is none.
    fn settle_client(&mut self, running: &mut Running, mut pass: Pass, turn: &mut Turn) {
        if !self.config.hydra.is_configured {
            return self.end_pass(running, &pass, turn);
        }
        let Restraint { is_contested, is_paused } = running.repairs.restraint(turn.now);
        (pass.was_contested, pass.was_paused) = (is_contested, is_paused);
        let sure = pass.sure && !is_contested && !is_paused;
        let Some(occasion) = self.occasion(&pass.seen, sure, running, None) else {
            return self.end_pass(running, &pass, turn);
        };
        let work = ClientWork::new(pass.seen.credentials.clone(), occasion);
        turn.push(work.begin(turn.now));
        self.client = Some(work);
        running.pass = Some(pass);
    }

    fn client_event(&mut self, running: &mut Running, event: Event, turn: &mut Turn) {
        let Some(work) = self.client.as_mut() else { return };
        if let (Event::Hydra(hydra), Some(held)) = (&event, &self.held)
            // With a prepared one only if Hydra has the statement: else the record, which has it, is read first.
            && let Some(named) =
                hydra.named.filter(|named| held.has(named) && (held.next != Some(*named) || hydra.follows))
        {
            turn.push(Effect::SignWith(named));
        }
        let is_named_early = matches!(&event, Event::Hydra(hydra) if hydra.client == Client::OfOurNextKey);
        if let Event::Hydra(_) = &event {
            running.named_early = self.held.as_ref().filter(|_| is_named_early).and_then(|held| held.version);
        }
        let finished = work.told(event, self.config.hydra.auto_register, turn);
        let Some(mut pass) = running.pass.take() else { return };
        // Another replica has made the prepared key the current one: the record is read at once.
        pass.is_pending |= is_named_early;
        match finished {
            None => running.pass = Some(pass),
            Some(finished) => {
                self.client = None;
                self.client_settled(running, &mut pass, finished, turn);
                self.end_pass(running, &pass, turn);
            }
        }
    }

    fn client_settled(
        &mut self,
        running: &mut Running,
        pass: &mut Pass,
        finished: Finished,
        turn: &mut Turn,
    ) {
        // A Hydra that gives no answer is not waited for: it would hold up the work on the keys.
        let is_needed = finished.is_unread || pass.step_needs_hydra && finished.is_heard;
        running.hearing = if is_needed { HYDRA_TIMEOUT } else { FIRST_HEARING };
        pass.is_pending |= is_needed;
        if finished.is_unread {
            return;
        }
        let is_restrained = pass.was_contested || pass.was_paused;
        let may_write = pass.sure && !is_restrained;
        let is_heard = running.is_decided && !pass.was_paused && finished.is_heard;
        if is_heard && !(may_write && finished.is_unfinished()) {
            running.consent = TakeOver::No;
        }
        running.repairs.done(turn.now, finished.repairs.clone());
        match finished.reason {
            None => running.repairs.all_is_well(),
            Some(_) if finished.is_fenced => running.repairs.in_vain(turn.now),
            Some(_) => {}
        }
        if pass.was_paused && finished.reason.is_some() {
            // What was said of the repair that came to nothing still holds.
            return;
        }
        if finished.reason.is_none() {
            running.described = true;
            if pass.sure {
                running.compared = self.held.as_ref().and_then(|held| held.version);
            }
        }
        let reason = finished.reason.map(|reason| match pass.was_contested {
            true => Reason::ContestedClient,
            false => reason,
        });
        turn.push(Effect::ReportClient(reason));
        // Left alone on purpose: look again at the usual interval.
        let is_left = reason == Some(Reason::ClientMissing) && !self.config.hydra.auto_register;
        pass.is_pending |= reason.is_some_and(|reason| !is_left && !waits_for_a_person(reason));
    }

    fn end_pass(&mut self, running: &mut Running, pass: &Pass, turn: &mut Turn) {
        if let Some((_, passes)) = &mut running.refused {
            *passes = passes.saturating_add(1);
        }
        turn.push(Effect::MendDirectory { sure: self.sure });
        turn.push(Effect::PassEnded { pending: pass.is_pending });
        self.wait(running, pass.is_pending, turn);
    }

    fn wait(&mut self, running: &mut Running, is_pending: bool, turn: &mut Turn) {
        let pause = if is_pending {
            running.retry.pause(running.wish.map(|wish| wish.min(MAX_WISH)))
        } else {
            running.retry = RETRY;
            // Ten percent of jitter, so that a fleet does not come in step.
            let interval = self.config.reconcile_interval;
            Pause { least: interval * 9 / 10, most: interval * 11 / 10 }
        };
        turn.push(Effect::Wait(pause));
    }
}

impl Pass {
    fn new(seen: Seen) -> Self {
        Self {
            seen,
            plan: None,
            ring_step: None,
            step_needs_hydra: false,
            sure: false,
            is_pending: false,
            was_paused: false,
            was_contested: false,
        }
    }
}

impl Pass {
    /// Writes the step of a rotation over what was seen.
    fn write_ring_step(&self, turn: &mut Turn) {
        if let (Some(step), Store::Present(stored)) = (self.ring_step, &self.seen.keys.store) {
            turn.push(Effect::WriteRing { step, over: stored.version, lineage: stored.lineage.clone() });
        }
    }
}

fn observe(running: &Running, turn: &mut Turn) {
    turn.push(Effect::Observe { store: STORE_TIMEOUT, hydra: running.hearing });
}

/// A key that this process made stays one that it made, until another takes its place.
fn kept_source(chosen: &Held, held: Option<&Held>) -> Held {
    match held {
        Some(held) if held.key == chosen.key && held.source == crate::held::Source::Created => {
            Held { source: held.source, ..chosen.clone() }
        }
        _ => chosen.clone(),
    }
}
