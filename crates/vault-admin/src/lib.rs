//! What an administrator's token does in Vault for one agent: mount, policy, login method, role, entity and alias. Only the
//! command line uses it.
//!
//! Observe, plan, apply: `plan` decides, from what was observed, what there is to do; a plan with a conflict is not
//! begun. Every step can be repeated. What others may need is left: a policy, a role or an alias that is not as it would be
//! made is a conflict, but for one more account of a role's own namespace.

mod apply;
mod login_steps;
mod observe;
mod observed;
mod paths;
mod plan;
mod step;
mod wanted;

pub use apply::{apply_setup, plan_setup};
pub use step::{Step, StepState};
pub use wanted::{LoginSetup, VaultSetup, WhoLogsIn};
