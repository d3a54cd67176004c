//! Carries a plan out.

use crate::{
    login_steps,
    observe::observe,
    observed::Place,
    plan::plan,
    step::{Change, Step, StepState, outcome},
    wanted::VaultSetup,
};
use bindu_store::{AdministrationError, VaultStore};
use serde_json::json;

/// What there is to do, changing nothing.
///
/// # Errors
/// Where Vault can't be observed.
pub async fn plan_setup(vault: &VaultStore, wanted: &VaultSetup) -> Result<Vec<Step>, AdministrationError> {
    let observed = observe(vault, wanted).await?;
    Ok(plan(wanted, &observed, &Place::of(vault, wanted)))
}

/// Does what a plan says, one step after the other, and says what is there then. Where one fails, those before it are
/// done; the next time goes on from there.
///
/// # Errors
/// Where Vault can't be observed or does not take a step.
pub async fn apply_setup(
    vault: &VaultStore,
    wanted: &VaultSetup,
    steps: &[Step],
) -> Result<Vec<Step>, AdministrationError> {
    for change in steps.iter().filter_map(|step| step.change.as_ref()) {
        match change {
            Change::Post(path, body) => drop(vault.post_path(path, body.clone()).await?),
            Change::Alias => write_alias(vault, wanted).await?,
        }
    }
    let seen = plan_setup(vault, wanted).await?;
    Ok(outcome(steps, seen))
}

/// By now the method, the role and the entity are there, and so are their ids.
async fn write_alias(vault: &VaultStore, wanted: &VaultSetup) -> Result<(), AdministrationError> {
    let observed = observe(vault, wanted).await?;
    let path = "identity/entity-alias";
    // Somebody may have been faster since the plan.
    let step = wanted.login.as_ref().map(|login| login_steps::alias(login, &observed));
    if let Some(step) = step.filter(|step| step.state == StepState::Conflict) {
        return Err(AdministrationError::Refused { path: path.to_owned(), problem: step.about });
    }
    let (Some(method), Some(entity), Some(name)) = (&observed.method, &observed.entity, &observed.alias_name)
    else {
        let problem = "the login method, the role or the entity is not there any more".to_owned();
        return Err(AdministrationError::Refused { path: path.to_owned(), problem });
    };
    let mut body = json!({"name": name, "canonical_id": entity.id, "mount_accessor": method.accessor});
    // An entity has one alias at a mount: the one that it has gets the other name.
    if let (Some(alias), Some(members)) = (entity.alias_at(&method.accessor), body.as_object_mut()) {
        members.insert("id".to_owned(), json!(alias.id));
    }
    vault.post_path(path, body).await.map(drop)
}
