//! The alerts on a real Prometheus that scrapes real agents as the ServiceMonitor says: each metric, label and reason that an
//! expression names is there, and a real outage rings.

use crate::{Agent, Shared, nobody_else, probes::Hanging};
use bindu_testkit::{http, install};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    process::{Child, Stdio},
};

/// A Prometheus in the cluster's network.
struct Prometheus<'a> {
    shared: &'a Shared,
    process: Child,
}

impl<'a> Prometheus<'a> {
    /// Starts one with the rules and the monitor that are in the cluster. Its alerts ring at once, not `for` minutes later:
    /// alerts_test.yaml is about those.
    fn start(shared: &'a Shared) -> Self {
        let cluster = shared.cluster();
        let monitoring = ["--namespace", "monitoring"];
        let get = |kind: &str, name: &str| cluster.object(&[&monitoring[..], &[kind, name]].concat());
        let mut rules = get("prometheusrule", "bindu-agents")["spec"].clone();
        for group in rules["groups"].as_array_mut().unwrap() {
            for rule in group["rules"].as_array_mut().unwrap() {
                rule.as_object_mut().unwrap().remove("for");
            }
        }
        let scrape = as_the_operator_does(&get("servicemonitor", "bindu-agents")["spec"], cluster);
        let directory = cluster.path("prometheus");
        fs::create_dir(&directory).unwrap();
        // JSON is YAML, too.
        fs::write(directory.join("rules.yaml"), rules.to_string()).unwrap();
        let configuration = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"], "scrape_configs": [scrape],
        });
        let file = directory.join("prometheus.yaml");
        fs::write(&file, configuration.to_string()).unwrap();
        let log = fs::File::create(directory.join("log")).unwrap();
        let mut command = cluster.command(install::prometheus().join("prometheus"));
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.join("data").display()));
        command.arg("--web.listen-address=127.0.0.1:9090");
        let process =
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { shared, process }
    }

    async fn ask(&self, path: &str, query: &str) -> Value {
        let query: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let url = format!("http://127.0.0.1:9090/api/v1/{path}?query={query}");
        let asked = async move { http::client().get(url).send().await.ok()?.text().await.ok() };
        let answer = self.shared.cluster().inside(asked).await.unwrap_or_default();
        serde_json::from_str::<Value>(&answer).unwrap_or_default()["data"].clone()
    }

    /// The labels of all series that a query finds.
    async fn series(&self, query: &str) -> Vec<Value> {
        let found = self.ask("query", query).await;
        let all = found["result"].as_array().into_iter().flatten();
        all.map(|one| one["metric"].clone()).collect()
    }

    /// Waits until a query finds something, or nothing.
    async fn until(&self, query: &str, is_found: bool) {
        let begun = std::time::Instant::now();
        loop {
            let found = self.ask("query", query).await;
            if found["result"].as_array().is_some_and(|all| all.is_empty() != is_found) {
                return;
            }
            if begun.elapsed().as_secs() > 120 {
                let log = fs::read_to_string(self.shared.cluster().path("prometheus/log")).unwrap();
                let alerts = self.ask("alerts", "").await;
                panic!("{query}: {found}\n{alerts}\n{log}");
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        // The program itself ends with the cluster: this is who has called it there.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the Prometheus operator makes of a ServiceMonitor.
fn as_the_operator_does(monitor: &Value, cluster: &bindu_testkit::Cluster) -> Value {
    let label = |name: &str| name.replace(['.', '/', '-'], "_");
    assert_eq!(monitor["namespaceSelector"]["any"], true);
    let endpoint = &monitor["endpoints"][0];
    let mut relabel = Vec::new();
    for (name, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
        let source = format!("__meta_kubernetes_service_label_{}", label(name));
        relabel.push(json!({"source_labels": [source], "regex": value, "action": "keep"}));
    }
    let port = "__meta_kubernetes_endpoint_port_name";
    relabel.push(json!({"source_labels": [port], "regex": endpoint["port"], "action": "keep"}));
    for (source, target) in [("namespace", "namespace"), ("service_name", "service"), ("pod_name", "pod")] {
        let source = format!("__meta_kubernetes_{source}");
        relabel.push(json!({"source_labels": [source], "target_label": target}));
    }
    let job = format!("__meta_kubernetes_service_label_{}", label(monitor["jobLabel"].as_str().unwrap()));
    relabel.push(json!({"source_labels": [job], "target_label": "job"}));
    json!({
        "job_name": "monitoring/bindu-agents", "metrics_path": endpoint["path"], "relabel_configs": relabel,
        "kubernetes_sd_configs": [{"role": "endpoints", "kubeconfig_file": cluster.kubeconfig()}],
    })
}

/// All selectors of an expression, as Prometheus has parsed it.
fn selectors(node: &Value) -> Vec<&Value> {
    let below = match node {
        Value::Array(all) => all.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    };
    let own = matches!(node["type"].as_str(), Some("vectorSelector" | "matrixSelector")).then_some(node);
    own.into_iter().chain(below.into_iter().flat_map(selectors)).collect()
}

/// The labels that an expression groups or matches by, each with the selectors that must have it.
fn labels(node: &Value) -> Vec<(String, Vec<&Value>)> {
    let mut found = Vec::new();
    let by = match node["type"].as_str() {
        Some("aggregation") if node["without"] == false => &node["grouping"],
        Some("binaryExpr") if node["matching"]["on"] == true => &node["matching"]["labels"],
        _ => &Value::Null,
    };
    for label in by.as_array().into_iter().flatten() {
        found.push((label.as_str().unwrap().to_owned(), selectors(node)));
    }
    let below: Vec<&Value> = match node {
        Value::Array(all) => all.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    };
    found.extend(below.into_iter().flat_map(labels));
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alert_reads_what_agents_have_and_an_outage_rings() {
    let Some((_turn, shared)) = nobody_else().await else { return };
    let cluster = shared.cluster();
    let kustomization = shared.path("kubernetes/cluster/monitoring").display().to_string();
    cluster.kubectl(&["apply", "--kustomize", &kustomization]);
    // With tasks in a file, so that it has the figures of one.
    let agent = Agent::new("watched").with("BINDU_RECONCILE_INTERVAL=1s");
    let agent = agent.with("STORAGE_TYPE=sqlite").with("BINDU_STORAGE_MAX_BYTES=4MiB");
    shared.rolled_out(&agent, "");
    shared.healthy(&agent).await;
    signed_wrongly(shared, &agent).await;
    let prometheus = Prometheus::start(shared);
    let own = r#"namespace="agents", service="watched-agent""#;
    prometheus.until(&format!("bindu_identity_info{{{own}}}"), true).await;
    prometheus.until(&format!("ALERTS{{{own}}}"), false).await;

    // An outage, with one alert for it and no other.
    let hanging = Hanging::vault(shared);
    prometheus
        .until(&format!("ALERTS{{{own}, alertname=\"BinduVaultNotReached\", alertstate=\"firing\"}}"), true)
        .await;
    prometheus.until(&format!("bindu_reconcile_total{{{own}, outcome=\"incomplete\"}} > 0"), true).await;
    drop(hanging);
    prometheus.until(&format!("ALERTS{{{own}}}"), false).await;

    let rules = prometheus.ask("rules", "").await;
    let rules =
        rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let rules: Vec<&Value> = rules.collect();
    assert!(rules.len() >= 17, "{rules:?}");
    let mut wrong = BTreeSet::new();
    for rule in rules {
        let name = rule["name"].as_str().unwrap();
        if rule["health"] != "ok" {
            wrong.insert(format!("{name}: {}", rule["lastError"]));
        }
        let parsed = prometheus.ask("parse_query", rule["query"].as_str().unwrap()).await;
        let all = selectors(&parsed);
        assert!(!all.is_empty(), "{name}: {parsed}");
        for selector in all {
            for fault in unknown(&prometheus, selector).await {
                wrong.insert(format!("{name}: {fault}"));
            }
        }
        for (label, selectors) in labels(&parsed) {
            for selector in selectors {
                let metric = selector["name"].as_str().unwrap();
                // The metric may lie elsewhere in the cluster: an agent's own series decide.
                if prometheus.series(&format!("{metric}{{{own}, {label}!=\"\"}}")).await.is_empty() {
                    wrong.insert(format!("{name}: {metric} has no label {label}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What of a selector no agent has: the metric, or one of the values that it names.
async fn unknown(prometheus: &Prometheus<'_>, selector: &Value) -> Vec<String> {
    let metric = selector["name"].as_str().unwrap();
    let series = prometheus.series(metric).await;
    if series.is_empty() {
        return vec![format!("there is no metric {metric}")];
    }
    let mut wrong = Vec::new();
    for matcher in selector["matchers"].as_array().unwrap() {
        let (label, value) = (matcher["name"].as_str().unwrap(), matcher["value"].as_str().unwrap());
        if label == "__name__" {
            continue;
        }
        let known: BTreeSet<&str> = series.iter().filter_map(|one| one[label].as_str()).collect();
        let named: Vec<&str> = value.split('|').collect();
        // Each reason has its series from the start; others come with the first thing to count, so one of them is enough.
        let is_good = if metric == "bindu_degraded" {
            named.iter().all(|value| known.contains(value))
        } else {
            named.iter().any(|value| known.contains(value))
        };
        if !is_good {
            wrong.push(format!("{metric}: {label} is {known:?}, never {value}"));
        }
    }
    wrong
}

/// A call by somebody with a token of a DID and a signature that is none: refused, and counted as that.
async fn signed_wrongly(shared: &Shared, agent: &Agent) {
    let did = "did:bindu:mallory:nobody:00000000-0000-0000-0000-000000000000";
    let token = shared.platform.hydra.caller(shared.cluster(), did).await;
    let url = format!("http://{}:3773", shared.cluster().service("agents", &agent.name));
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs().to_string();
    let asked = async move {
        let request = http::client().post(url).header("Authorization", format!("Bearer {token}"));
        let request = request.header("X-DID", did).header("X-DID-Timestamp", now);
        let request = request.header("X-DID-Signature", "2".repeat(88));
        http::answer(request.body(http::message("wrong", "wrong").to_string())).await
    };
    let (status, refused) = shared.cluster().inside(asked).await;
    assert_eq!(status, 403, "{refused}");
}
