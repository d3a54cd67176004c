//! What the dialects call states and roles.

use super::Dialect;
use crate::model::{Role, TaskState};

/// A state's name in A2A 1.0 (and its number there, which ProtoJSON takes as well), and in the others.
const STATES: [(TaskState, &str, u8, &str); 8] = [
    (TaskState::Submitted, "TASK_STATE_SUBMITTED", 1, "submitted"),
    (TaskState::Working, "TASK_STATE_WORKING", 2, "working"),
    (TaskState::Completed, "TASK_STATE_COMPLETED", 3, "completed"),
    (TaskState::Failed, "TASK_STATE_FAILED", 4, "failed"),
    (TaskState::Canceled, "TASK_STATE_CANCELED", 5, "canceled"),
    (TaskState::InputRequired, "TASK_STATE_INPUT_REQUIRED", 6, "input-required"),
    (TaskState::Rejected, "TASK_STATE_REJECTED", 7, "rejected"),
    (TaskState::AuthRequired, "TASK_STATE_AUTH_REQUIRED", 8, "auth-required"),
];

pub(super) fn of_state(dialect: Dialect, state: TaskState) -> &'static str {
    let found = STATES.iter().find(|(of, ..)| *of == state);
    found.map_or("", |(_, v1, _, others)| if dialect == Dialect::V1 { v1 } else { others })
}

/// A state by its name, or in A2A 1.0 by its number.
pub(super) fn state(dialect: Dialect, name: &str) -> Option<TaskState> {
    let is = |(_, v1, number, others): &&(TaskState, &str, u8, &str)| match dialect {
        Dialect::V1 => *v1 == name || name.parse() == Ok(*number),
        Dialect::V03 | Dialect::Bindu => *others == name,
    };
    STATES.iter().find(is).map(|(state, ..)| *state)
}

pub(super) fn of_role(dialect: Dialect, role: Role) -> &'static str {
    match (dialect, role) {
        (Dialect::V1, Role::User | Role::System) => "ROLE_USER",
        (Dialect::V1, Role::Agent) => "ROLE_AGENT",
        (Dialect::Bindu, Role::System) => "system",
        (_, Role::User | Role::System) => "user",
        (_, Role::Agent) => "agent",
    }
}

/// A role by its name, or in A2A 1.0 by its number.
pub(super) fn role(dialect: Dialect, name: &str) -> Option<Role> {
    match (dialect, name) {
        (Dialect::V1, "ROLE_USER" | "1") => Some(Role::User),
        (Dialect::V1, "ROLE_AGENT" | "2") => Some(Role::Agent),
        (Dialect::V03 | Dialect::Bindu, "user") => Some(Role::User),
        (Dialect::V03 | Dialect::Bindu, "agent") => Some(Role::Agent),
        (Dialect::Bindu, "system") => Some(Role::System),
        _ => None,
    }
}
