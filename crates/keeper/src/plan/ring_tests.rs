//! Which step of a rotation is taken when.

use super::*;
use crate::plan::{
    Policy,
    keys::{
        self, Local,
        tests::{key, seen},
    },
};
use bindu_identity::Lineage;

fn stored(ring: Ring) -> Stored {
    Stored {
        key: key(1),
        version: 5,
        lineage: Lineage::default(),
        has_lineage: true,
        ring,
        interval: Some(60),
    }
}

fn next(is_due: bool) -> Ring {
    Ring { next: Some(Next { key: key(2), is_due, is_compromised: false }), ..Ring::default() }
}

fn withdrawing() -> Ring {
    Ring { next: Some(Next { key: key(2), is_due: false, is_compromised: true }), ..Ring::default() }
}

fn previous(is_over: bool) -> Ring {
    Ring { previous: Some(Previous { key: key(9), is_over }), ..Ring::default() }
}

fn steps(stored: Stored, past: &[(u64, Past)], wish: RingWish) -> Result<Vec<RingStep>, RingError> {
    let seen = seen(Store::Present(stored), Local::None);
    super::plan(&seen, &keys::plan(&seen, &Policy::default()), past, wish)
}

#[test]
fn each_wish_leads_to_its_steps() {
    let rotate = |at_once, compromised| RingWish::Rotate { at_once, compromised };
    let prepare = RingStep::Prepare { at_once: false, compromised: false };
    let withdraw = RingStep::Prepare { at_once: false, compromised: true };
    let activate = |compromised| RingStep::Activate { compromised };
    let cases = [
        (Ring::default(), rotate(false, false), Ok(vec![prepare])),
        (Ring::default(), rotate(true, false), Ok(vec![prepare, activate(false)])),
        (Ring::default(), rotate(false, true), Ok(vec![withdraw, activate(true)])),
        (next(false), rotate(false, false), Err(RingError::NotDue)),
        (next(true), rotate(false, false), Ok(vec![activate(false)])),
        (next(false), rotate(true, false), Ok(vec![activate(false)])),
        // Whoever has read the current key may have read the prepared one.
        (next(true), rotate(true, true), Ok(vec![withdraw, activate(true)])),
        (previous(false), rotate(false, false), Ok(vec![prepare])),
        (next(false), RingWish::Undo, Ok(vec![RingStep::Abandon])),
        (withdrawing(), RingWish::Undo, Err(RingError::Withdrawing)),
        (withdrawing(), rotate(true, false), Ok(vec![activate(true)])),
        (previous(false), RingWish::Undo, Ok(vec![RingStep::Undo])),
        (Ring::default(), RingWish::Undo, Err(RingError::NothingToUndo)),
    ];
    for (ring, wish, want) in cases {
        assert_eq!(steps(stored(ring.clone()), &[], wish), want, "{ring:?} {wish:?}");
    }
}

#[test]
fn beside_a_python_pod_nothing_is_rotated() {
    let bare = Stored { has_lineage: false, ..stored(Ring::default()) };
    let past = |lineage| vec![(4, Past::Key { key: key(1), lineage, has_next: false })];
    let rotate = RingWish::Rotate { at_once: true, compromised: false };
    assert_eq!(steps(bare.clone(), &past(Some(Lineage::default())), rotate), Err(RingError::Rewritten));
    let withdraw = RingWish::Rotate { at_once: false, compromised: true };
    assert!(
        steps(bare.clone(), &past(Some(Lineage::default())), withdraw).is_ok(),
        "a stolen key goes at once"
    );
    assert!(steps(bare, &past(None), rotate).is_ok(), "nobody of ours has written it yet");
}

#[test]
fn a_running_agent_finishes_what_is_due() {
    let rewritten = |generation| Stored {
        has_lineage: false,
        lineage: Lineage { generation, ..Lineage::default() },
        ..stored(Ring::default())
    };
    let cases = [
        (stored(Ring::default()), 60, None),
        (stored(next(false)), 60, None),
        (stored(next(true)), 60, Some(RingStep::Activate { compromised: false })),
        (stored(previous(false)), 60, None),
        (stored(previous(true)), 60, Some(RingStep::Retire)),
        (stored(Ring::default()), 300, Some(RingStep::Note)),
        (stored(Ring { revokes_tokens: true, ..Ring::default() }), 60, Some(RingStep::Revoke)),
        // A gate before Hydra may refuse it for ever: it holds nothing up.
        (
            stored(Ring { revokes_tokens: true, ..next(true) }),
            60,
            Some(RingStep::Activate { compromised: false }),
        ),
        (rewritten(1), 60, Some(RingStep::PutBack)),
        (rewritten(0), 60, None),
    ];
    for (stored, interval, want) in cases {
        assert_eq!(upkeep(&stored, interval), want, "{stored:?}");
    }
}
