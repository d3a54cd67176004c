//! Many at once.

use crate::{bao, full, hydra, is_one, names, public_key, repeat};
use bindu_testkit::{
    AgentProcess, AgentSetup, http,
    proxy::{Fault, Proxy},
};
use std::time::Duration;

async fn all_at_once(setups: Vec<AgentSetup>) -> Vec<AgentProcess> {
    let starting: Vec<_> =
        setups.into_iter().map(|setup| tokio::spawn(async move { setup.start().await })).collect();
    let mut agents = Vec::new();
    for start in starting {
        match start.await {
            Ok(agent) => agents.push(agent),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    agents
}

/// 50 replicas with empty disks at the same instant, 20 ms away from Vault and Hydra.
///
/// Promise: one key, one credentials record, one client, keys and credentials each at version 1, all 50 healthy.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_replicas_race() {
    for round in 0..repeat() {
        let names = names(&format!("Fifty {round}"));
        let (vault, admin) =
            (Proxy::start(&bao().await.url).await, Proxy::start(&hydra().await.admin_url).await);
        vault.delay(Duration::from_millis(20));
        admin.delay(Duration::from_millis(20));
        let disks: Vec<_> = (0..50).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut setups = Vec::new();
        for disk in &disks {
            let setup = full(disk.path(), &names).await.set("VAULT__URL", &vault.url);
            setups.push(setup.set("HYDRA__ADMIN_URL", &admin.url));
        }
        let agents = all_at_once(setups).await;
        for agent in &agents {
            http::healthy(&agent.url).await;
        }
        let key = is_one(&names).await;
        for agent in &agents {
            assert_eq!(public_key(&agent.url, &names.did).await, key);
        }
    }
}

/// Eight replicas with empty disks at once, each one's requests to Vault counted.
///
/// Promise: the winner needs at most 8 requests, a loser at most 10.
#[tokio::test(flavor = "multi_thread")]
async fn a_race_costs_few_requests() {
    let names = names("Counted");
    let (mut proxies, mut setups, mut disks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..8 {
        let (proxy, disk) = (Proxy::start(&bao().await.url).await, tempfile::tempdir().unwrap());
        proxy.delay(Duration::from_millis(10));
        setups.push(full(disk.path(), &names).await.set("VAULT__URL", &proxy.url));
        proxies.push(proxy);
        disks.push(disk);
    }
    let agents = all_at_once(setups).await;
    for agent in &agents {
        http::healthy(&agent.url).await;
    }
    is_one(&names).await;
    let mut counts: Vec<_> = proxies.iter().map(|proxy| proxy.take_seen().len()).collect();
    counts.sort_unstable();
    assert!(counts[0] <= 8 && counts[7] <= 10, "{counts:?}");
}

/// A storm of starts (100 here, 1,000 times the repeats in `soak`), a tenth of them with a lost disk.
///
/// Promise: a warm start asks Vault two questions before it listens and at most three in all, and writes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_starts() {
    let names = names("Storm");
    let vault = Proxy::start(&bao().await.url).await;
    let disks: Vec<_> = (0..20).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut setups = Vec::new();
    for disk in &disks {
        setups.push(full(disk.path(), &names).await.set("VAULT__URL", &vault.url));
    }
    let first = setups[0].start().await;
    http::healthy(&first.url).await;
    first.kill();
    drop(all_at_once(setups.clone()).await);
    let rounds = if repeat() > 1 { 50 } else { 5 };
    let _ = vault.take_seen();
    for round in 0..rounds {
        if round % 10 == 0 {
            for disk in disks.iter().take(10) {
                std::fs::remove_dir_all(disk.path().join(".bindu")).unwrap();
            }
        }
        let agents = all_at_once(setups.clone()).await;
        for agent in &agents {
            http::healthy(&agent.url).await;
        }
    }
    let seen = vault.take_seen();
    assert!(seen.iter().all(|seen| seen.method == "GET"), "something was written");
    assert!(seen.len() <= rounds * 20 * 3, "{} requests for {} starts", seen.len(), rounds * 20);
    is_one(&names).await;
}

/// A store that answers 429 with `Retry-After: 1` to every first request of a replica.
///
/// Promise: nobody asks again before that second is over.
#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured() {
    let names = names("Busy Store");
    let vault = Proxy::start(&bao().await.url).await;
    vault.script(|_, before| if before < 2 { Fault::Busy } else { Fault::None });
    let disk = tempfile::tempdir().unwrap();
    let agent = full(disk.path(), &names).await.set("VAULT__URL", &vault.url).start().await;
    http::healthy(&agent.url).await;
    let seen = vault.take_seen();
    assert!(seen[2].at - seen[1].at >= Duration::from_millis(950), "{seen:?}");
    is_one(&names).await;
}

/// An agent that is killed and started again and again, with its disk and without.
///
/// Promise: a crash loop writes nothing: keys, credentials and client stay as they are, to the last member.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_creates_nothing() {
    let names = names("Crash Loop");
    let disk = tempfile::tempdir().unwrap();
    let setup = full(disk.path(), &names).await;
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let key = is_one(&names).await;
    agent.kill();
    let client = hydra().await.client(&names.did).await;
    for round in 0..20u64 {
        if round % 3 == 0 {
            let _ = std::fs::remove_dir_all(disk.path().join(".bindu"));
        }
        let crashed = setup.spawn();
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        crashed.kill();
    }
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    assert_eq!(is_one(&names).await, key);
    assert_eq!(hydra().await.client(&names.did).await, client);
}
