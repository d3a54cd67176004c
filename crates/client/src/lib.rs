//! Calling other agents.
//!
//! [`AgentClient::call`] reads aloud: find the card ([`card`]), decide whose key the reply must be signed with ([`trust`]),
//! get a token, sign, send and follow the task ([`call`]), verify the reply ([`reply`]).
//!
//! What another agent says about itself is a claim. It decides neither where our secret goes (tokens come from our own
//! configuration's Hydra only) nor where a call goes beyond its own origin.

mod call;
mod card;
mod error;
mod reply;
mod trust;

pub use call::{AgentClient, CallOptions, ClientSettings};
pub use error::CallError;
pub use reply::{Reply, ReplyState};
pub use trust::{KnownAgents, Trust};
