//! The decision table for the OAuth client: the steps of "write ahead", one at a time.
//!
//! [`plan`] names the next step; who applies it observes what changed and asks again, until the plan is [`Step::Done`]
//! or [`Step::Leave`]. The secret is in the store before Hydra hears of it, so that a crash between two steps leaves
//! something that the next start completes.
//!
//! Another authentication method in Hydra is not a wrong secret: it is read before anything is concluded from a 401.

use super::{TakeOver, TakenOver};
use crate::Reason;
use bindu_store::Version;

/// What was observed of the OAuth client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observed {
    /// The credentials record.
    pub store: Store,
    /// Whether the directory holds a secret for this DID.
    pub local: Local,
    /// Hydra's client of this DID.
    pub hydra: Client,
    /// Whether the secret in hand (the store's, else the local one) gets a token.
    pub secret: Secret,
    /// Whether we may write: see DESIGN, "Sure".
    pub sure: bool,
    /// Whether the record was just rewritten by us at the version that was read.
    pub fenced: bool,
    /// If the key that Hydra names may be right and ours wrong: ours was made by this process, or an earlier version of its
    /// record holds Hydra's (or may have held it: not all can be read).
    pub key_is_doubtful: bool,
    /// How the client may authenticate, against how ours does.
    pub authentication: Authentication,
    /// If the store's credentials are older than those that the directory has seen.
    pub is_rolled_back: bool,
    /// Whether fields that only a start writes (name, scopes, URL) differ.
    pub description_differs: bool,
}

/// The credentials record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Store {
    /// A secret.
    Present {
        /// The record's version.
        version: Version,
        /// The key whose take-over this record has consented to already.
        taken_over: Option<String>,
        /// If a rotation of the secret was begun.
        has_next: bool,
        /// How many rotations of the secret led to this one.
        generation: u64,
    },
    /// Positively nothing.
    Absent,
    /// There was something. A secret is not an identity: a new one may take its place.
    Deleted {
        /// The version that was deleted.
        version: Version,
    },
    /// Unreadable, or another client's.
    Malformed,
    /// We may not read it.
    Denied,
    /// No answer that can be believed.
    Unavailable,
}

/// The directory's copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Local {
    /// A secret.
    Present,
    /// None.
    None,
}

/// Hydra's client of this DID.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Client {
    /// None.
    Absent,
    /// One that names our key.
    OfOurKey,
    /// One that names a key that our record replaces.
    OfAnOlderKey,
    /// One that names the key that a rotation has prepared, or one to which statements lead from ours: another replica has made
    /// it the current one.
    OfOurNextKey,
    /// One that names another key.
    OfAnotherKey(String),
    /// One that names no key.
    OfNoKey,
    /// The DID holds a `/`.
    Unaddressable,
    /// No answer that can be believed.
    Unavailable,
}

/// How Hydra's client may authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Authentication {
    /// By `client_secret_post`, for the client credentials grant: as we do.
    Ours,
    /// By another method: a token request with the right secret gets the answer of a wrong one, and proves nothing.
    OtherMethod,
    /// Not for the client credentials grant.
    OtherGrants,
}

/// What a token request has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Secret {
    /// Not asked yet.
    Untested,
    /// It gets a token.
    Works,
    /// The one that a rotation has prepared does.
    NextWorks,
    /// It gets none, while Hydra is well.
    Wrong,
    /// Hydra could not tell.
    Unknown,
}

/// What the operator has said about the client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientPolicy {
    /// If a missing client may be registered.
    pub auto_register: bool,
    /// Consent to take over; never in the reconciler.
    pub take_over: TakeOver,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// All is as it should be.
    Done,
    /// Find out by a token request whether the secret in hand works.
    ProveSecret,
    /// Write the local secret (which works) to the store, where there is none.
    AdoptLocal {
        /// The deleted version to write over.
        over: Option<Version>,
    },
    /// Make a secret and write it to the store, where there is none.
    CreateSecret {
        /// The deleted version to write over.
        over: Option<Version>,
    },
    /// Register the client with the store's secret.
    Register,
    /// Write the same credentials again at the version that was read, so that whoever read older ones loses.
    Fence,
    /// Put what differs (secret, key, authentication) back into Hydra's client.
    Repair,
    /// Put the prepared secret into Hydra's client.
    Advance,
    /// Make the prepared secret the record's, now that Hydra accepts it.
    Promote {
        /// The version to write over.
        over: Version,
    },
    /// Note in the record that this key's take-over was consented to; then repair.
    TakeOver {
        /// The key that the client names.
        key: Option<String>,
    },
    /// Write name, scopes and URL.
    Describe,
    /// Leave everything as it is, and say why; tried again later.
    Leave(Reason),
}

