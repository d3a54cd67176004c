//! An agent's server, as its routes see it: its parts, its limits, its phase. [`crate::serve`] has the routes.

use crate::{
    Metrics,
    body::BodyLimits,
    caller::{Authenticator, Beginning},
    card::Cards,
    connections::Stage,
    encoded::EncodedEvents,
    places::{PlaceLimits, Places},
};
use axum::http::HeaderValue;
use bindu_a2a::{A2aError, Json, card::CardProfile};
use bindu_http_client::epoch_seconds;
use bindu_keeper::{HeldIdentity, Identity, Status};
use bindu_tasks::{Limits, PushSender, StorageKind, TaskService, TaskStore, Worker};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The longest body of a request that needs no token.
const LONGEST_PUBLIC_BODY: usize = 64 * 1024;

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

/// An extension of A2A that this agent has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Its URI.
    pub uri: String,
    /// Whether callers must declare it.
    pub is_required: bool,
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
    pub(crate) drain_deadline: Duration,
    pub(crate) drain_grace: Duration,
    pub(crate) limits: HttpLimits,
    pub(crate) phase: AtomicU8,
    pub(crate) stage: watch::Sender<Stage>,
    /// How many calls are being done that change something.
    pub(crate) changes: Arc<AtomicUsize>,
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

    /// What a body may cost that comes without a token.
    pub(crate) fn public_body_limits(&self) -> BodyLimits {
        BodyLimits { bytes: self.body_limits.bytes.min(LONGEST_PUBLIC_BODY), ..self.body_limits }
    }
}
