//! What an operator asks for: a rotation, its undo, keeping a key, another secret. Plan first, then steps by compare-and-set.

use super::{Driver, End, KeyLook};
use crate::{
    Keeper, Reason,
    held::RingKey,
    machine::{Chosen, Event, Machine, Slot, WriteFailure, would_hold},
    plan::{
        client,
        history::{self, Earlier, MAX_DEPTH},
        keys::{Acknowledged, HydraNames, Local, Plan, Row, Step, Store, is_led_to},
        ring::{self, RingError, RingStep, RingWish},
    },
    registration::new_secret,
};
use bindu_store::{CredentialRecord, Expected, OutageReason, Version};
use std::time::Duration;

/// How long the steps wait for the store, each.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What was planned for a wish, and what it was planned for.
#[derive(Debug)]
pub struct RingLook {
    /// What was observed.
    pub look: KeyLook,
    /// The steps, or why there are none.
    pub steps: Result<Vec<RingStep>, RingError>,
}

/// Why a step was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The record was changed in between.
    #[error("the keys record was changed by somebody else in between (version conflict)")]
    Conflict,
    /// We may not write it.
    #[error("the store denies writing the keys record")]
    Denied,
    /// Undecided.
    #[error("the store did not answer: it is undecided if the step was taken")]
    Unavailable,
    /// The store refuses the content for ever.
    #[error("the store refuses the record")]
    Refused,
    /// A step was taken, and what is there now could not be read: the next one was not.
    #[error(
        "the first step was taken, but the store did not tell what is there then: the rotation is not finished"
    )]
    Unfinished,
    /// The store gives no answer: nothing was changed.
    #[error("the store does not answer; nothing was changed")]
    Silent,
    /// We may not read it.
    #[error("the store denies reading the keys record; nothing was changed")]
    ReadDenied,
    /// We may not write the credentials.
    #[error("the store denies the record of the client's credentials")]
    CredentialsDenied,
    /// The store's mount is not there, or is not KV version 2.
    #[error("the store's mount is not there, or is not KV version 2; nothing was changed")]
    WrongMount,
    /// A key is encrypted, and its password is missing or wrong.
    #[error("the key is encrypted and its password is missing or wrong; nothing was changed")]
    Locked,
    /// Which key is the right one must be settled first.
    #[error("the identity must be settled first; nothing was changed")]
    NotSettled,
    /// There is no key here.
    #[error("there is no key here that could be kept")]
    NoKey,
    /// What the store holds can't be written over by compare-and-set.
    #[error("the record can't be read, so its version is not known")]
    Unreadable,
    /// A later key has replaced the one that is held here: what goes back is an undo.
    #[error("a later key has replaced the one that is held here: every start would refuse it as rolled back")]
    Retired,
    /// Somebody else registers the client.
    #[error("Hydra's client is not ours to change: somebody else registers it")]
    NotRegistering,
    /// There is no client to rotate the secret of.
    #[error("there are no credentials of this agent's client")]
    NoCredentials,
}

impl From<WriteFailure> for StepError {
    fn from(failure: WriteFailure) -> Self {
        match failure {
            WriteFailure::Conflict => Self::Conflict,
            WriteFailure::Denied => Self::Denied,
            WriteFailure::Unavailable { .. } => Self::Unavailable,
            WriteFailure::Refused => Self::Refused,
        }
    }
}

/// What keeping a key means for the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepStep {
    /// It holds the key already: what it lacks of the key's past is written beside it.
    PutBack,
    /// The directory's key is written.
    Write {
        /// Over this version; `None` where there is no record.
        over: Option<Version>,
    },
}

/// What became of the steps.
#[derive(Debug)]
pub struct Applied {
    /// The record's version now.
    pub version: Version,
    /// Why the client in Hydra is not as it should be yet: the replicas go on with it.
    pub client: Option<Reason>,
    /// If the client's tokens were revoked, as a compromised key asks for; `None` if nobody asked.
    pub tokens_revoked: Option<bool>,
}

impl Keeper {
    /// Plans for a wish about the key ring. Changes nothing.
    pub async fn plan_ring(&self, wish: RingWish) -> RingLook {
        let look = self.look().await;
        let steps = ring::plan(&look.seen, &look.plan, &look.whole.past, wish);
        RingLook { look, steps }
    }

