//! Writing keys: the store by compare-and-set, then the disk, then use. Each step may be repeated.

use super::{Driver, FoundKey};
use crate::{
    HeldIdentity, Identity, Keeper, Reason, audit,
    held::{KeyRing, RingKey},
    machine::{Event, Held, Slot, WriteFailure},
    plan::{
        keys::{Acknowledged, Row},
        ring::{self, RingStep},
    },
};
use bindu_identity::{DerivedKey, Lineage, NewRotation, PublicKey, RotationStatement, SigningKey, pem};
use bindu_store::{
    Acknowledgement, DataDirectory, DirectoryErrorKind, DirectoryOwner, Expected, Fields, IdentityFile,
    KeyRecord, RingFile, RingKey as RingRecord, Version, WriteError,
};
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::Arc;

impl Driver {
    pub(super) fn make_key(&mut self, keeper: &Keeper) -> Event {
        self.new = keeper.new_key();
        Event::KeyMade(self.new.as_ref().map(FoundKey::public_key))
    }

    /// Writes a record of a key pair. Nobody has seen a new key before its write has been answered.
    pub(super) async fn write_keys(&mut self, keeper: &Keeper, slot: Slot, expected: Expected) -> Event {
        let Some(found) = self.slot(slot) else { return Event::KeysWritten(Err(WriteFailure::Conflict)) };
        let fields = keeper.record_of(found).to_fields();
        let key = found.public_key();
        let written = keeper.store.write(&keeper.keys_record(), &fields, expected).await;
        self.note_written(&key, &written);
        Event::KeysWritten(written.map_err(|error| failure(&error)))
    }

    fn note_written(&mut self, key: &PublicKey, written: &Result<Version, WriteError>) {
        match written {
            Ok(version) => {
                tracing::info!(key = %key.fingerprint(), version, "the store holds the key");
            }
            Err(error) => {
                tracing::info!(%error, "the keys record was not written: observing again");
                if let WriteError::Refused(words) = error {
                    self.refused = Some(words.clone());
                }
                if let WriteError::Unavailable(outage) = error {
                    self.outage = Some(outage.clone());
                }
            }
        }
    }

    /// Writes the record that was read, changed by a step of a rotation.
    pub(super) async fn write_ring(
        &mut self,
        keeper: &Keeper,
        step: RingStep,
        over: Version,
        lineage: Lineage,
    ) -> Event {
        if let Some(found) = &mut self.store {
            found.lineage = lineage;
        }
        let fields = match self.store.as_ref().map(|found| keeper.after_step(found, step)) {
            Some(Ok(fields)) => fields,
            Some(Err(problem)) => {
                tracing::warn!(problem, step = ?step, "this step of a rotation can't be taken");
                return Event::KeysWritten(Err(WriteFailure::Conflict));
            }
            None => return Event::KeysWritten(Err(WriteFailure::Conflict)),
        };
        // A FileStore's record is the directory's pair: what it holds is kept before it is written over.
        if keeper.store_kind == crate::StoreKind::File
            && let (Some(directory), Some(found)) = (&keeper.directory, &self.store)
            && matches!(step, RingStep::Activate { .. } | RingStep::Undo)
            && let Err(error) = directory.archive_pair(Some(&found.public_key().fingerprint()))
        {
            keeper.directory_failed(&error);
            self.outage = Some(bindu_store::Outage::new(
                bindu_store::OutageReason::Unreadable,
                format!("{error}: {}", error.source),
            ));
            let reason = bindu_store::OutageReason::Unreadable;
            return Event::KeysWritten(Err(WriteFailure::Unavailable { reason, retry_after: None }));
        }
        let written = keeper.store.write(&keeper.keys_record(), &fields, Expected::Version(over)).await;
        if let (Ok(version), Some(found)) = (&written, &self.store) {
            audit::ring_step(&keeper.agent.did, step, &found.public_key(), *version);
        }
        let key = self.store.as_ref().map(FoundKey::public_key);
        if let Some(key) = key {
            self.note_written(&key, &written);
        }
        Event::KeysWritten(written.map_err(|error| failure(&error)))
    }

