//! The HTTP server: its routes, its limits, its end.

use crate::{
    Metrics,
    audit::{REQUEST_ID, RequestId},
    body::BodyLimits,
    caller::{Authenticator, Beginning},
    card::Cards,
    connections::{self, ConnectionLimits, Stage},
    grpc,
    places::{PlaceLimits, Places},
    route::{EncodedEvents, Extension, card, health, identity, internal, page, rest, rpc},
};
use axum::{
    Router,
    body::HttpBody as _,
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, Version, header},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use bindu_a2a::{A2aError, Json, card::CardProfile};
use bindu_http_client::epoch_seconds;
use bindu_keeper::{HeldIdentity, Identity, Status};
use bindu_tasks::{Limits, PushSender, StorageKind, TaskService, TaskStore, Worker};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tower_http::{catch_panic::CatchPanicLayer, cors::CorsLayer};

/// The longest body of a request that needs no token.
const LONGEST_PUBLIC_BODY: usize = 64 * 1024;

/// How often a drain looks whether it is over.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// What a request and a connection may cost.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// The longest request body, in bytes.
    pub body: usize,
    /// How long a request's headers may take.
    pub header_timeout: Duration,
    /// How long its body may take.
    pub body_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// How long an answer or an event may lie there without its reader taking any of it.
    pub write_timeout: Duration,
    /// How long a stream is silent before it says that it is there.
    pub keep_alive: Duration,
    /// How many connections there are at a time.
    pub connections: usize,
    /// The origins of web pages that may call; none for no answer to a browser's question.
    pub cors_origins: Vec<HeaderValue>,
}

/// What a server is made of.
pub struct ServerSettings {
    /// Who the agent is.
    pub held: Arc<HeldIdentity>,
    /// What the keeper says of the dependencies.
    pub status: Arc<Status>,
    /// What the card says.
    pub card: CardProfile,
    /// Who finds out who is calling; `None` lets everybody in.
    pub authenticator: Option<Authenticator>,
    /// How many requests of one caller are worked on at a time.
    pub concurrency: usize,
    /// Where tasks are kept.
    pub store: Arc<dyn TaskStore>,
    /// What answers.
    pub worker: Arc<dyn Worker>,
    /// What tasks may cost.
    pub task_limits: Limits,
    /// What sends events to where callers have asked for them.
    pub push: Option<Arc<dyn PushSender>>,
    /// The extensions of A2A that the card names.
    pub extensions: Vec<Extension>,
    /// What counts.
    pub metrics: Arc<Metrics>,
    /// How long a drain waits for requests and tasks.
    pub drain_deadline: Duration,
    /// How long a result can be fetched after its task has ended, within that.
    pub drain_grace: Duration,
    /// What requests and connections may cost.
    pub limits: HttpLimits,
}

/// An agent's server.
pub struct AgentServer {
    pub(crate) held: Arc<HeldIdentity>,
    pub(crate) status: Arc<Status>,
    pub(crate) cards: Cards,
    pub(crate) authenticator: Option<Authenticator>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: TaskService,
    pub(crate) storage: StorageKind,
    pub(crate) beginning: Beginning,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) places: Places,
    pub(crate) encoded: Arc<EncodedEvents>,
    /// Cancelled when what still streams has to end.
    pub(crate) closing: CancellationToken,
    pub(crate) started: Instant,
    pub(crate) body_limits: BodyLimits,
    drain_deadline: Duration,
    drain_grace: Duration,
    limits: HttpLimits,
    phase: AtomicU8,
    stage: watch::Sender<Stage>,
    /// How many calls are being done that change something.
    changes: Arc<AtomicUsize>,
}

/// Counts down when it is dropped.
struct OnDrop(Arc<AtomicUsize>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Where a server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It answers.
    Serving,
    /// It ends what it has begun.
    Draining,
}

impl Phase {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
        }
    }
}

impl AgentServer {
    /// A server with these settings.
    #[must_use]
    pub fn new(settings: ServerSettings) -> Arc<Self> {
        let beginning = Beginning::now(settings.store.lasts());
        let storage = settings.store.kind();
        settings.metrics.watch_storage(&settings.store);
        let places = PlaceLimits { requests: settings.concurrency, body: settings.limits.body };
        let started_at = epoch_seconds();
        let tasks = TaskService::new(settings.store, settings.worker, settings.task_limits);
        let tasks = match settings.push {
            Some(sender) => tasks.with_push_sender(sender),
            None => tasks,
        };
        Arc::new(Self {
            held: settings.held,
            status: settings.status,
            cards: Cards::new(settings.card, started_at),
            authenticator: settings.authenticator,
            metrics: settings.metrics,
            tasks,
            storage,
            beginning,
            extensions: settings.extensions,
            places: Places::new(places),
            encoded: Arc::default(),
            closing: CancellationToken::new(),
            started: Instant::now(),
            body_limits: BodyLimits { bytes: settings.limits.body, timeout: settings.limits.body_timeout },
            drain_deadline: settings.drain_deadline,
            drain_grace: settings.drain_grace,
            limits: settings.limits,
            phase: AtomicU8::new(0),
            stage: watch::Sender::new(Stage::Serving),
            changes: Arc::default(),
        })
    }

