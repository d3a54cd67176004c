//! Bringing the OAuth client to what it should be: one step of the table at a time, until there is none left.

use crate::{
    Identity, Keeper, Reason, Source, StoreKind,
    observe::{ClientObservation, credentials_in},
    plan::{
        TakeOver,
        client::{self, Client, ClientPolicy, Local, Secret, Step, Store},
        keys::Earlier,
    },
    registration::{DERIVED_KEY, derived_key, derived_key_drifted, operation},
    repairs::Repair,
};
use bindu_hydra::{Hydra, HydraError, OAuthClient, PatchOperation, SecretProof};
use bindu_identity::{Fingerprint, PublicKey};
use bindu_store::{CredentialRecord, Expected, Fields, Version, WriteError};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use std::time::{Duration, Instant};

/// More steps than any way through the table has; a guard against two writers that undo each other.
const MOST_STEPS: usize = 16;

/// How long the loser of a fence waits before it observes again, at least and at most.
const FENCE_PAUSE: (f64, f64) = (1.0, 3.0);

/// What may be done beyond repairs.
#[derive(Debug, Clone)]
pub(crate) struct Occasion {
    /// Consent; at a start only.
    pub(crate) take_over: TakeOver,
    /// Whether name, scopes and URL are written: until they have been once, not every minute.
    pub(crate) describe: bool,
    /// Whether this process has seen the client name our key before: then it is ours, whoever names another now.
    pub(crate) compared: bool,
}

/// What became of the client.
#[derive(Debug)]
pub(crate) struct Settled {
    /// Why it is not as it should be.
    pub(crate) reason: Option<Reason>,
    /// What was put back into Hydra's client on the way.
    pub(crate) repairs: Vec<Repair>,
    /// Whether a repair was begun, and the store written for it.
    pub(crate) is_fenced: bool,
    /// What is known now.
    pub(crate) observation: ClientObservation,
}

impl Settled {
    pub(crate) fn is_done(&self) -> bool {
        self.reason.is_none()
    }
}

/// What is known in the middle of the work.
struct Work<'a> {
    identity: &'a Identity,
    sure: bool,
    seen: ClientObservation,
    secret: Secret,
    fenced: bool,
    /// Whether the client was repaired already.
    is_repaired: bool,
    repairs: Vec<Repair>,
    describe: bool,
    compared: bool,
    /// The secret is right, and the client may get no token.
    refused: bool,
}

/// What `bindu hydra plan` tells.
#[derive(Debug)]
pub struct ClientLook {
    /// What the table decided by.
    pub seen: client::Observed,
    /// The first step that would change something; [`Step::Done`] or [`Step::Leave`] where none would.
    pub step: Step,
    /// The client as it would be registered, without its secret.
    pub registration: Value,
}

impl Keeper {
    /// Observes and plans for the client without changing anything; asks Hydra for a token where the plan depends on it.
    /// `None` where Hydra is not configured, or there is no key yet that a client could be registered with.
    pub async fn look_at_client(&self) -> Option<ClientLook> {
        let (hydra, profile) = self.hydra.as_ref()?;
        let (key, client) = self.look_at_both().await;
        let identity = self.identity_of(&key.0, key.1)?;
        let policy =
            ClientPolicy { auto_register: profile.auto_register, take_over: self.policy.take_over.clone() };
        let mut work = Work {
            identity: &identity,
            sure: key.0.sure,
            seen: client,
            secret: Secret::Untested,
            fenced: false,
            is_repaired: false,
            repairs: Vec::new(),
            describe: true,
            compared: false,
            refused: false,
        };
        let mut step = client::plan(&self.client_seen(&work), &policy);
        if step == Step::ProveSecret {
            (work.secret, work.refused) = self.prove(hydra, &work.seen).await;
            step = client::plan(&self.client_seen(&work), &policy);
        }
        let registration = self.registration(&identity, SecretString::from(String::new())).to_json();
        Some(ClientLook { seen: self.client_seen(&work), step, registration })
    }

