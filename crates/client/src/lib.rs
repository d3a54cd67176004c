//! Calling other agents.
//!
//! [`AgentClient::call`] reads aloud: find the card (`card`), decide whose key the reply must be signed with (`trust`,
//! which remembers in `known`), get a token, sign, send and follow the task (`call`), verify the reply (`reply`). Agents
//! without a DID are called as A2A 1.0 or 0.3 has it (`standard`); nothing proves that a reply is theirs.
//!
//! What another agent says about itself is a claim. It decides neither where our secret goes (tokens come from our own
//! configuration's Hydra only) nor where a call goes beyond its own origin.

mod call;
mod card;
mod conversation;
mod error;
mod inspect;
mod known;
mod reply;
mod signer;
mod standard;
mod trust;

pub use call::{AgentClient, CallOptions, ClientSettings};
pub use conversation::{Conversation, EventSink};
pub use error::CallError;
pub use inspect::{InspectedCard, InspectedSignature, SignatureError, inspect_card};
pub use known::KnownAgents;
pub use reply::{Reply, ReplyState};
pub use signer::{CallSigner, SignedCall};
pub use trust::{KeyChange, Trust};

/// What the fuzz targets reach; no part of the interface.
#[cfg(fuzzing)]
pub mod fuzz {
    use crate::{
        Reply, ReplyState, Trust, card,
        trust::{self, Trusted},
    };
    use bindu_identity::SigningKey;
    use serde_json::Value;

    /// Reads what another agent says of itself, and answers.
    pub fn agent(said: &Value, url: &str) {
        let base = "https://agent.example".parse().expect("a URL");
        let _ = (card::read(&base, said, &[], false), card::address(url, false));
        let keys = bindu_a2a::card::KeySet::read(said).unwrap_or_default();
        for signature in bindu_a2a::card::CardSignature::all(said) {
            assert!(signature.verify(said, &keys).is_err(), "nobody has signed this");
        }
        let _ = bindu_a2a::card::CardProfile::did_of(said);
        let _ = trust::published(said, &"did:bindu:fuzz".parse().expect("a DID"));
        if let Some(state) = ReplyState::of(said) {
            let key = SigningKey::from_seed(&[0; 32]).public_key();
            let trusted = Trusted { did: String::new(), keys: vec![key], trust: Trust::Pinned, change: None };
            if let Ok(reply) = Reply::of(said, state, &trusted) {
                assert!(reply.signed.is_none(), "nobody has signed this");
            }
        }
    }
}
