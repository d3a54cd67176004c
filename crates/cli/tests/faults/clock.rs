//! Clocks that are wrong, and clocks that jump.

use crate::{bao, degraded, full, hydra, is_one, names, public_key};
use bindu_testkit::{http, install, proxy::Proxy};

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
    let setup = full(disk.path(), &names)
        .await
        .set("BINDU_RECONCILE_INTERVAL", "1s")
        .set("LD_PRELOAD", install::libfaketime().display().to_string())
        .set("FAKETIME_TIMESTAMP_FILE", clock.display().to_string())
        .set("FAKETIME_NO_CACHE", "1")
        .set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
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
