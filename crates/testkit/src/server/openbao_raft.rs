//! OpenBao as it runs in production: raft storage, sealed at its start, one node or several.

use super::process::{ServerProcess, until_ok};
use crate::{http, install, ports};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A running cluster with a KV v2 mount at `secret`.
pub struct RaftOpenBao {
    /// The nodes' addresses, the leader's first.
    pub urls: Vec<String>,
    /// The root token.
    pub token: String,
    unseal_key: String,
    _nodes: Vec<(ServerProcess, TempDir)>,
}

impl RaftOpenBao {
    /// Starts, initialises and unseals a cluster of this many nodes.
    pub async fn start(nodes: usize) -> Self {
        let (mut urls, mut processes) = (Vec::new(), Vec::new());
        for number in 0..nodes {
            let (url, process) = node(number).await;
            urls.push(url);
            processes.push(process);
        }
        let leader = urls.first().expect("one node at least").clone();
        let parameters = json!({"secret_shares": 1, "secret_threshold": 1});
        let (status, secrets) = send("", "PUT", &leader, "sys/init", Some(parameters)).await;
        assert_eq!(status, 200, "{secrets}");
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let (unseal_key, token) = (text(&secrets["keys"][0]), text(&secrets["root_token"]));
        let bao = Self { urls, token, unseal_key, _nodes: processes };
        bao.unseal().await;
        let mount = json!({"type": "kv", "options": {"version": "2"}});
        let (status, body) = bao.call("POST", "sys/mounts/secret", Some(mount)).await;
        assert_eq!(status, 204, "{body}");
        for url in bao.urls.iter().skip(1) {
            let join = json!({"leader_api_addr": leader});
            let (status, body) = send("", "POST", url, "sys/storage/raft/join", Some(join)).await;
            assert_eq!(status, 200, "{body}");
            bao.unseal_node(url).await;
        }
        for url in &bao.urls {
            http::eventually("the mount is there", async || {
                let (status, _) = send(&bao.token, "GET", url, "secret/config", None).await;
                (status == 200).then_some(())
            })
            .await;
        }
        bao
    }

    /// Seals the leader.
    pub async fn seal(&self) {
        let (status, body) = self.call("PUT", "sys/seal", None).await;
        assert_eq!(status, 204, "{body}");
    }

    /// Unseals the leader, and waits until it works.
    pub async fn unseal(&self) {
        let leader = self.urls.first().expect("one node at least");
        self.unseal_node(leader).await;
        http::eventually("it leads", async || {
            let (status, _) = send("", "GET", leader, "sys/health", None).await;
            (status == 200).then_some(())
        })
        .await;
    }

    async fn unseal_node(&self, url: &str) {
        // Right after a join the node does not know yet that there is something to unseal.
        http::eventually("the node is unsealed", async || {
            let _ = send("", "PUT", url, "sys/unseal", Some(json!({"key": self.unseal_key}))).await;
            let (_, state) = send("", "GET", url, "sys/seal-status", None).await;
            (state["sealed"] == false).then_some(())
        })
        .await;
    }

    /// A backup of everything, as `bao operator raft snapshot save` makes it.
    ///
    /// # Panics
    /// Where it gives none.
    pub async fn snapshot(&self) -> Vec<u8> {
        let answer = self.snapshot_request(reqwest::Method::GET).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.bytes().await.expect("the whole snapshot").to_vec()
    }

    /// Goes back to a backup, and waits until it works.
    ///
    /// # Panics
    /// Where it does not take it.
    pub async fn restore(&self, snapshot: &[u8]) {
        let request = self.snapshot_request(reqwest::Method::POST).body(snapshot.to_vec());
        let status = request.send().await.expect("an answer").status();
        assert!(status.is_success(), "{status}");
        http::eventually("it works again", async || {
            let (status, _) = self.call("GET", "secret/config", None).await;
            (status == 200).then_some(())
        })
        .await;
    }

    fn snapshot_request(&self, method: reqwest::Method) -> reqwest::RequestBuilder {
        let url = format!("{}/v1/sys/storage/raft/snapshot", self.urls.first().expect("one node at least"));
        http::client().request(method, url).header("X-Vault-Token", &self.token)
    }

    /// Sends a request to the leader with the root token.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> http::Answer {
        send(&self.token, method, self.urls.first().expect("one node at least"), path, body).await
    }

    /// The current version of a record and its fields, by the leader.
    pub async fn record(&self, path: &str) -> Option<(u64, Value)> {
        let (status, body) = self.call("GET", &format!("secret/data/bindu/{path}"), None).await;
        (status == 200).then(|| {
            (body["data"]["metadata"]["version"].as_u64().unwrap_or(0), body["data"]["data"].clone())
        })
    }
}

async fn node(number: usize) -> (String, (ServerProcess, TempDir)) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let port = ports::free_pair();
    let data = directory.path().join("raft");
    std::fs::create_dir(&data).expect("a directory in a temporary one");
    let url = format!("http://127.0.0.1:{port}");
    // JSON is one of the two forms of its configuration.
    let mut config = json!({
        "storage": {"raft": {"path": data, "node_id": format!("node-{number}")}},
        "listener": {"tcp": {"address": format!("127.0.0.1:{port}"), "cluster_address": format!("127.0.0.1:{}", port + 1), "tls_disable": true}},
        "api_addr": url,
        "cluster_addr": format!("https://127.0.0.1:{}", port + 1),
    });
    if std::env::var_os("BINDU_VAULT").is_some() {
        // HashiCorp Vault insists on a word about it; OpenBao has no such thing.
        config["disable_mlock"] = json!(true);
    }
    let path = directory.path().join("openbao.json");
    std::fs::write(&path, config.to_string()).expect("a file in a temporary directory");
    let arguments = ["server".to_owned(), "-config".to_owned(), path.display().to_string()];
    let log = directory.path().join("openbao.log");
    let process = ServerProcess::start(&install::openbao(), &arguments, &[], &log);
    until_ok(&format!("{url}/v1/sys/seal-status"), &log).await;
    (url, (process, directory))
}

async fn send(token: &str, method: &str, url: &str, path: &str, body: Option<Value>) -> http::Answer {
    let method = method.parse().expect("a method");
    let request = http::client().request(method, format!("{url}/v1/{path}")).header("X-Vault-Token", token);
    http::answer(match body {
        Some(body) => request.body(body.to_string()),
        None => request,
    })
    .await
}
