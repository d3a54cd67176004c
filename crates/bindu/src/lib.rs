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
//! protocol and returns when the process is asked to end. A [`HandlerError`] fails one task with its text; a
//! [`Reply`] can ask back instead of answering.
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
pub mod hints;
mod refusal;
pub mod report;
pub mod run;
pub mod settings;

pub use agent::{Agent, block_on};
pub use bindu_agent::{
    caller::{Caller, Client},
    handler::{ChatMessage, EchoHandler, Handler, HandlerError, HandlerTask as Task, Reply, ReplyState},
};
pub use bindu_client::{
    AgentClient, CallError, CallOptions, KeyChange, Reply as AgentReply, ReplyState as AgentReplyState, Trust,
};
pub use bindu_identity::{Did, PublicKey};
pub use refusal::{ExitClass, Refusal};
