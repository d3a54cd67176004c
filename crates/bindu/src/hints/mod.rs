//! How to fix what the keeper, a call and Vault tell: the only place that knows both what is wrong and which command, flag or
//! variable fixes it. The keeper knows none of these; `run` and the command line both ask here.

mod advice;
mod call;
mod hint;
mod look;
mod start;
mod steps;
mod vault;

pub use advice::advice;
pub use call::{call, ended, no_own_key, token, unsigned};
pub use hint::Hint;
pub use look::{no_key_yet, store_is_silent};
pub use start::{class, start};
pub use steps::{no_history, no_steps, not_taken, not_withdrawn_in_hydra, unfinished_withdrawal};
pub use vault::{VaultRefusal, administration};

#[cfg(test)]
mod tests;

use bindu_keeper::NamedKey;

/// Writes the key that is held here to the store.
const KEEP: &str = "bindu identity keep --apply";

impl Hint {
    /// Another data directory.
    fn data_dir(self) -> Self {
        self.setting("--data-dir DIR").setting("BINDU_DATA_DIR=DIR")
    }

    /// The settings that say where in Vault an agent's records are.
    fn place(self) -> Self {
        self.setting("VAULT_NAMESPACE").setting("VAULT__MOUNT").setting("VAULT__PREFIX")
    }

    /// Where Vault is.
    fn address(self) -> Self {
        self.setting("VAULT__URL=URL").setting("VAULT_ADDR=URL")
    }

    /// Authentication by Hydra, which is where keys and tokens are from.
    fn hydra(self) -> Self {
        self.setting("AUTH__ENABLED=true").setting("HYDRA__ADMIN_URL=URL").setting("HYDRA__PUBLIC_URL=URL")
    }

    /// A longer wait.
    fn deadline(self) -> Self {
        self.setting("BINDU_START_DEADLINE=5m")
    }

    /// The consent to replace the key that Hydra names: by its fingerprint, if it must be named.
    fn consent(self, named: &NamedKey) -> Self {
        match &named.fingerprint {
            Some(key) if named.must_be_named => self.setting(format!("--take-over={key}")),
            _ => self.take_over(),
        }
    }

    fn take_over(self) -> Self {
        self.setting("--take-over")
    }

    /// What a token's policy must allow.
    fn policy(self, paths: &[String]) -> Self {
        // Quoted as HCL quotes: a name with a quote in it must not end its path.
        let rule =
            |path: &String| format!("path {path:?} {{ capabilities = [\"create\", \"read\", \"update\"] }}");
        paths.iter().map(rule).fold(self, Hint::setting)
    }

    /// Brings a deleted version back, unless it was destroyed. With the words that go before.
    fn undelete(self, words: &str, (path, version, destroyed): (&str, u64, bool)) -> Self {
        match destroyed {
            true => self,
            false => self.words(words).command(format!("vault kv undelete -versions={version} {path}")),
        }
    }
}
