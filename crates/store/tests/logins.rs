//! Every login on a real OpenBao, with tokens that live for seconds: renewal, the longest life, revocation, refusal.
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used)]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bindu_http_client::{HttpSettings, TlsSettings};
use bindu_identity::{SigningKey, pem};
use bindu_store::{Answer, OutageReason, RecordName, SecretStore, VaultLogin, VaultSettings, VaultStore};
use bindu_testkit::{
    OpenBao,
    http::eventually,
    kubernetes::{ANY_AUTHORITY, Kubernetes},
    proxy::{Fault, Proxy, Seen},
};
use ed25519_dalek::Signer as _;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

const POLICY: &str = "path \"secret/data/bindu/*\" { capabilities = [\"create\", \"read\", \"update\"] }";

fn store(url: &str, login: VaultLogin) -> Arc<VaultStore> {
    let settings = VaultSettings {
        url: url.parse().unwrap(),
        login,
        mount: "secret".to_owned(),
        prefix: "bindu".to_owned(),
        namespace: None,
        http: HttpSettings::new(Duration::from_secs(2)),
    };
    Arc::new(VaultStore::new(settings).unwrap())
}

fn record() -> RecordName {
    RecordName::Keys("5c908f70-ec50-7e33-bf7d-2735c15d5c13".parse().unwrap())
}

async fn works(store: &VaultStore) -> bool {
    matches!(store.read(&record()).await, Answer::Absent)
}

async fn rejected(store: &VaultStore) -> bool {
    matches!(store.read(&record()).await, Answer::Unavailable(outage) if outage.reason == OutageReason::LoginRejected)
}

async fn call(bao: &OpenBao, method: &str, path: &str, body: Value) -> Value {
    let (status, answer) = bao.call(method, path, Some(body)).await;
    assert!((200..300).contains(&status), "{path}: {status} {answer}");
    answer
}

/// A server with our policy and this method enabled.
async fn bao_with(method: &str) -> OpenBao {
    let bao = OpenBao::start().await;
    call(&bao, "POST", "sys/policies/acl/agent", json!({"policy": POLICY})).await;
    call(&bao, "POST", &format!("sys/auth/{method}"), json!({"type": method})).await;
    bao
}

