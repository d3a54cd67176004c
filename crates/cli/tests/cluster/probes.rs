//! Probes ask the process, and nothing that it depends on: whatever becomes of Vault, no pod is restarted.

use crate::{Agent, Shared, nobody_else};
use bindu_testkit::{http, install};
use serde_json::Value;

/// Vault, standing still: connections are accepted and never answered. It goes on when this ends.
pub(crate) struct Hanging<'a>(&'a Shared);

impl<'a> Hanging<'a> {
    pub(crate) fn vault(shared: &'a Shared) -> Self {
        signal(shared, "STOP");
        Self(shared)
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

fn signal(shared: &Shared, signal: &str) {
    let pods = shared.cluster().object(&["--namespace", "vault", "pods", "--selector", "app=vault"]);
    let uid = pods["items"][0]["metadata"]["uid"].as_str().unwrap().to_owned();
    // All of its processes but the one that holds the namespaces.
    let script = format!(
        "for group in $(grep -l pod{uid} /proc/[0-9]*/cgroup); do\n\
           directory=${{group%/cgroup}}\n\
           if [ \"$(cat $directory/comm)\" != probe ]; then kill -{signal} ${{directory#/proc/}} && found=1; fi\n\
         done; test $found"
    );
    install::run(shared.cluster().command("bash").args(["-c", &script]));
}

/// How many probes of a kind (`Startup`, `Liveness`) the kubelet has made of a pod, by their own words successfully.
pub(crate) fn probed(shared: &Shared, pod: &str, kind: &str) -> u64 {
    let metrics = shared.cluster().kubectl(&["get", "--raw", "/api/v1/nodes/node/proxy/metrics/probes"]);
    let wanted = [format!("pod=\"{pod}\""), format!("probe_type=\"{kind}\""), "result=\"successful\"".into()];
    let line = metrics.lines().find(|line| {
        line.starts_with("prober_probe_total{") && wanted.iter().all(|label| line.contains(label.as_str()))
    });
    let number = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    number.unwrap_or_default() as u64
}

/// Is it ready, and how often was it started again?
pub(crate) fn state(shared: &Shared, pod: &str) -> (bool, u64) {
    let status = &shared.pod(pod)["status"]["containerStatuses"][0];
    (status["ready"].as_bool().unwrap(), status["restartCount"].as_u64().unwrap())
}

/// The part of an overlay with which the kubelet asks for liveness each second, so that a test sees it ask often.
pub(crate) const ASKED_OFTEN: &str = "patches:\n  - target: {kind: Deployment}\n    patch: |-\n      \
    - {op: replace, path: /spec/template/spec/containers/0/livenessProbe/periodSeconds, value: 1}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_hangs_restarts_no_pod_and_a_start_waits_for_it() {
    let Some((_turn, shared)) = nobody_else().await else { return };
    let cluster = shared.cluster();
    let agent = Agent::new("probed").with("BINDU_RECONCILE_INTERVAL=1s");
    shared.rolled_out(&agent, ASKED_OFTEN);
    shared.healthy(&agent).await;
    let (before, old) = (shared.identity(&agent), shared.pods(&agent).remove(0));
    let hanging = Hanging::vault(shared);
    degraded(shared, &agent).await;
    // Longer than the liveness probe would bear (3 failures), if it asked Vault.
    let asked = probed(shared, &old, "Liveness");
    cluster
        .until("the old pod is asked", || (probed(shared, &old, "Liveness") >= asked + 6).then_some(()))
        .await;
    assert_eq!(state(shared, &old), (true, 0), "it serves, and was not restarted");

    let deployment = format!("deployment/{}", agent.name);
    cluster.kubectl(&["--namespace", "agents", "rollout", "restart", &deployment]);
    let new = cluster.until("a new pod", || shared.pods(&agent).into_iter().find(|pod| *pod != old)).await;
    cluster.until("the new pod is asked", || (probed(shared, &new, "Liveness") >= 6).then_some(())).await;
    assert!(probed(shared, &new, "Startup") >= 1);
    assert_eq!(state(shared, &new), (false, 0), "it waits for Vault, and was not restarted");
    assert_eq!(state(shared, &old), (true, 0), "the old one serves");

    drop(hanging);
    cluster.rolled_out("agents", &agent.name);
    assert_eq!(state(shared, &new), (true, 0));
    assert_eq!(shared.identity(&agent), before);
    shared.healthy(&agent).await;
}

/// Waits until the agent says that it doesn't reach Vault.
async fn degraded(shared: &Shared, agent: &Agent) {
    let url = format!("http://{}:3773/health", shared.cluster().service("agents", &agent.name));
    let begun = std::time::Instant::now();
    loop {
        let url = url.clone();
        let (_, health): (_, Value) = shared.cluster().inside(async move { http::get(&url).await }).await;
        if health["reasons"].to_string().contains("store_unavailable") {
            return;
        }
        assert!(begun.elapsed().as_secs() < 120, "it does not notice: {health}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
