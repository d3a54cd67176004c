//! OAuth clients on the admin port.

use crate::{Hydra, HydraError};
use bindu_http_client::Method;
use bindu_identity::{
    Did, Fingerprint, Lineage, RotationStatement, SecondKeyBinding, rotation::MOST_STATEMENTS,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

/// `token_endpoint_auth_method` of our clients, as Python Bindu registers them.
pub const AUTHENTICATION_METHOD: &str = "client_secret_post";

/// `grant_types` of our clients, as Python Bindu registers them. Our own tokens need the first.
pub const GRANT_TYPES: [&str; 3] = ["client_credentials", "authorization_code", "refresh_token"];

/// An OAuth client as Hydra describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct OAuthClient {
    /// RFC 3339.
    pub created_at: String,
    /// `client_name`.
    pub name: String,
    /// Scopes, separated by spaces.
    pub scope: String,
    /// Audiences that tokens may be asked for.
    pub audiences: Vec<String>,
    /// `token_endpoint_auth_method`.
    pub authentication_method: String,
    /// `grant_types`.
    pub grant_types: Vec<String>,
    /// What the agents keep there: `public_key`, `agent_url`; our own `derived_public_key`, `generation`,
    /// `replaces`, `rotations`, `second_key_binding`. Whoever reaches the admin port can write any of it.
    pub metadata: Map<String, Value>,
}

impl OAuthClient {
    /// The public key that callers' signatures are checked against, as it was registered.
    #[must_use]
    pub fn public_key(&self) -> Option<&str> {
        self.metadata.get("public_key").and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// The public key of HTTP message signatures, where it was registered (ours; Python Bindu knows none).
    #[must_use]
    pub fn derived_public_key(&self) -> Option<&str> {
        self.metadata.get("derived_public_key").and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// How many rotations led to `public_key`, where we wrote it. A claim: only [`rotations`](Self::rotations) prove any.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.metadata.get("generation").and_then(Value::as_u64)
    }

    /// The fingerprints of the keys that `public_key` replaces, newest first; none where there is something else. A
    /// claim, too.
    #[must_use]
    pub fn replaces(&self) -> Vec<Fingerprint> {
        let text = self.metadata.get("replaces").and_then(Value::as_str);
        text.and_then(|text| Lineage::parse_replaces(text).ok()).unwrap_or_default()
    }

    /// The rotation statements, newest first, at most [`MOST_STATEMENTS`]. What is no statement is left out. None is
    /// verified: that is for [`rotation::chain`](bindu_identity::rotation::chain).
    #[must_use]
    pub fn rotations(&self) -> Vec<RotationStatement> {
        let listed = self.metadata.get("rotations").and_then(Value::as_array);
        let listed = listed.into_iter().flatten().take(MOST_STATEMENTS);
        listed.filter_map(|statement| RotationStatement::deserialize(statement).ok()).collect()
    }

    /// By which a key names its second key, where there is one. It is not verified.
    #[must_use]
    pub fn second_key_binding(&self) -> Option<SecondKeyBinding> {
        SecondKeyBinding::deserialize(self.metadata.get("second_key_binding")?).ok()
    }
}

/// A client to be registered, with the fields of Python Bindu's registration.
pub struct ClientRegistration {
    /// `client_id`.
    pub did: Did,
    /// `client_secret`.
    pub secret: SecretString,
    /// `client_name`.
    pub name: String,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Audiences that tokens may be asked for.
    pub audiences: Vec<String>,
    /// `metadata`.
    pub metadata: Map<String, Value>,
}

impl ClientRegistration {
    /// The registration without its secret.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "client_id": self.did.as_str(),
            "client_name": self.name,
            "grant_types": GRANT_TYPES,
            "response_types": ["code", "token"],
            "scope": self.scopes.join(" "),
            "audience": self.audiences,
            "token_endpoint_auth_method": AUTHENTICATION_METHOD,
            "metadata": self.metadata,
        })
    }
}

/// One operation of a JSON Patch (RFC 6902); Hydra's 500 for a failed `test` makes that one useless.
#[derive(Clone, PartialEq)]
pub struct PatchOperation {
    /// A JSON pointer; the member is added or replaced.
    pub path: String,
    /// Its new value.
    pub value: Value,
}

impl PatchOperation {
    /// The operation as RFC 6902 writes it. It may hold a secret.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"op": "add", "path": self.path, "value": self.value})
    }
}

impl std::fmt::Debug for PatchOperation {
    /// Without the value, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PatchOperation({})", self.path)
    }
}

