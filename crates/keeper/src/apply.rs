//! Applying a plan for the keys: the store first, then the disk, then use. Each step may be repeated.

use crate::{
    Identity, Keeper, Reason, Source, StoreKind,
    observe::{FoundKey, KeyObservation},
    plan::keys::{Plan, Step},
};
use bindu_identity::{SigningKey, pem};
use bindu_store::{
    Acknowledgement, DataDirectory, DirectoryError, DirectoryOwner, Expected, IdentityFile, KeyRecord,
    Outage, OutageReason, Version, WriteError,
};
use secrecy::ExposeSecret as _;
use std::sync::Arc;

/// What became of a plan.
#[derive(Debug)]
pub(crate) enum Applied {
    /// This identity is held.
    Held(Box<Identity>),
    /// The local key is held, and could not be written to the store for this reason: not sure.
    FromDisk(Box<Identity>, Reason),
    /// Something else was there: observe again. What the store said, if it said anything.
    LookAgain(Option<WriteError>),
}

impl Keeper {
    /// Applies a plan that is neither a wait nor a refusal.
    pub(crate) async fn apply(&self, plan: &Plan, observation: KeyObservation) -> Applied {
        let KeyObservation { store_key, local_key, earlier_key, .. } = observation;
        if let (Step::UseEarlier { .. }, Some(earlier)) = (plan.step, &earlier_key) {
            self.put_on_disk(earlier);
            let version = earlier.version;
            return Applied::Held(Box::new(self.identity(earlier.clone(), version, Source::Store)));
        }
        match (plan.step, store_key, local_key) {
            (Step::UseLocal, store_key, Some(local)) => {
                let source = if plan.sure { Source::Store } else { Source::Directory };
                // Not sure: what the disk remembers goes on counting, so that a foreign key is known as one later.
                let stored = store_key.as_ref().and_then(|key| key.version).filter(|_| plan.sure);
                let version = stored.or(local.version);
                let (created_at, replaces) =
                    store_key.map(|key| (key.created_at, key.replaces)).unwrap_or_default();
                let found = FoundKey {
                    created_at: created_at.or(local.created_at),
                    replaces,
                    provisional: local.provisional && !plan.sure,
                    ..local
                };
                if plan.sure {
                    self.remember(&found, version, false);
                } else if found.public_is_lost {
                    self.restore_public_key(&found);
                }
                Applied::Held(Box::new(self.identity(found, version, source)))
            }
            (Step::UseStore, Some(stored), _) => {
                self.put_on_disk(&stored);
                let version = stored.version;
                Applied::Held(Box::new(self.identity(stored, version, Source::Store)))
            }
            (Step::BackUp { over }, _, Some(local)) => {
                let (version, from_disk) = (local.version, local.clone());
                let reason = match self.write(local, over, Source::Store).await {
                    Applied::LookAgain(Some(WriteError::Denied)) => Reason::StoreDenied,
                    Applied::LookAgain(Some(WriteError::Unavailable(_))) => Reason::StoreUnavailable,
                    other => return other,
                };
                Applied::FromDisk(Box::new(self.identity(from_disk, version, Source::Directory)), reason)
            }
            (Step::Generate, ..) => match self.new_key() {
                Some(new) => self.write(new, None, Source::Created).await,
                None => Applied::LookAgain(None),
            },
            (Step::Rotate { over }, Some(current), local) => {
                self.rotate(over, &current, local.as_ref()).await
            }
            (Step::GenerateProvisional, ..) => match self.new_key() {
                Some(new) => {
                    let new = FoundKey { provisional: true, ..new };
                    self.put_on_disk_as(&new, true);
                    Applied::Held(Box::new(self.identity(new, None, Source::Created)))
                }
                None => Applied::LookAgain(None),
            },
            _ => Applied::LookAgain(None),
        }
    }

