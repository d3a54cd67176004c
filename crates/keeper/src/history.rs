//! Looking back: what earlier versions of the keys record say, where the current one leaves it open.
//!
//! Python Bindu writes the record anew at each of its starts, without our `replaces`, and a pod of it with a rogue key
//! writes that. Both are told from a rotation by the record's own history.

use crate::{
    Keeper,
    observe::FoundKey,
    plan::keys::{Earlier, HydraNames, Local, Store},
};
use bindu_identity::{Fingerprint, PublicKey};
use bindu_store::{Answer, OutageReason};
use std::time::Duration;

/// The most earlier versions that are read: KV keeps ten unless it was told otherwise.
const DEEPEST: u64 = 20;

impl Keeper {
    /// Reads the record's earlier versions where somebody holds another key than its current one, which doesn't replace
    /// it: whether one of them holds the key that Hydra names, and the `replaces` that a rewrite has dropped.
    pub(crate) async fn look_back(
        &self,
        store: &mut Store,
        store_key: Option<&mut FoundKey>,
        local: &Local,
        hydra: &HydraNames,
    ) -> (Earlier, Option<FoundKey>) {
        let (Store::Present { key, version, replaces }, Some(store_key)) = (store, store_key) else {
            return (Earlier::NotRead, None);
        };
        let named = match hydra {
            HydraNames::Key { key: named, .. } if is_open(named.parse().ok(), key, replaces) => {
                Some(named.clone())
            }
            _ => None,
        };
        let local_is_open = match local {
            Local::Present { key: local, acknowledged: Some(_) } => is_open(Some(*local), key, replaces),
            _ => false,
        };
        if named.is_none() && !local_is_open {
            return (Earlier::NotRead, None);
        }
        let (mut found, mut next, oldest) = (None, *version, version.saturating_sub(DEEPEST));
        let mut dropped_list = replaces.is_empty();
        let mut whole = true;
        while next > 1 && next > oldest {
            next -= 1;
            match self.store.read_version(&self.keys_record(), next).await {
                Answer::Present(record) => {
                    let Ok(mut earlier) = self.key_in(&record.fields) else { continue };
                    earlier.version = Some(next);
                    if dropped_list && earlier.public_key() == *key && !earlier.replaces.is_empty() {
                        replaces.clone_from(&earlier.replaces);
                        store_key.replaces.clone_from(&earlier.replaces);
                        dropped_list = false;
                    }
                    if found.is_none() && named.as_deref() == Some(earlier.public_key().to_string().as_str())
                    {
                        found = Some(earlier);
                    }
                }
                // This version was deleted; an older one may still be there.
                Answer::Deleted { .. } | Answer::Malformed(_) => {}
                Answer::Absent => {
                    whole = false;
                    break;
                }
                Answer::Denied => return (Earlier::Unknown(OutageReason::LoginRejected), None),
                Answer::Unavailable(outage) => return (Earlier::Unknown(outage.reason), None),
            }
        }
        let whole = whole && next <= 1;
        (Earlier::Read { named: found.as_ref().and_then(|found| found.version), whole }, found)
    }

    /// How long ago a record was written: by the store's clock where it says so, else by the key's own date.
    pub(crate) fn age(&self, found: &FoundKey) -> Option<Duration> {
        let written: jiff::Timestamp =
            found.written_at.as_ref().or(found.created_at.as_ref())?.parse().ok()?;
        let now = jiff::Timestamp::now().as_second() - self.status.snapshot().store_skew.unwrap_or(0);
        // One from the future was written just now, by a clock that runs ahead.
        Some(Duration::from_secs(u64::try_from(now - written.as_second()).unwrap_or(0)))
    }
}

/// Whether another key than the record's is held by somebody and not replaced by it.
fn is_open(other: Option<PublicKey>, key: &PublicKey, replaces: &[Fingerprint]) -> bool {
    other.is_none_or(|other| other != *key && !replaces.contains(&other.fingerprint()))
}