    /// Plans and applies until the client is as it should be, or must be left alone.
    pub(crate) async fn settle_client(
        &self,
        identity: &Identity,
        sure: bool,
        observation: ClientObservation,
        occasion: &Occasion,
    ) -> Settled {
        let Some((hydra, profile)) = &self.hydra else {
            return Settled { reason: None, repairs: Vec::new(), is_fenced: false, observation };
        };
        let policy =
            ClientPolicy { auto_register: profile.auto_register, take_over: occasion.take_over.clone() };
        let mut work = Work {
            identity,
            sure,
            seen: observation,
            secret: Secret::Untested,
            fenced: false,
            is_repaired: false,
            repairs: Vec::new(),
            describe: occasion.describe,
            compared: occasion.compared,
            refused: false,
        };
        for _ in 0..MOST_STEPS {
            let step = client::plan(&self.client_seen(&work), &policy);
            tracing::debug!(?step, "planned for the client");
            let reason = match step {
                // One that was repaired already and is still refused wants something else.
                Step::Repair if work.is_repaired => Some(Reason::ClientRefused),
                Step::Done => {
                    self.cache_credentials(&work.seen, true);
                    return Settled {
                        reason: work.refused.then_some(Reason::ClientRefused),
                        repairs: work.repairs,
                        is_fenced: work.fenced,
                        observation: work.seen,
                    };
                }
                Step::Leave(reason) => Some(reason),
                step => self.apply_to_client(hydra, &step, &mut work).await.err(),
            };
            if let Some(reason) = reason {
                self.cache_credentials(&work.seen, false);
                return Settled {
                    reason: Some(reason),
                    repairs: work.repairs,
                    is_fenced: work.fenced,
                    observation: work.seen,
                };
            }
        }
        Settled {
            reason: Some(Reason::ContestedClient),
            repairs: work.repairs,
            is_fenced: work.fenced,
            observation: work.seen,
        }
    }

    /// What the table sees of the work.
    fn client_seen(&self, work: &Work<'_>) -> client::Observed {
        client::Observed {
            store: work.seen.store.clone(),
            local: if work.seen.local.is_some() { Local::Present } else { Local::None },
            hydra: self.client_in(&work.seen, work.identity),
            secret: work.secret,
            sure: work.sure,
            fenced: work.fenced,
            key_is_doubtful: key_is_doubtful(&work.seen, work.identity, work.compared),
            description_differs: derived_key_drifted(&work.seen, work.identity)
                || (work.describe && !self.description(&work.seen, work.identity).is_empty()),
        }
    }

    /// Whether Hydra has named another key than ours only after the record's earlier versions could be read for it.
    pub(crate) fn is_unread(&self, seen: &ClientObservation, identity: &Identity) -> bool {
        matches!(seen.store, Store::Present { .. })
            && matches!(self.client_in(seen, identity), Client::OfAnotherKey(key) if seen.earlier.0.as_ref() != Some(&key))
            && !matches!(seen.earlier.1, Earlier::Unknown(_))
    }

    fn client_in(&self, seen: &ClientObservation, identity: &Identity) -> Client {
        if !identity.did.is_addressable() {
            return Client::Unaddressable;
        }
        let client = match &seen.hydra {
            None | Some(Err(_)) => return Client::Unavailable,
            Some(Ok(None)) => return Client::Absent,
            Some(Ok(Some(client))) => client,
        };
        match client.public_key() {
            None => Client::OfNoKey,
            Some(key) if key == identity.public_key.to_string() => Client::OfOurKey,
            Some(key) if self.is_replaced(key, identity) => Client::OfAnOlderKey,
            Some(key) => Client::OfAnotherKey(key.to_owned()),
        }
    }

    /// Whether our key record rotates this key; needed once rotation is built.
    fn is_replaced(&self, key: &str, identity: &Identity) -> bool {
        let fingerprint: Option<Fingerprint> = key.parse::<PublicKey>().ok().map(|key| key.fingerprint());
        fingerprint.is_some_and(|fingerprint| identity.replaces.contains(&fingerprint))
    }

