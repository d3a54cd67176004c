//! OAuth clients on the admin port.

use crate::{Hydra, HydraError};
use bindu_http_client::Method;
use bindu_identity::Did;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

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
    /// What the agents keep there: `public_key`, `agent_url`, our own `key_version`.
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

    /// The version of the keys record that `public_key` came from, where we wrote it.
    #[must_use]
    pub fn key_version(&self) -> Option<u64> {
        self.metadata.get("key_version").and_then(Value::as_u64)
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
            "grant_types": ["client_credentials", "authorization_code", "refresh_token"],
            "response_types": ["code", "token"],
            "scope": self.scopes.join(" "),
            "audience": self.audiences,
            "token_endpoint_auth_method": "client_secret_post",
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
        Ok(Some(OAuthClient {
            created_at: text("created_at"),
            name: text("client_name"),
            scope: text("scope"),
            audiences: body
                .get("audience")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|audience| audience.as_str().map(str::to_owned))
                .collect(),
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
        let patch: Vec<Value> = operations
            .iter()
            .map(|operation| json!({"op": "add", "path": operation.path, "value": operation.value}))
            .collect();
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

    fn client_url(&self, did: &Did) -> Result<url::Url, HydraError> {
        if !did.is_addressable() {
            return Err(HydraError::Unaddressable);
        }
        Ok(self.admin(&["admin", "clients", did.as_str()]))
    }
}
