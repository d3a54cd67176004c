//! What Hydra's client of this agent should be: as it is registered, what of it differs, and the patch that mends it. Pure.

use crate::{
    AgentProfile, ClientProfile, Identity, Keeper,
    machine::{HydraClient, Member},
    plan::client::{Authentication, Client},
};
use base64::Engine as _;
use bindu_hydra::{AUTHENTICATION_METHOD, ClientRegistration, GRANT_TYPES, OAuthClient, PatchOperation};
use bindu_identity::{DerivedKey, PublicKey, SecondKeyBinding, rotation};
use bindu_store::CredentialRecord;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

/// Where Hydra's client names the second key, which signs HTTP messages (RFC 9421).
const DERIVED_KEY: &str = "derived_public_key";

impl Keeper {
    pub(crate) fn new_credentials(&self) -> CredentialRecord {
        CredentialRecord {
            agent_id: self.agent.id.to_string(),
            client_id: self.agent.did.to_string(),
            client_secret: new_secret(),
            created_at: self.timestamp(),
            scopes: self.hydra.as_ref().map(|(_, profile)| profile.scopes.clone()).unwrap_or_default(),
            taken_over: None,
            next_secret: None,
            generation: 0,
        }
    }

    pub(crate) fn profile(&self) -> Option<&ClientProfile> {
        self.hydra.as_ref().map(|(_, profile)| profile)
    }

    pub(crate) fn registration(&self, identity: &Identity, secret: SecretString) -> ClientRegistration {
        let (scopes, audiences, agent_url) = match self.profile() {
            Some(profile) => (profile.scopes.clone(), profile.audiences.clone(), profile.agent_url.clone()),
            None => Default::default(),
        };
        let mut metadata = metadata(identity, &agent_url);
        metadata.insert("registered_at".to_owned(), json!(self.timestamp()));
        ClientRegistration {
            did: identity.did.clone(),
            secret,
            name: self.agent.name.name.clone(),
            scopes,
            audiences,
            metadata,
        }
    }

    /// The scopes that our tokens are asked for with: the settings', which the client is brought to; those that the record
    /// remembers if somebody else registers it.
    pub(crate) fn token_scopes<'a>(&'a self, recorded: &'a [String]) -> &'a [String] {
        match self.profile() {
            Some(profile) if profile.auto_register => &profile.scopes,
            _ => recorded,
        }
    }
}

/// 32 bytes as URL-safe base64: 43 characters, as Python's `secrets.token_urlsafe(32)`.
pub(crate) fn new_secret() -> SecretString {
    let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    SecretString::from(secret)
}

/// What `metadata` says of the agent, beside the date.
fn metadata(identity: &Identity, agent_url: &str) -> Map<String, Value> {
    let metadata = json!({
        "agent_id": identity.id.to_string(),
        "agent_url": agent_url,
        "did": identity.did.as_str(),
        "public_key": identity.public_key.to_string(),
        "key_type": "Ed25519",
        "verification_method": "Ed25519VerificationKey2020",
        "hybrid_auth": true,
        DERIVED_KEY: derived_key(identity),
    });
    let mut metadata: Map<String, Value> = metadata.as_object().cloned().unwrap_or_default();
    metadata.extend(lineage(identity).into_iter().map(|(name, value)| (name.to_owned(), value)));
    metadata
}

/// The past of the key, as `metadata` carries it.
fn lineage(identity: &Identity) -> Vec<(&'static str, Value)> {
    // During an overlap the replaced key's: no statement may name its second key, and the current one has a member of its own.
    let bound = identity.ring.previous.as_ref().unwrap_or(&identity.ring.current);
    let binding = SecondKeyBinding::sign(&identity.did, &bound.signing_key);
    vec![
        ("generation", json!(identity.lineage.generation)),
        ("replaces", json!(identity.lineage.replaces_text())),
        ("rotations", json!(identity.lineage.statements)),
        ("second_key_binding", json!(binding)),
    ]
}

/// Compares Hydra's client with the key ring that is held and with the settings.
pub(crate) fn compare(
    client: &OAuthClient,
    identity: &Identity,
    agent: &AgentProfile,
    profile: Option<&ClientProfile>,
) -> HydraClient {
    let named: Option<PublicKey> = client.public_key().and_then(|text| text.parse().ok());
    let is_next = |key: &PublicKey| identity.ring.next.as_ref().is_some_and(|next| next.public_key() == *key);
    let statements = client.rotations();
    let after = named.as_ref().and_then(|named| {
        let chain = rotation::chain(&statements, &identity.did, &identity.public_key, named)?;
        chain.last().map(|link| link.generation)
    });
    // After an undo a key that ours has replaced may be the newer one.
    let is_later = after.is_some_and(|generation| generation > identity.lineage.generation);
    let whose = match (client.public_key(), &named) {
        (None, _) => Client::OfNoKey,
        (Some(_), Some(key)) if *key == identity.public_key => Client::OfOurKey,
        (Some(_), Some(_)) if is_later => Client::OfOurNextKey,
        (Some(_), Some(key)) if identity.lineage.replaces_key(key) => Client::OfAnOlderKey,
        (Some(_), Some(key)) if is_next(key) => Client::OfOurNextKey,
        (Some(text), _) => Client::OfAnotherKey(text.to_owned()),
    };
    let may_use_grant = client.grant_types.iter().any(|grant| grant == GRANT_TYPES[0]);
    let authentication = match client.authentication_method == AUTHENTICATION_METHOD {
        false => Authentication::OtherMethod,
        true if !may_use_grant => Authentication::OtherGrants,
        true => Authentication::Ours,
    };
    let mut differs = Vec::new();
    if authentication == Authentication::OtherMethod {
        differs.push(Member::AuthenticationMethod);
    }
    if !may_use_grant {
        differs.push(Member::GrantTypes);
    }
    if whose == Client::OfOurKey {
        // Python Bindu registers none; a second key that is not the first one's nobody could sign with.
        if client.derived_public_key() != Some(&derived_key(identity)) {
            differs.push(Member::SecondKey);
        }
        // A lineage that is proven there, and that our record has lost, is not written over.
        let proven = rotation::line(&statements, &identity.did, &identity.public_key);
        let is_proven = proven.first().is_some_and(|link| link.generation > identity.lineage.generation);
        if !is_proven
            && lineage(identity).iter().any(|(name, value)| client.metadata.get(*name) != Some(value))
        {
            differs.push(Member::Lineage);
        }
    }
    if let Some(profile) = profile {
        differs.extend(described(client, agent, profile));
    }
    HydraClient { client: whose, named, follows: after.is_some(), authentication, differs }
}

