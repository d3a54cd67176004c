//! The OAuth client: what others do to it, and what is put back.

use crate::{Names, bao, degraded, full, hydra, is_one, names, new_record, public_key};
use bindu_testkit::{
    AgentProcess, http,
    proxy::{Fault, Proxy, Seen},
};
use serde_json::{Value, json};
use std::time::Duration;

async fn running(names: &Names, disk: &tempfile::TempDir) -> AgentProcess {
    let agent = full(disk.path(), names).await.set("BINDU_RECONCILE_INTERVAL", "1s").start().await;
    http::healthy(&agent.url).await;
    is_one(names).await;
    agent
}

/// Changes the client as somebody else does it.
async fn patch(names: &Names, path: &str, value: Value) {
    let url = format!("{}/admin/clients/{}", hydra().await.admin_url, names.did);
    let body = json!([{"op": "add", "path": path, "value": value}]);
    let request = http::client().patch(url).header("Content-Type", "application/json").body(body.to_string());
    let (status, body) = http::answer(request).await;
    assert_eq!(status, 200, "{body}");
}

async fn secret(names: &Names) -> String {
    let (_, credentials) = bao().await.record(&names.credentials_path()).await.expect("credentials");
    credentials["client_secret"].as_str().expect("a secret").to_owned()
}

/// A client that somebody deletes under a running agent.
///
/// Promise: it comes back with the stored secret; nothing is written to the store.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_client_comes_back() {
    let names = names("Deleted Client");
    let disk = tempfile::tempdir().unwrap();
    let agent = running(&names, &disk).await;
    let url = format!("{}/admin/clients/{}", hydra().await.admin_url, names.did);
    assert_eq!(http::answer(http::client().delete(url)).await.0, 204);
    http::eventually("it is back", async || hydra().await.client(&names.did).await).await;
    assert_eq!(is_one(&names).await, public_key(&agent.url, &names.did).await);
}

/// A client whose secret somebody changes, and to which somebody adds members.
///
/// Promise: the stored secret is put back, after a fence; what others added stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_secret_is_put_back() {
    let names = names("Changed Secret");
    let disk = tempfile::tempdir().unwrap();
    let (vault, admin) = (Proxy::start(&bao().await.url).await, Proxy::start(&hydra().await.admin_url).await);
    let setup = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let setup = setup.set("VAULT__URL", &vault.url).set("HYDRA__ADMIN_URL", &admin.url);
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    is_one(&names).await;
    let stored = bao().await.record(&names.credentials_path()).await.expect("credentials");
    let before = secret(&names).await;
    let _ = (vault.take_seen(), admin.take_seen());
    patch(&names, "/metadata/team", json!("blue")).await;
    patch(&names, "/client_secret", json!("changed by hand")).await;
    http::eventually("the secret works again", async || {
        (hydra().await.token(&names.did, &before).await.0 == 200).then_some(())
    })
    .await;
    let writes = |seen: Vec<Seen>| seen.into_iter().filter(|seen| seen.method != "GET").collect::<Vec<_>>();
    let (fences, repairs) = (writes(vault.take_seen()), writes(admin.take_seen()));
    assert_eq!((fences.len(), repairs.len()), (1, 1), "{fences:?} {repairs:?}");
    assert!(fences[0].path.ends_with(&names.credentials_path()), "{fences:?}");
    assert!(fences[0].at < repairs[0].at, "after a fence: {fences:?} {repairs:?}");
    let fenced = bao().await.record(&names.credentials_path()).await;
    assert_eq!(fenced, Some((stored.0 + 1, stored.1)), "a fence changes nothing");
    let client = hydra().await.client(&names.did).await.expect("a client");
    assert_eq!(client["metadata"]["team"], "blue");
    assert_eq!(bao().await.record(&names.keys_path()).await.expect("keys").0, 1);
}