/// The table.
#[must_use]
pub fn plan(seen: &Observed, policy: &ClientPolicy) -> Step {
    match (&seen.hydra, &seen.store) {
        (Client::Unaddressable, _) => Step::Leave(Reason::ClientUnaddressable),
        (_, Store::Malformed) => Step::Leave(Reason::CredentialsMalformed),
        (_, Store::Denied) => Step::Leave(Reason::StoreDenied),
        (_, Store::Unavailable) => Step::Leave(Reason::StoreUnavailable),
        // A local secret may be the client's; that can't be told now, so nothing may take its place.
        (Client::Unavailable, Store::Absent | Store::Deleted { .. }) if seen.local == Local::Present => {
            Step::Leave(Reason::HydraUnavailable)
        }
        (_, Store::Absent) if seen.sure => first_secret(seen, None),
        (_, Store::Deleted { version }) if seen.sure => first_secret(seen, Some(*version)),
        (_, Store::Absent | Store::Deleted { .. }) => Step::Leave(Reason::CredentialsMissing),
        (_, Store::Present { .. }) if seen.is_rolled_back => Step::Leave(Reason::CredentialsRolledBack),
        (Client::Unavailable, Store::Present { .. }) => Step::Leave(Reason::HydraUnavailable),
        (Client::Absent, Store::Present { .. }) if !policy.auto_register || !seen.sure => {
            Step::Leave(Reason::ClientMissing)
        }
        (Client::Absent, Store::Present { .. }) => Step::Register,
        (client, stored) => existing(seen, policy, client, stored),
    }
}

/// There is no record: the local secret, where it works, else a new one.
fn first_secret(seen: &Observed, over: Option<Version>) -> Step {
    match (seen.local, &seen.hydra, seen.secret) {
        (Local::Present, Client::Absent, _) | (Local::None, _, _) => Step::CreateSecret { over },
        // Whether it is the client's can't be told, so nothing may take its place.
        (Local::Present, _, _) if seen.authentication == Authentication::OtherMethod => {
            Step::Leave(Reason::ClientDiffers)
        }
        (Local::Present, _, Secret::Untested) => Step::ProveSecret,
        (Local::Present, _, Secret::Works | Secret::NextWorks) => Step::AdoptLocal { over },
        (Local::Present, _, Secret::Wrong) => Step::CreateSecret { over },
        (Local::Present, _, Secret::Unknown) => Step::Leave(Reason::HydraUnavailable),
    }
}

/// The store has a secret, Hydra has a client: is it ours, and is it right?
fn existing(seen: &Observed, policy: &ClientPolicy, client: &Client, stored: &Store) -> Step {
    let Store::Present { version, taken_over, has_next, .. } = stored else {
        return Step::Leave(Reason::CredentialsMissing);
    };
    let before = taken_over.clone().map_or(TakenOver::Nothing, TakenOver::Key);
    if *client == Client::OfOurNextKey {
        return Step::Leave(Reason::ClientPending);
    }
    if seen.authentication == Authentication::OtherMethod {
        return match client {
            Client::OfOurKey | Client::OfAnOlderKey => repair(seen, policy),
            Client::OfAnotherKey(key) => take_over(seen, policy, Some(key), &before),
            _ => take_over(seen, policy, None, &before),
        };
    }
    let may_write = seen.sure && policy.auto_register;
    match (client, seen.secret) {
        (_, Secret::Untested) => Step::ProveSecret,
        (_, Secret::Unknown) => Step::Leave(Reason::HydraUnavailable),
        (_, Secret::NextWorks) if seen.sure => Step::Promote { over: *version },
        (Client::OfOurKey, Secret::Works) if *has_next && may_write => Step::Advance,
        (Client::OfOurKey, Secret::Works | Secret::NextWorks)
            if seen.authentication == Authentication::OtherGrants =>
        {
            repair(seen, policy)
        }
        (Client::OfOurKey, Secret::Works) if seen.description_differs && may_write => Step::Describe,
        (Client::OfOurKey, Secret::Works | Secret::NextWorks) => Step::Done,
        (Client::OfOurKey | Client::OfAnOlderKey, _) => repair(seen, policy),
        // The secret proves that it is ours, but which of the two keys is the right one?
        (Client::OfAnotherKey(key), Secret::Works | Secret::NextWorks) if seen.key_is_doubtful => {
            take_over(seen, policy, Some(key), &before)
        }
        (_, Secret::Works | Secret::NextWorks) => repair(seen, policy),
        (Client::OfAnotherKey(key), Secret::Wrong) => take_over(seen, policy, Some(key), &before),
        (_, Secret::Wrong) => take_over(seen, policy, None, &before),
    }
}

