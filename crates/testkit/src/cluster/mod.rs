//! A real Kubernetes on one node, in namespaces of its own: API server, controllers, scheduler, kubelet, containerd, names
//! and enforced network policies, without a registry and without the internet.
//!
//! Several run side by side. Whatever becomes of the process that started one, nothing of it is left, and nothing of the
//! machine is changed (`testing/kubernetes/node.sh` says how).

mod platform;

pub use platform::{AGENT_IMAGE, Hydra, Platform, Vault, agent, agent_image, agent_image_with};

use crate::{install, oci};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use std::{
    ffi::OsStr,
    fs::{self, File},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How long a start, or one thing to happen in a cluster, may take: a busy machine is slow, not broken.
const LIMIT: Duration = Duration::from_secs(240);

/// Are NetworkPolicies of any effect?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policies {
    /// As a network that enforces them.
    Enforced,
    /// As a network that doesn't know them.
    Ignored,
}

/// A running cluster.
pub struct Cluster {
    directory: TempDir,
    keeper: Child,
    init: u32,
    /// Its threads are in the cluster's network.
    network: Option<Runtime>,
}

impl Cluster {
    /// Can this machine have one? It takes root and new namespaces.
    #[must_use]
    pub fn can_run() -> bool {
        let mut tried = Command::new("unshare");
        tried.args(["--mount", "--pid", "--fork", "--net", "--uts", "--ipc", "true"]);
        tried.stdout(Stdio::null()).stderr(Stdio::null());
        rustix::process::geteuid().is_root() && tried.status().is_ok_and(|status| status.success())
    }

    /// The same for a test, which ends if not: on somebody's own machine it says that it was skipped.
    ///
    /// # Panics
    /// In CI, if this machine can't: a skipped test proves nothing.
    #[must_use]
    pub fn can_run_here() -> bool {
        let can = Self::can_run();
        assert!(can || std::env::var_os("CI").is_none(), "the cluster's tests need root and namespaces");
        if !can {
            eprintln!("skipped: needs root");
        }
        can
    }

