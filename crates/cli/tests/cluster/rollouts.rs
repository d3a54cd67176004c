//! Rolling updates while callers call: none of their calls fails.

use crate::{Agent, Shared, everybody, nobody_else};
use bindu_testkit::http;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::task::JoinHandle;

/// Callers that call an agent through its Service, one call after the other, until they are stopped.
struct Callers {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    running: Vec<JoinHandle<Vec<String>>>,
}

impl Callers {
    async fn begin(shared: &Shared, agent: &Agent, number: usize) -> Self {
        let token =
            shared.platform.hydra.caller(shared.cluster(), &format!("caller-of-{}", agent.name)).await;
        let url = format!("http://{}:3773", shared.cluster().service("agents", &agent.name));
        let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let running = (0..number)
            .map(|nth| {
                let (is_over, answered) = (Arc::clone(&is_over), Arc::clone(&answered));
                let (url, token) = (url.clone(), token.clone());
                shared.cluster().begin_inside(async move {
                    let mut failed = Vec::new();
                    let mut calls = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        calls += 1;
                        match call(&url, &token, &format!("call-{nth}-{calls}")).await {
                            Ok(()) => answered.fetch_add(1, Ordering::Relaxed),
                            Err(why) => {
                                failed.push(why);
                                0
                            }
                        };
                    }
                    failed
                })
            })
            .collect();
        Self { is_over, answered, running }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more calls were answered.
    async fn more(&self, shared: &Shared, number: u64) {
        let until = self.answered() + number;
        shared.cluster().until("calls are answered", || (self.answered() >= until).then_some(())).await;
    }

    /// What of all calls has failed.
    async fn end(self) -> Vec<String> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for caller in self.running {
            failed.extend(caller.await.expect("no caller panics"));
        }
        failed
    }
}

/// One call to its answer, on a connection of its own: a task is in the process that took it.
async fn call(url: &str, token: &str, id: &str) -> Result<(), String> {
    let client = http::client();
    let ask = async |body: Value| {
        let request =
            client.post(url).header("Authorization", format!("Bearer {token}")).body(body.to_string());
        let response = request.send().await.map_err(|error| format!("{id}: {error:?}"))?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(|error| format!("{id}: {error:?}"))?;
        if status == 200 { Ok(text) } else { Err(format!("{id}: {status} {text}")) }
    };
    ask(http::message(id, id)).await?;
    loop {
        let text = ask(http::call("tasks/get", &json!({"taskId": id}))).await?;
        let task: Value = serde_json::from_str(&text).map_err(|error| format!("{id}: {error} {text}"))?;
        match task["result"]["status"]["state"].as_str() {
            Some("completed") => return Ok(()),
            Some("submitted" | "working") => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
            _ => return Err(format!("{id}: {text}")),
        }
    }
}

fn description(shared: &Shared, agent: &Agent) -> impl Future<Output = Value> {
    let url =
        format!("http://{}:3773/.well-known/agent.json", shared.cluster().service("agents", &agent.name));
    shared.cluster().inside(async move { http::get(&url).await.1["description"].clone() })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_and_its_rollback_under_load_fail_no_call() {
    let Some((_turn, shared)) = everybody().await else { return };
    let cluster = shared.cluster();
    let agent = Agent::new("updated").with("BINDU_DESCRIPTION=the first");
    shared.rolled_out(&agent, "");
    shared.healthy(&agent).await;
    let (before, pods) = (shared.identity(&agent), shared.pods(&agent));
    let callers = Callers::begin(shared, &agent, 4).await;
    callers.more(shared, 20).await;

    // Changed settings have a ConfigMap of another name, so the pods are replaced.
    shared.deploy(&Agent::new("updated").with("BINDU_DESCRIPTION=the second"), "");
    cluster.rolled_out("agents", &agent.name);
    cluster
        .until("the first pods are gone", || {
            shared.pods(&agent).iter().all(|pod| !pods.contains(pod)).then_some(())
        })
        .await;
    let gone =
        |pod: &String| cluster.try_kubectl(&["--namespace", "agents", "get", "pod", pod]).status.success();
    cluster.until("the first pods have ended", || (!pods.iter().any(gone)).then_some(())).await;
    callers.more(shared, 20).await;
    assert_eq!(description(shared, &agent).await, "the second");
    assert_eq!(shared.identity(&agent), before);

    let deployment = format!("deployment/{}", agent.name);
    cluster.kubectl(&["--namespace", "agents", "rollout", "undo", &deployment]);
    cluster.rolled_out("agents", &agent.name);
    let second = shared.pods(&agent);
    cluster.until("one pod is left", || (shared.pods(&agent).len() == 1).then_some(())).await;
    callers.more(shared, 20).await;
    let failed = callers.end().await;
    assert!(
        failed.is_empty(),
        "{} calls have failed: {:#?}",
        failed.len(),
        failed.iter().take(5).collect::<Vec<_>>()
    );
    assert_eq!(description(shared, &agent).await, "the first", "the settings went back with it: {second:?}");
    assert_eq!(shared.identity(&agent), before);
    assert_eq!(shared.clients(before["did"].as_str().unwrap()).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_while_vault_is_sealed_waits_and_the_old_pod_serves() {
    let Some((_turn, shared)) = nobody_else().await else { return };
    let (cluster, vault) = (shared.cluster(), &shared.platform.vault);
    // Probes that lose patience at once: none of them may ask Vault.
    let agent = Agent::new("sealed").with("BINDU_RECONCILE_INTERVAL=1s");
    let probes = "patches:\n  - target: {kind: Deployment}\n    patch: |-\n      \
        - {op: replace, path: /spec/template/spec/containers/0/livenessProbe/periodSeconds, value: 1}\n      \
        - {op: replace, path: /spec/template/spec/containers/0/startupProbe/failureThreshold, value: 2}\n";
    shared.rolled_out(&agent, probes);
    shared.healthy(&agent).await;
    let (before, old) = (shared.identity(&agent), shared.pods(&agent));
    let callers = Callers::begin(shared, &agent, 2).await;
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
            let running = shared.pod(&new)["status"]["containerStatuses"][0]["state"]["running"].is_object();
            let tries = String::from_utf8_lossy(&said.stdout).matches("waiting for the store").count();
            (running && tries >= 3).then_some(())
        })
        .await;
    let state = |pod: &str| {
        let status = &shared.pod(pod)["status"]["containerStatuses"][0];
        (status["ready"].as_bool().unwrap(), status["restartCount"].as_u64().unwrap())
    };
    assert_eq!(state(&new), (false, 0), "the new one is not ready, and was not restarted");
    assert_eq!(state(&old[0]), (true, 0), "the old one serves, and was not restarted");
    callers.more(shared, 5).await;
    vault.unseal(cluster).await;
    cluster.rolled_out("agents", &agent.name);
    cluster.until("one pod is left", || (shared.pods(&agent) == [new.clone()]).then_some(())).await;
    callers.more(shared, 5).await;
    let failed = callers.end().await;
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(shared.identity(&agent), before);
}