fn file(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

async fn app_role(bao: &OpenBao, more: Value) -> String {
    let mut role = json!({"token_policies": ["agent"]});
    role.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    call(bao, "POST", "auth/approle/role/agent", role).await;
    let id = bao.call("GET", "auth/approle/role/agent/role-id", None).await.1;
    id["data"]["role_id"].as_str().unwrap().to_owned()
}

async fn secret_id(bao: &OpenBao) -> String {
    let answer = call(bao, "POST", "auth/approle/role/agent/secret-id", json!({})).await;
    answer["data"]["secret_id"].as_str().unwrap().to_owned()
}

fn by_app_role(directory: &Path, wrapped: bool) -> VaultLogin {
    VaultLogin::AppRole {
        mount: "approle".to_owned(),
        role_id_file: directory.join("role"),
        secret_id_file: directory.join("secret"),
        wrapped,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_role_logs_in_and_again() {
    let (bao, disk) = (bao_with("approle").await, tempfile::tempdir().unwrap());
    let role = app_role(&bao, json!({})).await;
    file(disk.path(), "role", &format!("{role}\n"));
    file(disk.path(), "secret", "wrong");
    let store = store(&bao.url, by_app_role(disk.path(), false));
    assert!(rejected(&store).await);
    // The file is mended: it is read again at the next login.
    file(disk.path(), "secret", &secret_id(&bao).await);
    eventually("it logs in", async || works(&store).await.then_some(())).await;
    // All tokens are called off; the next use logs in again, and nobody notices.
    call(&bao, "POST", "sys/leases/revoke-prefix/auth/approle", json!({})).await;
    assert!(works(&store).await);
    store.close().await;
    let (_, accessors) = bao.call("LIST", "auth/token/accessors", None).await;
    assert_eq!(
        accessors["data"]["keys"].as_array().unwrap().len(),
        1,
        "ours was revoked at the end: {accessors}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapped_secret_id_is_taken_out_once_and_kept() {
    let (bao, disk) = (bao_with("approle").await, tempfile::tempdir().unwrap());
    let role = app_role(&bao, json!({})).await;
    file(disk.path(), "role", &role);
    let request = bindu_testkit::http::client()
        .post(format!("{}/v1/auth/approle/role/agent/secret-id", bao.url))
        .header("X-Vault-Token", &bao.token)
        .header("X-Vault-Wrap-TTL", "60s");
    let (_, wrapped) = bindu_testkit::http::answer(request).await;
    file(disk.path(), "secret", wrapped["wrap_info"]["token"].as_str().unwrap());
    let first = store(&bao.url, by_app_role(disk.path(), true));
    assert!(works(&first).await);
    call(&bao, "POST", "sys/leases/revoke-prefix/auth/approle", json!({})).await;
    assert!(works(&first).await, "it is kept for the next login");
    let second = store(&bao.url, by_app_role(disk.path(), true));
    assert!(rejected(&second).await, "somebody else has taken it out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lives_through_renewals_its_longest_life_and_an_outage() {
    let (bao, disk) = (bao_with("approle").await, tempfile::tempdir().unwrap());
    let role = app_role(&bao, json!({"token_ttl": "2s", "token_max_ttl": "6s"})).await;
    file(disk.path(), "role", &role);
    file(disk.path(), "secret", &secret_id(&bao).await);
    let proxy = Proxy::start(&bao.url).await;
    let store = store(&proxy.url, by_app_role(disk.path(), false));
    let keeper = Arc::clone(&store);
    let kept = tokio::spawn(async move { keeper.keep().await });
    let stopped = Arc::new(AtomicBool::new(false));
    let (reader, stop) = (Arc::clone(&store), Arc::clone(&stopped));
    let reads = tokio::spawn(async move {
        let (mut good, mut bad) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            match reader.read(&record()).await {
                Answer::Absent => good += 1,
                other => bad.push(format!("{other:?}")),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (good, bad)
    });
    let (begun, mut seen) = (Instant::now(), Vec::new());
    eventually("it is renewed, and logs in again at the end of its longest life", async || {
        seen.extend(proxy.take_seen());
        let is_enough = count(&seen, "renew-self") >= 5 && count(&seen, "approle/login") >= 3;
        is_enough.then_some(())
    })
    .await;
    let took = begun.elapsed();
    stopped.store(true, Ordering::Relaxed);
    let (good, bad) = reads.await.unwrap();
    assert!(bad.is_empty() && good > 50, "{good} good, {bad:?}");
    let logins = count(&seen, "approle/login") as u64;
    assert!(
        logins <= 2 + took.as_secs() / 2,
        "{logins} logins in {took:?}: at the end of the longest life, not more often"
    );
    // Longer than the token lives.
    proxy.script(|_, _| Fault::Drop);
    tokio::time::sleep(Duration::from_secs(4)).await;
    proxy.script(|_, _| Fault::None);
    eventually("it comes back by itself", async || works(&store).await.then_some(())).await;
    kept.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_is_not_asked_in_a_loop() {
    let (bao, disk) = (bao_with("approle").await, tempfile::tempdir().unwrap());
    let role = app_role(&bao, json!({"token_ttl": "1s"})).await;
    file(disk.path(), "role", &role);
    file(disk.path(), "secret", &secret_id(&bao).await);
    let proxy = Proxy::start(&bao.url).await;
    let store = store(&proxy.url, by_app_role(disk.path(), false));
    assert!(works(&store).await);
    proxy.script(|seen, _| match seen.path.as_str() {
        path if path.ends_with("renew-self") || path.ends_with("login") => {
            Fault::Answer(400, "application/json", "{\"errors\":[\"lease is not renewable\"]}")
        }
        _ => Fault::None,
    });
    proxy.take_seen().clear();
    let keeper = Arc::clone(&store);
    let kept = tokio::spawn(async move { keeper.keep().await });
    for _ in 0..400 {
        let _ = store.read(&record()).await;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    kept.abort();
    let seen = proxy.take_seen();
    let tries =
        seen.iter().filter(|seen| seen.path.ends_with("renew-self") || seen.path.ends_with("login")).count();
    assert!((3..=30).contains(&tries), "{tries} tries in ten seconds");
}

fn count(seen: &[Seen], path: &str) -> usize {
    seen.iter().filter(|seen| seen.path.ends_with(path)).count()
}

/// A role that logs in, and whose tokens count from elsewhere only (`token_bound_cidrs`); a store that is read all the time.
///
/// Promise: the pauses between the logins double; each token that is given up is revoked if it can be; once the role is
/// mended, the next login works by itself.
#[tokio::test(flavor = "multi_thread")]
async fn refused_tokens_make_logins_rare() {
    let (bao, disk) = (bao_with("approle").await, tempfile::tempdir().unwrap());
    let role = app_role(&bao, json!({"token_bound_cidrs": ["10.9.9.9/32"]})).await;
    file(disk.path(), "role", &role);
    file(disk.path(), "secret", &secret_id(&bao).await);
    let proxy = Proxy::start(&bao.url).await;
    let store = store(&proxy.url, by_app_role(disk.path(), false));
    let mut seen = Vec::new();
    while count(&seen, "approle/login") < 5 {
        assert!(rejected(&store).await);
        seen.extend(proxy.take_seen());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let logins: Vec<_> =
        seen.iter().filter(|seen| seen.path.ends_with("approle/login")).map(|seen| seen.at).collect();
    for (number, pair) in logins.windows(2).enumerate() {
        let (pause, at_least) = (pair[1] - pair[0], Duration::from_millis(500 << number));
        assert!(pause >= at_least, "the pause after login {number} was {pause:?}");
    }
    let asked = |path: &str| count(&seen, path);
    assert_eq!(
        (asked("revoke-self"), asked("did-keys")),
        (5, 5),
        "one request for each token, and its revocation"
    );
    call(&bao, "POST", "auth/approle/role/agent", json!({"token_bound_cidrs": []})).await;
    let begun = Instant::now();
    while !works(&store).await {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How many tokens are alive besides root's.
async fn tokens_alive(bao: &OpenBao) -> usize {
    let (_, accessors) = bao.call("LIST", "auth/token/accessors", None).await;
    accessors["data"]["keys"].as_array().unwrap().len() - 1
}

/// A store that is closed while a login is on its way, for a reader that waits no longer and for the keeper of the token.
///
/// Promise: no token is alive afterwards, and no login begins any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_on_its_way_is_revoked_at_the_end() {
    let (bao, disk) = (bao_with("approle").await, tempfile::tempdir().unwrap());
    let role = app_role(&bao, json!({"token_ttl": "2s"})).await;
    file(disk.path(), "role", &role);
    file(disk.path(), "secret", &secret_id(&bao).await);
    let proxy = Proxy::start(&bao.url).await;
    let slow = |seen: &Seen, _| match seen.path.as_str() {
        path if path.ends_with("login") => Fault::Delay(Duration::from_millis(700)),
        path if path.ends_with("renew-self") => {
            Fault::Answer(400, "application/json", "{\"errors\":[\"no\"]}")
        }
        _ => Fault::None,
    };
    let asked = async || {
        eventually("it asks for a token", async || (count(&proxy.take_seen(), "login") > 0).then_some(()))
            .await
    };
    for is_kept in [false, true] {
        let store = store(&proxy.url, by_app_role(disk.path(), false));
        let user = Arc::clone(&store);
        let waiting = if is_kept {
            assert!(works(&store).await);
            call(&bao, "POST", "auth/approle/role/agent", json!({"token_ttl": "1h"})).await;
            let _ = proxy.take_seen();
            proxy.script(slow);
            tokio::spawn(async move { user.keep().await })
        } else {
            proxy.script(slow);
            tokio::spawn(async move { drop(user.read(&record()).await) })
        };
        asked().await;
        waiting.abort();
        store.close().await;
        assert_eq!(tokens_alive(&bao).await, 0, "kept: {is_kept}");
        assert!(rejected(&store).await, "it is closed");
        assert_eq!(count(&proxy.take_seen(), "login"), 0, "no login begins any more");
        proxy.script(|_, _| Fault::None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn given_tokens_are_renewed_where_they_may_be_and_read_where_they_lie() {
    let bao = bao_with("approle").await;
    let new = async |more: Value| {
        let mut body = json!({"policies": ["agent"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = call(&bao, "POST", "auth/token/create", body).await;
        answer["auth"]["client_token"].as_str().unwrap().to_owned()
    };
    let periodic = new(json!({"period": "8s"})).await;
    let given = store(&bao.url, VaultLogin::Token(SecretString::from(periodic)));
    let keeper = Arc::clone(&given);
    let kept = tokio::spawn(async move { keeper.keep().await });
    let few = new(json!({"num_uses": 3})).await;
    let used = store(&bao.url, VaultLogin::Token(SecretString::from(few)));
    let mut uses = 0;
    while works(&used).await {
        uses += 1;
    }
    assert!((1..=3).contains(&uses) && rejected(&used).await, "{uses} uses");
    let disk = tempfile::tempdir().unwrap();
    let path = file(disk.path(), "token", &new(json!({"ttl": "1h"})).await);
    let filed = store(&bao.url, VaultLogin::TokenFile(path.clone()));
    assert!(works(&filed).await);
    file(disk.path(), "token", "s.nonsense");
    assert!(rejected(&filed).await);
    file(disk.path(), "token", &format!("{}\n", new(json!({"ttl": "1h"})).await));
    assert!(works(&filed).await, "the new one counts at once");
    std::fs::remove_file(&path).unwrap();
    assert!(rejected(&filed).await);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(works(&given).await, "it outlives its period");
    kept.abort();
    given.close().await;
    assert!(works(&given).await, "what was given is not revoked");
}

/// A JWT by this key, whatever its header says.
fn jwt(algorithm: &str, key: &SigningKey, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&json!({"alg": algorithm, "typ": "JWT"})), encode(claims));
    let text = pem::encode_private_key(key);
    let body: String =
        secrecy::ExposeSecret::expose_secret(&text).lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    let bare = ed25519_dalek::SigningKey::from_bytes(der.last_chunk().unwrap());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bare.sign(signed.as_bytes()).to_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_logs_in() {
    let (bao, disk) = (bao_with("jwt").await, tempfile::tempdir().unwrap());
    let key = SigningKey::generate().unwrap();
    let keys = json!({"jwt_validation_pubkeys": [pem::encode_public_key(&key.public_key())]});
    call(&bao, "POST", "auth/jwt/config", keys).await;
    let role = json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": ["agent"]});
    call(&bao, "POST", "auth/jwt/role/agent", role).await;
    let claims = |audience: &str| {
        let now = bindu_http_client::epoch_seconds();
        json!({"sub": "agent", "aud": audience, "iat": now, "nbf": now, "exp": now + 600})
    };
    let jwt_file = file(disk.path(), "jwt", &jwt("EdDSA", &key, &claims("somebody else")));
    let login = VaultLogin::Jwt { mount: "jwt".to_owned(), role: Some("agent".to_owned()), jwt_file };
    let store = store(&bao.url, login);
    assert!(rejected(&store).await);
    file(disk.path(), "jwt", &jwt("EdDSA", &key, &claims("vault")));
    eventually("it logs in", async || works(&store).await.then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_logs_in_when_kubernetes_answers() {
    let (bao, disk) = (bao_with("kubernetes").await, tempfile::tempdir().unwrap());
    let kubernetes = Kubernetes::start().await;
    kubernetes.set_up(false);
    let config = json!({
        "kubernetes_host": kubernetes.url, "disable_local_ca_jwt": true, "kubernetes_ca_cert": ANY_AUTHORITY,
    });
    call(&bao, "POST", "auth/kubernetes/config", config).await;
    let role = json!({"bound_service_account_names": ["agent"], "bound_service_account_namespaces": ["default"], "token_policies": ["agent"]});
    call(&bao, "POST", "auth/kubernetes/role/agent", role).await;
    let token = kubernetes.token(("default", "agent"), "vault", 600);
    let jwt_file = file(disk.path(), "token", &token);
    let login = VaultLogin::Kubernetes { mount: "kubernetes".to_owned(), role: "agent".to_owned(), jwt_file };
    let store = store(&bao.url, login);
    assert!(rejected(&store).await, "Kubernetes itself is in trouble: that is no denial");
    kubernetes.set_up(true);
    eventually("it logs in", async || works(&store).await.then_some(())).await;
}

/// Over TLS: the server's authority is the only one that counts, and the connection's own certificate is the login.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_logs_in() {
    let bao = OpenBao::start_with_tls().await;
    call(&bao, "POST", "sys/policies/acl/agent", json!({"policy": POLICY})).await;
    call(&bao, "POST", "sys/auth/cert", json!({"type": "cert"})).await;
    let store = |authority: PathBuf, identity: Option<(PathBuf, PathBuf)>| {
        VaultStore::new(VaultSettings {
            url: bao.url.parse().unwrap(),
            login: VaultLogin::Cert { mount: "cert".to_owned(), role: Some("agent".to_owned()) },
            mount: "secret".to_owned(),
            prefix: "bindu".to_owned(),
            namespace: None,
            http: HttpSettings {
                tls: TlsSettings { authorities: Some(authority), identity, ..TlsSettings::default() },
                ..HttpSettings::new(Duration::from_secs(2))
            },
        })
        .unwrap()
    };
    let identity = || Some((bao.file("vault-cert.pem"), bao.file("vault-key.pem")));
    let known = store(bao.file("vault-ca.pem"), identity());
    assert!(rejected(&known).await, "nobody has said whose the certificate is");
    let certificate = std::fs::read_to_string(bao.file("vault-ca.pem")).unwrap();
    let role = json!({"certificate": certificate, "token_policies": ["agent"]});
    call(&bao, "POST", "auth/cert/certs/agent", role).await;
    eventually("it logs in", async || works(&known).await.then_some(())).await;
    assert!(rejected(&store(bao.file("vault-ca.pem"), None)).await, "no certificate was shown");
    let disk = tempfile::tempdir().unwrap();
    let stranger = store(file(disk.path(), "ca.pem", ANY_AUTHORITY), identity());
    let answer = stranger.read(&record()).await;
    assert!(
        matches!(&answer, Answer::Unavailable(outage) if outage.reason == OutageReason::Untrusted),
        "a server of another authority: {answer:?}"
    );
}
