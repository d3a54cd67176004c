//! The steps of a plan.

use serde_json::Value;

/// One thing that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What it is.
    pub what: &'static str,
    /// Where it is, in Vault's API.
    pub path: String,
    /// How things stand.
    pub state: StepState,
    /// Why, or what would be done.
    pub about: String,
    pub(crate) change: Option<Change>,
}

/// How things stand with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// It is as it is wanted.
    There,
    /// It is missing.
    Create,
    /// It is there, and different.
    Change,
    /// It is somebody else's, or can't be changed: nothing is begun.
    Conflict,
    /// It is missing, and only the reader knows what belongs there.
    ByHand,
    /// It was missing, and is there now.
    Created,
    /// It was different, and is as it is wanted now.
    Changed,
}

impl StepState {
    /// Its word, as it is printed.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Create => "create",
            Self::Change => "change",
            Self::Conflict => "conflict",
            Self::ByHand => "by_hand",
            Self::Created => "created",
            Self::Changed => "changed",
        }
    }
}

impl Step {
    /// The same, seen after it was done.
    pub(crate) fn after(mut self, before: &Self) -> Self {
        self.state = match (self.state, before.state) {
            (StepState::There, StepState::Create) => StepState::Created,
            (StepState::There, StepState::Change) => StepState::Changed,
            (state, _) => state,
        };
        self
    }
}

/// What became of a plan, by the plan that is made after it.
pub(crate) fn outcome(before: &[Step], after: Vec<Step>) -> Vec<Step> {
    let is_same = |one: &Step, other: &Step| (one.what, &one.path) == (other.what, &other.path);
    let gone = before.iter().filter(|step| !after.iter().any(|after| is_same(after, step)));
    // Nothing more is to be said about it.
    let gone: Vec<Step> =
        gone.map(|step| there(step.what, step.path.clone(), "as it is wanted").after(step)).collect();
    let seen = after.into_iter().map(|step| match before.iter().find(|before| is_same(before, &step)) {
        Some(before) => step.after(before),
        None => step,
    });
    seen.chain(gone).collect()
}

/// What is sent.
#[derive(Clone, PartialEq)]
pub(crate) enum Change {
    Post(String, Value),
    /// Needs ids that the steps before it make.
    Alias,
}

impl std::fmt::Debug for Change {
    /// Without the body, which may hold a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Post(path, _) => write!(f, "Post({path})"),
            Self::Alias => f.write_str("Alias"),
        }
    }
}

pub(crate) fn there(what: &'static str, path: String, about: impl Into<String>) -> Step {
    Step { what, path, state: StepState::There, about: about.into(), change: None }
}

pub(crate) fn conflict(what: &'static str, path: String, about: impl Into<String>) -> Step {
    Step { what, path, state: StepState::Conflict, about: about.into(), change: None }
}

/// A step that is one request to its own path.
pub(crate) fn post(
    what: &'static str,
    path: String,
    (state, about): (StepState, String),
    body: Value,
) -> Step {
    Step { what, path: path.clone(), state, about, change: Some(Change::Post(path, body)) }
}
