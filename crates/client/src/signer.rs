//! Who signs our calls. During a rotation an agent holds two keys, and whom it calls expects one of them.

use bindu_identity::{Did, PublicKey, Signature};

/// A signature on a call, and in whose name.
#[derive(Debug, Clone)]
pub struct SignedCall {
    /// The signer.
    pub did: Did,
    /// The key that it is of.
    pub key: PublicKey,
    /// Bindu's request signature.
    pub signature: Signature,
}

/// Signs calls. Never waits: it is asked once for each request. A signature is as good as its key: nothing remembers it.
pub trait CallSigner: Send + Sync {
    /// Signs a request body at this time (seconds since the epoch) with the key that others expect, as far as the agent knows,
    /// but not with the one that the called agent has refused as `invalid_signature`: then with the next one that it holds.
    /// `None` if there is no such key now.
    ///
    /// Which key is expected may change between two calls of this, so what was refused is named by the key itself.
    fn sign(&self, refused: Option<&PublicKey>, body: &str, timestamp: u64) -> Option<SignedCall>;
}
