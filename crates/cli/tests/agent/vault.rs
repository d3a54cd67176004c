//! `bindu vault`: the policy that is printed is enough and no more; what a login may do is told.

use crate::{AUTHOR, agent, bao, names};
use bindu_testkit::{OpenBao, http};
use serde_json::{Value, json};

async fn status(bao: &OpenBao, token: &str, method: &str, path: &str) -> u16 {
    let body = (method == "POST").then(|| json!({"data": {"x": "y"}, "versions": [1]}));
    bao.call_as(token, method, path, body).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_policy_is_enough_and_no_more() {
    let (disk, names) = (tempfile::tempdir().unwrap(), names("Least Privilege"));
    let setup = agent(disk.path()).named(AUTHOR, &names.name);
    let (code, policy, told) = setup.clone().command(&["vault", "policy"]).output();
    assert_eq!(code, 0, "{told}");
    let token = bao().await.token_with(&policy).await;
    let (keys, credentials) = (
        format!("secret/data/bindu/{}", names.keys_path()),
        format!("secret/data/bindu/{}", names.credentials_path()),
    );
    let hydra = crate::hydra().await.environment();
    let setup = setup.vault(bao().await).set("VAULT__TOKEN", &token).set_all(hydra);
    let (code, rows, told) = setup.clone().command(&["vault", "check", "--output", "json"]).output();
    let rows: Value = serde_json::from_str(&rows).expect("JSON");
    assert_eq!((code, &rows[0]["path"], &rows[1]["path"]), (0, &json!(keys), &json!(credentials)), "{told}");
    http::healthy(&setup.start().await.url).await;
    for own in [&keys, &credentials] {
        assert_eq!(status(bao().await, &token, "GET", own).await, 200, "{own}");
        assert_eq!(status(bao().await, &token, "DELETE", own).await, 403, "{own}");
    }
    for path in [
        "secret/data/bindu/agents/another/did-keys",
        "secret/metadata/bindu/agents",
        "secret/config",
        "sys/mounts",
        &keys.replace("/data/", "/metadata/"),
        &format!("{keys}/below"),
    ] {
        for method in ["GET", "POST", "LIST", "DELETE"] {
            let status = status(bao().await, &token, method, path).await;
            assert!([403, 405].contains(&status), "{method} {path}: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    let (disk, names) = (tempfile::tempdir().unwrap(), names("Missing Rights"));
    let read_only =
        format!("path \"secret/data/bindu/{}\" {{ capabilities = [\"read\"] }}", names.keys_path());
    let token = bao().await.token_with(&read_only).await;
    let setup = agent(disk.path()).named(AUTHOR, &names.name).vault(bao().await).set("VAULT__TOKEN", &token);
    let (code, rows, told) = setup.clone().command(&["vault", "check"]).output();
    assert_eq!(code, 77, "{told}");
    assert!(rows.contains("missing: create, update") && told.contains("bindu vault policy"), "{rows}{told}");
    let dead = setup.clone().set("VAULT__TOKEN", "s.nonsense");
    crate::assert_refused(
        dead.command(&["vault", "check"]).output(),
        77,
        &["does not accept", "permission denied"],
    );
    crate::assert_refused(agent(disk.path()).command(&["vault", "check"]).output(), 64, &["no Vault"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_template_serves_many_agents() {
    let disk = tempfile::tempdir().unwrap();
    let (code, template, told) = agent(disk.path()).command(&["vault", "policy"]).output();
    assert_eq!(code, 0, "{told}");
    let call = async |method: &str, path: &str, body: Value| {
        let (status, answer) = bao().await.call(method, path, Some(body)).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    };
    call("POST", "sys/policies/acl/bindu-agents", json!({"policy": template})).await;
    call("POST", "sys/auth/agents", json!({"type": "approle"})).await;
    let methods = bao().await.call("GET", "sys/auth", None).await.1;
    let accessor = methods["data"]["agents/"]["accessor"].as_str().unwrap().to_owned();
    let (one, other) = (names("Templated One"), names("Templated Other"));
    for names in [&one, &other] {
        let role = names.id.clone();
        call("POST", &format!("auth/agents/role/{role}"), json!({"token_policies": ["bindu-agents"]})).await;
        let id = bao().await.call("GET", &format!("auth/agents/role/{role}/role-id"), None).await.1;
        let id = id["data"]["role_id"].as_str().unwrap().to_owned();
        let metadata = json!({"bindu_agent_id": names.id, "bindu_did": names.did});
        let entity = call("POST", "identity/entity", json!({"name": names.id, "metadata": metadata})).await;
        let alias = json!({"name": id, "canonical_id": entity["data"]["id"], "mount_accessor": accessor});
        call("POST", "identity/entity-alias", alias).await;
        let secret = call("POST", &format!("auth/agents/role/{role}/secret-id"), json!({})).await;
        std::fs::write(disk.path().join(format!("{role}.role")), &id).unwrap();
        std::fs::write(
            disk.path().join(format!("{role}.secret")),
            secret["data"]["secret_id"].as_str().unwrap(),
        )
        .unwrap();
    }
    let setup = |names: &crate::Names, login: &crate::Names| {
        let setup = agent(disk.path()).named(AUTHOR, &names.name).set("VAULT__ENABLED", "true");
        let setup = setup.set("VAULT__AUTH", "approle").set("VAULT__AUTH_MOUNT", "agents");
        let file = |kind: &str| disk.path().join(format!("{}.{kind}", login.id)).display().to_string();
        setup.set("VAULT__ROLE_ID_FILE", file("role")).set("VAULT__SECRET_ID_FILE", file("secret"))
    };
    for names in [&one, &other] {
        let login = setup(names, names).set("VAULT__URL", &bao().await.url).set("BINDU_DATA_DIR", &names.id);
        http::healthy(&login.start().await.url).await;
        assert!(bao().await.record(&names.keys_path()).await.is_some());
    }
    let foreign = setup(&one, &other).set("VAULT__URL", &bao().await.url).set("BINDU_DATA_DIR", "nowhere");
    let (code, rows, _) = foreign.command(&["vault", "check"]).output();
    assert!(code == 77 && rows.contains("allowed: deny"), "another's records are not for it: {rows}");
}
