//! A receiver of push notifications: a real server that answers by script and keeps what it got.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header::LOCATION},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

/// What a receiver got, and how it answered.
#[derive(Clone)]
pub(super) struct Got {
    pub(super) at: Instant,
    pub(super) status: u16,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// What an event of A2A 1.0 is, and of which task: `task 1`, `TASK_STATE_COMPLETED 1` for example.
    pub(super) fn event(&self) -> String {
        let event = self.json();
        let (kind, value) = event.as_object().and_then(|members| members.iter().next()).expect("a member");
        match kind.as_str() {
            "task" => format!("task {}", value["id"].as_str().unwrap()),
            "statusUpdate" => {
                let state = value["status"]["state"].as_str().unwrap();
                format!("{state} {}", value["taskId"].as_str().unwrap())
            }
            other => format!("{other} {}", value["taskId"].as_str().unwrap()),
        }
    }

    /// As a verifier of signatures wants it.
    pub(super) fn for_verifier(&self, jwks: &Value) -> Value {
        use base64::Engine as _;
        let headers: serde_json::Map<_, _> =
            self.headers.keys().map(|name| (name.to_string(), json!(self.header(name.as_str())))).collect();
        let body = base64::engine::general_purpose::STANDARD.encode(&self.body);
        json!({"method": "POST", "target": self.target, "headers": headers, "body": body, "jwks": jwks})
    }
}

#[derive(Default)]
struct Shared {
    /// The statuses of the next answers; then the last one for ever.
    script: Mutex<VecDeque<u16>>,
    always: Mutex<u16>,
    location: Mutex<String>,
    got: Mutex<Vec<Got>>,
}

/// A receiver.
pub(super) struct Receiver {
    pub(super) port: u16,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

impl Receiver {
    /// One that answers with this status.
    pub(super) async fn start(status: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { always: Mutex::new(status), ..Shared::default() });
        let router = Router::new().fallback(take).with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, shared, _serving: AbortOnDropHandle::new(serving) }
    }

    /// Its next answers, before the usual one.
    pub(super) fn answers(&self, statuses: impl IntoIterator<Item = u16>) {
        lock(&self.shared.script).extend(statuses);
    }

    /// Its usual answer from now on.
    pub(super) fn always(&self, status: u16) {
        *lock(&self.shared.always) = status;
    }

    /// Where its redirects lead.
    pub(super) fn redirects_to(&self, url: &str) {
        url.clone_into(&mut lock(&self.shared.location));
    }

    pub(super) fn got(&self) -> Vec<Got> {
        lock(&self.shared.got).clone()
    }

    /// The events that it has taken, in order.
    pub(super) fn taken(&self) -> Vec<String> {
        self.got().iter().filter(|got| got.status == 200).map(Got::event).collect()
    }

    /// Waits until it has taken the end of a task.
    pub(super) async fn has_the_end(&self, task: &str) {
        let end = format!("TASK_STATE_COMPLETED {task}");
        super::patiently("the receiver has the end", async || self.taken().contains(&end)).await;
    }
}

async fn take(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let next = lock(&shared.script).pop_front();
    let status = next.unwrap_or(*lock(&shared.always));
    let target = if method == Method::POST { uri.to_string() } else { format!("{method} {uri}") };
    lock(&shared.got).push(Got { at: Instant::now(), status, target, headers, body });
    let location = lock(&shared.location).clone();
    (StatusCode::from_u16(status).unwrap(), [(LOCATION, location)]).into_response()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
