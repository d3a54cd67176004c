//! The secrets of a configuration, sealed while a durable store keeps them.
//!
//! A store writes `seal_secrets(config, task, sealer)` and gives back `open_secrets(read, task, sealer)`: two calls. What is
//! sealed with a key that a rotation has replaced is due to be sealed again while the old key is in the ring:
//! [`Sealer::is_current`] tells.

use crate::TaskKey;
use bindu_a2a::call::PushConfig;

/// Seals texts with the agent's key ring.
pub trait Sealer: Send + Sync + 'static {
    /// Seals a secret for a place, with the current key. `None`: it cannot be sealed, so it is not to be kept.
    fn seal(&self, place: &str, secret: &str) -> Option<String>;

    /// Opens what was sealed for this place with any key of the ring. `None`: no key of it opens it.
    fn open(&self, place: &str, sealed: &str) -> Option<String>;

    /// Whether a text is sealed with the current key.
    fn is_current(&self, sealed: &str) -> bool;
}

/// A configuration as a durable store keeps it: its token and its credentials are sealed. `None`: they cannot be sealed.
#[must_use]
pub fn seal_secrets(config: &PushConfig, task: &TaskKey, sealer: &dyn Sealer) -> Option<PushConfig> {
    change(config, task, |place, secret| sealer.seal(place, secret))
}

/// A configuration as it was set, from what a durable store has kept. `None`: its key is no longer in the ring, or somebody
/// has changed what is stored.
#[must_use]
pub fn open_secrets(kept: &PushConfig, task: &TaskKey, sealer: &dyn Sealer) -> Option<PushConfig> {
    change(kept, task, |place, sealed| sealer.open(place, sealed))
}

fn change(
    config: &PushConfig,
    task: &TaskKey,
    change: impl Fn(&str, &str) -> Option<String>,
) -> Option<PushConfig> {
    // The URL is of the place: whoever may write to the store cannot have a secret sent to another receiver.
    let place = |field: &str| {
        serde_json::json!([field, format!("{:?}", task.owner), task.id, config.id, config.url]).to_string()
    };
    let mut changed = config.clone();
    if let Some(token) = &mut changed.token {
        *token = change(&place("token"), token)?;
    }
    let authentication = changed.authentication.as_mut();
    if let Some(credentials) = authentication.and_then(|authentication| authentication.credentials.as_mut()) {
        *credentials = change(&place("credentials"), credentials)?;
    }
    Some(changed)
}
