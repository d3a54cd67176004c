//! Agents whose tasks are in a real PostgreSQL in the cluster, with TLS: docs/KUBERNETES.md, "With PostgreSQL".

use crate::{
    Agent, Shared,
    callers::{WITH_HANDLER, ask, handled, send, url_of},
    everybody,
    policies::{probe, settled},
};
use bindu_testkit::{
    certificates,
    install::{self, source_tree},
};
use serde_json::{Value, json};
use std::{path::Path, time::Instant};

const PASSWORD: &str = "a password for tests";

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_a_database_are_one_agent_for_tasks() {
    let Some((_turn, shared)) = everybody().await else { return };
    let cluster = shared.cluster();
    let agent = handled("database");
    let address = start(shared);
    let components = "components: [../../components/postgres]\nreplicas: [{name: agent, count: 2}]\n";
    shared.introduce(&agent);
    shared.deploy(&agent, &format!("{components}{WITH_HANDLER}"));

    // Who has not labelled the database's namespace has the policy keep agents off it: they live, and are not ready.
    cluster.until("both live", || (running(shared, &agent) == 2).then_some(())).await;
    cluster.until("they say what they lack", || says_why(shared, &agent).then_some(())).await;
    assert_eq!(shared.ready(&agent), 0);
    let reaches = async |name: &str, letters: &str| {
        let target = [format!("{address}:5432")];
        settled(Instant::now(), cluster, ("agents", name), &target, letters).await
    };
    let labels = |instance: &str| {
        format!("app.kubernetes.io/name: bindu-agent, app.kubernetes.io/instance: {instance}")
    };
    // Another agent, without a database: of it only the policy is wanted.
    shared.deploy(&Agent::new("bare"), "replicas: [{name: agent, count: 0}]\n");
    cluster.apply(&probe("agents", "with-database", &labels(&agent.name)));
    cluster.apply(&probe("agents", "without-database", &labels("bare-agent")));
    assert_eq!(reaches("with-database", "-").await, "-");
    cluster.kubectl(&["label", "namespace", "database", "bindu.dev/database=true"]);
    cluster.rolled_out("agents", &agent.name);
    assert_eq!(reaches("with-database", "o").await, "o");
    assert_eq!(reaches("without-database", "-").await, "-");

    // It has the labels of an agent's pod.
    cluster.kubectl(&["--namespace", "agents", "delete", "pod", "probe-with-database"]);

    // What one has done, the other tells; so do those that come after both.
    let token = shared.platform.hydra.caller(cluster, "caller-of-the-database").await;
    let pods = shared.pods(&agent);
    let urls: Vec<_> = pods.iter().map(|pod| url_of(shared, pod)).collect();
    assert_eq!(urls.len(), 2);
    sent(shared, &urls[0], &token, "kept").await;
    assert_eq!(state(shared, &urls[1], &token, "kept").await, "completed");
    for pod in &pods {
        cluster.kubectl(&["--namespace", "agents", "delete", "pod", pod, "--wait=false"]);
    }
    let others = || {
        let now = shared.pods(&agent);
        let are_other = now.len() == 2 && now.iter().all(|pod| !pods.contains(pod));
        (are_other && shared.ready(&agent) == 2).then_some(now)
    };
    let others = cluster.until("two other pods are ready", others).await;
    let urls: Vec<_> = others.iter().map(|pod| url_of(shared, pod)).collect();
    for url in &urls {
        assert_eq!(state(shared, url, &token, "kept").await, "completed");
    }

    // The database is killed: no pod is restarted for it, and what comes next is done.
    let name = database_pod(shared)["metadata"]["name"].as_str().unwrap().to_owned();
    kill(shared, &name);
    let restarts = || database_pod(shared)["status"]["containerStatuses"][0]["restartCount"].as_u64();
    cluster.until("the database was started again", || (restarts() == Some(1)).then_some(())).await;
    cluster.rolled_out("database", "postgres");
    cluster.until("the agents are ready", || (shared.ready(&agent) == 2).then_some(())).await;
    sent(shared, &urls[1], &token, "after").await;
    assert_eq!(state(shared, &urls[0], &token, "after").await, "completed");
    assert_eq!(state(shared, &urls[0], &token, "kept").await, "completed");
    for pod in &others {
        assert_eq!(shared.pod(pod)["status"]["containerStatuses"][0]["restartCount"], 0);
    }
}

