//! `bindu vault setup`: on an empty server, by each way to log in; what is in the way; what it keeps others from.

use crate::{AUTHOR, Names, agent, assert_refused, hydra, names, public_key};
use bindu_testkit::{
    AgentSetup, OpenBao, PythonBindu, http,
    kubernetes::{ANY_AUTHORITY, Kubernetes},
};
use serde_json::{Value, json};
use std::path::Path;

/// An administrator's shell.
fn administrator(directory: &Path, bao: &OpenBao, names: &Names) -> AgentSetup {
    let shell = agent(directory).named(AUTHOR, &names.name).set("HOME", directory.display().to_string());
    shell.set("VAULT_ADDR", &bao.url).set("VAULT_TOKEN", &bao.token)
}

/// Runs `bindu vault setup`; the words of its steps, and the code.
fn setup(shell: &AgentSetup, arguments: &[&str]) -> (i32, Vec<String>, String) {
    let all = [&["vault", "setup", "--output", "json"], arguments].concat();
    let (code, rows, told) = shell.clone().command(&all).output();
    let rows: Value = serde_json::from_str(&rows).unwrap_or_default();
    let word = |row: &Value| format!("{} {}", row["state"].as_str().unwrap(), row["what"].as_str().unwrap());
    (code, rows.as_array().into_iter().flatten().map(word).collect(), told)
}

/// That everything is there at the end, whether it was before or not.
fn assert_all_there(shell: &AgentSetup, arguments: &[&str]) {
    let (code, steps, told) = setup(shell, arguments);
    assert_eq!(code, 0, "{told}");
    assert!(!steps.is_empty() && steps.iter().all(|step| is_there(step)), "{steps:?}{told}");
}

fn is_there(step: &str) -> bool {
    ["there ", "created ", "changed "].iter().any(|state| step.starts_with(state))
}

/// Everything that is set up in a server.
async fn all_of(bao: &OpenBao) -> Value {
    let mut all = json!({});
    for path in ["sys/mounts", "sys/auth", "sys/policies/acl?list=true", "identity/entity/id?list=true"] {
        all[path] = bao.call("GET", path, None).await.1["data"].clone();
    }
    all
}

/// That the agent starts, its login is enough, and the records of others are out of its reach.
async fn lives(setup: AgentSetup) -> AgentSetup {
    let (code, rows, told) = setup.clone().command(&["vault", "check"]).output();
    assert_eq!(code, 0, "{rows}{told}");
    http::healthy(&setup.start().await.url).await;
    let other = setup.clone().named(AUTHOR, "Somebody Else").set("BINDU_DATA_DIR", "elsewhere");
    let (code, rows, told) = other.command(&["vault", "check"]).output();
    assert_eq!(code, 77, "{rows}{told}");
    setup
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_logs_in_as_itself_after_setup() {
    let (disk, bao, kubernetes) =
        (tempfile::tempdir().unwrap(), OpenBao::start().await, Kubernetes::start().await);
    let (one, two) = (names("Pod One"), names("Pod Two"));
    let ca = disk.path().join("ca.pem");
    std::fs::write(&ca, ANY_AUTHORITY).unwrap();
    let flags = |account: &'static str| {
        let mut flags: Vec<String> =
            ["--auth", "kubernetes", "--role", "agents", "--audience", "vault"].map(str::to_owned).to_vec();
        let host = ["--kubernetes-host", &kubernetes.url, "--kubernetes-ca", ca.to_str().unwrap()];
        flags.extend(host.map(str::to_owned));
        flags.extend(["--service-account", account].map(str::to_owned));
        flags
    };
    let (mine, theirs) = (flags("agents/one"), flags("agents/two"));
    let mine: Vec<&str> = mine.iter().map(String::as_str).collect();
    let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
    let shell = administrator(disk.path(), &bao, &one);
    let before = all_of(&bao).await;
    let (code, steps, told) = setup(&shell, &mine);
    assert_eq!((code, steps.len()), (0, 7), "{steps:?}{told}");
    assert!(steps.iter().skip(1).all(|step| step.starts_with("create")), "{steps:?}");
    assert_eq!(all_of(&bao).await, before, "a plan changes nothing");
    let applied = [&["--apply"], mine.as_slice()].concat();
    assert_all_there(&shell, &applied);
    let after = all_of(&bao).await;
    let (_, steps, told) = setup(&shell, &applied);
    assert!(steps.iter().all(|step| step.starts_with("there ")), "{steps:?}{told}");
    assert_eq!(all_of(&bao).await, after, "the second time there is nothing to do");

    let token_file = disk.path().join("token");
    let pod = |names: &Names, account: &str| {
        std::fs::write(&token_file, kubernetes.token(("agents", account), "vault", 600)).unwrap();
        let pod = agent(disk.path()).named(AUTHOR, &names.name).set("VAULT__ENABLED", "true");
        let pod =
            pod.set("VAULT_ADDR", &bao.url).set("VAULT__AUTH", "kubernetes").set("VAULT__ROLE", "agents");
        pod.set("VAULT__JWT_FILE", token_file.display().to_string()).set("BINDU_DATA_DIR", &names.id)
    };
    lives(pod(&one, "one")).await;
    // The account is deleted and made again: another uid, the same name, the same agent.
    lives(pod(&one, "one")).await;

    // A second agent by the same account would be the first one to Vault.
    let other = administrator(disk.path(), &bao, &two);
    let (code, steps, told) = setup(&other, &applied);
    assert_eq!(code, 1, "{told}");
    assert!(
        steps.contains(&"conflict alias".to_owned()) && told.contains("nothing was changed"),
        "{steps:?}"
    );
    assert_eq!(all_of(&bao).await, after, "nothing was begun");
    assert_all_there(&other, &[&["--apply"], theirs.as_slice()].concat());
    lives(pod(&two, "two")).await;
    lives(pod(&one, "one")).await;
    assert_all_there(&shell, &mine);

    // It moves to another account: the entity's name at the method changes with it.
    let moved = flags("agents/three");
    let moved: Vec<&str> = moved.iter().map(String::as_str).collect();
    let (_, steps, _) = setup(&shell, &moved);
    assert!(
        steps.contains(&"change alias".to_owned()) && steps.contains(&"change role".to_owned()),
        "{steps:?}"
    );
    assert_all_there(&shell, &[&["--apply"], moved.as_slice()].concat());
    lives(pod(&one, "three")).await;
    let (code, ..) = pod(&one, "one").command(&["vault", "check"]).output();
    assert_eq!(code, 77, "the account that it had is nobody's");
}

