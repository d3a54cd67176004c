//! Callers of an agent: clients of a real Hydra, with tokens and keys.

use crate::{Hydra, http};
use bindu_identity::{
    DerivedKey, Did, SigningKey,
    message_signature::{self, SignedRequest},
    request_signature,
};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

const SECRET: &str = "a secret of a caller";

/// A caller with a client in Hydra. It signs where its id is a DID.
pub struct TestCaller {
    /// Its client id.
    pub id: String,
    /// Its key.
    pub key: SigningKey,
    /// Its token.
    pub token: String,
}

/// Now, in seconds since the epoch.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

impl TestCaller {
    /// Registers a caller with both of its keys, and gets it a token with all of an agent's scopes.
    pub async fn new(hydra: &Hydra, id: &str) -> Self {
        let key = SigningKey::generate().expect("random numbers");
        let keys = json!({
            "public_key": key.public_key().to_string(),
            "derived_public_key": DerivedKey::of(&key).public_key().to_string(),
        });
        let mut caller = Self { id: id.to_owned(), key, token: String::new() };
        Self::register(hydra, id, &keys).await;
        caller.token = caller.new_token(hydra, "openid offline agent:read agent:write").await;
        caller
    }

    /// Registers a client with this metadata.
    pub async fn register(hydra: &Hydra, id: &str, metadata: &Value) {
        hydra
            .register(&json!({
                "client_id": id, "client_secret": SECRET, "grant_types": ["client_credentials"],
                "scope": "openid offline agent:read agent:write agent:execute", "audience": ["an-agent"],
                "token_endpoint_auth_method": "client_secret_post", "metadata": metadata,
            }))
            .await;
    }

    /// Another token with these scopes.
    pub async fn new_token(&self, hydra: &Hydra, scopes: &str) -> String {
        Self::token_of(hydra, &self.id, &[("scope", scopes)]).await
    }

    /// A token of a registered client, with these fields of the form.
    pub async fn token_of(hydra: &Hydra, id: &str, fields: &[(&str, &str)]) -> String {
        let (status, body) = hydra.token_with(id, SECRET, fields).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().expect("a token").to_owned()
    }

    /// Its DID.
    #[must_use]
    pub fn did(&self) -> Did {
        self.id.parse().expect("a DID")
    }

    /// A request in Bindu's form: signed where the caller is a DID.
    pub fn request(&self, url: &str, body: &Value, timestamp: u64) -> reqwest::RequestBuilder {
        self.request_text(url, body.to_string(), timestamp)
    }

    /// The same with a body of any text.
    pub fn request_text(&self, url: &str, body: String, timestamp: u64) -> reqwest::RequestBuilder {
        let request = http::client().post(url).bearer_auth(&self.token);
        let Ok(did) = self.id.parse::<Did>() else { return request.body(body) };
        let signature = request_signature::sign(&self.key, &did, &body, timestamp);
        request
            .header("X-DID", did.as_str())
            .header("X-DID-Timestamp", timestamp.to_string())
            .header("X-DID-Signature", signature.to_string())
            .body(body)
    }

    /// A request with an HTTP message signature (RFC 9421).
    pub fn message(&self, url: &str, body: &Value, nonce: &str) -> reqwest::RequestBuilder {
        let body = body.to_string();
        let none = |_: &str| Vec::new();
        let target: url::Url = url.parse().expect("a URL");
        let signed = SignedRequest {
            method: "POST",
            path: target.path(),
            query: target.query(),
            authority: target.authority(),
            header: &none,
            body: body.as_bytes(),
        };
        let headers = message_signature::sign(&DerivedKey::of(&self.key), &self.did(), &signed, now(), nonce);
        http::client()
            .post(url)
            .bearer_auth(&self.token)
            .header("Content-Digest", headers.content_digest)
            .header("Signature-Input", headers.signature_input)
            .header("Signature", headers.signature)
            .body(body)
    }

    /// Sends a call as of now. Where the agent has only just started and may have run it in an earlier life, it is signed
    /// anew, as its refusal asks for.
    pub async fn send(&self, url: &str, body: &Value) -> http::Answer {
        loop {
            let answer = http::answer(self.request(url, body, now())).await;
            if answer.1["details"]["reason"] != "timestamp_before_start" {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}
