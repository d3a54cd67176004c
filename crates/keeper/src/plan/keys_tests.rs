//! The table, row by row, and what no row may ever do.

use super::*;
use crate::plan::{
    RecreateKeys, TakeOver, TakenOver,
    ring::{Next, ROTATION_PAUSE, Ring, RingStep},
};
use bindu_identity::SigningKey;
use proptest::prelude::*;

pub(crate) fn key(seed: u8) -> PublicKey {
    SigningKey::from_seed(&[seed; 32]).public_key()
}

pub(crate) fn seen(store: Store, local: Local) -> Observed {
    Observed {
        store,
        local,
        hydra: HydraNames::NotAsked,
        running: false,
        seen_for: Duration::ZERO,
        earlier: Earlier::NotRead,
        lost: false,
        heard_store: false,
        taken_over: TakenOver::Nothing,
        age: None,
        provisional: false,
        name_problem: None,
    }
}

pub(crate) fn past(generation: u64, replaces: &[u8]) -> Lineage {
    Lineage {
        generation,
        replaces: replaces.iter().map(|seed| key(*seed).fingerprint()).collect(),
        statements: Vec::new(),
    }
}

pub(crate) fn record(seed: u8, version: Version, lineage: Lineage) -> Store {
    Store::Present(Stored {
        key: key(seed),
        version,
        lineage,
        has_lineage: true,
        ring: Ring::default(),
        interval: Some(60),
    })
}

pub(crate) fn stored(seed: u8, version: Version) -> Store {
    record(seed, version, Lineage::default())
}

/// A record as Python Bindu writes it.
pub(crate) fn bare(seed: u8, version: Version) -> Store {
    match stored(seed, version) {
        Store::Present(stored) => Store::Present(Stored { has_lineage: false, ..stored }),
        other => other,
    }
}

pub(crate) fn local(seed: u8, acknowledged: Option<Version>) -> Local {
    held(seed, acknowledged, false, Lineage::default())
}

pub(crate) fn held(seed: u8, acknowledged: Option<Version>, named: bool, lineage: Lineage) -> Local {
    let acknowledged = acknowledged.map(|version| Acknowledged { version, named });
    Local::Present { key: key(seed), acknowledged, lineage }
}

pub(crate) fn names(seed: u8) -> HydraNames {
    HydraNames::Key {
        key: Some(key(seed)),
        text: key(seed).to_string(),
        after_store: None,
        after_local: None,
    }
}

pub(crate) fn read(named: Option<Version>, whole: bool) -> Earlier {
    Earlier::Read { named, retired_by: None, whole, is_ours_since: false }
}

pub(crate) fn deleted(version: Version) -> Store {
    Store::Deleted { version, destroyed: false }
}