    /// Uses a key ring from now on.
    pub(super) fn hold(&mut self, keeper: &Keeper, slot: Slot, held: Held, row: Row) {
        let Some(mut found) = self.slot(slot).cloned() else { return };
        // The directory's past may have been completed by what Hydra proves.
        if slot != Slot::Local || held.lineage.generation >= found.lineage.generation {
            found.lineage = held.lineage.clone();
        }
        found.version = held.version;
        self.acknowledged = held.acknowledged;
        // The same key as before, with what is known of it now.
        let before = self.held.as_ref().map(|held| held.current()).filter(|old| old.public_key == held.key);
        let created_at =
            found.created_at.clone().or_else(|| before.as_ref().map(|old| old.created_at.clone()));
        let signing_key = self.signing_key(&found);
        let identity = Identity {
            did: keeper.agent.did.clone(),
            id: keeper.agent.id,
            public_key: held.key,
            signing_key,
            ring: found.ring.clone(),
            created_at: created_at.unwrap_or_else(|| keeper.timestamp()),
            version: held.version,
            lineage: found.lineage.clone(),
            provisional: held.provisional,
            source: held.source,
        };
        if before.is_some_and(|old| old.ring.next.is_some()) && identity.ring.next.is_none() {
            tracing::warn!("the prepared key is gone from the record: the rotation was abandoned");
        }
        audit::identity(&identity, row.explain());
        tracing::info!(row = row.explain(), source = identity.source.label(), "identity");
        self.local = Some(found);
        match &self.held {
            Some(held) => held.replace(identity),
            None => self.held = Some(Arc::new(HeldIdentity::new(identity))),
        }
    }

    /// The key to go on signing with: the one before, while the ring has it and Hydra has not named another.
    fn signing_key(&self, found: &FoundKey) -> Arc<SigningKey> {
        let before = self.held.as_ref().map(|held| held.current().signing_key.public_key());
        let kept = before.and_then(|key| found.ring.with(&key).map(|key| Arc::clone(&key.signing_key)));
        kept.unwrap_or_else(|| Arc::clone(&found.ring.current.signing_key))
    }

    /// Tries again to use a directory that could not be written before.
    pub(super) fn mend_directory(&self, keeper: &Keeper, sure: bool) {
        let (Some(directory), Some(found)) = (&keeper.directory, &self.local) else { return };
        if keeper.status.snapshot().directory != Some(Reason::DirectoryNotWritable) {
            return;
        }
        if let Err(error) = directory.open_again() {
            return tracing::debug!(%error, cause = %error.source, "the data directory still can't be used");
        }
        if let Err(error) = directory.probe() {
            return tracing::debug!(%error, cause = %error.source, "the data directory still can't be written");
        }
        // Whoever used it in the meantime may have been another agent.
        match directory.owner(&keeper.agent.did) {
            Ok(DirectoryOwner::This | DirectoryOwner::Unknown) => {}
            Ok(DirectoryOwner::Another(owner)) => {
                tracing::warn!(owner, "the data directory is another agent's: working without it");
                return keeper.status.directory_is_unusable(Reason::DirectoryOfAnotherAgent);
            }
            Err(error) => {
                keeper.directory_failed(&error);
                return;
            }
        }
        // What is there decides at the next start, as it would have at this one: a key that is not sure changes nothing.
        if !sure || keeper.put_on_disk(found, self.acknowledged, false) {
            keeper.status.update(|state| state.directory = None);
            tracing::info!("the data directory can be written again");
        }
    }
}

impl Keeper {
    pub(crate) fn new_key(&self) -> Option<FoundKey> {
        let (key, private_pem) = Self::new_pair(self.key_password.as_ref())?;
        Some(FoundKey {
            ring: KeyRing::of(Arc::new(key), private_pem),
            created_at: Some(self.timestamp()),
            lineage: Lineage::default(),
            has_lineage: true,
            version: None,
            written_at: None,
            interval: None,
            next_is_compromised: false,
            revokes_tokens: false,
            fields: None,
        })
    }

    /// A new pair, encrypted with this password.
    fn new_pair(password: Option<&SecretString>) -> Option<(SigningKey, SecretString)> {
        let key = SigningKey::generate().ok()?;
        let private_pem = match password {
            None => pem::encode_private_key(&key),
            Some(password) => pem::encode_encrypted_private_key(&key, password).ok()?,
        };
        Some((key, private_pem))
    }

    /// The record of a key ring, as it is written.
    pub(crate) fn record_of(&self, found: &FoundKey) -> KeyRecord {
        let beside = |key: &RingKey| RingRecord {
            private_key: key.private_pem.clone(),
            public_key: pem::encode_public_key(&key.public_key()),
            at: key.at.clone(),
        };
        KeyRecord {
            private_key: found.ring.current.private_pem.clone(),
            public_key: Some(pem::encode_public_key(&found.public_key())),
            did: Some(self.agent.did.to_string()),
            created_at: Some(found.created_at.clone().unwrap_or_else(|| self.timestamp())),
            lineage: Some(found.lineage.clone()),
            next: found.ring.next.as_ref().map(beside),
            previous: found.ring.previous.as_ref().map(beside),
            next_compromised: found.next_is_compromised,
            revoke_tokens: found.revokes_tokens,
            reconcile_interval: Some(found.interval.unwrap_or(0).max(self.reconcile_interval.as_secs())),
        }
    }

