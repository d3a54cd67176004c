//! Tasks: the core model, in the shapes of A2A 1.0, and the tasks that this agent has.

mod model;
mod runner;
mod store;
mod turns;

pub use model::{Artifact, Content, Message, Part, Role, Task, TaskState, TaskStatus};
pub(crate) use runner::TaskRunner;
pub use store::{Submitted, TaskError, TaskKey, Tasks};
