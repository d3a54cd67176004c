//! A login that runs out every ten seconds, under a caller who never stops calling.

use crate::{AUTHOR, agent, hydra, names, public_key};
use bindu_testkit::{
    OpenBao,
    caller::TestCaller,
    http,
    proxy::{Fault, Proxy},
};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// An agent whose tokens of Vault's last ten seconds: twenty renewals, a revocation of everything that its login has made,
/// and an outage of Vault that is longer than its token. A caller calls all the time.
///
/// Promise: each call is answered. One login at the start, one after the revocation, one after the outage at most; the
/// agent ends healthy, with the key that it had, and takes its token with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_ten_seconds() {
    let (bao, disk, names) = (OpenBao::start().await, tempfile::tempdir().unwrap(), names("Ten Seconds"));
    let administrator = agent(disk.path()).named(AUTHOR, &names.name).set("VAULT_ADDR", &bao.url);
    let administrator = administrator.set("VAULT_TOKEN", &bao.token);
    let setup = ["vault", "setup", "--apply", "--auth", "approle", "--role", "ten", "--token-ttl", "10s"];
    let (code, _, told) = administrator.command(&setup).output();
    assert_eq!(code, 0, "{told}");
    let read = async |path: &str, field: &str, method: &str| {
        let (status, answer) =
            bao.call(method, &format!("auth/approle/role/ten/{path}"), Some(json!({}))).await;
        assert_eq!(status, 200, "{answer}");
        std::fs::write(disk.path().join(field), answer["data"][field].as_str().unwrap()).unwrap();
    };
    read("role-id", "role_id", "GET").await;
    read("secret-id", "secret_id", "POST").await;
    let proxy = Proxy::start(&bao.url).await;
    let setup = agent(disk.path()).named(AUTHOR, &names.name).set("VAULT__ENABLED", "true");
    let setup = setup.set("VAULT_ADDR", &proxy.url).set("VAULT__AUTH", "approle");
    let setup = setup.set("VAULT__ROLE_ID_FILE", "role_id").set("VAULT__SECRET_ID_FILE", "secret_id");
    let setup = setup.set("BINDU_RECONCILE_INTERVAL", "1s").set_all(hydra().await.environment());
    let mut agent = setup.start().await;
    http::healthy(&agent.url).await;
    let key = public_key(&agent.url, &names.did).await;

    let caller = TestCaller::new(hydra().await, "did:bindu:caller:ten_seconds:1").await;
    let (stopped, url) = (Arc::new(AtomicBool::new(false)), agent.url.clone());
    let stop = Arc::clone(&stopped);
    let calls = tokio::spawn(async move {
        let (mut good, mut bad) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            match caller.send(&url, &http::call("tasks/list", &json!({}))).await {
                (200, _) => good += 1,
                other => bad.push(other),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        (good, bad)
    });
    let mut seen = Vec::new();
    let mut until = async |path: &str, wanted: usize| {
        for _ in 0..400 {
            seen.extend(proxy.take_seen().into_iter().map(|seen| seen.path));
            if seen.iter().filter(|seen| seen.ends_with(path)).count() >= wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("{path} was not asked for {wanted} times in 200 s: {seen:?}");
    };
    until("renew-self", 20).await;
    let (_, metrics) = http::get(&format!("{}/metrics", agent.url)).await;
    let mut lines = metrics.as_str().unwrap().lines();
    let expiry = lines.find_map(|line| line.strip_prefix("bindu_vault_token_expiry_timestamp_seconds{} "));
    let expiry: f64 = expiry.expect("the metric is there").parse().unwrap();
    let left = expiry - bindu_testkit::caller::now() as f64;
    assert!((-1.0..=11.5).contains(&left), "{left} s are left");
    let (status, _) = bao.call("POST", "sys/leases/revoke-prefix/auth/approle", Some(json!({}))).await;
    assert_eq!(status, 204);
    until("approle/login", 2).await;
    proxy.script(|_, _| Fault::Drop);
    tokio::time::sleep(Duration::from_secs(15)).await;
    proxy.script(|_, _| Fault::None);
    http::healthy(&agent.url).await;
    let logged_in = agent.log().matches("logged in to Vault").count();
    assert!((2..=3).contains(&logged_in), "{logged_in} logins");
    stopped.store(true, Ordering::Relaxed);
    let (good, bad) = calls.await.unwrap();
    assert!(bad.is_empty() && good > 1000, "{good} good calls, and {bad:?}");
    assert_eq!(public_key(&agent.url, &names.did).await, key);
    assert!(agent.terminate().success());
    let (_, left) = bao.call("LIST", "auth/token/accessors", None).await;
    assert_eq!(left["data"]["keys"].as_array().unwrap().len(), 1, "the root token alone is left: {left}");
}
