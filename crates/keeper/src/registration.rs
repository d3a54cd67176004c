//! What Hydra's client of this agent should be: as it is registered, and what of it differs. Asks nobody.

use crate::{Identity, Keeper, observe::ClientObservation};
use base64::Engine as _;
use bindu_hydra::{ClientRegistration, PatchOperation};
use bindu_identity::DerivedKey;
use bindu_store::CredentialRecord;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

impl Keeper {
    pub(crate) fn new_credentials(&self) -> CredentialRecord {
        // 32 bytes as URL-safe base64: 43 characters, as Python's `secrets.token_urlsafe(32)`.
        let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        CredentialRecord {
            agent_id: self.agent.id.to_string(),
            client_id: self.agent.did.to_string(),
            client_secret: SecretString::from(secret),
            created_at: crate::start::now(),
            scopes: self.hydra.as_ref().map(|(_, profile)| profile.scopes.clone()).unwrap_or_default(),
            taken_over: None,
        }
    }

    pub(crate) fn registration(&self, identity: &Identity, secret: SecretString) -> ClientRegistration {
        let (scopes, audiences, agent_url) = match &self.hydra {
            Some((_, profile)) => {
                (profile.scopes.clone(), profile.audiences.clone(), profile.agent_url.clone())
            }
            None => Default::default(),
        };
        let metadata = json!({
            "agent_id": identity.id.to_string(),
            "agent_url": agent_url,
            "did": identity.did.as_str(),
            "public_key": identity.public_key.to_string(),
            "key_type": "Ed25519",
            "verification_method": "Ed25519VerificationKey2020",
            "registered_at": crate::start::now(),
            "hybrid_auth": true,
            DERIVED_KEY: derived_key(identity),
        });
        let mut metadata: Map<String, Value> = metadata.as_object().cloned().unwrap_or_default();
        if let Some(version) = identity.version {
            metadata.insert("key_version".to_owned(), json!(version));
        }
        ClientRegistration {
            did: identity.did.clone(),
            secret,
            name: self.agent.name.name.clone(),
            scopes,
            audiences,
            metadata,
        }
    }

    pub(crate) fn key_patch(&self, identity: &Identity) -> Vec<PatchOperation> {
        let mut patch = vec![
            operation("/metadata/public_key", identity.public_key.to_string()),
            operation(&format!("/metadata/{DERIVED_KEY}"), derived_key(identity)),
        ];
        if let Some(version) = identity.version {
            patch.push(operation("/metadata/key_version", version));
        }
        patch
    }

    /// What of name, scopes, audiences, the second key (where the first is ours) and an explicitly set URL differs in
    /// Hydra's client.
    pub(crate) fn description(&self, seen: &ClientObservation, identity: &Identity) -> Vec<PatchOperation> {
        let (Some((_, profile)), Some(Ok(Some(client)))) = (&self.hydra, &seen.hydra) else {
            return Vec::new();
        };
        let mut patch = Vec::new();
        let (ours, derived) = (identity.public_key.to_string(), derived_key(identity));
        // Python Bindu registers none; a second key that is not the first one's nobody could sign with.
        if client.public_key() == Some(&ours) && client.derived_public_key() != Some(&derived) {
            patch.push(operation(&format!("/metadata/{DERIVED_KEY}"), derived));
        }
        if client.name != self.agent.name.name {
            patch.push(operation("/client_name", self.agent.name.name.as_str()));
        }
        let (mut theirs, mut ours): (Vec<&str>, Vec<&str>) =
            (client.scope.split_whitespace().collect(), profile.scopes.iter().map(String::as_str).collect());
        theirs.sort_unstable();
        ours.sort_unstable();
        if theirs != ours {
            patch.push(operation("/scope", profile.scopes.join(" ")));
        }
        let is_known = |audience: &String| client.audiences.contains(audience);
        // What others have added stays; what we were told to register is added.
        if !profile.audiences.iter().all(is_known) {
            let mut audiences = client.audiences.clone();
            audiences.extend(profile.audiences.iter().filter(|audience| !is_known(audience)).cloned());
            patch.push(operation("/audience", audiences));
        }
        if profile.agent_url_is_explicit
            && client.metadata.get("agent_url") != Some(&json!(profile.agent_url))
        {
            patch.push(operation("/metadata/agent_url", profile.agent_url.as_str()));
        }
        patch
    }

    /// The scopes that our tokens are asked for with: the settings', which the client is brought to; those that the record
    /// remembers where somebody else registers it.
    pub(crate) fn token_scopes<'a>(&'a self, recorded: &'a [String]) -> &'a [String] {
        match &self.hydra {
            Some((_, profile)) if profile.auto_register => &profile.scopes,
            _ => recorded,
        }
    }
}

/// Whether Hydra's client names our first key, and another second one: somebody could sign HTTP messages as us with it.
pub(crate) fn derived_key_drifted(seen: &ClientObservation, identity: &Identity) -> bool {
    let Some(Ok(Some(client))) = &seen.hydra else { return false };
    let is_ours = client.public_key() == Some(&identity.public_key.to_string());
    is_ours && client.derived_public_key().is_some_and(|named| named != derived_key(identity))
}

/// Where Hydra's client names the second key, which signs HTTP messages (RFC 9421).
pub(crate) const DERIVED_KEY: &str = "derived_public_key";

pub(crate) fn derived_key(identity: &Identity) -> String {
    DerivedKey::of(&identity.signing_key).public_key().to_string()
}

pub(crate) fn operation(path: &str, value: impl Into<Value>) -> PatchOperation {
    PatchOperation { path: path.to_owned(), value: value.into() }
}