#[test]
fn each_row_does_what_the_table_says() {
    let policy = Policy::default();
    let back_up = |over| Step::BackUp { over };
    let doubt = Step::LookAgain { at_most: Some(DOUBT) };
    let cases = [
        (stored(1, 1), local(1, Some(1)), Row::PresentSame, Step::UseLocal),
        (stored(1, 1), local(1, None), Row::PresentSame, Step::UseLocal),
        (stored(1, 1), Local::None, Row::PresentNone, Step::UseStore),
        (stored(1, 1), Local::Unusable("half".into()), Row::PresentNone, Step::UseStore),
        (stored(1, 1), Local::Unreadable("x".into()), Row::PresentUnreadable, Step::UseStoreOnly),
        (stored(2, 1), local(1, None), Row::PresentUnacknowledged, Step::UseStore),
        (record(2, 2, past(1, &[1])), local(1, Some(1)), Row::PresentRotation, Step::UseStore),
        (stored(2, 2), local(1, Some(1)), Row::PresentForeign, doubt),
        (stored(2, 9), held(1, Some(4), true, past(1, &[2])), Row::PresentOlder, doubt),
        (Store::Absent, local(1, None), Row::AbsentPresent, back_up(None)),
        (Store::Absent, local(1, Some(3)), Row::AbsentPresent, back_up(None)),
        (Store::Absent, Local::None, Row::AbsentNone, Step::Generate),
        (Store::Absent, Local::Unusable("gone".into()), Row::AbsentUnusable, Step::Refuse),
        (Store::Absent, Local::Unreadable("EIO".into()), Row::AbsentUnreadable, Step::Refuse),
        (deleted(3), local(1, Some(3)), Row::DeletedAcknowledged, back_up(Some(3))),
        (deleted(5), local(1, Some(3)), Row::DeletedDoubtful, Step::UseLocal),
        (deleted(5), local(1, None), Row::DeletedNone, Step::Refuse),
        (deleted(5), Local::None, Row::DeletedNone, Step::Refuse),
        (deleted(5), Local::Unreadable("EIO".into()), Row::DeletedNone, Step::Refuse),
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
        // The first row that matches counts.
        (Store::Malformed("x".into()), Local::Locked("x".into()), Row::Malformed, Step::Refuse),
        (Store::Absent, Local::Locked("x".into()), Row::Locked, Step::Refuse),
    ];
    for (store, local, row, step) in cases {
        let plan = plan(&seen(store.clone(), local.clone()), &policy);
        assert_eq!((plan.row, plan.step), (row, step), "{store:?} / {local:?}");
    }
}

