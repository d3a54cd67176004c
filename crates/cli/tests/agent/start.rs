//! The rows of the decision table, on real servers.

use crate::{
    AUTHOR, Names, agent, assert_refused, bao, degraded, hydra, names, overwrite_with_a_rogue_key, public_key,
};
use bindu_testkit::{
    AgentSetup, http,
    proxy::{Fault, Proxy},
};
use serde_json::json;
use std::path::Path;

async fn with_vault(directory: &Path, names: &Names) -> AgentSetup {
    agent(directory).named(AUTHOR, &names.name).vault(bao().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_and_no_key_waits_and_gives_up_without_making_one() {
    let names = names("Store Away");
    let disk = tempfile::tempdir().unwrap();
    let setup = with_vault(disk.path(), &names).await.set("VAULT__URL", "http://127.0.0.1:1");
    assert_refused(
        setup.set("BINDU_START_DEADLINE", "1s").output(),
        69,
        &["before the start deadline", "VAULT__URL"],
    );
    assert!(!disk.path().join(".bindu/private.pem").exists());
    assert!(bao().await.record(&names.keys_path()).await.is_none());
}

/// The opt-in: a key that lives on the disk only, is shown to nobody, and is backed up or yields when the store is back.
#[tokio::test(flavor = "multi_thread")]
async fn unavailable_and_no_key_may_make_a_provisional_one_where_that_is_wanted() {
    let names = names("Provisional");
    let disk = tempfile::tempdir().unwrap();
    let setup = with_vault(disk.path(), &names).await.set_all(hydra().await.environment());
    let alone = setup.clone().set("VAULT__URL", "http://127.0.0.1:1").set("BINDU_ON_UNAVAILABLE", "generate");
    let agent = alone.set("BINDU_START_DEADLINE", "500ms").start().await;
    degraded(&agent.url, "provisional_key").await;
    let key = public_key(&agent.url, &names.did).await;
    assert!(hydra().await.client(&names.did).await.is_none(), "Hydra has not heard of it");
    agent.kill();
    let agent = setup.start().await;
    assert_eq!(public_key(&agent.url, &names.did).await, key);
    http::healthy(&agent.url).await;
    assert_eq!(bao().await.record(&names.keys_path()).await.expect("keys").0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_and_a_key_starts_degraded_and_mends_itself() {
    let names = names("Store Comes Back");
    let disk = tempfile::tempdir().unwrap();
    let first = with_vault(disk.path(), &names).await.start().await;
    let key = public_key(&first.url, &names.did).await;
    first.kill();
    let proxy = Proxy::start(&bao().await.url).await;
    proxy.script(|_, _| Fault::Answer(503, "application/json", "{\"errors\":[\"Vault is sealed\"]}"));
    let setup = with_vault(disk.path(), &names).await.set("VAULT__URL", &proxy.url);
    let agent = setup.start().await;
    assert_eq!(public_key(&agent.url, &names.did).await, key);
    degraded(&agent.url, "store_unavailable").await;
    let (ready, _) = http::get(&format!("{}/readyz?verbose", agent.url)).await;
    assert_eq!(ready, 200, "it serves");
    proxy.script(|_, _| Fault::None);
    http::healthy(&agent.url).await;
    assert_eq!(bao().await.record(&names.keys_path()).await.expect("keys").0, 1, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_key_is_backed_up_where_the_store_has_none() {
    let names = names("Backed Up");
    let disk = tempfile::tempdir().unwrap();
    let alone = agent(disk.path()).named(AUTHOR, &names.name).start().await;
    let key = public_key(&alone.url, &names.did).await;
    alone.kill();
    let agent = with_vault(disk.path(), &names).await.start().await;
    assert_eq!(public_key(&agent.url, &names.did).await, key);
    let (version, record) = bao().await.record(&names.keys_path()).await.expect("keys");
    let local = std::fs::read_to_string(disk.path().join(".bindu/private.pem")).unwrap();
    assert_eq!((version, &record["private_key"], &record["did"]), (1, &json!(local), &json!(names.did)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stores_key_wins_over_one_that_was_never_in_it_and_the_loser_is_kept() {
    let names = names("Rogue Disk");
    let (good, rogue) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = with_vault(good.path(), &names).await.start().await;
    let key = public_key(&first.url, &names.did).await;
    let other = agent(rogue.path()).named(AUTHOR, &names.name).start().await;
    let other_key = public_key(&other.url, &names.did).await;
    assert_ne!(key, other_key);
    let lost = std::fs::read_to_string(rogue.path().join(".bindu/private.pem")).unwrap();
    other.kill();
    let agent = with_vault(rogue.path(), &names).await.start().await;
    assert_eq!(public_key(&agent.url, &names.did).await, key);
    let archive = std::fs::read_dir(rogue.path().join(".bindu/archive")).unwrap();
    let kept: Vec<_> = archive.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    assert!(kept.contains(&lost), "the pair that lost is in the archive");
    assert_eq!(bao().await.record(&names.keys_path()).await.expect("keys").0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_in_the_store_is_not_followed() {
    let names = names("Foreign");
    let disk = tempfile::tempdir().unwrap();
    let first = with_vault(disk.path(), &names).await.start().await;
    let key = public_key(&first.url, &names.did).await;
    first.kill();
    overwrite_with_a_rogue_key(&names).await;
    let agent = with_vault(disk.path(), &names).await.start().await;
    assert_eq!(public_key(&agent.url, &names.did).await, key, "ours is kept");
    degraded(&agent.url, "foreign").await;
    assert_eq!(bao().await.record(&names.keys_path()).await.expect("keys").0, 2, "and nothing is written");
}

/// Started from disk alone, the agent remembers that its key was acknowledged: the store's foreign one is not followed.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_that_comes_during_an_outage_is_not_followed() {
    let names = names("Foreign Later");
    let disk = tempfile::tempdir().unwrap();
    let first = with_vault(disk.path(), &names).await.start().await;
    let key = public_key(&first.url, &names.did).await;
    first.kill();
    let proxy = Proxy::start(&bao().await.url).await;
    proxy.script(|_, _| Fault::Answer(503, "application/json", "{\"errors\":[\"Vault is sealed\"]}"));
    let agent = with_vault(disk.path(), &names).await.set("VAULT__URL", &proxy.url).start().await;
    degraded(&agent.url, "store_unavailable").await;
    let record = overwrite_with_a_rogue_key(&names).await;
    proxy.script(|_, _| Fault::None);
    degraded(&agent.url, "foreign").await;
    assert_eq!(public_key(&agent.url, &names.did).await, key);
    assert_eq!(
        bao().await.record(&names.keys_path()).await.expect("keys"),
        (2, record),
        "and nothing is written"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_mount_ends_at_once() {
    let names = names("Wrong Mount");
    let disk = tempfile::tempdir().unwrap();
    let begun = std::time::Instant::now();
    let setup = with_vault(disk.path(), &names).await.set("VAULT__MOUNT", "nowhere");
    assert_refused(setup.output(), 1, &["mount", "VAULT__MOUNT"]);
    assert!(begun.elapsed().as_secs() < 30, "waiting does not mend it");
}

/// A name that makes no valid DID is refused for a new identity only.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_of_python_bindus_under_a_bad_name_is_loaded() {
    let (donor, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    agent(donor.path()).start().await.kill();
    std::fs::create_dir(disk.path().join(".bindu")).unwrap();
    for file in ["private.pem", "public.pem"] {
        std::fs::copy(donor.path().join(".bindu").join(file), disk.path().join(".bindu").join(file)).unwrap();
    }
    let agent =
        agent(disk.path()).named(AUTHOR, "A&B#1 a/b").set_all(hydra().await.environment()).start().await;
    degraded(&agent.url, "client_unaddressable").await;
    let (_, card) = http::get(&format!("{}/.well-known/agent.json", agent.url)).await;
    let did = card["capabilities"]["extensions"][0]["uri"].as_str().expect("a DID").to_owned();
    assert!(did.contains("a&b#1_a/b"), "{did}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_record_refuses_and_is_left_as_it_is() {
    let names = names("Malformed");
    let disk = tempfile::tempdir().unwrap();
    let donor = tempfile::tempdir().unwrap();
    agent(donor.path()).named(AUTHOR, "Donor").start().await.kill();
    let pem = |file: &str| std::fs::read_to_string(donor.path().join(".bindu").join(file)).unwrap();
    let (private, public) = (pem("private.pem"), pem("public.pem"));
    let another = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAO2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=\n-----END PUBLIC KEY-----\n";
    let cases = [
        (json!({"public_key": public}), "private_key"),
        (json!({"private_key": private, "public_key": null}), "public_key"),
        (json!({"private_key": "garbage", "public_key": public}), "private_key"),
        (json!({"private_key": private.get(..70), "public_key": public}), "private_key"),
        (json!({"private_key": private, "public_key": another}), "public_key"),
        (json!({"private_key": private, "public_key": public, "did": "did:bindu:x:y:z"}), "another agent"),
        (json!({}), "private_key"),
    ];
    for (number, (record, word)) in cases.into_iter().enumerate() {
        bao().await.put(&names.keys_path(), &record).await;
        let refused = with_vault(disk.path(), &names).await.output();
        assert!(!refused.2.contains(private.get(40..80).unwrap()), "no key in the message");
        assert_refused(refused, 1, &[word, "nothing was changed"]);
        assert_eq!(bao().await.record(&names.keys_path()).await.expect("keys"), (number as u64 + 1, record));
        assert!(!disk.path().join(".bindu/private.pem").exists(), "no bad PEM is left on the disk");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_without_a_key_names_the_policy_and_with_one_starts() {
    let names = names("Denied");
    let disk = tempfile::tempdir().unwrap();
    let blind = bao()
        .await
        .token_with("path \"secret/data/bindu/*\" { capabilities = [\"create\", \"update\"] }")
        .await;
    let denied = with_vault(disk.path(), &names).await.set("VAULT__TOKEN", &blind);
    let rule = format!("path \"secret/data/bindu/{}\"", names.keys_path());
    assert_refused(denied.output(), 77, &["denies reading", &rule]);
    assert!(
        bao().await.record(&names.keys_path()).await.is_none(),
        "a token that may write has written nothing"
    );
    with_vault(disk.path(), &names).await.start().await.kill();
    let agent = denied.start().await;
    degraded(&agent.url, "store_denied").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_on_disk_that_may_not_be_written_to_the_store_starts_all_the_same() {
    let names = names("Read Only Token");
    let disk = tempfile::tempdir().unwrap();
    let alone = agent(disk.path()).named(AUTHOR, &names.name).start().await;
    let key = public_key(&alone.url, &names.did).await;
    alone.kill();
    let reader = bao().await.token_with("path \"secret/data/bindu/*\" { capabilities = [\"read\"] }").await;
    let agent = with_vault(disk.path(), &names).await.set("VAULT__TOKEN", &reader).start().await;
    assert_eq!(public_key(&agent.url, &names.did).await, key);
    degraded(&agent.url, "store_denied").await;
    assert!(bao().await.record(&names.keys_path()).await.is_none());
}

/// A key that was never in the store proves nothing against the one that Hydra names.
#[tokio::test(flavor = "multi_thread")]
async fn a_local_key_that_hydra_does_not_name_is_used_and_written_nowhere() {
    let names = names("Named Otherwise");
    hydra().await.register(&json!({
        "client_id": names.did, "client_secret": "somebody else's secret", "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "client_secret_post",
        "metadata": {"public_key": "4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS"},
    })).await;
    let before = hydra().await.client(&names.did).await;
    let disk = tempfile::tempdir().unwrap();
    let alone = agent(disk.path()).named(AUTHOR, &names.name).start().await;
    let key = public_key(&alone.url, &names.did).await;
    alone.kill();
    let agent = with_vault(disk.path(), &names).await.set_all(hydra().await.environment()).start().await;
    assert_eq!(public_key(&agent.url, &names.did).await, key);
    degraded(&agent.url, "client_of_another_key").await;
    assert!(bao().await.record(&names.keys_path()).await.is_none());
    assert!(bao().await.record(&names.credentials_path()).await.is_none());
    assert_eq!(hydra().await.client(&names.did).await, before);
}

/// The last copy of an encrypted key is not overwritten because its password was forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_local_key_is_not_overwritten() {
    let names = names("Forgotten Password");
    let (locked, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(locked.path().join("password"), "correct horse").unwrap();
    let first = agent(locked.path()).named(AUTHOR, &names.name).set("BINDU_KEY_PASSWORD_FILE", "password");
    first.start().await.kill();
    let pem = std::fs::read_to_string(locked.path().join(".bindu/private.pem")).unwrap();
    with_vault(other.path(), &names).await.start().await.kill();
    let refused = with_vault(locked.path(), &names).await.output();
    assert_refused(refused, 64, &["can't be opened", "BINDU_KEY_PASSWORD_FILE"]);
    assert_eq!(std::fs::read_to_string(locked.path().join(".bindu/private.pem")).unwrap(), pem);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_record_without_a_key_refuses() {
    let names = names("Deleted");
    let disk = tempfile::tempdir().unwrap();
    with_vault(disk.path(), &names).await.start().await.kill();
    bao().await.call("DELETE", &format!("secret/data/bindu/{}", names.keys_path()), None).await;
    let empty = tempfile::tempdir().unwrap();
    assert_refused(with_vault(empty.path(), &names).await.output(), 1, &["was deleted", "vault kv undelete"]);
    // The disk that knows the key writes it back.
    let agent = with_vault(disk.path(), &names).await.start().await;
    assert_eq!(bao().await.record(&names.keys_path()).await.expect("keys").0, 2);
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_names_a_key_forbids_a_new_identity() {
    let names = names("Second Cluster");
    hydra().await.register(&json!({
        "client_id": names.did, "client_secret": "somebody else's secret", "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "client_secret_post",
        "metadata": {"public_key": "4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS"},
    })).await;
    let before = hydra().await.client(&names.did).await;
    let disk = tempfile::tempdir().unwrap();
    let setup = with_vault(disk.path(), &names).await.set_all(hydra().await.environment());
    assert_refused(setup.output(), 1, &["Hydra's client", "--take-over"]);
    assert!(bao().await.record(&names.keys_path()).await.is_none(), "nothing was made");
    assert_eq!(hydra().await.client(&names.did).await, before, "nothing was touched");
    // With consent it is taken over, once.
    let agent = setup.argument("--take-over").start().await;
    http::healthy(&agent.url).await;
    let key = public_key(&agent.url, &names.did).await;
    let client = hydra().await.client(&names.did).await.expect("a client");
    assert_eq!(client["metadata"]["public_key"], key.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn hydra_down_at_the_start_is_finished_later() {
    let names = names("Hydra Later");
    let disk = tempfile::tempdir().unwrap();
    let admin = Proxy::start(&hydra().await.admin_url).await;
    admin.script(|_, _| {
        Fault::Answer(
            500,
            "application/json",
            "{\"error\":\"error\",\"error_description\":\"The error is unrecognizable\"}",
        )
    });
    let setup = with_vault(disk.path(), &names).await.set_all(hydra().await.environment());
    let agent = setup.set("HYDRA__ADMIN_URL", &admin.url).start().await;
    degraded(&agent.url, "hydra_unavailable").await;
    assert!(hydra().await.client(&names.did).await.is_none());
    admin.script(|_, _| Fault::None);
    http::healthy(&agent.url).await;
    let key = public_key(&agent.url, &names.did).await;
    assert_eq!(
        hydra().await.client(&names.did).await.expect("a client")["metadata"]["public_key"],
        key.as_str()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_end_with_one_key_and_one_client() {
    let names = names("Lost Answers");
    let vault = Proxy::start(&bao().await.url).await;
    let admin = Proxy::start(&hydra().await.admin_url).await;
    // Whatever writes loses its answer the first time.
    for proxy in [&vault, &admin] {
        let lost = std::sync::atomic::AtomicUsize::new(0);
        proxy.script(move |seen, _| {
            let is_write = seen.method != "GET";
            let first = is_write && lost.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            if first { Fault::LoseAnswer } else { Fault::None }
        });
    }
    let disk = tempfile::tempdir().unwrap();
    let setup = with_vault(disk.path(), &names).await.set_all(hydra().await.environment());
    let setup = setup.set("VAULT__URL", &vault.url).set("HYDRA__ADMIN_URL", &admin.url);
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    assert_eq!(bao().await.record(&names.keys_path()).await.expect("keys").0, 1);
    assert_eq!(bao().await.record(&names.credentials_path()).await.expect("credentials").0, 1);
    let key = public_key(&agent.url, &names.did).await;
    assert_eq!(
        hydra().await.client(&names.did).await.expect("a client")["metadata"]["public_key"],
        key.as_str()
    );
}

/// Events of tasks may be sent over https: an image without any certificates starts all the same, and answers.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_certificates_starts() {
    let (disk, nothing) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let setup = agent(disk.path()).named(AUTHOR, "Without Certificates");
    let setup =
        setup.set("SSL_CERT_FILE", "/dev/null").set("SSL_CERT_DIR", nothing.path().display().to_string());
    let agent = setup.start().await;
    assert_eq!(http::ask(&agent.url, "hello").await["status"]["state"], "completed");
}
