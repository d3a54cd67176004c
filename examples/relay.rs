//! An agent that asks another one: `UPSTREAM=https://agent.example.com cargo run --example relay -p bindu`.
use bindu::{Agent, HandlerError, Task};

fn main() -> std::process::ExitCode {
    Agent::new(|task: Task| async move {
        let upstream = std::env::var("UPSTREAM").map_err(|_| HandlerError::new("UPSTREAM is not set"))?;
        let text = task.agent.call(&upstream, task.text()).await?.into_signed_text()?;
        Ok::<_, HandlerError>(text)
    })
    .run()
}