    /// Takes the planned steps, one after the other, and brings Hydra in step.
    ///
    /// # Errors
    /// The first step that was not taken; those before it were.
    pub async fn apply_ring(&self, look: RingLook) -> Result<Applied, StepError> {
        let Ok(steps) = look.steps else { return Err(StepError::Conflict) };
        let KeyLook { mut driver, whole, plan, seen, .. } = look.look;
        let Store::Present(stored) = &seen.store else { return Err(StepError::Unreadable) };
        let chosen = would_hold(&plan, &whole).ok_or(StepError::NoKey)?;
        driver.hold(self, chosen.slot, chosen.held.clone(), plan.row);
        let mut version = stored.version;
        let is_compromised = steps.contains(&RingStep::Activate { compromised: true });
        let mut lineage = stored.lineage.clone();
        let last = steps.last().copied();
        for step in steps {
            let next =
                driver.store.as_ref().and_then(|found| found.ring.next.as_ref()).map(RingKey::public_key);
            let Event::KeysWritten(written) = driver.write_ring(self, step, version, lineage).await else {
                return Err(StepError::Unavailable);
            };
            // The next step is taken on what is there now.
            let there = driver.observe(self, TIMEOUT, Duration::ZERO).await.store;
            let is_last = Some(&step) == last.as_ref();
            if let (Ok(_), false, Store::Unavailable(_) | Store::Denied) = (&written, is_last, there) {
                return Err(StepError::Unfinished);
            }
            let found = driver.store.as_ref();
            version = match (written, found) {
                (Ok(version), _) => version,
                // A replica has taken the same step.
                (Err(WriteFailure::Conflict), Some(found))
                    if matches!(step, RingStep::Activate { .. }) && Some(found.public_key()) == next =>
                {
                    found.version.unwrap_or(version)
                }
                (Err(failure), _) => return Err(failure.into()),
            };
            lineage = found.map(|found| found.lineage.clone()).unwrap_or_default();
        }
        // Without a Vault the directory is the store: what it remembers goes along.
        if let (crate::StoreKind::File, Some(found)) = (self.store_kind, &driver.store) {
            self.put_on_disk(found, Some(Acknowledged { version, named: false }), false);
        }
        let client = self.bring_client(&mut driver, chosen.held).await;
        let mut tokens_revoked = None;
        if is_compromised && self.hydra.is_some() {
            let is_done = driver.revoke_tokens(self, TIMEOUT).await;
            tokens_revoked = Some(is_done);
            // Before Hydra names the new key they could be had again: then a replica does it once more.
            if is_done && client.is_none() {
                version = self.note_revoked(&mut driver).await.unwrap_or(version);
            }
        }
        Ok(Applied { version, client, tokens_revoked })
    }

    /// Notes in the record that the tokens were revoked; a replica may have been faster.
    async fn note_revoked(&self, driver: &mut Driver) -> Option<Version> {
        driver.observe(self, TIMEOUT, Duration::ZERO).await;
        let found = driver.store.as_ref().filter(|found| found.revokes_tokens)?;
        let (version, lineage) = (found.version?, found.lineage.clone());
        match driver.write_ring(self, RingStep::Revoke, version, lineage).await {
            Event::KeysWritten(Ok(version)) => Some(version),
            _ => None,
        }
    }

    /// What keeping the key that is held here means for the record. Changes nothing.
    ///
    /// # Errors
    /// Why it can't be kept.
    pub async fn plan_keep(&self, look: &mut KeyLook) -> Result<KeepStep, StepError> {
        let local = match &look.seen.local {
            Local::Present { key, lineage, .. } => Some((*key, lineage.clone())),
            Local::None => None,
            Local::Locked(_) => return Err(StepError::Locked),
            Local::Unusable(_) | Local::Unreadable(_) => return Err(StepError::NoKey),
        };
        let version = match &look.seen.store {
            Store::Present(stored) => Some(stored.version),
            Store::Deleted { version, .. } => Some(*version),
            Store::Absent => None,
            Store::Denied => return Err(StepError::ReadDenied),
            Store::Unavailable(OutageReason::WrongMount) => return Err(StepError::WrongMount),
            Store::Unavailable(_) => return Err(StepError::Silent),
            Store::Locked(_) => return Err(StepError::Locked),
            Store::Malformed(_) | Store::OfAnotherAgent(_) => return Err(StepError::Unreadable),
        };
        if let Store::Present(stored) = &look.seen.store
            && local.as_ref().is_none_or(|(key, _)| *key == stored.key)
        {
            let is_retired = is_led_to(&look.seen, stored)
                || matches!(look.seen.earlier, Earlier::Read { retired_by: Some(_), .. });
            return match (is_retired, local.is_some() || look.plan.sure) {
                (true, _) => Err(StepError::Retired),
                (false, false) => Err(StepError::NoKey),
                (false, true) => Ok(KeepStep::PutBack),
            };
        }
        let (key, lineage) = local.ok_or(StepError::NoKey)?;
        // What was there before may prove that this key was given up, or when it came back.
        let past = match version.filter(|version| *version > 1) {
            Some(version) => {
                let first = version.saturating_sub(MAX_DEPTH).max(1);
                let read = look.driver.read_history(self, first..=version.saturating_sub(1), TIMEOUT).await;
                read.map_err(|_| StepError::Silent)?
            }
            None => Vec::new(),
        };
        let newest = history::newest(&key, &lineage, &past).clone();
        let generation = newest.generation;
        let is_replaced = match &look.seen.store {
            Store::Present(stored) => stored.replaces(&key) && stored.lineage.generation > generation,
            _ => false,
        };
        let is_led_on = matches!(&look.seen.hydra, HydraNames::Key { after_local: Some(after), .. } if *after > generation);
        if is_replaced || is_led_on || history::retires(&past, &key, generation) {
            return Err(StepError::Retired);
        }
        if let Some(found) = &mut look.driver.local {
            found.lineage = newest;
        }
        Ok(KeepStep::Write { over: version })
    }

