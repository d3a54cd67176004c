//! Who signs our calls. During a rotation an agent holds two keys, and whom it calls expects one of them.

use bindu_identity::{Did, Signature};

/// Which of an agent's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChoice {
    /// The one that others expect, as far as the agent knows.
    Expected,
    /// The other one that it holds: the previous key or the next one, while there is one.
    Other,
}

impl KeyChoice {
    /// The one that it is not.
    #[must_use]
    pub fn flipped(self) -> Self {
        match self {
            Self::Expected => Self::Other,
            Self::Other => Self::Expected,
        }
    }
}

/// A signature on a call, and in whose name.
#[derive(Debug, Clone)]
pub struct SignedCall {
    /// The signer.
    pub did: Did,
    /// Bindu's request signature.
    pub signature: Signature,
}

/// Signs calls. Never waits: it is asked once for each request. A signature is as good as its key: nothing remembers it.
pub trait CallSigner: Send + Sync {
    /// Signs a request body at this time (seconds since the epoch) with the key of this choice. `None` if there is no
    /// such key now. A call that is refused as `invalid_signature` is signed once more with the other key.
    fn sign(&self, choice: KeyChoice, body: &str, timestamp: u64) -> Option<SignedCall>;
}
