//! Rolling updates while callers call: none of their calls fails.

use crate::{
    Agent, Shared,
    callers::{Callers, Failure, Lost, WITH_HANDLER, drains, handled, tell},
    everybody, nobody_else,
    probes::{ASKED_OFTEN, probed, state},
    replicas,
};
use bindu_testkit::{http, install};
use serde_json::Value;
use std::process::Stdio;

fn description(shared: &Shared, agent: &Agent) -> impl Future<Output = Value> {
    let url =
        format!("http://{}:3773/.well-known/agent.json", shared.cluster().service("agents", &agent.name));
    shared.cluster().inside(async move { http::get(&url).await.1["description"].clone() })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_and_its_rollback_under_load_fail_no_call() {
    let Some((_turn, shared)) = everybody().await else { return };
    let cluster = shared.cluster();
    let agent = handled("updated").with("BINDU_DESCRIPTION=the first");
    shared.rolled_out(&agent, WITH_HANDLER);
    shared.healthy(&agent).await;
    let (before, pods) = (shared.identity(&agent), shared.pods(&agent));
    let callers = Callers::begin(shared, &agent, 4, Lost::Fails).await;
    callers.more(shared, 20).await;
    let waits = callers.waits(shared, &pods[0]).await;

    // Changed settings have a ConfigMap of another name, so the pods are replaced.
    shared.deploy(&handled("updated").with("BINDU_DESCRIPTION=the second"), WITH_HANDLER);
    drains(shared, &pods[0]).await;
    // Its port is open for what it has begun, and callers go to the new one.
    callers.more(shared, 10).await;
    assert!(!waits.is_finished());
    tell(shared, &pods[0]);
    waits.await.unwrap().unwrap();
    cluster.rolled_out("agents", &agent.name);
    gone(shared, &pods[0]).await;
    callers.more(shared, 20).await;
    assert_eq!(description(shared, &agent).await, "the second");
    assert_eq!(shared.identity(&agent), before);

    let deployment = format!("deployment/{}", agent.name);
    cluster.kubectl(&["--namespace", "agents", "rollout", "undo", &deployment]);
    cluster.rolled_out("agents", &agent.name);
    let second = shared.pods(&agent);
    cluster.until("one pod is left", || (shared.pods(&agent).len() == 1).then_some(())).await;
    callers.more(shared, 20).await;
    callers.end().await;
    assert_eq!(description(shared, &agent).await, "the first", "the settings went back with it: {second:?}");
    assert_eq!(shared.identity(&agent), before);
    assert_eq!(shared.clients(before["did"].as_str().unwrap()).await, 1);
}

async fn gone(shared: &Shared, pod: &str) {
    let cluster = shared.cluster();
    let is_there = || cluster.try_kubectl(&["--namespace", "agents", "get", "pod", pod]).status.success();
    cluster.until("the pod has ended", || (!is_there()).then_some(())).await;
}

/// Two replicas, since whoever has one pod has none while it is replaced: `kubectl delete` makes no other one first.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_deleted_or_evicted_or_a_node_drained_under_load_fails_no_call() {
    let Some((_turn, shared)) = nobody_else().await else { return };
    let cluster = shared.cluster();
    let agent = handled("disturbed");
    shared.rolled_out(&agent, &format!("{WITH_HANDLER}{}", replicas(2)));
    shared.healthy(&agent).await;
    let before = shared.identity(&agent);
    let callers = Callers::begin(shared, &agent, 4, Lost::Fails).await;
    callers.more(shared, 20).await;

    for how in ["deleted", "evicted"] {
        let pod = shared.pods(&agent).remove(0);
        let waits = callers.waits(shared, &pod).await;
        if how == "deleted" {
            cluster.kubectl(&["--namespace", "agents", "delete", "pod", &pod, "--wait=false"]);
        } else {
            let evicted = shared.evict(&pod);
            assert!(evicted.status.success(), "{}", String::from_utf8_lossy(&evicted.stderr));
        }
        drains(shared, &pod).await;
        assert!(!waits.is_finished());
        tell(shared, &pod);
        waits.await.unwrap().unwrap();
        gone(shared, &pod).await;
        cluster.rolled_out("agents", &agent.name);
        allowed(shared, &agent).await;
        callers.more(shared, 10).await;
        assert_eq!(shared.identity(&agent), before, "{how}");
    }

    // There is no other node: one of the two leaves, and the budget keeps the other until there is room.
    let pods = shared.pods(&agent);
    let mut waits = Vec::new();
    for pod in &pods {
        waits.push(callers.waits(shared, pod).await);
    }
    let selector = format!("--pod-selector=app.kubernetes.io/instance={}", agent.name);
    let mut drain = cluster.command(install::kubernetes().join("kubernetes"));
    drain.args(["kubectl", "drain", "node", &selector, "--delete-emptydir-data", "--timeout=500s"]);
    let drain = drain.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let waiting = cluster
        .until("another pod waits", || shared.pods(&agent).into_iter().find(|pod| !pods.contains(pod)))
        .await;
    assert_eq!(shared.pod(&waiting)["status"]["phase"], "Pending");
    let left = cluster
        .until("one is left", || {
            let mut stay = shared.pods(&agent).into_iter().filter(|pod| pods.contains(pod));
            stay.next().filter(|_| stay.next().is_none())
        })
        .await;
    let first = pods.iter().find(|pod| **pod != left).unwrap();
    drains(shared, first).await;
    callers.more(shared, 20).await;
    tell(shared, first);
    gone(shared, first).await;
    callers.more(shared, 20).await;
    assert!(shared.pods(&agent).contains(&left), "the budget keeps it");
    cluster.kubectl(&["uncordon", "node"]);
    drains(shared, &left).await;
    tell(shared, &left);
    let drained = tokio::task::spawn_blocking(|| drain.wait_with_output().unwrap()).await.unwrap();
    assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
    for call in waits {
        call.await.unwrap().unwrap();
    }
    cluster.rolled_out("agents", &agent.name);
    callers.more(shared, 10).await;
    callers.end().await;
    assert_eq!(shared.identity(&agent), before);
    assert_eq!(shared.clients(before["did"].as_str().unwrap()).await, 1);
}