    /// Applies one step. What changed is noted in `work`, so that the next plan sees it.
    async fn apply_to_client(&self, hydra: &Hydra, step: &Step, work: &mut Work<'_>) -> Result<(), Reason> {
        match step {
            Step::Done | Step::Leave(_) => {}
            Step::ProveSecret => (work.secret, work.refused) = self.prove(hydra, &work.seen).await,
            Step::AdoptLocal { over } => {
                let Some(record) = work.seen.local.clone() else { return Err(Reason::CredentialsMissing) };
                self.write_credentials(work, record.to_fields(), *over).await?;
            }
            Step::CreateSecret { over } => {
                let fields = self.new_credentials().to_fields();
                self.write_credentials(work, fields, *over).await?;
                work.secret = Secret::Untested;
            }
            Step::Register => self.register(hydra, work).await?,
            Step::Fence => {
                let Some(fields) = work.seen.fields.clone() else { return Err(Reason::CredentialsMissing) };
                self.rewrite_credentials(hydra, work, fields).await?;
            }
            Step::TakeOver { key } => {
                let Some(mut fields) = work.seen.fields.clone() else {
                    return Err(Reason::CredentialsMissing);
                };
                let fingerprint =
                    key.as_deref().and_then(|key| key.parse::<PublicKey>().ok()).map(|key| key.fingerprint());
                fields
                    .set("taken_over", fingerprint.map_or(client::NO_KEY.to_owned(), |key| key.to_string()));
                self.rewrite_credentials(hydra, work, fields).await?;
                // Not where another replica was faster. The repair that follows has a line of its own.
                if work.fenced {
                    tracing::warn!(
                        target: "audit",
                        who = %self.agent.did,
                        what = "noted the consent to take over the client in Hydra",
                        why = "take_over",
                        named = key.as_deref().unwrap_or("no key"),
                        "taking over the client, as was consented to"
                    );
                }
            }
            Step::Repair => {
                let Some(record) = &work.seen.record else { return Err(Reason::CredentialsMissing) };
                let mut patch = self.key_patch(work.identity);
                let ours = work.identity.public_key.to_string();
                let named = match &work.seen.hydra {
                    Some(Ok(Some(client))) => client.public_key().map(str::to_owned),
                    _ => None,
                };
                let mut repairs = Vec::new();
                if named.as_ref() != Some(&ours) {
                    repairs.push(Repair::of("public_key", &ours));
                }
                let secret_differs = work.secret != Secret::Works;
                if secret_differs {
                    let secret = record.client_secret.expose_secret();
                    patch.push(operation("/client_secret", secret));
                    repairs.push(Repair::of("client_secret", secret));
                }
                self.patch(hydra, work, &patch).await?;
                tracing::warn!(
                    target: "audit",
                    who = %self.agent.did,
                    what = "repaired the client in Hydra",
                    why = "its secret or its public key was not ours",
                    secret = secret_differs,
                    named,
                    "repaired the client in Hydra"
                );
                work.is_repaired = true;
                work.repairs.extend(repairs);
                work.secret = Secret::Untested;
            }
            Step::Describe => {
                let drifted = derived_key_drifted(&work.seen, work.identity);
                let patch = match work.describe {
                    true => self.description(&work.seen, work.identity),
                    // In the loop, keys only: who has changed a name or a scope since the start has meant it.
                    false => vec![operation(&format!("/metadata/{DERIVED_KEY}"), derived_key(work.identity))],
                };
                self.patch(hydra, work, &patch).await?;
                // Somebody who undoes it again and again is somebody to be told of.
                if drifted {
                    work.repairs.push(Repair::of(DERIVED_KEY, &derived_key(work.identity)));
                    tracing::warn!(
                        target: "audit",
                        who = %self.agent.did,
                        what = "repaired the client in Hydra",
                        why = "its derived_public_key was not ours",
                        "put our second key back into the client in Hydra"
                    );
                }
            }
        }
        Ok(())
    }

