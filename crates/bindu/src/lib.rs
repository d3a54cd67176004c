//! An AI agent that keeps its identity, for agents written in Rust.
//!
//! ```no_run
//! use bindu::{Agent, Task};
//!
//! fn main() -> std::process::ExitCode {
//!     Agent::new(|task: Task| async move { Ok(format!("You said: {}", task.text())) }).run()
//! }
//! ```
//!
//! [`Agent::run`] reads the settings (docs/CONFIGURATION.md), finds or makes the agent's identity, serves the A2A
//! protocol and returns when the process is asked to end; [`Agent::serve`] does the same on a runtime of your own. A
//! [`HandlerError`] fails one task with its text, and any error becomes one by `?`; a [`Reply`] can ask back, reject, or hold files
//! and data. [`TestAgent`] is an agent for your tests.
//!
//! A handler reads files and data from its task, and says something before it answers:
//!
//! ```no_run
//! # use bindu::{Agent, Content, Reply, Task};
//! Agent::new(|task: Task| async move {
//!     task.progress("reading").await?;
//!     for word in task.text().split(' ') {
//!         task.write(word).await?; // callers that stream see it at once
//!     }
//!     task.artifact("plot", Content::default().file("plot.svg", "image/svg+xml", b"<svg/>")).await?;
//!     Ok(Reply::done())
//! })
//! # .run();
//! ```
//!
//! A handler calls other agents through its task, with the agent's own token and signature, and gets replies whose
//! signature was verified:
//!
//! ```no_run
//! # use bindu::{Agent, Task};
//! Agent::new(|task: Task| async move {
//!     Ok(task.agent.call("https://translator.example.com", task.text()).await?.into_signed_text()?)
//! })
//! # .run();
//! ```

mod agent;
mod error;
#[doc(hidden)]
pub mod hints;
mod refusal;
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
pub mod run;
#[doc(hidden)]
pub mod settings;
mod test_agent;

pub use agent::Agent;
#[doc(hidden)]
pub use agent::block_on;
pub use bindu_agent::{
    caller::{Caller, Client},
    handler::{
        Canceled, ChatMessage, Content, EchoHandler, Handler, HandlerError, HandlerTask as Task, Reply,
        ReplyState,
    },
};
pub use bindu_client::{
    AgentClient, CallError, CallOptions, KeyChange, Reply as AgentReply, ReplyState as AgentReplyState, Trust,
};
pub use bindu_identity::{Did, PublicKey};
pub use error::AgentError;
pub use refusal::{ExitClass, Refusal};
pub use test_agent::TestAgent;
