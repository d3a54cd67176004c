//! Each row that ends a start or leaves it to a person has its error or its advice, with its data.

use super::*;
use crate::{
    Advice, Reason,
    plan::{
        OnAbsent, OnUnavailable, Policy,
        history::Earlier,
        keys::{
            DOUBT, Step, plan,
            tests::{any_observation, bare, deleted, names, seen, stored},
        },
    },
};
use bindu_identity::{AgentName, SigningKey};
use proptest::prelude::*;
use std::{error::Error as _, path::Path};

fn did() -> Did {
    let name = AgentName { author: "alice@example.com".to_owned(), name: "echo".to_owned() };
    let id = bindu_identity::AgentId::derive(&name.author, &name.name);
    Did::bindu(&name, id)
}

fn place() -> Place {
    let policy = vec!["kv/data/keys".to_owned(), "kv/data/credentials".to_owned()];
    Place { did: did(), path: "kv/keys".to_owned(), kind: StoreKind::Vault, policy }
}

/// What ends a start with this observation: the row, the message and its cause.
fn end(observed: &Observed, policy: &Policy, outage: Option<&Outage>) -> (Row, String, String) {
    let plan = plan(observed, policy);
    assert!(matches!(plan.step, Step::Refuse | Step::LookAgain { at_most: None }), "{observed:?}: {plan:?}");
    let error = StartError::of_row(plan.row, observed, outage, place());
    (plan.row, error.to_string(), error.source().map(ToString::to_string).unwrap_or_default())
}

#[test]
fn each_row_that_ends_a_start_says_what_it_knows() {
    let lasting = |store, local| Observed { seen_for: DOUBT, ..seen(store, local) };
    let unavailable = |reason| lasting(Store::Unavailable(reason), Local::None);
    let proven = HydraNames::Key {
        key: Some(SigningKey::from_seed(&[9; 32]).public_key()),
        text: "K9".to_owned(),
        after_store: Some(1),
        after_local: None,
    };
    let forbids = Policy { on_absent: OnAbsent::Refuse, ..Policy::default() };
    let unknown = Observed {
        hydra: names(9),
        earlier: Earlier::Unknown(OutageReason::TimedOut),
        ..lasting(bare(1, 2), Local::None)
    };
    let named = Observed { hydra: names(9), ..lasting(Store::Absent, Local::None) };
    let key = SigningKey::from_seed(&[9; 32]).public_key();
    let named_key = format!("Hydra names the key {key}");
    let other = format!("its `did` is did:x, ours is {}", did());
    let named_by = format!("Hydra's client of {} names one", did());
    let bad_name =
        Observed { name_problem: Some("quotes".to_owned()), ..lasting(Store::Absent, Local::None) };
    let default = Policy::default();
    let cases: Vec<(Observed, &Policy, Row, &str, &str)> = vec![
        (
            lasting(Store::Malformed("no PEM".into()), Local::None),
            &default,
            Row::Malformed,
            "kv/keys holds no usable",
            "no PEM",
        ),
        (
            lasting(Store::OfAnotherAgent("did:x".into()), Local::None),
            &default,
            Row::OfAnotherAgent,
            "another agent",
            &other,
        ),
        (lasting(deleted(3), Local::None), &default, Row::DeletedNone, "kv/keys was deleted", ""),
        (named, &default, Row::AbsentNamed, &named_by, &named_key),
        (lasting(Store::Absent, Local::None), &forbids, Row::AbsentRefused, "no key at kv/keys", ""),
        (bad_name, &default, Row::AbsentBadName, "no new identity", "quotes"),
        (
            lasting(Store::Absent, Local::Unusable("half".into())),
            &default,
            Row::AbsentUnusable,
            "remembers a key",
            "half",
        ),
        (
            lasting(Store::Absent, Local::Unreadable("EIO".into())),
            &default,
            Row::AbsentUnreadable,
            "a key may be there",
            "EIO",
        ),
        (
            Observed { hydra: proven, ..lasting(stored(1, 1), Local::None) },
            &default,
            Row::PresentRolledBack,
            "name different keys",
            Row::PresentRolledBack.explain(),
        ),
        (
            lasting(Store::Locked("no password".into()), Local::None),
            &default,
            Row::Locked,
            "can't be opened",
            "no password",
        ),
        (
            lasting(stored(1, 1), Local::Locked("its own".into())),
            &default,
            Row::Locked,
            "can't be opened",
            "its own",
        ),
        (unavailable(OutageReason::WrongMount), &default, Row::WrongMountNone, "the store's mount", "words"),
        (lasting(Store::Denied, Local::None), &default, Row::DeniedNone, "denies reading kv/keys", ""),
        (
            unavailable(OutageReason::Unreadable),
            &default,
            Row::UnreadableNone,
            "directory can't be read",
            "words",
        ),
        (
            unavailable(OutageReason::LoginRejected),
            &default,
            Row::UnavailableNone,
            "the token or the login",
            "words",
        ),
        (unavailable(OutageReason::Sealed), &default, Row::UnavailableNone, "no believable answer", "words"),
        (
            unknown,
            &default,
            Row::PresentEarlierUnknown,
            "earlier versions of kv/keys",
            Row::PresentEarlierUnknown.explain(),
        ),
    ];
    for (observed, policy, row, message, cause) in cases {
        let outage = match observed.store {
            Store::Unavailable(reason) => Some(Outage::new(reason, "words")),
            _ => None,
        };
        let found = end(&observed, policy, outage.as_ref());
        assert_eq!(found.0, row);
        assert!(found.1.contains(message), "{row:?}: {}", found.1);
        assert!(found.2.contains(cause) && found.2.is_empty() == cause.is_empty(), "{row:?}: {}", found.2);
    }
}

