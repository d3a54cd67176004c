//! One run, read aloud: reserve the port, open the data directory, find or make the identity, listen, serve and
//! reconcile until the process is asked to end.

mod address;
mod build;
mod card;
pub mod log;
mod outgoing;
mod signals;
pub mod storage;
mod supervisor;
mod systemd;

pub use address::agent_url;
pub use build::{Parts, administered_vault};
pub use card::card_profile;
pub use outgoing::{Outgoing, outgoing};

use crate::{
    ExitClass, Refusal,
    settings::{HandlerChoice, HydraChoice, Settings, registry::SETTINGS},
};
pub use bindu_agent::handler::guard_or_continue;
use bindu_agent::{
    AgentServer, HttpPushSender, Metrics, PortError, Probes, ReservedPort, RingSealer, ServerSettings,
    caller::{AuthSettings, Authenticator},
    handler::{CommandHandler, CommandSettings, EchoHandler, Handler, HandlerWorker},
};
use bindu_http_client::{GuardedClient, SystemLookup, TlsSettings};
use bindu_keeper::{HeldIdentity, Keeper, StartedWork};
use bindu_tasks::{Limits, PushSender, Sealer};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use supervisor::{Part, Supervisor};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How many passes of the reconciler may be missing, and how long one may take, before its last one is too old.
const PASSES_MISSED: u32 = 3;
const LONGEST_PASS: Duration = Duration::from_secs(30);

/// How long the connections of gRPC may take to end after the agent has been drained.
const GRPC_END: Duration = Duration::from_secs(2);

/// Runs an agent until SIGTERM or Ctrl-C.
///
/// # Errors
/// A [`Refusal`] with its exit code and the hint that mends it.
pub async fn run(settings: Settings, handler: Arc<dyn Handler>) -> Result<(), Refusal> {
    let end = signals::end()?;
    run_until(settings, handler, end, None).await
}

/// An agent that listens.
pub(crate) struct Listening {
    /// Its URL.
    pub(crate) url: String,
    /// What calls other agents as this one.
    pub(crate) client: bindu_client::AgentClient,
}

/// Runs an agent until a token is cancelled. `ready` is told when it listens.
pub(crate) async fn run_until(
    settings: Settings,
    handler: Arc<dyn Handler>,
    end: CancellationToken,
    ready: Option<oneshot::Sender<Listening>>,
) -> Result<(), Refusal> {
    let begun = Instant::now();
    let port = ReservedPort::reserve(&format!("{}:{}", bracketed(&settings.host), settings.port))
        .map_err(port_refusal)?;
    refuse_open_door(&settings, port.address())?;
    let probe_port = settings.probe_listen.as_deref().map(ReservedPort::reserve).transpose();
    let probe_port = probe_port.map_err(port_refusal)?;
    let grpc_port = settings.grpc_listen.as_deref().map(ReservedPort::reserve).transpose();
    let grpc_port = grpc_port.map_err(port_refusal)?;
    if let Some(port) = &grpc_port {
        refuse_open_door(&settings, port.address())?;
    }
    let url = address::own_url(&settings, port.address())?;
    let parts = Parts::open(&settings, &url)?;
    Run { settings, handler, begun, port, probe_port, grpc_port, url, end, ready }.with(parts).await
}

/// A run of which the ports are reserved.
struct Run {
    settings: Settings,
    handler: Arc<dyn Handler>,
    begun: Instant,
    port: ReservedPort,
    probe_port: Option<ReservedPort>,
    grpc_port: Option<ReservedPort>,
    url: String,
    /// Cancelled when the agent is asked to end.
    end: CancellationToken,
    /// Told when it listens.
    ready: Option<oneshot::Sender<Listening>>,
}

impl Run {
    /// Starts and serves with these parts.
    async fn with(self, parts: Parts) -> Result<(), Refusal> {
        let status = Arc::clone(&parts.keeper.status);
        let supervisor = Supervisor::new(status, Arc::clone(&parts.metrics));
        let store = Arc::clone(&parts.keeper.store);
        let ended = self.until_asked_to_end(parts, &supervisor).await;
        // Nobody may log in any more when the login is given back; and however it ends, it is not left behind.
        supervisor.stop().await;
        store.close().await;
        ended
    }