/// Starts PostgreSQL, and gives agents what they need to reach it; its pod's address.
fn start(shared: &Shared) -> String {
    let cluster = shared.cluster();
    let directory = tempfile::tempdir().unwrap();
    let authority = certificates::self_signed(directory.path(), "authority", "rsa:2048");
    let tls = certificates::signed(directory.path(), "tls", "DNS:postgres.database.svc", &authority);
    let from = |key: &str, path: &Path| format!("--from-file={key}={}", path.display());
    cluster.kubectl(&["create", "namespace", "database"]);
    let mut secret = vec!["--namespace", "database", "create", "secret", "generic", "postgres-tls"];
    let files = [from("tls.crt", &tls.certificate), from("tls.key", &tls.key)];
    secret.extend(files.iter().map(String::as_str));
    cluster.kubectl(&secret);
    let programs = install::postgres().canonicalize().unwrap();
    let manifests = std::fs::read_to_string(source_tree().join("testing/kubernetes/database.yaml")).unwrap();
    let root = programs.parent().unwrap().display().to_string();
    let manifests = manifests.replace("@BIN@", &programs.display().to_string()).replace("@ROOT@", &root);
    cluster.apply(&manifests.replace("@PASSWORD@", PASSWORD));
    cluster.rolled_out("database", "postgres");

    let url = format!(
        "DATABASE_URL=postgres://postgres:{}@postgres.database.svc:5432/postgres?sslmode=verify-full&sslrootcert=/etc/bindu/database-ca/ca.crt",
        PASSWORD.replace(' ', "%20")
    );
    let file = directory.path().join("database.env");
    std::fs::write(&file, url).unwrap();
    let file = format!("--from-env-file={}", file.display());
    cluster.kubectl(&["--namespace", "agents", "create", "secret", "generic", "database", &file]);
    let authority = from("ca.crt", &authority.certificate);
    cluster.kubectl(&["--namespace", "agents", "create", "configmap", "database-ca", &authority]);
    database_pod(shared)["status"]["podIP"].as_str().unwrap().to_owned()
}

fn database_pod(shared: &Shared) -> Value {
    let mut pods = shared.cluster().object(&["--namespace", "database", "pods"]);
    pods["items"][0].take()
}

/// SIGKILL to the server that a pod has.
fn kill(shared: &Shared, pod: &str) {
    let pod = shared.cluster().object(&["--namespace", "database", "pod", pod]);
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let script = format!(
        "for group in $(grep -l pod{uid} /proc/[0-9]*/cgroup); do\n\
           directory=${{group%/cgroup}}\n\
           if [ \"$(cat $directory/comm)\" = postgres ]; then kill -9 ${{directory#/proc/}} && exit; fi\n\
         done; exit 1"
    );
    install::run(shared.cluster().command("bash").args(["-c", &script]));
}

fn running(shared: &Shared, agent: &Agent) -> usize {
    let pods = shared.pods(agent);
    let runs = |pod: &&String| {
        let status = &shared.pod(pod)["status"]["containerStatuses"][0];
        status["state"]["running"].is_object()
    };
    pods.iter().filter(runs).count()
}

/// Do the agent's pods say that the database is what keeps them?
fn says_why(shared: &Shared, agent: &Agent) -> bool {
    shared.logs(agent).contains("storage_unavailable")
}

async fn sent(shared: &Shared, url: &str, token: &str, id: &str) {
    let (url, token, id) = (url.to_owned(), token.to_owned(), id.to_owned());
    // Right after an outage it may be refused for a moment, with Retry-After.
    let begun = Instant::now();
    loop {
        let (url, token, id) = (url.clone(), token.clone(), id.clone());
        let done =
            shared.cluster().inside(async move { send(&url, &token, &id, false, "quick").await }).await;
        let Err(failure) = done else { return };
        assert!(begun.elapsed().as_secs() < 120, "{failure:?}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// The state of a task as this pod tells it.
async fn state(shared: &Shared, url: &str, token: &str, id: &str) -> Value {
    let body = bindu_testkit::http::call("tasks/get", &json!({"taskId": id})).to_string();
    let (url, token) = (url.to_owned(), token.to_owned());
    let task = shared.cluster().inside(async move { ask(&url, &token, None, body).await }).await.unwrap();
    task["result"]["status"]["state"].clone()
}
