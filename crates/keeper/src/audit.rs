//! The audit log's lines about identities: who, what and why. Never a key, a secret or a record's content.

use crate::Identity;

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
        "the identity in use"
    );
}
