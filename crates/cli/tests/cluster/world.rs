//! The cluster that the tests share, and agents in it.

use crate::callers::handler_image;
use bindu_testkit::{
    Cluster,
    cluster::{Platform, Policies, agent_image},
    http,
    install::{self, source_tree},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A cluster with Vault, Hydra, the gate and the namespace `agents`: docs/KUBERNETES.md up to "Deploy".
pub(crate) struct Shared {
    pub(crate) platform: Platform,
    /// A directory with a copy of deploy/, to which overlays can be added. It ends with the cluster, as this value never does.
    tree: PathBuf,
}

static SHARED: OnceCell<Shared> = OnceCell::const_new();
static TURNS: RwLock<()> = RwLock::const_new(());

/// The cluster, beside other tests; nothing if this machine can't have one.
pub(crate) async fn everybody() -> Option<(RwLockReadGuard<'static, ()>, &'static Shared)> {
    if !Cluster::can_run_here() {
        return None;
    }
    let turn = TURNS.read().await;
    Some((turn, SHARED.get_or_init(Shared::start).await))
}

/// The cluster, with no other test beside this one.
pub(crate) async fn nobody_else() -> Option<(RwLockWriteGuard<'static, ()>, &'static Shared)> {
    if !Cluster::can_run_here() {
        return None;
    }
    let turn = TURNS.write().await;
    Some((turn, SHARED.get_or_init(Shared::start).await))
}

impl Shared {
    async fn start() -> Self {
        let binary = Path::new(env!("CARGO_BIN_EXE_bindu"));
        let images = tempfile::tempdir().unwrap();
        let (plain, with_handler) = (images.path().join("plain.tar"), images.path().join("with-handler.tar"));
        agent_image(binary, &plain);
        handler_image(binary, &with_handler);
        let platform = Platform::start_with(Policies::Enforced, &[&plain, &with_handler]).await;
        let tree = platform.cluster.path("tree");
        fs::create_dir(&tree).unwrap();
        let shared = Self { platform, tree };
        install::run(Command::new("cp").arg("-r").arg(source_tree().join("deploy")).arg(&shared.tree));
        shared.platform.prepare(&shared.path(""));
        shared
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.platform.cluster
    }

    /// Something of the copy of deploy/.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.tree.join("deploy").join(name)
    }

    /// Lets a service account be an agent.
    pub(crate) fn introduce(&self, agent: &Agent) {
        // One after the other, as a person does it: of two that make the mount at the same time, one is refused.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let binary = Path::new(env!("CARGO_BIN_EXE_bindu"));
        self.platform.introduce(binary, &agent.name, &agent.title, AUTHOR);
    }

    /// Writes an overlay like those of the example, and applies it. `more` goes to the end of its kustomization.
    pub(crate) fn deploy(&self, agent: &Agent, more: &str) {
        let directory = self.path("kubernetes/overlays").join(&agent.name);
        fs::create_dir_all(&directory).unwrap();
        let name = &agent.name;
        let kustomization = format!(
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: agents\n\
             namePrefix: {}\nresources: [../../base]\nlabels:\n  - includeSelectors: true\n    includeTemplates: true\n    \
             pairs: {{app.kubernetes.io/instance: {name}}}\n\
             configMapGenerator:\n  - name: settings\n    behavior: merge\n    envs: [settings.env]\n{more}",
            name.strip_suffix("agent").unwrap(),
        );
        fs::write(directory.join("kustomization.yaml"), kustomization).unwrap();
        let settings = format!(
            "BINDU_NAME={}\nBINDU_AUTHOR={AUTHOR}\nBINDU_DEPLOYMENT_URL=https://{name}.example.com\nVAULT__ROLE=bindu-{name}\n{}",
            agent.title, agent.settings
        );
        fs::write(directory.join("settings.env"), settings).unwrap();
        self.cluster().kubectl(&["apply", "--kustomize", &directory.display().to_string()]);
    }

    /// Introduces an agent, deploys it and waits for it.
    pub(crate) fn rolled_out(&self, agent: &Agent, more: &str) {
        self.introduce(agent);
        self.deploy(agent, more);
        self.cluster().rolled_out("agents", &agent.name);
    }

    /// The agent's pods that run and are not on their way out, by name.
    pub(crate) fn pods(&self, agent: &Agent) -> Vec<String> {
        let selector =
            format!("app.kubernetes.io/name=bindu-agent,app.kubernetes.io/instance={}", agent.name);
        let list = self.cluster().object(&["--namespace", "agents", "pods", "--selector", &selector]);
        let pods = list["items"].as_array().unwrap().iter();
        pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// A pod's object.
    pub(crate) fn pod(&self, name: &str) -> Value {
        self.cluster().object(&["--namespace", "agents", "pod", name])
    }

    /// The pods' own words for who they are: DID, key and the record's version, each once.
    pub(crate) fn identities(&self, agent: &Agent) -> Vec<Value> {
        let mut found = Vec::new();
        for pod in self.pods(agent) {
            let shown = self.execute(&pod, &["identity", "show", "--output", "json"]);
            let shown: Value = serde_json::from_str(&shown).unwrap();
            if !found.contains(&shown) {
                found.push(shown);
            }
        }
        found
    }

    /// The one identity that all of the agent's pods have.
    pub(crate) fn identity(&self, agent: &Agent) -> Value {
        let mut identities = self.identities(agent);
        assert_eq!(identities.len(), 1, "one identity: {identities:?}");
        identities.remove(0)
    }

    /// How many of the agent's pods are ready.
    pub(crate) fn ready(&self, agent: &Agent) -> usize {
        self.pods(agent).iter().filter(|pod| is_ready(&self.pod(pod))).count()
    }

    /// Asks for a pod's eviction, as a drain does.
    pub(crate) fn evict(&self, pod: &str) -> Output {
        let body = serde_json::json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "agents"},
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), body.to_string()).unwrap();
        let path = format!("/api/v1/namespaces/agents/pods/{pod}/eviction");
        let file = file.path().display().to_string();
        self.cluster().try_kubectl(&["create", "--raw", &path, "--filename", &file])
    }

    /// SIGKILL to the agent's process, as the kernel sends it when memory is short.
    pub(crate) fn kill(&self, pod: &str) {
        self.of_process(pod, "kill -9 ${PWD#/proc/}");
    }

    /// Runs a line of bash on the node in the directory of an agent's process in /proc; what it has printed.
    pub(crate) fn of_process(&self, pod: &str, line: &str) -> String {
        let uid = self.pod(pod)["metadata"]["uid"].as_str().unwrap().to_owned();
        let script = format!(
            "for group in $(grep -l pod{uid} /proc/[0-9]*/cgroup); do\n\
               directory=${{group%/cgroup}}\n\
               if [ \"$(cat $directory/comm)\" = bindu ]; then cd $directory && {line}; exit; fi\n\
             done; exit 1"
        );
        install::run(self.cluster().command("bash").args(["-c", &script]))
    }

    /// Runs `bindu` in a pod; what it has printed.
    pub(crate) fn execute(&self, pod: &str, arguments: &[&str]) -> String {
        let arguments = [&["--namespace", "agents", "exec", pod, "--", "bindu"], arguments].concat();
        self.cluster().kubectl(&arguments)
    }

    /// What a Deployment's pods have logged.
    pub(crate) fn logs(&self, agent: &Agent) -> String {
        let selector = format!("app.kubernetes.io/instance={}", agent.name);
        let arguments = ["--namespace", "agents", "logs", "--selector", &selector, "--tail=-1", "--prefix"];
        self.cluster().kubectl(&arguments)
    }

    /// The ids of this agent's clients in Hydra.
    pub(crate) async fn clients(&self, did: &str) -> usize {
        let all = self.platform.hydra.clients(self.cluster()).await;
        all.iter().filter(|id| *id == did).count()
    }

    /// Waits until the agent, asked through its Service, says that nothing is the matter.
    pub(crate) async fn healthy(&self, agent: &Agent) {
        let url = format!("http://{}:3773/health", self.cluster().service("agents", &agent.name));
        let begun = Instant::now();
        loop {
            let url = url.clone();
            // Where a pod was just replaced, packets take a moment to find the other one.
            let asked = async move { http::client().get(url).send().await.ok()?.text().await.ok() };
            let answer = self.cluster().inside(asked).await.unwrap_or_default();
            let health: Value = serde_json::from_str(&answer).unwrap_or_default();
            if health["health"] == "healthy" {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{} is not well: {answer}", agent.name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Does a pod say that it can serve?
pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

/// The part of an overlay that makes it several replicas, and says what that means.
pub(crate) fn replicas(count: usize) -> String {
    format!("replicas: [{{name: agent, count: {count}}}]\ncomponents: [../../components/local-tasks]\n")
}

pub(crate) const AUTHOR: &str = "alice@example.com";

/// An agent of a test's own.
pub(crate) struct Agent {
    /// In Kubernetes: it ends in `agent`.
    pub(crate) name: String,
    /// To others.
    pub(crate) title: String,
    /// Further settings.
    pub(crate) settings: String,
}

impl Agent {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("{name}-agent");
        Self { title: format!("The {name}"), name, settings: String::new() }
    }

    pub(crate) fn with(mut self, setting: &str) -> Self {
        self.settings += setting;
        self.settings += "\n";
        self
    }
}