#[test]
fn a_key_that_hydra_names_forbids_a_new_one() {
    let mut observed = seen(Store::Absent, Local::None);
    observed.hydra = names(9);
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

/// Statements lead from the store's key to Hydra's: rolled back. A name alone proves nothing.
#[test]
fn only_statements_prove_a_rollback() {
    let mut observed = seen(stored(1, 2), Local::None);
    observed.hydra = names(2);
    observed.earlier = read(None, true);
    assert_eq!(plan(&observed, &Policy::default()).row, Row::PresentNone, "anybody can write a name there");
    observed.hydra = HydraNames::Key {
        key: Some(key(2)),
        text: key(2).to_string(),
        after_store: Some(1),
        after_local: None,
    };
    for local in [Local::None, local(1, Some(2)), Local::Unreadable("x".into())] {
        observed.local = local;
        observed.seen_for = Duration::ZERO;
        assert_eq!(plan(&observed, &Policy::default()).step, Step::LookAgain { at_most: Some(DOUBT) });
        observed.seen_for = DOUBT;
        let refused = plan(&observed, &Policy::default());
        assert_eq!((refused.row, refused.step), (Row::PresentRolledBack, Step::Refuse));
    }
    observed.running = true;
    observed.local = local(1, Some(2));
    let running = plan(&observed, &Policy::default());
    assert_eq!(
        (running.step, running.sure, running.degraded),
        (Step::UseLocal, false, Some(Reason::RolledBack))
    );
    observed.running = false;
    observed.local = Local::None;
    let consent = Policy { take_over: TakeOver::Key(key(2).fingerprint()), ..Policy::default() };
    assert_eq!(plan(&observed, &consent).step, Step::UseStore);
}

#[test]
fn an_overwritten_record_is_not_followed() {
    let mut observed = seen(bare(1, 4), Local::None);
    observed.hydra = names(2);
    observed.earlier = read(Some(3), true);
    for (local, follows) in [
        (Local::None, false),
        (local(1, None), false),
        (local(1, Some(4)), false),
        // Hydra named it when it was acknowledged.
        (held(1, Some(4), true, Lineage::default()), true),
    ] {
        observed.local = local;
        let earlier = plan(&observed, &Policy::default());
        if follows {
            assert_eq!(earlier.row, Row::PresentSame);
        } else {
            assert_eq!(
                (earlier.row, earlier.step),
                (Row::PresentOverwritten, Step::UseEarlier { version: 3 })
            );
            assert_eq!((earlier.sure, earlier.degraded), (false, Some(Reason::Foreign)));
        }
    }
    observed.local = Local::None;
    let consent = Policy { take_over: TakeOver::Any, ..Policy::default() };
    assert_eq!(plan(&observed, &consent).step, Step::UseStore);
    observed.earlier = Earlier::Unknown(OutageReason::TimedOut);
    assert_eq!(plan(&observed, &Policy::default()).step, Step::LookAgain { at_most: None });
    // A rotation: what Hydra names is replaced.
    observed.store = record(1, 4, past(1, &[2]));
    assert_eq!(plan(&observed, &Policy::default()).step, Step::UseStore);
}

/// A retired key never comes back by itself, whatever Hydra names.
#[test]
fn a_retired_key_in_the_store_is_not_followed() {
    let mut observed = seen(bare(1, 3), Local::None);
    observed.earlier = Earlier::Read { named: None, retired_by: Some(2), whole: true, is_ours_since: false };
    for hydra in [HydraNames::NotAsked, HydraNames::Unknown, HydraNames::NoClient, names(1), names(2)] {
        for local in [Local::None, local(1, None), held(1, Some(1), true, Lineage::default())] {
            (observed.hydra, observed.local) = (hydra.clone(), local);
            let plan = plan(&observed, &Policy::default());
            assert_eq!((plan.row, plan.step), (Row::PresentOverwritten, Step::UseEarlier { version: 2 }));
            assert!(!plan.sure);
        }
    }
}

#[test]
fn what_cannot_be_read_proves_nothing() {
    let mut observed = seen(bare(1, 4), Local::None);
    observed.hydra = names(2);
    observed.earlier = read(None, false);
    for (local, step) in [
        (Local::None, Step::UseStoreOnly),
        (Local::Unreadable("x".into()), Step::UseStoreOnly),
        (local(3, None), Step::UseStoreOnly),
        (local(1, None), Step::UseLocal),
    ] {
        observed.local = local;
        let plan = plan(&observed, &Policy::default());
        assert_eq!((plan.row, plan.step, plan.sure, plan.unready), (Row::PresentUnproven, step, false, true));
        assert_eq!(plan.degraded, Some(Reason::ClientOfAnotherKey));
    }
    observed.local = Local::None;
    let consent = Policy { take_over: TakeOver::Any, ..Policy::default() };
    assert_eq!(plan(&observed, &consent).step, Step::UseStore);
    observed.store = stored(1, 4);
    assert_eq!(
        plan(&observed, &Policy::default()).row,
        Row::PresentNone,
        "a record with lineage speaks for itself"
    );
}

/// Somebody may have rotated between the version that we know and the deletion.
#[test]
fn a_deleted_record_is_written_back_only_if_nobody_can_have_rotated() {
    let mut observed = seen(deleted(5), held(1, Some(3), true, Lineage::default()));
    let since = |is_ours_since| Earlier::Read { named: None, retired_by: None, whole: false, is_ours_since };
    for (hydra, earlier, writes) in [
        (names(1), since(true), true),
        (names(1), since(false), false),
        (names(1), Earlier::Unknown(OutageReason::TimedOut), false),
        (names(2), since(true), false),
        (HydraNames::Unknown, since(true), false),
        (HydraNames::NoClient, since(true), false),
        (HydraNames::NotAsked, since(true), false),
    ] {
        (observed.hydra, observed.earlier) = (hydra, earlier);
        let plan = plan(&observed, &Policy::default());
        let want = match writes {
            true => (Row::DeletedAcknowledged, Step::BackUp { over: Some(5) }, true),
            false => (Row::DeletedDoubtful, Step::UseLocal, false),
        };
        assert_eq!((plan.row, plan.step, plan.sure), want, "{:?} {:?}", observed.hydra, observed.earlier);
    }
    observed.running = true;
    assert_eq!(plan(&observed, &Policy::default()).row, Row::DeletedRunning);
}

#[test]
fn an_absent_record_is_written_only_when_hydra_has_been_heard() {
    for running in [false, true] {
        for acknowledged in [None, Some(2)] {
            let mut observed = seen(Store::Absent, held(2, acknowledged, true, past(1, &[1])));
            (observed.running, observed.seen_for) = (running, DOUBT);
            observed.hydra = HydraNames::Unknown;
            let silent = plan(&observed, &Policy::default());
            assert_eq!((silent.row, silent.sure), (Row::AbsentHydraSilent, false));
            observed.hydra = names(3);
            let other = plan(&observed, &Policy::default());
            assert_eq!((other.row, other.sure), (Row::AbsentNamedOtherwise, false));
            // The rotation was done while Hydra was away.
            for hydra in [names(1), names(2), HydraNames::NoClient, HydraNames::NoKey, HydraNames::NotAsked] {
                observed.hydra = hydra;
                assert_eq!(plan(&observed, &Policy::default()).step, Step::BackUp { over: None });
            }
        }
    }
}

#[test]
fn a_name_that_ours_replaces_supersedes_nothing() {
    let ours = held(2, Some(2), true, past(1, &[1]));
    let mut observed = seen(Store::Unavailable(OutageReason::Sealed), ours);
    for (hydra, heard, row) in [
        (names(1), false, Row::UnavailablePresent),
        (names(2), false, Row::UnavailablePresent),
        (names(3), false, Row::UnavailableSuperseded),
        (names(3), true, Row::UnavailablePresent),
    ] {
        (observed.hydra, observed.heard_store) = (hydra, heard);
        let plan = plan(&observed, &Policy::default());
        assert_eq!((plan.row, plan.unready), (row, row == Row::UnavailableSuperseded));
    }
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
    let step = |step| Step::Ring { step, over: 3 };
    let prepare = step(RingStep::Prepare { at_once: true, compromised: false });
    let always = Policy { recreate_keys: RecreateKeys::Always, ..Policy::default() };
    let once = Policy { recreate_keys: RecreateKeys::Once(key(1).fingerprint()), ..Policy::default() };
    let mut observed = seen(stored(1, 3), local(1, Some(3)));
    assert_eq!(plan(&observed, &once).step, prepare);
    assert_eq!(plan(&observed, &always).step, prepare, "a record without a date is an old one");
    for (age, want) in [(ROTATION_PAUSE, prepare), (ROTATION_PAUSE / 2, Step::UseLocal)] {
        observed.age = Some(age);
        assert_eq!(plan(&observed, &always).step, want);
    }
    // Half-way: the prepared key is taken, no other is made.
    if let Store::Present(stored) = &mut observed.store {
        stored.ring.next = Some(Next { key: key(2), is_due: true, is_compromised: false });
    }
    for policy in [&once, &always] {
        assert_eq!(plan(&observed, policy).step, step(RingStep::Activate { compromised: false }));
    }
    assert_eq!(plan(&observed, &Policy::default()).step, Step::UseLocal);
    observed.running = true;
    assert_eq!(plan(&observed, &once).step, Step::UseLocal, "at a start only");
    for store in [Store::Absent, stored(2, 3), Store::Denied, Store::Unavailable(OutageReason::Sealed)] {
        let observed = seen(store.clone(), local(1, Some(3)));
        assert!(!matches!(plan(&observed, &once).step, Step::Ring { .. }), "{store:?}");
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

fn any_lineage() -> impl Strategy<Value = Lineage> {
    (0u64..4, proptest::collection::vec(1u8..4, 0..2)).prop_map(|(generation, keys)| past(generation, &keys))
}

fn any_store() -> impl Strategy<Value = Store> {
    prop_oneof![
        (1u8..4, 1u64..4, any_lineage(), any::<bool>()).prop_map(|(seed, version, lineage, has_lineage)| {
            let mut lineage = lineage;
            lineage.replaces.retain(|old| *old != key(seed).fingerprint());
            match record(seed, version, lineage) {
                Store::Present(stored) => Store::Present(Stored { has_lineage, ..stored }),
                other => other,
            }
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
        (1u8..4, proptest::option::of(1u64..4), any::<bool>(), any_lineage())
            .prop_map(|(seed, acknowledged, named, lineage)| held(seed, acknowledged, named, lineage)),
        Just(Local::None),
        Just(Local::Unusable("x".into())),
        Just(Local::Unreadable("x".into())),
        Just(Local::Locked("x".into())),
    ]
}

fn any_hydra() -> impl Strategy<Value = HydraNames> {
    prop_oneof![
        Just(HydraNames::NotAsked),
        Just(HydraNames::Unknown),
        Just(HydraNames::NoClient),
        Just(HydraNames::NoKey),
        (1u8..4, proptest::option::of(1u64..4), proptest::option::of(1u64..4)).prop_map(
            |(seed, after_store, after_local)| HydraNames::Key {
                key: Some(key(seed)),
                text: key(seed).to_string(),
                after_store,
                after_local,
            }
        ),
        Just(HydraNames::Key { key: None, text: "no key".to_owned(), after_store: None, after_local: None }),
    ]
}

pub(crate) fn any_observation() -> impl Strategy<Value = Observed> {
    let version = || proptest::option::of(1u64..4);
    let earlier = prop_oneof![
        Just(Earlier::NotRead),
        Just(Earlier::Unknown(OutageReason::TimedOut)),
        (version(), version(), any::<bool>(), any::<bool>()).prop_map(
            |(named, retired_by, whole, is_ours_since)| Earlier::Read {
                named,
                retired_by,
                whole,
                is_ours_since
            }
        ),
    ];
    let seen_for = prop_oneof![Just(Duration::ZERO), Just(DOUBT)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (any_store(), any_local(), any_hydra(), earlier, seen_for, flags).prop_map(
        |(store, local, hydra, earlier, seen_for, (running, lost, provisional, heard_store))| Observed {
            store,
            local,
            hydra,
            running,
            seen_for,
            earlier,
            lost,
            heard_store,
            age: None,
            provisional,
            taken_over: TakenOver::Nothing,
            name_problem: None,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

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
                prop_assert!(deleted_there && !observed.running);
            }
            _ => {}
        }
    }

    /// Invariant 1: a key that the store once held gives way only to one that replaces it, of a higher generation.
    #[test]
    fn an_acknowledged_key_gives_way_to_a_rotation_only(observed in any_observation()) {
        let plan = plan(&observed, &Policy::default());
        if let (Step::UseStore | Step::UseStoreOnly, Local::Present { key: ours, acknowledged: Some(_), lineage }) =
            (plan.step, &observed.local)
        {
            let replaced = match &observed.store {
                Store::Present(stored) => {
                    stored.replaces(ours) && stored.lineage.generation > lineage.generation
                }
                _ => false,
            };
            prop_assert!(replaced);
        }
    }

    /// A key is written to the store only if Hydra names no other that it doesn't replace, and is heard.
    #[test]
    fn nothing_is_written_against_hydra(observed in any_observation()) {
        if let Step::BackUp { .. } = plan(&observed, &Policy::default()).step {
            let is_deleted = matches!(observed.store, Store::Deleted { .. });
            prop_assert!(observed.hydra.is_heard() || is_deleted);
            if let (HydraNames::Key { key: Some(named), .. }, Local::Present { key, lineage, .. }) =
                (&observed.hydra, &observed.local)
                && observed.store == Store::Absent
            {
                prop_assert!(named == key || lineage.replaces_key(named));
            }
        }
    }

    /// What is not sure says why, and writes nothing to the store.
    #[test]
    fn not_sure_has_a_reason(observed in any_observation()) {
        let plan = plan(&observed, &Policy::default());
        let uses = matches!(
            plan.step,
            Step::UseLocal | Step::UseStore | Step::UseStoreOnly | Step::UseEarlier { .. }
        );
        if uses && !plan.sure {
            prop_assert!(plan.degraded.is_some());
        }
        if matches!(plan.step, Step::BackUp { .. } | Step::Ring { .. } | Step::Generate) {
            prop_assert!(plan.sure);
        }
    }

    /// A running agent never exits and never makes a key.
    #[test]
    fn a_running_agent_keeps_its_key(observed in any_observation()) {
        let observed = Observed { running: true, ..observed };
        if let Local::Present { .. } = observed.local {
            let step = plan(&observed, &Policy::default()).step;
            prop_assert!(!matches!(step, Step::Refuse | Step::Generate | Step::GenerateProvisional));
        }
    }

    /// A rotation replaces the key that is there, at a start, and only if all is well with it.
    #[test]
    fn a_rotation_replaces_what_is_there(observed in any_observation()) {
        let policy = Policy { recreate_keys: RecreateKeys::Always, ..Policy::default() };
        if let Step::Ring { over, .. } = plan(&observed, &policy).step {
            let without = plan(&observed, &Policy::default());
            prop_assert!(without.sure && !observed.running);
            let is_there = matches!(&observed.store, Store::Present(stored) if stored.version == over);
            prop_assert!(is_there);
        }
    }

    /// Without consent, and with nothing on disk, the key that Hydra names and the record once held is not given up.
    #[test]
    fn the_named_key_of_an_earlier_version_stays(observed in any_observation()) {
        let plan = plan(&observed, &Policy::default());
        let held = match observed.earlier {
            Earlier::Read { named, .. } => named.is_some(),
            _ => false,
        };
        if let (Step::UseStore, HydraNames::Key { key: Some(named), .. }, Store::Present(stored)) =
            (plan.step, &observed.hydra, &observed.store)
            && held
            && observed.local.is_bare()
        {
            prop_assert!(*named == stored.key || stored.replaces(named));
        }
    }
}

/// A `true` that was left in place does not go back behind a rotation: only a consent to that very key does.
#[test]
fn a_consent_to_any_key_does_not_cover_one_that_was_rotated_to() {
    let look = |take_over: TakeOver, taken_over: TakenOver| {
        let mut seen = seen(stored(1, 3), Local::None);
        let led_to = HydraNames::Key {
            key: Some(key(9)),
            text: key(9).to_string(),
            after_store: Some(4),
            after_local: None,
        };
        (seen.hydra, seen.seen_for, seen.taken_over) = (led_to, DOUBT, taken_over);
        plan(&seen, &Policy { take_over, ..Policy::default() })
    };
    let fingerprint = key(9).fingerprint();
    let known = TakenOver::Key(fingerprint.to_string());
    assert_eq!(look(TakeOver::Any, TakenOver::Nothing).row, Row::PresentRolledBack);
    assert_eq!(look(TakeOver::Any, TakenOver::Unknown).row, Row::PresentRolledBack);
    assert_eq!(look(TakeOver::Any, known).step, Step::UseStore, "it was named when it was consented to");
    assert_eq!(look(TakeOver::Key(fingerprint), TakenOver::Nothing).step, Step::UseStore);
}

/// A `true` that was left in place after a take-over consents to nothing new.
#[test]
fn an_old_consent_covers_the_old_key_only() {
    let policy = Policy { take_over: TakeOver::Any, ..Policy::default() };
    let known = |seed: u8| TakenOver::Key(key(seed).fingerprint().to_string());
    let look = |taken_over: TakenOver| {
        let mut seen = seen(Store::Absent, Local::None);
        seen.hydra = names(9);
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
    let mut overwritten = seen(bare(1, 3), Local::None);
    overwritten.hydra = names(9);
    overwritten.earlier = read(Some(2), true);
    overwritten.taken_over = known(8);
    assert_eq!(plan(&overwritten, &policy).row, Row::PresentOverwritten);
    overwritten.taken_over = TakenOver::Nothing;
    assert_eq!(plan(&overwritten, &policy).step, Step::UseStore);
}
