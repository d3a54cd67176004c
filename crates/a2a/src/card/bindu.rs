//! The card in Python Bindu's form (`/.well-known/agent.json`, `/agent/private.json`), as recorded from it.

use super::{CardIdentity, CardProfile, MODES, Skill};
use serde_json::{Value, json};

impl CardProfile {
    /// Python Bindu's card.
    #[must_use]
    pub fn bindu_card(&self, who: &CardIdentity<'_>) -> Value {
        self.bindu_card_with(who, self.skills.iter())
    }

    /// The same with the private skills, for callers who may see them.
    #[must_use]
    pub fn private_bindu_card(&self, who: &CardIdentity<'_>) -> Value {
        self.bindu_card_with(who, self.skills.iter().chain(&self.private_skills))
    }

    /// The list of `/agent/skills`.
    #[must_use]
    pub fn skill_list(&self) -> Value {
        let skills: Vec<Value> = self.skills.iter().map(Skill::summary).collect();
        json!({"total": skills.len(), "skills": skills})
    }

    fn bindu_card_with<'a>(&self, who: &CardIdentity<'_>, skills: impl Iterator<Item = &'a Skill>) -> Value {
        let skill = |skill: &Skill| {
            json!({
                "id": skill.id,
                "name": skill.name,
                "documentationPath": self.at(&format!("/agent/skills/{}", segment(&skill.id))),
            })
        };
        json!({
            "id": who.id.to_string(),
            "name": self.name,
            "description": self.description(),
            "url": self.url,
            "version": self.version,
            "protocolVersion": "1.0.0",
            "skills": skills.map(skill).collect::<Vec<_>>(),
            "capabilities": {
                "extensions": [{
                    "uri": who.did.as_str(),
                    "description": format!("DID-based identity for {}", self.name),
                    "required": false,
                    "params": {"author": self.author, "agent_name": self.name, "agent_id": who.id.to_string()},
                }],
                "pushNotifications": false,
                "streaming": false,
            },
            "kind": "agent",
            "numHistorySessions": 10,
            "extraData": {"created": who.started, "server_info": "bindu Agent Server"},
            "debugMode": false,
            "debugLevel": 1,
            "monitoring": false,
            "telemetry": false,
            "agentTrust": {
                "identityProvider": "custom",
                "inheritedRoles": [],
                "creatorId": "system",
                "creationTimestamp": who.started,
                "trustVerificationRequired": false,
                "allowedOperations": {},
            },
            "defaultInputModes": MODES,
            "defaultOutputModes": MODES,
        })
    }
}

/// A segment of a URL's path.
fn segment(text: &str) -> String {
    let mut url = url::Url::parse("http://a/").expect("it is a URL");
    if let Ok(mut path) = url.path_segments_mut() {
        path.clear().push(text);
    }
    url.path().trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn ids_of_skills_are_one_segment() {
        assert_eq!(segment("pdf-processing-v1"), "pdf-processing-v1");
        assert_eq!(segment("a/b c?d#e"), "a%2Fb%20c%3Fd%23e");
    }
}
