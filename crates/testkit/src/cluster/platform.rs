//! A cluster that has what an agent needs: Vault with TLS, Hydra, and the images that the manifests name.

use super::{Cluster, Policies};
use crate::{http, install, oci};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The image of an agent, as the manifests name it.
pub const AGENT_IMAGE: &str = "docker.io/library/bindu:0.2.0";
/// The image of the gate, as its manifests name it.
const NGINX_IMAGE: &str = "docker.io/nginxinc/nginx-unprivileged:1.30-alpine-slim";

/// A cluster with Vault and Hydra. Nothing of ours is in it yet but the images.
pub struct Platform {
    /// The cluster.
    pub cluster: Cluster,
    /// Vault, unsealed and empty.
    pub vault: Vault,
    /// Hydra.
    pub hydra: Hydra,
}

/// OpenBao in a cluster, in the namespace `vault`.
#[derive(Debug, Clone)]
pub struct Vault {
    /// Its address, by the address of its Service.
    pub url: String,
    /// Its root token.
    pub token: String,
    /// The authority of its certificate, in PEM.
    pub authority: Vec<u8>,
    unseal_key: String,
}

/// Hydra in a cluster, in the namespace `hydra`.
#[derive(Debug, Clone)]
pub struct Hydra {
    /// Its admin port.
    pub admin_url: String,
    /// Its public port.
    pub public_url: String,
}

impl Platform {
    /// Starts a cluster with everything. `binary` is the agents' program.
    ///
    /// # Panics
    /// If something does not come up.
    pub async fn start(binary: &Path) -> Self {
        let images = tempfile::tempdir().expect("a temporary directory");
        let agent = images.path().join("agent.tar");
        agent_image(binary, &agent);
        Self::start_with(Policies::Enforced, &[&agent]).await
    }

    /// The same with images of agents that are there already.
    ///
    /// # Panics
    /// If something does not come up.
    pub async fn start_with(policies: Policies, agents: &[&Path]) -> Self {
        let images = tempfile::tempdir().expect("a temporary directory");
        let nginx = images.path().join("nginx.tar");
        nginx_image(&nginx);
        let cluster = Cluster::start_with(policies, &[agents, &[nginx.as_path()]].concat()).await;
        let authority = vault_certificate(&cluster, images.path());
        let kinds = install::source_tree().canonicalize().expect("the tree").join("testing/kubernetes/crds");
        for kind in ["prometheusrules", "servicemonitors"] {
            let file = kinds.join(format!("monitoring.coreos.com_{kind}.yaml"));
            cluster.kubectl(&["create", "--filename", &file.display().to_string()]);
        }
        let place = |program: &Path| {
            let program = program.canonicalize().expect("an installed program");
            let directory = program.parent().expect("a directory").display().to_string();
            (directory, program.file_name().expect("a name").display().to_string())
        };
        let ((bao, name), (hydra, _)) = (place(&install::openbao()), place(&install::hydra()));
        let manifests = fs::read_to_string(install::source_tree().join("testing/kubernetes/platform.yaml"));
        let manifests = manifests.expect("a file of ours").replace("@BAO_DIRECTORY@", &bao);
        cluster.apply(&manifests.replace("@BAO_NAME@", &name).replace("@HYDRA_DIRECTORY@", &hydra));
        cluster.rolled_out("vault", "vault");
        cluster.rolled_out("hydra", "hydra");
        let vault = Vault::set_up(&cluster, authority).await;
        let hydra = Hydra {
            admin_url: "http://10.96.0.30:4445".to_owned(),
            public_url: "http://10.96.0.31:4444".to_owned(),
        };
        Self { cluster, vault, hydra }
    }
}

impl Platform {
    /// The steps of docs/KUBERNETES.md before "Deploy", but for the agent's own: the namespace `agents`, Vault's authority in
    /// it, the gate before Hydra. `deploy` is the directory of that name, or a copy.
    ///
    /// # Panics
    /// If one is refused.
    pub fn prepare(&self, deploy: &Path) {
        let cluster = &self.cluster;
        let deploy = deploy.canonicalize().expect("it is there").join("kubernetes");
        let apply = |kind: &str, place: &str| {
            cluster.kubectl(&["apply", kind, &deploy.join(place).display().to_string()]);
        };
        apply("--filename", "overlays/example/namespace.yaml");
        for namespace in ["ingress", "monitoring"] {
            cluster.kubectl(&["label", "namespace", namespace, &format!("bindu.dev/{namespace}=true")]);
        }
        let file = format!("--from-file=ca.crt={}", self.authority().display());
        cluster.kubectl(&["--namespace", "agents", "create", "configmap", "vault-ca", &file]);
        apply("--kustomize", "cluster/several-replicas");
        apply("--kustomize", "cluster/hydra-admin-gate/registering");
        cluster.rolled_out("hydra", "hydra-admin-gate");
    }