/// A public key that somebody changes again and again.
///
/// Promise: put back twice in ten minutes, then left alone, degraded `contested_client`.
#[tokio::test(flavor = "multi_thread")]
async fn a_contested_client_is_left_alone() {
    let names = names("Contested");
    let disk = tempfile::tempdir().unwrap();
    let admin = Proxy::start(&hydra().await.admin_url).await;
    let setup = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.set("HYDRA__ADMIN_URL", &admin.url).start().await;
    http::healthy(&agent.url).await;
    is_one(&names).await;
    let ours = public_key(&agent.url, &names.did).await;
    let theirs = "4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS";
    for _ in 0..2 {
        patch(&names, "/metadata/public_key", json!(theirs)).await;
        http::eventually("it is put back", async || {
            let client = hydra().await.client(&names.did).await?;
            (client["metadata"]["public_key"] == ours.as_str()).then_some(())
        })
        .await;
    }
    patch(&names, "/metadata/public_key", json!(theirs)).await;
    degraded(&agent.url, "contested_client").await;
    let _ = admin.take_seen();
    let mut looks = Vec::new();
    http::eventually("it has looked at it three times", async || {
        looks.extend(admin.take_seen());
        (looks.len() >= 3).then_some(())
    })
    .await;
    assert!(looks.iter().all(|seen| seen.method == "GET"), "not a third time: {looks:?}");
    let client = hydra().await.client(&names.did).await.expect("a client");
    assert_eq!(client["metadata"]["public_key"], theirs, "not a third time");
}

/// A secret that is changed in the store and in Hydra under a running agent.
///
/// Promise: taken without a restart, and nothing is put back.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_taken() {
    let names = names("Rotated Secret");
    let disk = tempfile::tempdir().unwrap();
    let (vault, admin) = (Proxy::start(&bao().await.url).await, Proxy::start(&hydra().await.admin_url).await);
    let setup = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let setup = setup.set("VAULT__URL", &vault.url).set("HYDRA__ADMIN_URL", &admin.url);
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    is_one(&names).await;
    // It sees both changes, or none.
    vault.script(|_, _| Fault::Drop);
    degraded(&agent.url, "store_unavailable").await;
    let (_, mut credentials) = bao().await.record(&names.credentials_path()).await.expect("credentials");
    credentials["client_secret"] = json!("the next secret");
    bao().await.put(&names.credentials_path(), &credentials).await;
    patch(&names, "/client_secret", json!("the next secret")).await;
    let client = hydra().await.client(&names.did).await;
    vault.script(|_, _| Fault::None);
    let _ = (vault.take_seen(), admin.take_seen());
    http::eventually("it is in the cache", async || {
        let cached = std::fs::read_to_string(disk.path().join(".bindu/oauth_credentials.json")).ok()?;
        cached.contains("the next secret").then_some(())
    })
    .await;
    http::healthy(&agent.url).await;
    assert_eq!(hydra().await.token(&names.did, "the next secret").await.0, 200);
    for seen in [vault.take_seen(), admin.take_seen()] {
        assert!(!seen.is_empty() && seen.iter().all(|seen| seen.method == "GET"), "put back: {seen:?}");
    }
    assert_eq!(hydra().await.client(&names.did).await, client);
    assert_eq!(bao().await.record(&names.credentials_path()).await, Some((2, credentials)));
}

/// Python Bindu's disk: keys and credentials that no store has, and the client in Hydra.
///
/// Promise: both are adopted into the store as they are; the client keeps its secret.
#[tokio::test(flavor = "multi_thread")]
async fn local_credentials_are_adopted() {
    let names = names("Adopted");
    let disk = tempfile::tempdir().unwrap();
    let (record, key) = new_record(&names);
    let directory = disk.path().join(".bindu");
    std::fs::create_dir(&directory).unwrap();
    for (file, field) in [("private.pem", "private_key"), ("public.pem", "public_key")] {
        std::fs::write(directory.join(file), record[field].as_str().unwrap()).unwrap();
    }
    let local = json!({&names.did: {"agent_id": names.id, "client_id": names.did, "client_secret": "python's secret", "created_at": "2026-01-01T00:00:00+00:00", "scopes": ["agent:read"]}});
    std::fs::write(directory.join("oauth_credentials.json"), local.to_string()).unwrap();
    hydra()
        .await
        .register(&json!({
            "client_id": names.did, "client_secret": "python's secret", "grant_types": ["client_credentials"],
            "scope": "openid offline agent:read agent:write", "token_endpoint_auth_method": "client_secret_post",
            "metadata": {"public_key": key},
        }))
        .await;
    let agent = full(disk.path(), &names).await.start().await;
    http::healthy(&agent.url).await;
    assert_eq!(is_one(&names).await, key);
    assert_eq!(secret(&names).await, "python's secret");
}

