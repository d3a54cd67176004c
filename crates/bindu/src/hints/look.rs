//! A command that looks, and finds nothing to show.

use super::Hint;

/// A store that does not answer.
#[must_use]
pub fn store_is_silent() -> Hint {
    Hint::new("see that Vault answers at the address of")
        .address()
        .words("and what this agent may do there with")
        .command("bindu vault check")
}

/// No key yet: the first start makes it.
#[must_use]
pub fn no_key_yet() -> Hint {
    Hint::new("the first start makes it; what it would do is told with the same settings by")
        .command("bindu identity plan")
        .words("and done by")
        .command("bindu run")
}
