use super::*;
use crate::{DerivedKey, Did, SigningKey, request_signature, text_signature};
use proptest::prelude::*;

const AT: &str = "2026-11-26T08:00:00Z";
const UNTIL: &str = "2026-12-03T08:00:00Z";

fn did() -> Did {
    "did:bindu:a:b:c".parse().expect("a DID")
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

fn public(number: u8) -> PublicKey {
    key(number).public_key()
}

fn rotation(
    did: &Did,
    (from, to): (u8, u8),
    generation: u64,
    prev: Option<&RotationStatement>,
) -> RotationStatement {
    RotationStatement::sign(&NewRotation {
        did,
        from: &key(from),
        to: public(to),
        to_second: DerivedKey::of(&key(to)).public_key(),
        generation,
        prev,
        at: AT,
        until: UNTIL,
    })
}

/// The rotations through these keys, oldest first.
fn line(did: &Did, keys: &[u8]) -> Vec<RotationStatement> {
    let mut line: Vec<RotationStatement> = Vec::new();
    for (pair, generation) in keys.windows(2).zip(1..) {
        let next = rotation(did, (pair[0], pair[1]), generation, line.last());
        line.push(next);
    }
    line
}

fn generations(statements: &[RotationStatement], from: u8, to: u8) -> Option<Vec<u64>> {
    let chain = chain(statements, &did(), &public(from), &public(to))?;
    Some(chain.into_iter().map(|link| link.generation).collect())
}

fn line_of(statements: &[RotationStatement], current: u8) -> Vec<u64> {
    super::line(statements, &did(), &public(current)).into_iter().map(|link| link.generation).collect()
}

/// Made with Python's `cryptography` and `json.dumps(sort_keys=True, separators=(",", ":"), ensure_ascii=False)`.
#[test]
fn another_implementation_signs_the_same() {
    let did: Did = "did:bindu:ä:b:c".parse().expect("a DID");
    let statement = rotation(&did, (0, 1), 1, None);
    assert_eq!(
        statement.signature,
        "gmTbAFXLLdNJjNqVtfExN6iBFrPu5nosjxFVJFprq58KqQhgwwsEd65jXvvtgv2cx5JqwrcENfR9cLHUxrs3ohq"
    );
    assert_eq!(statement.hash(), "razFlNnrlO5RL1B2Za7Nse90pvae7Btn80pkx0wGdqI");
    assert_eq!(
        SecondKeyBinding::sign(&did, &key(0)).signature,
        "jGjedpenmQp7EpPoZXxfADt2X3Q7hwWjars3YN1zmQ7Ln5TMfmD2HX61sykjML4S4FofxVyjnczw6ttwQeqAcSf"
    );
}

/// RFC 8785, 3.2.2 and 3.2.3.
#[test]
fn canonical_json_is_rfc_8785() {
    let vectors = [
        (
            r#"{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"#,
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
             \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}",
        ),
        (
            r#"{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
                "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control",
                "\u00f6": "Latin Small Letter O With Diaeresis"}"#,
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
             \"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\
             \"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}",
        ),
    ];
    for (input, want) in vectors {
        let value: serde_json::Value = serde_json::from_str(input).expect("JSON");
        assert_eq!(String::from_utf8(canonical(&value)).expect("UTF-8"), want);
    }
}

