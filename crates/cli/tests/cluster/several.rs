//! More than one replica without a shared task store: refused, unless somebody says that polls may miss. With one: let in.

use crate::{Agent, everybody, replicas};
use bindu_testkit::install;

#[tokio::test(flavor = "multi_thread")]
async fn several_replicas_are_refused_until_somebody_accepts_local_tasks() {
    let Some((_turn, shared)) = everybody().await else { return };
    let cluster = shared.cluster();
    let agent = Agent::new("several");
    shared.rolled_out(&agent, "");
    let deployment = format!("deployment/{}", agent.name);

    // The overlay, `kubectl scale` and the chart each refuse, and say what to do.
    let overlay = shared.path("kubernetes/overlays").join(&agent.name);
    let kustomization = std::fs::read_to_string(overlay.join("kustomization.yaml")).unwrap();
    let more = format!("{kustomization}replicas: [{{name: agent, count: 2}}]\n");
    std::fs::write(overlay.join("kustomization.yaml"), &more).unwrap();
    let refused = |output: std::process::Output, hint: &str| {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && why.contains(hint), "{why}");
    };
    let applied = cluster.try_kubectl(&["apply", "--kustomize", &overlay.display().to_string()]);
    refused(applied, "components/local-tasks");
    refused(
        cluster.try_kubectl(&["--namespace", "agents", "scale", &deployment, "--replicas=2"]),
        "in its Deployment",
    );
    let mut chart = cluster.command(install::cluster_tools().join("helm"));
    chart.args(["template", "several"]).arg(shared.path("helm/bindu-agent"));
    chart.args(["--set", "agent.name=x,agent.author=y,replicas=2"]);
    refused(chart.output().unwrap(), "tasks.local=true");
    assert_eq!(shared.pods(&agent).len(), 1);

    // A task store that they share needs nobody's consent: the cluster would take it.
    let shared_store = format!("{more}components: [../../components/postgres]\n");
    std::fs::write(overlay.join("kustomization.yaml"), shared_store).unwrap();
    let path = overlay.display().to_string();
    let admitted = cluster.try_kubectl(&["apply", "--dry-run=server", "--kustomize", &path]);
    assert!(admitted.status.success(), "{}", String::from_utf8_lossy(&admitted.stderr));

    // Somebody accepts it; from then on the number may change in any way.
    shared.deploy(&agent, &replicas(2));
    cluster.rolled_out("agents", &agent.name);
    cluster.kubectl(&["--namespace", "agents", "scale", &deployment, "--replicas=3"]);
    cluster.rolled_out("agents", &agent.name);
    cluster.until("three pods", || (shared.pods(&agent).len() == 3).then_some(())).await;
    shared.identity(&agent);
    // What is nobody's agent is nobody's business.
    cluster.kubectl(&["--namespace", "hydra", "scale", "deployment/hydra-admin-gate", "--replicas=3"]);
    cluster.kubectl(&["--namespace", "hydra", "scale", "deployment/hydra-admin-gate", "--replicas=2"]);
    let mut with_store = cluster.command(install::cluster_tools().join("helm"));
    with_store.args(["template", "several"]).arg(shared.path("helm/bindu-agent"));
    with_store.args(["--set", "agent.name=x,agent.author=y,replicas=2,database.existingSecret=database"]);
    let rendered = with_store.output().unwrap();
    assert!(String::from_utf8_lossy(&rendered.stdout).contains("name: DATABASE_URL"));
    chart.args(["--set", "tasks.local=true"]);
    let rendered = chart.output().unwrap();
    assert!(String::from_utf8_lossy(&rendered.stdout).contains("bindu.dev/tasks: local"));
}