    /// Starts one that enforces policies. It knows these images (OCI archives) and no others.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start(images: &[&Path]) -> Self {
        Self::start_with(Policies::Enforced, images).await
    }

    /// Starts one.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start_with(policies: Policies, images: &[&Path]) -> Self {
        let (programs, tools) = (install::kubernetes(), install::node_tools());
        let directory = tempfile::Builder::new().prefix("bindu-cluster-").tempdir();
        let directory = directory.expect("a temporary directory");
        let place = directory.path().join("images");
        fs::create_dir(&place).expect("a directory in a temporary one");
        pause_image(&programs, &place.join("pause.tar"));
        for (index, image) in images.iter().enumerate() {
            // Not copied: archives are large.
            std::os::unix::fs::symlink(image, place.join(format!("{index}.tar"))).expect("a link");
        }
        let log = File::create(directory.path().join("node.log")).expect("a file in a temporary directory");
        let keeper = Command::new("bash")
            .arg(install::source_tree().canonicalize().expect("the tree").join("testing/kubernetes/keep.sh"))
            .env("DIRECTORY", directory.path())
            .env("PROGRAMS", programs)
            .env("TOOLS", tools)
            .env("POLICIES", if policies == Policies::Enforced { "1" } else { "0" })
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("bash can be started");
        let mut cluster = Self { directory, keeper, init: 0, network: None };
        cluster.until_ready().await;
        let init = fs::read_to_string(cluster.path("init")).expect("the first process is known");
        cluster.init = init.trim().parse().expect("a number");
        cluster.network = Some(network(cluster.init));
        cluster
    }

    async fn until_ready(&mut self) {
        let begun = Instant::now();
        while !self.path("ready").exists() {
            let has_ended = self.keeper.try_wait().is_ok_and(|status| status.is_some());
            let log = fs::read_to_string(self.path("node.log")).unwrap_or_default();
            assert!(
                begun.elapsed() < LIMIT && !has_ended && !log.contains("in vain"),
                "the cluster does not come up: {log}{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The name of the cgroup below which its pods are.
    #[must_use]
    pub fn cgroup(&self) -> String {
        format!("bindu-kubernetes-{}", self.keeper.id())
    }

    /// A file of its directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The configuration of an administrator's kubectl. It is of use inside of the cluster's network only.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// The last lines of all that its parts have said.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(self.path("logs")).into_iter().flatten().flatten() {
            let log = fs::read(entry.path()).unwrap_or_default();
            let log = String::from_utf8_lossy(&log).into_owned();
            let last: Vec<&str> = log.lines().rev().take(8).collect();
            text += &format!("\n== {}\n", entry.file_name().display());
            text += &last.into_iter().rev().collect::<Vec<_>>().join("\n");
        }
        text
    }

    /// A command in the cluster's namespaces, as on its node. It starts in the root directory.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.init.to_string(),
            "--mount",
            "--pid",
            "--net",
            "--uts",
            "--ipc",
            "--",
        ]);
        command.arg(program).env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// Runs kubectl, whatever comes of it.
    ///
    /// # Panics
    /// If it can't be run.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(install::kubernetes().join("kubernetes"));
        command.arg("kubectl").args(arguments).stdin(Stdio::null());
        command.output().expect("kubectl can be run")
    }

    /// Runs kubectl to its good end; what it has printed.
    ///
    /// # Panics
    /// If the end is not good.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {}: {said}{complained}", arguments.join(" "));
        said
    }

    /// An object, or a list of them, as JSON.
    ///
    /// # Panics
    /// If it can't be had.
    pub fn object(&self, arguments: &[&str]) -> Value {
        let arguments = [&["get", "--output", "json"], arguments].concat();
        serde_json::from_str(&self.kubectl(&arguments)).expect("kubectl prints JSON")
    }

    /// Applies manifests.
    ///
    /// # Panics
    /// If one is refused.
    pub fn apply(&self, manifests: &str) -> String {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), manifests).expect("it can be written");
        self.kubectl(&["apply", "--filename", &file.path().display().to_string()])
    }

    /// Waits until a rollout is done.
    ///
    /// # Panics
    /// If it doesn't end; with what its pods have said.
    pub fn rolled_out(&self, namespace: &str, name: &str) {
        let deployment = format!("deployment/{name}");
        let arguments = ["--namespace", namespace, "rollout", "status", &deployment, "--timeout=240s"];
        let output = self.try_kubectl(&arguments);
        if !output.status.success() {
            let seen = self.try_kubectl(&["--namespace", namespace, "describe", "pods"]);
            let said =
                self.try_kubectl(&["--namespace", namespace, "logs", &deployment, "--tail=40", "--prefix"]);
            let [output, seen, said] = [output, seen, said]
                .map(|output| String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned());
            panic!("{namespace}/{name} is not rolled out: {output}\n{seen}\n{said}\n{}", self.logs());
        }
    }

    /// Waits until something is as it should be: asked again until it gives something.
    ///
    /// # Panics
    /// If it never does.
    pub async fn until<T>(&self, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(value) = condition() {
                return value;
            }
            assert!(begun.elapsed() < LIMIT, "in vain: {what}{}", self.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Gives an image one more name.
    ///
    /// # Panics
    /// If there is no image of the first name.
    pub fn tag(&self, name: &str, other: &str) {
        let mut command = self.command(install::node_tools().join("usr/bin/ctr"));
        command.args(["--address", "/run/containerd/containerd.sock", "--namespace", "k8s.io"]);
        install::run(command.args(["images", "tag", "--force", name, other]));
    }

    /// Runs a future in the cluster's network: Services and pods are reached by their addresses.
    ///
    /// # Panics
    /// If the future does.
    pub async fn inside<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let network = self.network.as_ref().expect("a cluster that is up has a network");
        network.spawn(work).await.expect("what runs inside does not panic")
    }

    /// Begins the same, and lets it run.
    ///
    /// # Panics
    /// Never: a cluster that is up has a network.
    pub fn begin_inside<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.network.as_ref().expect("a cluster that is up has a network").spawn(work)
    }

    /// The address of a Service.
    ///
    /// # Panics
    /// If there is none.
    pub fn service(&self, namespace: &str, name: &str) -> String {
        let path = "jsonpath={.spec.clusterIP}";
        self.kubectl(&["--namespace", namespace, "get", "service", name, "--output", path])
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(network) = self.network.take() {
            // Whatever still runs in there waits for nobody.
            network.shutdown_background();
        }
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A runtime whose threads are in the network of a process.
fn network(init: u32) -> Runtime {
    let namespace = Arc::new(File::open(format!("/proc/{init}/ns/net")).expect("a process has a network"));
    let enter = move || {
        let entered = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network));
        entered.expect("root may enter a network");
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().on_thread_start(enter).build().expect("threads")
}

/// What holds the namespaces of a pod, and probes networks.
fn pause_image(programs: &Path, to: &Path) {
    let image = oci::Image {
        architecture: oci::architecture().into(),
        files: oci::Files::default().program("probe", &programs.join("probe")),
        entrypoint: vec!["/probe".into()],
        ..oci::Image::default()
    };
    oci::write(&[image], "localhost/pause:1", 0, oci::Layers::Plain, to).expect("an image can be written");
}
