//! An agent for the tests of a handler.

use crate::{
    Agent, AgentClient, AgentError, AgentReply, CallError, ExitClass, Refusal,
    run::{self, Listening},
    settings::Settings,
};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// An agent for the tests of a handler: with an identity of its own in a directory that is removed, on a free port of
/// this machine, without authentication. It reads no environment and no file.
///
/// ```no_run
/// # use bindu::{Agent, Task, TestAgent};
/// # async fn test() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = TestAgent::start(Agent::new(|task: Task| async move { Ok(task.text().to_uppercase()) })).await?;
/// assert_eq!(agent.ask("hello").await?.into_signed_text()?, "HELLO");
/// agent.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TestAgent {
    url: String,
    client: AgentClient,
    end: CancellationToken,
    run: JoinHandle<Result<(), Refusal>>,
    _directory: tempfile::TempDir,
}

impl TestAgent {
    /// Starts an agent, and waits until it listens. Settings that it has are kept.
    ///
    /// # Errors
    /// Why it did not start.
    pub async fn start(agent: Agent) -> Result<Self, AgentError> {
        let failed = |error: std::io::Error| {
            Refusal::new(ExitClass::Failed, "a directory for the test can't be made", "free some disk space")
                .because(error)
        };
        let directory = tempfile::tempdir().map_err(failed)?;
        let agent =
            agent.set("data_dir", directory.path().join("data").display().to_string()).set("port", "0");
        let (handler, layers) = agent.into_parts();
        let settings = Settings::load(layers)?;
        let (ready, listening) = oneshot::channel();
        let end = CancellationToken::new();
        let run = tokio::spawn(run::run_until(settings, handler, end.clone(), Some(ready)));
        match listening.await {
            Ok(Listening { url, client }) => Ok(Self { url, client, end, run, _directory: directory }),
            Err(_) => match run.await {
                Ok(Err(refusal)) => Err(refusal.into()),
                _ => Err(Refusal::new(ExitClass::Bug, "the agent ended at its start", "report it").into()),
            },
        }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends it a text, and waits for the reply.
    ///
    /// # Errors
    /// If there is no reply that can be believed.
    pub async fn ask(&self, text: &str) -> Result<AgentReply, CallError> {
        self.client.call(&self.url, text).await
    }

    /// Ends it, as SIGTERM would.
    ///
    /// # Errors
    /// Why it had to end before.
    pub async fn stop(self) -> Result<(), AgentError> {
        self.end.cancel();
        match self.run.await {
            Ok(ended) => Ok(ended?),
            Err(_) => Err(Refusal::new(ExitClass::Bug, "the agent panicked", "report it").into()),
        }
    }
}
