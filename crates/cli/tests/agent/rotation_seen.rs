//! Rotations as verifiers see them: a caller's keys in Hydra, pinned keys, the keys of agents that are called.

use crate::{AUTHOR, agent, authentication::guarded, calls::somebody, hydra, names};
use axum::{
    Json, Router,
    extract::{Path as UrlPath, State},
    routing::{get, post},
};
use bindu::{run::Parts, settings::Layers, settings::Settings};
use bindu_client::{AgentClient, CallError, CallOptions, CallSigner, ClientSettings, SignedCall};
use bindu_identity::{
    DerivedKey, Did, NewRotation, PublicKey, RotationStatement, SecondKeyBinding, SigningKey, pem,
    request_signature, rotation, text_signature,
};
use bindu_testkit::{
    AgentSetup, PythonBindu,
    caller::{TestCaller, now},
    http::{self, call},
    install,
    server::run_script,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

const DAY: i64 = 24 * 3600;

fn list() -> Value {
    call("tasks/list", &json!({}))
}

/// The statement of a first rotation, an hour ago.
fn rotate(did: &str, from: &SigningKey, to: &SigningKey) -> RotationStatement {
    let (did, now): (Did, i64) = (did.parse().unwrap(), now().cast_signed());
    RotationStatement::sign(&NewRotation {
        did: &did,
        from,
        to: to.public_key(),
        to_second: DerivedKey::of(to).public_key(),
        generation: 1,
        prev: None,
        at: &rotation::utc(now - 3600).unwrap(),
        until: &rotation::utc(now + DAY).unwrap(),
    })
}

/// A caller that has rotated, with its new key, and the same one with its old key.
async fn rotated(id: &str, binding: bool) -> (TestCaller, TestCaller) {
    let old = TestCaller::new(hydra().await, id).await;
    let (key, did) = (SigningKey::generate().unwrap(), old.did());
    let mut patch = vec![
        json!({"op": "add", "path": "/metadata/public_key", "value": key.public_key()}),
        json!({"op": "add", "path": "/metadata/derived_public_key", "value": DerivedKey::of(&key).public_key()}),
        json!({"op": "add", "path": "/metadata/rotations", "value": [rotate(id, &old.key, &key)]}),
    ];
    if binding {
        let binding = SecondKeyBinding::sign(&did, &old.key);
        patch.push(json!({"op": "add", "path": "/metadata/second_key_binding", "value": binding}));
    }
    hydra().await.patch(id, &json!(patch)).await;
    (TestCaller { id: id.to_owned(), key, token: old.token.clone() }, old)
}

async fn reason(request: reqwest::RequestBuilder) -> (u16, String) {
    let (status, answer) = http::answer(request).await;
    (status, answer["details"]["reason"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_old_keys_count_during_the_overlap() {
    let disk = tempfile::tempdir().unwrap();
    let agent = guarded(disk.path(), "Sees Rotations").await;
    let root = format!("{}/", agent.url);
    let refused = (403, "invalid_signature".to_owned());
    for (id, is_bound) in [("did:bindu:rotated:caller:1", true), ("did:bindu:rotated:caller:2", false)] {
        let (new, old) = rotated(id, is_bound).await;
        for caller in [&old, &new] {
            let (status, answer) = caller.send(&agent.url, &list()).await;
            assert_eq!(status, 200, "{answer}");
        }
        assert_eq!(reason(new.message(&root, &list(), "n-1")).await.0, 200);
        // No verifier can derive the second key of a first key.
        let by_the_old_second_key = reason(old.message(&root, &list(), "n-2")).await;
        assert_eq!(by_the_old_second_key.0 == 200, is_bound, "{by_the_old_second_key:?}");
        let key = SigningKey::generate().unwrap();
        let stranger = TestCaller { id: new.id.clone(), key, token: new.token.clone() };
        assert_eq!(reason(stranger.request(&agent.url, &list(), now())).await, refused);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_callers_rotation_is_not_followed() {
    let disk = tempfile::tempdir().unwrap();
    let (new, old) = rotated("did:bindu:rotated:pinned:1", true).await;
    let spare =
        TestCaller { id: old.id.clone(), key: SigningKey::generate().unwrap(), token: old.token.clone() };
    let setup = agent(disk.path()).named(AUTHOR, "Pins Keys").set_all(hydra().await.environment());
    let pinned = json!({ &old.id: [old.key.public_key(), spare.key.public_key()] });
    let agent = setup.set("AUTH__PINNED_KEYS", pinned.to_string()).start().await;
    for caller in [&old, &spare] {
        let (status, answer) = caller.send(&agent.url, &list()).await;
        assert_eq!(status, 200, "{answer}");
    }
    let refused = (403, "invalid_signature".to_owned());
    assert_eq!(reason(new.request(&agent.url, &list(), now())).await, refused);
}

/// The agent that is called still signs with its old key: Hydra names the new one, and how it came to it.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_rotates_is_believed_by_its_old_key() {
    let (disk, other_disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let caller = somebody(disk.path(), "Calls Rotating").await;
    let called = names("Rotating");
    let setup = agent(other_disk.path()).named(AUTHOR, &called.name).set_all(hydra().await.environment());
    let other = setup.set("BINDU_RECONCILE_INTERVAL", "1h").start().await;
    http::healthy(&other.url).await;
    let (old, new) = (key_of(other_disk.path()), SigningKey::generate().unwrap());
    let patch = |statements: &[RotationStatement]| {
        json!([
            {"op": "add", "path": "/metadata/public_key", "value": new.public_key()},
            {"op": "add", "path": "/metadata/rotations", "value": statements},
        ])
    };
    let call = || {
        let arguments = ["call", &other.url, "hello", "--did", &called.did];
        caller.clone().command(&arguments).output()
    };
    hydra().await.patch(&called.did, &patch(&[])).await;
    crate::assert_refused(call(), 1, &["not signed with the key", "the key in Hydra"]);
    hydra().await.patch(&called.did, &patch(&[rotate(&called.did, &old, &new)])).await;
    let (code, said, told) = call();
    assert_eq!((code, said.as_str()), (0, "hello\n"), "{told}");
    assert!(told.contains("the key in Hydra"), "{told}");
    let given = |keys: &[&SigningKey]| {
        let keys: Vec<_> = keys.iter().map(|key| key.public_key().to_string()).collect();
        let flags = keys.iter().flat_map(|key| ["--key", key]);
        let arguments: Vec<&str> = ["call", &other.url, "hello"].into_iter().chain(flags).collect();
        caller.clone().command(&arguments).output()
    };
    let (code, said, told) = given(&[&new, &old]);
    assert!(code == 0 && said == "hello\n" && told.contains("a pinned key"), "{told}");
    crate::assert_refused(given(&[&new]), 1, &["not signed with the key", "a pinned key"]);
}

fn key_of(disk: &Path) -> SigningKey {
    let pem = std::fs::read_to_string(disk.join(".bindu").join("private.pem")).unwrap();
    pem::decode_private_key(&pem.into(), None).unwrap()
}

/// The page's own lines, run by Python.
#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_the_guide_verify_statements() {
    let did = "did:bindu:ä \"quoted\":rotating\\agent:1";
    let [one, two] = [1, 2].map(|seed| SigningKey::from_seed(&[seed; 32]));
    let good = rotate(did, &one, &two);
    let next = RotationStatement::sign(&NewRotation {
        did: &did.parse().unwrap(),
        from: &two,
        to: one.public_key(),
        to_second: DerivedKey::of(&one).public_key(),
        generation: good.generation + 1,
        prev: Some(&good),
        at: &good.at,
        until: &good.until,
    });
    let forged = RotationStatement { until: next.at.clone(), ..next.clone() };
    let foreign = rotate("did:bindu:another", &one, &two);
    let statements = [&good, &next, &forged, &foreign];
    let page = install::source_tree().join("docs/ROTATION.md").display().to_string();
    let input = serde_json::to_string(&statements).unwrap();
    let Some(verified) = run_script("verify_rotation.py", &[&page, did], &input).await else {
        eprintln!("skipped: needs Python 3.12");
        return;
    };
    assert_eq!(verified, "[true, true, false, false]");
    let did = did.parse().unwrap();
    assert_eq!(statements.map(|statement| statement.verify(&did).is_ok()), [true, true, false, false]);
}

/// Holds a key that the called agent does not expect, and perhaps the one that it does.
struct TwoKeys {
    did: Did,
    expected: SigningKey,
    other: Option<SigningKey>,
    /// Whether the other one becomes the expected one between the first signature and the next.
    turns: bool,
    asked: AtomicUsize,
}

impl CallSigner for TwoKeys {
    fn sign(&self, refused: Option<&PublicKey>, body: &str, timestamp: u64) -> Option<SignedCall> {
        let mut keys: Vec<_> = std::iter::once(&self.expected).chain(&self.other).collect();
        if self.asked.fetch_add(1, Ordering::SeqCst) > 0 && self.turns {
            keys.reverse();
        }
        let key = keys.into_iter().find(|key| Some(&key.public_key()) != refused)?;
        let signature = request_signature::sign(key, &self.did, body, timestamp);
        Some(SignedCall { did: self.did.clone(), key: key.public_key(), signature })
    }
}

/// Calls as the agent that has this data directory, with a key that nobody expects and this other one.
async fn call_with_two_keys(
    url: &str,
    (disk, name): (&Path, &crate::Names),
    (other, turns): (Option<SigningKey>, bool),
) -> Result<bindu::AgentReply, CallError> {
    let mut environment: BTreeMap<String, String> = hydra().await.environment().into_iter().collect();
    for (variable, value) in [
        ("BINDU_NAME", name.name.as_str()),
        ("BINDU_AUTHOR", AUTHOR),
        ("BINDU_DATA_DIR", disk.join(".bindu").to_str().unwrap()),
    ] {
        environment.insert(variable.to_owned(), value.to_owned());
    }
    let layers = Layers::default().with_environment(environment, disk).unwrap();
    let settings = Settings::load(layers).unwrap();
    let keeper = Arc::new(Parts::look(&settings).unwrap().keeper);
    let expected = SigningKey::generate().unwrap();
    let client = AgentClient::new(ClientSettings {
        signer: Some(Arc::new(TwoKeys {
            did: name.did.parse().unwrap(),
            expected,
            other,
            turns,
            asked: AtomicUsize::new(0),
        })),
        tokens: bindu::run::outgoing(&settings, &keeper, None).tokens,
        hydra: None,
        issuer: None,
        pinned: Default::default(),
        known: Default::default(),
        audiences: Vec::new(),
        allowed_origins: Vec::new(),
        dangerous_allow_http: false,
        proxies: Default::default(),
    });
    client.call_with(url, "hello", &CallOptions::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_refused_for_its_key_is_signed_with_the_other_one() {
    let (disk, other_disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let name = names("Two Keys");
    let _ = somebody(disk.path(), &name.name).await;
    let called = guarded(other_disk.path(), "Expects One Key").await;
    let call =
        async |other, turns| call_with_two_keys(&called.url, (disk.path(), &name), (other, turns)).await;
    // Also if the ring learns of the rotation between the two: the one that was refused is not tried again.
    for turns in [false, true] {
        assert_eq!(call(Some(key_of(disk.path())), turns).await.unwrap().text, "hello");
    }
    for other in [None, Some(SigningKey::generate().unwrap())] {
        match call(other, false).await {
            Err(CallError::Refused { status: 403, reason }) => assert_eq!(reason, "invalid_signature"),
            decided => panic!("{decided:?}"),
        }
    }
}

/// Python Bindu checks the one key that Hydra names, and follows no statement.
#[tokio::test(flavor = "multi_thread")]
async fn a_python_agent_gets_the_call_signed_with_the_key_that_it_expects() {
    let (disk, python_disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let environment = hydra().await.environment();
    let started =
        PythonBindu::start(python_disk.path(), AUTHOR, "Python Expects One Key", &environment).await;
    let Some(python) = started else {
        eprintln!("skipped: needs Python 3.12");
        return;
    };
    let name = names("Two Keys For Python");
    let _ = somebody(disk.path(), &name.name).await;
    let reply = call_with_two_keys(&python.url, (disk.path(), &name), (Some(key_of(disk.path())), false))
        .await
        .unwrap();
    assert_eq!((reply.text.as_str(), reply.signed), ("hello", Some(bindu::Trust::FirstUse)));
    let refused = call_with_two_keys(&python.url, (disk.path(), &name), (None, false)).await;
    assert!(matches!(refused, Err(CallError::Refused { status: 403, .. })), "{refused:?}");
}

/// Many agents at one address, each below a path of its own.
async fn many_agents() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let key = SigningKey::generate().unwrap();
    let shown = key.public_key();
    let signed = text_signature::sign(&key, "hello").unwrap().to_string();
    let did = |number: &str| format!("did:bindu:many:agent:{number}");
    let card = async move |State(url): State<String>, UrlPath(number): UrlPath<String>| {
        let extensions = json!([{"uri": did(&number)}]);
        Json(json!({"url": format!("{url}/{number}"), "capabilities": {"extensions": extensions}}))
    };
    let document = async move |UrlPath(number): UrlPath<String>| {
        Json(json!({"id": did(&number), "authentication": [{"publicKeyBase58": shown}]}))
    };
    let answer = async move || {
        let part = json!({"kind": "text", "text": "hello", "metadata": {"did.message.signature": signed}});
        let task = json!({"id": "1", "status": {"state": "completed"}, "artifacts": [{"parts": [part]}]});
        Json(json!({"jsonrpc": "2.0", "id": 1, "result": task}))
    };
    let router = Router::new()
        .route("/{number}/.well-known/agent.json", get(card))
        .route("/{number}/did/resolve", get(document))
        .route("/{number}", post(answer))
        .with_state(url.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn first_calls_of_eight_processes_at_once_are_all_remembered() {
    let disk = tempfile::tempdir().unwrap();
    let caller: AgentSetup = agent(disk.path());
    caller.start().await.kill();
    let url = many_agents().await;
    let calls = (0..8).map(|number| {
        let (caller, url) = (caller.clone(), format!("{url}/{number}"));
        tokio::task::spawn_blocking(move || caller.command(&["call", &url, "hello"]).output())
    });
    for called in futures_util::future::join_all(calls).await {
        let (code, said, told) = called.unwrap();
        assert_eq!((code, said.as_str()), (0, "hello\n"), "{told}");
    }
    let known = std::fs::read_to_string(disk.path().join(".bindu/known_agents.json")).unwrap();
    let known: Value = serde_json::from_str(&known).unwrap();
    let urls: Vec<String> = (0..8).map(|number| format!("{url}/{number}")).collect();
    assert_eq!(known.as_object().unwrap().keys().collect::<Vec<_>>(), urls.iter().collect::<Vec<_>>());
}
