//! What an operator asks for: a rotation, its undo, keeping a key, another secret. Plan first, then steps by compare-and-set.

use super::{Driver, End, KeyLook};
use crate::{
    Keeper, Reason,
    held::RingKey,
    machine::{Event, Machine, Slot, WriteFailure, would_hold},
    plan::{
        keys::{Acknowledged, Store},
        ring::{self, RingError, RingStep, RingWish},
    },
    registration::new_secret,
};
use bindu_store::{CredentialRecord, Expected, Version};
use secrecy::ExposeSecret as _;
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
    /// There is no key here.
    #[error("there is no key here that could be kept")]
    NoKey,
    /// What the store holds can't be written over by compare-and-set.
    #[error("the record can't be read, so its version is not known")]
    Unreadable,
    /// The store's key has replaced the one that is held here: what goes back is an undo.
    #[error(
        "the store's key has replaced the one that is held here: every start would refuse it as rolled back"
    )]
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
        for step in steps {
            let next =
                driver.store.as_ref().and_then(|found| found.ring.next.as_ref()).map(RingKey::public_key);
            let Event::KeysWritten(written) = driver.write_ring(self, step, version, lineage).await else {
                return Err(StepError::Unavailable);
            };
            // The next step is taken on what is there now.
            driver.observe(self, TIMEOUT, Duration::ZERO).await;
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

    /// Writes the key that is held here to the store: the operator's word.
    ///
    /// # Errors
    /// Why it was not written.
    pub async fn keep(&self, look: KeyLook) -> Result<Applied, StepError> {
        let KeyLook { mut driver, seen, whole, .. } = look;
        let expected = match &seen.store {
            Store::Present(stored) => Expected::Version(stored.version),
            Store::Deleted { version, .. } => Expected::Version(*version),
            Store::Absent => Expected::Absent,
            Store::Denied => return Err(StepError::Denied),
            Store::Unavailable(_) => return Err(StepError::Unavailable),
            Store::Malformed(_) | Store::OfAnotherAgent(_) | Store::Locked(_) => {
                return Err(StepError::Unreadable);
            }
        };
        let held = crate::machine::held_on_disk(&whole).ok_or(StepError::NoKey)?;
        if let Store::Present(stored) = &seen.store
            && stored.replaces(&held.key)
            && stored.lineage.generation > held.lineage.generation
        {
            return Err(StepError::Retired);
        }
        let Event::KeysWritten(written) = driver.write_keys(self, Slot::Local, expected).await else {
            return Err(StepError::Unavailable);
        };
        let version = written?;
        driver.hold(self, Slot::Local, held.clone(), crate::plan::keys::Row::AbsentPresent);
        let client = self.bring_client(&mut driver, held).await;
        Ok(Applied { version, client, tokens_revoked: None })
    }

    /// Prepares another secret for the client, and brings Hydra and the record to it.
    ///
    /// # Errors
    /// Why it was not prepared.
    pub async fn rotate_secret(&self) -> Result<Applied, StepError> {
        if !self.profile().is_some_and(|profile| profile.auto_register) {
            return Err(StepError::NotRegistering);
        }
        let look = self.look().await;
        let chosen = would_hold(&look.plan, &look.whole).ok_or(StepError::NoKey)?;
        let mut driver = look.driver;
        let Some((record, there)) = driver.record.clone() else { return Err(StepError::NoCredentials) };
        let crate::plan::client::Store::Present { version, .. } = &look.whole.credentials.store else {
            return Err(StepError::NoCredentials);
        };
        let next = CredentialRecord { next_secret: Some(new_secret()), ..record };
        let mut fields = there;
        let secret = next.next_secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        fields.set("next_client_secret", secret.unwrap_or_default());
        let written =
            self.store.write(&self.credentials_record(), &fields, Expected::Version(*version)).await;
        let version = written.map_err(|error| super::keys::failure(&error))?;
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
