//! All that a person may be told about an identity, on one page: `told.txt`. And that there is always something to type.

use super::{Hint, advice, class, no_key_yet, start, steps, store_is_silent};
use crate::{ExitClass, Refusal, report};
use bindu_identity::{AgentId, AgentName, Did, Fingerprint, SigningKey};
use bindu_keeper::{Advice, MissingRight, NamedKey, OtherDid, Problem, StartError, StepError, StoreKind};
use bindu_store::{Outage, OutageReason};
use std::fmt::Write as _;

const PATH: &str = "secret/bindu/agents/ID/did-keys";
const FILE: &str = ".bindu/private.pem";

fn did() -> Did {
    let name = AgentName { author: "alice@example.com".to_owned(), name: "echo".to_owned() };
    Did::bindu(&name, AgentId::derive(&name.author, &name.name))
}

fn fingerprint() -> Fingerprint {
    SigningKey::from_seed(&[1; 32]).public_key().fingerprint()
}

fn named(must_be_named: bool) -> NamedKey {
    NamedKey { text: "KEY".to_owned(), fingerprint: Some(fingerprint()), must_be_named }
}

fn outage() -> Outage {
    Outage::new(OutageReason::Sealed, "the store's words")
}

fn problem() -> Problem {
    Problem("the problem".to_owned())
}

fn policy() -> Vec<String> {
    vec!["secret/data/bindu/agents/ID/did-keys".to_owned(), "secret/data/a \"quoted\" one".to_owned()]
}

/// At least one of each kind.
fn errors() -> Vec<StartError> {
    let (path, file) = (|| PATH.to_owned(), || FILE.to_owned());
    let (vault, problem, outage) = (StoreKind::Vault, problem, || Some(outage()));
    let not_kept = |is_new, is_full| StartError::NotKept { path: file(), is_new, is_full, outage: outage() };
    vec![
        StartError::Malformed { path: path(), kind: vault, problem: problem() },
        StartError::Malformed { path: file(), kind: StoreKind::File, problem: problem() },
        StartError::OfAnotherAgent {
            path: path(),
            dids: OtherDid { found: "did:x".to_owned(), ours: did() },
        },
        StartError::Deleted { path: path(), version: 3, destroyed: false },
        StartError::Deleted { path: path(), version: 3, destroyed: true },
        StartError::Named { path: path(), kind: vault, did: did(), named: Box::new(named(false)) },
        StartError::Named { path: file(), kind: StoreKind::File, did: did(), named: Box::new(named(true)) },
        StartError::CreationForbidden { path: path(), kind: vault },
        StartError::CreationForbidden { path: file(), kind: StoreKind::File },
        StartError::BadName { problem: problem() },
        StartError::KeyUnusable { problem: problem() },
        StartError::DirectoryUnreadable { problem: problem() },
        StartError::RolledBack { path: path(), named: Box::new(named(true)), problem: problem() },
        StartError::Locked { problem: problem() },
        StartError::WrongMount { outage: outage() },
        StartError::ReadDenied { path: path(), policy: policy() },
        StartError::StoreUnreadable { outage: outage() },
        StartError::LoginRejected { outage: self::outage() },
        StartError::Unavailable { outage: outage() },
        StartError::Unavailable { outage: None },
        StartError::HistoryUnavailable { path: path(), problem: problem() },
        StartError::WriteRefused { path: path(), problem: problem() },
        StartError::DirectoryNotWritable { path: file() },
        not_kept(true, true),
        not_kept(false, false),
        StartError::WriteDenied { path: path(), policy: policy(), missing: MissingRight::Create },
        StartError::WriteUnavailable { path: path(), outage: outage() },
        StartError::Bug { problem: problem() },
    ]
}