    async fn until_asked_to_end(
        self,
        Parts { keeper, hydra, metrics }: Parts,
        supervisor: &Supervisor,
    ) -> Result<(), Refusal> {
        let Self { settings, handler, begun, port, probe_port, grpc_port, url, end, ready } = self;
        let keeper = Arc::new(keeper);
        let probes = Probes::new(Arc::clone(&keeper.status), Arc::clone(&metrics));
        let store = Arc::clone(&keeper.store);
        metrics.watch_token(move || store.login_lasts());
        metrics.watch_log(log::dropped);
        if let Some(port) = probe_port {
            watch_probes(supervisor, &probes, port)?;
        }
        systemd::starting();
        let prepared = storage::prepare(&settings, keeper.agent.did.as_str(), keeper.directory.is_some());
        let started = tokio::select! {
            started = keeper.start() => started.map(Some),
            () = end.cancelled() => Ok(None),
        };
        // However the start has gone: what was prepared is used, or removed.
        let prepared = prepared.await.ok().flatten();
        let Some(started) = started? else { return Ok(()) };
        let (held, work) = started.split();
        let identity = held.current();
        let outgoing = outgoing(&settings, &keeper, Some(Arc::clone(&held)));
        let directory_is_ours = keeper.directory.is_some() && keeper.status.snapshot().directory.is_none();
        let sealer: Arc<dyn Sealer> = Arc::new(RingSealer::new(Arc::clone(&held)));
        let task_store =
            storage::open(&settings, identity.did.as_str(), (directory_is_ours, prepared), Some(sealer))
                .await?;
        if task_store.kind().is_remote() {
            keeper.status.await_task_store();
        }
        let client = outgoing.client.clone();
        let server = AgentServer::new(ServerSettings {
            held: Arc::clone(&held),
            status: Arc::clone(&keeper.status),
            card: card_profile(&settings, &keeper.agent.name, &url),
            authenticator: hydra.zip(settings.hydra.as_ref()).map(|(hydra, choice)| {
                let own_id = identity.did.to_string();
                Authenticator::new(hydra, auth_settings(&settings, choice, &url, own_id))
            }),
            concurrency: settings.auth.concurrency,
            store: Arc::clone(&task_store),
            worker: Arc::new(
                HandlerWorker::new(Arc::clone(&held), handler, outgoing.client).resumable(settings.resumable),
            ),
            task_limits: Limits { push: settings.push.enabled, ..Limits::default() },
            push: push_sender(&settings, &held, &metrics),
            extensions: card::extensions(),
            metrics: Arc::clone(&metrics),
            drain_deadline: settings.drain_deadline,
            drain_grace: settings.drain_grace,
            limits: settings.http.clone(),
        });
        let listener = port.listen().map_err(port_refusal)?;
        let grpc = match grpc_port.map(ReservedPort::listen).transpose().map_err(port_refusal)? {
            Some(listener) => {
                let server = Arc::clone(&server);
                Some(tokio::spawn(async move { server.serve_grpc(listener).await }))
            }
            None => None,
        };
        probes.started(Arc::clone(&server));
        metrics.started(begun.elapsed());
        tracing::info!(
            did = %identity.did,
            key = %identity.public_key.fingerprint(),
            url,
            milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            "listening"
        );
        systemd::ready(&identity.did.to_string());
        if let Some(ready) = ready {
            let _ = ready.send(Listening { url: url.clone(), client });
        }
        watch_keeper(supervisor, &keeper, work, end.clone());
        let tasks = Arc::clone(&server);
        supervisor.watch(Part::Tasks, move || {
            let tasks = Arc::clone(&tasks);
            async move { tasks.maintain_tasks().await }
        });
        let (watched, status) = (task_store, Arc::clone(&keeper.status));
        supervisor.watch(Part::TaskStore, move || storage::watch(Arc::clone(&watched), Arc::clone(&status)));
        let pushes = Arc::clone(&server);
        supervisor.watch(Part::Pushes, move || {
            let pushes = Arc::clone(&pushes);
            async move { pushes.deliver_pushes().await }
        });
        if let Some(tokens) = outgoing.tokens {
            supervisor.watch(Part::OwnTokens, move || {
                let tokens = Arc::clone(&tokens);
                async move { tokens.keep().await }
            });
        }
        let asked = async {
            end.cancelled().await;
            systemd::stopping();
        };
        server.serve(listener, asked).await;
        if let Some(grpc) = grpc {
            let _ = tokio::time::timeout(GRPC_END, grpc).await;
        }
        Ok(())
    }
}

/// What sends events of tasks, if it is on.
fn push_sender(
    settings: &Settings,
    held: &Arc<HeldIdentity>,
    metrics: &Arc<Metrics>,
) -> Option<Arc<dyn PushSender>> {
    if !settings.push.enabled {
        return None;
    }
    let (allowed, timeout) = (settings.push.allowed.clone(), Limits::default().push_timeout);
    let client = GuardedClient::new(allowed, timeout, TlsSettings::default(), SystemLookup);
    Some(Arc::new(HttpPushSender::new(client, Arc::clone(held), Arc::clone(metrics))))
}

/// The probes answer for as long as the agent runs, a drain included.
fn watch_probes(supervisor: &Supervisor, probes: &Arc<Probes>, port: ReservedPort) -> Result<(), Refusal> {
    let failed = |error: std::io::Error| {
        Refusal::new(ExitClass::Failed, "the system gives no socket for the probes", "raise its limits")
            .because_of(&error)
    };
    let listener = port.listen().map_err(port_refusal)?.into_std().map_err(failed)?;
    let probes = Arc::clone(probes);
    supervisor.watch(Part::ProbeServer, move || {
        let (probes, listener) = (Arc::clone(&probes), listener.try_clone());
        async move {
            match listener.and_then(tokio::net::TcpListener::from_std) {
                Ok(listener) => probes.serve(listener).await,
                Err(error) => tracing::error!(%error, "the probes have no socket"),
            }
        }
    });
    Ok(())
}

