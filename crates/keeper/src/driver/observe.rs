//! Reading the store, the data directory and Hydra, and turning the answers into the machine's terms.
//!
//! Reads only. What was read is kept beside what is told of it, so that carrying out a plan asks for nothing twice.

use super::{AbortOnDrop, Driver, FoundKey, HydraAnswer};
use crate::{
    Keeper,
    held::{KeyRing, RingKey},
    machine::{DiskSeen, HydraClient, Observation, Proven},
    plan::{
        client,
        history::Past,
        keys::{Acknowledged, HydraNames, Local, Store, Stored},
        ring::{Next, Previous, Ring},
    },
    registration,
};
use bindu_identity::{Did, Lineage, PublicKey, RotationStatement, SigningKey, pem, rotation};
use bindu_store::{
    Answer, CredentialRecord, DirectoryError, DirectoryErrorKind, Fields, IdentityFile, KeyRecord, LocalPair,
    Outage, OutageReason, RingFile, Version,
};
use secrecy::SecretString;
use std::{ops::RangeInclusive, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

impl Driver {
    /// Looks at the data directory: fast, and no network.
    pub(super) fn read_disk(&mut self, keeper: &Keeper) -> DiskSeen {
        let (local, found, provisional) = keeper.disk();
        self.local = found;
        let ring = self.local.as_ref().map(|found| found.seen_ring(keeper.now())).unwrap_or_default();
        DiskSeen { local, ring, provisional }
    }

    /// Asks the store and Hydra at the same time.
    pub(super) async fn observe(&mut self, keeper: &Keeper, store: Duration, hydra: Duration) -> Observation {
        let did = &keeper.agent.did;
        let hydra_until = Instant::now() + hydra;
        // Hydra's answer has a task of its own: if nobody may wait for it, it's taken only if it is there.
        let asked = keeper.hydra.as_ref().filter(|_| did.is_addressable()).map(|(hydra, _)| {
            let (hydra, did) = (Arc::clone(hydra), did.clone());
            AbortOnDrop(tokio::spawn(async move { hydra.client(&did).await }))
        });
        let (keys_record, credentials_record) = (keeper.keys_record(), keeper.credentials_record());
        let keys = async { timeout(store, keeper.store.read(&keys_record)).await.unwrap_or_else(|_| hung()) };
        let credentials = async {
            match &keeper.hydra {
                None => None,
                Some(_) => Some(
                    timeout(store, keeper.store.read(&credentials_record)).await.unwrap_or_else(|_| hung()),
                ),
            }
        };
        let (keys, credentials) = tokio::join!(keys, credentials);
        self.hydra = match asked {
            None => HydraAnswer::None,
            Some(mut task) => match timeout_at(hydra_until, &mut task.0).await {
                Ok(Ok(answer)) => HydraAnswer::There(answer),
                Ok(Err(_)) => HydraAnswer::None,
                Err(_) => HydraAnswer::Coming(task),
            },
        };
        if !matches!(keys, Answer::Unavailable(_)) {
            let now = Some((std::time::Instant::now(), std::time::SystemTime::now()));
            keeper.status.update(|state| state.store_seen = now);
        }
        if keeper.hydra.is_some() {
            self.note_hydra(keeper);
        }
        let retry_after = match &keys {
            Answer::Unavailable(outage) => {
                self.outage = Some(outage.clone());
                outage.retry_after
            }
            _ => {
                self.outage = None;
                None
            }
        };
        let (store, found) = keeper.keys_in(keys);
        self.store = found;
        // Old private halves are held no longer than a plan needs them.
        self.earlier.clear();
        let hydra = self.hydra_names(keeper, &store);
        let proven = self.proven(keeper);
        self.copy = keeper.credentials_copy();
        let credentials = self.credentials_in(keeper, credentials);
        let age = self.store.as_ref().and_then(|found| keeper.age(found));
        let credentials = self.credentials(credentials);
        Observation { store, hydra, proven, credentials, age, retry_after }
    }

    /// Reads earlier versions, all at the same time.
    pub(super) async fn read_history(
        &mut self,
        keeper: &Keeper,
        versions: RangeInclusive<Version>,
        within: Duration,
    ) -> Result<Vec<(Version, Past)>, OutageReason> {
        let answers = versions_of(keeper, versions, within).await?;
        self.earlier.clear();
        let mut past = Vec::new();
        for (version, answer) in answers {
            match answer {
                Answer::Unavailable(outage) => return Err(outage.reason),
                Answer::Denied => return Err(OutageReason::LoginRejected),
                Answer::Present(record) => match keeper.key_in(&record.fields) {
                    Ok(mut found) => {
                        found.version = Some(version);
                        found.written_at = record.written_at;
                        past.push((version, found.as_past()));
                        self.earlier.insert(version, found);
                    }
                    Err(_) => past.push((version, Past::Unreadable)),
                },
                Answer::Absent | Answer::Deleted { .. } | Answer::Malformed(_) => {
                    past.push((version, Past::Unreadable));
                }
            }
        }
        Ok(past)
    }

    /// Which key Hydra names, as far as it has answered.
    fn hydra_names(&self, keeper: &Keeper, store: &Store) -> HydraNames {
        if keeper.hydra.is_none() || !keeper.agent.did.is_addressable() {
            return HydraNames::NotAsked;
        }
        let client = match &self.hydra {
            HydraAnswer::None | HydraAnswer::Coming(_) | HydraAnswer::There(Err(_)) => {
                return HydraNames::Unknown;
            }
            HydraAnswer::There(Ok(None)) => return HydraNames::NoClient,
            HydraAnswer::There(Ok(Some(client))) => client,
        };
        let Some(text) = client.public_key() else { return HydraNames::NoKey };
        let key = text.parse().ok();
        let statements = client.rotations();
        let after = |from: Option<PublicKey>| {
            let chain = rotation::chain(&statements, &keeper.agent.did, &from?, key.as_ref()?)?;
            chain.last().map(|link| link.generation)
        };
        let stored = match store {
            Store::Present(stored) => Some(stored.key),
            _ => None,
        };
        let local = self.local.as_ref().map(FoundKey::public_key);
        HydraNames::Key { after_store: after(stored), after_local: after(local), key, text: text.to_owned() }
    }

    /// What Hydra's statements prove of the pasts of the keys that were found. What the directory holds is completed at once, so
    /// that it is not written without it.
    fn proven(&mut self, keeper: &Keeper) -> Proven {
        let HydraAnswer::There(Ok(Some(client))) = &self.hydra else { return Proven::default() };
        let statements = client.rotations();
        let newer = |found: Option<&FoundKey>| {
            let found = found?;
            newer_past(&statements, &keeper.agent.did, &found.public_key(), &found.lineage)
        };
        let proven = Proven { store: newer(self.store.as_ref()), local: newer(self.local.as_ref()) };
        if let (Some(found), Some(lineage)) = (&mut self.local, &proven.local) {
            found.lineage = lineage.clone();
        }
        proven
    }

    /// The client, compared with the ring that is held and with the settings.
    pub(super) fn compared(&self, keeper: &Keeper) -> HydraClient {
        let held = self.held.as_ref().map(|held| held.current());
        match (&self.hydra, held) {
            (_, None) => HydraClient::unavailable(),
            (_, Some(_)) if !keeper.agent.did.is_addressable() => {
                HydraClient { client: client::Client::Unaddressable, ..HydraClient::unavailable() }
            }
            (HydraAnswer::None | HydraAnswer::Coming(_) | HydraAnswer::There(Err(_)), Some(_)) => {
                HydraClient::unavailable()
            }
            (HydraAnswer::There(Ok(None)), Some(_)) => {
                HydraClient { client: client::Client::Absent, ..HydraClient::unavailable() }
            }
            (HydraAnswer::There(Ok(Some(client))), Some(identity)) => {
                registration::compare(client, &identity, &keeper.agent, keeper.profile())
            }
        }
    }

    /// The credentials in an answer; they are kept for what is done with them.
    pub(super) fn credentials_in(&mut self, keeper: &Keeper, answer: Option<Answer>) -> client::Store {
        self.record = None;
        let record = match answer {
            None | Some(Answer::Unavailable(_)) => return client::Store::Unavailable,
            Some(Answer::Absent) => return client::Store::Absent,
            Some(Answer::Deleted { version, .. }) => return client::Store::Deleted { version },
            Some(Answer::Denied) => return client::Store::Denied,
            Some(Answer::Malformed(_)) => return client::Store::Malformed,
            Some(Answer::Present(record)) => record,
        };
        match CredentialRecord::from_fields(&record.fields) {
            Ok(credentials) if credentials.client_id == keeper.agent.did.as_str() => {
                let seen = client::Store::Present {
                    version: record.version,
                    taken_over: credentials.taken_over.clone(),
                    has_next: credentials.next_secret.is_some(),
                    generation: credentials.generation,
                };
                self.record = Some((credentials, record.fields));
                seen
            }
            _ => client::Store::Malformed,
        }
    }
}

/// Earlier versions, newest first, all read at the same time.
pub(super) async fn versions_of(
    keeper: &Keeper,
    versions: RangeInclusive<Version>,
    within: Duration,
) -> Result<Vec<(Version, Answer)>, OutageReason> {
    let mut reads = JoinSet::new();
    for version in versions {
        let (store, name) = (Arc::clone(&keeper.store), keeper.keys_record());
        reads.spawn(async move { (version, store.read_version(&name, version).await) });
    }
    let all = timeout(within, reads.join_all()).await;
    let mut answers = all.map_err(|_| OutageReason::TimedOut)?;
    answers.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    Ok(answers)
}

impl FoundKey {
    pub(super) fn as_past(&self) -> Past {
        Past::Key {
            key: self.public_key(),
            lineage: self.has_lineage.then(|| self.lineage.clone()),
            has_next: self.ring.next.is_some(),
        }
    }

    /// The keys beside it, and if their times have come.
    pub(crate) fn seen_ring(&self, now: jiff::Timestamp) -> Ring {
        let is_past = |at: &str| at.parse().is_ok_and(|at: jiff::Timestamp| at <= now);
        Ring {
            next: self.ring.next.as_ref().map(|next| Next {
                key: next.public_key(),
                is_due: is_past(&next.at),
                is_compromised: self.next_is_compromised,
            }),
            revokes_tokens: self.revokes_tokens,
            previous: self
                .ring
                .previous
                .as_ref()
                .map(|previous| Previous { key: previous.public_key(), is_over: is_past(&previous.at) }),
        }
    }
}

impl Keeper {
    /// What the data directory holds, and if its key is provisional.
    fn disk(&self) -> (Local, Option<FoundKey>, bool) {
        let Some(directory) = &self.directory else { return (Local::None, None, false) };
        let (pair, file) = match (directory.pair(), directory.identity()) {
            (Ok(pair), Ok(file)) => (pair, file),
            (Err(error), _) | (_, Err(error)) => return (self.unreadable(&error), None, false),
        };
        let Some(private_pem) = pair.private_key else {
            let remembered = file.as_ref().and_then(|file| file.public_key.clone());
            let local = match (remembered, pair.public_key) {
                (None, None) => Local::None,
                _ => Local::Unusable("private.pem is missing or empty".to_owned()),
            };
            return (local, None, false);
        };
        let signing_key = match pem::decode_private_key(&private_pem, self.key_password.as_ref()) {
            Ok(key) => Arc::new(key),
            Err(error @ (pem::PemError::Encrypted | pem::PemError::WrongPassword)) => {
                return (Local::Locked(format!("private.pem: {error}")), None, false);
            }
            Err(error) => return (Local::Unusable(format!("private.pem: {error}")), None, false),
        };
        let key = signing_key.public_key();
        let file = file.filter(|file| file.public_key.as_deref() == Some(key.to_string().as_str()));
        let acknowledged = file.as_ref().and_then(|file| self.acknowledged_in(file));
        let lineage = file.as_ref().and_then(lineage_of);
        let mut ring = KeyRing::of(signing_key, private_pem);
        if let Some(file) = &file {
            ring.next = self.ring_key(RingFile::Next, file.next_at.as_ref());
            ring.previous = self.ring_key(RingFile::Previous, file.previous_until.as_ref());
        }
        let found = FoundKey {
            ring,
            created_at: file.as_ref().and_then(|file| file.created_at.clone()),
            has_lineage: lineage.is_some(),
            lineage: lineage.unwrap_or_default(),
            version: acknowledged.map(|known| known.version),
            written_at: None,
            interval: None,
            next_is_compromised: false,
            revokes_tokens: false,
            fields: None,
        };
        let local = Local::Present { key, acknowledged, lineage: found.lineage.clone() };
        (local, Some(found), file.is_some_and(|file| file.provisional))
    }

    /// A directory that can't be read: a key may be there, unless it is another agent's.
    fn unreadable(&self, error: &DirectoryError) -> Local {
        self.directory_failed(error);
        let problem = format!("{error}: {}", error.source);
        match error.kind {
            DirectoryErrorKind::OfAnotherAgent => Local::None,
            DirectoryErrorKind::Malformed => Local::Unusable(problem),
            _ => Local::Unreadable(problem),
        }
    }

    fn acknowledged_in(&self, file: &IdentityFile) -> Option<Acknowledged> {
        let known = file.acknowledged.as_ref()?;
        let is_here = known.store == self.store_kind.label()
            && known.location.as_ref().is_none_or(|location| *location == self.location());
        is_here.then_some(Acknowledged { version: known.version, named: known.named })
    }

    /// Where in the store the keys record is: namespace and path.
    pub(crate) fn location(&self) -> String {
        self.store.place(&self.keys_record())
    }

    fn ring_key(&self, file: RingFile, at: Option<&String>) -> Option<RingKey> {
        let (directory, at) = (self.directory.as_ref()?, at?);
        let private_pem = directory.ring_key(file).ok()??;
        self.as_ring_key(private_pem, at)
    }

    fn as_ring_key(&self, private_pem: SecretString, at: &str) -> Option<RingKey> {
        let signing_key = pem::decode_private_key(&private_pem, self.key_password.as_ref()).ok()?;
        Some(RingKey { signing_key: Arc::new(signing_key), private_pem, at: at.to_owned() })
    }

    /// The local copy of the credentials; with a `FileStore` that is the store itself.
    fn credentials_copy(&self) -> Option<CredentialRecord> {
        if self.store_kind == crate::StoreKind::File {
            return None;
        }
        let fields = self.directory.as_ref()?.credentials(&self.agent.did).ok()??;
        let record = CredentialRecord::from_fields(&fields).ok()?;
        (record.client_id == self.agent.did.as_str()).then_some(record)
    }

    pub(super) fn keys_in(&self, answer: Answer) -> (Store, Option<FoundKey>) {
        let record = match answer {
            Answer::Absent => return (Store::Absent, None),
            Answer::Deleted { version, destroyed } => return (Store::Deleted { version, destroyed }, None),
            Answer::Denied => return (Store::Denied, None),
            Answer::Unavailable(outage) => return (Store::Unavailable(outage.reason), None),
            Answer::Malformed(malformed) => return (Store::Malformed(malformed.to_string()), None),
            Answer::Present(record) => record,
        };
        match self.key_in(&record.fields) {
            Ok(mut found) => {
                found.version = Some(record.version);
                found.written_at = record.written_at;
                let stored = Stored {
                    key: found.public_key(),
                    version: record.version,
                    lineage: found.lineage.clone(),
                    has_lineage: found.has_lineage,
                    ring: found.seen_ring(self.now()),
                    interval: found.interval,
                };
                (Store::Present(stored), Some(found))
            }
            Err(answer) => (*answer, None),
        }
    }

    /// The key ring in a record, or why there is none.
    pub(super) fn key_in(&self, fields: &Fields) -> Result<FoundKey, Box<Store>> {
        let malformed = |field: &str, problem: &dyn std::fmt::Display| {
            Box::new(Store::Malformed(format!("field `{field}`: {problem}")))
        };
        let record =
            KeyRecord::from_fields(fields).map_err(|error| malformed(error.field, &error.problem))?;
        if let Some(did) = record.did.filter(|did| did != self.agent.did.as_str()) {
            return Err(Box::new(Store::OfAnotherAgent(did)));
        }
        let signing_key = self.open(&record.private_key, "private_key")?;
        let public_pem =
            record.public_key.ok_or_else(|| malformed("public_key", &"it is missing or empty"))?;
        belongs(&signing_key, &public_pem, "public_key", "private_key")?;
        let mut ring = KeyRing::of(Arc::new(signing_key), record.private_key);
        for (key, place, names) in [
            (record.next, &mut ring.next, ("next_private_key", "next_public_key", "next_at")),
            (
                record.previous,
                &mut ring.previous,
                ("previous_private_key", "previous_public_key", "previous_until"),
            ),
        ] {
            let Some(key) = key else { continue };
            let signing_key = self.open(&key.private_key, names.0)?;
            belongs(&signing_key, &key.public_key, names.1, names.0)?;
            if signing_key.public_key() == ring.current.public_key() {
                return Err(malformed(names.1, &"it is the current key"));
            }
            if key.at.parse::<jiff::Timestamp>().is_err() {
                return Err(malformed(names.2, &"it is no RFC 3339 time"));
            }
            *place = Some(RingKey {
                signing_key: Arc::new(signing_key),
                private_pem: key.private_key,
                at: key.at,
            });
        }
        Ok(FoundKey {
            ring,
            created_at: record.created_at,
            version: None,
            has_lineage: record.lineage.is_some(),
            lineage: record.lineage.unwrap_or_default(),
            written_at: None,
            interval: record.reconcile_interval,
            next_is_compromised: record.next_compromised,
            revokes_tokens: record.revoke_tokens,
            fields: Some(fields.clone()),
        })
    }

    fn open(&self, private_pem: &SecretString, field: &str) -> Result<SigningKey, Box<Store>> {
        pem::decode_private_key(private_pem, self.key_password.as_ref()).map_err(|error| {
            Box::new(match error {
                pem::PemError::Encrypted | pem::PemError::WrongPassword => Store::Locked(error.to_string()),
                other => Store::Malformed(format!("field `{field}`: {other}")),
            })
        })
    }

    /// Now, by the store's clock if it has told the time: replicas with different clocks take the same step at the same time.
    pub(crate) fn now(&self) -> jiff::Timestamp {
        let now = self.clock.now();
        let skew = self.status.snapshot().store_skew.unwrap_or(0);
        jiff::Timestamp::from_second(now.as_second().saturating_sub(skew)).unwrap_or(now)
    }

    /// Now, by our own clock, as Python Bindu writes dates.
    pub(crate) fn timestamp(&self) -> String {
        bindu_time::python_timestamp(self.clock.now())
    }

    /// How long ago a record was written: by the store's clock if it says so, else by the key's own date.
    fn age(&self, found: &FoundKey) -> Option<Duration> {
        let written: jiff::Timestamp =
            found.written_at.as_ref().or(found.created_at.as_ref())?.parse().ok()?;
        let now = self.now().as_second();
        // One from the future was written just now, by a clock that runs ahead.
        Some(Duration::from_secs(u64::try_from(now - written.as_second()).unwrap_or(0)))
    }
}

fn belongs(key: &SigningKey, public_pem: &str, field: &str, private: &str) -> Result<(), Box<Store>> {
    let malformed = |problem: String| Err(Box::new(Store::Malformed(format!("field `{field}`: {problem}"))));
    match pem::decode_public_key(public_pem) {
        Ok(public) if public == key.public_key() => Ok(()),
        Ok(_) => malformed(format!("it does not belong to `{private}`")),
        Err(error) => malformed(error.to_string()),
    }
}

/// The past of a key that was given up and came back (an undo) since this past of it: the statements lead from the key, where this
/// past ends, back to it. The first of them the key itself has signed, so that nobody else can have made them.
fn newer_past(
    statements: &[RotationStatement],
    did: &Did,
    key: &PublicKey,
    known: &Lineage,
) -> Option<Lineage> {
    let line = rotation::line(statements, did, key);
    let first = line.iter().position(|link| {
        link.from == *key
            && known.generation.checked_add(1) == Some(link.generation)
            && link.prev == known.statements.first().map(RotationStatement::hash)
    })?;
    let links = line.get(..=first)?.iter().rev();
    Some(links.fold(known.clone(), |past, link| past.after(&link.from, &link.to, Some((*link).clone()))))
}

/// The lineage that `identity.json` remembers; `None` in a file of version 0.2.0.
fn lineage_of(file: &IdentityFile) -> Option<Lineage> {
    Some(Lineage {
        generation: file.generation?,
        replaces: Lineage::parse_replaces(&file.replaces).ok()?,
        statements: Lineage::parse_statements(&file.rotations).ok()?,
    })
}

/// If `public.pem` is missing or holds something else.
pub(super) fn is_public_lost(pair: &LocalPair, key: &PublicKey) -> bool {
    pair.public_key.as_ref().and_then(|text| pem::decode_public_key(text).ok()) != Some(*key)
}

fn hung() -> Answer {
    Answer::Unavailable(Outage::new(OutageReason::TimedOut, "the store gave no answer in time"))
}
