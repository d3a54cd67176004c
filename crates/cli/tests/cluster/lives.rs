//! Pods come and go; the agent stays.

use crate::{Agent, everybody, nobody_else, replicas, world::is_ready};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn five_replicas_with_empty_disks_come_to_one_identity() {
    let Some((_turn, shared)) = everybody().await else { return };
    let agent = Agent::new("five");
    shared.rolled_out(&agent, &replicas(5));
    assert_eq!(shared.pods(&agent).len(), 5);
    let identity = shared.identity(&agent);
    assert_eq!(identity["version"], 1, "{identity}");
    assert_eq!(identity["generation"], 0, "{identity}");
    let logs = shared.logs(&agent);
    assert_eq!(logs.matches(r#""source":"created","version":1"#).count(), 1, "one has made it: {logs}");
    let did = identity["did"].as_str().unwrap();
    shared.healthy(&agent).await;
    assert_eq!(shared.clients(did).await, 1);
    let client = shared.platform.hydra.client(shared.cluster(), did).await.unwrap();
    assert_eq!(client["metadata"]["public_key"], identity["public_key"]);
    for record in [
        format!("agents/{}/did-keys", identity["agent_id"].as_str().unwrap()),
        format!("hydra/credentials/{did}"),
    ] {
        let (version, _) = shared.platform.vault.record(shared.cluster(), &record).await.unwrap();
        assert_eq!(version, 1, "{record}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_as_it_is_survives_the_end_of_its_pod_in_each_way() {
    let Some((_turn, shared)) = nobody_else().await else { return };
    let cluster = shared.cluster();
    // Its overlay lies in the repository: nothing of it is written here.
    let agent = Agent { title: "Echo Agent".into(), ..Agent::new("echo") };
    shared.introduce(&agent);
    let overlay = shared.path("kubernetes/overlays/example/echo-agent").display().to_string();
    let applied = cluster.kubectl(&["apply", "--kustomize", &overlay]);
    assert!(!applied.contains("Warning"), "{applied}");
    cluster.rolled_out("agents", &agent.name);
    shared.healthy(&agent).await;
    let before = shared.identity(&agent);
    let pod = || shared.pods(&agent).remove(0);

    // Deleted: another pod, with an empty disk.
    let first = pod();
    cluster.kubectl(&["--namespace", "agents", "delete", "pod", &first]);
    another(shared, &agent, &first, &before).await;

    // Killed: the same pod, with its disk.
    let second = pod();
    shared.kill(&second);
    let restarts = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
    cluster.until("it was started again", || (restarts(&shared.pod(&second)) == Some(1)).then_some(())).await;
    cluster.until("it is ready again", || is_ready(&shared.pod(&second)).then_some(())).await;
    assert_eq!(shared.identity(&agent), before);

    // Evicted: the budget lets one go.
    assert!(shared.evict(&second).status.success());
    another(shared, &agent, &second, &before).await;

    // Its node drained: it waits until there is room.
    let third = pod();
    let selector = format!("app.kubernetes.io/instance={}", agent.name);
    let drained = format!("--pod-selector={selector}");
    cluster.kubectl(&["drain", "node", &drained, "--delete-emptydir-data", "--timeout=200s"]);
    let waiting = cluster
        .until("another pod waits", || shared.pods(&agent).into_iter().find(|pod| *pod != third))
        .await;
    assert_eq!(shared.pod(&waiting)["status"]["phase"], "Pending");
    cluster.kubectl(&["uncordon", "node"]);
    another(shared, &agent, &third, &before).await;

    let did = before["did"].as_str().unwrap();
    assert_eq!(shared.clients(did).await, 1);
}

/// Waits until another pod than this one serves, and compares who it is.
async fn another(shared: &crate::Shared, agent: &Agent, gone: &str, before: &Value) {
    let cluster = shared.cluster();
    let is_another = || shared.pods(agent).into_iter().find(|pod| pod != gone && is_ready(&shared.pod(pod)));
    cluster.until("another pod serves", is_another).await;
    cluster
        .until("the old one is gone", || (!shared.pods(agent).contains(&gone.to_owned())).then_some(()))
        .await;
    assert_eq!(shared.identity(agent), *before, "after the end of {gone}");
    shared.healthy(agent).await;
}
