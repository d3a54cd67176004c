//! The attack corpus: each file of `testing/attacks` is sent to a real agent with authentication on, byte for byte, and
//! must get what it says. None may get in, and none may make the agent answer 5xx.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod attack;
mod rotations;
mod send;

#[path = "../shared/mod.rs"]
mod shared;

use attack::{Attack, World};
use bindu_testkit::{
    AgentProcess, Hydra,
    caller::TestCaller,
    http::{self, call, message},
};
use serde_json::{Value, json};
use shared::{AUTHOR, agent, hydra};
use std::time::Duration;

/// Fewer would mean that the corpus was not found.
const LEAST: usize = 100;

/// How many are under way at a time.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_gets_in() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Attacked").set_all(hydra().await.environment());
    let setup = setup.set("BINDU_DEPLOYMENT_URL", format!("https://agents.example.com{}", attack::PREFIX));
    let agent = setup.set("BINDU_HEADER_TIMEOUT", "3s").set("BINDU_BODY_TIMEOUT", "3s").start().await;
    let world = world(hydra().await, &agent).await;
    let attacks = attack::all();
    assert!(attacks.len() >= LEAST, "{} attacks", attacks.len());
    let before = victims_tasks(&world, &agent).await;

    let turns = tokio::sync::Semaphore::new(AT_ONCE);
    let outcomes = attacks.iter().map(|attack| {
        let (turns, world) = (&turns, &world);
        async move {
            let _turn = turns.acquire().await.unwrap();
            judge(attack, world).await
        }
    });
    let outcomes = futures_util::future::join_all(outcomes).await;
    let problems: Vec<String> = outcomes.into_iter().flatten().collect();
    assert!(problems.is_empty(), "{} of {}:\n{}", problems.len(), attacks.len(), problems.join("\n"));

    assert_eq!(victims_tasks(&world, &agent).await, before, "nobody's tasks have changed");
    let (_, metrics) = http::get(&format!("{}/metrics", agent.url)).await;
    let metrics = metrics.as_str().unwrap().to_owned();
    let failed =
        metrics.lines().find(|line| line.starts_with("http_requests_total") && line.contains("status=\"5"));
    assert_eq!(failed, None, "no answer of 5xx");
    assert!(!agent.log().contains("panicked"), "{}", agent.log());
    println!("attacks: {} files, 0 unauthorised calls, 0 answers of 5xx", attacks.len());
}

/// Sends one attack; what is wrong with its outcome.
async fn judge(attack: &Attack, world: &World) -> Option<String> {
    let request = attack.request(world);
    let answers = send::send(&world.address, &request, attack.half_closes()).await;
    let problem = |what: String| Some(format!("{}: {what} ({})", attack.name, attack.about));
    let first = answers.first().map_or(0, |answer| answer.status);
    if !attack.expected.contains(&first) {
        let body = answers.first().map_or("", |answer| answer.body.as_str());
        return problem(format!("{first} instead of {:?}: {body}", attack.expected));
    }
    // A second answer is to a request that was smuggled behind the first one.
    let let_in = answers.iter().find(|answer| (200..300).contains(&answer.status));
    if let Some(answer) = let_in.filter(|answer| !attack.expected.contains(&answer.status)) {
        return problem(format!("a {} among the answers", answer.status));
    }
    if let Some(reason) = &attack.reason {
        let body: Value = serde_json::from_str(&answers[0].body).unwrap_or_default();
        let details = body["details"]["reason"].as_str().unwrap_or_default();
        if details != reason {
            return problem(format!("reason {details:?} instead of {reason:?}"));
        }
    }
    None
}

async fn victims_tasks(world: &World, agent: &AgentProcess) -> Vec<Value> {
    let mut tasks = Vec::new();
    for caller in [&world.alice, &world.bob, &world.service] {
        let (status, list) = caller.send(&agent.url, &call("tasks/list", &json!({}))).await;
        assert_eq!(status, 200, "{list}");
        tasks.push(list["result"].clone());
    }
    tasks
}

/// Callers and tokens of all kinds, and a task of each good caller that nobody else may touch.
async fn world(hydra: &Hydra, agent: &AgentProcess) -> World {
    let alice = TestCaller::new(hydra, "did:bindu:alice:attacks:1").await;
    let bob = TestCaller::new(hydra, "did:bindu:bob:attacks:1").await;
    let service = TestCaller::new(hydra, "attacks-service").await;
    // Alice has no second key, so no HTTP message signature can be hers.
    hydra.patch(&alice.id, &json!([{"op": "remove", "path": "/metadata/derived_public_key"}])).await;
    let token = [("scope", "agent:read agent:write")];
    let of = async |id: &str, metadata: Value| {
        TestCaller::register(hydra, id, &metadata).await;
        TestCaller::token_of(hydra, id, &token).await
    };
    let mut others = vec![
        ("keyless", "did:bindu:keyless:attacks:1", of("did:bindu:keyless:attacks:1", json!({})).await),
        // The identity point, under which anything verifies.
        ("weak", "did:bindu:weak:attacks:1", {
            let identity = bs58::encode([&[1][..], &[0; 31]].concat()).into_string();
            of("did:bindu:weak:attacks:1", json!({"public_key": identity})).await
        }),
        ("slash", "did:bindu:slash/y:attacks:1", of("did:bindu:slash/y:attacks:1", json!({})).await),
        ("shout", "DID:bindu:shout:attacks:1", {
            let key = json!({"public_key": alice.key.public_key().to_string()});
            of("DID:bindu:shout:attacks:1", key).await
        }),
    ];
    for (name, id, metadata) in rotations::callers() {
        others.push((name, id, of(id, metadata).await));
    }
    let revoked = TestCaller::token_of(hydra, &alice.id, &token).await;
    let url = format!("{}/oauth2/revoke", hydra.public_url);
    let form = format!(
        "token={revoked}&client_id={}&client_secret=a+secret+of+a+caller",
        alice.id.replace(':', "%3A")
    );
    let request =
        http::client().post(url).header("Content-Type", "application/x-www-form-urlencoded").body(form);
    assert_eq!(http::answer(request).await.0, 200);
    let lifespans = |seconds: u32| {
        let url = format!("{}/admin/clients/{}/lifespans", hydra.admin_url, alice.id);
        let lifespan = json!({"client_credentials_grant_access_token_lifespan": format!("{seconds}s")});
        http::answer(http::client().put(url).body(lifespan.to_string()))
    };
    assert_eq!(lifespans(1).await.0, 200);
    let expired = TestCaller::token_of(hydra, &alice.id, &token).await;
    assert_eq!(lifespans(3600).await.0, 200);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for caller in [&alice, &bob, &service] {
        let (status, sent) = caller.send(&agent.url, &message("a-task-of-its-own", "mine")).await;
        assert_eq!(status, 200, "{sent}");
    }
    http::eventually("the tasks are done", async || {
        let (_, metrics) = http::get(&format!("{}/metrics", agent.url)).await;
        metrics
            .as_str()
            .is_some_and(|text| {
                text.lines().any(|line| line.starts_with("agent_tasks_active") && line.ends_with(" 0"))
            })
            .then_some(())
    })
    .await;
    let address = agent.url.trim_start_matches("http://").to_owned();
    World { address, alice, bob, service, others, revoked, expired }
}