/// `HYDRA__AUTO_REGISTER_AGENTS=false` on a first start, and `bindu hydra plan` before and after.
///
/// Promise: nothing is registered; the plan prints the client for somebody else to register, and later the JSON Patch that brings
/// it in step, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_register_is_printed() {
    let names = names("Registered By Others");
    let disk = tempfile::tempdir().unwrap();
    let setup = full(disk.path(), &names).await.set("HYDRA__AUTO_REGISTER_AGENTS", "false");
    let plan = setup.clone().command(&["hydra", "plan", "--output", "json"]);
    let (code, _, stderr) = plan.output();
    assert_eq!(code, 1, "no key yet: {stderr}");
    let agent = setup.start().await;
    degraded(&agent.url, "client_missing").await;
    assert!(hydra().await.client(&names.did).await.is_none());
    let before = bao().await.record(&names.credentials_path()).await;
    let (code, stdout, stderr) = plan.output();
    assert_eq!(code, 0, "{stderr}");
    let printed: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(printed["reason"], "client_missing");
    let mut registration = printed["registration"].clone();
    assert_eq!(registration["client_id"], names.did.as_str());
    assert!(!stdout.contains(&secret(&names).await), "no secret is printed");
    assert_eq!(bao().await.record(&names.credentials_path()).await, before, "nothing was written");
    assert!(hydra().await.client(&names.did).await.is_none(), "nothing was registered");
    registration["client_secret"] = json!(secret(&names).await);
    hydra().await.register(&registration).await;
    agent.kill();
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let (code, stdout, stderr) = plan.output();
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("nothing to do"), "{stdout}");
    // The client drifts: what is to be put back is printed as a patch, which works.
    let key = public_key(&agent.url, &names.did).await;
    patch(&names, "/grant_types", json!(["refresh_token"])).await;
    patch(&names, "/client_name", json!("Another Name")).await;
    patch(&names, "/metadata/derived_public_key", json!(key)).await;
    let look = setup.clone().command(&["hydra", "plan", "--output", "json"]);
    let printed: Value = serde_json::from_str(&look.output().1).expect("JSON");
    assert_eq!((&printed["reason"], &printed["secret_differs"]), (&json!("client_differs"), &json!(false)));
    let operations = printed["patch"].as_array().expect("a JSON Patch");
    let paths: Vec<_> = operations.iter().filter_map(|operation| operation["path"].as_str()).collect();
    for path in ["/grant_types", "/client_name", "/metadata/derived_public_key"] {
        assert!(paths.contains(&path), "{path} in {printed}");
    }
    for operation in operations {
        patch(&names, operation["path"].as_str().unwrap(), operation["value"].clone()).await;
    }
    let (_, stdout, stderr) = plan.output();
    let printed: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(printed["patch"], Value::Null, "{stdout} {stderr}");
    assert!(stdout.contains("nothing to do"), "{stdout}");
}

/// A start that consents to take the client over, with a key on disk, at a Hydra that is away at first or answers after
/// Vault; later the client becomes somebody else's again.
///
/// Promise: the consent waits for Hydra's first answer, and is spent by it: the second time nothing is taken.
#[tokio::test(flavor = "multi_thread")]
async fn consent_waits_for_hydra_and_is_spent() {
    for (round, fault) in [Fault::Drop, Fault::Delay(Duration::from_millis(700))].into_iter().enumerate() {
        let names = names(&format!("Consent {round}"));
        let disk = tempfile::tempdir().unwrap();
        let setup = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
        let agent = setup.start().await;
        http::healthy(&agent.url).await;
        let key = public_key(&agent.url, &names.did).await;
        agent.kill();
        let steal = async || {
            let stranger = new_record(&names).1;
            patch(&names, "/client_secret", json!("a secret that nobody of ours has")).await;
            patch(&names, "/metadata/public_key", json!(stranger)).await;
            stranger
        };
        steal().await;
        let proxy = Proxy::start(&hydra().await.admin_url).await;
        proxy.script(move |_, _| fault.clone());
        let agent = setup.clone().set("HYDRA__ADMIN_URL", &proxy.url).argument("--take-over").start().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        proxy.script(|_, _| Fault::None);
        http::healthy(&agent.url).await;
        let client = hydra().await.client(&names.did).await.expect("a client");
        assert_eq!(client["metadata"]["public_key"], key.as_str(), "round {round}");
        let stranger = steal().await;
        degraded(&agent.url, "client_of_another_key").await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let client = hydra().await.client(&names.did).await.expect("a client");
        assert_eq!(client["metadata"]["public_key"], stranger.as_str(), "the consent was for once");
    }
}

