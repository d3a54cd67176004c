//! Serving: which route has which path, what is counted, and the drain at the end.

use crate::{
    audit::{REQUEST_ID, RequestId},
    connection::ConnectionLimits,
    connections::{self, Stage},
    grpc,
    route::{card, health, identity, internal, page, rest, rpc},
    server::{AgentServer, Phase},
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
use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, time::timeout};
use tower_http::{catch_panic::CatchPanicLayer, cors::CorsLayer};

/// What the task store is given for last words after the drain deadline.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often a drain looks whether it is over.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

impl AgentServer {
    /// Serves until `shutdown` is ready, then drains: new work is refused, what has begun ends and can be fetched, until
    /// the drain deadline; a task store that does not answer prolongs that by 2 s at most.
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
        let begun = Instant::now();
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
        self.tasks.close(self.drain_deadline.saturating_sub(begun.elapsed()).max(LAST_WORDS)).await;
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
