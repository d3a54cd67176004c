//! A scripted HTTP proxy: counts what passes and what it did to it, delays it, and does to it what networks, proxies and
//! servers in trouble do.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::task::JoinHandle;

/// A request that has passed.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `GET`, `POST` ...
    pub method: String,
    /// Path and query.
    pub path: String,
    /// When it came.
    pub at: Instant,
}

/// What is done to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Passes.
    None,
    /// Is answered by the proxy itself; the server never hears of it.
    Answer(u16, &'static str, &'static str),
    /// Is answered with 429 and `Retry-After: 1`.
    Busy,
    /// Gets no answer at all.
    Hang,
    /// The connection is closed without an answer; the server never hears of it.
    Drop,
    /// Passes after this long.
    Delay(Duration),
    /// Reaches the server; its answer is cut in the middle.
    Cut,
    /// Reaches the server; the answer is lost.
    LoseAnswer,
}

type Script = dyn Fn(&Seen, usize) -> Fault + Send + Sync;

struct Shared {
    upstream: String,
    client: reqwest::Client,
    seen: Mutex<Vec<Seen>>,
    answered: Mutex<Vec<(Seen, u16)>>,
    faults: AtomicUsize,
    latency: Mutex<Duration>,
    /// By how many seconds the server's clock seems to be ahead.
    ahead: Mutex<i64>,
    script: Mutex<Arc<Script>>,
}

/// A running proxy.
pub struct Proxy {
    /// Its address.
    pub url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of a server.
    pub async fn start(upstream: &str) -> Self {
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            client: crate::http::client(),
            seen: Mutex::default(),
            answered: Mutex::default(),
            faults: AtomicUsize::new(0),
            latency: Mutex::default(),
            ahead: Mutex::default(),
            script: Mutex::new(Arc::new(|_, _| Fault::None)),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { _ = axum::serve(listener, router).await });
        Self { url, shared, server }
    }

    /// Delays each request and each answer by this much.
    pub fn delay(&self, each_way: Duration) {
        *lock(&self.shared.latency) = each_way;
    }

    /// Makes the server's clock seem to be this many seconds ahead, in the `Date` of its answers.
    pub fn set_clock_ahead(&self, seconds: i64) {
        *lock(&self.shared.ahead) = seconds;
    }

    /// Says what to do to each request; it is given the request and how many came before it.
    pub fn script(&self, script: impl Fn(&Seen, usize) -> Fault + Send + Sync + 'static) {
        *lock(&self.shared.script) = Arc::new(script);
    }

    /// How many requests a fault was done to, since it was started.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.shared.faults.load(Ordering::SeqCst)
    }

    /// The requests that the server itself has answered since the last time this was asked, with the status of the answer.
    #[must_use]
    pub fn take_answered(&self) -> Vec<(Seen, u16)> {
        std::mem::take(&mut *lock(&self.shared.answered))
    }

    /// What has passed since the last time this was asked.
    #[must_use]
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *lock(&self.shared.seen))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let seen = Seen { method: parts.method.to_string(), path: path.clone(), at: Instant::now() };
    let before = {
        let mut all = lock(&shared.seen);
        all.push(seen.clone());
        all.len() - 1
    };
    let script = Arc::clone(&lock(&shared.script));
    let latency = *lock(&shared.latency);
    let fault = script(&seen, before);
    if fault != Fault::None {
        shared.faults.fetch_add(1, Ordering::SeqCst);
    }
    tokio::time::sleep(latency).await;
    let answer = match fault {
        Fault::Hang => std::future::pending().await,
        // Ends the connection's task, and the connection with it; nothing is printed.
        Fault::Drop => std::panic::resume_unwind(Box::new("dropped by the script")),
        Fault::Busy => (
            StatusCode::TOO_MANY_REQUESTS,
            [("content-type", "application/json"), ("retry-after", "1")],
            "{\"errors\":[]}",
        )
            .into_response(),
        Fault::Answer(status, kind, body) => {
            (StatusCode::from_u16(status).unwrap_or_default(), [("content-type", kind)], body).into_response()
        }
        Fault::None | Fault::Cut | Fault::LoseAnswer | Fault::Delay(_) => {
            if let Fault::Delay(pause) = fault {
                tokio::time::sleep(pause).await;
            }
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
            let url = format!("{}{path}", shared.upstream);
            let mut headers = parts.headers;
            headers.remove("host");
            let request = shared.client.request(parts.method, url).headers(headers).body(body);
            match request.send().await {
                Err(_) => StatusCode::BAD_GATEWAY.into_response(),
                Ok(response) => {
                    let (status, headers) = (response.status(), response.headers().clone());
                    lock(&shared.answered).push((seen, status.as_u16()));
                    let body = response.bytes().await.unwrap_or_default();
                    let body = match fault {
                        Fault::Cut => broken(body.slice(..body.len() / 2)),
                        Fault::LoseAnswer => broken(Bytes::new()),
                        _ => Body::from(body),
                    };
                    let mut answer = (status, body).into_response();
                    for (name, value) in headers.iter().filter(|(name, _)| *name != "transfer-encoding") {
                        answer.headers_mut().insert(name, value.clone());
                    }
                    let ahead = *lock(&shared.ahead);
                    let now = SystemTime::now();
                    let shown = match ahead >= 0 {
                        true => now + Duration::from_secs(ahead.unsigned_abs()),
                        false => now - Duration::from_secs(ahead.unsigned_abs()),
                    };
                    if ahead != 0
                        && let Ok(date) = httpdate::fmt_http_date(shown).parse()
                    {
                        answer.headers_mut().insert("date", date);
                    }
                    answer
                }
            }
        }
    };
    tokio::time::sleep(latency).await;
    answer
}

/// A body that breaks off after these bytes, and takes the connection with it.
fn broken(bytes: Bytes) -> Body {
    let chunks = [Ok(bytes), Err(std::io::Error::other("cut by the script"))];
    Body::from_stream(stream::iter(chunks))
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
