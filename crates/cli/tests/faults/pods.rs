//! Pods: the program in a root directory of its own, with the settings, mounts and service account that the manifests in
//! deploy/kubernetes give it, and nothing that lasts.

use crate::{AUTHOR, Names, agent, public_key};
use bindu_testkit::{
    AgentProcess, AgentSetup, Hydra, OpenBao, http, install,
    kubernetes::{ANY_AUTHORITY, Kubernetes},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// What runs in a pod: `$0` is its root, which is read-only, `$1` the program. Memory of its own where the `emptyDir` is.
const CONTAINER: &str = r#"
mount --bind "$0" "$0"
for directory in usr lib lib64; do
  if [ -L "/$directory" ]; then ln -sfn "$(readlink "/$directory")" "$0/$directory"; else mkdir -p "$0/$directory" && mount --rbind "/$directory" "$0/$directory"; fi
done
mount -t tmpfs -o size=8m,mode=0700 tmpfs "$0$EMPTY_DIR"
touch "$0/bindu" && mount --bind "$1" "$0/bindu"
mount -o remount,bind,ro "$0"
if touch "$0/written" 2>/dev/null; then echo "the root is not read-only" >&2; exit 99; fi
shift
exec chroot "$0" /bindu "$@"
"#;

/// What Kustomize makes of the example's echo agent.
struct Manifests {
    environment: BTreeMap<String, String>,
    namespace: String,
    account: String,
    audience: String,
    /// Where its volumes are mounted, by name.
    mounts: BTreeMap<String, String>,
}

impl Manifests {
    fn render() -> Self {
        let tools = install::cluster_tools();
        let overlay = install::source_tree().join("deploy/kubernetes/overlays/example/echo-agent");
        let rendered =
            Command::new(tools.join("lib/bin/kubectl")).arg("kustomize").arg(overlay).output().unwrap();
        assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
        let convert = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))";
        let mut python = Command::new("python3")
            .args(["-c", convert])
            .env("PYTHONPATH", tools.join("lib"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        python.stdin.take().unwrap().write_all(&rendered.stdout).unwrap();
        let all: Value = serde_json::from_slice(&python.wait_with_output().unwrap().stdout).unwrap();
        let all = all.as_array().unwrap();
        let of_kind = |kind: &str| all.iter().find(|resource| resource["kind"] == kind).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let map = of_kind("ConfigMap");
        let pod = &of_kind("Deployment")["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(container["envFrom"][0]["configMapRef"]["name"], map["metadata"]["name"], "its settings");
        let volume = |name: &str| {
            let volumes = pod["volumes"].as_array().unwrap();
            volumes.iter().find(|volume| volume["name"] == name).unwrap().clone()
        };
        let token = &volume("vault-token")["projected"]["sources"][0]["serviceAccountToken"];
        let mounts = container["volumeMounts"].as_array().unwrap().iter();
        let variables = map["data"].as_object().unwrap().iter();
        Self {
            environment: variables.map(|(name, value)| (name.clone(), text(value))).collect(),
            namespace: text(&of_kind("Deployment")["metadata"]["namespace"]),
            account: text(&pod["serviceAccountName"]),
            audience: text(&token["audience"]),
            mounts: mounts.map(|mount| (text(&mount["name"]), text(&mount["mountPath"]))).collect(),
        }
    }

    fn names(&self) -> Names {
        let (author, name) = (&self.environment["BINDU_AUTHOR"], &self.environment["BINDU_NAME"]);
        let id = bindu_identity::AgentId::derive(author, name);
        let named = bindu_identity::AgentName { author: author.clone(), name: name.clone() };
        let did = bindu_identity::Did::bindu(&named, id).to_string();
        Names { name: name.clone(), id: id.to_string(), did }
    }
}

struct Cluster {
    manifests: Manifests,
    bao: OpenBao,
    hydra: Hydra,
    kubernetes: Kubernetes,
    disk: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let (bao, hydra) = (OpenBao::start_with_tls().await, Hydra::start().await);
        let (kubernetes, disk) = (Kubernetes::start().await, tempfile::tempdir().unwrap());
        let cluster = Self { manifests: Manifests::render(), bao, hydra, kubernetes, disk };
        cluster.set_up();
        cluster
    }

    /// As docs/KUBERNETES.md has it.
    fn set_up(&self) {
        let Manifests { environment, namespace, account, audience, .. } = &self.manifests;
        let ca = self.disk.path().join("kubernetes-ca.pem");
        fs::write(&ca, ANY_AUTHORITY).unwrap();
        let account = format!("{namespace}/{account}");
        let arguments = [
            "vault",
            "setup",
            "--apply",
            "--protect",
            "--auth",
            "kubernetes",
            "--role",
            &environment["VAULT__ROLE"],
            "--service-account",
            &account,
            "--audience",
            audience,
            "--kubernetes-host",
            &self.kubernetes.url,
            "--kubernetes-ca",
            ca.to_str().unwrap(),
        ];
        let shell = agent(self.disk.path()).named(&environment["BINDU_AUTHOR"], &environment["BINDU_NAME"]);
        let shell = shell.set("VAULT_ADDR", &self.bao.url).set("VAULT_TOKEN", &self.bao.token);
        let shell = shell.set("VAULT_CACERT", self.bao.file("vault-ca.pem").display().to_string());
        let (code, steps, told) = shell.command(&arguments).output();
        assert_eq!(code, 0, "{steps}{told}");
    }

    /// A pod: a new root, a new token of an account that may have been made again, memory for its data.
    fn pod(&self, number: usize) -> AgentSetup {
        let manifests = &self.manifests;
        let root = self.disk.path().join(format!("pod-{number}"));
        let place = |mount: &str| -> PathBuf {
            let place = root.join(manifests.mounts[mount].trim_start_matches('/'));
            fs::create_dir_all(&place).unwrap();
            place
        };
        let token =
            self.kubernetes.token((&manifests.namespace, &manifests.account), &manifests.audience, 3600);
        fs::write(place("vault-token").join("token"), token).unwrap();
        fs::copy(self.bao.file("vault-ca.pem"), place("vault-ca").join("ca.crt")).unwrap();
        place("data");
        let container = ["--user", "--map-root-user", "--mount", "sh", "-euc", CONTAINER].map(str::to_owned);
        let container = [container.to_vec(), vec![root.display().to_string()]].concat();
        let pod = agent(self.disk.path()).under(Path::new("unshare"), container);
        let own = pod.port();
        let pod = pod.set_all(manifests.environment.clone()).set("EMPTY_DIR", &manifests.mounts["data"]);
        // Names and ports of services, which only a cluster has; everything else is as it is written there.
        let pod = pod
            .set("BINDU_PORT", own.to_string())
            .set("BINDU_PROBE_LISTEN", format!("127.0.0.1:{}", own + 1));
        let pod = pod.set("VAULT_ADDR", &self.bao.url).set("HYDRA__ADMIN_URL", &self.hydra.admin_url);
        pod.set("HYDRA__PUBLIC_URL", &self.hydra.public_url)
    }
}

async fn ready(pod: &AgentProcess, port: u16) {
    let probe = format!("http://127.0.0.1:{}/readyz", port + 1);
    http::eventually("the pod is ready", async || (http::get(&probe).await.0 == 200).then_some(())).await;
    http::healthy(&pod.url).await;
}

/// Twenty pods of the example in deploy/kubernetes, one after the other, each killed with everything that it has on its
/// disk: once it serves, or at some moment of its start. The first makes the identity, the others may not
/// (`BINDU_ON_ABSENT=refuse`).
///
/// Promise: one key, one client, each record written once, whoever is killed when.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_pods_of_the_manifests() {
    let cluster = Cluster::start().await;
    let names = cluster.manifests.names();
    assert_ne!(cluster.manifests.environment["BINDU_AUTHOR"], AUTHOR, "it is the manifests' agent");
    let mut key = None;
    for number in 0..20 {
        let on_absent = if number == 0 { "create" } else { "refuse" };
        let setup = cluster.pod(number).set("BINDU_ON_ABSENT", on_absent);
        if number % 4 == 3 {
            let pod = setup.spawn();
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..150))).await;
            pod.kill();
            continue;
        }
        let pod = setup.start().await;
        ready(&pod, setup.port()).await;
        let shown = public_key(&pod.url, &names.did).await;
        assert_eq!(key.get_or_insert_with(|| shown.clone()), &shown, "pod {number}");
        pod.kill();
    }
    let (version, _) = cluster.bao.record(&names.keys_path()).await.expect("keys");
    let (rewritten, credentials) = cluster.bao.record(&names.credentials_path()).await.expect("credentials");
    assert_eq!((version, rewritten), (1, 1), "each record was written once");
    let clients = cluster.hydra.clients().await;
    assert_eq!(clients, std::slice::from_ref(&names.did), "one client");
    let client = cluster.hydra.client(&names.did).await.unwrap();
    assert_eq!(client["metadata"]["public_key"].as_str(), key.as_deref());
    let secret = credentials["client_secret"].as_str().unwrap();
    assert_eq!(cluster.hydra.token(&names.did, secret).await.0, 200);
}
