//! The table, row by row, and what no row may ever do.

use super::*;
use crate::plan::TakeOver;
use bindu_identity::SigningKey;
use proptest::prelude::*;

fn key(seed: u8) -> PublicKey {
    SigningKey::from_seed(&[seed; 32]).public_key()
}

fn seen(store: Store, local: Local) -> Observed {
    Observed {
        store,
        local,
        hydra: HydraNames::NotAsked,
        running: false,
        seen_for: Duration::ZERO,
        earlier: Earlier::NotRead,
        lost: false,
        taken_over: TakenOver::Nothing,
        age: None,
        provisional: false,
        name_problem: None,
    }
}

fn stored(seed: u8, version: Version) -> Store {
    Store::Present { key: key(seed), version, replaces: Vec::new() }
}

fn local(seed: u8, acknowledged: Option<Version>) -> Local {
    Local::Present { key: key(seed), acknowledged }
}

fn names(seed: u8, version: Option<Version>) -> HydraNames {
    HydraNames::Key { key: key(seed).to_string(), version }
}

#[test]
fn each_row_does_what_the_table_says() {
    let policy = Policy::default();
    let rotation = Store::Present { key: key(2), version: 2, replaces: vec![key(1).fingerprint()] };
    let back_up = |over| Step::BackUp { over };
    let cases = [
        (stored(1, 1), local(1, Some(1)), Row::PresentSame, Step::UseLocal),
        (stored(1, 1), local(1, None), Row::PresentSame, Step::UseLocal),
        (stored(1, 1), Local::None, Row::PresentNone, Step::UseStore),
        (stored(1, 1), Local::Unusable("half".into()), Row::PresentNone, Step::UseStore),
        (stored(2, 1), local(1, None), Row::PresentUnacknowledged, Step::UseStore),
        (rotation, local(1, Some(1)), Row::PresentRotation, Step::UseStore),
        (stored(2, 2), local(1, Some(1)), Row::PresentForeign, Step::LookAgain { at_most: Some(DOUBT) }),
        (stored(2, 1), local(1, Some(4)), Row::PresentOlder, Step::LookAgain { at_most: Some(DOUBT) }),
        (Store::Absent, local(1, None), Row::AbsentPresent, back_up(None)),
        (Store::Absent, local(1, Some(3)), Row::AbsentPresent, back_up(None)),
        (Store::Absent, Local::None, Row::AbsentNone, Step::Generate),
        (Store::Absent, Local::Unusable("gone".into()), Row::AbsentUnusable, Step::Refuse),
        (
            Store::Deleted { version: 5, destroyed: true },
            local(1, Some(3)),
            Row::DeletedAcknowledged,
            back_up(Some(5)),
        ),
        (Store::Deleted { version: 5, destroyed: false }, local(1, None), Row::DeletedNone, Step::Refuse),
        (Store::Deleted { version: 5, destroyed: false }, Local::None, Row::DeletedNone, Step::Refuse),
        (Store::Malformed("x".into()), local(1, Some(1)), Row::Malformed, Step::Refuse),
        (Store::OfAnotherAgent("x".into()), Local::None, Row::OfAnotherAgent, Step::Refuse),
        (Store::Unavailable(OutageReason::Sealed), local(1, None), Row::UnavailablePresent, Step::UseLocal),
        (
            Store::Unavailable(OutageReason::Sealed),
            Local::None,
            Row::UnavailableNone,
            Step::LookAgain { at_most: None },
        ),
        (Store::Unavailable(OutageReason::WrongMount), Local::None, Row::WrongMountNone, Step::Refuse),
        (Store::Denied, local(1, Some(1)), Row::DeniedPresent, Step::UseLocal),
        (Store::Denied, Local::None, Row::DeniedNone, Step::Refuse),
        (Store::Locked("x".into()), Local::None, Row::Locked, Step::Refuse),
    ];
    for (store, local, row, step) in cases {
        let plan = plan(&seen(store.clone(), local.clone()), &policy);
        assert_eq!((plan.row, plan.step), (row, step), "{store:?} / {local:?}");
    }
}

