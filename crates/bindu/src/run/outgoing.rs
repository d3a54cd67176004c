//! What calls other agents, from the settings.

use crate::settings::Settings;
use bindu_client::{AgentClient, CallSigner, ClientSettings, KnownAgents};
use bindu_keeper::{HeldIdentity, Keeper, TokenSource};
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
    let hydra = keeper.hydra.as_ref().map(|(hydra, _)| hydra.clone());
    let tokens = hydra.as_ref().map(|_| Arc::new(TokenSource::new(Arc::clone(keeper))));
    let known = match &keeper.directory {
        Some(directory) if directory.path().is_dir() => {
            KnownAgents::in_file(directory.path().join(KNOWN_AGENTS))
        }
        _ => KnownAgents::default(),
    };
    let pinned = settings.auth.pinned_keys.iter();
    let client = AgentClient::new(ClientSettings {
        tokens: tokens.clone().filter(|_| identity.is_some()),
        signer: identity.map(|identity| identity as Arc<dyn CallSigner>),
        hydra,
        pinned: pinned.map(|(did, keys)| (did.clone(), keys.request.clone())).collect(),
        known,
        audiences: settings.hydra.as_ref().map(|hydra| hydra.audiences.clone()).unwrap_or_default(),
        allowed_origins: settings.call.allowed_origins.clone(),
        dangerous_allow_http: settings.call.dangerous_allow_http,
        proxies: settings.proxies.clone(),
    });
    Outgoing { client, tokens }
}
