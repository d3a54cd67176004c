//! The agent card in Python Bindu's form (`/.well-known/agent.json`).

use bindu_keeper::Identity;
use serde_json::{Value, json};

/// What the card says beside the identity.
#[derive(Debug, Clone)]
pub struct CardProfile {
    /// The agent's name, as written.
    pub name: String,
    /// Its author, as written.
    pub author: String,
    /// What it does.
    pub description: String,
    /// Where it is called.
    pub url: String,
    /// Its version.
    pub version: String,
}

impl CardProfile {
    /// The card. `started` is the process's start in seconds since the epoch.
    pub(crate) fn card(&self, identity: &Identity, started: u64) -> Value {
        let modes = json!(["text/plain", "application/json"]);
        json!({
            "id": identity.id.to_string(),
            "name": self.name,
            "description": self.description,
            "url": self.url,
            "version": self.version,
            "protocolVersion": "1.0.0",
            "skills": [],
            "capabilities": {
                "extensions": [{
                    "uri": identity.did.as_str(),
                    "description": format!("DID-based identity for {}", self.name),
                    "required": false,
                    "params": {"author": self.author, "agent_name": self.name, "agent_id": identity.id.to_string()},
                }],
                "pushNotifications": false,
                "streaming": false,
            },
            "kind": "agent",
            "numHistorySessions": 10,
            "extraData": {"created": started, "server_info": "bindu Agent Server"},
            "debugMode": false,
            "debugLevel": 1,
            "monitoring": false,
            "telemetry": false,
            "agentTrust": {
                "identityProvider": "custom",
                "inheritedRoles": [],
                "creatorId": "system",
                "creationTimestamp": started,
                "trustVerificationRequired": false,
                "allowedOperations": {},
            },
            "defaultInputModes": modes.clone(),
            "defaultOutputModes": modes,
        })
    }
}
