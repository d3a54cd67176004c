//! The audit log's lines about identities: who, what and why. Never a key, a secret or a record's content.

use crate::{
    Identity,
    machine::{CredentialsWrite, Member},
    plan::ring::RingStep,
};
use bindu_identity::{Did, PublicKey};

/// Which key an agent has from now on, and by which row of the table.
pub(crate) fn identity(identity: &Identity, why: &'static str) {
    tracing::info!(
        target: "audit",
        who = %identity.did,
        what = "has its key",
        why,
        key = %identity.public_key.fingerprint(),
        source = identity.source.label(),
        version = identity.version,
        generation = identity.lineage.generation,
        "the identity in use"
    );
}

/// A step of a rotation that the store has taken.
pub(crate) fn ring_step(did: &Did, step: RingStep, key: &PublicKey, version: u64) {
    tracing::warn!(
        target: "audit",
        who = %did,
        what = "changed the key ring in the store",
        why = step.explain(),
        key = %key.fingerprint(),
        version,
        "the key ring in the store was changed"
    );
}

/// Credentials that the store has taken.
pub(crate) fn credentials_written(did: &Did, write: &CredentialsWrite, version: u64) {
    let (why, named) = match write {
        CredentialsWrite::New => ("there were none", None),
        CredentialsWrite::Local => ("the store had none, and the directory's work", None),
        CredentialsWrite::Promoted => ("the prepared secret was proved", None),
        // A fence is no news.
        CredentialsWrite::Same => return,
        CredentialsWrite::Consent { key } => ("take_over", Some(key.as_str())),
    };
    let what = match named {
        Some(_) => "noted the consent to take over the client in Hydra",
        None => "wrote the client's credentials",
    };
    tracing::warn!(target: "audit", who = %did, what, why, named, version, "{what}");
}

/// Tokens that were revoked.
pub(crate) fn tokens_revoked(did: &Did) {
    tracing::warn!(
        target: "audit",
        who = %did,
        what = "revoked the client's tokens in Hydra",
        why = "a key was withdrawn",
        "revoked the client's tokens in Hydra"
    );
}

/// A client that was registered.
pub(crate) fn registered(did: &Did) {
    tracing::info!(
        target: "audit",
        who = %did,
        what = "registered the client in Hydra",
        why = "there was none",
        "registered the client in Hydra"
    );
}

/// A client that was changed: what differed, by its member's name.
pub(crate) fn patched(did: &Did, members: &[Member], named: Option<String>) {
    let names: Vec<&str> = members.iter().map(|member| member.label()).collect();
    let members = names.join(" ");
    tracing::warn!(
        target: "audit",
        who = %did,
        what = "repaired the client in Hydra",
        why = "these members were not ours",
        members,
        named,
        "repaired the client in Hydra"
    );
}