/// At least one of each kind.
fn advices() -> Vec<Advice> {
    let path = || PATH.to_owned();
    vec![
        Advice::Older,
        Advice::Foreign { path: path(), version: 2 },
        Advice::Overwritten { path: path(), version: 2 },
        Advice::RolledBack { path: path() },
        Advice::Unproven { named: named(true) },
        Advice::NamedOtherwise { named: named(false) },
        Advice::Deleted { path: path(), version: 3, destroyed: false },
        Advice::DeletedInDoubt { path: path(), version: 3, destroyed: false },
        Advice::DeletedInDoubt { path: path(), version: 3, destroyed: true },
        Advice::BadRecord { path: path(), kind: StoreKind::Vault },
        Advice::BadRecord { path: FILE.to_owned(), kind: StoreKind::File },
        Advice::Locked,
        Advice::Denied { policy: policy() },
    ]
}

const STEPS: [StepError; 9] = [
    StepError::Retired,
    StepError::NotRegistering,
    StepError::Conflict,
    StepError::Denied,
    StepError::Unavailable,
    StepError::Refused,
    StepError::NoKey,
    StepError::Unreadable,
    StepError::NoCredentials,
];

/// The name of a variant, as `Debug` begins.
fn variant(value: &dyn std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

/// The variants of an enum in the keeper's sources: a new one that has no sample here is a red test.
fn variants(source: &str, name: &str) -> Vec<String> {
    let (_, body) = source.split_once(&format!("pub enum {name} {{")).unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
    let variants = lines.filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
    variants.map(|line| line.split([' ', ',', '{']).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn each_variant_has_a_sample() {
    let keeper = |file: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../keeper/src").join(file);
        std::fs::read_to_string(path).unwrap()
    };
    for (file, name, samples) in [
        ("start_error.rs", "StartError", errors().iter().map(|error| variant(error)).collect::<Vec<_>>()),
        ("advice.rs", "Advice", advices().iter().map(|advice| variant(advice)).collect()),
        ("driver/ring.rs", "StepError", STEPS.iter().map(|error| variant(error)).collect()),
    ] {
        let variants = variants(&keeper(file), name);
        assert!(variants.len() > 5, "{name}: {variants:?}");
        for variant in variants {
            assert!(samples.contains(&variant), "{name}::{variant} has no sample");
        }
    }
}

#[test]
fn each_hint_has_a_command_or_a_setting_to_type() {
    let (errors, advices) = (errors(), advices());
    let hints = errors.iter().map(start).chain(advices.iter().map(advice));
    let hints = hints.chain(STEPS.iter().map(|error| steps::step(error, PATH)));
    for hint in hints.chain([store_is_silent(), no_key_yet()]) {
        assert!(hint.is_practical(), "{hint}");
        for line in hint.to_string().lines().filter(|line| !line.starts_with("  ")) {
            let is_one = ["--", "vault kv", "bindu "].iter().any(|word| line.contains(word));
            assert!(!is_one, "it is to have a line of its own: {line}");
        }
    }
}

#[test]
fn all_that_is_told() {
    let mut told = String::new();
    for error in errors() {
        let refusal = Refusal::from(error);
        let _ = writeln!(told, "[{}]\n{}", refusal.class.code(), report::text(&refusal));
    }
    for one in advices() {
        let _ = writeln!(told, "[{}]\n{}\n", variant(&one), advice(&one));
    }
    for error in STEPS {
        let _ = writeln!(told, "[{}]\n{}\n", variant(&error), steps::step(&error, PATH));
    }
    for hint in [store_is_silent(), no_key_yet()] {
        let _ = writeln!(told, "{hint}\n");
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/hints/told.txt");
    if std::env::var_os("WRITE_TOLD").is_some() {
        std::fs::write(&path, &told).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(told, expected, "if this is meant: WRITE_TOLD=1 cargo test -p bindu --lib all_that_is_told");
}

#[test]
fn a_bug_is_no_fault_of_the_operators() {
    assert_eq!(class(&StartError::Bug { problem: problem() }), ExitClass::Bug);
}

#[test]
fn a_hint_is_words_and_below_them_what_to_type() {
    let hint = Hint::new("do it with").command("a").words("or").setting("B=1");
    assert_eq!(hint.to_string(), "do it with\n  a\nor\n  B=1");
    assert!(!Hint::new("only words").is_practical());
}
