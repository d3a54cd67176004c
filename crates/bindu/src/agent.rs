//! The builder for an agent written in Rust.

use crate::{
    AgentError, ExitClass, Refusal, report,
    run::{self, log},
    settings::{Layers, Settings},
};
use bindu_agent::handler::Handler;
use std::{process::ExitCode, sync::Arc};
use tokio_util::sync::CancellationToken;

/// An agent that answers by a handler.
pub struct Agent {
    handler: Arc<dyn Handler>,
    layers: Layers,
}

impl Agent {
    /// An agent that answers by this handler, often an async closure.
    pub fn new(handler: impl Handler) -> Self {
        Self { handler: Arc::new(handler), layers: Layers::default() }
    }

    /// Sets a setting in the program, as a flag would: above the environment and the file. `key` is the file's key
    /// (docs/CONFIGURATION.md), `"author"` or `"vault.prefix"` for example. Not for secrets.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.layers.flag(key, value);
        self
    }

    /// Serves on the caller's runtime until `shutdown` is ready, then ends what it has begun. Logs go to the caller's own
    /// `tracing` subscriber, signals stay the caller's.
    ///
    /// # Errors
    /// Why the agent did not start, or had to end.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
        let settings = Settings::load(self.layers.with_process()?)?;
        let end = CancellationToken::new();
        let serving = run::run_until(settings, self.handler, end.clone(), None);
        tokio::pin!(serving, shutdown);
        tokio::select! {
            served = &mut serving => return served.map_err(Into::into),
            () = &mut shutdown => end.cancel(),
        }
        Ok(serving.await?)
    }

    pub(crate) fn into_parts(self) -> (Arc<dyn Handler>, Layers) {
        (self.handler, self.layers)
    }

    /// Runs the agent until SIGTERM or Ctrl-C, and returns the process's exit code; what goes wrong is told on stderr.
    pub fn run(self) -> ExitCode {
        run::keep_to_itself();
        let code = match self.try_run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(refusal) => report::tell(&refusal),
        };
        log::flush();
        code
    }

    fn try_run(self) -> Result<(), Refusal> {
        let settings = Settings::load(self.layers.with_process()?)?;
        log::start(&settings)?;
        block_on(run::run(settings, self.handler))
    }
}

/// Runs a future on a runtime of its own.
///
/// # Errors
/// The future's own, or that the system has no threads to give.
pub fn block_on<T>(future: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Refusal::new(ExitClass::Failed, "the system gives this process no threads", "raise its limits")
            .because_of(&error)
    })?;
    let result = runtime.block_on(future);
    // Nothing that still runs is worth waiting for: what had to be written is written.
    runtime.shutdown_background();
    result
}
