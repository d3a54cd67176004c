//! The secrets of a configuration, sealed while a durable store keeps them.
//!
//! A store keeps [`KeptPush::of`] a configuration and gives back [`KeptPush::open`]. What is sealed with a key that a rotation has
//! replaced is sealed again ([`KeptPush::is_due`]) while the old key can still be had.

use crate::{Owner, TaskKey};
use bindu_a2a::call::PushConfig;
use std::fmt;

/// Seals texts with the agent's key ring.
pub trait Sealer: Send + Sync + 'static {
    /// Seals a secret for a place, with the current key. `None`: it cannot be sealed, so it is not to be kept.
    fn seal(&self, place: &str, secret: &str) -> Option<String>;

    /// Opens what was sealed for this place with any key of the ring. `None`: no key of it opens it.
    fn open(&self, place: &str, sealed: &str) -> Option<String>;

    /// Whether a text is sealed with the current key.
    fn is_current(&self, sealed: &str) -> bool;

    /// The name of the current key. It changes with each rotation.
    fn current(&self) -> String;
}

impl fmt::Debug for dyn Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

/// A configuration as a durable store keeps it. Its secrets are sealed; those in `config` itself are in clear, as a program
/// without a sealer has written them.
#[derive(Clone, PartialEq)]
pub(crate) struct KeptPush {
    pub(crate) config: PushConfig,
    pub(crate) token: Option<String>,
    pub(crate) credentials: Option<String>,
}

impl fmt::Debug for KeptPush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeptPush").field(&self.config).finish()
    }
}

impl KeptPush {
    /// A configuration with its secrets sealed, if there is a sealer. `None`: they cannot be sealed.
    pub(crate) fn of(config: &PushConfig, task: &TaskKey, sealer: Option<&dyn Sealer>) -> Option<Self> {
        let mut kept = Self { config: config.clone(), token: None, credentials: None };
        let Some(sealer) = sealer else { return Some(kept) };
        if let Some(token) = kept.config.token.take() {
            kept.token = Some(sealer.seal(&place("token", task, config), &token)?);
        }
        let authentication = kept.config.authentication.as_mut();
        if let Some(credentials) = authentication.and_then(|authentication| authentication.credentials.take())
        {
            kept.credentials = Some(sealer.seal(&place("credentials", task, config), &credentials)?);
        }
        Some(kept)
    }

    /// The configuration as it was set; without its secrets, and `false`, if one of them cannot be opened: its key is nobody's any
    /// more, or somebody has changed what is stored.
    pub(crate) fn open(&self, task: &TaskKey, sealer: Option<&dyn Sealer>) -> (PushConfig, bool) {
        match self.opened(task, sealer) {
            Some(config) => (config, true),
            None => {
                let mut config = self.config.clone();
                config.token = None;
                if let Some(authentication) = &mut config.authentication {
                    authentication.credentials = None;
                }
                (config, false)
            }
        }
    }

    /// Whether it is to be sealed again.
    pub(crate) fn is_due(&self, sealer: &dyn Sealer) -> bool {
        let authentication = self.config.authentication.as_ref();
        let is_clear = self.config.token.is_some()
            || authentication.is_some_and(|authentication| authentication.credentials.is_some());
        let mut sealed = self.token.iter().chain(&self.credentials);
        is_clear || sealed.any(|sealed| !sealer.is_current(sealed))
    }

    fn opened(&self, task: &TaskKey, sealer: Option<&dyn Sealer>) -> Option<PushConfig> {
        let open = |field: &str, sealed: &str| sealer?.open(&place(field, task, &self.config), sealed);
        let mut config = self.config.clone();
        if let Some(token) = &self.token {
            config.token = Some(open("token", token)?);
        }
        if let Some(credentials) = &self.credentials {
            config.authentication.as_mut()?.credentials = Some(open("credentials", credentials)?);
        }
        Some(config)
    }
}

/// Where a secret belongs. Changing this makes every stored secret unreadable. The URL is part of it: whoever may write to the
/// store cannot have a secret sent to another receiver.
fn place(field: &str, task: &TaskKey, config: &PushConfig) -> String {
    let (client, subject) = match &task.owner {
        Owner::Everybody => (None, None),
        Owner::Client { id, subject } => (Some(&**id), subject.as_deref()),
    };
    serde_json::json!([field, client, subject, task.id, config.id, config.url]).to_string()
}
