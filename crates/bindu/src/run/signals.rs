//! What signals mean to an agent: SIGTERM, SIGINT and SIGQUIT end it with a drain. No other one ends it without.
//!
//! SIGPIPE is ignored by Rust's runtime; SIGKILL and SIGSTOP are nobody's to handle.

use super::log;
use crate::{ExitClass, Refusal};
use std::io::{IsTerminal as _, stderr, stdin};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The token that is cancelled when the process is asked to end. From now on signals mean what they mean to an agent.
pub(super) fn end() -> Result<CancellationToken, Refusal> {
    let failed = |error: std::io::Error| {
        Refusal::new(ExitClass::Failed, "the system gives this process no signals", "").because_of(&error)
    };
    let mut signals = Signals::new().map_err(failed)?;
    let end = CancellationToken::new();
    let ended = end.clone();
    // A terminal that is gone takes its programs with it; whatever else sends SIGHUP wants a daemon to look around.
    let has_terminal = stdin().is_terminal() || stderr().is_terminal();
    tokio::spawn(async move {
        loop {
            match signals.next().await {
                // A second Ctrl-C at a terminal means now.
                "SIGINT" if ended.is_cancelled() => {
                    log::flush();
                    std::process::exit(130);
                }
                name @ ("SIGTERM" | "SIGINT" | "SIGQUIT") => asked(name, &ended),
                name @ "SIGHUP" if has_terminal => asked(name, &ended),
                "SIGHUP" => tracing::info!(
                    "SIGHUP changes nothing: certificates, tokens and secrets are read from their files when they are \
                     needed, other settings at a start"
                ),
                name => tracing::info!(signal = name, "this signal means nothing to an agent"),
            }
        }
    });
    Ok(end)
}

fn asked(name: &str, end: &CancellationToken) {
    if !end.is_cancelled() {
        tracing::info!("asked to end by {name}");
        end.cancel();
    }
}

struct Signals([(&'static str, Signal); 7]);

impl Signals {
    fn new() -> std::io::Result<Self> {
        let listen = |name, kind| signal(kind).map(|signal| (name, signal));
        Ok(Self([
            listen("SIGTERM", SignalKind::terminate())?,
            listen("SIGINT", SignalKind::interrupt())?,
            listen("SIGQUIT", SignalKind::quit())?,
            listen("SIGHUP", SignalKind::hangup())?,
            listen("SIGUSR1", SignalKind::user_defined1())?,
            listen("SIGUSR2", SignalKind::user_defined2())?,
            listen("SIGALRM", SignalKind::alarm())?,
        ]))
    }

    async fn next(&mut self) -> &'static str {
        std::future::poll_fn(|context| {
            for (name, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