#[test]
fn a_key_that_hydra_names_forbids_a_new_one() {
    let mut observed = seen(Store::Absent, Local::None);
    observed.hydra = names(9, None);
    let policy = Policy::default();
    assert_eq!(plan(&observed, &policy).step, Step::LookAgain { at_most: Some(DOUBT) });
    observed.seen_for = DOUBT;
    assert_eq!(plan(&observed, &policy).step, Step::Refuse);
    for (take_over, step) in [
        (TakeOver::Any, Step::Generate),
        (TakeOver::Key(key(9).fingerprint()), Step::Generate),
        (TakeOver::Key(key(8).fingerprint()), Step::Refuse),
    ] {
        assert_eq!(plan(&observed, &Policy { take_over, ..Policy::default() }).step, step);
    }
}

#[test]
fn a_store_behind_hydra_was_rolled_back() {
    let mut observed = seen(stored(1, 2), Local::None);
    observed.hydra = names(2, Some(3));
    observed.earlier = Earlier::Read { named: None, whole: true };
    assert_eq!(plan(&observed, &Policy::default()).step, Step::LookAgain { at_most: Some(DOUBT) });
    observed.seen_for = DOUBT;
    let refused = plan(&observed, &Policy::default());
    assert_eq!((refused.row, refused.step), (Row::PresentRolledBack, Step::Refuse));
    let consent = Policy { take_over: TakeOver::Any, ..Policy::default() };
    assert_eq!(plan(&observed, &consent).step, Step::UseStore);
    observed.hydra = names(1, None);
    assert_eq!(plan(&observed, &Policy::default()).row, Row::PresentNone);
}

#[test]
fn an_overwritten_record_is_not_followed() {
    let mut observed = seen(stored(1, 4), Local::None);
    observed.hydra = names(2, Some(3));
    observed.earlier = Earlier::Read { named: Some(3), whole: true };
    let earlier = plan(&observed, &Policy::default());
    assert_eq!((earlier.row, earlier.step), (Row::PresentOverwritten, Step::UseEarlier { version: 3 }));
    assert_eq!((earlier.sure, earlier.degraded), (false, Some(Reason::Foreign)));
    let consent = Policy { take_over: TakeOver::Any, ..Policy::default() };
    assert_eq!(plan(&observed, &consent).step, Step::UseStore);
    observed.earlier = Earlier::Unknown(OutageReason::TimedOut);
    assert_eq!(plan(&observed, &Policy::default()).step, Step::LookAgain { at_most: None });
    // A rotation: what Hydra names is replaced.
    observed.store = Store::Present { key: key(1), version: 4, replaces: vec![key(2).fingerprint()] };
    assert_eq!(plan(&observed, &Policy::default()).step, Step::UseStore);
}

#[test]
fn who_has_lost_a_race_makes_no_second_key_at_once() {
    let mut observed = seen(Store::Absent, Local::None);
    observed.lost = true;
    assert_eq!(plan(&observed, &Policy::default()).row, Row::AbsentLost);
    observed.local = local(1, None);
    assert_eq!(plan(&observed, &Policy::default()).row, Row::AbsentLost);
    observed.seen_for = DOUBT;
    assert_eq!(plan(&observed, &Policy::default()).row, Row::AbsentPresent);
}

