//! What is asked of Hydra, and written about the client's credentials.

use super::{ClientAnswer, Driver, HydraAnswer, keys::failure};
use crate::{
    Keeper, Reason, StoreKind, audit,
    machine::{CredentialsWrite, Event, HydraClient, Member, Trial, WriteFailure},
    plan::client::Secret,
    registration::{self, Wanted},
};
use bindu_hydra::{ClientRegistry, HydraError, SecretProof};
use bindu_store::{CredentialRecord, Expected, Fields};
use secrecy::SecretString;
use std::time::Duration;
use tokio::time::timeout;

impl Driver {
    /// Hydra's answer to the last question, if it is still coming.
    pub(super) async fn hear_hydra(&mut self, keeper: &Keeper, within: Duration) -> Event {
        if let HydraAnswer::Coming(task) = &mut self.hydra {
            let answer = timeout(within, &mut task.0).await;
            self.hydra = match answer {
                Ok(Ok(answer)) => HydraAnswer::There(answer),
                Ok(Err(_)) | Err(_) => HydraAnswer::None,
            };
            self.note_hydra(keeper);
        }
        Event::Hydra(self.compared(keeper))
    }

    /// Asks for the client again.
    pub(super) async fn ask_hydra(&mut self, keeper: &Keeper, within: Duration) -> Event {
        let Some((hydra, _)) = &keeper.hydra else { return Event::Hydra(HydraClient::unavailable()) };
        let answer: Option<ClientAnswer> = timeout(within, hydra.client(&keeper.agent.did)).await.ok();
        self.hydra = answer.map_or(HydraAnswer::None, HydraAnswer::There);
        self.note_hydra(keeper);
        Event::Hydra(self.compared(keeper))
    }

    /// Notes when Hydra last gave an answer, and tells why it gives none: once, until it is another reason.
    pub(super) fn note_hydra(&mut self, keeper: &Keeper) {
        let problem = self.hydra_problem();
        if matches!(self.hydra, HydraAnswer::There(Ok(_))) {
            let now = Some((std::time::Instant::now(), std::time::SystemTime::now()));
            keeper.status.update(|state| state.hydra_seen = now);
        } else if problem.is_none() {
            // It may still come.
            return;
        }
        if let Some(problem) = &problem
            && self.hydra_told.as_ref() != Some(problem)
        {
            tracing::warn!(problem, "no usable answer about the client");
        }
        self.hydra_told = problem;
    }

    /// Why there is no usable answer of Hydra's.
    pub(super) fn hydra_problem(&self) -> Option<String> {
        match &self.hydra {
            HydraAnswer::There(Err(error)) => Some(error.to_string()),
            HydraAnswer::None => Some("Hydra is not available: no answer in time".to_owned()),
            HydraAnswer::There(Ok(_)) | HydraAnswer::Coming(_) => None,
        }
    }

    /// Asks for a token with the secret in hand, then with the prepared one.
    pub(super) async fn try_secret(&mut self, keeper: &Keeper, within: Duration) -> Event {
        let unknown = Trial { secret: Secret::Unknown, is_refused: false };
        let (Some((hydra, _)), Some(record)) =
            (&keeper.hydra, self.record.as_ref().map(|(record, _)| record).or(self.copy.as_ref()))
        else {
            return Event::SecretTried(unknown);
        };
        let scopes = self.scopes(keeper, record);
        let work = async {
            let first = keeper.try_one(&**hydra, &record.client_secret, &scopes).await;
            match (&record.next_secret, first.secret) {
                (Some(next), Secret::Wrong) => match keeper.try_one(&**hydra, next, &scopes).await {
                    Trial { secret: Secret::Works, is_refused } => {
                        Trial { secret: Secret::NextWorks, is_refused }
                    }
                    other => other,
                },
                _ => first,
            }
        };
        Event::SecretTried(timeout(within, work).await.unwrap_or(unknown))
    }

    /// Only those that the client has by now: the rest is written to it once its secret is proved.
    fn scopes(&self, keeper: &Keeper, record: &CredentialRecord) -> Vec<String> {
        let has: Vec<&str> = match &self.hydra {
            HydraAnswer::There(Ok(Some(client))) => client.scope.split_whitespace().collect(),
            _ => Vec::new(),
        };
        let wanted = keeper.token_scopes(&record.scopes);
        let scopes: Vec<String> =
            wanted.iter().filter(|scope| has.contains(&scope.as_str())).cloned().collect();
        if scopes.is_empty() { wanted.to_vec() } else { scopes }
    }

    pub(super) async fn write_credentials(
        &mut self,
        keeper: &Keeper,
        write: CredentialsWrite,
        expected: Expected,
    ) -> Event {
        let Some(fields) = self.credentials_to_write(keeper, &write) else {
            return Event::CredentialsWritten(Err(WriteFailure::Conflict));
        };
        let written = keeper.store.write(&keeper.credentials_record(), &fields, expected).await;
        match &written {
            Ok(version) => {
                audit::credentials_written(&keeper.agent.did, &write, *version);
                self.record = CredentialRecord::from_fields(&fields).ok().map(|record| (record, fields));
            }
            Err(error) => tracing::info!(%error, "the credentials were not written"),
        }
        Event::CredentialsWritten(written.map_err(|error| failure(&error)))
    }

    fn credentials_to_write(&self, keeper: &Keeper, write: &CredentialsWrite) -> Option<Fields> {
        let there = || self.record.as_ref().map(|(_, fields)| fields.clone());
        Some(match write {
            CredentialsWrite::New => keeper.new_credentials().to_fields(),
            CredentialsWrite::Local => self.copy.as_ref()?.to_fields(),
            CredentialsWrite::Same => there()?,
            CredentialsWrite::Consent { key } => {
                let mut fields = there()?;
                fields.set("taken_over", key.as_str());
                fields
            }
            CredentialsWrite::Promoted => {
                let (record, fields) = self.record.as_ref()?;
                promoted(record, fields)?
            }
        })
    }