    /// The record after a step of a rotation; its fields that we don't know stay.
    pub(crate) fn after_step(&self, found: &FoundKey, step: RingStep) -> Result<Fields, &'static str> {
        let mut new = found.clone();
        let interval =
            found.interval.unwrap_or(ring::DEFAULT_INTERVAL).max(self.reconcile_interval.as_secs());
        // All replicas load a key before it counts, and no longer need the other one before that ends.
        let long_enough = interval.saturating_mul(2);
        let overlap = |compromised: bool| match compromised {
            true => 0,
            false => self.rotation_overlap.as_secs().max(long_enough),
        };
        match step {
            RingStep::PutBack | RingStep::Note => {}
            RingStep::Prepare { at_once, compromised } => {
                // Encrypted as the current key is, whatever password is at hand: all replicas must be able to open it.
                let is_encrypted = pem::is_encrypted(found.ring.current.private_pem.expose_secret());
                let password = self.key_password.as_ref().filter(|_| is_encrypted);
                let (key, private_pem) =
                    Self::new_pair(password).ok_or("the system gives no random numbers")?;
                let at = in_seconds(self.now(), if at_once { 0 } else { long_enough });
                new.ring.next = Some(RingKey { signing_key: Arc::new(key), private_pem, at });
                new.next_is_compromised = compromised;
                new.ring.previous = None;
            }
            RingStep::Activate { compromised } => {
                let next = new.ring.next.take().ok_or("no key is prepared")?;
                new = self.rotated(new, next, overlap(compromised));
                new.next_is_compromised = false;
                if compromised {
                    new.ring.previous = None;
                    new.revokes_tokens = self.hydra.is_some();
                }
            }
            RingStep::Undo => {
                let previous = new.ring.previous.take().ok_or("the key before was retired already")?;
                new = self.rotated(new, previous, overlap(false));
            }
            RingStep::Abandon => (new.ring.next, new.next_is_compromised) = (None, false),
            RingStep::Retire => new.ring.previous = None,
            RingStep::Revoke => new.revokes_tokens = false,
        }
        let there = found.fields.clone().unwrap_or_default();
        Ok(self.record_of(&new).over(&there))
    }

    /// Puts another key in the place of the current one, which signs that it gives way.
    fn rotated(&self, found: FoundKey, to: RingKey, overlap: u64) -> FoundKey {
        let old = found.ring.current.clone();
        let until = in_seconds(self.now(), overlap);
        let statement = RotationStatement::sign(&NewRotation {
            did: &self.agent.did,
            from: &old.signing_key,
            to: to.public_key(),
            to_second: DerivedKey::of(&to.signing_key).public_key(),
            generation: found.lineage.generation.saturating_add(1),
            prev: found.lineage.statements.first(),
            at: &in_seconds(self.now(), 0),
            until: &until,
        });
        let lineage = found.lineage.after(&old.public_key(), &to.public_key(), Some(statement));
        let ring = KeyRing {
            current: RingKey { at: String::new(), ..to },
            next: None,
            previous: Some(RingKey { at: until, ..old }),
        };
        FoundKey { ring, lineage, created_at: Some(self.timestamp()), ..found }
    }

    /// Writes a key ring to the directory; another key that lies there is kept in the archive first. Whether it is there
    /// now.
    pub(crate) fn put_on_disk(
        &self,
        found: &FoundKey,
        acknowledged: Option<Acknowledged>,
        provisional: bool,
    ) -> bool {
        let Some(directory) = self.writable_directory() else { return false };
        // What says whose keys these are can't be read: nothing is touched.
        if let Err(error) = directory.identity()
            && error.kind != DirectoryErrorKind::Malformed
        {
            return self.directory_failed(&error);
        }
        let on_disk = match directory.pair() {
            Ok(pair) => pair.private_key,
            // What can't be read can't be archived: leave it where it is and work from memory.
            Err(error) => return self.directory_failed(&error),
        };
        let private_pem = &found.ring.current.private_pem;
        if let Some(text) = on_disk.filter(|text| text.expose_secret() != private_pem.expose_secret()) {
            let key = pem::decode_private_key(&text, self.key_password.as_ref()).ok();
            let fingerprint = key.map(|key| key.public_key().fingerprint());
            if fingerprint.as_ref() != Some(&found.public_key().fingerprint()) {
                match directory.archive_pair(fingerprint.as_ref()) {
                    Ok(path) => tracing::warn!(
                        ours = fingerprint.as_ref().map_or("unreadable", |fingerprint| fingerprint.as_str()),
                        store = %found.public_key().fingerprint(),
                        archived = %path.display(),
                        "the store's key takes the place of the directory's"
                    ),
                    // Nothing would hold the old pair any more: leave it where it is and work from memory.
                    Err(error) => return self.directory_failed(&error),
                }
            }
        }
        // A FileStore has written the pair already.
        let is_there = directory.pair().is_ok_and(|pair| {
            pair.private_key.is_some_and(|text| text.expose_secret() == private_pem.expose_secret())
                && pair.public_key.is_some()
        });
        if !is_there {
            let public_pem = pem::encode_public_key(&found.public_key());
            if let Err(error) = directory.write_pair(private_pem, &public_pem) {
                return self.directory_failed(&error);
            }
        }
        self.remember(found, acknowledged, provisional)
    }

    /// Notes in the directory what is known of its key ring; writes only what has changed.
    pub(crate) fn remember(
        &self,
        found: &FoundKey,
        acknowledged: Option<Acknowledged>,
        provisional: bool,
    ) -> bool {
        let Some(directory) = self.writable_directory() else { return false };
        self.restore_public_key(found);
        let known = match directory.identity() {
            Ok(known) => known,
            Err(error) => return self.directory_failed(&error),
        };
        let known = known.unwrap_or_else(|| IdentityFile::new(&self.agent.did, &self.agent.id.to_string()));
        let key = found.public_key().to_string();
        let remembered =
            known.created_at.clone().filter(|_| known.public_key.as_deref() == Some(key.as_str()));
        let identity = IdentityFile {
            public_key: Some(key),
            acknowledged: acknowledged.map(|acknowledged| Acknowledgement {
                store: self.store_kind.label().to_owned(),
                version: acknowledged.version,
                location: Some(self.location()),
                named: acknowledged.named,
            }),
            provisional,
            created_at: found.created_at.clone().or(remembered).or_else(|| Some(self.timestamp())),
            generation: Some(found.lineage.generation),
            replaces: found.lineage.replaces_text(),
            rotations: match found.lineage.statements.is_empty() {
                true => String::new(),
                false => found.lineage.statements_text(),
            },
            next_at: found.ring.next.as_ref().map(|next| next.at.clone()),
            previous_until: found.ring.previous.as_ref().map(|previous| previous.at.clone()),
            ..known.clone()
        };
        // The keys are there before `identity.json` says so.
        for (file, key) in [(RingFile::Next, &found.ring.next), (RingFile::Previous, &found.ring.previous)] {
            if let Err(error) = keep_ring_key(directory, file, key.as_ref()) {
                return self.directory_failed(&error);
            }
        }
        if known != identity
            && let Err(error) = directory.write_identity(&identity)
        {
            return self.directory_failed(&error);
        }
        true
    }

    /// Derives `public.pem` again if it is missing or not the key's.
    pub(crate) fn restore_public_key(&self, found: &FoundKey) {
        let Some(directory) = self.writable_directory() else { return };
        let is_lost = directory.pair().is_ok_and(|pair| {
            pair.private_key.is_some() && super::observe::is_public_lost(&pair, &found.public_key())
        });
        if !is_lost {
            return;
        }
        tracing::info!("public.pem was missing or not ours: derived again from private.pem");
        if let Err(error) = directory.write_public_key(&pem::encode_public_key(&found.public_key())) {
            self.directory_failed(&error);
        }
    }

    /// The data directory, if this process may write to it.
    pub(crate) fn writable_directory(&self) -> Option<&DataDirectory> {
        let is_ours = self.status.snapshot().directory != Some(Reason::DirectoryOfAnotherAgent);
        self.directory.as_deref().filter(|directory| directory.is_open() && is_ours)
    }
}

