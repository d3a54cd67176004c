//! `cargo xtask demo --cluster`: a pod dies, and the same agent is back; its callers have seen nothing.

use bindu_testkit::{Cluster, cluster::Platform, http, install::source_tree};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

const NAME: &str = "echo-agent";

/// What is compared, and how it is called.
const ROWS: [(&str, &str); 4] = [
    ("did", "DID"),
    ("fingerprint", "key fingerprint"),
    ("version", "version of its keys in Vault"),
    ("clients", "agents' clients in Hydra"),
];

/// Runs the demo; whether the agent came back as itself and no call failed.
pub(crate) async fn run() -> bool {
    if !Cluster::can_run_here() {
        return true;
    }
    let binary = crate::release_binary();
    println!("An agent on the network is known by its DID (a name), its key (which proves the name) and its");
    println!("OAuth client (which gets it tokens). In Kubernetes its disk ends with its pod. Watch.\n");
    println!(
        "1. Starting a Kubernetes, with a Vault (OpenBao) and an OAuth server (Ory Hydra) in it. All are real."
    );
    let platform = Platform::start(&binary).await;
    let cluster = &platform.cluster;
    let deploy = source_tree().join("deploy").canonicalize().expect("the tree has it");
    platform.prepare(&deploy);
    platform.introduce(&binary, NAME, "Echo Agent", "alice@example.com");
    println!("2. kubectl apply -k deploy/kubernetes/overlays/example/echo-agent");
    let overlay = deploy.join("kubernetes/overlays/example/echo-agent").display().to_string();
    cluster.kubectl(&["apply", "--kustomize", &overlay]);
    cluster.rolled_out("agents", NAME);
    let before = sight(&platform).await;
    println!("   Its pod has started with an empty disk, and made its identity: {}", pod(cluster));

    println!("3. Somebody calls it, again and again, as a caller with a token.");
    let token = platform.hydra.caller(cluster, "somebody").await;
    let url = format!("http://{}:3773", cluster.service("agents", NAME));
    let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let calls = cluster.begin_inside(call(url, token, Arc::clone(&is_over), Arc::clone(&answered)));
    let more = async |number: u64| {
        let until = answered.load(Ordering::Relaxed) + number;
        let reached = || (answered.load(Ordering::Relaxed) >= until).then_some(());
        cluster.until("calls are answered", reached).await;
    };
    more(20).await;

    println!("4. kubectl rollout restart: another pod, with an empty disk, takes the place of the first.");
    let first = pod(cluster);
    cluster.kubectl(&["--namespace", "agents", "rollout", "restart", &format!("deployment/{NAME}")]);
    cluster.rolled_out("agents", NAME);
    let gone = || !cluster.try_kubectl(&["--namespace", "agents", "get", "pod", &first]).status.success();
    cluster.until("the first pod has ended", || gone().then_some(())).await;
    more(20).await;
    is_over.store(true, Ordering::Relaxed);
    let failed = calls.await.expect("the caller does not panic");
    println!("   {} is gone, {} serves.", first, pod(cluster));
    println!("   Calls answered meanwhile: {}; failed: {}", answered.load(Ordering::Relaxed), failed.len());

    println!("5. kubectl delete pod: nobody is asked.");
    cluster.kubectl(&["--namespace", "agents", "delete", "pod", &pod(cluster)]);
    cluster.rolled_out("agents", NAME);
    let after = sight(&platform).await;
    println!("   Back as {}\n", pod(cluster));
    let mut is_same = true;
    for (row, name) in ROWS {
        let good = before[row] == after[row] && !before[row].is_null();
        is_same &= good;
        println!("   {name:32}{:10}{}", if good { "same" } else { "DIFFERS" }, after[row]);
    }
    let is_one = after["version"] == 1 && after["clients"] == 1;
    let word = if is_same && is_one {
        "The same agent. One key, one client, nothing written twice."
    } else {
        "NOT the same agent."
    };
    println!("\n{word}");
    failed.iter().take(3).for_each(|why| println!("failed: {why}"));
    is_same && is_one && failed.is_empty()
}

/// The agent's pod that is not on its way out.
fn pod(cluster: &Cluster) -> String {
    let selector = format!("app.kubernetes.io/instance={NAME}");
    let pods = cluster.object(&["--namespace", "agents", "pods", "--selector", &selector]);
    let stays = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    stays.and_then(|pod| pod["metadata"]["name"].as_str()).unwrap_or("none").to_owned()
}

async fn sight(platform: &Platform) -> Value {
    let cluster = &platform.cluster;
    let deployment = format!("deployment/{NAME}");
    let arguments =
        ["--namespace", "agents", "exec", &deployment, "--", "bindu", "identity", "show", "--output", "json"];
    let mut shown: Value = serde_json::from_str(&cluster.kubectl(&arguments)).expect("it prints JSON");
    let did = shown["did"].as_str().unwrap_or_default().to_owned();
    // It is registered a moment after it listens.
    while platform.hydra.client(cluster, &did).await.is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let clients = platform.hydra.clients(cluster).await;
    shown["clients"] = json!(clients.iter().filter(|id| id.starts_with("did:")).count());
    shown
}

/// One call after the other; why some have failed.
async fn call(url: String, token: String, is_over: Arc<AtomicBool>, answered: Arc<AtomicU64>) -> Vec<String> {
    let mut failed = Vec::new();
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
        number += 1;
        let body = http::message(&format!("call-{number}"), "Is it you?").to_string();
        let request = http::client().post(&url).header("Authorization", format!("Bearer {token}")).body(body);
        match request.send().await {
            Ok(response) if response.status().as_u16() == 200 => {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(response) => failed.push(response.status().to_string()),
            Err(error) => failed.push(format!("{error:?}")),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    failed
}
