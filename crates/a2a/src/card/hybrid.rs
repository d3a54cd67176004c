//! The card of A2A 1.0 (`/.well-known/agent-card.json`), with the fields of 0.3 beside it: the shape that the official Python
//! server serves. Both official SDKs verify it, and clients of 0.3 read it.
//!
//! The signature covers A2A 1.0's fields only. A card that we sign holds nothing that the SDKs would leave out before they
//! verify it: no empty text, list or object, no `false` but where A2A has an optional boolean.

use super::{
    CardIdentity, CardProfile, DID_EXTENSION, MODES, SCHEME, Skill, put,
    shape::{canonical, signed_part},
};
use bindu_identity::{DerivedKey, jws};
use serde_json::{Value, json};

/// A card, signed by one key or several.
#[derive(Debug, Clone, PartialEq)]
pub struct SignedCard {
    /// The card as it is served.
    pub json: Value,
    /// The ids of the keys that have signed it.
    pub key_ids: Vec<String>,
}

/// The card holds something that its readers would leave out, so that they could not verify it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the card holds an empty value, a `false`, or a field that A2A 1.0 does not have")]
pub struct NotSignable;

impl CardProfile {
    /// The card for everybody, signed with these keys: the current one first, then those of a rotation.
    ///
    /// # Errors
    /// [`NotSignable`].
    pub fn agent_card(&self, who: &CardIdentity<'_>, keys: &[DerivedKey]) -> Result<SignedCard, NotSignable> {
        self.hybrid(self.card_of(who, self.skills.iter()), keys)
    }

    /// The card with the private skills, signed likewise.
    ///
    /// # Errors
    /// [`NotSignable`].
    pub fn extended_card(
        &self,
        who: &CardIdentity<'_>,
        keys: &[DerivedKey],
    ) -> Result<SignedCard, NotSignable> {
        self.hybrid(self.card_of(who, self.skills.iter().chain(&self.private_skills)), keys)
    }

    /// The same without a signature, whatever it holds.
    #[must_use]
    pub fn unsigned_card(&self, who: &CardIdentity<'_>, with_private: bool) -> Value {
        let private = self.private_skills.iter().filter(|_| with_private);
        self.with_legacy(self.card_of(who, self.skills.iter().chain(private)))
    }