#[test]
fn the_public_form_comes_back_and_is_strict_about_keys() {
    let statement = rotation(&did(), (1, 2), 1, None);
    let text = serde_json::to_string(&statement).expect("serialises");
    assert!(
        text.starts_with(&format!(r#"{{"did":"did:bindu:a:b:c","from":"{}","to":""#, public(1))),
        "{text}"
    );
    assert!(text.contains(r#""generation":1,"prev":null,"at":"2026-11-26T08:00:00Z""#), "{text}");
    assert_eq!(serde_json::from_str::<RotationStatement>(&text).expect("reads"), statement);
    assert_eq!(statement.verify(&did()), Ok(()));
    for odd in [" ", "0", "1"] {
        let text = text.replace(&public(1).to_string(), &format!("{odd}{}", public(1)));
        assert!(serde_json::from_str::<RotationStatement>(&text).is_err(), "{text}");
    }
}

#[test]
fn what_no_agent_signs_is_refused_though_its_signature_is_good() {
    let other: Did = "did:bindu:a:b:d".parse().expect("a DID");
    let signed = |change: &dyn Fn(&mut RotationStatement)| {
        let mut statement = rotation(&did(), (1, 2), 1, None);
        change(&mut statement);
        statement.signature = key(1).sign(&statement.bytes()).to_string();
        statement.verify(&did())
    };
    assert_eq!(signed(&|_| ()), Ok(()));
    assert_eq!(signed(&|it| it.did = other.to_string()), Err(StatementError::OtherAgent));
    assert_eq!(signed(&|it| it.to = it.from), Err(StatementError::SameKey));
    assert_eq!(signed(&|it| it.to_second = it.to), Err(StatementError::SameKey));
    assert_eq!(signed(&|it| it.to_second = it.from), Err(StatementError::SameKey));
    for generation in [0, 1 << 53, u64::MAX] {
        assert_eq!(signed(&|it| it.generation = generation), Err(StatementError::Generation));
    }
    let hash = rotation(&did(), (1, 2), 1, None).hash();
    for odd in ["", "abc", &format!("{hash}="), &hash.replace(&hash[..1], "+")] {
        assert_eq!(signed(&|it| it.prev = Some(odd.to_owned())), Err(StatementError::Previous), "{odd}");
    }
    let times = [
        "",
        "2026-11-26",
        "2026-11-26T08:00:00",
        "2026-11-26T08:00:00+00:00",
        "2026-11-26T08:00:00.5Z",
        "2026-11-26 08:00:00Z",
        "2026-11-26t08:00:00z",
        "2026-11-26T08:00:60Z",
        "2026-11-31T08:00:00Z",
    ];
    for odd in times {
        assert_eq!(signed(&|it| it.at = odd.to_owned()), Err(StatementError::Times), "{odd}");
        assert_eq!(signed(&|it| it.until = odd.to_owned()), Err(StatementError::Times), "{odd}");
    }
    assert_eq!(signed(&|it| it.until = "2026-11-26T07:59:59Z".to_owned()), Err(StatementError::Times));
    assert_eq!(signed(&|it| it.until.clone_from(&it.at)), Ok(()), "no overlap at all");
}

#[test]
fn a_binding_counts_for_its_agent_and_key_only() {
    let other: Did = "did:bindu:a:b:d".parse().expect("a DID");
    let binding = SecondKeyBinding::sign(&did(), &key(1));
    assert_eq!((binding.key, binding.second), (public(1), DerivedKey::of(&key(1)).public_key()));
    assert_eq!(binding.verify(&did()), Ok(()));
    assert_eq!(binding.verify(&other), Err(StatementError::OtherAgent));
    assert_eq!(
        SecondKeyBinding { key: public(2), ..binding.clone() }.verify(&did()),
        Err(StatementError::Signature)
    );
    assert_eq!(
        SecondKeyBinding { second: public(2), ..binding.clone() }.verify(&did()),
        Err(StatementError::Signature)
    );
    assert_eq!(
        SecondKeyBinding { second: public(1), ..binding }.verify(&did()),
        Err(StatementError::SameKey)
    );
}

#[test]
fn sign_takes_any_rfc_3339_time() {
    let statement = RotationStatement::sign(&NewRotation {
        did: &did(),
        from: &key(1),
        to: public(2),
        to_second: public(3),
        generation: 1,
        prev: None,
        at: "2026-11-26T08:00:00.123456+00:00",
        until: "2026-12-03T09:00:00+01:00",
    });
    assert_eq!((statement.at.as_str(), statement.until.as_str()), (AT, UNTIL));
    assert_eq!(statement.verify(&did()), Ok(()));
    assert_eq!(utc(1_795_680_000).as_deref(), Some(AT));
    assert_eq!((utc(i64::MAX), utc(i64::MIN)), (None, None));
}

#[test]
fn the_overlap_is_from_at_to_until() {
    let statement = rotation(&did(), (1, 2), 1, None);
    let (at, until) = (1_795_680_000, 1_796_284_800);
    for (now, want) in [
        (at, true),
        (until - 1, true),
        (until, false),
        (at - 300, true),
        (at - 301, false),
        (i64::MIN, false),
    ] {
        assert_eq!(statement.is_in_overlap(now), want, "{now}");
    }
    let none = RotationStatement { until: AT.to_owned(), ..statement };
    assert!(!none.is_in_overlap(at) && !none.is_in_overlap(at - 1), "no overlap, no skew either");
}

#[test]
fn a_chain_is_found_in_any_order_and_among_junk() {
    let mut all = line(&did(), &[1, 2, 3, 4]);
    let other: Did = "did:bindu:a:b:d".parse().expect("a DID");
    let forged = RotationStatement { to: public(4), ..rotation(&did(), (1, 9), 1, None) };
    all.extend(line(&other, &[1, 4]));
    all.extend(line(&did(), &[7, 8, 9]));
    all.push(forged);
    all.push(all[1].clone());
    all.reverse();
    assert_eq!(generations(&all, 1, 4), Some(vec![1, 2, 3]));
    assert_eq!(generations(&all, 2, 4), Some(vec![2, 3]));
    assert_eq!(generations(&all, 7, 9), Some(vec![1, 2]));
    for (from, to) in [(4, 1), (1, 9), (1, 1), (5, 4), (1, 5)] {
        assert_eq!(generations(&all, from, to), None, "{from} to {to}");
    }
}

#[test]
fn what_is_not_joined_is_no_chain() {
    let [one, two, three] = &line(&did(), &[1, 2, 3, 4])[..] else { panic!("three") };
    assert_eq!(generations(&[one.clone(), three.clone()], 1, 4), None, "a link is missing");
    let skipping = rotation(&did(), (2, 3), 3, Some(one));
    assert_eq!(generations(&[one.clone(), skipping], 1, 3), None, "a generation is missing");
    let same = rotation(&did(), (2, 3), 1, Some(one));
    assert_eq!(generations(&[one.clone(), same], 1, 3), None, "a generation is repeated");
    let rootless = rotation(&did(), (2, 3), 2, None);
    assert_eq!(generations(&[one.clone(), rootless], 1, 3), None, "it names no predecessor");
    let elsewhere = rotation(&did(), (3, 4), 2, Some(one));
    assert_eq!(generations(&[one.clone(), elsewhere], 1, 4), None, "it is signed by another key");
    assert_eq!(generations(&[one.clone(), two.clone()], 1, 3), Some(vec![1, 2]));
}

/// K1 to K2 and back: the statement of the first step is still good by itself, and K2's holder may show it.
#[test]
fn an_undone_rotation_leads_nowhere() {
    let undone = line(&did(), &[1, 2, 1]);
    assert_eq!(generations(&undone, 1, 2), None, "K2 has given way");
    assert_eq!(generations(&undone, 2, 1), Some(vec![2]));
    assert_eq!(generations(&undone[..1], 1, 2), Some(vec![1]), "before the undo");
    let after = line(&did(), &[1, 2, 1, 3]);
    assert_eq!(generations(&after, 1, 3), Some(vec![3]), "the shortest way");
    assert_eq!(generations(&after, 2, 3), Some(vec![2, 3]));
}

#[test]
fn a_search_is_bounded() {
    let good = line(&did(), &[1, 2]);
    let mut many = vec![rotation(&did(), (3, 4), 1, None); MOST_STATEMENTS - 1];
    many.extend(good.clone());
    assert_eq!(generations(&many, 1, 2), Some(vec![1]), "the last one that is looked at");
    many.insert(0, rotation(&did(), (3, 4), 1, None));
    assert_eq!(generations(&many, 1, 2), None, "one too many");
}

#[test]
fn keys_that_still_count_end_at_the_first_that_does_not() {
    let now = 1_795_680_000;
    let mut all = line(&did(), &[1, 2, 3, 4]);
    let keys = |all: &[RotationStatement], now| {
        overlapping(all, &did(), &public(4), now).into_iter().map(|link| link.from).collect::<Vec<_>>()
    };
    assert_eq!(keys(&all, now), [public(3), public(2), public(1)]);
    assert_eq!(keys(&all, 1_796_284_800), []);
    assert_eq!(line_of(&all, 4), [3, 2, 1]);
    assert_eq!(line_of(&all[1..], 4), [3, 2], "as far back as the list goes");
    assert_eq!((line_of(&all, 3), line_of(&all, 9)), (vec![], vec![]), "it has given way; it is nowhere");
    // K2 was withdrawn at once.
    all.truncate(1);
    let withdrawn = RotationStatement::sign(&NewRotation {
        did: &did(),
        from: &key(2),
        to: public(3),
        to_second: public(9),
        generation: 2,
        prev: all.last(),
        at: AT,
        until: AT,
    });
    let last = rotation(&did(), (3, 4), 3, Some(&withdrawn));
    all.extend([withdrawn, last]);
    assert_eq!(keys(&all, now), [public(3)]);
}

/// An agent signs text for whoever asks, and requests; neither may ever be a statement.
#[test]
fn no_text_and_no_request_is_a_statement() {
    let statement = rotation(&did(), (1, 2), 1, None);
    let binding = SecondKeyBinding::sign(&did(), &key(1));
    for bytes in [statement.bytes(), binding.bytes()] {
        assert!(std::str::from_utf8(&bytes).is_err(), "every text and every request that is signed is UTF-8");
        // What an echo agent could be asked for: the same bytes as far as a text can hold them.
        let nearly = String::from_utf8_lossy(&bytes).into_owned();
        for text in [nearly.as_str(), nearly.trim_start_matches('\u{fffd}'), "ÿbindu/rotation/v1\0"] {
            let signed = text_signature::sign(&key(1), text).expect("a text").to_string();
            let forged = RotationStatement { signature: signed.clone(), ..statement.clone() };
            assert_eq!(forged.verify(&did()), Err(StatementError::Signature));
            let forged = SecondKeyBinding { signature: signed, ..binding.clone() };
            assert_eq!(forged.verify(&did()), Err(StatementError::Signature));
        }
    }
    let labels = [(statement.bytes(), &binding.signature), (binding.bytes(), &statement.signature)];
    assert!(labels.iter().all(|(bytes, signature)| !verifies(&public(1), bytes, signature)));
}

proptest! {
    /// Whatever its members are, what is signed is no text; so no text's, request's or HTTP message's bytes equal it.
    #[test]
    fn no_statement_is_text(did: String, at: String, until: String, prev: Option<String>, generation: u64) {
        let mut statement = rotation(&"did:x:y".parse().expect("a DID"), (1, 2), generation, None);
        statement = RotationStatement { did: did.clone(), at, until, prev, ..statement };
        prop_assert!(std::str::from_utf8(&statement.bytes()).is_err());
        let binding = SecondKeyBinding { did, ..SecondKeyBinding::sign(&"did:x:y".parse().expect("a DID"), &key(1)) };
        prop_assert!(std::str::from_utf8(&binding.bytes()).is_err());
    }

    /// A request signed by the old key, whatever its body, is no statement of its.
    #[test]
    fn no_request_is_a_statement(body: String, timestamp: u64) {
        let signature = request_signature::sign(&key(1), &did(), &body, timestamp).to_string();
        let forged = RotationStatement { signature, ..rotation(&did(), (1, 2), 1, None) };
        prop_assert_eq!(forged.verify(&did()), Err(StatementError::Signature));
    }

    /// One byte of the public form changed: it reads as the same statement, or it doesn't count.
    #[test]
    fn no_forged_byte_verifies(at in 0usize..600, byte in 0x20u8..0x7f) {
        let statement = rotation(&did(), (1, 2), 7, Some(&rotation(&did(), (3, 1), 6, None)));
        let mut text = serde_json::to_vec(&statement).expect("serialises");
        let at = at % text.len();
        text[at] = byte;
        if let Ok(read) = serde_json::from_slice::<RotationStatement>(&text) {
            prop_assert_eq!(read.verify(&did()).is_ok(), read == statement);
            let read = [read];
            prop_assert_eq!(chain(&read, &did(), &public(1), &public(2)).is_some(), read[0] == statement);
        }
    }

    /// Any sub-list of an agent's statements, in any order, with another agent's between them: a chain that is found
    /// is the agent's own line.
    #[test]
    fn only_the_whole_line_in_its_order_is_a_chain(
        picks in proptest::collection::vec((0usize..4, any::<bool>()), 0..10),
    ) {
        let keys = [1, 2, 1, 3, 4];
        let own = line(&did(), &keys);
        let others = line(&"did:bindu:a:b:d".parse().expect("a DID"), &keys);
        let list: Vec<RotationStatement> =
            picks.iter().map(|&(at, is_own)| if is_own { own[at].clone() } else { others[at].clone() }).collect();
        let has = |at: usize| list.contains(&own[at]);
        prop_assert_eq!(generations(&list, 1, 4), (has(2) && has(3)).then(|| vec![3, 4]));
        prop_assert_eq!(generations(&list, 2, 4), (has(1) && has(2) && has(3)).then(|| vec![2, 3, 4]));
        // A replay of the step that was undone counts only where the undo is kept back.
        prop_assert_eq!(generations(&list, 1, 2), (has(0) && !has(1)).then(|| vec![1]));
    }
}