/// What of name, scopes, audiences and an explicitly set URL differs.
fn described(client: &OAuthClient, agent: &AgentProfile, profile: &ClientProfile) -> Vec<Member> {
    let sorted = |mut scopes: Vec<String>| {
        scopes.sort_unstable();
        scopes
    };
    let theirs = sorted(client.scope.split_whitespace().map(str::to_owned).collect());
    let url = client.metadata.get("agent_url");
    let mut differs = Vec::new();
    for (member, is_other) in [
        (Member::Name, client.name != agent.name.name),
        (Member::Scope, theirs != sorted(profile.scopes.clone())),
        // What others have added stays; what we were told to register is added.
        (Member::Audience, !profile.audiences.iter().all(|audience| client.audiences.contains(audience))),
        (Member::Url, profile.agent_url_is_explicit && url != Some(&json!(profile.agent_url))),
    ] {
        if is_other {
            differs.push(member);
        }
    }
    differs
}

/// What a patch is made from.
pub(crate) struct Wanted<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) agent: &'a AgentProfile,
    pub(crate) profile: &'a ClientProfile,
    /// The credentials in the store.
    pub(crate) record: Option<&'a CredentialRecord>,
    /// The client as it is.
    pub(crate) client: Option<&'a OAuthClient>,
}

/// The patch that puts these members into Hydra's client.
pub(crate) fn patch(members: &[Member], wanted: &Wanted<'_>) -> Vec<PatchOperation> {
    let Wanted { identity, agent, profile, record, client } = *wanted;
    let second_key = || operation(&format!("/metadata/{DERIVED_KEY}"), derived_key(identity));
    let past = || {
        let members = lineage(identity).into_iter();
        members.map(|(name, value)| operation(&format!("/metadata/{name}"), value)).collect::<Vec<_>>()
    };
    let mut patch = Vec::new();
    for member in members {
        match member {
            Member::PublicKey => {
                patch.push(operation("/metadata/public_key", identity.public_key.to_string()));
                patch.push(second_key());
                patch.extend(past());
            }
            Member::SecondKey => patch.push(second_key()),
            Member::Lineage => patch.extend(past()),
            Member::Secret => {
                let secret = record.map(|record| record.client_secret.expose_secret());
                patch.extend(secret.map(|secret| operation("/client_secret", secret)));
            }
            Member::NextSecret => {
                let secret = record.and_then(|record| record.next_secret.as_ref());
                patch.extend(secret.map(|secret| operation("/client_secret", secret.expose_secret())));
            }
            Member::AuthenticationMethod => {
                patch.push(operation("/token_endpoint_auth_method", AUTHENTICATION_METHOD));
            }
            Member::GrantTypes => {
                // What others have added stays.
                let there = client.map(|client| client.grant_types.clone()).unwrap_or_default();
                let missing = GRANT_TYPES.iter().filter(|grant| !there.iter().any(|known| known == *grant));
                let grants: Vec<String> =
                    there.iter().cloned().chain(missing.map(|grant| (*grant).to_owned())).collect();
                patch.push(operation("/grant_types", grants));
            }
            Member::Name => patch.push(operation("/client_name", agent.name.name.as_str())),
            Member::Scope => patch.push(operation("/scope", profile.scopes.join(" "))),
            Member::Audience => {
                let there = client.map(|client| client.audiences.clone()).unwrap_or_default();
                let missing = profile.audiences.iter().filter(|audience| !there.contains(audience));
                let audiences: Vec<String> = there.iter().chain(missing).cloned().collect();
                patch.push(operation("/audience", audiences));
            }
            Member::Url => patch.push(operation("/metadata/agent_url", profile.agent_url.as_str())),
        }
    }
    // Hydra takes any JSON for `metadata` (a list, a text), and no path leads into that: it is put back whole.
    if client.is_some_and(|client| client.metadata.is_empty()) {
        let before = patch.len();
        patch.retain(|operation| !operation.path.starts_with("/metadata/"));
        if patch.len() < before {
            patch.push(operation("/metadata", metadata(identity, &profile.agent_url)));
        }
    }
    patch
}

fn derived_key(identity: &Identity) -> String {
    DerivedKey::of(identity.current_signing_key()).public_key().to_string()
}

fn operation(path: &str, value: impl Into<Value>) -> PatchOperation {
    PatchOperation { path: path.to_owned(), value: value.into() }
}