#[test]
fn a_rotation_is_done_once() {
    let rotation = Step::Rotate { over: 3 };
    let always = Policy { recreate_keys: RecreateKeys::Always, ..Policy::default() };
    let once = Policy { recreate_keys: RecreateKeys::Once(key(1).fingerprint()), ..Policy::default() };
    let mut observed = seen(stored(1, 3), local(1, Some(3)));
    assert_eq!(plan(&observed, &once).step, rotation);
    assert_eq!(plan(&observed, &always).step, rotation, "a record without a date is an old one");
    for (age, step) in [(ROTATION_PAUSE, rotation), (ROTATION_PAUSE / 2, Step::UseLocal)] {
        observed.age = Some(age);
        assert_eq!(plan(&observed, &always).step, step);
    }
    observed.running = true;
    assert_eq!(plan(&observed, &once).step, Step::UseLocal, "at a start only");
    for store in [Store::Absent, stored(2, 3), Store::Denied, Store::Unavailable(OutageReason::Sealed)] {
        let observed = seen(store.clone(), local(1, Some(3)));
        assert!(!matches!(plan(&observed, &once).step, Step::Rotate { .. }), "{store:?}");
    }
}

#[test]
fn a_foreign_key_is_looked_at_again_and_then_refused() {
    let mut observed = seen(stored(2, 2), local(1, Some(1)));
    observed.seen_for = DOUBT;
    let foreign = plan(&observed, &Policy::default());
    assert_eq!(
        (foreign.step, foreign.sure, foreign.degraded),
        (Step::UseLocal, false, Some(Reason::Foreign))
    );
}

fn any_store() -> impl Strategy<Value = Store> {
    prop_oneof![
        (1u8..4, 1u64..4, proptest::collection::vec(1u8..4, 0..2)).prop_map(|(seed, version, replaces)| {
            let replaces =
                replaces.into_iter().filter(|old| *old != seed).map(|old| key(old).fingerprint()).collect();
            Store::Present { key: key(seed), version, replaces }
        }),
        Just(Store::Absent),
        (1u64..4, any::<bool>()).prop_map(|(version, destroyed)| Store::Deleted { version, destroyed }),
        Just(Store::Malformed("x".into())),
        Just(Store::OfAnotherAgent("x".into())),
        Just(Store::Locked("x".into())),
        Just(Store::Denied),
        Just(Store::Unavailable(OutageReason::Unreachable)),
        Just(Store::Unavailable(OutageReason::WrongMount)),
    ]
}

fn any_local() -> impl Strategy<Value = Local> {
    prop_oneof![
        (1u8..4, proptest::option::of(1u64..4)).prop_map(|(seed, acknowledged)| local(seed, acknowledged)),
        Just(Local::None),
        Just(Local::Unusable("x".into())),
        Just(Local::Locked("x".into())),
    ]
}