    /// Writes the key that is held here to the store: the operator's word. Where the store holds it already, what its record lacks of
    /// the key's past is put back, and the keys beside it stay.
    ///
    /// # Errors
    /// Why it was not written.
    pub async fn keep(&self, mut look: KeyLook) -> Result<Applied, StepError> {
        let step = self.plan_keep(&mut look).await?;
        let KeyLook { mut driver, seen, whole, plan, .. } = look;
        let (event, chosen) = match (step, &seen.store) {
            (KeepStep::PutBack, Store::Present(stored)) => {
                let plan = Plan { step: Step::UseStore, sure: true, ..plan };
                let chosen = would_hold(&plan, &whole).ok_or(StepError::NoKey)?;
                let (over, lineage) = (stored.version, stored.lineage.clone());
                (driver.write_ring(self, RingStep::PutBack, over, lineage).await, chosen)
            }
            (KeepStep::PutBack, _) => return Err(StepError::Conflict),
            (KeepStep::Write { over }, _) => {
                let held = crate::machine::held_on_disk(&whole).ok_or(StepError::NoKey)?;
                let expected = over.map_or(Expected::Absent, Expected::Version);
                let written = driver.write_keys(self, Slot::Local, expected).await;
                (written, Chosen { slot: Slot::Local, held })
            }
        };
        let Event::KeysWritten(written) = event else { return Err(StepError::Unavailable) };
        let version = written?;
        driver.hold(self, chosen.slot, chosen.held.clone(), Row::AbsentPresent);
        let client = self.bring_client(&mut driver, chosen.held).await;
        Ok(Applied { version, client, tokens_revoked: None })
    }

    /// If a secret can be rotated, as far as a look tells. Changes nothing.
    ///
    /// # Errors
    /// Why it can't be.
    pub async fn plan_rotate_secret(&self) -> Result<(), StepError> {
        let look = self.look().await;
        self.secret_to_rotate(&look).map(|_| ())
    }

    /// The version of the credentials whose secret can be rotated.
    fn secret_to_rotate(&self, look: &KeyLook) -> Result<Version, StepError> {
        if !self.profile().is_some_and(|profile| profile.auto_register) {
            return Err(StepError::NotRegistering);
        }
        match &look.seen.store {
            Store::Locked(_) => return Err(StepError::Locked),
            Store::Denied => return Err(StepError::ReadDenied),
            Store::Unavailable(OutageReason::WrongMount) => return Err(StepError::WrongMount),
            Store::Unavailable(_) => return Err(StepError::Silent),
            _ if !look.plan.sure => return Err(StepError::NotSettled),
            _ => {}
        }
        match &look.whole.credentials.store {
            client::Store::Present { version, .. } => Ok(*version),
            client::Store::Denied => Err(StepError::CredentialsDenied),
            client::Store::Unavailable => Err(StepError::Silent),
            client::Store::Absent | client::Store::Deleted { .. } | client::Store::Malformed => {
                Err(StepError::NoCredentials)
            }
        }
    }

    /// Prepares another secret for the client, and brings Hydra and the record to it.
    ///
    /// # Errors
    /// Why it was not prepared.
    pub async fn rotate_secret(&self) -> Result<Applied, StepError> {
        let look = self.look().await;
        let version = &self.secret_to_rotate(&look)?;
        let chosen = would_hold(&look.plan, &look.whole).ok_or(StepError::NoKey)?;
        let mut driver = look.driver;
        let Some((record, there)) = driver.record.clone() else { return Err(StepError::NoCredentials) };
        // A record that was rolled back goes on from the secret that the disk has proven: the record's own is an older one.
        let record = match &driver.copy {
            Some(copy) if copy.generation > record.generation => CredentialRecord {
                client_secret: copy.client_secret.clone(),
                generation: copy.generation,
                ..record
            },
            _ => record,
        };
        let next = CredentialRecord { next_secret: Some(new_secret()), ..record };
        let fields = next.over(&there);
        let written =
            self.store.write(&self.credentials_record(), &fields, Expected::Version(*version)).await;
        let version = written.map_err(|error| match super::keys::failure(&error) {
            WriteFailure::Denied => StepError::CredentialsDenied,
            failure => failure.into(),
        })?;
        driver.record = Some((next, fields));
        driver.hold(self, chosen.slot, chosen.held.clone(), look.plan.row);
        let client = self.bring_client(&mut driver, chosen.held).await;
        Ok(Applied { version, client, tokens_revoked: None })
    }

    /// One pass of the machine, for what Hydra must know now.
    async fn bring_client(&self, driver: &mut Driver, held: crate::machine::Held) -> Option<Reason> {
        self.hydra.as_ref()?;
        let mut machine = Machine::holding(self.config(), held, true);
        driver.drive(self, &mut machine, Event::Elapsed, |end| matches!(end, End::PassEnded)).await;
        self.status.snapshot().client
    }
}
