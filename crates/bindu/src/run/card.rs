//! What the cards say, from the settings.

use crate::settings::Settings;
use bindu_a2a::card::{Abilities, CardProfile, DID_EXTENSION, OAuth};
use bindu_agent::Extension;
use bindu_identity::{AgentName, artifact_signature};
use std::collections::BTreeMap;
use url::Url;

/// What the usual scopes allow.
const SCOPES: [(&str, &str); 2] = [
    ("agent:read", "read your tasks"),
    ("agent:write", "send messages, cancel tasks and change what is kept of you"),
];

/// The extensions of A2A that callers may activate.
pub(super) fn extensions() -> Vec<Extension> {
    let uris = [DID_EXTENSION, artifact_signature::EXTENSION];
    uris.map(|uri| Extension { uri: uri.to_owned(), is_required: false }).into()
}

/// The profile of an agent that is called at this URL.
#[must_use]
pub fn card_profile(settings: &Settings, name: &AgentName, url: &str) -> CardProfile {
    CardProfile {
        name: name.name.clone(),
        author: name.author.clone(),
        description: settings.description.trim().to_owned(),
        url: url.to_owned(),
        version: settings.version.clone(),
        grpc: settings.grpc_listen.as_deref().and_then(|listen| grpc_address(listen, url)),
        skills: settings.skills.clone(),
        private_skills: settings.private_skills.clone(),
        private_callers: settings.private_callers.iter().cloned().collect(),
        oauth: settings.hydra.as_ref().map(|hydra| OAuth {
            token_url: format!("{}/oauth2/token", hydra.public_url.as_str().trim_end_matches('/')),
            scopes: scopes(settings),
        }),
        abilities: Abilities { streaming: true, push_notifications: settings.push.enabled },
    }
}

/// Where gRPC is called, as `HOST:PORT`: on the agent's own host, at the port that it listens on.
fn grpc_address(listen: &str, url: &str) -> Option<String> {
    let url: Url = url.parse().ok()?;
    let (_, port) = listen.rsplit_once(':')?;
    Some(format!("{}:{port}", url.host_str()?))
}

/// The scopes that calls need: the usual two, and what `auth.permissions` asks for besides.
fn scopes(settings: &Settings) -> BTreeMap<String, String> {
    let usual = SCOPES.iter().map(|(scope, allows)| ((*scope).to_owned(), (*allows).to_owned()));
    let methods = settings.auth.permit.scopes.iter().flatten();
    let more = methods.flat_map(|(method, scopes)| {
        scopes.iter().map(move |scope| (scope.clone(), format!("asked for by {method}")))
    });
    more.chain(usual).filter(|(scope, _)| !scope.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_called_on_the_agents_own_host() {
        for (listen, url, want) in [
            ("0.0.0.0:50051", "https://agent.example.com/a", "agent.example.com:50051"),
            ("[::]:50051", "http://[::1]:3773", "[::1]:50051"),
            ("127.0.0.1:1", "http://127.0.0.1:3773", "127.0.0.1:1"),
        ] {
            assert_eq!(grpc_address(listen, url).as_deref(), Some(want));
        }
    }
}