    /// A file with the authority of Vault's certificate.
    ///
    /// # Panics
    /// If it can't be written.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        let file = self.cluster.path("vault-authority.crt");
        fs::write(&file, &self.vault.authority).expect("a file in a temporary directory");
        file
    }

    /// Lets a service account of the namespace `agents` be an agent of this name and author, by `bindu vault setup`.
    ///
    /// # Panics
    /// If that fails.
    pub fn introduce(&self, binary: &Path, account: &str, name: &str, author: &str) {
        let mut command = self.cluster.command(binary);
        command.args(["vault", "setup", "--auth", "kubernetes", "--role", &format!("bindu-{account}")]);
        command.args(["--service-account", &format!("agents/{account}"), "--audience", "vault", "--apply"]);
        command.env("VAULT_ADDR", &self.vault.url).env("VAULT_TOKEN", &self.vault.token);
        command.env("VAULT_CACERT", self.authority()).env("BINDU_NAME", name).env("BINDU_AUTHOR", author);
        install::run(command.stdin(std::process::Stdio::null()));
    }
}

impl Vault {
    async fn set_up(cluster: &Cluster, authority: Vec<u8>) -> Self {
        let url = "https://10.96.0.20:8200".to_owned();
        let mut vault = Self { url, token: String::new(), authority, unseal_key: String::new() };
        let shares = json!({"secret_shares": 1, "secret_threshold": 1});
        let (status, made) = vault.call(cluster, "PUT", "sys/init", Some(shares)).await;
        assert_eq!(status, 200, "{made}");
        made["root_token"].as_str().unwrap_or_default().clone_into(&mut vault.token);
        made["keys"][0].as_str().unwrap_or_default().clone_into(&mut vault.unseal_key);
        vault.unseal(cluster).await;
        vault
    }

    /// Sends a request with the root token.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn call(
        &self,
        cluster: &Cluster,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> http::Answer {
        let method: reqwest::Method = method.parse().expect("a method");
        let (vault, url) = (self.clone(), format!("{}/v1/{path}", self.url));
        let work = async move {
            let mut request = http::client_that_trusts(&vault.authority).request(method, url);
            if !vault.token.is_empty() {
                request = request.header("X-Vault-Token", vault.token);
            }
            http::answer(
                body.map_or(request.try_clone().expect("no stream"), |body| request.body(body.to_string())),
            )
            .await
        };
        cluster.inside(work).await
    }

    /// Seals it: it answers 503 to everything.
    ///
    /// # Panics
    /// If it refuses.
    pub async fn seal(&self, cluster: &Cluster) {
        let (status, body) = self.call(cluster, "PUT", "sys/seal", None).await;
        assert_eq!(status, 204, "{body}");
    }

    /// Unseals it, and waits until it serves.
    ///
    /// # Panics
    /// If it doesn't.
    pub async fn unseal(&self, cluster: &Cluster) {
        let key = json!({"key": self.unseal_key});
        let (status, body) = self.call(cluster, "PUT", "sys/unseal", Some(key)).await;
        assert_eq!(status, 200, "{body}");
        for _ in 0..600 {
            if self.call(cluster, "GET", "sys/health", None).await.0 == 200 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("Vault does not serve");
    }

    /// The current version of a record and its fields.
    pub async fn record(&self, cluster: &Cluster, path: &str) -> Option<(u64, Value)> {
        let (status, body) = self.call(cluster, "GET", &format!("secret/data/bindu/{path}"), None).await;
        (status == 200).then(|| {
            (body["data"]["metadata"]["version"].as_u64().unwrap_or(0), body["data"]["data"].clone())
        })
    }
}

impl Hydra {
    /// A client, or `None`.
    pub async fn client(&self, cluster: &Cluster, id: &str) -> Option<Value> {
        let url = format!("{}/admin/clients/{id}", self.admin_url);
        let (status, body) = cluster.inside(async move { http::get(&url).await }).await;
        (status == 200).then_some(body)
    }

    /// The ids of all clients.
    ///
    /// # Panics
    /// If they can't be listed.
    pub async fn clients(&self, cluster: &Cluster) -> Vec<String> {
        let url = format!("{}/admin/clients?page_size=1000", self.admin_url);
        let (status, body) = cluster.inside(async move { http::get(&url).await }).await;
        assert_eq!(status, 200, "{body}");
        let clients = body.as_array().into_iter().flatten();
        clients.filter_map(|client| client["client_id"].as_str()).map(str::to_owned).collect()
    }

    /// Registers a service that may call agents; a token of it.
    ///
    /// # Panics
    /// If Hydra refuses.
    pub async fn caller(&self, cluster: &Cluster, id: &str) -> String {
        let scope = "openid offline agent:read agent:write";
        let client = json!({
            "client_id": id, "client_secret": "a secret", "grant_types": ["client_credentials"], "scope": scope,
            "token_endpoint_auth_method": "client_secret_post",
        });
        let admin = format!("{}/admin/clients", self.admin_url);
        let (status, body) = cluster.inside(async move { http::post(&admin, &client).await }).await;
        assert_eq!(status, 201, "{body}");
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("grant_type", "client_credentials"), ("client_id", id)])
            .extend_pairs([("client_secret", "a secret"), ("scope", scope)])
            .finish();
        let url = format!("{}/oauth2/token", self.public_url);
        let work = async move {
            let request =
                http::client().post(url).header("Content-Type", "application/x-www-form-urlencoded");
            http::answer(request.body(form)).await
        };
        let (status, body) = cluster.inside(work).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap_or_default().to_owned()
    }
}

