//! Servers of the kind that run in production, in trouble: a raft cluster whose standby answers late, a sealed server, a
//! Hydra without its database; and an agent that has outlived both.

use crate::{AUTHOR, agent, bao, degraded, full, hydra, is_one, names, new_record, public_key, repeat};
use bindu_testkit::{
    AgentSetup, Hydra, Postgres, RaftOpenBao,
    caller::TestCaller,
    http,
    proxy::{Fault, Proxy},
};
use serde_json::json;
use std::{
    path::Path,
    time::{Duration, Instant},
};

fn on_raft(directory: &Path, name: &str, bao: &RaftOpenBao, node: usize) -> AgentSetup {
    let setup = agent(directory).named(AUTHOR, name).set("VAULT__ENABLED", "true");
    setup.set("VAULT__URL", &bao.urls[node]).set("VAULT__TOKEN", &bao.token)
}

/// Ten replicas with empty disks at once, spread over the leader and a standby of a raft cluster, which answers reads
/// from old data for about 80 ms and says "absent" of what was just stored.
///
/// Promise: one key and one credentials record, each at version 1; all replicas healthy. The standby did say "absent" of a record
/// that the leader had: there are up to 20 rounds until it has said so of the agents' keys, and in each of them one of our own.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_answers_late() {
    let bao = RaftOpenBao::start(2).await;
    let standby = Proxy::start(&bao.urls[1]).await;
    let (mut stale, mut stale_to_agents, mut stale_of_ours, mut rounds) = (0, 0, 0, 0);
    while rounds < 3 * repeat() || (stale + stale_to_agents == 0 && rounds < 20) {
        let round = rounds;
        rounds += 1;
        let names = names(&format!("Raft {round}"));
        let disks: Vec<_> = (0..10).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut starting = Vec::new();
        for (number, disk) in disks.iter().enumerate() {
            let url = if number % 2 == 0 { &bao.urls[0] } else { &standby.url };
            let setup = on_raft(disk.path(), &names.name, &bao, 0).set("VAULT__URL", url);
            let setup = setup.set_all(hydra().await.environment());
            starting.push(tokio::spawn(async move { setup.start().await }));
        }
        let mut agents = Vec::new();
        let (stored, is_stale) = stored_since(&bao, &names.keys_path()).await;
        stale += usize::from(is_stale);
        let ours = format!("secret/data/bindu/probe/{round}");
        let (status, answer) = bao.call("POST", &ours, Some(json!({"data": {}}))).await;
        assert_eq!(status, 200, "{answer}");
        stale_of_ours += usize::from(status_at(&bao, 1, &format!("probe/{round}")).await == 404);
        for start in starting {
            agents.push(start.await.expect("it starts"));
        }
        let late = standby.take_answered().into_iter().filter(|(seen, status)| {
            let is_read = seen.method == "GET" && seen.path.ends_with(&names.keys_path());
            is_read && *status == 404 && seen.at > stored
        });
        stale_to_agents += late.count();
        let mut keys = Vec::new();
        for agent in &agents {
            http::healthy(&agent.url).await;
            keys.push(public_key(&agent.url, &names.did).await);
        }
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        assert_eq!(bao.record(&names.keys_path()).await.expect("keys").0, 1);
        let (version, credentials) = bao.record(&names.credentials_path()).await.expect("credentials");
        assert_eq!(version, 1);
        let client = hydra().await.client(&names.did).await.expect("a client");
        assert_eq!(client["metadata"]["public_key"], keys[0].as_str());
        let secret = credentials["client_secret"].as_str().expect("a secret");
        assert_eq!(hydra().await.token(&names.did, secret).await.0, 200);
    }
    println!(
        "stale in {rounds} rounds: {stale_to_agents} reads by agents, {stale} of their record, {stale_of_ours} of ours"
    );
    assert!(stale + stale_to_agents + stale_of_ours > 0, "no read was stale in {rounds} rounds");
}