    /// Whether the secret works; and whether Hydra, though it knows the client by it, gives it no token.
    async fn prove(&self, hydra: &Hydra, seen: &ClientObservation) -> (Secret, bool) {
        let Some(record) = seen.record.as_ref().or(seen.local.as_ref()) else {
            return (Secret::Unknown, false);
        };
        let asked = Instant::now();
        // Only those that the client has by now: the rest is written to it once its secret is proved.
        let has = match &seen.hydra {
            Some(Ok(Some(client))) => client.scope.split_whitespace().collect(),
            _ => Vec::new(),
        };
        let wanted = self.token_scopes(&record.scopes);
        let mut scopes: Vec<String> =
            wanted.iter().filter(|scope| has.contains(&scope.as_str())).cloned().collect();
        if scopes.is_empty() {
            scopes = wanted.to_vec();
        }
        match hydra.prove_secret(&self.agent.did, &record.client_secret, &scopes).await {
            Ok(SecretProof::Works(token)) => {
                self.proven.note(token, asked);
                (Secret::Works, false)
            }
            Ok(SecretProof::Wrong) => (Secret::Wrong, false),
            // These two are said only to a client that was authenticated. Any other refusal proves nothing: a public
            // client gets one without a look at its secret, and a gateway has words of its own.
            Err(HydraError::Refused { error, .. })
                if error == "invalid_scope" || error == "unauthorized_client" =>
            {
                tracing::warn!(error, "the secret is right, but the client may not get a token");
                (Secret::Works, true)
            }
            Err(error) => {
                tracing::info!(%error, "whether the secret works could not be found out");
                (Secret::Unknown, false)
            }
        }
    }

    /// Writes credentials where there are none; whoever loses takes the winner's.
    async fn write_credentials(
        &self,
        work: &mut Work<'_>,
        fields: Fields,
        over: Option<Version>,
    ) -> Result<(), Reason> {
        let name = self.credentials_record();
        let expected = over.map_or(Expected::Absent, Expected::Version);
        match self.store.write(&name, &fields, expected).await {
            Ok(version) => {
                tracing::info!(
                    target: "audit",
                    who = %self.agent.did,
                    what = "wrote the client's credentials",
                    why = "there were none",
                    version,
                    "the store holds the client's credentials"
                );
                note_record(&mut work.seen, fields, version);
                Ok(())
            }
            Err(WriteError::Conflict | WriteError::Denied) => self.read_credentials(work).await,
            Err(error) => {
                tracing::info!(%error, "the credentials were not written");
                Err(Reason::StoreUnavailable)
            }
        }
    }

    /// Writes the record that is there again, at the version that was read.
    async fn rewrite_credentials(
        &self,
        hydra: &Hydra,
        work: &mut Work<'_>,
        fields: Fields,
    ) -> Result<(), Reason> {
        let Store::Present { version, .. } = work.seen.store else { return Err(Reason::CredentialsMissing) };
        let name = self.credentials_record();
        match self.store.write(&name, &fields, Expected::Version(version)).await {
            Ok(version) => {
                note_record(&mut work.seen, fields, version);
                work.fenced = true;
                Ok(())
            }
            Err(WriteError::Conflict) => {
                let (least, most) = FENCE_PAUSE;
                tokio::time::sleep(Duration::from_secs_f64(least + (most - least) * rand::random::<f64>()))
                    .await;
                self.read_credentials(work).await?;
                work.seen.hydra = Some(hydra.client(&self.agent.did).await);
                work.secret = Secret::Untested;
                Ok(())
            }
            Err(WriteError::Denied) => Err(Reason::StoreDenied),
            Err(_) => Err(Reason::StoreUnavailable),
        }
    }

    async fn read_credentials(&self, work: &mut Work<'_>) -> Result<(), Reason> {
        let answer = self.store.read(&self.credentials_record()).await;
        let (store, record, fields) = credentials_in(Some(answer), &self.agent.did);
        // After a lost race the winner's record is there; where it is not, a standby lags. Try again later.
        if record.is_none() && store != Store::Malformed {
            return Err(if store == Store::Denied { Reason::StoreDenied } else { Reason::StoreUnavailable });
        }
        (work.seen.store, work.seen.record, work.seen.fields) = (store, record, fields);
        work.secret = Secret::Untested;
        Ok(())
    }

