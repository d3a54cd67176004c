//! Logins: one that runs out every ten seconds, under a caller who never stops calling; and what becomes of their tokens.

use crate::{AUTHOR, Names, agent, assert_refused, hydra, names, public_key};
use bindu_testkit::{
    AgentSetup, OpenBao,
    caller::TestCaller,
    http,
    proxy::{Fault, Proxy},
};
use serde_json::json;
use std::{
    path::Path,
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
    let proxy = Proxy::start(&bao.url).await;
    let setup = by_app_role(&bao, &proxy, disk.path(), &names).await;
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
    assert!(bad.is_empty() && good > 100, "{good} good calls, and {bad:?}");
    assert_eq!(public_key(&agent.url, &names.did).await, key);
    assert!(agent.terminate().success());
    assert_eq!(tokens_alive(&bao).await, 0);
}

/// An agent that logs in through this proxy by a role whose tokens last ten seconds.
async fn by_app_role(bao: &OpenBao, proxy: &Proxy, disk: &Path, names: &Names) -> AgentSetup {
    let administrator = agent(disk).named(AUTHOR, &names.name).set("VAULT_ADDR", &bao.url);
    let administrator = administrator.set("VAULT_TOKEN", &bao.token);
    let setup = ["vault", "setup", "--apply", "--auth", "approle", "--role", "ten", "--token-ttl", "10s"];
    let (code, _, told) = administrator.command(&setup).output();
    assert_eq!(code, 0, "{told}");
    let read = async |path: &str, field: &str, method: &str| {
        let (status, answer) =
            bao.call(method, &format!("auth/approle/role/ten/{path}"), Some(json!({}))).await;
        assert_eq!(status, 200, "{answer}");
        std::fs::write(disk.join(field), answer["data"][field].as_str().unwrap()).unwrap();
    };
    read("role-id", "role_id", "GET").await;
    read("secret-id", "secret_id", "POST").await;
    let setup = agent(disk).named(AUTHOR, &names.name).set("VAULT__ENABLED", "true");
    let setup = setup.set("VAULT_ADDR", &proxy.url).set("VAULT__AUTH", "approle");
    setup.set("VAULT__ROLE_ID_FILE", "role_id").set("VAULT__SECRET_ID_FILE", "secret_id")
}

/// How many tokens are alive besides root's.
async fn tokens_alive(bao: &OpenBao) -> usize {
    let (_, accessors) = bao.call("LIST", "auth/token/accessors", None).await;
    accessors["data"]["keys"].as_array().unwrap().len() - 1
}

/// Every command that logs in to Vault, ending well and ending badly; SIGTERM while a login is on its way, of an agent and of a
/// call that waits for its answer.
///
/// Promise: no token of theirs is alive when they have ended.
#[tokio::test(flavor = "multi_thread")]
async fn no_command_leaves_a_token() {
    let (bao, disk, names) = (OpenBao::start().await, tempfile::tempdir().unwrap(), names("Gives Back"));
    let proxy = Proxy::start(&bao.url).await;
    let setup = by_app_role(&bao, &proxy, disk.path(), &names).await;
    // Tokens that nobody gives back outlive the test.
    let long = json!({"token_ttl": "1h"});
    bao.call("POST", "auth/approle/role/ten", Some(long)).await;
    let setup = setup.set_all(hydra().await.environment());
    let logins =
        |proxy: &Proxy| proxy.take_seen().iter().filter(|seen| seen.path.ends_with("approle/login")).count();
    let nowhere = "http://127.0.0.1:1";
    let commands: [(&[&str], bool); 7] = [
        (&["identity", "show"], false),
        (&["identity", "plan"], true),
        (&["hydra", "plan"], false),
        (&["hydra", "token"], false),
        (&["vault", "check"], true),
        // There is no key yet.
        (&["call", nowhere, "hello"], false),
        (&["vault", "setup", "--auth", "approle", "--role", "ten"], false),
    ];
    for (command, ends_well) in commands {
        let ended = setup.clone().command(command).output();
        let what = command.join(" ");
        assert_eq!(ended.0 == 0, ends_well, "{what}: {}", ended.2);
        if !ends_well {
            let code = ended.0;
            assert_refused(ended, code, &[]);
        }
        assert!(logins(&proxy) > 0 || what.starts_with("vault setup"), "{what}: it logs in");
        assert_eq!(tokens_alive(&bao).await, 0, "{what}");
    }
    // A start that is refused.
    bao.put(&names.keys_path(), &json!({"private_key": "nonsense"})).await;
    assert_refused(setup.output(), 1, &["private_key"]);
    assert!(logins(&proxy) > 0);
    assert_eq!(tokens_alive(&bao).await, 0, "a refused start");
    let path = format!("secret/metadata/bindu/{}", names.keys_path());
    bao.call("DELETE", &path, None).await;
    // SIGTERM while a login is on its way.
    proxy.script(|seen, _| match seen.path.ends_with("approle/login") {
        true => Fault::Delay(Duration::from_secs(1)),
        false => Fault::None,
    });
    let mut starting = setup.spawn();
    let asked = async || http::eventually("it logs in", async || (logins(&proxy) > 0).then_some(())).await;
    asked().await;
    assert!(starting.terminate().success(), "{}", starting.log());
    assert_eq!(tokens_alive(&bao).await, 0, "a start that was ended");
    let (_, record) = bao.call("GET", &path, None).await;
    assert_eq!(record["errors"], json!([]), "nothing was made");
    proxy.script(|_, _| Fault::None);
    let mut agent = setup.start().await;
    http::healthy(&agent.url).await;
    assert!(agent.terminate().success());
    // SIGTERM while a call waits for an agent that says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut calling = setup.command(&["call", &url, "hello"]).spawn();
    let _connection = silent.accept().await.unwrap();
    assert_eq!(tokens_alive(&bao).await, 1, "it has logged in");
    assert_eq!(calling.terminate().code(), Some(143), "{}", calling.log());
    assert_eq!(tokens_alive(&bao).await, 0, "a call that was ended");
}