    pub(crate) fn identity(&self) -> Arc<Identity> {
        self.held.current()
    }

    /// The upkeep of the tasks. Never ends.
    pub async fn maintain_tasks(&self) {
        self.tasks.maintain().await;
    }

    /// Sends events to where callers have asked for them. Never ends.
    pub async fn deliver_pushes(&self) {
        self.tasks.deliver_pushes().await;
    }

    /// Counts a call that changes something, until what this returns is dropped.
    pub(crate) fn change_begins(&self) -> impl Drop + use<> {
        let (changes, guard) = (Arc::clone(&self.changes), OnDrop(Arc::clone(&self.changes)));
        changes.fetch_add(1, Ordering::SeqCst);
        guard
    }

    pub(crate) fn write_timeout(&self) -> Duration {
        self.limits.write_timeout
    }

    pub(crate) fn stream_keep_alive(&self) -> Duration {
        self.limits.keep_alive
    }

    /// The card for a caller that is known, of which this is the client's id; `None` while authentication is off.
    ///
    /// # Errors
    /// [`A2aError::UnsupportedOperation`] if this agent has none.
    pub fn extended_card(&self, client_id: Option<&str>) -> Result<Json, A2aError> {
        self.cards.extended(&self.identity(), client_id)
    }

    /// Where the server stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.phase.load(Ordering::Relaxed) == 0 { Phase::Serving } else { Phase::Draining }
    }

    /// Serves until `shutdown` is ready, then drains: new work is refused, what has begun ends and can be fetched, until
    /// the drain deadline.
    pub async fn serve(self: &Arc<Self>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let stage = &self.stage;
        let serving =
            connections::serve(listener, self.router(), self.connection_limits(), stage.subscribe());
        tokio::pin!(serving, shutdown);
        tokio::select! {
            () = &mut serving => return,
            () = &mut shutdown => {}
        }
        self.phase.store(1, Ordering::Relaxed);
        tracing::info!(tasks = self.tasks.active(), "draining");
        self.tasks.drain();
        stage.send_replace(Stage::Draining);
        let ended = timeout(self.drain_deadline, async {
            tokio::select! {
                // Requests go on being answered, so that callers can fetch what the last tasks bring.
                () = &mut serving => return,
                () = self.is_drained() => {}
            }
            self.closing.cancel();
            stage.send_replace(Stage::Closing);
            (&mut serving).await;
        })
        .await;
        self.closing.cancel();
        self.stage.send_replace(Stage::Closing);
        self.tasks.close().await;
        if ended.is_err() {
            tracing::warn!(tasks = self.tasks.active(), "the drain deadline has passed");
        }
    }

    /// Serves gRPC until the server is drained.
    pub async fn serve_grpc(self: &Arc<Self>, listener: TcpListener) {
        let router = Router::new()
            .fallback(grpc::call)
            .layer(CatchPanicLayer::custom(|_| panicked()))
            .layer(middleware::from_fn_with_state(Arc::clone(self), count))
            .with_state(Arc::clone(self));
        connections::serve_http2(listener, router, self.connection_limits(), self.stage.subscribe()).await;
    }

    fn connection_limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            most: self.limits.connections,
            header_timeout: self.limits.header_timeout,
            idle_timeout: self.limits.idle_timeout,
            write_timeout: self.limits.write_timeout,
        }
    }

    /// Waits until no task is worked on, and each result was fetched or could be for long enough.
    async fn is_drained(&self) {
        let mut look = tokio::time::interval(DRAIN_LOOK);
        loop {
            look.tick().await;
            // First: what is counted no more is a task, or nothing.
            let changes = self.changes.load(Ordering::SeqCst);
            if changes == 0 && self.tasks.active() == 0 && !self.tasks.has_unread(self.drain_grace) {
                return;
            }
        }
    }

    /// What a body may cost that comes without a token.
    pub(crate) fn public_body_limits(&self) -> BodyLimits {
        BodyLimits { bytes: self.body_limits.bytes.min(LONGEST_PUBLIC_BODY), ..self.body_limits }
    }

    fn router(self: &Arc<Self>) -> Router {
        let router = Router::new()
            .route("/", get(page::root).post(rpc::call))
            .route("/.well-known/agent-card.json", get(card::agent_card))
            .route("/.well-known/agent.json", get(card::bindu_card).options(card::bindu_card))
            .route("/.well-known/did.json", get(identity::did_web))
            .route("/.well-known/jwks.json", get(identity::key_set))
            .route("/.well-known/did-rotation.json", get(identity::rotations))
            .route("/.well-known/oauth-protected-resource", get(identity::protected_resource))
            .route("/.well-known/oauth-protected-resource/{*path}", get(identity::protected_resource))
            .route("/did/resolve", get(identity::resolve_get).post(identity::resolve_post))
            .route("/agent/skills", get(card::skills))
            .route("/agent/skills/{id}", get(card::skill))
            .route("/agent/skills/{id}/documentation", get(card::documentation))
            .route("/agent/negotiation", post(card::negotiation))
            .route("/agent/private.json", get(card::private_card))
            .route("/health", get(health::health))
            .route("/livez", get(health::livez))
            .route("/readyz", get(health::readyz))
            .route("/metrics", get(health::metrics))
            .fallback(rest::call)
            .layer(CatchPanicLayer::custom(|_| panicked()))
            .layer(middleware::from_fn_with_state(Arc::clone(self), count))
            .with_state(Arc::clone(self));
        if self.limits.cors_origins.is_empty() { router } else { router.layer(self.cross_origin()) }
    }

    /// What browsers are told about pages of other origins. Without credentials: a page sends its token itself.
    fn cross_origin(&self) -> CorsLayer {
        let headers = ["x-did", "x-did-timestamp", "x-did-signature", "signature", "signature-input"];
        let of_a2a = ["a2a-version", "a2a-extensions", "last-event-id", "content-digest", REQUEST_ID];
        let headers = headers.into_iter().chain(of_a2a).map(HeaderName::from_static);
        CorsLayer::new()
            .allow_origin(self.limits.cors_origins.clone())
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers(headers.chain([header::AUTHORIZATION, header::CONTENT_TYPE]).collect::<Vec<_>>())
            .expose_headers([
                HeaderName::from_static(REQUEST_ID),
                HeaderName::from_static("a2a-version"),
                HeaderName::from_static("a2a-extensions"),
                header::ETAG,
                header::WWW_AUTHENTICATE,
                header::RETRY_AFTER,
            ])
    }
}

