//! `cargo xtask bench storage`: the stores of tasks. Messages to completed tasks beside Python Bindu, commits beside
//! pgbench, and a file with a million tasks; all in one run.

mod commits;
mod messages;
mod million;

use bindu_a2a::{
    Parts,
    event::{ArtifactChunk, TaskEvent},
    model::{Message, Role, TaskState, TaskStatus},
};
use bindu_tasks::{Owner, Submission};
use std::{path::Path, sync::Arc};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these parts
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// How many tasks the file of the last part holds
    #[arg(long, default_value_t = 1_000_000)]
    tasks: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// message/send to completed per second on memory, SQLite and PostgreSQL, beside Python Bindu
    Messages,
    /// Commits per second of the store itself, beside pgbench with the same rows on the same database
    Commits,
    /// Opening and listing a file of SQLite's with many tasks
    Million,
}

pub(super) async fn run(arguments: Arguments) -> bool {
    // Two parts run in this process: what is measured is a release build.
    if cfg!(debug_assertions) {
        return as_release();
    }
    let is_wanted = |part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    let mut is_good = true;
    if is_wanted(Part::Messages) {
        is_good &= messages::run().await;
    }
    if is_wanted(Part::Commits) {
        is_good &= commits::run().await;
    }
    if is_wanted(Part::Million) {
        million::run(arguments.tasks).await;
    }
    is_good
}

/// Runs the same command by the release build of this program.
fn as_release() -> bool {
    eprintln!("building xtask for release ...");
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let status = crate::program(Path::new(env!("CARGO")))
        .args(["run", "--quiet", "--release", "--package", "xtask", "--"])
        .args(arguments)
        .status();
    status.is_ok_and(|status| status.success())
}

/// The value below which so much of all values is.
fn at(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// A message that begins a task.
fn submission(owner: &Owner, text: &str) -> Submission {
    let id = || uuid::Uuid::new_v4().to_string();
    let message = Message {
        id: id(),
        context_id: id(),
        task_id: id(),
        role: Role::User,
        parts: Parts::of_text(text),
        metadata: None,
        extensions: None,
        reference_task_ids: None,
    };
    Submission {
        owner: owner.clone(),
        message: Arc::new(message),
        may_begin: true,
        content: None,
        replay: None,
        push: None,
    }
}

/// What a run stores of an answer.
fn answer(text: &str) -> Vec<TaskEvent> {
    let status =
        |state| TaskEvent::Status(TaskStatus { state, message: None, timestamp: jiff::Timestamp::now() });
    let artifact = TaskEvent::Artifact(Arc::new(ArtifactChunk {
        id: uuid::Uuid::new_v4().to_string(),
        name: Some("answer".to_owned()),
        description: None,
        parts: Arc::new(Parts::of_text(text)),
        metadata: None,
        extensions: None,
        append: false,
        is_last: true,
    }));
    vec![status(TaskState::Working), artifact, status(TaskState::Completed)]
}
