//! An agent that was called before shows another key. Which of its stories are believed, on first use and where it is
//! pinned. The agent is a fake: these are stories that no honest one tells.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs)]

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use bindu_client::{
    AgentClient, CallError, CallOptions, ClientSettings, KeyChange, KnownAgents, Reply, Trust,
};
use bindu_identity::{
    DerivedKey, Did, NewRotation, PublicKey, RotationStatement, SigningKey, rotation, text_signature,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

const DAY: i64 = 24 * 3600;

fn did() -> Did {
    "did:bindu:a:rotates:1".parse().unwrap()
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

fn public(number: u8) -> PublicKey {
    key(number).public_key()
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs().cast_signed()
}

/// The rotations through these keys, newest first, an hour ago; the old keys count until so many seconds from now.
fn line_until(did: &Did, keys: &[u8], from_now: i64) -> Vec<RotationStatement> {
    let mut line: Vec<RotationStatement> = Vec::new();
    for (pair, generation) in keys.windows(2).zip(1..) {
        let next = RotationStatement::sign(&NewRotation {
            did,
            from: &key(pair[0]),
            to: public(pair[1]),
            to_second: DerivedKey::of(&key(pair[1])).public_key(),
            generation,
            prev: line.first(),
            at: &rotation::utc(now() - 3600).unwrap(),
            until: &rotation::utc(now() + from_now).unwrap(),
        });
        line.insert(0, next);
    }
    line
}

fn line(keys: &[u8]) -> Vec<RotationStatement> {
    line_until(&did(), keys, 7 * DAY)
}

/// What the agent says of itself.
#[derive(Clone)]
struct Story {
    /// The key in its DID document.
    shown: u8,
    /// The key that signs its replies.
    signs: u8,
    /// Its `did-rotation.json`; 404 where there is none.
    rotations: Option<Value>,
    /// The key in its DID document once it has answered a call.
    shown_after: Option<u8>,
}

impl Story {
    fn of(number: u8) -> Self {
        Self { shown: number, signs: number, rotations: None, shown_after: None }
    }

    /// As an honest agent publishes them.
    fn with(self, statements: &[RotationStatement]) -> Self {
        self.publishing(json!({"did": did(), "statements": statements}))
    }

    fn publishing(self, document: Value) -> Self {
        Self { rotations: Some(document), ..self }
    }
}

struct FakeAgent {
    url: String,
    story: Arc<Mutex<Story>>,
    disk: tempfile::TempDir,
}

type Shared = State<(String, Arc<Mutex<Story>>)>;

impl FakeAgent {
    async fn start(story: Story) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let story = Arc::new(Mutex::new(story));
        let router = Router::new()
            .route("/.well-known/agent.json", get(card))
            .route("/did/resolve", get(document))
            .route("/.well-known/did-rotation.json", get(rotations))
            .route("/", post(answer))
            .with_state((url.clone(), Arc::clone(&story)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, story, disk: tempfile::tempdir().unwrap() }
    }

    fn tells(&self, story: Story) {
        *self.story.lock().unwrap() = story;
    }

    fn file(&self) -> PathBuf {
        self.disk.path().join("known_agents.json")
    }

    fn remembered(&self) -> Value {
        let text = std::fs::read_to_string(self.file()).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()[&self.url].clone()
    }

    /// A call by another process, which shares only the file with earlier ones.
    async fn call(&self) -> Result<Reply, CallError> {
        self.call_with(HashMap::new(), &CallOptions::default()).await
    }

    async fn call_with(
        &self,
        pinned: HashMap<Did, Vec<PublicKey>>,
        options: &CallOptions,
    ) -> Result<Reply, CallError> {
        let client = AgentClient::new(ClientSettings {
            signer: None,
            tokens: None,
            hydra: None,
            issuer: None,
            pinned,
            known: KnownAgents::in_file(self.file()),
            audiences: Vec::new(),
            allowed_origins: Vec::new(),
            dangerous_allow_http: false,
            proxies: Default::default(),
        });
        client.call_with(&self.url, "hello", options).await
    }
}

async fn card(State((url, _)): Shared) -> Json<Value> {
    Json(json!({"url": url, "capabilities": {"extensions": [{"uri": did()}]}}))
}

async fn document(State((_, story)): Shared) -> Json<Value> {
    let shown = public(story.lock().unwrap().shown);
    Json(json!({"id": did(), "authentication": [{"publicKeyBase58": shown}]}))
}

async fn rotations(State((_, story)): Shared) -> Result<Json<Value>, StatusCode> {
    story.lock().unwrap().rotations.clone().map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn answer(State((_, story)): Shared, Json(call): Json<Value>) -> Json<Value> {
    let mut story = story.lock().unwrap();
    let signature = text_signature::sign(&key(story.signs), "hello").unwrap().to_string();
    story.shown = story.shown_after.unwrap_or(story.shown);
    let part = json!({"kind": "text", "text": "hello", "metadata": {"did.message.signature": signature}});
    let task = json!({"id": "1", "status": {"state": "completed"}, "artifacts": [{"parts": [part]}]});
    Json(json!({"jsonrpc": "2.0", "id": call["id"], "result": task}))
}

/// An agent whose key 1 is known from a call before.
async fn known_by_key_1() -> FakeAgent {
    let agent = FakeAgent::start(Story::of(1)).await;
    let reply = agent.call().await.unwrap();
    assert_eq!((reply.signed, reply.key_change), (Some(Trust::FirstUse), None));
    agent
}

fn change(from: u8, to: u8, generation: u64) -> Option<KeyChange> {
    Some(KeyChange { from: public(from), to: public(to), generation })
}

#[tokio::test]
async fn a_rotation_is_followed_remembered_and_told_once() {
    let agent = known_by_key_1().await;
    agent.tells(Story::of(2).with(&line(&[1, 2])));
    let reply = agent.call().await.unwrap();
    assert_eq!((reply.signed, reply.key_change), (Some(Trust::FirstUse), change(1, 2, 1)));
    assert_eq!(agent.call().await.unwrap().key_change, None);
    assert_eq!(agent.remembered()["public_key"], json!(public(2)));
    assert_eq!(agent.remembered()["generation"], 1);
    // Two at once, the list in any order and with junk in it; then an undo.
    let mut statements = json!(line(&[1, 2, 3, 4]));
    statements.as_array_mut().unwrap().reverse();
    statements.as_array_mut().unwrap().insert(1, json!({"did": 5}));
    agent.tells(Story::of(4).publishing(json!({"did": did(), "statements": statements})));
    assert_eq!(agent.call().await.unwrap().key_change, change(2, 4, 3));
    agent.tells(Story::of(3).with(&line(&[1, 2, 3, 4, 3])));
    assert_eq!(agent.call().await.unwrap().key_change, change(4, 3, 4));
}

/// Each of these is told by somebody who holds key 2, and at most one retired key besides.
#[tokio::test]
async fn what_is_no_chain_from_the_known_key_is_refused() {
    let agent = known_by_key_1().await;
    let before = agent.remembered();
    let other: Did = "did:bindu:a:other:1".parse().unwrap();
    let [three, _, one] = &line(&[1, 3, 4, 2])[..] else { panic!("three") };
    let forged = RotationStatement { to: public(2), ..line(&[1, 3]).remove(0) };
    let by_itself = RotationStatement { from: public(1), ..line(&[2, 3]).remove(0) };
    let stories = [
        ("nothing is published", Story::of(2)),
        ("an empty list", Story::of(2).with(&[])),
        ("no list", Story::of(2).publishing(json!({"did": did(), "statements": "all"}))),
        ("no document", Story::of(2).publishing(json!("all"))),
        ("another target", Story::of(2).with(&[forged])),
        ("another signer", Story::of(2).with(&[by_itself])),
        ("another agent's statements", Story::of(2).with(&line_until(&other, &[1, 2], DAY))),
        (
            "another agent's document",
            Story::of(2).publishing(json!({"did": other, "statements": line(&[1, 2])})),
        ),
        ("from a key that is not known", Story::of(2).with(&line(&[3, 2]))),
        ("a link is missing", Story::of(2).with(&[three.clone(), one.clone()])),
        ("a chain that leads elsewhere", Story::of(2).with(&line(&[1, 3]))),
        ("a chain that leads on", Story::of(2).with(&line(&[1, 2, 3]))),
    ];
    for (what, story) in stories {
        agent.tells(story);
        let refused = agent.call().await;
        assert!(matches!(refused, Err(CallError::OtherKey { .. })), "{what}: {refused:?}");
        assert_eq!(agent.remembered(), before, "{what}");
    }
    agent.tells(Story::of(2).with(&line(&[1, 2])));
    assert_eq!(agent.call().await.unwrap().key_change, change(1, 2, 1), "and the true one is not");
}

/// Whoever holds the key that was undone still has the statement that led to it.
#[tokio::test]
async fn a_replay_after_an_undo_is_refused() {
    // Known by every step, or at the end only.
    for steps in [&[&[1][..], &[1, 2], &[1, 2, 1]][..], &[&[1, 2, 1]]] {
        let first = Story::of(steps[0][steps[0].len() - 1]).with(&line(steps[0]));
        let agent = FakeAgent::start(first).await;
        for step in steps {
            agent.tells(Story::of(step[step.len() - 1]).with(&line(step)));
            agent.call().await.unwrap();
        }
        assert_eq!(agent.remembered()["generation"], 2);
        agent.tells(Story::of(2).with(&line(&[1, 2])));
        // Key 2 counts to the end of its overlap beside key 1, by the undo's own statement: not as the current key.
        agent.call().await.unwrap();
        assert_eq!(agent.remembered()["public_key"], json!(public(1)));
        agent.tells(Story::of(3).with(&line(&[1, 3])));
        assert!(matches!(agent.call().await, Err(CallError::OtherKey { .. })), "another line from key 1");
    }
    let agent = FakeAgent::start(Story::of(1).with(&line_until(&did(), &[1, 2, 1], -1))).await;
    agent.call().await.unwrap();
    agent.tells(Story::of(2).with(&line(&[1, 2])));
    assert!(matches!(agent.call().await, Err(CallError::OtherKey { .. })), "after the overlap");
    assert_eq!(agent.remembered()["public_key"], json!(public(1)));
}

/// One of its replicas is behind: it shows the old key, knows of no rotation, and signs with the old key.
#[tokio::test]
async fn the_old_key_counts_until_its_statement_says() {
    let agent = known_by_key_1().await;
    agent.tells(Story::of(2).with(&line(&[1, 2])));
    agent.call().await.unwrap();
    for behind in [Story::of(1), Story { shown: 2, ..Story::of(1) }, Story { shown: 1, ..Story::of(2) }] {
        agent.tells(behind);
        assert_eq!(agent.call().await.unwrap().key_change, None);
        assert_eq!(agent.remembered()["public_key"], json!(public(2)), "the newer one stays the known one");
    }
    let late = known_by_key_1().await;
    late.tells(Story::of(2).with(&line_until(&did(), &[1, 2], -1)));
    late.call().await.unwrap();
    late.tells(Story::of(1));
    assert!(matches!(late.call().await, Err(CallError::OtherKey { .. })));
}

#[tokio::test]
async fn a_reply_is_believed_whose_agent_rotates_during_the_call() {
    let agent = known_by_key_1().await;
    let rotates = Story { shown: 1, signs: 2, shown_after: Some(2), ..Story::of(1) };
    agent.tells(rotates.with(&line(&[1, 2])));
    let reply = agent.call().await.unwrap();
    assert_eq!((reply.signed, reply.key_change), (Some(Trust::FirstUse), change(1, 2, 1)));
    // And one that is signed with another key stays forged, whatever is published.
    agent.tells(Story { signs: 3, ..Story::of(2) }.with(&line(&[1, 2, 3])));
    let options = CallOptions { timeout: Some(Duration::from_secs(2)), ..CallOptions::default() };
    assert!(matches!(agent.call_with(HashMap::new(), &options).await, Err(CallError::Forged { .. })));
}

#[tokio::test]
async fn pinned_keys_are_several_and_no_rotation_adds_one() {
    let agent = known_by_key_1().await;
    let pinned = |keys: &[u8]| HashMap::from([(did(), keys.iter().map(|key| public(*key)).collect())]);
    let given = |keys: &[u8]| CallOptions {
        keys: keys.iter().map(|key| public(*key)).collect(),
        ..CallOptions::default()
    };
    for signs in [1, 2] {
        agent.tells(Story::of(signs));
        for (settings, options) in
            [(pinned(&[1, 2]), given(&[])), (pinned(&[9]), given(&[2, 1])), (pinned(&[]), given(&[1, 2]))]
        {
            let reply = agent.call_with(settings, &options).await.unwrap();
            assert_eq!((reply.signed, reply.key_change), (Some(Trust::Pinned), None));
        }
    }
    agent.tells(Story::of(2).with(&line(&[1, 2])));
    for (settings, options) in [(pinned(&[1]), given(&[])), (pinned(&[2]), given(&[1]))] {
        let refused = agent.call_with(settings, &options).await;
        assert!(matches!(refused, Err(CallError::Forged { .. })), "{refused:?}");
    }
    assert_eq!(agent.remembered()["public_key"], json!(public(1)), "a pinned call learns nothing");
}