#[test]
fn a_write_that_failed_says_where_and_why() {
    let full = Outage::new(OutageReason::Unreadable, "private.pem: No space left on device");
    let down = WriteFailure::Unavailable { reason: OutageReason::Unreadable, retry_after: None };
    let mount = WriteFailure::Unavailable { reason: OutageReason::WrongMount, retry_after: None };
    let heard = Heard { outage: Some(&full), refused: Some("too large") };
    let end = |failure, kind, was_absent, is_new| {
        let verdict = Verdict::Write { failure, was_absent, is_new };
        StartError::new(verdict, None, heard, Place { kind, ..place() })
    };
    let path = || "kv/keys".to_owned();
    let (file, vault) = (StoreKind::File, StoreKind::Vault);
    let outage = || Some(full.clone());
    let denied = |missing| StartError::WriteDenied { path: path(), policy: place().policy, missing };
    for (found, expected) in [
        (
            end(WriteFailure::Refused, vault, true, true),
            StartError::WriteRefused { path: path(), problem: Problem("too large".to_owned()) },
        ),
        (end(WriteFailure::Denied, file, true, true), StartError::DirectoryNotWritable { path: path() }),
        (end(WriteFailure::Denied, vault, true, true), denied(MissingRight::Create)),
        (end(WriteFailure::Denied, vault, false, false), denied(MissingRight::Update)),
        (
            end(down, file, true, true),
            StartError::NotKept { path: path(), is_new: true, is_full: true, outage: outage() },
        ),
        (end(mount, vault, true, true), StartError::WrongMount { outage: outage() }),
        (end(down, vault, true, true), StartError::WriteUnavailable { path: path(), outage: outage() }),
        (
            end(WriteFailure::Conflict, vault, false, false),
            StartError::WriteUnavailable { path: path(), outage: outage() },
        ),
    ] {
        assert_eq!(found, expected);
    }
}

#[test]
fn a_consent_names_the_key_if_there_was_one_before() {
    let mut observed = seen(Store::Absent, Local::None);
    observed.hydra = names(9);
    let named = NamedKey::seen(&observed).unwrap();
    assert_eq!((named.fingerprint.is_some(), named.must_be_named), (true, false));
    observed.taken_over = TakenOver::Unknown;
    assert!(NamedKey::seen(&observed).unwrap().must_be_named);
    observed.hydra =
        HydraNames::Key { key: None, text: "no key".to_owned(), after_store: None, after_local: None };
    assert_eq!(NamedKey::seen(&observed).unwrap().fingerprint, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    /// No observation ends a start with a bug's words, under no policy.
    #[test]
    fn every_row_that_ends_a_start_has_an_error(observed in any_observation(), refuses in any::<bool>()) {
        let (on_absent, on_unavailable) = match refuses {
            true => (OnAbsent::Refuse, OnUnavailable::Generate),
            false => (OnAbsent::Create, OnUnavailable::Wait),
        };
        let policy = Policy { on_absent, on_unavailable, ..Policy::default() };
        let plan = plan(&observed, &policy);
        if !observed.running && matches!(plan.step, Step::Refuse | Step::LookAgain { at_most: None }) {
            let error = StartError::of_row(plan.row, &observed, None, place());
            prop_assert!(!matches!(error, StartError::Bug { .. }), "{:?}: {}", plan, error);
        }
    }

    /// Whatever only a person's hand will change is told with an advice.
    #[test]
    fn every_degraded_row_that_waits_for_a_person_has_an_advice(observed in any_observation()) {
        let plan = plan(&observed, &Policy::default());
        let waits = match plan.degraded {
            Some(
                Reason::Foreign
                | Reason::RolledBack
                | Reason::ClientOfAnotherKey
                | Reason::RecordDeleted
                | Reason::RecordMalformed
                | Reason::RecordLocked
                | Reason::StoreDenied,
            ) => true,
            // The servers' return or time changes these.
            _ => false,
        };
        let advice = Advice::new(&plan, &observed, place());
        prop_assert!(plan.degraded.is_none() || advice.is_some() == waits, "{:?}: {:?}", plan, advice);
    }
}

/// Flags, variables and command lines are the program's: here is no word of them, not even in a comment.
#[test]
fn the_keeper_names_no_setting_and_no_command() {
    // In two pieces, or they would be found here.
    let words = [
        ("BINDU", "_"),
        ("VAULT", "_"),
        ("HYDRA", "__"),
        ("vault", " kv"),
        ("bindu", " identity"),
        ("bindu", " run"),
        ("bindu", " hydra"),
        ("bindu", " vault"),
        ("--take", "-over"),
        ("--data", "-dir"),
        ("--app", "ly"),
    ];
    let words = words.map(|(one, two)| format!("{one}{two}"));
    fn look(directory: &Path, words: &[String]) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path, words);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for word in words {
                assert!(!text.contains(word.as_str()), "{} says {word}", path.display());
            }
        }
    }
    look(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &words);
}