    async fn register(&self, hydra: &Hydra, work: &mut Work<'_>) -> Result<(), Reason> {
        let Some(record) = &work.seen.record else { return Err(Reason::CredentialsMissing) };
        let registration = self.registration(work.identity, record.client_secret.clone());
        match hydra.create_client(&registration).await {
            Ok(()) => {
                tracing::info!(
                    target: "audit",
                    who = %registration.did,
                    what = "registered the client in Hydra",
                    why = "there was none",
                    "registered the client in Hydra"
                );
                let client = OAuthClient {
                    created_at: String::new(),
                    name: registration.name,
                    scope: registration.scopes.join(" "),
                    audiences: registration.audiences,
                    metadata: registration.metadata,
                };
                work.seen.hydra = Some(Ok(Some(client)));
            }
            Err(HydraError::Conflict) => work.seen.hydra = Some(hydra.client(&self.agent.did).await),
            Err(error) => return Err(hydra_reason(&error)),
        }
        Ok(())
    }

    async fn patch(
        &self,
        hydra: &Hydra,
        work: &mut Work<'_>,
        patch: &[PatchOperation],
    ) -> Result<(), Reason> {
        hydra.patch_client(&self.agent.did, patch).await.map_err(|error| hydra_reason(&error))?;
        work.seen.hydra = Some(hydra.client(&self.agent.did).await);
        Ok(())
    }

    /// Keeps a copy of the store's credentials on the disk, for the time when the store is away. One that is not
    /// proven takes no other one's place: that may be the last copy of the right one.
    fn cache_credentials(&self, seen: &ClientObservation, proven: bool) {
        let Some(directory) = self.writable_directory() else { return };
        let (StoreKind::Vault, Some(fields)) = (self.store_kind, &seen.fields) else { return };
        let did = &self.agent.did;
        match directory.credentials(did) {
            Ok(Some(known)) if !proven || known == *fields => return,
            Ok(_) => {}
            Err(_) if !proven => return,
            Err(_) => {}
        }
        if let Err(error) = directory.write_credentials(did, fields) {
            tracing::warn!(error = %error, cause = %error.source, "the credentials could not be kept on the disk");
            self.status.update(|state| state.directory = Some(Reason::DirectoryNotWritable));
        }
    }
}

/// Whether our key may be the wrong one of two: see [`client::Observed::key_is_doubtful`].
fn key_is_doubtful(seen: &ClientObservation, identity: &Identity, compared: bool) -> bool {
    let (named, version) = match &seen.hydra {
        Some(Ok(Some(client))) => (client.public_key(), client.key_version()),
        _ => (None, None),
    };
    let held_earlier = match &seen.earlier {
        (about, Earlier::Read { named: None, whole: true }) => about.as_deref() != named,
        _ => true,
    };
    (identity.source == Source::Created && !compared)
        || held_earlier
        || identity.version.is_none_or(|ours| version.is_some_and(|named| named > ours))
}

fn note_record(seen: &mut ClientObservation, fields: Fields, version: Version) {
    if let Ok(record) = CredentialRecord::from_fields(&fields) {
        seen.store = Store::Present { version, taken_over: record.taken_over.clone() };
        seen.record = Some(record);
        seen.fields = Some(fields);
    }
}

fn hydra_reason(error: &HydraError) -> Reason {
    tracing::warn!(%error, "Hydra did not do what was asked");
    match error {
        HydraError::Unaddressable => Reason::ClientUnaddressable,
        HydraError::Refused { .. } => Reason::ClientRefused,
        // Gone, or changed, in between: the next pass observes again.
        HydraError::NoClient => Reason::ClientMissing,
        _ => Reason::HydraUnavailable,
    }
}
