//! Who reaches what: every kind of pod against every port, with policies enforced, and once without as a control.

use crate::{Agent, Shared, everybody};
use bindu_testkit::{Cluster, cluster::Policies, install::source_tree};
use std::{collections::BTreeMap, path::Path};

/// Kinds of pods: namespace, name, labels.
const KINDS: [(&str, &str, &str); 9] = [
    ("ingress", "ingress", ""),
    ("monitoring", "prometheus", ""),
    ("agents", "agent", "app.kubernetes.io/name: bindu-agent, app.kubernetes.io/instance: visitor-agent"),
    ("agents", "no-policy", "app.kubernetes.io/name: bindu-agent"),
    ("agents", "other", ""),
    ("default", "other", ""),
    ("default", "pretender", "app.kubernetes.io/name: bindu-agent, app.kubernetes.io/instance: matrix-agent"),
    ("hydra", "other", ""),
    ("hydra", "marked", "bindu.dev/hydra-admin: \"true\""),
];

/// What docs/KUBERNETES.md promises, a letter for each port: `o` open, `-` closed. The ports are those of `targets`.
const PROMISED: [&str; 9] = [
    "o--o-oo", // the ingress reaches agents
    "-o-o-oo", // monitoring the probes' port
    "--oo-o-", // an agent Hydra's public port, the gate and Vault, and not the API server
    "o-oo-oo", // something that calls itself an agent, beside agents
    "---o-oo", // something else beside agents
    "---o-oo", // elsewhere
    "---o-oo", // elsewhere, by the name of an agent
    "---o-oo", // beside Hydra
    "---oooo", // beside Hydra, marked for the admin port
];