/// Who has logged in before anybody thought of entities has one that Vault has made.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_from_before_becomes_the_agent() {
    let (disk, bao, names) = (tempfile::tempdir().unwrap(), OpenBao::start().await, names("Came Before"));
    let call = async |method: &str, path: &str, body: Value| {
        let (status, answer) = bao.call(method, path, Some(body)).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    };
    call("POST", "sys/auth/approle", json!({"type": "approle"})).await;
    call("POST", "auth/approle/role/old", json!({"token_policies": ["bindu-agents"], "token_ttl": 60})).await;
    let role = call("GET", "auth/approle/role/old/role-id", json!({})).await["data"]["role_id"].clone();
    let secret =
        call("POST", "auth/approle/role/old/secret-id", json!({})).await["data"]["secret_id"].clone();
    call("POST", "auth/approle/login", json!({"role_id": role, "secret_id": secret})).await;
    let shell =
        administrator(disk.path(), &bao, &names).set("VAULT__AUTH", "approle").set("VAULT__ROLE", "old");
    let (code, steps, told) = setup(&shell, &[]);
    assert_eq!(code, 0, "{told}");
    assert!(
        steps.contains(&"change alias".to_owned()) && steps.contains(&"there role".to_owned()),
        "{steps:?}"
    );
    assert_all_there(&shell, &["--apply"]);
    let kept = call("GET", "auth/approle/role/old", json!({})).await;
    assert_eq!(kept["data"]["token_ttl"], 60, "nobody has asked for another");
    for (file, text) in [("role", &role), ("secret", &secret)] {
        std::fs::write(disk.path().join(file), text.as_str().unwrap()).unwrap();
    }
    let agent = agent(disk.path()).named(AUTHOR, &names.name).set("VAULT__ENABLED", "true");
    let agent = agent.set("VAULT_ADDR", &bao.url).set("VAULT__AUTH", "approle");
    lives(agent.set("VAULT__ROLE_ID_FILE", "role").set("VAULT__SECRET_ID_FILE", "secret")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_and_a_jwt_are_set_up() {
    let (disk, bao, names) =
        (tempfile::tempdir().unwrap(), OpenBao::start_with_tls().await, names("By Certificate"));
    let path = |name: &str| bao.file(name).display().to_string();
    let shell = administrator(disk.path(), &bao, &names).set("VAULT_CACERT", path("vault-ca.pem"));
    let authority = path("vault-ca.pem");
    // The server's own certificate serves as the agent's. It has no common name of an agent's.
    let flags = ["--auth", "cert", "--common-name", "localhost", "--client-ca", &authority];
    assert_refused(
        shell.clone().command(&["vault", "setup", "--auth", "cert"]).output(),
        64,
        &["`cert` needs --common-name"],
    );
    assert_all_there(&shell, &[&["--apply"], flags.as_slice()].concat());
    assert_all_there(&shell, &flags);
    let jwt = ["--auth", "jwt", "--subject", "echo", "--audience", "vault"];
    let (code, steps, told) = setup(&shell, &[&["--apply"], jwt.as_slice()].concat());
    assert_eq!(code, 0, "{told}");
    assert!(
        steps.contains(&"by_hand its configuration".to_owned()),
        "whose keys sign is not ours to guess: {steps:?}"
    );
    let role = bao.call("GET", &format!("auth/jwt/role/bindu-{}", names.id), None).await.1;
    let (subject, audiences) = (&role["data"]["bound_subject"], &role["data"]["bound_audiences"]);
    assert_eq!((subject, audiences), (&json!("echo"), &json!(["vault"])));
    let (_, entity) = bao.call("GET", &format!("identity/entity/name/bindu-{}", names.id), None).await;
    assert_eq!(entity["data"]["aliases"].as_array().unwrap().len(), 2, "one at each method: {entity}");
}

/// Without a role: the policy of this agent alone, for a token that is made by hand. And protected: a writer that does
/// not say which version it replaces is refused, Python Bindu's start among them, which survives it.
#[tokio::test(flavor = "multi_thread")]
async fn a_protected_record_is_overwritten_by_nobody() {
    let (disk, bao, names) = (tempfile::tempdir().unwrap(), OpenBao::start().await, names("Protected"));
    let shell = administrator(disk.path(), &bao, &names);
    assert_all_there(&shell, &["--apply", "--protect"]);
    let (_, made) = bao
        .call("POST", "auth/token/create", Some(json!({"policies": [format!("bindu-{}", names.id)]})))
        .await;
    let token = made["auth"]["client_token"].as_str().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, &names.name).vault(&bao).set("VAULT__TOKEN", token);
    let setup = lives(setup.set_all(hydra().await.environment())).await;
    let running = setup.start().await;
    http::healthy(&running.url).await;
    let key = public_key(&running.url, &names.did).await;
    for path in [names.keys_path(), names.credentials_path()] {
        let blind = Some(json!({"data": {"private_key": "x"}}));
        let (status, answer) = bao.call("POST", &format!("secret/data/bindu/{path}"), blind).await;
        assert_eq!(status, 400, "{answer}");
    }
    drop(running);
    let python = tempfile::tempdir().unwrap();
    let vault = [("VAULT__ENABLED", "true"), ("VAULT__URL", &bao.url), ("VAULT__TOKEN", token)];
    let environment: Vec<_> = vault
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .chain(hydra().await.environment())
        .collect();
    let Some(pod) = PythonBindu::start(python.path(), AUTHOR, &names.name, &environment).await else {
        return eprintln!("skipped: needs Python 3.12");
    };
    assert_eq!(public_key(&pod.url, &names.did).await, key, "Python Bindu is the same agent");
    drop(pod);
    let (version, record) = bao.record(&names.keys_path()).await.unwrap();
    assert_eq!(
        (version, record["did"].as_str()),
        (1, Some(names.did.as_str())),
        "it has overwritten nothing"
    );
    let back = setup.start().await;
    http::healthy(&back.url).await;
    assert_eq!(public_key(&back.url, &names.did).await, key);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_is_named_and_left() {
    let (disk, bao, names) = (tempfile::tempdir().unwrap(), OpenBao::start().await, names("In The Way"));
    let shell = administrator(disk.path(), &bao, &names);
    let old = json!({"type": "kv", "options": {"version": "1"}});
    bao.call("POST", "sys/mounts/old", Some(old)).await;
    bao.call("POST", "sys/auth/taken", Some(json!({"type": "userpass"}))).await;
    let apply = ["--apply", "--auth", "approle"];
    let on_old = shell.clone().set("VAULT__MOUNT", "old");
    let (code, steps, told) = setup(&on_old, &apply);
    assert_eq!((code, steps[0].as_str()), (1, "conflict mount"), "{told}");
    let (code, steps, told) = setup(&shell, &[apply.as_slice(), &["--auth-mount", "taken"]].concat());
    assert_eq!((code, steps[2].as_str()), (1, "conflict login method"), "{told}");
    let elsewhere = json!({"policy": "path \"secret/data/elsewhere/*\" { capabilities = [\"read\"] }"});
    bao.call("POST", "sys/policies/acl/bindu-agents", Some(elsewhere)).await;
    let (code, steps, told) = setup(&shell, &apply);
    assert_eq!((code, steps[1].as_str()), (1, "conflict policy"), "others may need its rules: {told}");
    bao.call("DELETE", "sys/policies/acl/bindu-agents", None).await;
    // Roles of others: with another policy, without a secret, for whoever has any account.
    bao.call("POST", "sys/auth/approle", Some(json!({"type": "approle"}))).await;
    bao.call("POST", "sys/auth/kubernetes", Some(json!({"type": "kubernetes"}))).await;
    let config = json!({"kubernetes_host": "http://127.0.0.1:1", "kubernetes_ca_cert": ANY_AUTHORITY, "disable_local_ca_jwt": true});
    bao.call("POST", "auth/kubernetes/config", Some(config)).await;
    let account = |policy: &str| {
        json!({"token_policies": [policy], "bound_service_account_names": ["ci"], "alias_name_source": "serviceaccount_name",
               "bound_service_account_namespaces": ["dev"]})
    };
    for (path, role) in [
        ("approle/role/admin", json!({"token_policies": ["bindu-agents", "admin"]})),
        (
            "approle/role/open",
            json!({"token_policies": ["bindu-agents"], "bind_secret_id": false, "token_bound_cidrs": ["127.0.0.1/32"], "secret_id_bound_cidrs": ["127.0.0.1/32"]}),
        ),
        ("kubernetes/role/ci", account("admin")),
        ("kubernetes/role/dev", account("bindu-agents")),
    ] {
        let (status, answer) = bao.call("POST", &format!("auth/{path}"), Some(role)).await;
        assert!((200..300).contains(&status), "{path}: {answer}");
        let role = path.rsplit('/').next().unwrap();
        let method = path.split('/').next().unwrap();
        let flags = ["--apply", "--auth", method, "--role", role, "--service-account", "prod/echo"];
        let before = bao.call("GET", &format!("auth/{path}"), None).await.1["data"].clone();
        let (code, steps, told) = setup(&shell, &flags);
        assert_eq!(code, 1, "{path}: {steps:?}{told}");
        assert!(steps.contains(&"conflict role".to_owned()), "{path}: {steps:?}");
        assert_eq!(bao.call("GET", &format!("auth/{path}"), None).await.1["data"], before, "{path}");
    }
    let name = "evil\"{capabilities=[\"read\"]}path\"*\"{capabilities=[\"sudo\"]}path\"x";
    let evil = shell.clone().named(AUTHOR, name);
    assert_refused(evil.clone().command(&["vault", "policy"]).output(), 64, &["can't stand in a policy"]);
    assert_refused(evil.command(&["vault", "setup", "--apply"]).output(), 64, &["can't stand in a policy"]);
    let nobody = bao.token_with("path \"secret/*\" { capabilities = [\"read\"] }").await;
    let with =
        |name: &str, value: &str| shell.clone().set(name, value).command(&["vault", "setup", "--apply"]);
    let before_policies = all_of(&bao).await;
    assert_refused(with("VAULT_TOKEN", &nobody).output(), 77, &["sys/mounts", "administrator"]);
    assert_refused(with("VAULT_TOKEN", "s.dead").output(), 77, &["could not be asked", "permission denied"]);
    assert_refused(with("VAULT_ADDR", "http://127.0.0.1:1").output(), 69, &["could not be asked"]);
    let refused = |arguments: &[&str]| {
        shell.clone().command(&[&["vault", "setup", "--apply"], arguments].concat()).output()
    };
    assert_refused(refused(&["--auth", "kubernetes"]), 64, &["--service-account"]);
    assert_refused(
        refused(&["--auth", "kubernetes", "--service-account", "agents/*"]),
        64,
        &["--service-account"],
    );
    assert_refused(refused(&["--auth", "ldap"]), 64, &["`ldap`"]);
    assert_refused(refused(&["--auth", "approle", "--role", "../x"]), 64, &["is no name"]);
    assert_refused(refused(&["--policy", "../mounts/x"]), 64, &["is no name"]);
    assert_refused(refused(&["--auth", "jwt", "--subject", "x"]), 64, &["--audience"]);
    assert_refused(refused(&["--auth", "approle", "--token-ttl", "3600"]), 64, &["--token-ttl"]);
    let nameless = agent(disk.path()).set("VAULT_ADDR", &bao.url).set("VAULT_TOKEN", &bao.token);
    assert_refused(nameless.command(&["vault", "setup"]).output(), 64, &["BINDU_NAME"]);
    assert_eq!(all_of(&bao).await, before_policies, "nothing of this has changed anything");
    // As with the vault CLI, a token may lie where `vault login` has left it.
    let kept = agent(disk.path()).named(AUTHOR, &names.name).set("VAULT_ADDR", &bao.url);
    std::fs::write(disk.path().join(".vault-token"), &bao.token).unwrap();
    assert_all_there(&kept.set("HOME", disk.path().display().to_string()), &["--apply"]);
}
