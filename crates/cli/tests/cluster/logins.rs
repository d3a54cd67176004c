//! Who is let in: the API server says whose a token is, and Vault whether that is enough.

use crate::{Agent, Shared, everybody};
use serde_json::json;

/// Logs in with a token; the status and what Vault says.
async fn login(shared: &Shared, role: &str, token: &str) -> (u16, String) {
    let body = json!({"role": role, "jwt": token});
    let (status, answer) =
        shared.platform.vault.call(shared.cluster(), "POST", "auth/kubernetes/login", Some(body)).await;
    (status, answer["errors"].to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_live_account_with_a_token_for_vault_is_let_in() {
    let Some((_turn, shared)) = everybody().await else { return };
    let cluster = shared.cluster();
    let agent = Agent::new("login");
    shared.introduce(&agent);
    let role = "bindu-login-agent";
    let token = |account: &str, audience: &str| {
        let audience = format!("--audience={audience}");
        cluster.kubectl(&["--namespace", "agents", "create", "token", account, &audience])
    };
    for account in ["login-agent", "other-agent"] {
        cluster.kubectl(&["--namespace", "agents", "create", "serviceaccount", account]);
    }
    let own = token("login-agent", "vault");
    assert_eq!(login(shared, role, &own).await.0, 200);
    let (status, why) = login(shared, role, &token("login-agent", "somebody-else")).await;
    assert!(status == 403 || why.contains("audience"), "another audience: {status} {why}");
    assert_ne!(status, 200);
    let (status, why) = login(shared, role, &token("other-agent", "vault")).await;
    assert_eq!(status, 403, "another account: {why}");
    let (status, why) = login(shared, role, &format!("{own}x")).await;
    assert_eq!(status, 403, "a signature that is none: {why}");
    // The same name in another namespace.
    cluster.kubectl(&["--namespace", "default", "create", "serviceaccount", "login-agent"]);
    let elsewhere =
        cluster.kubectl(&["--namespace", "default", "create", "token", "login-agent", "--audience=vault"]);
    let (status, why) = login(shared, role, &elsewhere).await;
    assert_eq!(status, 403, "another namespace: {why}");

    // A deleted account: the API server may know its token for some seconds yet. One of the same name is another one.
    cluster.kubectl(&["--namespace", "agents", "delete", "serviceaccount", "login-agent"]);
    let begun = std::time::Instant::now();
    loop {
        let (status, why) = login(shared, role, &own).await;
        if status != 200 {
            assert_eq!(status, 403, "{why}");
            break;
        }
        assert!(begun.elapsed().as_secs() < 120, "the token of a deleted account is still let in");
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    cluster.kubectl(&["--namespace", "agents", "create", "serviceaccount", "login-agent"]);
    assert_eq!(login(shared, role, &own).await.0, 403, "an account that was made again has other tokens");
    assert_eq!(login(shared, role, &token("login-agent", "vault")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_not_let_in_says_so_where_people_look() {
    let Some((_turn, shared)) = everybody().await else { return };
    let agent = Agent::new("refused").with("BINDU_START_DEADLINE=1s");
    shared.introduce(&agent);
    let audience = "patches:\n  - target: {kind: Deployment}\n    patch: |-\n      \
        - {op: replace, path: /spec/template/spec/volumes/1/projected/sources/0/serviceAccountToken/audience, value: other}\n";
    shared.deploy(&agent, audience);
    let ended = shared
        .cluster()
        .until("its start has ended", || {
            let pods = shared.pods(&agent);
            let pod = shared.pod(pods.first()?);
            let last = pod["status"]["containerStatuses"][0]["lastState"]["terminated"].clone();
            last.is_object().then_some(last)
        })
        .await;
    assert_eq!(ended["exitCode"], 77, "{ended}");
    let message = ended["message"].as_str().unwrap_or_default();
    assert!(message.contains("hint:"), "`kubectl describe pod` shows the hint: {ended}");
    // Somebody else's mistake: nothing was made.
    assert!(
        shared.platform.hydra.clients(shared.cluster()).await.iter().all(|id| !id.contains("refused_agent"))
    );
}

/// The commands of "A Vault outside of the cluster" in docs/KUBERNETES.md: it has a token of its own to ask with.
#[tokio::test(flavor = "multi_thread")]
async fn a_vault_outside_of_the_cluster_asks_with_a_token_of_its_own() {
    let Some((_turn, shared)) = everybody().await else { return };
    let (cluster, vault) = (shared.cluster(), &shared.platform.vault);
    cluster.kubectl(&["--namespace", "kube-system", "create", "serviceaccount", "vault-reviewer"]);
    cluster.kubectl(&[
        "create",
        "clusterrolebinding",
        "vault-reviewer",
        "--clusterrole=system:auth-delegator",
        "--serviceaccount=kube-system:vault-reviewer",
    ]);
    cluster.apply(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: vault-reviewer\n  namespace: kube-system\n  annotations:\n    \
         kubernetes.io/service-account.name: vault-reviewer\ntype: kubernetes.io/service-account-token\n",
    );
    let read = |arguments: &[&str]| {
        let encoded = cluster.kubectl(arguments);
        let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded).unwrap();
        String::from_utf8(decoded).unwrap()
    };
    let path = "jsonpath={.clusters[0].cluster.certificate-authority-data}";
    let authority = read(&["config", "view", "--raw", "--minify", "--flatten", "--output", path]);
    assert!(authority.starts_with("-----BEGIN CERTIFICATE-----"), "{authority}");
    let secret = [
        "--namespace",
        "kube-system",
        "get",
        "secret",
        "vault-reviewer",
        "--output",
        "jsonpath={.data.token}",
    ];
    let reviewer =
        cluster.until("the token is made", || Some(read(&secret)).filter(|token| !token.is_empty())).await;
    let (status, _) =
        vault.call(cluster, "POST", "sys/auth/kubernetes-b", Some(json!({"type": "kubernetes"}))).await;
    assert_eq!(status, 204);
    let config = json!({
        "kubernetes_host": "https://10.99.0.1:6443", "kubernetes_ca_cert": authority,
        "disable_local_ca_jwt": true, "token_reviewer_jwt": reviewer,
    });
    let (status, why) = vault.call(cluster, "POST", "auth/kubernetes-b/config", Some(config)).await;
    assert_eq!(status, 204, "{why}");
    let role = json!({
        "bound_service_account_names": "outside-agent", "bound_service_account_namespaces": "agents", "audience": "vault",
    });
    let (status, why) = vault.call(cluster, "POST", "auth/kubernetes-b/role/outside", Some(role)).await;
    assert!(status < 300, "{why}");
    cluster.kubectl(&["--namespace", "agents", "create", "serviceaccount", "outside-agent"]);
    let token =
        cluster.kubectl(&["--namespace", "agents", "create", "token", "outside-agent", "--audience=vault"]);
    let body = json!({"role": "outside", "jwt": token});
    let (status, why) = vault.call(cluster, "POST", "auth/kubernetes-b/login", Some(body)).await;
    assert_eq!(status, 200, "{why}");
}