pub(crate) fn probe(namespace: &str, name: &str, labels: &str) -> String {
    format!(
        r#"---
apiVersion: v1
kind: Pod
metadata: {{name: probe-{name}, namespace: {namespace}, labels: {{{labels}}}}}
spec:
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  securityContext: {{runAsNonRoot: true, runAsUser: 65532, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: probe
      image: localhost/pause:1
      securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
      # Never ready: the agent's Service must not send callers here.
      readinessProbe: {{exec: {{command: [/nothing]}}, periodSeconds: 60}}
"#
    )
}

/// The address of a pod, by a label.
fn address(cluster: &Cluster, namespace: &str, label: &str) -> String {
    let pods = cluster.object(&["--namespace", namespace, "pods", "--selector", label]);
    let pods = pods["items"].as_array().unwrap();
    let is_ready = |pod: &&serde_json::Value| pod["status"]["containerStatuses"][0]["ready"] == true;
    pods.iter().find(is_ready).unwrap()["status"]["podIP"].as_str().unwrap().to_owned()
}

/// A letter for each target.
fn reach(cluster: &Cluster, namespace: &str, name: &str, targets: &[String]) -> Option<String> {
    let pod = format!("probe-{name}");
    let mut arguments = vec!["--namespace", namespace, "exec", &pod, "--", "/probe", "reach"];
    arguments.extend(targets.iter().map(String::as_str));
    let output = cluster.try_kubectl(&arguments);
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let letters: String = lines.lines().map(|line| if line.ends_with(" open") { 'o' } else { '-' }).collect();
    (letters.len() == targets.len()).then_some(letters)
}

/// Asks until it is as promised, for a minute since `begun`: rules follow a new pod a moment later. If it never is, what it is.
pub(crate) async fn settled(
    begun: std::time::Instant,
    cluster: &Cluster,
    (namespace, name): (&str, &str),
    targets: &[String],
    promised: &str,
) -> String {
    loop {
        let found = reach(cluster, namespace, name, targets);
        if found.as_deref() == Some(promised) || begun.elapsed().as_secs() > 60 {
            return found.unwrap_or_default();
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_reaches_what_is_promised_and_nothing_else() {
    let Some((_turn, shared)) = everybody().await else { return };
    let cluster = shared.cluster();
    let agent = Agent::new("matrix");
    shared.rolled_out(&agent, "");
    // Another agent, of which only the policy is wanted. (kube-router takes a policy's two directions for one where both
    // pods are its own.)
    shared.deploy(&Agent::new("visitor"), "replicas: [{name: agent, count: 0}]\n");
    let targets = targets(shared);
    cluster.apply(&KINDS.map(|(namespace, name, labels)| probe(namespace, name, labels)).concat());
    let begun = std::time::Instant::now();
    let (mut found, mut promised) = (BTreeMap::new(), BTreeMap::new());
    for ((namespace, name, _), letters) in KINDS.into_iter().zip(PROMISED) {
        let kind = format!("{namespace}/{name}");
        found.insert(kind.clone(), settled(begun, cluster, (namespace, name), &targets, letters).await);
        promised.insert(kind, letters.to_owned());
    }
    assert_eq!(found, promised, "the ports are {targets:?}");
}

fn targets(shared: &Shared) -> Vec<String> {
    let cluster = shared.cluster();
    let agent = address(cluster, "agents", "app.kubernetes.io/instance=matrix-agent");
    let gate = address(cluster, "hydra", "app.kubernetes.io/name=hydra-admin-gate");
    let hydra = address(cluster, "hydra", "app.kubernetes.io/name=hydra");
    let vault = address(cluster, "vault", "app=vault");
    [(&agent, 3773), (&agent, 3774), (&gate, 8080), (&hydra, 4444), (&hydra, 4445), (&vault, 8200)]
        .map(|(address, port)| format!("{address}:{port}"))
        .into_iter()
        .chain(["10.96.0.1:443".to_owned()])
        .collect()
}

/// Without enforcement the same policies keep nobody out: so it is they that the test above has seen.
#[tokio::test(flavor = "multi_thread")]
async fn without_enforcement_everything_is_open() {
    if !Cluster::can_run_here() {
        return;
    }
    let cluster = Cluster::start_with(Policies::Ignored, &[] as &[&Path]).await;
    let tree = source_tree().canonicalize().unwrap().join("deploy/kubernetes");
    for namespace in ["hydra", "agents"] {
        cluster.kubectl(&["create", "namespace", namespace]);
    }
    for place in ["overlays/example/echo-agent", "cluster/hydra-admin-gate/registering"] {
        let rendered = cluster.kubectl(&["kustomize", &tree.join(place).display().to_string()]);
        let policies: Vec<_> =
            rendered.split("---\n").filter(|part| part.contains("kind: NetworkPolicy\n")).collect();
        assert!(!policies.is_empty(), "{rendered}");
        cluster.apply(&policies.join("---\n"));
    }
    // Their ports, without the programs.
    let listen = |namespace: &str, name: &str, label: &str, ports: &str| {
        probe(namespace, name, label).replace(
            "image: localhost/pause:1",
            &format!("image: localhost/pause:1\n      args: [listen, {ports}]"),
        )
    };
    let labels = "app.kubernetes.io/name: bindu-agent, app.kubernetes.io/instance: echo-agent";
    let pods = [
        listen("agents", "agent", labels, "\"3773\", \"3774\""),
        listen("hydra", "gate", "app.kubernetes.io/name: hydra-admin-gate", "\"8080\""),
        listen("hydra", "hydra", "app.kubernetes.io/name: hydra", "\"4444\", \"4445\""),
        probe("default", "other", ""),
    ];
    for (namespace, account) in [("agents", "default"), ("hydra", "default"), ("default", "default")] {
        let has_account = || {
            cluster
                .try_kubectl(&["--namespace", namespace, "get", "serviceaccount", account])
                .status
                .success()
        };
        cluster.until("a namespace has its account", || has_account().then_some(())).await;
    }
    cluster.apply(&pods.concat());
    let place = |namespace: &str, name: &str| {
        let pod = cluster.object(&["--namespace", namespace, "pod", &format!("probe-{name}")]);
        let runs = pod["status"]["phase"] == "Running";
        runs.then(|| pod["status"]["podIP"].as_str().map(str::to_owned)).flatten()
    };
    let mut targets = Vec::new();
    for (namespace, name, port) in [
        ("agents", "agent", 3773),
        ("agents", "agent", 3774),
        ("hydra", "gate", 8080),
        ("hydra", "hydra", 4445),
    ] {
        let address = cluster.until("a pod runs", || place(namespace, name)).await;
        targets.push(format!("{address}:{port}"));
    }
    cluster.until("the probe runs", || place("default", "other")).await;
    assert_eq!(
        settled(std::time::Instant::now(), &cluster, ("default", "other"), &targets, "oooo").await,
        "oooo"
    );
}
