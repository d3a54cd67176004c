//! Rotation statements. Nobody signed the input, so nothing in it verifies; and a chain that is found in a true line
//! with anything done to it is that line.
#![no_main]

use bindu_identity::{
    DerivedKey, Did, Lineage, NewRotation, PublicKey, RotationStatement, SecondKeyBinding, SigningKey,
    rotation,
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// K1 to K2, back to K1, to K3, newest first, as an agent publishes them.
static TRUE_LINE: LazyLock<Vec<RotationStatement>> = LazyLock::new(|| {
    let mut line: Vec<RotationStatement> = Vec::new();
    for (pair, generation) in [1, 2, 1, 3].windows(2).zip(1..) {
        let next = RotationStatement::sign(&NewRotation {
            did: &did(),
            from: &key(pair[0]),
            to: key(pair[1]).public_key(),
            to_second: DerivedKey::of(&key(pair[1])).public_key(),
            generation,
            prev: line.first(),
            at: "2026-11-26T08:00:00Z",
            until: "2026-12-03T08:00:00Z",
        });
        line.insert(0, next);
    }
    line
});

fn did() -> Did {
    "did:bindu:fuzz".parse().expect("a DID")
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

fuzz_target!(|input: (&str, u16, u8)| {
    let (text, at, byte) = input;
    let did = did();
    if let Ok(binding) = serde_json::from_str::<SecondKeyBinding>(text) {
        assert!(binding.verify(&did).is_err());
    }
    let _ = (Lineage::parse_replaces(text), rotation::utc(i64::from(at)));
    if let Ok(statements) = Lineage::parse_statements(text) {
        for statement in &statements {
            let _ = statement.is_in_overlap(0);
            assert!(statement.verify(&did).is_err());
            assert!(rotation::chain(&statements, &did, &statement.from, &statement.to).is_none());
        }
    }
    // A true line with one byte changed.
    let mut bytes = serde_json::to_vec(&*TRUE_LINE).expect("statements are strings and numbers");
    let at = usize::from(at) % bytes.len();
    bytes[at] = byte;
    let Some(changed) = String::from_utf8(bytes).ok().and_then(|it| Lineage::parse_statements(&it).ok())
    else {
        return;
    };
    let [one, two, three]: [PublicKey; 3] = [1, 2, 3].map(|number| key(number).public_key());
    for (from, to) in [(one, two), (one, three), (two, three)] {
        let found = rotation::chain(&changed, &did, &from, &to).unwrap_or_default();
        assert!(found.iter().all(|link| TRUE_LINE.contains(link)));
    }
});