    /// Writes a key to the store by compare-and-set, then to the disk. Nobody has seen a new key before its write has
    /// been answered.
    async fn write(&self, found: FoundKey, over: Option<Version>, source: Source) -> Applied {
        let created_at = found.created_at.clone().unwrap_or_else(crate::start::now);
        let record = KeyRecord {
            private_key: found.private_pem.clone(),
            public_key: Some(pem::encode_public_key(&found.public_key())),
            did: Some(self.agent.did.to_string()),
            replaces: found.replaces.clone(),
            created_at: Some(created_at.clone()),
        };
        let expected = over.map_or(Expected::Absent, Expected::Version);
        let written = self.store.write(&self.keys_record(), &record.to_fields(), expected).await;
        match written {
            Ok(version) => {
                let found = FoundKey {
                    created_at: Some(created_at),
                    version: Some(version),
                    provisional: false,
                    ..found
                };
                tracing::info!(
                    key = %found.public_key().fingerprint(),
                    version,
                    source = source.label(),
                    "the store holds the key"
                );
                self.put_on_disk(&found);
                Applied::Held(Box::new(self.identity(found, Some(version), source)))
            }
            Err(error) => {
                tracing::info!(%error, "the key was not written: observing again");
                Applied::LookAgain(Some(error))
            }
        }
    }

    /// Puts a new key in the place of the record's, which it lists; then all is observed again.
    async fn rotate(&self, over: Version, current: &FoundKey, local: Option<&FoundKey>) -> Applied {
        let Some(new) = self.new_key() else { return Applied::LookAgain(None) };
        let old = current.public_key().fingerprint();
        let mut replaces = vec![old.clone()];
        replaces.extend(current.replaces.iter().cloned());
        // A FileStore's record is the directory's pair: what it holds is kept before it is written over.
        if is_local(self.store_kind)
            && let Some(directory) = &self.directory
            && let Err(error) = directory.archive_pair(local.map(|_| &old))
        {
            let detail = format!("{error}: {}", error.source);
            return Applied::LookAgain(Some(WriteError::Unavailable(Outage::new(
                OutageReason::Unreadable,
                detail,
            ))));
        }
        let new = FoundKey { replaces, ..new };
        let fingerprint = new.public_key().fingerprint();
        match self.write(new, Some(over), Source::Store).await {
            Applied::Held(identity) => {
                tracing::warn!(
                    target: "audit",
                    who = %self.agent.did,
                    what = "rotated the key",
                    why = "recreate_keys",
                    %old,
                    new = %fingerprint,
                    "`recreate_keys`: the key was rotated"
                );
                Applied::Held(identity)
            }
            other => other,
        }
    }

    fn new_key(&self) -> Option<FoundKey> {
        let key = SigningKey::generate().ok()?;
        let private_pem = match &self.key_password {
            None => pem::encode_private_key(&key),
            Some(password) => pem::encode_encrypted_private_key(&key, password).ok()?,
        };
        Some(FoundKey {
            signing_key: Arc::new(key),
            private_pem,
            created_at: Some(crate::start::now()),
            version: None,
            replaces: Vec::new(),
            written_at: None,
            provisional: false,
            public_is_lost: false,
        })
    }

    /// The identity that a plan would lead to with a key that is there already; `None` where it would make one, or none.
    pub(crate) fn identity_of(&self, plan: &Plan, observation: KeyObservation) -> Option<Identity> {
        let KeyObservation { store_key, local_key, earlier_key, .. } = observation;
        let found = match plan.step {
            Step::UseLocal | Step::BackUp { .. } => local_key?,
            Step::UseStore | Step::Rotate { .. } => store_key?,
            Step::UseEarlier { .. } => earlier_key?,
            _ => return None,
        };
        let version = found.version;
        Some(self.identity(found, version, Source::Store))
    }

    fn identity(&self, found: FoundKey, version: Option<Version>, source: Source) -> Identity {
        Identity {
            did: self.agent.did.clone(),
            id: self.agent.id,
            public_key: found.public_key(),
            created_at: found.created_at.unwrap_or_else(crate::start::now),
            signing_key: found.signing_key,
            private_pem: found.private_pem,
            replaces: found.replaces,
            provisional: found.provisional,
            version,
            source,
        }
    }

    /// Writes the store's key to the directory; another key that lies there is kept in the archive first.
    /// Whether it is there now.
    pub(crate) fn put_on_disk(&self, found: &FoundKey) -> bool {
        self.put_on_disk_as(found, false)
    }