    pub(super) async fn read_credentials(&mut self, keeper: &Keeper) -> Event {
        let answer = keeper.store.read(&keeper.credentials_record()).await;
        Event::CredentialsRead(self.credentials_in(keeper, Some(answer)))
    }

    pub(super) async fn register(&mut self, keeper: &Keeper, within: Duration) -> Event {
        let (Some((hydra, _)), Some((record, _)), Some(held)) = (&keeper.hydra, &self.record, &self.held)
        else {
            return Event::Registered(Err(Reason::CredentialsMissing));
        };
        let registration = keeper.registration(&held.current(), record.client_secret.clone());
        let done = timeout(within, hydra.create_client(&registration)).await;
        Event::Registered(match done {
            Ok(Ok(())) => {
                audit::registered(&keeper.agent.did);
                Ok(true)
            }
            Ok(Err(HydraError::Conflict)) => Ok(false),
            Ok(Err(error)) => Err(hydra_reason(&error)),
            Err(_) => Err(Reason::HydraUnavailable),
        })
    }

    pub(super) async fn patch(&mut self, keeper: &Keeper, members: &[Member], within: Duration) -> Event {
        let (Some((hydra, profile)), Some(held)) = (&keeper.hydra, &self.held) else {
            return Event::Patched(Err(Reason::HydraUnavailable));
        };
        let client = match &self.hydra {
            HydraAnswer::There(Ok(client)) => client.as_ref(),
            _ => None,
        };
        let identity = held.current();
        let wanted = Wanted {
            identity: &identity,
            agent: &keeper.agent,
            profile,
            record: self.record.as_ref().map(|(record, _)| record),
            client,
        };
        let patch = registration::patch(members, &wanted);
        let done = timeout(within, hydra.patch_client(&keeper.agent.did, &patch)).await;
        Event::Patched(match done {
            Ok(Ok(())) => {
                let named = client.and_then(|client| client.public_key().map(str::to_owned));
                audit::patched(&keeper.agent.did, members, named);
                Ok(())
            }
            Ok(Err(error)) => Err(hydra_reason(&error)),
            Err(_) => Err(Reason::HydraUnavailable),
        })
    }

    /// Revokes all tokens of the client, our own too; if Hydra has done it.
    pub(super) async fn revoke_tokens(&mut self, keeper: &Keeper, within: Duration) -> bool {
        let Some((hydra, _)) = &keeper.hydra else { return false };
        match timeout(within, hydra.revoke_all_tokens(&keeper.agent.did)).await {
            Ok(Ok(())) => {
                audit::tokens_revoked(&keeper.agent.did);
                keeper.proven.forget();
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the tokens of the client are still to be revoked");
                false
            }
            Err(_) => false,
        }
    }

    /// Keeps a copy of the store's credentials on the disk, for the time when the store is away. One that is not proven
    /// takes no other one's place: that may be the last copy of the right one.
    pub(super) fn cache_credentials(&mut self, keeper: &Keeper, proven: bool) {
        let Some(directory) = keeper.writable_directory() else { return };
        let (StoreKind::Vault, Some((record, fields))) = (keeper.store_kind, &self.record) else { return };
        let did = &keeper.agent.did;
        match directory.credentials(did) {
            Ok(Some(known)) if !proven || known == *fields => return,
            Ok(_) => {}
            Err(_) if !proven => return,
            Err(_) => {}
        }
        match directory.write_credentials(did, fields) {
            Ok(()) => self.copy = Some(record.clone()),
            Err(error) => _ = keeper.directory_failed(&error),
        }
    }
}

/// The record whose prepared secret takes the place of the one before.
fn promoted(record: &CredentialRecord, there: &Fields) -> Option<Fields> {
    let promoted = CredentialRecord {
        client_secret: record.next_secret.clone()?,
        next_secret: None,
        generation: record.generation + 1,
        ..record.clone()
    };
    Some(promoted.over(there))
}

impl Keeper {
    /// If one secret works; and if Hydra, though it knows the client by it, gives it no token.
    async fn try_one(&self, hydra: &dyn ClientRegistry, secret: &SecretString, scopes: &[String]) -> Trial {
        let asked = tokio::time::Instant::now();
        let (secret, is_refused) = match hydra.prove_secret(&self.agent.did, secret, scopes).await {
            Ok(SecretProof::Works(token)) => {
                self.proven.note(token, asked);
                (Secret::Works, false)
            }
            Ok(SecretProof::Wrong) => (Secret::Wrong, false),
            // These two are said only to a client that was authenticated. Any other refusal proves nothing: a public client gets
            // one without a look at its secret, and a gateway has words of its own.
            Err(HydraError::Refused { error, .. })
                if error == "invalid_scope" || error == "unauthorized_client" =>
            {
                tracing::warn!(error, "the secret is right, but the client may not get a token");
                (Secret::Works, true)
            }
            Err(error) => {
                tracing::info!(%error, "it could not be found out if the secret works");
                (Secret::Unknown, false)
            }
        };
        Trial { secret, is_refused }
    }
}

fn hydra_reason(error: &HydraError) -> Reason {
    tracing::warn!(%error, "Hydra did not do what was asked");
    match error {
        HydraError::Unaddressable => Reason::ClientUnaddressable,
        HydraError::Refused { .. } => Reason::ClientRefused,
        // Gone, or changed, in between: the next pass observes again.
        HydraError::NoClient => Reason::ClientMissing,
        // The enum is open: what is not known says nothing.
        _ => Reason::HydraUnavailable,
    }
}