/// The answer where a request met a bug of ours. The panic itself is in the log, and not for the caller.
fn panicked() -> Response {
    internal(StatusCode::INTERNAL_SERVER_ERROR, "The agent could not answer this request")
}

/// Names each request, and counts it under its route, never under its path: paths are the caller's.
async fn count(State(server): State<Arc<AgentServer>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let method = method_label(request.method());
    let endpoint = match request.extensions().get::<MatchedPath>() {
        Some(path) => endpoint_label(path.as_str()),
        None if is_grpc(&request) => "grpc",
        None if bindu_a2a::rest::is_path(request.uri().path()) => "a2a",
        None => "other",
    };
    server.metrics.request_begins();
    let begun = Instant::now();
    let mut response = next.run(request).await;
    response.headers_mut().insert(HeaderName::from_static(REQUEST_ID), id.0);
    if server.phase() == Phase::Draining && response.version() != Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let bytes = response.body().size_hint().exact().unwrap_or(0);
    server.metrics.request_ends((method, endpoint, response.status().as_u16()), begun.elapsed(), bytes);
    response
}

fn is_grpc(request: &Request) -> bool {
    request.version() == Version::HTTP_2
}

fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

fn endpoint_label(route: &str) -> &'static str {
    const ROUTES: [&str; 18] = [
        "/",
        "/.well-known/agent-card.json",
        "/.well-known/agent.json",
        "/.well-known/did.json",
        "/.well-known/jwks.json",
        "/.well-known/did-rotation.json",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/{*path}",
        "/did/resolve",
        "/agent/skills",
        "/agent/skills/{id}",
        "/agent/skills/{id}/documentation",
        "/agent/negotiation",
        "/agent/private.json",
        "/health",
        "/livez",
        "/readyz",
        "/metrics",
    ];
    ROUTES.into_iter().find(|known| *known == route).unwrap_or("other")
}
