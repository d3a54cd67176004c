//! What calls other agents, from the settings.

use crate::settings::Settings;
use bindu_client::{AgentClient, CallSigner, ClientSettings, KnownAgents, SignedCall};
use bindu_hydra::TokenSource;
use bindu_identity::{PublicKey, request_signature};
use bindu_keeper::{HeldIdentity, Keeper};
use std::sync::Arc;

/// The file in the data directory that remembers the keys of agents that were called.
const KNOWN_AGENTS: &str = "known_agents.json";

/// The outgoing side of an agent.
pub struct Outgoing {
    /// What calls.
    pub client: AgentClient,
    /// Our own tokens, where there is a Hydra.
    pub tokens: Option<Arc<TokenSource>>,
}

/// The outgoing side of an agent with this identity. Without one it can call agents that let everybody in.
#[must_use]
pub fn outgoing(settings: &Settings, keeper: &Arc<Keeper>, identity: Option<Arc<HeldIdentity>>) -> Outgoing {
    let tokens = keeper.token_source().map(Arc::new);
    let known = match &keeper.directory {
        Some(directory) if directory.path().is_dir() => {
            KnownAgents::in_file(directory.path().join(KNOWN_AGENTS))
        }
        _ => KnownAgents::default(),
    };
    let pinned = settings.auth.pinned_keys.iter();
    let client = AgentClient::new(ClientSettings {
        tokens: tokens.clone().filter(|_| identity.is_some()),
        signer: identity.map(|identity| Arc::new(RingSigner(identity)) as Arc<dyn CallSigner>),
        hydra: keeper.hydra.as_ref().map(|(registry, _)| Arc::clone(registry)),
        issuer: settings.hydra.as_ref().map(|hydra| hydra.public_url.clone()),
        pinned: pinned.map(|(did, keys)| (did.clone(), keys.request.clone())).collect(),
        known,
        audiences: settings.hydra.as_ref().map(|hydra| hydra.audiences.clone()).unwrap_or_default(),
        allowed_origins: settings.call.allowed_origins.clone(),
        dangerous_allow_http: settings.call.dangerous_allow_http,
        proxies: settings.proxies.clone(),
    });
    Outgoing { client, tokens }
}

/// Signs calls with the key ring that is held.
struct RingSigner(Arc<HeldIdentity>);

impl CallSigner for RingSigner {
    fn sign(&self, refused: Option<&PublicKey>, body: &str, timestamp: u64) -> Option<SignedCall> {
        let identity = self.0.current();
        let keys = identity.signing_keys();
        if refused.is_some() && refused == keys.first().map(|key| key.public_key()).as_ref() {
            // Somebody refuses the key that Hydra named last: a rotation may be on its way.
            self.0.look_again();
        }
        let key = keys.iter().find(|key| Some(&key.public_key()) != refused)?;
        let signature = request_signature::sign(key, &identity.did, body, timestamp);
        Some(SignedCall { did: identity.did.clone(), key: key.public_key(), signature })
    }
}
