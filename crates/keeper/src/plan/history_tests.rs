//! What earlier versions prove, and what they don't.

use super::*;
use crate::plan::keys::{
    self, Acknowledged,
    tests::{bare, key, names},
};

fn past(seed: u8, lineage: Option<(u64, &[u8])>) -> Past {
    Past::Key {
        key: key(seed),
        lineage: lineage.map(|(generation, replaces)| of(generation, replaces)),
        has_next: false,
    }
}

fn of(generation: u64, replaces: &[u8]) -> Lineage {
    let replaces = replaces.iter().map(|seed| key(*seed).fingerprint()).collect();
    Lineage { generation, replaces, statements: Vec::new() }
}

fn seen(store: Store, local: Local, hydra: HydraNames) -> Observed {
    Observed { hydra, ..keys::tests::seen(store, local) }
}

fn held(seed: u8, version: Version) -> Local {
    let acknowledged = Some(Acknowledged { version, named: true });
    Local::Present { key: key(seed), acknowledged, lineage: Lineage::default() }
}

#[test]
fn a_dropped_lineage_is_read_from_the_latest_version_with_the_same_key() {
    let mut observed = seen(bare(2, 5), Local::None, names(2));
    assert_eq!(wanted(&observed), Some(1..=4));
    let history = [
        (4, past(2, None)),
        (3, past(2, Some((1, &[1])))),
        (2, past(2, Some((7, &[9])))),
        (1, past(1, Some((0, &[])))),
    ];
    look_back(&mut observed, &history);
    let Store::Present(stored) = &observed.store else { panic!("a record") };
    assert_eq!(stored.lineage, of(1, &[1]), "as one set, from the latest");
    assert!(!stored.has_lineage, "the record itself does not say so");
    assert!(is_rewritten(stored, &history));
    assert!(matches!(observed.earlier, Earlier::Read { named: None, retired_by: None, whole: true, .. }));
}

#[test]
fn a_record_that_is_behind_takes_the_newest_past_of_its_key() {
    let with = |seed, generation, replaces: &[u8]| {
        let acknowledged = Some(Acknowledged { version: 1, named: true });
        Local::Present { key: key(seed), acknowledged, lineage: of(generation, replaces) }
    };
    let record = |generation, replaces: &[u8]| keys::tests::record(1, 5, of(generation, replaces));
    let cases = [
        ("the disk has seen more", record(0, &[]), with(1, 2, &[2]), None, (of(2, &[2]), false)),
        ("Hydra proves more", record(0, &[]), Local::None, Some(of(4, &[3])), (of(4, &[3]), false)),
        ("Hydra proves the most", record(0, &[]), with(1, 2, &[2]), Some(of(4, &[3])), (of(4, &[3]), false)),
        (
            "the record is the newest",
            record(4, &[3]),
            with(1, 2, &[2]),
            Some(of(2, &[2])),
            (of(4, &[3]), true),
        ),
        ("the disk holds another key", record(0, &[]), with(2, 2, &[1]), None, (of(0, &[]), true)),
    ];
    for (name, store, local, proven, want) in cases {
        let mut observed = seen(store, local, names(1));
        complete(&mut observed, proven.as_ref());
        look_back(&mut observed, &[]);
        let Store::Present(stored) = observed.store else { panic!("a record") };
        assert_eq!((stored.lineage, stored.has_lineage), want, "{name}");
    }
}

#[test]
fn unreadable_versions_prove_nothing() {
    for (history, whole) in [
        (vec![(2, past(1, None)), (1, past(1, None))], true),
        (vec![(2, past(1, None)), (1, Past::Unreadable)], false),
        (vec![(2, Past::Unreadable), (1, past(1, None))], false),
        (vec![(2, past(1, None))], false),
        (vec![], false),
    ] {
        let mut observed = seen(bare(1, 3), Local::None, names(2));
        look_back(&mut observed, &history);
        assert!(
            matches!(observed.earlier, Earlier::Read { whole: read, .. } if read == whole),
            "{history:?}"
        );
    }
    let mut first = seen(bare(1, 1), Local::None, names(2));
    assert_eq!(wanted(&first), None);
    look_back(&mut first, &[]);
    assert!(matches!(first.earlier, Earlier::Read { whole: true, .. }), "there is nothing before the first");
}

#[test]
fn a_key_that_an_earlier_version_has_replaced_is_retired() {
    let history = [(2, past(2, Some((1, &[1])))), (1, past(1, Some((0, &[]))))];
    let mut observed = seen(bare(1, 3), Local::None, HydraNames::NotAsked);
    look_back(&mut observed, &history);
    assert!(matches!(observed.earlier, Earlier::Read { retired_by: Some(2), .. }));
    // An undo: one generation up, and it replaces the key that had replaced it.
    let mut undone = seen(bare(1, 3), Local::None, HydraNames::NotAsked);
    if let Store::Present(stored) = &mut undone.store {
        (stored.lineage, stored.has_lineage) = (of(2, &[2]), true);
    }
    look_back(&mut undone, &history);
    assert!(matches!(undone.earlier, Earlier::Read { retired_by: None, .. }));
}

#[test]
fn a_deleted_record_is_ours_only_if_each_version_since_is() {
    let deleted = Store::Deleted { version: 4, destroyed: false };
    let mut observed = seen(deleted, held(1, 1), names(1));
    assert_eq!(wanted(&observed), Some(1..=3));
    let prepared = Past::Key { key: key(1), lineage: None, has_next: true };
    for (history, ours) in [
        (vec![(3, past(1, None)), (2, past(1, None)), (1, past(1, None))], true),
        (vec![(3, past(2, None)), (2, past(1, None)), (1, past(1, None))], false),
        (vec![(3, past(1, None)), (2, prepared.clone()), (1, past(1, None))], false),
        // What was deleted may have been the activation of what the acknowledged version had prepared.
        (vec![(3, past(1, None)), (2, past(1, None)), (1, prepared)], false),
        (vec![(3, Past::Unreadable), (2, past(1, None)), (1, past(1, None))], false),
        (vec![(3, past(1, None)), (2, past(1, None)), (1, Past::Unreadable)], false),
        (vec![(3, past(1, None)), (1, past(1, None))], false),
    ] {
        look_back(&mut observed, &history);
        assert!(
            matches!(observed.earlier, Earlier::Read { is_ours_since, .. } if is_ours_since == ours),
            "{history:?}"
        );
    }
    let next = Store::Deleted { version: 2, destroyed: false };
    assert_eq!(wanted(&seen(next, held(1, 1), names(1))), Some(1..=1), "the acknowledged one alone");
    let same = Store::Deleted { version: 1, destroyed: false };
    assert_eq!(wanted(&seen(same, held(1, 1), names(1))), None, "it is the deleted one");
    observed.hydra = HydraNames::NoClient;
    assert_eq!(wanted(&observed), None, "nothing depends on it");
}