/// Only with consent, which is noted in the record before it is used.
fn take_over(seen: &Observed, policy: &ClientPolicy, key: Option<&String>, before: &TakenOver) -> Step {
    match policy.take_over.covers(key.map(String::as_str), before, false) && seen.sure && policy.auto_register
    {
        false => Step::Leave(Reason::ClientOfAnotherKey),
        true if seen.fenced => Step::Repair,
        true => Step::TakeOver { key: key.cloned() },
    }
}

fn repair(seen: &Observed, policy: &ClientPolicy) -> Step {
    match (seen.sure && policy.auto_register, seen.fenced) {
        (false, _) => Step::Leave(Reason::ClientDiffers),
        (true, false) => Step::Fence,
        (true, true) => Step::Repair,
    }
}

/// What a record's `taken_over` says of a client that named no key.
pub const NO_KEY: &str = "none";

impl Step {
    /// The step in words.
    #[must_use]
    pub fn explain(&self) -> &'static str {
        match self {
            Self::Done => "the client is registered with our key, and our secret gets a token: nothing to do",
            Self::ProveSecret => "ask Hydra for a token, to find out whether the secret works",
            Self::AdoptLocal { .. } => "write the directory's secret, which works, to the store",
            Self::CreateSecret { .. } => "make a secret and write it to the store",
            Self::Register => "register the client in Hydra with the store's secret",
            Self::Fence => "write the same credentials again, so that a replica with older ones loses",
            Self::Repair => {
                "put what differs (secret, key, authentication method, grants) back into Hydra's client"
            }
            Self::Advance => "put the prepared secret into Hydra's client",
            Self::Promote { .. } => "make the prepared secret, which works, the record's",
            Self::TakeOver { .. } => "note the consent to take over this client, then repair it",
            Self::Describe => "write our name, scopes and URL to Hydra's client",
            Self::Leave(_) => "leave everything as it is, and try again later",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bindu_identity::SigningKey;

    fn seen(store: Store, hydra: Client) -> Observed {
        Observed {
            store,
            local: Local::None,
            hydra,
            secret: Secret::Untested,
            sure: true,
            fenced: false,
            key_is_doubtful: false,
            authentication: Authentication::Ours,
            is_rolled_back: false,
            description_differs: false,
        }
    }

    fn present() -> Store {
        Store::Present { version: 1, taken_over: None, has_next: false, generation: 0 }
    }

    fn policy() -> ClientPolicy {
        ClientPolicy { auto_register: true, take_over: TakeOver::No }
    }

    #[test]
    fn the_secret_is_stored_before_hydra_hears_of_it() {
        assert_eq!(plan(&seen(Store::Absent, Client::Absent), &policy()), Step::CreateSecret { over: None });
        assert_eq!(plan(&seen(present(), Client::Absent), &policy()), Step::Register);
        assert_eq!(
            plan(&seen(Store::Deleted { version: 4 }, Client::Absent), &policy()),
            Step::CreateSecret { over: Some(4) }
        );
    }

    #[test]
    fn a_local_secret_is_adopted_only_when_it_works() {
        let mut observed = seen(Store::Absent, Client::OfOurKey);
        observed.local = Local::Present;
        for (secret, want) in [
            (Secret::Untested, Step::ProveSecret),
            (Secret::Works, Step::AdoptLocal { over: None }),
            (Secret::Wrong, Step::CreateSecret { over: None }),
            (Secret::Unknown, Step::Leave(Reason::HydraUnavailable)),
        ] {
            observed.secret = secret;
            assert_eq!(plan(&observed, &policy()), want);
        }
        observed.hydra = Client::Unavailable;
        assert_eq!(plan(&observed, &policy()), Step::Leave(Reason::HydraUnavailable));
    }

    #[test]
    fn a_client_of_another_key_is_left_alone() {
        let key = SigningKey::from_seed(&[9; 32]).public_key();
        for client in [Client::OfAnotherKey(key.to_string()), Client::OfNoKey] {
            let mut observed = seen(present(), client);
            observed.secret = Secret::Wrong;
            assert_eq!(plan(&observed, &policy()), Step::Leave(Reason::ClientOfAnotherKey));
            observed.secret = Secret::Works;
            assert_eq!(plan(&observed, &policy()), Step::Fence, "the secret proves that it is ours");
            observed.key_is_doubtful = true;
            if let Client::OfAnotherKey(_) = observed.hydra {
                assert_eq!(
                    plan(&observed, &policy()),
                    Step::Leave(Reason::ClientOfAnotherKey),
                    "a new key proves nothing"
                );
                let any = ClientPolicy { take_over: TakeOver::Any, ..policy() };
                assert!(matches!(plan(&observed, &any), Step::TakeOver { .. }), "consent is noted first");
            }
        }
    }

    #[test]
    fn consent_covers_one_key() {
        let key = SigningKey::from_seed(&[9; 32]).public_key();
        let mut observed = seen(present(), Client::OfAnotherKey(key.to_string()));
        observed.secret = Secret::Wrong;
        let any = ClientPolicy { take_over: TakeOver::Any, ..policy() };
        assert!(matches!(plan(&observed, &any), Step::TakeOver { .. }));
        observed.store =
            Store::Present { version: 2, taken_over: Some("another".into()), has_next: false, generation: 0 };
        assert_eq!(plan(&observed, &any), Step::Leave(Reason::ClientOfAnotherKey));
        let named = ClientPolicy { take_over: TakeOver::Key(key.fingerprint()), ..policy() };
        assert!(matches!(plan(&observed, &named), Step::TakeOver { .. }));
    }

    /// A 401 under another method proves nothing: it is put back where the key is ours, and nothing else is concluded.
    #[test]
    fn another_authentication_method_is_not_a_wrong_secret() {
        let key = SigningKey::from_seed(&[9; 32]).public_key();
        for (client, want) in [
            (Client::OfOurKey, Step::Fence),
            (Client::OfAnOlderKey, Step::Fence),
            (Client::OfNoKey, Step::Leave(Reason::ClientOfAnotherKey)),
            (Client::OfAnotherKey(key.to_string()), Step::Leave(Reason::ClientOfAnotherKey)),
        ] {
            for secret in [Secret::Untested, Secret::Wrong, Secret::Unknown] {
                let mut observed = seen(present(), client.clone());
                (observed.authentication, observed.secret) = (Authentication::OtherMethod, secret);
                assert_eq!(plan(&observed, &policy()), want, "{client:?} {secret:?}");
            }
        }
        let mut observed = seen(present(), Client::OfOurKey);
        (observed.authentication, observed.secret) = (Authentication::OtherGrants, Secret::Works);
        assert_eq!(plan(&observed, &policy()), Step::Fence);
        observed.fenced = true;
        assert_eq!(plan(&observed, &policy()), Step::Repair);
    }

    /// A rotation of the secret that was broken off anywhere is finished by the next one that looks.
    #[test]
    fn a_rotation_of_the_secret_is_finished() {
        let stored = Store::Present { version: 2, taken_over: None, has_next: true, generation: 0 };
        for (secret, want) in [
            (Secret::Untested, Step::ProveSecret),
            (Secret::Works, Step::Advance),
            (Secret::NextWorks, Step::Promote { over: 2 }),
        ] {
            let mut observed = seen(stored.clone(), Client::OfOurKey);
            observed.secret = secret;
            assert_eq!(plan(&observed, &policy()), want);
        }
    }

    #[test]
    fn credentials_of_an_older_generation_repair_nothing() {
        for client in [Client::Absent, Client::OfOurKey, Client::OfAnOlderKey, Client::OfNoKey] {
            for secret in [Secret::Untested, Secret::Wrong, Secret::Works] {
                let mut observed = seen(present(), client.clone());
                (observed.is_rolled_back, observed.secret) = (true, secret);
                assert_eq!(plan(&observed, &policy()), Step::Leave(Reason::CredentialsRolledBack));
            }
        }
    }

    /// Not sure may read and fetch tokens; it never creates, changes or deletes anything.
    #[test]
    fn not_sure_changes_nothing() {
        let stores =
            [present(), Store::Absent, Store::Deleted { version: 1 }, Store::Malformed, Store::Unavailable];
        let clients = [
            Client::Absent,
            Client::OfOurKey,
            Client::OfAnOlderKey,
            Client::OfNoKey,
            Client::OfAnotherKey("x".into()),
            Client::Unavailable,
        ];
        let any = ClientPolicy { auto_register: true, take_over: TakeOver::Any };
        for store in &stores {
            for client in &clients {
                for secret in
                    [Secret::Untested, Secret::Works, Secret::NextWorks, Secret::Wrong, Secret::Unknown]
                {
                    for local in [Local::None, Local::Present] {
                        let observed = Observed {
                            local,
                            secret,
                            sure: false,
                            fenced: true,
                            description_differs: true,
                            ..seen(store.clone(), client.clone())
                        };
                        let step = plan(&observed, &any);
                        assert!(
                            matches!(step, Step::Done | Step::ProveSecret | Step::Leave(_)),
                            "{observed:?}: {step:?}"
                        );
                    }
                }
            }
        }
    }
}
