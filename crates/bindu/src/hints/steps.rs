//! A rotation's step, or another wish of an operator's, that was not taken: its exit code, and how to fix it.

use super::{Hint, advice, start};
use crate::{ExitClass, Refusal};
use bindu_keeper::{Keeper, KeyLook, RingError, StepError};

/// Why there is nothing to do, or nothing may be done.
#[must_use]
pub fn no_steps(keeper: &Keeper, look: &KeyLook, error: RingError) -> Refusal {
    let path = keeper.store.locate(&keeper.keys_record());
    let hint = match error {
        RingError::NotSure(_) => match keeper.advice(&look.plan, &look.seen) {
            Some(told) => advice(&told),
            None => Hint::new("with the same settings, see").command("bindu identity plan"),
        },
        RingError::Rewritten => Hint::new("take the Python pods to zero, or keep them from writing with")
            .command(format!("vault kv metadata put -cas-required=true {path}")),
        RingError::HydraBehind => {
            Hint::new("wait until the running agents have patched Hydra's client, which is told by")
                .command("bindu hydra plan")
        }
        RingError::NotDue => Hint::new("wait, or make it the current one now with")
            .command("bindu identity rotate --at-once --apply"),
        RingError::NothingToUndo => Hint::new("see").command("bindu identity history"),
    };
    let refusal = Refusal::new(ExitClass::Failed, format!("{error}; nothing was changed"), hint);
    match &look.outage {
        Some(outage) => refusal.because(&outage.detail),
        None => refusal,
    }
}

/// A key that was withdrawn, while Hydra does not know it yet.
#[must_use]
pub fn not_withdrawn_in_hydra() -> Refusal {
    let hint = Hint::new(
        "the running agents patch Hydra's client when they may and it answers; else register the new key there, and end the \
         tokens at its admin port (DELETE /admin/oauth2/tokens?client_id=DID). What is missing is told by",
    )
    .command("bindu hydra plan");
    let message =
        "the key was replaced, and Hydra does not know it yet: the old key and its tokens still count there";
    Refusal::new(ExitClass::Failed, message, hint)
}

/// Why a step was not taken.
#[must_use]
pub fn not_taken(keeper: &Keeper, error: &StepError) -> Refusal {
    let path = keeper.store.locate(&keeper.keys_record());
    Refusal::new(step_class(error), error.to_string(), step(error, &path))
}

fn step_class(error: &StepError) -> ExitClass {
    match error {
        StepError::Denied => ExitClass::Denied,
        StepError::Unavailable => ExitClass::Unavailable,
        StepError::Conflict
        | StepError::Refused
        | StepError::NoKey
        | StepError::Unreadable
        | StepError::Retired
        | StepError::NotRegistering
        | StepError::NoCredentials => ExitClass::Failed,
    }
}

pub(super) fn step(error: &StepError, path: &str) -> Hint {
    match error {
        StepError::Conflict => Hint::new("repeat the command after a look at").command("bindu identity plan"),
        StepError::Denied => {
            Hint::new("the policy needs `update` on the keys record; all of it is printed by")
                .command("bindu vault policy")
        }
        StepError::Unavailable => {
            Hint::new("a step that was taken is not taken twice: when the store answers, look again at")
                .command("bindu identity plan")
        }
        StepError::Refused => {
            Hint::new("see the store's own words in its log, and what this agent may do there with")
                .command("bindu vault check")
        }
        StepError::NoKey => {
            Hint::new("run this where the agent's data directory is, for example in its pod:")
                .setting("BINDU_DATA_DIR=DIR")
        }
        StepError::Unreadable => start::good_version(path),
        StepError::Retired => {
            Hint::new("go back by a rotation, one generation up, with").command("bindu identity undo --apply")
        }
        StepError::NotRegistering => {
            Hint::new("whoever registers the client rotates its secret, or let the agent do it with")
                .setting("HYDRA__AUTO_REGISTER_AGENTS=true")
        }
        StepError::NoCredentials => {
            Hint::new("start the agent once: it registers its client").command("bindu run")
        }
    }
}