    fn put_on_disk_as(&self, found: &FoundKey, provisional: bool) -> bool {
        let Some(directory) = self.writable_directory() else { return false };
        let on_disk = match directory.pair() {
            Ok(pair) => pair.private_key,
            // What can't be read can't be archived: leave it where it is and work from memory.
            Err(error) => return self.directory_failed(&error),
        };
        if let Some(text) = on_disk.filter(|text| text.expose_secret() != found.private_pem.expose_secret()) {
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
            pair.private_key.is_some_and(|text| text.expose_secret() == found.private_pem.expose_secret())
                && pair.public_key.is_some()
        });
        if !is_there {
            let public_pem = pem::encode_public_key(&found.public_key());
            if let Err(error) = directory.write_pair(&found.private_pem, &public_pem) {
                return self.directory_failed(&error);
            }
        }
        self.remember(found, found.version, provisional)
    }

    /// Notes in `identity.json` which key the store holds and at which version; writes only what has changed.
    fn remember(&self, found: &FoundKey, version: Option<Version>, provisional: bool) -> bool {
        let Some(directory) = self.writable_directory() else { return false };
        if found.public_is_lost {
            self.restore_public_key(found);
        }
        let known = match directory.identity() {
            Ok(known) => known,
            Err(error) => return self.directory_failed(&error),
        };
        let records = known.as_ref().map(|known| known.records.clone()).unwrap_or_default();
        let created_at = found.created_at.clone().or_else(|| {
            known
                .as_ref()
                .filter(|known| known.public_key == Some(found.public_key().to_string()))?
                .created_at
                .clone()
        });
        let identity = IdentityFile {
            public_key: Some(found.public_key().to_string()),
            acknowledged: version
                .map(|version| Acknowledgement { store: self.store_kind.label().to_owned(), version }),
            provisional,
            created_at: created_at.or_else(|| Some(crate::start::now())),
            records,
            ..IdentityFile::new(&self.agent.did, &self.agent.id.to_string())
        };
        if known.as_ref() != Some(&identity)
            && let Err(error) = directory.write_identity(&identity)
        {
            return self.directory_failed(&error);
        }
        true
    }

    fn restore_public_key(&self, found: &FoundKey) {
        let Some(directory) = self.writable_directory() else { return };
        tracing::info!("public.pem was missing or not ours: derived again from private.pem");
        if let Err(error) = directory.write_public_key(&pem::encode_public_key(&found.public_key())) {
            self.directory_failed(&error);
        }
    }

    /// The data directory, where this process may write to it.
    pub(crate) fn writable_directory(&self) -> Option<&DataDirectory> {
        let is_ours = self.status.snapshot().directory != Some(Reason::DirectoryOfAnotherAgent);
        self.directory.as_deref().filter(|directory| directory.is_open() && is_ours)
    }

    /// Tries again to use a directory that could not be written before.
    pub(crate) fn mend_directory(&self, identity: &Identity, sure: bool) {
        let Some(directory) = &self.directory else { return };
        if self.status.snapshot().directory != Some(Reason::DirectoryNotWritable) {
            return;
        }
        if let Err(error) = directory.open_again() {
            return tracing::debug!(%error, cause = %error.source, "the data directory still can't be used");
        }
        // Whoever used it in the meantime may have been another agent.
        match directory.owner(&self.agent.did) {
            Ok(DirectoryOwner::This | DirectoryOwner::Unknown) => {}
            Ok(DirectoryOwner::Another(owner)) => {
                tracing::warn!(owner, "the data directory is another agent's: working without it");
                return self.status.directory_is_unusable(Reason::DirectoryOfAnotherAgent);
            }
            Err(error) => {
                self.directory_failed(&error);
                return;
            }
        }
        // What is there decides at the next start, as it would have at this one: a key that is not sure changes nothing.
        if !sure || self.put_on_disk(&FoundKey::held(identity)) {
            self.status.update(|state| state.directory = None);
            tracing::info!("the data directory can be written again");
        }
    }

    /// With a store, a directory that can't be written is no reason not to start. Always false.
    fn directory_failed(&self, error: &DirectoryError) -> bool {
        tracing::warn!(error = %error, cause = %error.source, "the data directory could not be written");
        self.status.update(|state| state.directory = Some(Reason::DirectoryNotWritable));
        false
    }
}

/// Whether waiting can mend an outage at all.
pub(crate) fn may_pass(reason: OutageReason) -> bool {
    reason != OutageReason::WrongMount
}

/// Whether the store is the directory itself.
pub(crate) fn is_local(kind: StoreKind) -> bool {
    kind == StoreKind::File
}
