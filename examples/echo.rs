//! An agent that says back what it is told: `cargo run --example echo -p bindu`, then see README.md for how to call it.
use bindu::{Agent, Task};

fn main() -> std::process::ExitCode {
    Agent::new(|task: Task| async move { Ok(task.text().to_owned()) }).run()
}
