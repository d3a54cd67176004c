//! Clocks that are wrong, and clocks that jump.

use crate::{bao, degraded, full, hydra, is_one, names, public_key};
use bindu_testkit::{AgentSetup, http, install, proxy::Proxy};
use serde_json::Value;
use std::path::Path;

/// A store whose clock is an hour ahead of ours, and a Hydra whose clock is an hour behind.
///
/// Promise: measured by the `Date` of their answers, shown in `/readyz?verbose` and `bindu_clock_skew_seconds`, degraded
/// `clock_skew`; the agent works, and is healthy again when the clocks agree.
#[tokio::test(flavor = "multi_thread")]
async fn skew_is_measured_and_reported() {
    let names = names("Skew");
    let disk = tempfile::tempdir().unwrap();
    let vault = Proxy::start(&bao().await.url).await;
    let admin = Proxy::start(&hydra().await.admin_url).await;
    vault.set_clock_ahead(3600);
    admin.set_clock_ahead(-3600);
    let setup = full(disk.path(), &names).await.set("VAULT__URL", &vault.url);
    let setup = setup.set("HYDRA__ADMIN_URL", &admin.url).set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.start().await;
    degraded(&agent.url, "clock_skew").await;
    let (_, metrics) = http::get(&format!("{}/metrics", agent.url)).await;
    let metrics = metrics.as_str().expect("text").to_owned();
    let skew = |server: &str| {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(&format!("bindu_clock_skew_seconds{{server=\"{server}\"}}")));
        line.and_then(|line| line.split(' ').nth(1)?.parse::<i64>().ok()).expect("a number")
    };
    assert!((-3602..=-3598).contains(&skew("store")), "{}", skew("store"));
    assert!(
        (skew("hydra") - 3600).abs() <= 2 || skew("hydra").abs() <= 2,
        "the admin port's, or the token endpoint's"
    );
    let (ready, text) = http::get(&format!("{}/readyz?verbose", agent.url)).await;
    assert!(ready == 200 && text.as_str().expect("text").contains("clock: clock_skew"), "{text}");
    is_one(&names).await;
    vault.set_clock_ahead(0);
    admin.set_clock_ahead(0);
    http::healthy(&agent.url).await;
}

/// An agent whose wall clock is what this file says.
fn with_clock(setup: AgentSetup, clock: &Path) -> AgentSetup {
    setup
        .set("LD_PRELOAD", install::libfaketime().display().to_string())
        .set("FAKETIME_TIMESTAMP_FILE", clock.display().to_string())
        .set("FAKETIME_NO_CACHE", "1")
        .set("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

/// A wall clock that jumps a day ahead, then two days back, under a running agent and under starts.
///
/// Promise: nothing waits longer, nothing is written again, the identity stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_breaks_nothing() {
    let names = names("Jump");
    let disk = tempfile::tempdir().unwrap();
    let clock = disk.path().join("clock");
    let jump = |offset: &str| std::fs::write(&clock, offset).unwrap();
    jump("+0");
    let setup = with_clock(full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s"), &clock);
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let key = public_key(&agent.url, &names.did).await;
    for offset in ["+1d", "-1d"] {
        jump(offset);
        degraded(&agent.url, "clock_skew").await;
        assert_eq!(public_key(&agent.url, &names.did).await, key);
        jump("+0");
        http::healthy(&agent.url).await;
    }
    agent.kill();
    for offset in ["+1d", "-1d"] {
        jump(offset);
        let agent = setup.start().await;
        degraded(&agent.url, "clock_skew").await;
        assert_eq!(public_key(&agent.url, &names.did).await, key);
    }
    assert_eq!(is_one(&names).await, key);
}

/// How many passes of its reconciler an agent has made.
async fn passes(url: &str) -> u64 {
    let (_, metrics) = http::get(&format!("{url}/metrics")).await;
    let metrics = metrics.as_str().expect("text").to_owned();
    let counts = metrics.lines().filter(|line| line.starts_with("bindu_reconcile_total"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Two replicas, one with a clock ten days ahead and one ten days behind, and the default overlap of seven days. A key is rotated
/// by a command whose clock is ahead while both run, and another by one whose clock is behind while only the replica behind
/// runs.
///
/// Promise: the times of a rotation are the store's. The one ahead does not end the overlap early, the one behind does not wait
/// ten days to activate, each step is written once, both follow, there is one key and one client, and both are healthy when
/// their clocks are right again.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_whose_clocks_differ_rotate_together() {
    let names = names("Days Apart");
    let disks = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (mut setups, mut agents) = (Vec::new(), Vec::new());
    for (disk, offset) in disks.iter().zip(["+10d", "-10d"]) {
        let clock = disk.path().join("clock");
        std::fs::write(&clock, offset).unwrap();
        let setup = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
        let setup = with_clock(setup, &clock);
        agents.push(setup.start().await);
        degraded(&agents.last().unwrap().url, "clock_skew").await;
        setups.push(setup);
    }
    let record = async || bao().await.record(&names.keys_path()).await.expect("keys");
    let mut key = public_key(&agents[0].url, &names.did).await;
    for (round, setup) in setups.iter().enumerate() {
        let command = setup.clone().command(&["identity", "rotate", "--apply"]);
        let (code, _, stderr) = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
        assert_eq!(code, 0, "{stderr}");
        for agent in &agents {
            http::eventually("it has the new key", async || {
                (public_key(&agent.url, &names.did).await != key).then_some(())
            })
            .await;
        }
        key = public_key(&agents[0].url, &names.did).await;
        http::eventually("Hydra names it", async || {
            let client = hydra().await.client(&names.did).await?;
            (client["metadata"]["public_key"] == key.as_str()).then_some(())
        })
        .await;
        // Whoever would end the overlap does it in the pass that finds Hydra naming the new key, or in the one after.
        for agent in &agents {
            let before = passes(&agent.url).await;
            http::eventually("three more passes", async || {
                (passes(&agent.url).await >= before + 3).then_some(())
            })
            .await;
        }
        let (version, activated) = record().await;
        // One at the start, then two for each rotation.
        let written = u64::try_from(2 * round + 3).unwrap();
        assert_eq!((version, &activated["generation"]), (written, &(round + 1).into()), "each step once");
        let until = activated["previous_until"].as_str().unwrap_or_else(|| panic!("no overlap: {activated}"));
        let until: jiff::Timestamp = until.parse().expect("a time");
        let hours = until.duration_since(jiff::Timestamp::now()).as_hours();
        assert!((7 * 24 - 1..=7 * 24).contains(&hours), "seven days by the store's clock: {until}");
        let statement = statement_of(&names).await;
        let at: jiff::Timestamp = statement["at"].as_str().and_then(|at| at.parse().ok()).expect("a time");
        assert!(jiff::Timestamp::now().duration_since(at).as_hours() == 0, "{statement}");
        if round == 0 {
            agents.remove(0).kill();
        }
    }
    setups[0].until_port_is_free().await;
    agents.push(setups[0].start().await);
    for (disk, agent) in disks.iter().zip(&agents) {
        std::fs::write(disk.path().join("clock"), "+0").unwrap();
        assert_eq!(public_key(&agent.url, &names.did).await, key);
    }
    for agent in &agents {
        http::healthy(&agent.url).await;
    }
}

/// The newest rotation statement in Hydra.
async fn statement_of(names: &crate::Names) -> Value {
    let client = hydra().await.client(&names.did).await.expect("a client");
    client["metadata"]["rotations"][0].clone()
}
