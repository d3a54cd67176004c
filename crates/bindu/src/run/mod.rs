//! One run, read aloud: reserve the port, open the data directory, find or make the identity, listen, serve and
//! reconcile until the process is asked to end.

mod address;
mod build;
pub mod log;
mod outgoing;
mod systemd;

pub use build::{Parts, administered_vault, agent_url};
pub use outgoing::{Outgoing, outgoing};

use crate::{
    ExitClass, Refusal,
    settings::{HandlerChoice, HydraChoice, Settings, registry::SETTINGS},
};
pub use bindu_agent::handler::guard_or_continue;
use bindu_agent::{
    AgentServer, CardProfile, PortError, Probes, ReservedPort, ServerSettings,
    caller::{AuthSettings, Authenticator},
    handler::{CommandHandler, CommandSettings, EchoHandler, Handler},
};
use std::{net::SocketAddr, sync::Arc, time::Instant};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Runs an agent until SIGTERM or Ctrl-C.
///
/// # Errors
/// A [`Refusal`] with its exit code and the hint that mends it.
pub async fn run(settings: Settings, handler: Arc<dyn Handler>) -> Result<(), Refusal> {
    let begun = Instant::now();
    let port = ReservedPort::reserve(&format!("{}:{}", bracketed(&settings.host), settings.port))
        .map_err(port_refusal)?;
    refuse_open_door(&settings, port.address())?;
    let probe_port = settings.probe_listen.as_deref().map(ReservedPort::reserve).transpose();
    let probe_port = probe_port.map_err(port_refusal)?;
    let url = address::own_url(&settings, port.address())?;
    let parts = Parts::open(&settings, &url)?;
    let store = Arc::clone(&parts.keeper.store);
    let ended = until_asked_to_end(Run { settings, handler, url, begun }, parts, (port, probe_port)).await;
    // However it ends, a login of ours is not left behind.
    store.close().await;
    ended
}

struct Run {
    settings: Settings,
    handler: Arc<dyn Handler>,
    url: String,
    begun: Instant,
}

/// Starts the agent and serves on the ports that are reserved for it.
async fn until_asked_to_end(
    Run { settings, handler, url, begun }: Run,
    Parts { keeper, hydra, metrics }: Parts,
    (port, probe_port): (ReservedPort, Option<ReservedPort>),
) -> Result<(), Refusal> {
    let keeper = Arc::new(keeper);
    let mut asked_to_end = ends()?;
    let probes = Probes::new(Arc::clone(&keeper.status), Arc::clone(&metrics));
    let store = Arc::clone(&keeper.store);
    metrics.watch_token(move || store.login_lasts());
    if let Some(port) = probe_port {
        tokio::spawn(Arc::clone(&probes).serve(port.listen().map_err(port_refusal)?));
    }

    systemd::starting();
    let started = tokio::select! {
        started = keeper.start() => started.map(Some),
        () = changed(&mut asked_to_end) => Ok(None),
    };
    let Some(started) = started? else { return Ok(()) };
    let (held, work) = started.split();
    let identity = held.current();
    let outgoing = outgoing(&settings, &keeper, Some(Arc::clone(&held)));
    let store = Arc::clone(&keeper.store);
    let server = AgentServer::new(ServerSettings {
        held: Arc::clone(&held),
        status: Arc::clone(&keeper.status),
        card: CardProfile {
            name: keeper.agent.name.name.clone(),
            author: keeper.agent.name.author.clone(),
            description: settings.description.clone(),
            url: url.clone(),
            version: settings.version.clone(),
        },
        authenticator: hydra
            .zip(settings.hydra.as_ref())
            .map(|(hydra, choice)| Authenticator::new(hydra, auth_settings(&settings, choice, &url))),
        handler,
        client: outgoing.client,
        metrics: Arc::clone(&metrics),
        drain_deadline: settings.drain_deadline,
        limits: settings.http.clone(),
    });
    let listener = port.listen().map_err(port_refusal)?;
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
    let reconciler = {
        let mut asked_to_end = asked_to_end.clone();
        tokio::spawn(async move { keeper.reconcile(work, changed(&mut asked_to_end)).await })
    };
    let kept = tokio::spawn(async move { store.keep().await });
    let tokens = outgoing.tokens.map(|tokens| tokio::spawn(async move { tokens.keep().await }));
    let end = async {
        changed(&mut asked_to_end).await;
        systemd::stopping();
    };
    server.serve(listener, end).await;
    for task in [Some(reconciler), Some(kept), tokens].into_iter().flatten() {
        task.abort();
        let _ = task.await;
    }
    Ok(())
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

fn auth_settings(settings: &Settings, hydra: &HydraChoice, url: &str) -> AuthSettings {
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
        replay_quota: settings.auth.replay_quota,
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

/// A switch that is thrown once, by SIGTERM or SIGINT.
fn ends() -> Result<watch::Receiver<bool>, Refusal> {
    let failed = |error: std::io::Error| {
        Refusal::new(ExitClass::Failed, "the system gives this process no signals", "").because_of(&error)
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (throw, switch) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("asked to end by SIGTERM"),
            _ = interrupt.recv() => tracing::info!("asked to end by SIGINT"),
        }
        let _ = throw.send(true);
        // A second Ctrl-C at a terminal means now.
        interrupt.recv().await;
        std::process::exit(130);
    });
    Ok(switch)
}

async fn changed(switch: &mut watch::Receiver<bool>) {
    // A sender that is gone has thrown it.
    let _ = switch.wait_for(|thrown| *thrown).await;
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
