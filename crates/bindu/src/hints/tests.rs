//! All that a person may be told about an identity, on one page: `told.txt`. And that there is always something to type.

use super::{
    Hint, VaultRefusal, administration, advice, call, class, ended, no_key_yet, no_own_key, start, steps,
    store_is_silent, token, unsigned,
};
use crate::{ExitClass, Refusal, report};
use bindu_client::CallError;
use bindu_hydra::{HydraError, TokenError};
use bindu_identity::{AgentId, AgentName, Did, Fingerprint, SigningKey};
use bindu_keeper::{Advice, MissingRight, NamedKey, OtherDid, Problem, StartError, StepError, StoreKind};
use bindu_store::{AdministrationError, Outage, OutageReason};
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
        StartError::Unavailable { outage: Some(Outage::new(OutageReason::Untrusted, "TLS: the problem")) },
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

const STEPS: [StepError; 16] = [
    StepError::Unfinished,
    StepError::Silent,
    StepError::ReadDenied,
    StepError::CredentialsDenied,
    StepError::WrongMount,
    StepError::Locked,
    StepError::NotSettled,
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

/// At least one of each kind.
fn token_errors() -> Vec<TokenError> {
    vec![
        TokenError::NoHydra,
        TokenError::NoCredentials(did()),
        TokenError::StoreUnavailable(did()),
        TokenError::StoreDenied(did()),
        TokenError::WrongSecret,
        TokenError::Hydra(HydraError::Refused {
            error: "invalid_scope".to_owned(),
            description: "Hydra's words".to_owned(),
        }),
        TokenError::Hydra(HydraError::Unavailable { detail: "refused".to_owned(), retry_after: None }),
    ]
}

/// At least one of each kind.
fn call_errors() -> Vec<CallError> {
    let text = str::to_owned;
    let (url, did, problem) =
        (|| text("https://a.example.com"), || did().to_string(), || text("the problem"));
    vec![
        CallError::Address { url: url(), problem: "it is no https address" },
        CallError::NoCard { url: url(), problem: problem() },
        CallError::OtherOrigin { base: url(), interface: text("https://b.example.com") },
        CallError::OtherAgent { wanted: self::did(), found: text("did:x") },
        CallError::NoKey { did: did(), problem: problem() },
        CallError::OtherKey { did: did(), known: text("KEY"), found: text("OTHER KEY") },
        CallError::Token(TokenError::NoHydra),
        CallError::Refused { status: 403, reason: text("not_admitted") },
        CallError::Refused { status: 503, reason: text("draining") },
        CallError::Rpc { code: -32603, message: text("the agent's words") },
        CallError::Unavailable { url: url(), detail: problem() },
        CallError::Unsigned { did: did() },
        CallError::Ended { state: "failed", said: text("the agent's words") },
        CallError::Forged { did: did(), trust: "hydra" },
    ]
}

/// At least one of each kind.
fn vault_refusals() -> Vec<VaultRefusal> {
    let text = str::to_owned;
    vec![
        VaultRefusal::NotConfigured,
        VaultRefusal::HalfOfAName,
        VaultRefusal::Unspeakable(text("a\"")),
        VaultRefusal::LoginRejected(outage()),
        VaultRefusal::WrongMount(outage()),
        VaultRefusal::Silent(outage()),
        VaultRefusal::MayNotAsk,
        VaultRefusal::Lacks,
        VaultRefusal::Nobody,
        VaultRefusal::UnknownMethod(text("ldap")),
        VaultRefusal::Needs(text("jwt"), "--subject SUBJECT"),
        VaultRefusal::BadTtl,
        VaultRefusal::AuthTwice(text("kubernetes")),
        VaultRefusal::BadName("--role", text("a/b")),
        VaultRefusal::BadMount,
        VaultRefusal::Unreadable(text("ca.pem"), text("No such file or directory")),
        VaultRefusal::Blocked,
        VaultRefusal::NotSeen,
    ]
}

/// At least one of each kind.
fn administration_errors() -> Vec<AdministrationError> {
    let refused = |path: &str| AdministrationError::Refused {
        path: path.to_owned(),
        problem: "Vault's own words".to_owned(),
    };
    vec![
        AdministrationError::Denied { operation: "POST", path: "sys/policies/acl/bindu".to_owned() },
        refused("auth/kubernetes/config"),
        refused("auth/kubernetes/role/bindu"),
        AdministrationError::Unavailable(Outage::new(OutageReason::LoginRejected, "permission denied")),
        AdministrationError::Unavailable(outage()),
    ]
}

/// All refusals of `bindu call` and `bindu vault`.
fn of_commands() -> Vec<(String, Refusal)> {
    let calls = call_errors().into_iter().map(|error| (variant(&error), call(&error)));
    let tokens = token_errors().into_iter().map(|error| (variant(&error), token(&error)));
    let others = [
        ("ended", ended("failed", "the agent's words")),
        ("unsigned", unsigned("did:x")),
        ("no_own_key", no_own_key(None)),
        ("no_own_key", no_own_key(Some(&outage()))),
    ];
    let others = others.into_iter().map(|(name, refusal)| (name.to_owned(), refusal));
    let vault = vault_refusals().into_iter().map(|refusal| (variant(&refusal), refusal.into()));
    let vault = vault.chain(administration_errors().into_iter().map(|e| (variant(&e), administration(&e))));
    calls.chain(tokens).chain(others).chain(vault).collect()
}

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
    variants.map(|line| line.split([' ', ',', '{', '(']).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn each_variant_has_a_sample() {
    fn names<T: std::fmt::Debug>(samples: &[T]) -> Vec<String> {
        samples.iter().map(|sample| variant(sample)).collect()
    }
    for (file, name, samples) in [
        ("keeper/src/start_error.rs", "StartError", names(&errors())),
        ("keeper/src/advice.rs", "Advice", names(&advices())),
        ("keeper/src/driver/ring.rs", "StepError", names(&STEPS)),
        ("hydra/src/token_source.rs", "TokenError", names(&token_errors())),
        ("client/src/error.rs", "CallError", names(&call_errors())),
        ("store/src/vault/administration.rs", "AdministrationError", names(&administration_errors())),
        ("bindu/src/hints/vault.rs", "VaultRefusal", names(&vault_refusals())),
    ] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let variants = variants(&std::fs::read_to_string(path).unwrap(), name);
        assert!(variants.len() > 2, "{name}: {variants:?}");
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
    let hints = hints.chain([store_is_silent(), no_key_yet()]).map(String::from);
    for hint in hints.chain(of_commands().into_iter().map(|(_, refusal)| refusal.hint)) {
        assert!(hint.lines().any(|line| line.starts_with("  ")), "there is nothing to type: {hint}");
        for line in hint.lines().filter(|line| !line.starts_with("  ")) {
            let is_one = ["--", "vault kv", "vault login", "bindu ", "__", "VAULT_", "BINDU_"];
            let is_one = is_one.iter().any(|word| line.contains(word));
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
    for (name, refusal) in of_commands() {
        let _ = writeln!(told, "[{name}: {}]\n{}", refusal.class.code(), report::text(&refusal));
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
