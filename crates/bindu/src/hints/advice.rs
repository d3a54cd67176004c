//! An agent that is degraded until a person decides: how to.

use super::{
    Hint, KEEP,
    start::{good_version, needed, restore, rolled_back},
};
use bindu_keeper::{Advice, StoreKind};

/// How to fix what the keeper leaves to a person.
#[must_use]
pub fn advice(advice: &Advice) -> Hint {
    match advice {
        Advice::Older => Hint::new("the store was restored from a backup; write our key back with")
            .command(KEEP)
            .words("or take the store's, by a start with another, empty directory, and the consent:")
            .data_dir()
            .take_over(),
        Advice::Foreign { path, version } => Hint::new("write our key back with")
            .command(KEEP)
            .words("or bring its version back with")
            .command(format!("vault kv rollback -version={version} {path}"))
            .words("or take the store's, by a start with another, empty directory, and the consent:")
            .data_dir()
            .take_over(),
        Advice::Overwritten { path, version } => Hint::new("bring the right key back with")
            .command(format!("vault kv rollback -version={version} {path}"))
            .words("the store's counts after a start with")
            .take_over(),
        Advice::RolledBack { path } => rolled_back(path),
        Advice::Unproven { named } => Hint::new("neither key is proven; look at the history with")
            .command("bindu identity history")
            .words("or consent to the store's key with")
            .consent(named),
        Advice::NamedOtherwise { .. } => {
            Hint::new("Hydra names another key than this directory holds; consent to this one with")
                .command(KEEP)
        }
        Advice::Deleted { path, version, destroyed } => Hint::default()
            .undelete("bring the record back with", (path, *version, *destroyed))
            .words("where the right key is held, it goes back with")
            .command(KEEP)
            .words("or start again on this disk"),
        Advice::DeletedInDoubt { path, version, destroyed } => Hint::default()
            .undelete("bring the record back with", (path, *version, *destroyed))
            .words("our key goes back with")
            .command(KEEP),
        Advice::BadRecord { path, kind: StoreKind::Vault } => good_version(path),
        Advice::BadRecord { path, kind: StoreKind::File } => restore(path),
        Advice::Locked => Hint::new("start again with a file that holds its password:")
            .setting("BINDU_KEY_PASSWORD_FILE=FILE"),
        Advice::Denied { policy } => needed(policy),
    }
}