/// The reconciler, until the agent is asked to end, and what keeps the login.
fn watch_keeper(supervisor: &Supervisor, keeper: &Arc<Keeper>, work: StartedWork, end: CancellationToken) {
    keeper.status.expect_passes(keeper.reconcile_interval.saturating_mul(PASSES_MISSED) + LONGEST_PASS);
    let reconciling = Arc::clone(keeper);
    // Only the first reconciler of a run gets what the start has seen.
    let again = work.again();
    let mut work = Some(work);
    supervisor.watch_until(Part::Reconciler, end, move || {
        let (keeper, work) = (Arc::clone(&reconciling), work.take().unwrap_or_else(|| again.again()));
        async move { keeper.reconcile(work, std::future::pending()).await }
    });
    let store = Arc::clone(&keeper.store);
    supervisor.watch(Part::StoreLogin, move || {
        let store = Arc::clone(&store);
        async move { store.keep().await }
    });
}

/// The handler that the settings name. A program needs [`guard_or_continue`] at the start of `main`, and a process that
/// has no other children.
#[must_use]
pub fn handler(choice: &HandlerChoice) -> Arc<dyn Handler> {
    match choice {
        HandlerChoice::Unnamed => {
            tracing::info!("no handler is named: answering with what is said (--command names a program)");
            Arc::new(EchoHandler)
        }
        HandlerChoice::Echo => Arc::new(EchoHandler),
        HandlerChoice::Command { command, timeout, workers } => {
            Arc::new(CommandHandler::new(CommandSettings {
                command: command.clone(),
                timeout: *timeout,
                workers: *workers,
                hidden_variables: secret_variables(),
                errors: Some(log::relay),
                owns_process: true,
            }))
        }
    }
}

/// The variables that hold secrets.
fn secret_variables() -> Vec<String> {
    let secrets = SETTINGS.iter().filter(|setting| setting.secret);
    secrets.flat_map(|setting| setting.variables).map(|name| (*name).to_owned()).collect()
}

/// Anybody on the network could call an agent that listens there without authentication: that must be said outright.
fn refuse_open_door(settings: &Settings, address: SocketAddr) -> Result<(), Refusal> {
    if settings.hydra.is_some() || settings.open_on_purpose || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(Refusal::new(
        ExitClass::Usage,
        format!(
            "{address} can be reached from the network, and nobody has said who may call; nothing was changed"
        ),
        "set AUTH__ENABLED=true with HYDRA__ADMIN_URL and HYDRA__PUBLIC_URL; or AUTH__ENABLED=false to let everybody \
         in; or listen on 127.0.0.1",
    ))
}

fn auth_settings(settings: &Settings, hydra: &HydraChoice, url: &str, own_id: String) -> AuthSettings {
    // RFC 9728 §3.1: the well-known part comes between the host and the path.
    let metadata = |url: &url::Url| {
        let path = url.path().trim_end_matches('/');
        let origin = url.origin().ascii_serialization();
        format!("{origin}/.well-known/oauth-protected-resource{path}")
    };
    // Behind a name that was given, requests are for that name, whatever their `Host` header says.
    let authority = settings.deployment_url.as_ref().and_then(|url| {
        let host = url.host_str()?;
        Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
    });
    AuthSettings {
        timeout: hydra.timeout,
        token: settings.auth.token.clone(),
        permit: settings.auth.permit.clone(),
        pinned_keys: settings.auth.pinned_keys.clone(),
        own_id,
        authority,
        path_prefix: settings
            .deployment_url
            .as_ref()
            .map(|url| url.path().trim_end_matches('/').to_owned())
            .unwrap_or_default(),
        resource_metadata: url.parse().as_ref().map(metadata).unwrap_or_default(),
        authorization_server: hydra.public_url.as_str().trim_end_matches('/').to_owned(),
    }
}

/// Keeps other processes from the memory and the environment of this one, which hold every secret: a core file, a
/// debugger, `/proc/PID/environ` for a program of the same user. Where the limit can't be set, the operator's own one
/// stays. What is started from here can be looked at again.
pub fn keep_to_itself() {
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

fn port_refusal(error: PortError) -> Refusal {
    let hint = match error.source.kind() {
        std::io::ErrorKind::AddrInUse => {
            "another process uses this port: end it, or choose another with --port or BINDU_PORT".to_owned()
        }
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege; choose another with --port".to_owned()
        }
        _ => "choose an address of this machine with --host or BINDU_HOST".to_owned(),
    };
    Refusal::new(
        ExitClass::Usage,
        if error.operation == "listen on" {
            error.to_string()
        } else {
            format!("{error}; nothing was changed")
        },
        hint,
    )
    .because(&error.source)
}

#[cfg(test)]
mod tests;
