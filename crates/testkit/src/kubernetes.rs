//! What Vault sees of Kubernetes: a stand-in for the TokenReview API, and tokens of service accounts.
//!
//! It vouches for the tokens that it has issued, as the API server does, and can be told to be in trouble.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Any certificate: the stand-in speaks plain http, and Vault wants to be given one.
pub const ANY_AUTHORITY: &str = include_str!("any-authority.pem");

/// A stand-in for the API server. Ends with the runtime that it was started on.
pub struct Kubernetes {
    /// Its address, for `kubernetes_host`.
    pub url: String,
    issued: Arc<Mutex<HashSet<String>>>,
    is_up: Arc<AtomicBool>,
    reviews: Arc<AtomicU64>,
}

impl Kubernetes {
    /// Starts one.
    ///
    /// # Panics
    /// Where there is no port.
    pub async fn start() -> Self {
        let issued = Arc::new(Mutex::new(HashSet::<String>::new()));
        let (is_up, reviews) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let (known, up, counted) = (Arc::clone(&issued), Arc::clone(&is_up), Arc::clone(&reviews));
        let review = move |axum::Json(body): axum::Json<Value>| {
            counted.fetch_add(1, Ordering::Relaxed);
            let token = body["spec"]["token"].as_str().unwrap_or_default().to_owned();
            let is_known = known.lock().unwrap_or_else(PoisonError::into_inner).contains(&token);
            let answer = up.load(Ordering::Relaxed).then(|| {
                let status = if is_known { vouch(&token, &body) } else { json!({"authenticated": false}) };
                let (version, spec) = ("authentication.k8s.io/v1", &body["spec"]);
                axum::Json(
                    json!({"apiVersion": version, "kind": "TokenReview", "spec": spec, "status": status}),
                )
            });
            async move { answer.ok_or(axum::http::StatusCode::INTERNAL_SERVER_ERROR) }
        };
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let router = axum::Router::new().route(path, axum::routing::post(review));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its own address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, issued, is_up, reviews }
    }

    /// A token of a service account, for this audience and this long.
    pub fn token(&self, (namespace, name): (&str, &str), audience: &str, seconds: u64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let claims = json!({
            "iss": "https://kubernetes.default.svc", "sub": format!("system:serviceaccount:{namespace}:{name}"),
            "aud": [audience], "exp": now + seconds, "iat": now, "nbf": now,
            "kubernetes.io": {
                "namespace": namespace,
                // Accounts are made again: what stays the same is the name.
                "serviceaccount": {"name": name, "uid": format!("{:032x}", rand::random::<u128>())},
            },
        });
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let header = json!({"alg": "RS256", "kid": "stand-in"}).to_string();
        // Its signature is for this server to check, and it knows its own.
        let signature: [u8; 32] = rand::random();
        let token = [header.as_bytes(), claims.to_string().as_bytes(), &signature].map(encode).join(".");
        self.issued.lock().unwrap_or_else(PoisonError::into_inner).insert(token.clone());
        token
    }

    /// Lets it answer, or answer 500 to everything.
    pub fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Relaxed);
    }

    /// How often it was asked.
    #[must_use]
    pub fn reviews(&self) -> u64 {
        self.reviews.load(Ordering::Relaxed)
    }
}

/// What the API server says of a token of its own.
fn vouch(token: &str, review: &Value) -> Value {
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Value = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let user = json!({
        "username": claims["sub"], "uid": claims["kubernetes.io"]["serviceaccount"]["uid"],
        "groups": ["system:serviceaccounts"],
    });
    let asked = review["spec"]["audiences"].as_array();
    let is_for = |audience: &&Value| claims["aud"].as_array().is_some_and(|all| all.contains(audience));
    match asked {
        Some(asked) if !asked.iter().any(|audience| is_for(&audience)) => {
            json!({"authenticated": false, "error": "token audiences do not match"})
        }
        Some(asked) => {
            json!({"authenticated": true, "user": user, "audiences": asked.iter().filter(is_for).collect::<Vec<_>>()})
        }
        None => json!({"authenticated": true, "user": user}),
    }
}
