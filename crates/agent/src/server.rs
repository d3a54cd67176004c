//! The HTTP server: its routes, its limits, its end.

use crate::{
    Metrics,
    caller::Authenticator,
    card::CardProfile,
    handler::Handler,
    route::{health, identity, rpc},
    task::{TaskRunner, Tasks},
};
use axum::{
    Router,
    body::HttpBody as _,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::Method,
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use bindu_http::epoch_seconds;
use bindu_keeper::{HeldIdentity, Identity, Status};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, sync::watch, time::timeout};

/// The longest request body, in bytes: Python Bindu's limit for signed ones.
const LONGEST_BODY: usize = 2 * 1024 * 1024;

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
    /// What answers.
    pub handler: Arc<dyn Handler>,
    /// What counts.
    pub metrics: Arc<Metrics>,
    /// How long a drain waits for requests and tasks.
    pub drain_deadline: Duration,
}

/// An agent's server.
pub struct AgentServer {
    pub(crate) held: Arc<HeldIdentity>,
    pub(crate) status: Arc<Status>,
    pub(crate) card: CardProfile,
    pub(crate) authenticator: Option<Authenticator>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) runner: TaskRunner,
    pub(crate) started: Instant,
    /// Seconds since the epoch.
    pub(crate) started_at: u64,
    handler: Arc<dyn Handler>,
    drain_deadline: Duration,
    phase: AtomicU8,
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
        let tasks = Arc::new(Tasks::default());
        let runner =
            TaskRunner::new(Arc::clone(&tasks), Arc::clone(&settings.held), Arc::clone(&settings.handler));
        Arc::new(Self {
            held: settings.held,
            status: settings.status,
            card: settings.card,
            authenticator: settings.authenticator,
            metrics: settings.metrics,
            tasks,
            runner,
            started: Instant::now(),
            started_at: epoch_seconds(),
            handler: settings.handler,
            drain_deadline: settings.drain_deadline,
            phase: AtomicU8::new(0),
        })
    }

    pub(crate) fn identity(&self) -> Arc<Identity> {
        self.held.current()
    }

    /// Where the server stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.phase.load(Ordering::Relaxed) == 0 { Phase::Serving } else { Phase::Draining }
    }

    /// Serves until `shutdown` is ready, then ends what has begun: requests and tasks, until the drain deadline.
    ///
    /// # Errors
    /// Where connections can't be accepted any more.
    pub async fn serve(
        self: &Arc<Self>,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> std::io::Result<()> {
        let (drain, mut draining) = watch::channel(false);
        let serving = axum::serve(listener, self.router()).with_graceful_shutdown(async move {
            // An error is a sender that is gone, which ends the server as well.
            let _ = draining.wait_for(|begun| *begun).await;
        });
        let serving = serving.into_future();
        tokio::pin!(serving, shutdown);
        tokio::select! {
            ended = &mut serving => return ended,
            () = &mut shutdown => {}
        }
        self.phase.store(1, Ordering::Relaxed);
        tracing::info!(tasks = self.tasks.active(), "draining");
        let ended = timeout(self.drain_deadline, async {
            while self.tasks.active() > 0 {
                tokio::select! {
                    // Requests go on being answered, so that callers can fetch what the last tasks bring.
                    ended = &mut serving => return ended,
                    () = tokio::time::sleep(Duration::from_millis(20)) => {}
                }
            }
            let _ = drain.send(true);
            (&mut serving).await
        })
        .await;
        self.handler.close().await;
        match ended {
            Ok(ended) => ended,
            Err(_) => {
                tracing::warn!(tasks = self.tasks.active(), "the drain deadline has passed");
                Ok(())
            }
        }
    }

    fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/", get(identity::root).post(rpc::call))
            .route("/.well-known/agent.json", get(identity::card).options(identity::card))
            .route("/.well-known/did.json", get(identity::did_web))
            .route("/did/resolve", get(identity::resolve_get).post(identity::resolve_post))
            .route("/agent/skills", get(identity::skills))
            .route("/agent/skills/{id}", get(identity::skill))
            .route("/agent/skills/{id}/documentation", get(identity::skill))
            .route("/agent/negotiation", post(identity::negotiation))
            .route("/health", get(health::health))
            .route("/livez", get(health::livez))
            .route("/readyz", get(health::readyz))
            .route("/metrics", get(health::metrics))
            .layer(DefaultBodyLimit::max(LONGEST_BODY))
            .layer(middleware::from_fn_with_state(Arc::clone(self), count))
            .with_state(Arc::clone(self))
    }
}

/// Counts each request under its route, never under its path: paths are the caller's.
async fn count(State(server): State<Arc<AgentServer>>, request: Request, next: Next) -> Response {
    let method = method_label(request.method());
    let endpoint =
        request.extensions().get::<MatchedPath>().map_or("other", |path| endpoint_label(path.as_str()));
    server.metrics.request_begins();
    let begun = Instant::now();
    let response = next.run(request).await;
    let bytes = response.body().size_hint().exact().unwrap_or(0);
    server.metrics.request_ends((method, endpoint, response.status().as_u16()), begun.elapsed(), bytes);
    response
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
    const ROUTES: [&str; 12] = [
        "/",
        "/.well-known/agent.json",
        "/.well-known/did.json",
        "/did/resolve",
        "/agent/skills",
        "/agent/skills/{id}",
        "/agent/skills/{id}/documentation",
        "/agent/negotiation",
        "/health",
        "/livez",
        "/readyz",
        "/metrics",
    ];
    ROUTES.into_iter().find(|known| *known == route).unwrap_or("other")
}