/// When the leader had this record, at the latest; and whether the standby said after that that it is absent.
async fn stored_since(bao: &RaftOpenBao, path: &str) -> (Instant, bool) {
    let begun = Instant::now();
    loop {
        if status_at(bao, 0, path).await == 200 {
            return (Instant::now(), status_at(bao, 1, path).await == 404);
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "nobody stores the record");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// How a node answers a read of this record.
async fn status_at(bao: &RaftOpenBao, node: usize, path: &str) -> u16 {
    let url = format!("{}/v1/secret/data/bindu/{path}", bao.urls[node]);
    http::answer(http::client().get(&url).header("X-Vault-Token", &bao.token)).await.0
}

/// A server that is sealed under a running agent and during a start, and unsealed again.
///
/// Promise: the running agent serves on, degraded `store_unavailable`, and mends itself; a start without a key waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_server() {
    let bao = RaftOpenBao::start(1).await;
    let names = names("Sealed");
    let (disk, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let setup = on_raft(disk.path(), &names.name, &bao, 0).set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let key = public_key(&agent.url, &names.did).await;
    bao.seal().await;
    degraded(&agent.url, "store_unavailable").await;
    assert_eq!(http::ask(&agent.url, "still there?").await["status"]["state"], "completed");
    let (code, _, stderr) =
        on_raft(empty.path(), &names.name, &bao, 0).set("BINDU_START_DEADLINE", "1s").output();
    assert_eq!(code, 69, "{stderr}");
    let mut waiting = on_raft(empty.path(), &names.name, &bao, 0).spawn();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.has_ended(), "it waits");
    bao.unseal().await;
    waiting.listens().await.expect("it starts once the server is unsealed");
    assert_eq!(public_key(&waiting.url, &names.did).await, key);
    http::healthy(&agent.url).await;
    assert_eq!(bao.record(&names.keys_path()).await.expect("keys").0, 1);
}

/// A store that answers everything but the record's twelve earlier versions, on which the decision depends: with an empty disk and
/// with a kept one.
///
/// Promise: they are read within what the start itself waits for the store, not one after the other: without a key exit 69 at the
/// start's deadline, with one the agent serves under it after seconds. Nothing is written.
#[tokio::test(flavor = "multi_thread")]
async fn earlier_versions_that_never_come() {
    let names = names("Endless History");
    let (disk, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vault = Proxy::start(&bao().await.url).await;
    let setup = full(disk.path(), &names).await.set("VAULT__URL", &vault.url);
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let key = public_key(&agent.url, &names.did).await;
    agent.kill();
    setup.until_port_is_free().await;
    let (rogue, _) = new_record(&names);
    for _ in 0..12 {
        bao().await.put(&names.keys_path(), &rogue).await;
    }
    vault.script(|seen, _| if seen.path.contains("version=") { Fault::Hang } else { Fault::None });
    let without_a_key = full(empty.path(), &names).await.set("VAULT__URL", &vault.url);
    let without_a_key = without_a_key.set("BINDU_START_DEADLINE", "4s");
    let begun = Instant::now();
    let (code, _, stderr) = tokio::task::spawn_blocking(move || without_a_key.output()).await.unwrap();
    assert_eq!(code, 69, "{stderr}");
    // One after the other they would take two minutes: ten seconds each.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let hung = vault.faults();
    assert!(hung >= 9, "{hung} of its versions were asked for");
    let agent = setup.start().await;
    assert!(agent.start < Duration::from_secs(60), "{:?}", agent.start);
    assert!(vault.faults() > hung, "its earlier versions were asked for again");
    assert_eq!(public_key(&agent.url, &names.did).await, key);
    assert_eq!(bao().await.record(&names.keys_path()).await.expect("keys").0, 13);
    let client = hydra().await.client(&names.did).await.expect("a client");
    assert_eq!(client["metadata"]["public_key"], key.as_str());
}

/// A Hydra whose PostgreSQL is stopped, under a running agent and during a start: it says `invalid_client` to the right
/// secret.
///
/// Promise: nothing is registered, rotated or repaired because of it; degraded `hydra_unavailable`; healthy when the
/// database is back. A caller who is known goes on, a stranger gets 503, and nobody 401.
#[tokio::test(flavor = "multi_thread")]
async fn a_hydra_without_its_database() {
    let mut postgres = Postgres::start();
    let hydra = Hydra::start_on(&postgres.dsn).await;
    let names = names("Database Lost");
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, &names.name).vault(bao().await).set_all(hydra.environment());
    let setup = setup.set("BINDU_RECONCILE_INTERVAL", "1s").set("HYDRA__CACHE_TTL", "1");
    let running = setup.start().await;
    http::healthy(&running.url).await;
    let key = public_key(&running.url, &names.did).await;
    let credentials = bao().await.record(&names.credentials_path()).await;
    let client = hydra.client(&names.did).await;
    let known = TestCaller::new(&hydra, "did:bindu:known:database:1").await;
    let stranger = TestCaller::new(&hydra, "did:bindu:stranger:database:1").await;
    let list = http::call("tasks/list", &json!({}));
    assert_eq!(known.send(&running.url, &list).await.0, 200);
    postgres.stop();
    // It does not answer any more: none of its connections is left.
    http::eventually("Hydra has lost its database", async || {
        hydra.client(&names.did).await.is_none().then_some(())
    })
    .await;
    let secret = credentials.as_ref().and_then(|(_, record)| record["client_secret"].as_str()).unwrap();
    let (status, refusal) = hydra.token(&names.did, secret).await;
    assert_ne!(status, 200, "{refusal}");
    // Hydra calls both tokens inactive now: the one is known, of the other nobody can say.
    assert_eq!(stranger.send(&running.url, &list).await.0, 503);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(known.send(&running.url, &list).await.0, 200);
    degraded(&running.url, "hydra_unavailable").await;
    let second = tempfile::tempdir().unwrap();
    let other =
        agent(second.path()).named(AUTHOR, &names.name).vault(bao().await).set_all(hydra.environment());
    let restarted = other.start().await;
    assert_eq!(public_key(&restarted.url, &names.did).await, key);
    degraded(&restarted.url, "hydra_unavailable").await;
    postgres.start_again();
    http::healthy(&running.url).await;
    http::healthy(&restarted.url).await;
    assert_eq!(stranger.send(&running.url, &list).await.0, 200, "its token was good all the time");
    assert_eq!(bao().await.record(&names.credentials_path()).await, credentials, "nothing was written");
    assert_eq!(hydra.client(&names.did).await, client, "nothing was changed");
}

/// Both servers gone for good under a running agent.
///
/// Promise: it serves for as long as it lives, says what is the matter and since when, and is healthy when they return.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_outlives_its_servers() {
    let names = names("Outlives");
    let disk = tempfile::tempdir().unwrap();
    let (vault, admin) = (Proxy::start(&bao().await.url).await, Proxy::start(&hydra().await.admin_url).await);
    let setup = crate::full(disk.path(), &names).await.set("VAULT__URL", &vault.url);
    let setup = setup.set("HYDRA__ADMIN_URL", &admin.url).set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let key = public_key(&agent.url, &names.did).await;
    vault.script(|_, _| Fault::Drop);
    admin.script(|_, _| Fault::Drop);
    degraded(&agent.url, "store_unavailable").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (_, health) = http::get(&format!("{}/health", agent.url)).await;
    assert!(health["seconds_since"]["store"].as_u64().expect("seconds") >= 1, "{health}");
    assert!(health["seconds_since"]["hydra"].as_u64().is_some(), "{health}");
    let (ready, text) = http::get(&format!("{}/readyz?verbose", agent.url)).await;
    assert!(ready == 200 && text.as_str().expect("text").contains("store_unavailable"), "{text}");
    assert_eq!(public_key(&agent.url, &names.did).await, key);
    let before = vault.take_seen().len();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked = vault.take_seen().len();
    assert!(asked <= 12, "a sick server is asked less and less: {before}, then {asked} in 5 s");
    vault.script(|_, _| Fault::None);
    admin.script(|_, _| Fault::None);
    http::healthy(&agent.url).await;
    assert_eq!(is_one(&names).await, key);
}