    /// A2A 1.0's card.
    fn card_of<'a>(&self, who: &CardIdentity<'_>, skills: impl Iterator<Item = &'a Skill>) -> Value {
        let mut skills: Vec<Value> = skills.map(Skill::a2a).collect();
        if skills.is_empty() {
            // A2A wants one, and readers of 0.3 refuse a card without the list, which could not be signed empty.
            skills.push(json!({
                "id": "conversation",
                "name": self.name,
                "description": self.description(),
                "tags": ["conversation"],
            }));
        }
        let mut card = json!({
            "name": self.name,
            "description": self.description(),
            "version": self.version,
            "supportedInterfaces": self.interfaces(),
            "capabilities": self.capabilities(who),
            "defaultInputModes": MODES,
            "defaultOutputModes": MODES,
            "skills": skills,
        });
        if let Some(oauth) = &self.oauth {
            let scopes: Vec<&String> = oauth.scopes.keys().collect();
            let flows = json!({"clientCredentials": {"tokenUrl": oauth.token_url, "scopes": oauth.scopes}});
            put(&mut card, "securitySchemes", json!({SCHEME: {"oauth2SecurityScheme": {"flows": flows}}}));
            put(&mut card, "securityRequirements", json!([{"schemes": {SCHEME: {"list": scopes}}}]));
        }
        card
    }

    /// Where and how it is called. Clients take the first one of a binding that they know, so 1.0 comes before 0.3.
    fn interfaces(&self) -> Vec<Value> {
        let at = |url: &str, binding: &str, version: &str| json!({"url": url, "protocolBinding": binding, "protocolVersion": version});
        let grpc = self.grpc.as_deref().map(|address| at(address, "GRPC", "1.0"));
        [at(&self.url, "JSONRPC", "1.0"), at(&self.url, "HTTP+JSON", "1.0")]
            .into_iter()
            .chain(grpc)
            .chain([at(&self.url, "JSONRPC", "0.3")])
            .collect()
    }

    fn capabilities(&self, who: &CardIdentity<'_>) -> Value {
        let mut capabilities = json!({
            "extensions": [{
                "uri": DID_EXTENSION,
                "description": "Whose card this is: a DID, and where its documents and keys are",
                "params": {
                    "did": who.did.as_str(),
                    "agentId": who.id.to_string(),
                    "author": self.author,
                    "didDocument": self.at("/.well-known/did.json"),
                    "jwks": self.key_set_url(),
                    "rotations": self.at("/.well-known/did-rotation.json"),
                },
            }],
        });
        let flags = [
            ("streaming", self.abilities.streaming),
            ("pushNotifications", self.abilities.push_notifications),
            ("extendedAgentCard", self.has_extended_card()),
        ];
        for (name, _) in flags.into_iter().filter(|(_, is_on)| *is_on) {
            put(&mut capabilities, name, json!(true));
        }
        capabilities
    }

    /// Whether there is a card for authenticated callers.
    #[must_use]
    pub fn has_extended_card(&self) -> bool {
        self.oauth.is_some() && !self.private_skills.is_empty()
    }

    /// Where our keys are: the `jku` of our signatures.
    #[must_use]
    pub fn key_set_url(&self) -> String {
        self.at("/.well-known/jwks.json")
    }

    /// Signs a card, and puts the fields of A2A 0.3 beside it.
    fn hybrid(&self, card: Value, keys: &[DerivedKey]) -> Result<SignedCard, NotSignable> {
        if signed_part(&card) != card {
            return Err(NotSignable);
        }
        let payload = canonical(&card).ok_or(NotSignable)?;
        let jku = self.key_set_url();
        let signatures: Vec<jws::Jws> =
            keys.iter().map(|key| jws::sign(key, "JOSE", Some(&jku), &payload)).collect();
        let key_ids = keys.iter().map(|key| DerivedKey::thumbprint(&key.public_key())).collect();
        let mut card = self.with_legacy(card);
        if !signatures.is_empty() {
            put(&mut card, "signatures", json!(signatures));
        }
        Ok(SignedCard { json: card, key_ids })
    }

    /// A card with the fields of A2A 0.3.
    fn with_legacy(&self, mut card: Value) -> Value {
        put(&mut card, "url", json!(self.url));
        put(&mut card, "preferredTransport", json!("JSONRPC"));
        put(&mut card, "protocolVersion", json!("0.3"));
        if self.has_extended_card() {
            put(&mut card, "supportsAuthenticatedExtendedCard", json!(true));
        }
        if let Some(oauth) = &self.oauth {
            let scopes: Vec<&String> = oauth.scopes.keys().collect();
            put(&mut card, "security", json!([{SCHEME: scopes}]));
            if let Some(scheme) = card.pointer_mut("/securitySchemes").and_then(|all| all.get_mut(SCHEME)) {
                let flows = scheme.pointer("/oauth2SecurityScheme/flows").cloned().unwrap_or_default();
                put(scheme, "type", json!("oauth2"));
                put(scheme, "flows", flows);
            }
        }
        card
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::{CardSignature, KeySet, OAuth};
    use bindu_identity::{AgentId, Did, SigningKey};

    pub(crate) fn profile() -> CardProfile {
        CardProfile {
            name: "Echo <Agent>".to_owned(),
            author: "alice@example.com".to_owned(),
            url: "https://echo.example.com/agent".to_owned(),
            version: "1.2.3".to_owned(),
            oauth: Some(OAuth {
                token_url: "https://hydra.example.com/oauth2/token".to_owned(),
                scopes: [("agent:read".to_owned(), "reads".to_owned())].into(),
            }),
            ..CardProfile::default()
        }
    }

    fn who(did: &Did) -> CardIdentity<'_> {
        CardIdentity { did, id: AgentId::derive("alice@example.com", "Echo"), started: 1 }
    }

    fn did() -> Did {
        "did:bindu:alice:echo:1".parse().expect("a DID")
    }

    #[test]
    fn interfaces_of_1_0_come_before_those_of_0_3() {
        let profile = CardProfile { grpc: Some("echo.example.com:3774".to_owned()), ..profile() };
        let did = did();
        let card = profile.agent_card(&who(&did), &[]).expect("signable").json;
        let interfaces = card["supportedInterfaces"].as_array().expect("a list");
        let shown: Vec<_> = interfaces
            .iter()
            .map(|one| format!("{} {}", one["protocolBinding"], one["protocolVersion"]))
            .collect();
        let want = [r#""JSONRPC" "1.0""#, r#""HTTP+JSON" "1.0""#, r#""GRPC" "1.0""#, r#""JSONRPC" "0.3""#];
        assert_eq!(shown, want);
        assert_eq!(card["skills"].as_array().map(Vec::len), Some(1), "one stands for all");
    }

    /// Each key that the ring holds signs, and each signature verifies by itself.
    #[test]
    fn during_an_overlap_the_card_has_a_signature_of_each_key() {
        let keys = [1, 2].map(|seed| DerivedKey::of(&SigningKey::from_seed(&[seed; 32])));
        let did = did();
        let signed = profile().agent_card(&who(&did), &keys).expect("signable");
        let signatures = CardSignature::all(&signed.json);
        assert_eq!((signatures.len(), signed.key_ids.len()), (2, 2));
        for (signature, key) in signatures.iter().zip(&keys) {
            let set = KeySet::of(&[key.public_key()]);
            let good = signature.verify(&signed.json, &set).expect("it verifies");
            assert_eq!(Some(good.thumbprint()), signature.key_id().map(str::to_owned));
            assert_eq!(signature.jku(), Some("https://echo.example.com/agent/.well-known/jwks.json"));
        }
        for (name, changed) in [("url", true), ("protocolVersion", true), ("name", false), ("skills", false)]
        {
            let mut card = signed.json.clone();
            card[name] = json!("another");
            let set = KeySet::of(&[keys[0].public_key()]);
            assert_eq!(signatures[0].verify(&card, &set).is_ok(), changed, "{name}");
        }
    }

    #[test]
    fn a_card_with_an_empty_value_is_not_signed() {
        let did = did();
        for odd in [
            CardProfile { version: String::new(), ..profile() },
            CardProfile { author: String::new(), ..profile() },
            CardProfile { grpc: Some(String::new()), ..profile() },
            CardProfile { oauth: Some(OAuth::default()), ..profile() },
        ] {
            assert_eq!(odd.agent_card(&who(&did), &[]), Err(NotSignable));
        }
    }

    #[test]
    fn only_some_see_the_private_skills() {
        let skill = Skill::read(&json!({"name": "secret", "description": "d"})).expect("a skill");
        let profile = CardProfile { private_skills: vec![skill], ..profile() };
        let did = did();
        let public = profile.agent_card(&who(&did), &[]).expect("signable").json;
        let extended = profile.extended_card(&who(&did), &[]).expect("signable").json;
        assert!(!public.to_string().contains("secret") && extended.to_string().contains("secret"));
        assert_eq!(public["capabilities"]["extendedAgentCard"], true);
        let open = CardProfile { oauth: None, ..profile };
        assert!(!open.has_extended_card(), "nobody can be told from another");
    }
}