/// Writes the image of an agent: this program, with the libraries that it is linked with.
///
/// # Panics
/// If it can't be written.
pub fn agent_image(binary: &Path, to: &Path) {
    agent_image_with(binary, AGENT_IMAGE, oci::Files::default(), to);
}

/// The same under another name, with more files: a handler's program.
///
/// # Panics
/// If it can't be written.
pub fn agent_image_with(binary: &Path, name: &str, files: oci::Files, to: &Path) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let stripped = directory.path().join("bindu");
    // Of a debug build, nine tenths are for a debugger.
    install::run(Command::new("strip").arg("-o").arg(&stripped).arg(binary));
    let files = files.program("usr/local/bin/bindu", &stripped).directory("tmp", 0o1777, 0);
    oci::write(&[agent(files)], name, 0, oci::Layers::Plain, to).expect("an image can be written");
}

/// What the agents' images have in common: deploy/docker/Dockerfile says why.
#[must_use]
pub fn agent(files: oci::Files) -> oci::Image {
    oci::Image {
        architecture: oci::architecture().into(),
        files: files.directory("data", 0o700, 65532),
        entrypoint: vec!["/usr/local/bin/bindu".into()],
        arguments: vec!["run".into()],
        user: "65532:65532".into(),
        environment: vec![
            "PATH=/usr/local/bin:/usr/bin:/bin".into(),
            "BINDU_DATA_DIR=/data".into(),
            "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt".into(),
        ],
        ports: vec![3773, 3774],
        labels: BTreeMap::new(),
        materials: None,
    }
}

/// nginx as its image for unprivileged users has it.
fn nginx_image(to: &Path) {
    let nginx = install::nginx();
    let nginx = if nginx.is_absolute() { nginx } else { on_the_path(&nginx) };
    let files = oci::Files::default()
        .program("usr/sbin/nginx", &nginx)
        .file("etc/passwd", 0o644, "root:x:0:0::/:/\nnginx:x:101:101::/:/\nnobody:x:65534:65534::/:/\n")
        .file("etc/group", 0o644, "root:x:0:\nnginx:x:101:\nnogroup:x:65534:\n")
        .directory("var/log/nginx", 0o777, 101)
        .directory("var/lib/nginx", 0o777, 101)
        .directory("usr/share/nginx", 0o755, 0)
        .directory("tmp", 0o1777, 0);
    let image = oci::Image {
        architecture: oci::architecture().into(),
        files,
        entrypoint: vec!["nginx".into()],
        user: "101:101".into(),
        environment: vec!["PATH=/usr/sbin:/usr/bin".into()],
        ..oci::Image::default()
    };
    oci::write(&[image], NGINX_IMAGE, 0, oci::Layers::Plain, to).expect("an image can be written");
}

fn on_the_path(program: &Path) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|directory| directory.join(program));
    found.find(|program| program.is_file()).expect("it was found there")
}

/// The Secret `vault-tls`: a certificate for Vault's names, with its authority.
fn vault_certificate(cluster: &Cluster, directory: &Path) -> Vec<u8> {
    let file = |name: &str| directory.join(name).display().to_string();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let mut authority = Command::new("openssl");
    authority.args(["req", "-x509", "-days", "2", "-subj", "/CN=Vault's authority"]).args(key);
    install::run(authority.args(["-keyout", &file("ca.key"), "-out", &file("ca.crt")]));
    let mut request = Command::new("openssl");
    request.args(["req", "-new", "-subj", "/CN=vault"]).args(key);
    install::run(request.args(["-keyout", &file("tls.key"), "-out", &file("tls.csr")]));
    let names = "subjectAltName=DNS:vault,DNS:vault.vault,DNS:vault.vault.svc,DNS:vault.vault.svc.cluster.local,\
                 DNS:localhost,IP:127.0.0.1,IP:10.96.0.20\n";
    fs::write(directory.join("names"), names).expect("a file in a temporary directory");
    let mut signed = Command::new("openssl");
    signed.args(["x509", "-req", "-days", "2", "-in", &file("tls.csr"), "-CA", &file("ca.crt")]);
    signed.args(["-CAkey", &file("ca.key"), "-extfile", &file("names"), "-out", &file("tls.crt")]);
    install::run(&mut signed);
    for namespace in ["vault", "hydra"] {
        cluster.kubectl(&["create", "namespace", namespace]);
    }
    let files = ["ca.crt", "tls.crt", "tls.key"].map(|name| format!("--from-file={name}={}", file(name)));
    let mut arguments = vec!["--namespace", "vault", "create", "secret", "generic", "vault-tls"];
    arguments.extend(files.iter().map(String::as_str));
    cluster.kubectl(&arguments);
    fs::read(directory.join("ca.crt")).expect("it was just written")
}