fn keep_ring_key(
    directory: &DataDirectory,
    file: RingFile,
    key: Option<&RingKey>,
) -> Result<(), bindu_store::DirectoryError> {
    let there = directory.ring_key(file)?;
    match (there, key) {
        (None, None) => Ok(()),
        (Some(_), None) => directory.remove_ring_key(file),
        (Some(there), Some(key)) if there.expose_secret() == key.private_pem.expose_secret() => Ok(()),
        (_, Some(key)) => directory.write_ring_key(file, &key.private_pem),
    }
}

pub(super) fn failure(error: &WriteError) -> WriteFailure {
    match error {
        WriteError::Conflict => WriteFailure::Conflict,
        WriteError::Denied => WriteFailure::Denied,
        WriteError::Unavailable(outage) => {
            WriteFailure::Unavailable { reason: outage.reason, retry_after: outage.retry_after }
        }
        WriteError::Refused(_) => WriteFailure::Refused,
        // The enum is open: what is not known is undecided.
        _ => WriteFailure::Unavailable { reason: bindu_store::OutageReason::NotTheStore, retry_after: None },
    }
}

/// A moment after `now`, as statements carry it: RFC 3339, UTC, whole seconds.
fn in_seconds(now: jiff::Timestamp, seconds: u64) -> String {
    let at = now.as_second().saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX / 4));
    let at = jiff::Timestamp::from_second(at).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
