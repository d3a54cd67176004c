//! Room for what is read: a store that copies is asked for what is heavy when there is room for it, and not before.

use async_trait::async_trait;
use bindu_a2a::A2aError;

/// Up to so many bytes are read without asking for room.
pub(crate) const LIGHT: usize = 64 * 1024;

/// Who gives room to what is read for one call.
#[async_trait]
pub trait Room: Send {
    /// Waits for room for so many bytes, in place of the room that it has given before; `false` if there was none for too
    /// long.
    async fn wait(&mut self, bytes: usize) -> bool;
}

/// Room without end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Endless;

#[async_trait]
impl Room for Endless {
    async fn wait(&mut self, _bytes: usize) -> bool {
        true
    }
}

/// The answer to a call that there was no room for.
pub(crate) fn no_room() -> A2aError {
    let problem = "Too many of your answers are on their way; please try again".to_owned();
    A2aError::TooMany { problem, retry_after: 1 }
}
