//! Reading and changing Hydra's client.

use super::Process;
use crate::world::{Bug, Client, Credential, Fate, Key, Record, World, public};
use bindu_keeper::{
    Reason,
    machine::{HydraClient, Member},
    plan::client::{self, Authentication, Secret},
};

impl World {
    /// The generation to which the statements in Hydra lead from a key to the one that it names: an attacker signs none.
    pub(super) fn chain(&self, from: Option<&Record>, client: &Client) -> Option<u64> {
        let is_right = Some(client.key) == self.right;
        let is_older = self.past.replaces_key(&public(from?.key));
        (client.has_statements && is_right && is_older).then_some(self.past.generation)
    }

    pub(super) fn hydra(&self, process: &Process, bug: Option<Bug>) -> HydraClient {
        let Some(answer) = process.hydra else { return HydraClient::unavailable() };
        let Some(client) = answer else {
            return HydraClient { client: client::Client::Absent, ..HydraClient::unavailable() };
        };
        let (named, held) = (public(client.key), process.machine.held());
        let after = self.chain(process.local.as_ref(), &client);
        let is_later = |generation: u64| held.is_some_and(|held| generation > held.lineage.generation);
        let whose = match held {
            Some(_) if after.is_some_and(is_later) => client::Client::OfOurNextKey,
            Some(held) if held.key == named => client::Client::OfOurKey,
            Some(held) if held.lineage.replaces_key(&named) => client::Client::OfAnOlderKey,
            Some(held) if held.next == Some(named) => client::Client::OfOurNextKey,
            _ => client::Client::OfAnotherKey(named.to_string()),
        };
        let (authentication, differs) = match client.is_of_another_method {
            true if bug == Some(Bug::MethodIsWrongSecret) => (Authentication::Ours, Vec::new()),
            true => (Authentication::OtherMethod, vec![Member::AuthenticationMethod]),
            false => (Authentication::Ours, Vec::new()),
        };
        HydraClient { client: whose, named: Some(named), follows: false, authentication, differs }
    }

    /// What a token request shows.
    pub(super) fn try_secret(&self, process: &Process, bug: Option<Bug>) -> Secret {
        let current = process.secret.map(|known| known.secret).or(process.copy.map(|(secret, _)| secret));
        let next = process.secret.and_then(|known| known.next);
        match (self.hydra_is_up, self.client, current) {
            // A method that is not ours gets a 401, whatever the secret.
            (true, Some(client), Some(_)) if client.is_of_another_method => Secret::Wrong,
            (true, Some(client), Some(secret)) if client.secret == secret => Secret::Works,
            (true, Some(client), Some(_))
                if next == Some(client.secret) && bug != Some(Bug::NextSecretIsWrong) =>
            {
                Secret::NextWorks
            }
            (true, _, Some(_)) => Secret::Wrong,
            _ => Secret::Unknown,
        }
    }

    /// All tokens of the client are revoked; if Hydra says so.
    pub(super) fn revoke(&mut self, fate: Fate) -> bool {
        if !self.hydra_is_up || fate == Fate::NeverDone {
            return false;
        }
        let is_named = self.client.is_some_and(|client| self.withdrawn & (1 << client.key) != 0);
        if is_named && !self.attacker_was_here && !self.rogue_was_here {
            self.broken = Some("tokens are revoked while Hydra names the withdrawn key");
        }
        self.has_stolen_tokens = false;
        fate == Fate::Answered
    }

    pub(super) fn register(&mut self, process: &Process, fate: Fate) -> Result<bool, Reason> {
        if !process.machine.is_sure() {
            self.broken = Some("who is not sure registers");
        }
        if !self.hydra_is_up || fate == Fate::NeverDone {
            return Err(Reason::HydraUnavailable);
        }
        if self.client.is_some() {
            return Ok(false);
        }
        let (Some(Credential { secret, .. }), Some(key)) = (process.secret, process.key()) else {
            return Err(Reason::CredentialsMissing);
        };
        self.name(key);
        self.client = Some(Client { secret, key, has_statements: true, is_of_another_method: false });
        match fate {
            Fate::AnswerLost => Err(Reason::HydraUnavailable),
            _ => Ok(true),
        }
    }

    pub(super) fn patch(&mut self, process: &Process, members: &[Member], fate: Fate) -> Result<(), Reason> {
        if !process.machine.is_sure() {
            self.broken = Some("who is not sure changes the client");
        }
        if !self.hydra_is_up || fate == Fate::NeverDone {
            return Err(Reason::HydraUnavailable);
        }
        let Some(mut client) = self.client else { return Err(Reason::ClientMissing) };
        for member in members {
            match member {
                Member::PublicKey => {
                    client.key = process.key().expect("a held key");
                    client.has_statements = true;
                    self.name(client.key);
                }
                Member::Secret => {
                    client.secret = process.secret.expect("a record that was read").secret;
                    if self.retired_secrets & (1 << client.secret) != 0 {
                        self.broken = Some("a secret that was rotated comes back into Hydra");
                    }
                }
                Member::NextSecret => {
                    let known = process.secret.expect("a record that was read");
                    client.secret = known.next.expect("a prepared secret");
                }
                Member::AuthenticationMethod => client.is_of_another_method = false,
                _ => {}
            }
        }
        self.client = Some(client);
        match fate {
            Fate::AnswerLost => Err(Reason::HydraUnavailable),
            _ => Ok(()),
        }
    }

    /// If two of the store's content, its history and Hydra were changed by others: then nothing proves anything.
    pub(super) fn is_beyond_proof(&self) -> bool {
        [self.was_restored, self.attacker_was_here, self.rogue_was_here].iter().filter(|was| **was).count()
            > 1
    }

    /// A machine writes a key's name to Hydra.
    pub(super) fn name(&mut self, key: Key) {
        if self.retired & (1 << key) != 0 && !self.is_beyond_proof() {
            self.broken = Some("a retired key comes back into Hydra");
        }
        let is_right = self.right.is_none_or(|right| right == key);
        if !is_right && self.rogue_was_here && !self.is_beyond_proof() {
            self.broken = Some("Hydra is given the key of a rogue");
        }
    }
}