fn any_observation() -> impl Strategy<Value = Observed> {
    let hydra = prop_oneof![
        Just(HydraNames::NotAsked),
        Just(HydraNames::Unknown),
        Just(HydraNames::NoClient),
        Just(HydraNames::NoKey),
        (1u8..4, proptest::option::of(1u64..4)).prop_map(|(seed, version)| names(seed, version)),
    ];
    let earlier = prop_oneof![
        Just(Earlier::NotRead),
        Just(Earlier::Unknown(OutageReason::TimedOut)),
        (proptest::option::of(1u64..4), any::<bool>())
            .prop_map(|(named, whole)| Earlier::Read { named, whole }),
    ];
    let seen_for = prop_oneof![Just(Duration::ZERO), Just(DOUBT)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (any_store(), any_local(), hydra, earlier, seen_for, flags).prop_map(
        |(store, local, hydra, earlier, seen_for, (running, lost, provisional))| Observed {
            store,
            local,
            hydra,
            running,
            seen_for,
            earlier,
            lost,
            age: None,
            provisional,
            taken_over: TakenOver::Nothing,
            name_problem: None,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Invariant 4: only a positive "there is nothing" leads to a new key.
    #[test]
    fn only_an_absence_generates(observed in any_observation()) {
        if plan(&observed, &Policy::default()).step == Step::Generate {
            prop_assert_eq!(&observed.store, &Store::Absent);
            prop_assert_eq!(&observed.local, &Local::None);
            let named = matches!(observed.hydra, HydraNames::Key { .. });
            prop_assert!(!named);
        }
    }

    /// Invariant 3: nothing is written over a record that is there.
    #[test]
    fn only_nothing_is_written_over(observed in any_observation()) {
        match plan(&observed, &Policy::default()).step {
            Step::BackUp { over: None } | Step::Generate => prop_assert_eq!(&observed.store, &Store::Absent),
            Step::BackUp { over: Some(over) } => {
                let deleted_there = matches!(observed.store, Store::Deleted { version, .. } if version == over);
                prop_assert!(deleted_there);
            }
            _ => {}
        }
    }

    /// Invariant 1: a key that the store once held gives way only to one that replaces it.
    #[test]
    fn an_acknowledged_key_gives_way_to_a_rotation_only(observed in any_observation()) {
        let plan = plan(&observed, &Policy::default());
        if let (Step::UseStore, Local::Present { key: ours, acknowledged: Some(_) }) = (plan.step, &observed.local) {
            let replaced = match &observed.store {
                Store::Present { replaces, .. } => replaces.contains(&ours.fingerprint()),
                _ => false,
            };
            prop_assert!(replaced);
        }
    }

    /// What is not sure says why.
    #[test]
    fn not_sure_has_a_reason(observed in any_observation()) {
        let plan = plan(&observed, &Policy::default());
        if plan.step == Step::UseLocal && !plan.sure {
            prop_assert!(plan.degraded.is_some());
        }
    }

    /// A rotation replaces the key that is there, at a start, and only where all is well with it.
    #[test]
    fn a_rotation_replaces_what_is_there(observed in any_observation()) {
        let policy = Policy { recreate_keys: RecreateKeys::Always, ..Policy::default() };
        if let Step::Rotate { over } = plan(&observed, &policy).step {
            let without = plan(&observed, &Policy::default());
            prop_assert!(without.sure && !observed.running);
            let is_there = matches!(observed.store, Store::Present { version, .. } if version == over);
            prop_assert!(is_there);
        }
    }

    /// Without consent, and with nothing on disk, the key that Hydra names and the record once held is not given up.
    #[test]
    fn the_named_key_of_an_earlier_version_stays(observed in any_observation()) {
        let plan = plan(&observed, &Policy::default());
        let is_bare = matches!(observed.local, Local::None | Local::Unusable(_));
        if let (Step::UseStore, HydraNames::Key { key: named, .. }, Earlier::Read { named: Some(_), .. }, Store::Present { key, replaces, .. }) =
            (plan.step, &observed.hydra, observed.earlier, &observed.store)
            && is_bare
        {
            let replaced = named.parse::<PublicKey>().is_ok_and(|named| replaces.contains(&named.fingerprint()));
            prop_assert!(*named == key.to_string() || replaced);
        }
    }
}

/// A `true` that was left in place after a take-over consents to nothing new.
#[test]
fn an_old_consent_covers_the_old_key_only() {
    let policy = Policy { take_over: TakeOver::Any, ..Policy::default() };
    let known = |seed: u8| TakenOver::Key(key(seed).fingerprint().to_string());
    let look = |taken_over: TakenOver| {
        let mut seen = seen(Store::Absent, Local::None);
        seen.hydra = names(9, None);
        seen.seen_for = DOUBT;
        seen.taken_over = taken_over;
        plan(&seen, &policy).step
    };
    assert_eq!(look(TakenOver::Nothing), Step::Generate);
    assert_eq!(look(known(9)), Step::Generate, "the same key again");
    assert_eq!(look(known(8)), Step::Refuse, "another one than was consented to");
    assert_eq!(
        look(TakenOver::Unknown),
        Step::Refuse,
        "a record that can't be read is not one that says nothing"
    );
    let mut overwritten = seen(stored(1, 3), Local::None);
    overwritten.hydra = names(9, None);
    overwritten.earlier = Earlier::Read { named: Some(2), whole: true };
    overwritten.taken_over = known(8);
    assert_eq!(plan(&overwritten, &policy).row, Row::PresentOverwritten);
    overwritten.taken_over = TakenOver::Nothing;
    assert_eq!(plan(&overwritten, &policy).step, Step::UseStore);
}
