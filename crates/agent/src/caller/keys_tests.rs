use super::*;
use bindu_identity::{DerivedKey, NewRotation, SecondKeyBinding, SigningKey};
use serde_json::{Value, json};

/// 2026-11-26T08:00:00Z, when every rotation of these tests happens, and the end of their overlaps.
const AT: i64 = 1_795_680_000;
const UNTIL: i64 = AT + 7 * 24 * 3600;

fn did() -> Did {
    "did:bindu:a:b:c".parse().expect("a DID")
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

fn public(number: u8) -> PublicKey {
    key(number).public_key()
}

fn second(number: u8) -> PublicKey {
    DerivedKey::of(&key(number)).public_key()
}

fn rotation_of(
    did: &Did,
    (from, to): (u8, u8),
    prev: Option<&RotationStatement>,
    until: i64,
) -> RotationStatement {
    RotationStatement::sign(&NewRotation {
        did,
        from: &key(from),
        to: public(to),
        to_second: second(to),
        generation: prev.map_or(1, |prev| prev.generation + 1),
        prev,
        at: &rotation::utc(AT).expect("a time"),
        until: &rotation::utc(until).expect("a time"),
    })
}

/// The rotations through these keys, newest first, as an agent publishes them.
fn line(did: &Did, keys: &[u8]) -> Vec<RotationStatement> {
    let mut line: Vec<RotationStatement> = Vec::new();
    for pair in keys.windows(2) {
        line.insert(0, rotation_of(did, (pair[0], pair[1]), line.first(), UNTIL));
    }
    line
}

fn client(metadata: Value) -> OAuthClient {
    let Value::Object(metadata) = metadata else { panic!("an object") };
    OAuthClient {
        created_at: String::new(),
        name: String::new(),
        scope: String::new(),
        audiences: Vec::new(),
        authentication_method: String::new(),
        grant_types: Vec::new(),
        metadata,
    }
}

fn keys(current: u8, rotations: &[RotationStatement]) -> CallerKeys {
    let metadata = json!({
        "public_key": public(current), "derived_public_key": second(current), "rotations": rotations,
    });
    CallerKeys::of(&did(), &client(metadata), AT)
}

fn for_requests(keys: &CallerKeys, now: i64) -> Vec<PublicKey> {
    keys.for_requests(now).collect()
}

#[test]
fn an_old_key_counts_until_its_statement_says() {
    let rotated = keys(2, &line(&did(), &[1, 2]));
    assert_eq!(for_requests(&rotated, AT), [public(2), public(1)]);
    assert_eq!(for_requests(&rotated, UNTIL - 1), [public(2), public(1)]);
    // The answer may be remembered for longer.
    assert_eq!(for_requests(&rotated, UNTIL), [public(2)]);
    let withdrawn = rotation_of(&did(), (1, 2), None, AT);
    assert_eq!(for_requests(&keys(2, &[withdrawn]), AT), [public(2)], "compromised: without an overlap");
}

#[test]
fn keys_before_the_old_one_count_while_all_that_follow_do() {
    let twice = keys(3, &line(&did(), &[1, 2, 3]));
    assert_eq!(for_requests(&twice, AT), [public(3), public(2), public(1)]);
    let one = rotation_of(&did(), (1, 2), None, UNTIL);
    let two = rotation_of(&did(), (2, 3), Some(&one), AT);
    assert_eq!(for_requests(&keys(3, &[two, one]), AT), [public(3)]);
    let many = keys(9, &line(&did(), &[1, 2, 3, 4, 5, 6, 7, 8, 9]));
    assert_eq!(for_requests(&many, AT).len(), 1 + MOST_EARLIER);
}

/// What somebody at Hydra's admin port could put there; nothing of it makes a key count that the caller gave up.
#[test]
fn what_is_no_chain_of_this_caller_to_its_key_counts_for_nothing() {
    let other: Did = "did:bindu:a:b:d".parse().expect("a DID");
    let undone = line(&did(), &[1, 2, 1]);
    let forged = RotationStatement { from: public(7), ..line(&did(), &[1, 2]).remove(0) };
    let by_another = RotationStatement { to: public(2), ..line(&did(), &[7, 8]).remove(0) };
    let gap = line(&did(), &[1, 2, 3, 4]);
    let cases = [
        ("another key's signature", 2, vec![forged]),
        ("another target", 2, vec![by_another]),
        ("another agent's", 2, line(&other, &[1, 2])),
        ("to a key that Hydra does not name", 3, line(&did(), &[1, 2])),
        ("replayed after an undo", 2, undone.clone()),
    ];
    for (what, current, rotations) in cases {
        assert_eq!(for_requests(&keys(current, &rotations), AT), [public(current)], "{what}");
    }
    assert_eq!(for_requests(&keys(1, &undone), AT), [public(1), public(2)], "the undo itself");
    let reversed: Vec<_> = undone.into_iter().rev().collect();
    assert_eq!(for_requests(&keys(1, &reversed), AT).len(), 2, "in any order");
    let gap = [gap[0].clone(), gap[2].clone()];
    assert_eq!(for_requests(&keys(4, &gap), AT), [public(4), public(3)], "what lies behind a gap does not");
}

#[test]
fn an_old_second_key_counts_where_the_caller_has_bound_it() {
    let messages = |metadata: Value| {
        let keys = CallerKeys::of(&did(), &client(metadata), AT);
        (keys.for_messages(AT).collect::<Vec<_>>(), keys.for_messages(UNTIL).collect::<Vec<_>>())
    };
    let rotations = line(&did(), &[1, 2, 3]);
    let base = json!({"public_key": public(3), "derived_public_key": second(3), "rotations": rotations});
    let with = |name: &str, value: Value| {
        let mut metadata = base.clone();
        metadata[name] = value;
        metadata
    };
    // K2's by the statement that led to it; K1 was the first.
    assert_eq!(messages(base.clone()), (vec![second(3), second(2)], vec![second(3)]));
    let binding = SecondKeyBinding::sign(&did(), &key(1));
    let bound = with("second_key_binding", json!(binding));
    assert_eq!(messages(bound).0, [second(3), second(2), second(1)]);
    let forged = SecondKeyBinding { second: second(9), ..binding };
    assert_eq!(messages(with("second_key_binding", json!(forged))).0, [second(3), second(2)]);
    let foreign = SecondKeyBinding::sign(&did(), &key(9));
    assert_eq!(messages(with("second_key_binding", json!(foreign))).0, [second(3), second(2)]);
}

#[test]
fn without_a_usable_key_nothing_counts() {
    let rotations = line(&did(), &[1, 2]);
    for odd in [json!(null), json!("junk"), json!("")] {
        let metadata = json!({"public_key": odd, "rotations": rotations});
        assert_eq!(CallerKeys::of(&did(), &client(metadata), AT), CallerKeys::default(), "{odd}");
    }
    let junk = json!({"public_key": public(2), "rotations": "junk", "second_key_binding": 5});
    assert_eq!(for_requests(&CallerKeys::of(&did(), &client(junk), AT), AT), [public(2)]);
}