impl Hydra {
    /// The client of a DID, or `None` where Hydra says that there is none.
    ///
    /// # Errors
    /// Every answer that is not Hydra's own is [`HydraError::Unavailable`].
    pub async fn client(&self, did: &Did) -> Result<Option<OAuthClient>, HydraError> {
        let request =
            self.client.request(Method::GET, self.client_url(did)?).header("Accept", "application/json");
        let reply = self.client.send("get_client", request).await?;
        if reply.status != 200 {
            return match HydraError::of(&reply) {
                HydraError::NoClient => Ok(None),
                other => Err(other),
            };
        }
        let body = reply.json().filter(|_| reply.has("client_id", did.as_str()));
        let Some(body) = body else {
            return Err(HydraError::unavailable("an answer that is not Hydra's", &reply));
        };
        let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let texts = |field: &str| {
            let listed = body.get(field).and_then(Value::as_array).into_iter().flatten();
            listed.filter_map(|item| item.as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        Ok(Some(OAuthClient {
            created_at: text("created_at"),
            name: text("client_name"),
            scope: text("scope"),
            audiences: texts("audience"),
            authentication_method: text("token_endpoint_auth_method"),
            grant_types: texts("grant_types"),
            metadata: body.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default(),
        }))
    }

    /// Registers a client: the atomic claim to its id.
    ///
    /// # Errors
    /// [`HydraError::Conflict`] where the id is taken. After [`HydraError::Unavailable`] it is undecided.
    pub async fn create_client(&self, registration: &ClientRegistration) -> Result<(), HydraError> {
        if !registration.did.is_addressable() {
            return Err(HydraError::Unaddressable);
        }
        let mut body = registration.to_json();
        if let Some(members) = body.as_object_mut() {
            members.insert("client_secret".to_owned(), json!(registration.secret.expose_secret()));
        }
        let request = self
            .client
            .request(Method::POST, self.admin(&["admin", "clients"]))
            .header("Accept", "application/json")
            .header("Content-Type", "application/json")
            .body(body.to_string());
        let reply = self.client.send("create_client", request).await?;
        match reply.status {
            201 if reply.has("client_id", registration.did.as_str()) => Ok(()),
            _ => Err(HydraError::of(&reply)),
        }
    }

    /// Changes some members of a client; all others stay as they are.
    ///
    /// # Errors
    /// [`HydraError::NoClient`] where it is gone. After [`HydraError::Unavailable`] it is undecided.
    pub async fn patch_client(&self, did: &Did, operations: &[PatchOperation]) -> Result<(), HydraError> {
        let patch: Vec<Value> = operations.iter().map(PatchOperation::to_json).collect();
        let request = self
            .client
            .request(Method::PATCH, self.client_url(did)?)
            .header("Accept", "application/json")
            .header("Content-Type", "application/json-patch+json")
            .body(Value::Array(patch).to_string());
        let reply = self.client.send("patch_client", request).await?;
        match reply.status {
            200 if reply.has("client_id", did.as_str()) => Ok(()),
            _ => Err(HydraError::of(&reply)),
        }
    }

    /// Ends all live tokens of a client: opaque ones at once, JWTs for all that introspect.
    ///
    /// # Errors
    /// Every answer that is not Hydra's own 204.
    pub async fn revoke_all_tokens(&self, did: &Did) -> Result<(), HydraError> {
        let mut url = self.admin(&["admin", "oauth2", "tokens"]);
        url.query_pairs_mut().append_pair("client_id", did.as_str());
        let request = self.client.request(Method::DELETE, url).header("Accept", "application/json");
        let reply = self.client.send("revoke_tokens", request).await?;
        match reply.status {
            204 => Ok(()),
            _ => Err(HydraError::of(&reply)),
        }
    }

    fn client_url(&self, did: &Did) -> Result<url::Url, HydraError> {
        if !did.is_addressable() {
            return Err(HydraError::Unaddressable);
        }
        Ok(self.admin(&["admin", "clients", did.as_str()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bindu_identity::{NewRotation, SigningKey};

    fn client(metadata: Value) -> OAuthClient {
        let Value::Object(metadata) = metadata else { panic!("an object") };
        OAuthClient {
            created_at: String::new(),
            name: String::new(),
            scope: String::new(),
            audiences: Vec::new(),
            authentication_method: String::new(),
            grant_types: Vec::new(),
            metadata,
        }
    }

    #[test]
    fn lineage_is_read_and_junk_is_none_of_it() {
        let did: Did = "did:bindu:a:b:c".parse().expect("a DID");
        let [one, two] = [1, 2].map(|seed| SigningKey::from_seed(&[seed; 32]));
        let statement = RotationStatement::sign(&NewRotation {
            did: &did,
            from: &one,
            to: two.public_key(),
            to_second: SigningKey::from_seed(&[3; 32]).public_key(),
            generation: 1,
            prev: None,
            at: "2026-11-26T08:00:00Z",
            until: "2026-12-03T08:00:00Z",
        });
        let binding = SecondKeyBinding::sign(&did, &two);
        let replaced = one.public_key().fingerprint();
        let good = client(json!({
            "generation": 1,
            "replaces": replaced.as_str(),
            "rotations": [5, statement, {"did": did.as_str()}, null, [statement]],
            "second_key_binding": binding,
        }));
        assert_eq!(good.generation(), Some(1));
        assert_eq!(good.replaces(), [replaced]);
        assert_eq!(good.rotations(), std::slice::from_ref(&statement));
        assert_eq!(good.second_key_binding(), Some(binding));
        for junk in
            [json!(null), json!("x y"), json!(-1), json!(1.5), json!({"a": []}), json!(["x"]), json!(true)]
        {
            let bad = client(json!({
                "generation": junk, "replaces": junk, "rotations": junk, "second_key_binding": junk,
            }));
            assert_eq!(
                (bad.generation(), bad.replaces(), bad.rotations(), bad.second_key_binding()),
                (None, vec![], vec![], None),
                "{junk}"
            );
        }
        let many = client(json!({ "rotations": vec![json!(statement); 1000] }));
        assert_eq!(many.rotations().len(), MOST_STATEMENTS);
        assert_eq!(client(json!({})).rotations(), []);
    }
}
