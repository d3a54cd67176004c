//! A rotation's step, or another wish of an operator's, that was not taken: its exit code, and how to fix it.

use super::{Hint, KEEP, advice, start};
use crate::{ExitClass, Refusal};
use bindu_keeper::{
    Keeper, KeyLook, RingError, StepError,
    plan::keys::{Step, Store},
};
use bindu_store::OutageReason;

/// Replaces a key that is in somebody else's hands.
const WITHDRAW: &str = "bindu identity rotate --compromised --apply";

/// Why there is nothing to do, or nothing may be done.
#[must_use]
pub fn no_steps(keeper: &Keeper, look: &KeyLook, error: RingError) -> Refusal {
    let path = keeper.store.locate(&keeper.keys_record());
    let hint = match error {
        RingError::NotSure(_) => match keeper.advice(&look.plan, &look.seen) {
            Some(told) => advice(&told),
            None if look.plan.step == Step::Refuse => start::start(&keeper.start_error(look)),
            None if matches!(look.seen.store, Store::Unavailable(_)) => super::store_is_silent(),
            None => Hint::new("with the same settings, see").command("bindu identity plan"),
        },
        RingError::Rewritten => Hint::new("take the Python pods to zero, or keep them from writing with")
            .command(format!("vault kv metadata put -cas-required=true {path}"))
            .words("then write our fields back with")
            .command(KEEP)
            .words("and rotate again; a key in somebody else's hands is replaced at once with")
            .command(WITHDRAW),
        RingError::Withdrawing => unfinished_withdrawal(),
        RingError::HydraBehind => {
            Hint::new("wait until the running agents have patched Hydra's client, which is told by")
                .command("bindu hydra plan")
        }
        RingError::NotDue => Hint::new("wait, or make it the current one now with")
            .command("bindu identity rotate --at-once --apply"),
        RingError::NothingToUndo => Hint::new("see").command("bindu identity history"),
    };
    let class = match (error, look.plan.step) {
        (RingError::NotSure(_), Step::Refuse) => start::class(&keeper.start_error(look)),
        (RingError::NotSure(_), _) => match look.seen.store {
            Store::Denied => ExitClass::Denied,
            Store::Locked(_) => ExitClass::Usage,
            Store::Unavailable(OutageReason::WrongMount) => ExitClass::Failed,
            Store::Unavailable(_) => ExitClass::Unavailable,
            _ => ExitClass::Failed,
        },
        _ => ExitClass::Failed,
    };
    let refusal = Refusal::new(class, format!("{error}; nothing was changed"), hint);
    match &look.outage {
        Some(outage) => refusal.because(&outage.detail),
        None => refusal,
    }
}

/// Why the versions of the record are not told.
#[must_use]
pub fn no_history(keeper: &Keeper, look: &KeyLook) -> Refusal {
    if look.plan.step == Step::Refuse {
        return keeper.start_error(look).into();
    }
    let (class, hint) = match &look.seen.store {
        Store::Denied => (ExitClass::Denied, keeper.advice(&look.plan, &look.seen).map(|told| advice(&told))),
        Store::Locked(_) => (ExitClass::Usage, Some(locked())),
        Store::Unavailable(OutageReason::WrongMount) => (ExitClass::Failed, Some(wrong_mount())),
        _ => (ExitClass::Unavailable, None),
    };
    let message = "the store does not give the versions of the keys record";
    let refusal = Refusal::new(class, message, hint.unwrap_or_else(super::store_is_silent));
    match &look.outage {
        Some(outage) => refusal.because(&outage.detail),
        None => refusal,
    }
}

/// A withdrawal that has been broken off: the key that takes the place of the stolen one is prepared.
#[must_use]
pub fn unfinished_withdrawal() -> Hint {
    Hint::new("the current key is being withdrawn: the running replicas finish it when it is due, or it is finished now with")
        .command("bindu identity rotate --at-once --apply")
}

fn locked() -> Hint {
    Hint::new("name a file that holds its password with").setting("BINDU_KEY_PASSWORD_FILE=FILE")
}

fn wrong_mount() -> Hint {
    Hint::new("check").setting("VAULT__MOUNT").setting("VAULT_NAMESPACE")
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
        StepError::Denied | StepError::ReadDenied | StepError::CredentialsDenied => ExitClass::Denied,
        StepError::Unavailable | StepError::Unfinished | StepError::Silent => ExitClass::Unavailable,
        StepError::Locked => ExitClass::Usage,
        StepError::WrongMount
        | StepError::NotSettled
        | StepError::Conflict
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
        StepError::ReadDenied => Hint::new("the policy needs `read` on the keys record; all of it is printed by")
            .command("bindu vault policy"),
        StepError::CredentialsDenied => Hint::new(
            "the policy needs `read` and `update` on the record of the client's credentials; all of it is printed by",
        )
        .command("bindu vault policy"),
        StepError::Unfinished => Hint::new("when the store answers, finish it with")
            .command("bindu identity rotate --at-once --apply"),
        StepError::Silent => super::store_is_silent(),
        StepError::WrongMount => wrong_mount(),
        StepError::Locked => locked(),
        StepError::NotSettled => {
            Hint::new("what must be settled, and how, is told by").command("bindu identity plan")
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
            Hint::new("keep the later key, where it is held, with")
                .command(KEEP)
                .words("or, where the record holds it, go back by a rotation, one generation up, with")
                .command("bindu identity undo --apply")
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
