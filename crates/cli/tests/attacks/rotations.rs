//! Callers whose client in Hydra has rotation statements that prove nothing: mallory holds a key of the caller's past, or
//! says so, and signs with it. Only who reaches Hydra's admin port can put such statements there.

use crate::attack::mallory;
use bindu_identity::{DerivedKey, Did, NewRotation, RotationStatement, SigningKey, rotation};
use bindu_testkit::caller::now;
use serde_json::{Value, json};

/// A rotation an hour ago; its old key counts until so many seconds from now.
fn rotate(
    did: &str,
    (from, to): (&SigningKey, &SigningKey),
    prev: Option<&RotationStatement>,
    until: i64,
) -> RotationStatement {
    let (did, now): (Did, i64) = (did.parse().unwrap(), now().cast_signed());
    RotationStatement::sign(&NewRotation {
        did: &did,
        from,
        to: to.public_key(),
        to_second: DerivedKey::of(to).public_key(),
        generation: prev.map_or(1, |prev| prev.generation + 1),
        prev,
        at: &rotation::utc(now - 3600).unwrap(),
        until: &rotation::utc(now + until).unwrap(),
    })
}

/// What a file calls a caller, its client id, and the statements of a client with this id.
type Case<'a> = (&'static str, &'static str, &'a dyn Fn(&str) -> Vec<RotationStatement>);

/// What files call them, their client ids, and their clients' metadata.
pub(crate) fn callers() -> Vec<(&'static str, &'static str, Value)> {
    const DAY: i64 = 24 * 3600;
    let mallory = mallory();
    let [own, other, third] = [71, 72, 73].map(|seed| SigningKey::from_seed(&[seed; 32]));
    let metadata = |statements: &[RotationStatement]| {
        json!({
            "public_key": own.public_key(),
            "derived_public_key": DerivedKey::of(&own).public_key(),
            "rotations": statements,
        })
    };
    let cases: [Case<'_>; 8] = [
        ("rotated", "did:bindu:rotated:attacks:1", &|did| vec![rotate(did, (&mallory, &own), None, DAY)]),
        ("rotated-forged", "did:bindu:rotated-forged:attacks:1", &|did| {
            let from = mallory.public_key();
            vec![RotationStatement { from, ..rotate(did, (&other, &own), None, DAY) }]
        }),
        ("rotated-retargeted", "did:bindu:rotated-retargeted:attacks:1", &|did| {
            let to = own.public_key();
            vec![RotationStatement { to, ..rotate(did, (&mallory, &other), None, DAY) }]
        }),
        ("rotated-another", "did:bindu:rotated-another:attacks:1", &|_| {
            vec![rotate("did:bindu:rotated:attacks:1", (&mallory, &own), None, DAY)]
        }),
        // The caller went to mallory's key and back: what is left of that is the way there.
        ("rotated-undone", "did:bindu:rotated-undone:attacks:1", &|did| {
            vec![rotate(did, (&own, &mallory), None, DAY)]
        }),
        ("rotated-gap", "did:bindu:rotated-gap:attacks:1", &|did| {
            let first = rotate(did, (&mallory, &other), None, DAY);
            let second = rotate(did, (&other, &third), Some(&first), DAY);
            vec![rotate(did, (&third, &own), Some(&second), DAY), first]
        }),
        ("rotated-late", "did:bindu:rotated-late:attacks:1", &|did| {
            vec![rotate(did, (&mallory, &own), None, -1)]
        }),
        ("rotated-withdrawn", "did:bindu:rotated-withdrawn:attacks:1", &|did| {
            let first = rotate(did, (&mallory, &other), None, DAY);
            vec![rotate(did, (&other, &own), Some(&first), -3600), first]
        }),
    ];
    cases.into_iter().map(|(name, id, statements)| (name, id, metadata(&statements(id)))).collect()
}
