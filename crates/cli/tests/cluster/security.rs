//! What a pod may do on its node, and what keeps it there.

use crate::{Agent, Shared, everybody, replicas};
use bindu_testkit::http;

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_restricted_and_more_than_that_is_refused() {
    let Some((_turn, shared)) = everybody().await else { return };
    let cluster = shared.cluster();
    let agent = Agent::new("restricted");
    shared.rolled_out(&agent, "");
    let pod = shared.pods(&agent).remove(0);
    let status = status_of(shared, &pod);
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches(':').trim().to_owned()
    };
    assert_eq!(line("Seccomp"), "2", "the runtime's default profile: {status}");
    assert_eq!(line("NoNewPrivs"), "1");
    for set in ["CapEff", "CapPrm", "CapBnd", "CapAmb"] {
        assert_eq!(line(set), "0000000000000000", "{set}");
    }
    assert_eq!(line("Uid"), "65532\t65532\t65532\t65532");
    let spec = shared.pod(&pod)["spec"].clone();
    assert_eq!(spec["automountServiceAccountToken"], false);
    let projected = |volume: &&serde_json::Value| volume["projected"].is_object();
    assert_eq!(
        spec["volumes"].as_array().unwrap().iter().filter(projected).count(),
        1,
        "one token, for Vault"
    );

    // The namespace of the example enforces it: an overlay that asks for more makes no pod.
    let more = Agent::new("privileged");
    let patch = "patches:\n  - target: {kind: Deployment}\n    patch: |-\n      \
        - {op: add, path: /spec/template/spec/containers/0/securityContext/privileged, value: true}\n      \
        - {op: replace, path: /spec/template/spec/containers/0/securityContext/allowPrivilegeEscalation, value: true}\n";
    shared.deploy(&more, patch);
    cluster
        .until("its pods are refused", || {
            let name = format!("deployment/{}", more.name);
            let seen = cluster.object(&["--namespace", "agents", &name]);
            let conditions = seen["status"]["conditions"].to_string();
            conditions.contains("violates PodSecurity").then_some(())
        })
        .await;
    assert!(shared.pods(&more).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_keeps_two_replicas_from_leaving_together() {
    let Some((_turn, shared)) = everybody().await else { return };
    let cluster = shared.cluster();
    let agent = Agent::new("budgeted");
    shared.rolled_out(&agent, &replicas(2));
    let pods = shared.pods(&agent);
    cluster
        .until("the budget has seen both", || {
            let budget = cluster.object(&["--namespace", "agents", "poddisruptionbudget", &agent.name]);
            (budget["status"]["disruptionsAllowed"] == 1).then_some(())
        })
        .await;
    assert!(shared.evict(&pods[0]).status.success());
    let refused = shared.evict(&pods[1]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("disruption budget"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_leaves_serves_on_until_everybody_knows() {
    let Some((_turn, shared)) = everybody().await else { return };
    let cluster = shared.cluster();
    let agent = Agent::new("leaving");
    // Longer than the manifest's: a busy machine takes its time to ask.
    let longer = "patches:\n  - target: {kind: Deployment}\n    patch: |-\n      \
        - {op: replace, path: /spec/template/spec/containers/0/lifecycle/preStop/sleep/seconds, value: 15}\n";
    shared.rolled_out(&agent, longer);
    let pod = shared.pods(&agent).remove(0);
    let address = shared.pod(&pod)["status"]["podIP"].as_str().unwrap().to_owned();
    cluster.kubectl(&["--namespace", "agents", "delete", "pod", &pod, "--wait=false"]);
    // The kubelet waits for `preStop`, and the agent knows nothing yet: new connections are served.
    let answered =
        cluster.inside(async move { http::get(&format!("http://{address}:3773/livez")).await.0 }).await;
    assert!(!shared.pod(&pod)["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(answered, 200);
    let events = || {
        cluster.kubectl(&[
            "--namespace",
            "agents",
            "get",
            "events",
            "--field-selector",
            &format!("involvedObject.name={pod}"),
        ])
    };
    cluster
        .until("it is gone", || {
            let still = cluster.try_kubectl(&["--namespace", "agents", "get", "pod", &pod]).status.success();
            (!still).then_some(())
        })
        .await;
    let events = events();
    assert!(!events.contains("FailedPreStopHook"), "{events}");
}

/// What the kernel says of an agent's process.
fn status_of(shared: &Shared, pod: &str) -> String {
    shared.of_process(pod, "cat status")
}