/// Waits until the agent's budget lets a pod go.
async fn allowed(shared: &Shared, agent: &Agent) {
    let budget = || shared.cluster().object(&["--namespace", "agents", "poddisruptionbudget", &agent.name]);
    shared
        .cluster()
        .until("a pod may go", || (budget()["status"]["disruptionsAllowed"] == 1).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_killed_under_load_costs_its_callers_another_try_and_no_answer() {
    let Some((_turn, shared)) = everybody().await else { return };
    let cluster = shared.cluster();
    let agent = handled("killed");
    shared.rolled_out(&agent, &format!("{WITH_HANDLER}{}", replicas(2)));
    shared.healthy(&agent).await;
    let before = shared.identity(&agent);
    let callers = Callers::begin(shared, &agent, 4, Lost::IsSentAgain).await;
    callers.more(shared, 20).await;
    let pod = shared.pods(&agent).remove(0);
    let waits = callers.waits(shared, &pod).await;
    shared.kill(&pod);
    let lost = waits.await.unwrap();
    assert!(matches!(lost, Err(Failure::Lost(_))), "the kill has hit: {lost:?}");
    callers.more(shared, 20).await;
    let restarts = || shared.pod(&pod)["status"]["containerStatuses"][0]["restartCount"].as_u64();
    cluster.until("it was started again", || (restarts() == Some(1)).then_some(())).await;
    cluster.rolled_out("agents", &agent.name);
    cluster.until("both serve", || (shared.ready(&agent) == 2).then_some(())).await;
    callers.more(shared, 20).await;
    callers.end().await;
    assert_eq!(shared.identity(&agent), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_while_vault_is_sealed_waits_and_the_old_pod_serves() {
    let Some((_turn, shared)) = nobody_else().await else { return };
    let (cluster, vault) = (shared.cluster(), &shared.platform.vault);
    let agent = Agent::new("sealed").with("BINDU_RECONCILE_INTERVAL=1s");
    shared.rolled_out(&agent, ASKED_OFTEN);
    shared.healthy(&agent).await;
    let (before, old) = (shared.identity(&agent), shared.pods(&agent));
    let callers = Callers::begin(shared, &agent, 2, Lost::Fails).await;
    callers.more(shared, 5).await;
    vault.seal(cluster).await;
    let deployment = format!("deployment/{}", agent.name);
    cluster.kubectl(&["--namespace", "agents", "rollout", "restart", &deployment]);
    let new =
        cluster.until("a new pod", || shared.pods(&agent).into_iter().find(|pod| !old.contains(pod))).await;
    // It waits inside of the process, for longer than its probes would bear if they asked Vault.
    cluster
        .until("the new pod has waited", || {
            let said = cluster.try_kubectl(&["--namespace", "agents", "logs", &new]);
            let tries = String::from_utf8_lossy(&said.stdout).matches("waiting for the store").count();
            (tries >= 3 && probed(shared, &new, "Liveness") >= 6).then_some(())
        })
        .await;
    assert_eq!(state(shared, &new), (false, 0), "the new one is not ready, and was not restarted");
    assert_eq!(state(shared, &old[0]), (true, 0), "the old one serves, and was not restarted");
    callers.more(shared, 5).await;
    vault.unseal(cluster).await;
    cluster.rolled_out("agents", &agent.name);
    cluster.until("one pod is left", || (shared.pods(&agent) == [new.clone()]).then_some(())).await;
    callers.more(shared, 5).await;
    callers.end().await;
    assert_eq!(shared.identity(&agent), before);
}