/// The public key, the secret and the second key of a client, each changed once within ten minutes.
///
/// Promise: each is put back: only what is undone again is contested.
#[tokio::test(flavor = "multi_thread")]
async fn three_different_repairs_are_no_contest() {
    let names = names("Three Repairs");
    let disk = tempfile::tempdir().unwrap();
    let agent = running(&names, &disk).await;
    let before = hydra().await.client(&names.did).await.expect("a client");
    let stored = secret(&names).await;
    let theirs = "4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS";
    for member in ["/metadata/public_key", "/client_secret", "/metadata/derived_public_key"] {
        patch(&names, member, json!(theirs)).await;
        http::eventually("it is put back", async || {
            let client = hydra().await.client(&names.did).await?;
            let opens = hydra().await.token(&names.did, &stored).await.0 == 200;
            (client["metadata"] == before["metadata"] && opens).then_some(())
        })
        .await;
    }
    http::healthy(&agent.url).await;
}

/// A gate before Hydra that lets no repair through, for a client whose secret was changed.
///
/// Promise: repairs that come to nothing are tried less and less, since each writes to the store, whose history is short;
/// once they are let through the secret is put back.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_is_refused_does_not_flush_the_history() {
    let names = names("Refused Repair");
    let disk = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&hydra().await.admin_url).await;
    let setup = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.set("HYDRA__ADMIN_URL", &proxy.url).start().await;
    http::healthy(&agent.url).await;
    let stored = secret(&names).await;
    proxy.script(|seen, _| match seen.method.as_str() {
        "PATCH" => Fault::Answer(403, "text/html", "no"),
        _ => Fault::None,
    });
    patch(&names, "/client_secret", json!("changed by hand")).await;
    http::eventually("it has tried", async || {
        let (version, _) = bao().await.record(&names.credentials_path()).await?;
        (version >= 2).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let (version, _) = bao().await.record(&names.credentials_path()).await.expect("credentials");
    assert!((2..=4).contains(&version), "{version} versions after 15 s");
    proxy.script(|_, _| Fault::None);
    http::eventually("the secret works again", async || {
        (hydra().await.token(&names.did, &stored).await.0 == 200).then_some(())
    })
    .await;
    http::healthy(&agent.url).await;
}

/// Scopes that are taken out of the settings, and others that are put in, between two starts.
///
/// Promise: the client is brought to them, and so are the agent's tokens; it ends healthy each time.
#[tokio::test(flavor = "multi_thread")]
async fn scopes_may_change() {
    let names = names("Changed Scopes");
    let disk = tempfile::tempdir().unwrap();
    let agent = running(&names, &disk).await;
    agent.kill();
    for scopes in [r#"["openid","agent:read"]"#, r#"["openid","agent:read","agent:write","agent:list"]"#] {
        let setup = full(disk.path(), &names).await.set("HYDRA__DEFAULT_AGENT_SCOPES", scopes);
        let agent = setup.set("BINDU_RECONCILE_INTERVAL", "1s").start().await;
        http::healthy(&agent.url).await;
        let wanted: Vec<String> = serde_json::from_str(scopes).unwrap();
        http::eventually("Hydra has them", async || {
            let client = hydra().await.client(&names.did).await?;
            (client["scope"] == wanted.join(" ").as_str()).then_some(())
        })
        .await;
        http::healthy(&agent.url).await;
        let (code, token, told) = full(disk.path(), &names)
            .await
            .set("HYDRA__DEFAULT_AGENT_SCOPES", scopes)
            .set("BINDU_DATA_DIR", "look")
            .command(&["hydra", "token"])
            .output();
        assert_eq!(code, 0, "{told}");
        let form = http::client()
            .post(format!("{}/admin/oauth2/introspect", hydra().await.admin_url))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(format!("token={}", token.trim()));
        let (_, seen) = http::answer(form).await;
        assert_eq!(seen["scope"], wanted.join(" ").as_str(), "{seen}");
        agent.kill();
    }
}
